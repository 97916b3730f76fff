/* notation.c - moves and shapes to text and back. */
#include "trigo/notation.h"

#include <stdio.h>
#include <string.h>

#include "base.h"

/* The axes that are written, at most 3: all but those of size 1 at the end. */
static int written_axes(trigo_shape shape, int size[3])
{
    size[0] = shape.x, size[1] = shape.y, size[2] = shape.z;
    int n = 3;
    while (n > 0 && size[n - 1] == 1) n--;
    return n;
}

static char axis_char(int size, int index)
{
    int middle = (size - 1) / 2;
    if (index == middle) return '0';
    return (char)(index < middle ? 'a' + index : 'z' - (size - 1 - index));
}

/* The index that c stands for, or -1. */
static int axis_index(int size, char c)
{
    int middle = (size - 1) / 2;
    if (c == '0') return middle;
    if (c < 'a' || c > 'z') return -1;
    if (c <= 'm') {
        int last = size % 2 ? middle - 1 : middle; /* even axes: the alias of the middle too */
        return c - 'a' <= last ? c - 'a' : -1;
    }
    int index = size - 1 - ('z' - c);
    return index > middle ? index : -1;
}

char trigo_axis_char(trigo_shape shape, int axis, uint32_t index)
{
    int size[3], n = written_axes(shape, size);
    return axis < n ? axis_char(size[axis], (int)index) : '\0';
}

size_t trigo_move_write(trigo_shape shape, trigo_move move, char out[TRIGO_MOVE_TEXT])
{
    if (move == TRIGO_PASS) return strlen(strcpy(out, "Pass"));
    if (move == TRIGO_RESIGN) return strlen(strcpy(out, "Resign"));
    trigo_xyz at = trigo_cell_xyz(shape, move);
    const int index[] = {at.x, at.y, at.z};
    int size[3], n = written_axes(shape, size);
    for (int i = 0; i < n; i++) out[i] = axis_char(size[i], index[i]);
    out[n] = '\0';
    return (size_t)n;
}

static kvf_status not_a_move(trigo_shape shape, const char *text, size_t len, kvf_error *err)
{
    char quoted[TRIGO_QUOTE_TEXT], board[TRIGO_SHAPE_TEXT], axes[96] = "";
    int size[3], n = written_axes(shape, size);
    size_t used = 0;
    for (int i = 0; i < n; i++) {
        if (i) axes[used++] = ' ';
        axes[used++] = '[';
        for (int k = 0; k < size[i]; k++) axes[used++] = axis_char(size[i], k);
        axes[used++] = ']';
    }
    axes[used] = '\0';
    trigo_shape_write(shape, board);
    return kvf_fail(err, KVF_ERR_ARG,
                    "%s is no move on %s: that is Pass, Resign or %d character%s, one of each %s",
                    trigo_quote(text, len, quoted), board, n, n == 1 ? "" : "s", axes);
}

kvf_status trigo_move_read(trigo_shape shape, const char *text, size_t len, trigo_move *move,
                           kvf_error *err)
{
    if (len == 4 && !memcmp(text, "Pass", 4)) return *move = TRIGO_PASS, KVF_OK;
    if (len == 6 && !memcmp(text, "Resign", 6)) return *move = TRIGO_RESIGN, KVF_OK;
    int size[3], n = written_axes(shape, size), cell = 0;
    if (len != (size_t)n) return not_a_move(shape, text, len, err);
    for (int i = 0; i < n; i++) {
        int index = axis_index(size[i], text[i]);
        if (index < 0) return not_a_move(shape, text, len, err);
        cell = cell * size[i] + index;
    }
    *move = (trigo_move)cell; /* the axes left out have one cell each */
    return KVF_OK;
}

size_t trigo_shape_write(trigo_shape shape, char out[TRIGO_SHAPE_TEXT])
{
    const char *format = shape.z == 1 ? "%ux%u" : "%ux%ux%u";
    return (size_t)snprintf(out, TRIGO_SHAPE_TEXT, format, shape.x % 100u, shape.y % 100u,
                            shape.z % 100u);
}

kvf_status trigo_shape_read(const char *text, size_t len, trigo_shape *shape, kvf_error *err)
{
    int64_t size[3] = {0, 0, 1};
    size_t n = 0, digits = 0;
    bool good = true;
    for (size_t i = 0; i < len && good; i++) {
        if (text[i] == 'x') {
            good = digits && ++n < 3;
            digits = 0;
            continue;
        }
        good = text[i] >= '0' && text[i] <= '9' && digits < 9;
        size[n] = good ? (digits++ ? 10 * size[n] : 0) + (text[i] - '0') : 0;
    }
    if (good && digits && n) return trigo_shape_set(shape, size[0], size[1], size[2], err);
    char quoted[TRIGO_QUOTE_TEXT];
    return kvf_fail(err, KVF_ERR_ARG, "%s is no shape of a board, such as 5x5 or 5x5x5",
                    trigo_quote(text, len, quoted));
}

const char *trigo_quote(const char *text, size_t len, char out[TRIGO_QUOTE_TEXT])
{
    const size_t shown = len < 12 ? len : 12;
    size_t used = 0;
    out[used++] = '\'';
    for (size_t i = 0; i < shown; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 32 && c < 127)
            out[used++] = (char)c;
        else
            used += (size_t)snprintf(out + used, TRIGO_QUOTE_TEXT - used, "\\x%02x", c);
    }
    strcpy(out + used, shown < len ? "...'" : "'");
    return out;
}
