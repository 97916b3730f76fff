/* draw.h - a position as text for people.
 *
 *       layer a      layer 0      layer z
 *     z .  .  .    z .  .  .    z .  .  .        X Black, O White, (O) the last move, which
 *     0 . (O) .    0 .  X  .    0 .  .  .        is 00a here
 *     a .  .  .    a .  .  .    a X  .  .
 *       a  0  z      a  0  z      a  0  z
 *
 * The first character of a move's name goes to the right, the second up, the third is the layer.
 * Layers stand side by side as far as the width goes. */
#ifndef TRIGO_DRAW_H
#define TRIGO_DRAW_H

#include <stdio.h>

#include "trigo/board.h"

typedef struct trigo_drawing {
    trigo_move last; /* the move to mark; TRIGO_NONE, or no cell: none */
    uint32_t width;  /* columns of a line, as far as they are not needed; 0: as many as it takes */
    bool colour;     /* by escape sequences of a terminal */
    bool
        vertices; /* name rows and columns as the Go Text Protocol does: A B .. without I, 1 2 .. */
} trigo_drawing;

/* Draw; errors are the file's. */
void trigo_draw(FILE *out, const trigo_board *board, const trigo_drawing *how);

#endif
