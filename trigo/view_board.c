/* view_board.c - boards as SVG: layers seen from above, and all of them as a stack.
 *
 *     x to the right, y up (in the stack: to the back), z up: the cell `aa` of a 2D board is in the
 *     corner at the bottom left, as Go players write A1.
 *
 * All cells are there as circles, whose class says what they look like: b or w for a stone, last for
 * the move before. The script changes classes and nothing else. */
#include "trigo/view.h"

#include <stdio.h>
#include <string.h>

#include "trigo/notation.h"

enum {
    PITCH = 24,       /* from cell to cell of a layer */
    BEFORE = 30,      /* room for names, left of the first column and below the first row */
    AFTER = 16,       /* room on the other sides */
    WIDE = 30,        /* from cell to cell along x of the stack */
    MAX_STACK = 9,    /* layers; */
    MAX_CELLS = 1000, /* of a stack: more is no help to the eye */
};
static const double SLANT = 0.5, RISE = 0.42; /* of WIDE, for each step along y of the stack */

typedef struct point {
    double x, y;
} point;

static void put_cell(kvf_output *out, const trigo_board *b, uint32_t cell, trigo_move last,
                     point at, double radius)
{
    static const char *const stones[] = {"c", "c b", "c w"};
    kvf_output_print(out, "<circle class=\"%s%s\" data-c=\"%u\" cx=\"%g\" cy=\"%g\" r=\"%g\"/>",
                     stones[b->colour[cell]], cell == last ? " last" : "", cell, at.x, at.y,
                     radius);
}

static void put_name(kvf_output *out, trigo_shape s, int axis, uint32_t index, double x, double y)
{
    const char name[] = {trigo_axis_char(s, axis, index), '\0'};
    kvf_output_print(out, "<text x=\"%g\" y=\"%g\" text-anchor=\"middle\">%s</text>", x, y, name);
}

/* ---- one layer ------------------------------------------------------------------------------- */

static point in_layer(trigo_shape s, uint32_t x, uint32_t y)
{
    return (point){BEFORE + (double)x * PITCH, AFTER + (double)(s.y - 1 - y) * PITCH};
}

static void put_grid(kvf_output *out, trigo_shape s)
{
    point low = in_layer(s, 0, 0), high = in_layer(s, s.x - 1u, s.y - 1u);
    kvf_output_print(out,
                     "<rect class=\"wood\" x=\"%g\" y=\"%g\" width=\"%g\" height=\"%g\" rx=\"3\"/>"
                     "<path class=\"lines\" d=\"",
                     low.x - PITCH / 2.0, high.y - PITCH / 2.0, high.x - low.x + PITCH,
                     low.y - high.y + PITCH);
    for (uint32_t x = 0; x < s.x; x++)
        kvf_output_print(out, "M%g %gV%g", in_layer(s, x, 0).x, low.y, high.y);
    for (uint32_t y = 0; y < s.y; y++)
        kvf_output_print(out, "M%g %gH%g", low.x, in_layer(s, 0, y).y, high.x);
    kvf_output_print(out, "\"/>\n");
    for (uint32_t x = 0; x < s.x; x++) put_name(out, s, 0, x, in_layer(s, x, 0).x, low.y + 25);
    for (uint32_t y = 0; y < s.y; y++) put_name(out, s, 1, y, low.x - 20, in_layer(s, 0, y).y + 4);
}

static void put_layer(kvf_output *out, const trigo_board *b, uint32_t z, trigo_move last)
{
    trigo_shape s = b->shape;
    const char name[] = {trigo_axis_char(s, 2, z), '\0'};
    kvf_output_print(out, "<div class=\"layer\">");
    if (s.z > 1) kvf_output_print(out, "<div>layer %s</div>", name);
    int width = BEFORE + AFTER + (s.x - 1) * PITCH, height = BEFORE + AFTER + (s.y - 1) * PITCH;
    kvf_output_print(
        out,
        "<svg viewBox=\"0 0 %d %d\" style=\"max-width:%dpx\" role=\"img\" aria-label=\"board %s\">",
        width, height, width * (s.z > 1 ? 2 : 4), name);
    put_grid(out, s);
    for (uint32_t x = 0; x < s.x; x++)
        for (uint32_t y = 0; y < s.y; y++) {
            uint32_t cell = (x * s.y + y) * s.z + z;
            point at = in_layer(s, x, y);
            put_cell(out, b, cell, last, at, 10.5);
            kvf_output_print(out, "<text data-t=\"%u\" x=\"%g\" y=\"%g\"/>", cell, at.x, at.y + 3);
        }
    kvf_output_print(out, "</svg></div>\n");
}

/* ---- the stack ------------------------------------------------------------------------------- */

/* From one layer to the next. */
static double layer_height(trigo_shape s)
{
    return ((s.y - 1) * RISE + 1.25) * WIDE;
}

