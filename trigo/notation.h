/* notation.h - how moves and shapes are written.
 *
 * A cell is one character for each axis, without the axes of size 1 at the end of the shape. Along
 * an axis of size s the middle cell (s - 1) / 2 is `0`, cells before it are a b c ... from the low
 * end, and those after it ... x y z up to the high end: a b 0 y z for 5, a 0 y z for 4. So a
 * 5x5x5 board has `000` in its centre, 5x5x1 has `0z`, 1x5x1 has `0b`, and the one cell of 1x1x1 is
 * the empty string. The other moves are `Pass` and `Resign`. */
#ifndef TRIGO_NOTATION_H
#define TRIGO_NOTATION_H

#include "trigo/board.h"

enum {
    TRIGO_MOVE_TEXT = 8,   /* room for any move and its terminator */
    TRIGO_SHAPE_TEXT = 12, /* room for any shape and its terminator */
    TRIGO_QUOTE_TEXT = 64, /* room for what trigo_quote makes */
};

/* Write a move (a cell of the shape, TRIGO_PASS, TRIGO_RESIGN), terminated. Returns its length. */
size_t trigo_move_write(trigo_shape shape, trigo_move move, char out[TRIGO_MOVE_TEXT]);

/* Read a move; the whole of text[len] must be one. On even axes the letter that would continue
 * the low side is taken for the middle too (`b` for `0` of 4 cells).
 * Errors: KVF_ERR_ARG, what the text is and what a cell of this shape looks like. */
kvf_status trigo_move_read(trigo_shape shape, const char *text, size_t len, trigo_move *move,
                           kvf_error *err);

/* The character for an index on an axis (0 for X, 1, 2) in the names of cells; '\0' if they do not
 * name the axis. */
char trigo_axis_char(trigo_shape shape, int axis, uint32_t index);

/* Write a shape as `5x5x5`, or `5x5` where Z is 1, terminated. Returns its length. */
size_t trigo_shape_write(trigo_shape shape, char out[TRIGO_SHAPE_TEXT]);

/* Read a shape; the whole of text[len] must be one: `5x5`, `5x5x5`, also `5x5x1`.
 * Errors: KVF_ERR_ARG, what the text is and what a shape looks like. */
kvf_status trigo_shape_read(const char *text, size_t len, trigo_shape *shape, kvf_error *err);

/* Make the start of any bytes fit to stand in a message: '5x\x00' in quotes. Returns out. */
const char *trigo_quote(const char *text, size_t len, char out[TRIGO_QUOTE_TEXT]);

#endif
