/* board.h - a position of Trigo: Go on X x Y x Z cells, each axis from 1 to 27.
 *
 *     cell = (x * Y + y) * Z + z      the only name of a cell here, and the order of every list;
 *                                     a 2D board has Z = 1
 *
 * A board is one position and the rules that lead to the next: it remembers no earlier move
 * beyond what the rules ask for (ko, passes). Whoever wants to go back keeps the steps:
 *
 *     trigo_step step;                                trigo_board *leaf = a board of that shape;
 *     trigo_board_play(b, move, &step);               trigo_board_copy(leaf, root);
 *     ...                                             trigo_board_play(leaf, move, NULL);
 *     trigo_board_undo(b, &step);                     ...
 *
 * Both ways cost nothing but the work: after create nothing is allocated. `trigo bench --rules`
 * measures them. Up to 19x19 and 9x9x9 a copy costs less than a step and its undo, so a search that
 * begins every walk at its root does best with a copy and steps without records.
 *
 * A board is used by one thread at a time; different boards share nothing. */
#ifndef TRIGO_BOARD_H
#define TRIGO_BOARD_H

#include "kvfork.h"

enum { TRIGO_MAX_AXIS = 27, TRIGO_MAX_CELLS = 27 * 27 * 27, TRIGO_MAX_NEIGHBOURS = 6 };

/* ---- shape, cell, move ----------------------------------------------------------------------- */

typedef struct trigo_shape {
    uint8_t x, y, z; /* each in [1, TRIGO_MAX_AXIS] */
} trigo_shape;

/* Set a shape from numbers that may be anything. Errors: KVF_ERR_ARG, which axis and its limits. */
kvf_status trigo_shape_set(trigo_shape *shape, int64_t x, int64_t y, int64_t z, kvf_error *err);

static inline uint32_t trigo_cells(trigo_shape s)
{
    return (uint32_t)s.x * s.y * s.z;
}

typedef struct trigo_xyz {
    uint8_t x, y, z; /* 0-based */
} trigo_xyz;

static inline trigo_xyz trigo_cell_xyz(trigo_shape s, uint32_t cell)
{
    return (trigo_xyz){(uint8_t)(cell / s.z / s.y), (uint8_t)(cell / s.z % s.y),
                       (uint8_t)(cell % s.z)};
}

/* A move is a cell to drop a stone on, or one of these. */
typedef uint16_t trigo_move;
enum {
    TRIGO_PASS = 0xfffd,
    TRIGO_RESIGN = 0xfffe,
    TRIGO_NONE = 0xffff, /* no cell, no move */
};

typedef enum trigo_colour { TRIGO_EMPTY = 0, TRIGO_BLACK = 1, TRIGO_WHITE = 2 } trigo_colour;

static inline trigo_colour trigo_other(trigo_colour c)
{
    return (trigo_colour)(3 - c);
}

/* ---- board ----------------------------------------------------------------------------------- */

/* One cell as part of its group: a ring of stones and, at its head, their sums. */
typedef struct trigo_stone {
    uint16_t head; /* the cell that stands for the group */
    uint16_t next; /* the ring */
    uint16_t size; /* at the head: stones of the group */
    uint16_t libs; /* at the head: pairs of a stone and an empty neighbour; 0: no liberty */
} trigo_stone;

/* All fields are for reading; only the functions below write them. */
typedef struct trigo_board {
    /* what the shape decides */
    trigo_shape shape;
    uint16_t cells;
    int32_t offset[TRIGO_MAX_NEIGHBOURS]; /* to the neighbour of bit i of edges */
    uint8_t *edges;                       /* [cells] bit i: there is a neighbour at offset[i] */

    /* the position */
    trigo_stone *stone; /* [cells] */
    uint8_t *colour;    /* [cells] trigo_colour */
    uint8_t *room;      /* [cells] empty neighbours */
    struct trigo_state {
        uint8_t to_move;  /* TRIGO_BLACK or TRIGO_WHITE, also when the game has ended */
        uint8_t passes;   /* in a row; two end the game */
        uint8_t resigned; /* the colour that did, or TRIGO_EMPTY */
        trigo_move ko;    /* the cell of the one stone that the last step captured, or TRIGO_NONE */
        uint16_t stones[3];   /* on the board, by colour */
        uint32_t captured[3]; /* stones taken off the board so far, by their own colour */
        uint32_t ply;         /* steps played */
    } now;
} trigo_board;

