/* plot.h - figures of a page as SVG: curves over an axis, and bars in groups.
 *
 *     plot p = {.title = "Speed-up over no cache", .x_name = "tokens", .y_name = "times faster",
 *               .log_x = true, .log_y = true};
 *     plot_add(&p, "native", 10, 3.2);         a series is made when its name comes first
 *     plot_curves(&p, &out);
 *     plot_free(&p);
 *
 * Curves of which none has two points, and bars of which there are none, are left out. */
#ifndef REPORT_PLOT_H
#define REPORT_PLOT_H

#include "output.h"

enum { PLOT_SERIES = 18 /* six colours, in three ways of drawing */, PLOT_NAME = 64 };

typedef struct plot_series {
    char name[PLOT_NAME];
    double (*at)[2]; /* [n] x, y */
    size_t n, room;
} plot_series;

typedef struct plot {
    const char *title, *x_name, *y_name; /* may be any text; x_name may be NULL */
    const char *id; /* for a script: the SVG has this id, a line of class "now", and data-x: where
                       the x axis begins and ends in it, and the values there; NULL: no script */
    bool log_x, log_y; /* what is not above 0 is left out then */
    double low, high;  /* that the y axis shows at least; 0, 0: just what there is, and 0 */
    plot_series series[PLOT_SERIES];
    size_t n;
    uint32_t left_out; /* points of series that there was no room for */
    bool no_memory;
} plot;

/* Make a series, whose colour is by its turn: so it is the same in several figures. */
void plot_name(plot *p, const char *series);
/* Add a point to the series of that name; one that is no number is left out. */
void plot_add(plot *p, const char *series, double x, double y);

/* Draw what was added as lines, in order of x; of points with the same x the first. */
void plot_curves(plot *p, kvf_output *out);
/* Draw it as horizontal bars: x is the index of a group, y the bar's length. */
void plot_bars(plot *p, const char *const *groups, size_t n_groups, kvf_output *out);
void plot_free(plot *p);

#endif
