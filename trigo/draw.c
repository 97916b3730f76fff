/* draw.c - see draw.h. */
#include "trigo/draw.h"

#include <string.h>

#include "trigo/notation.h"

enum { CELL = 3, GAP = 3 }; /* columns */

typedef struct drawing {
    FILE *out;
    const trigo_board *b;
    const trigo_drawing *how;
    int margin; /* columns of a row's name */
} drawing;

static uint32_t cell_at(trigo_shape s, uint32_t x, uint32_t y, uint32_t z)
{
    return (x * s.y + y) * s.z + z;
}

/* The name of a line of cells along an axis (0: x, 1: y, 2: z): a character of their moves' names,
 * or what the protocol calls it. Blank where moves do not name the axis. */
static void name_of(const drawing *d, int axis, uint32_t i, char name[8])
{
    char c = trigo_axis_char(d->b->shape, axis, i);
    if (d->how->vertices && axis == 1)
        snprintf(name, 8, "%u", i % 1000 + 1);
    else if (d->how->vertices)
        snprintf(name, 8, "%c", (char)('A' + i + (i >= 8)));
    else
        snprintf(name, 8, "%c", c ? c : ' ');
}

static void draw_cell(const drawing *d, uint32_t cell)
{
    static const char stone[] = ".XO";
    static const char *const colour[] = {"2", "1;36", "1;33"}; /* dim, cyan, yellow */
    uint8_t c = d->b->colour[cell];
    bool last = cell == d->how->last;
    fputc(last ? '(' : ' ', d->out);
    if (d->how->colour)
        fprintf(d->out, "\033[%s%sm%c\033[0m", colour[c], last ? ";7" : "", stone[c]);
    else
        fputc(stone[c], d->out);
    fputc(last ? ')' : ' ', d->out);
}

static void draw_row(const drawing *d, uint32_t y, uint32_t from, uint32_t to)
{
    trigo_shape s = d->b->shape;
    char name[8];
    name_of(d, 1, y, name);
    for (uint32_t z = from; z < to; z++) {
        fprintf(d->out, "%*s%*s", z > from ? GAP : 0, "", d->margin, name);
        for (uint32_t x = 0; x < s.x; x++) draw_cell(d, cell_at(s, x, y, z));
    }
    putc('\n', d->out);
}

static void draw_heads(const drawing *d, uint32_t from, uint32_t to)
{
    int width = d->margin + CELL * d->b->shape.x;
    for (uint32_t z = from; z < to; z++) {
        char name[8], head[24];
        name_of(d, 2, z, name);
        snprintf(head, sizeof head, "layer %s", name);
        fprintf(d->out, "%*s%*s %-*s", z > from ? GAP : 0, "", d->margin, "",
                z + 1 < to ? width - d->margin - 1 : 0, head);
    }
    putc('\n', d->out);
}

static void draw_feet(const drawing *d, uint32_t from, uint32_t to)
{
    for (uint32_t z = from; z < to; z++) {
        fprintf(d->out, "%*s%*s", z > from ? GAP : 0, "", d->margin, "");
        for (uint32_t x = 0; x < d->b->shape.x; x++) {
            char name[8];
            name_of(d, 0, x, name);
            fprintf(d->out, " %s ", name);
        }
    }
    putc('\n', d->out);
}

void trigo_draw(FILE *out, const trigo_board *board, const trigo_drawing *how)
{
    trigo_shape s = board->shape;
    drawing d = {.out = out, .b = board, .how = how, .margin = how->vertices ? 2 : 1};
    uint32_t width = (uint32_t)d.margin + CELL * s.x, n = s.z;
    if (how->width && how->width < n * (width + GAP)) n = (how->width + GAP) / (width + GAP);
    if (!n) n = 1;
    for (uint32_t from = 0; from < s.z; from += n) {
        uint32_t to = from + n < s.z ? from + n : s.z;
        if (from) putc('\n', out);
        if (s.z > 1) draw_heads(&d, from, to);
        for (uint32_t y = s.y; y-- > 0;) draw_row(&d, y, from, to);
        draw_feet(&d, from, to);
    }
}