/* Create an empty board, Black to move.
 *
 * out     set on KVF_OK, else NULL; free it with trigo_board_destroy
 * Memory  trigo_board_bytes(shape): 1.5 kB for 5x5x5, 4 kB for 19x19, 0.2 MB for 27x27x27
 * Errors  KVF_ERR_ARG (shape), KVF_ERR_NOMEM */
kvf_status trigo_board_create(trigo_board **out, trigo_shape shape, kvf_error *err);
void trigo_board_destroy(trigo_board *board); /* NULL is fine */
size_t trigo_board_bytes(trigo_shape shape);

/* Make `to` the position of `from`; both have the same shape. Cost: copies 10 bytes a cell. */
void trigo_board_copy(trigo_board *to, const trigo_board *from);
void trigo_board_clear(trigo_board *board); /* back to the empty board, Black to move */

/* ---- rules ----------------------------------------------------------------------------------- */

/* What the rules say of a move. */
typedef enum trigo_verdict {
    TRIGO_LEGAL = 0,
    TRIGO_OFF_BOARD, /* no such cell */
    TRIGO_OCCUPIED,
    TRIGO_KO, /* it would take back, one for one, what the last step took; asked before suicide */
    TRIGO_SUICIDE, /* its group would have no liberty, and nothing is captured */
    TRIGO_ENDED,   /* the game is over */
} trigo_verdict;

const char *trigo_verdict_text(trigo_verdict verdict); /* "is forbidden by ko"; never NULL */

/* What the rules say of a drop by the side to move, whether or not the game has ended. */
trigo_verdict trigo_board_drop(const trigo_board *board, uint32_t cell);

/* List the legal drops of the side to move, whether or not the game has ended.
 *
 * drops   [cells]; filled in order of cells
 * Cost    a glance at each cell; a look at the groups only where a cell has no empty neighbour */
size_t trigo_board_drops(const trigo_board *board, trigo_move *drops);

/* What one step did, as much as undo needs. */
typedef struct trigo_step {
    trigo_move move;
    uint16_t captured; /* stones */
    trigo_stone under; /* what the cell's entry held */
    uint16_t joined[TRIGO_MAX_NEIGHBOURS], taken[TRIGO_MAX_NEIGHBOURS]; /* heads of groups */
    trigo_move ko;
    uint8_t n_joined, n_taken, passes;
} trigo_step;

/* Play a drop, TRIGO_PASS or TRIGO_RESIGN for the side to move.
 *
 * step    set on TRIGO_LEGAL; NULL if the step will not be undone
 * Returns TRIGO_LEGAL, or why not: then nothing has changed
 * Cost    the neighbours, the stones captured, and the smaller groups that are joined */
trigo_verdict trigo_board_play(trigo_board *board, trigo_move move, trigo_step *step);

/* Take back the last step that has not been taken back yet. */
void trigo_board_undo(trigo_board *board, const trigo_step *step);

/* List the cells that the last step captured, ascending; cells [step->captured]. */
void trigo_board_captured(const trigo_board *board, const trigo_step *step, uint16_t *cells);

/* ---- end and score --------------------------------------------------------------------------- */

static inline bool trigo_board_ended(const trigo_board *b)
{
    return b->now.passes >= 2 || b->now.resigned;
}

/* Area: stones, and empty regions that border one colour only; all else is neutral. */
typedef struct trigo_area {
    uint32_t black, white, neutral;
} trigo_area;

trigo_area trigo_board_area(const trigo_board *board); /* cost: one walk over the empty cells */

/* White's lead d as a value: 0, or sign(d) * (1 + ln|d|). */
double trigo_area_value(trigo_area area);

/* Whether a search stops here: the game has ended, or both colours have stones, more than half of
 * the cells are taken and no cell is neutral. Then *value (may be NULL) is the area's. */
bool trigo_board_terminal(const trigo_board *board, double *value);

/* Who won an ended game: the side that did not resign, else the greater area plus prisoners;
 * TRIGO_EMPTY for a draw, and while the game goes on. */
trigo_colour trigo_board_winner(const trigo_board *board);

#endif
