/* plot.c - see plot.h.
 *
 *   points   series and what is in them
 *   axis     from values to a share of the axis, and round numbers to write on it
 *   figure   what both kinds have around them
 *   curves, bars */
#include "report/plot.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/page.h"

/* ---- points ---------------------------------------------------------------------------------- */

static plot_series *series_of(plot *p, const char *name)
{
    for (size_t i = 0; i < p->n; i++)
        if (!strncmp(p->series[i].name, name, PLOT_NAME - 1)) return &p->series[i];
    if (p->n == PLOT_SERIES) return NULL;
    plot_series *s = &p->series[p->n++];
    snprintf(s->name, sizeof s->name, "%s", name);
    return s;
}

void plot_name(plot *p, const char *series)
{
    series_of(p, series);
}

void plot_add(plot *p, const char *series, double x, double y)
{
    if (!isfinite(x) || !isfinite(y) || (p->log_x && x <= 0) || (p->log_y && y <= 0)) return;
    plot_series *s = series_of(p, series);
    if (!s) {
        p->left_out++;
        return;
    }
    if (s->n == s->room) {
        size_t room = s->room ? 2 * s->room : 64;
        double(*at)[2] = kvf_resize(s->at, room, sizeof *at);
        if (!at) {
            p->no_memory = true;
            return;
        }
        s->at = at;
        s->room = room;
    }
    s->at[s->n][0] = x;
    s->at[s->n++][1] = y;
}

void plot_free(plot *p)
{
    for (size_t i = 0; i < p->n; i++) kvf_free(p->series[i].at);
    p->n = 0;
}

static bool has_curve(const plot *p)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->series[i].n > 1) return true;
    return false;
}

/* In order of x, one point each. Few are out of order, and qsort would not keep the first. */
static void tidy(plot_series *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        double x = s->at[i][0], y = s->at[i][1];
        size_t k = n;
        while (k && s->at[k - 1][0] > x) k--;
        if (k && s->at[k - 1][0] == x) continue;
        memmove(s->at + k + 1, s->at + k, (n - k) * sizeof *s->at);
        s->at[k][0] = x;
        s->at[k][1] = y;
        n++;
    }
    s->n = n;
}

/* ---- axes ------------------------------------------------------------------------------------ */

enum { TICKS = 12 };

typedef struct axis {
    double low, high;
    bool log;
    double tick[TICKS];
    size_t n;
} axis;

static double place(const axis *a, double v)
{
    return a->log ? (log(v) - log(a->low)) / (log(a->high) - log(a->low))
                  : (v - a->low) / (a->high - a->low);
}

/* Numbers of 1, 2, 5, or only 1, before zeros, as many as there is room for. */
static void tick_log(axis *a, size_t most)
{
    static const double all[] = {1, 2, 5};
    for (int every = 1; every <= 64; every = every == 1 ? 3 : 2 * every) {
        a->n = 0;
        for (int i = (int)floor(log10(a->low)) * 3; a->n <= most; i++) {
            double v = pow(10, floor(i / 3.0)) * all[(i % 3 + 3) % 3];
            if (v > a->high * 1.000001) break;
            if (v >= a->low * 0.999999 && i % every == 0) a->tick[a->n++] = v;
        }
        if (a->n <= most && a->n) return;
    }
}

static void tick_linear(axis *a, size_t most)
{
    double range = a->high - a->low, step = pow(10, floor(log10(range / (double)most)));
    while (range / step > (double)most) /* 1, 2, 5, 10 */
        step *= fabs(log10(step * 5) - round(log10(step * 5))) < 1e-6 ? 2.5 : 2;
    a->n = 0;
    for (double i = ceil(a->low / step - 1e-6); i * step <= a->high + step * 1e-6 && a->n < TICKS;
         i++)
        a->tick[a->n++] = i * step;
}

static void span(const plot *p, int which, double *low, double *high)
{
    *low = INFINITY;
    *high = -INFINITY;
    for (size_t i = 0; i < p->n; i++)
        for (size_t j = 0; j < p->series[i].n; j++) {
            *low = fmin(*low, p->series[i].at[j][which]);
            *high = fmax(*high, p->series[i].at[j][which]);
        }
}

static axis axis_x(const plot *p)
{
    axis a = {.log = p->log_x};
    span(p, 0, &a.low, &a.high);
    if (a.high <= a.low) a.high = a.low + (a.low > 0 ? a.low : 1);
    if (a.log)
        tick_log(&a, 7);
    else
        tick_linear(&a, 7);
    return a;
}