static point in_stack(trigo_shape s, double x, double y, uint32_t z)
{
    return (point){1.4 * WIDE + (x + y * SLANT) * WIDE,
                   0.7 * WIDE + (s.y - 1 - y) * RISE * WIDE + (s.z - 1 - z) * layer_height(s)};
}

static void put_line(kvf_output *out, point from, point to)
{
    kvf_output_print(out, "M%g %gL%g %g", from.x, from.y, to.x, to.y);
}

static void put_plate(kvf_output *out, trigo_shape s, uint32_t z)
{
    double right = s.x - 1, back = s.y - 1;
    point corner[] = {in_stack(s, -0.5, -0.5, z), in_stack(s, right + 0.5, -0.5, z),
                      in_stack(s, right + 0.5, back + 0.5, z), in_stack(s, -0.5, back + 0.5, z)};
    kvf_output_print(out, "<path class=\"wood\" d=\"");
    for (int i = 0; i < 4; i++)
        kvf_output_print(out, "%c%g %g", i ? 'L' : 'M', corner[i].x, corner[i].y);
    kvf_output_print(out, "Z\"/><path class=\"lines\" d=\"");
    for (uint32_t x = 0; x < s.x; x++) put_line(out, in_stack(s, x, 0, z), in_stack(s, x, back, z));
    for (uint32_t y = 0; y < s.y; y++)
        put_line(out, in_stack(s, 0, y, z), in_stack(s, right, y, z));
    kvf_output_print(out, "\"/>");
    put_name(out, s, 2, z, corner[0].x - 14, in_stack(s, 0, 0, z).y + 4);
    for (uint32_t y = s.y; y-- > 0 && !z;)
        put_name(out, s, 1, y, in_stack(s, right + 0.85, y, z).x, in_stack(s, 0, y, z).y + 4);
    for (uint32_t x = 0; x < s.x && !z; x++)
        put_name(out, s, 0, x, in_stack(s, x, -1.2, z).x, in_stack(s, 0, -1.2, z).y + 4);
}

/* Where the layers are connected: at the corners. */
static void put_pillars(kvf_output *out, trigo_shape s)
{
    kvf_output_print(out, "<path class=\"pillars\" d=\"");
    for (int i = 0; i < 4; i++) {
        double x = i % 2 ? s.x - 1 : 0, y = i / 2 ? s.y - 1 : 0;
        put_line(out, in_stack(s, x, y, 0), in_stack(s, x, y, s.z - 1u));
    }
    kvf_output_print(out, "\"/>\n");
}

static void put_stack(kvf_output *out, const trigo_board *b, trigo_move last)
{
    trigo_shape s = b->shape;
    point end = in_stack(s, s.x + 0.3, s.y - 1, 0), bottom = in_stack(s, 0, -1.2, 0);
    kvf_output_print(out,
                     "<div class=\"stack\"><svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" "
                     "aria-label=\"all layers\">",
                     end.x + 8, bottom.y + 10);
    put_pillars(out, s);
    for (uint32_t z = 0; z < s.z; z++) {
        put_plate(out, s, z);
        for (uint32_t y = s.y; y-- > 0;)
            for (uint32_t x = 0; x < s.x; x++)
                put_cell(out, b, (x * s.y + y) * s.z + z, last, in_stack(s, x, y, z), 9.5);
        kvf_output_print(out, "\n");
    }
    kvf_output_print(out, "</svg></div>\n");
}

void trigo_view_boards(const trigo_board *board, trigo_move last, kvf_output *out)
{
    trigo_shape s = board->shape;
    kvf_output_print(out,
                     "<svg class=\"paint\" width=\"0\" height=\"0\" aria-hidden=\"true\"><defs>"
                     "<radialGradient id=\"black\" cx=\".35\" cy=\".3\" r=\".8\">"
                     "<stop offset=\"0\" stop-color=\"#7c828b\"/><stop offset=\".45\" "
                     "stop-color=\"#2c3036\"/><stop offset=\"1\" stop-color=\"#0c0d0f\"/>"
                     "</radialGradient>"
                     "<radialGradient id=\"white\" cx=\".35\" cy=\".3\" r=\".85\">"
                     "<stop offset=\"0\" stop-color=\"#fff\"/><stop offset=\".6\" "
                     "stop-color=\"#f1f2f4\"/><stop offset=\"1\" stop-color=\"#c3c8cf\"/>"
                     "</radialGradient></defs></svg>\n<div class=\"boards%s\">\n",
                     s.z > 1 ? " deep" : "");
    if (s.z > 1 && s.z <= MAX_STACK && board->cells <= MAX_CELLS) put_stack(out, board, last);
    kvf_output_print(out, "<div class=\"layers\">\n");
    for (uint32_t z = s.z; z-- > 0;) put_layer(out, board, z, last); /* from the top, as stacked */
    kvf_output_print(out, "</div></div>\n");
}