/* Lines above and below what is shown: from one round number to another. */
static axis axis_y(const plot *p, size_t most)
{
    axis a = {.log = p->log_y};
    span(p, 1, &a.low, &a.high);
    if (a.log) {
        double ends[2] = {a.low, a.high};
        static const double round_to[] = {1, 2, 5, 10};
        a.low = pow(10, floor(log10(ends[0])));
        for (int i = 3; i >= 0; i--)
            if (a.low * round_to[i] <= ends[0]) {
                a.low *= round_to[i];
                break;
            }
        double ten = pow(10, floor(log10(ends[1])));
        for (int i = 0; i < 4; i++)
            if ((a.high = ten * round_to[i]) >= ends[1]) break;
        if (a.high <= a.low) a.high = 2 * a.low;
        tick_log(&a, most);
        return a;
    }
    a.low = fmin(a.low, p->low);
    a.high = fmax(a.high, p->high);
    if (a.low > 0) a.low = 0;
    if (a.high < 0) a.high = 0;
    if (a.high <= a.low) a.high = a.low + 1;
    tick_linear(&a, most);
    double step = a.n > 1 ? a.tick[1] - a.tick[0] : a.high - a.low;
    a.low = floor(a.low / step + 1e-6) * step;
    a.high = ceil(a.high / step - 1e-6) * step;
    for (a.n = 0; a.n < TICKS && a.low + (double)a.n * step < a.high + step / 2; a.n++)
        a.tick[a.n] = a.low + (double)a.n * step;
    return a;
}

/* Three digits that count, thousands and more shortened; minus with its own sign. */
static void format_number(char *out, size_t size, double v)
{
    static const struct {
        double from, unit;
        const char *name;
    } units[] = {{1e9, 1e9, "G"}, {1e6, 1e6, "M"}, {1e4, 1e3, "k"}, {0, 1, ""}};
    const char *sign = v < 0 ? "\xe2\x88\x92" : "";
    v = fabs(v) < 1e-12 ? 0 : fabs(v);
    size_t u = 0;
    while (v < units[u].from) u++;
    v /= units[u].unit;
    if (v >= 100 || v == 0)
        snprintf(out, size, "%s%.0f%s", v == 0 ? "" : sign, v, units[u].name);
    else
        snprintf(out, size, "%s%.3g%s", sign, v, units[u].name);
}

/* ---- a figure -------------------------------------------------------------------------------- */

enum { W = 440, LEFT = 46, RIGHT = 14, TOP = 10 };

static double px(double share)
{
    return LEFT + share * (W - LEFT - RIGHT);
}

/* How series i is drawn. */
static const char *dash(size_t i)
{
    static const char *const dashes[] = {"none", "7 4", "2 4"};
    return dashes[i / 6 % 3];
}

static void begin_figure(const plot *p, kvf_output *out, double height)
{
    kvf_output_print(out, "<figure><figcaption>");
    page_text(out, p->title);
    kvf_output_print(out, "<small>");
    page_text(out, p->y_name);
    kvf_output_print(
        out, "</small></figcaption>\n<svg viewBox=\"0 0 %d %.0f\" role=\"img\" aria-label=\"", W,
        height);
    page_text(out, p->title);
    kvf_output_print(out, "\"");
}

static void end_figure(const plot *p, kvf_output *out, bool swatches)
{
    kvf_output_print(out, "</svg>\n<div class=\"key\">");
    for (size_t i = 0; i < p->n; i++) {
        if (!p->series[i].n) continue;
        if (swatches)
            kvf_output_print(out,
                             "<span><svg viewBox=\"0 0 12 12\"><rect width=\"12\" height=\"12\" "
                             "rx=\"2\" class=\"f%zu\"/></svg>",
                             i % 6);
        else
            kvf_output_print(out,
                             "<span><svg viewBox=\"0 0 22 12\"><path d=\"M0 6H22\" class=\"s%zu\" "
                             "stroke-dasharray=\"%s\"/></svg>",
                             i % 6, dash(i));
        page_text(out, p->series[i].name);
        kvf_output_print(out, "</span>");
    }
    if (p->left_out) kvf_output_print(out, "<span>more than %d are not shown</span>", PLOT_SERIES);
    kvf_output_print(out, "</div></figure>\n");
    if (p->no_memory && !out->error) out->error = ENOMEM;
}

static void put_label(kvf_output *out, double x, double y, const char *anchor, const char *text)
{
    kvf_output_print(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    page_text(out, text);
    kvf_output_print(out, "</text>");
}

/* ---- curves ---------------------------------------------------------------------------------- */

enum { H = 250, BOTTOM = 40, DOTS = 24 /* points that are also drawn as dots */ };

static double py(double share)
{
    return H - BOTTOM - share * (H - TOP - BOTTOM);
}

static void put_grid(kvf_output *out, const axis *x, const axis *y, const char *x_name)
{
    char text[32];
    for (size_t i = 0; i < y->n; i++) {
        double at = py(place(y, y->tick[i]));
        kvf_output_print(out, "<path class=\"%s\" d=\"M%d %.1fH%d\"/>",
                         y->tick[i] == 0 && y->low < 0 ? "zero" : "grid", LEFT, at, W - RIGHT);
        format_number(text, sizeof text, y->tick[i]);
        put_label(out, LEFT - 6, at + 4, "end", text);
    }
    for (size_t i = 0; i < x->n; i++) {
        format_number(text, sizeof text, x->tick[i]);
        put_label(out, px(place(x, x->tick[i])), H - BOTTOM + 17, "middle", text);
    }
    if (x_name) put_label(out, px(0.5), H - 5, "middle", x_name);
}

static void put_curve(kvf_output *out, const plot_series *s, size_t i, const axis *x, const axis *y)
{
    kvf_output_print(out, "\n<path class=\"s%zu\" stroke-dasharray=\"%s\" d=\"", i % 6, dash(i));
    for (size_t j = 0; j < s->n; j++)
        kvf_output_print(out, "%c%.1f %.1f", j ? 'L' : 'M', px(place(x, s->at[j][0])),
                         py(place(y, s->at[j][1])));
    kvf_output_print(out, "\"/>");
    for (size_t j = 0; j < s->n && s->n <= DOTS; j++)
        kvf_output_print(out, "<circle class=\"f%zu\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>", i % 6,
                         px(place(x, s->at[j][0])), py(place(y, s->at[j][1])));
}

void plot_curves(plot *p, kvf_output *out)
{
    for (size_t i = 0; i < p->n; i++) tidy(&p->series[i]);
    if (!has_curve(p)) return;
    axis x = axis_x(p), y = axis_y(p, p->log_y ? 8 : 6);
    begin_figure(p, out, H);
    if (p->id)
        kvf_output_print(out, " id=\"%s\" data-x=\"%d %d %g %g\"", p->id, LEFT, W - RIGHT, x.low,
                         x.high);
    kvf_output_print(out, ">");
    put_grid(out, &x, &y, p->x_name);
    for (size_t i = 0; i < p->n; i++) put_curve(out, &p->series[i], i, &x, &y);
    if (p->id)
        kvf_output_print(out, "<path class=\"now\" d=\"M%d %dV%d\"/>", LEFT, TOP, H - BOTTOM);
    end_figure(p, out, false);
}

/* ---- bars ------------------------------------------------------------------------------------ */

enum { BAR = 14, LABEL = 17 /* the line of a group's name */, GAP = 8, NUMBER = 44, EDGE = 2 };

static double bar_x(double share)
{
    return EDGE + share * (W - EDGE - NUMBER);
}

static void put_bars(const plot *p, kvf_output *out, size_t group, double *y, const axis *a)
{
    for (size_t i = 0; i < p->n; i++)
        for (size_t j = 0; j < p->series[i].n; j++) {
            const double *at = p->series[i].at[j];
            if (at[0] != (double)group) continue;
            char text[32];
            double end = bar_x(place(a, at[1]));
            format_number(text, sizeof text, at[1]);
            kvf_output_print(out,
                             "<rect class=\"f%zu\" x=\"%d\" y=\"%.0f\" width=\"%.1f\" "
                             "height=\"%d\" rx=\"2\"/>",
                             i % 6, EDGE, *y, fmax(end - EDGE, 1), BAR - 2);
            put_label(out, fmax(end, EDGE) + 4, *y + BAR - 3.5, "start", text);
            *y += BAR;
        }
}

void plot_bars(plot *p, const char *const *groups, size_t n_groups, kvf_output *out)
{
    size_t points = 0;
    for (size_t i = 0; i < p->n; i++) points += p->series[i].n;
    if (!points) return;
    axis a = axis_y(p, 8);
    if (a.log) /* the shortest bar has a length too */
        a.low /= 2;
    double bottom = (double)(n_groups * (LABEL + GAP) + points * BAR), y = 0;
    begin_figure(p, out, bottom + 16);
    kvf_output_print(out, ">");
    for (size_t i = 0; i < a.n; i++) {
        char text[32];
        double x = bar_x(place(&a, a.tick[i]));
        format_number(text, sizeof text, a.tick[i]);
        kvf_output_print(out, "<path class=\"grid\" d=\"M%.1f 0V%.0f\"/>", x, bottom);
        put_label(out, x, bottom + 13, i ? "middle" : "start", text);
    }
    for (size_t g = 0; g < n_groups; g++) {
        kvf_output_print(out, "\n");
        put_label(out, EDGE, y + LABEL - 4, "start", groups[g]);
        y += LABEL;
        put_bars(p, out, g, &y, &a);
        y += GAP;
    }
    end_figure(p, out, true);
}
