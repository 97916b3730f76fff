/* view.h - a game as a page to look at: the board at every ply, and what a search thinks of it.
 *
 *     view_read.c     a file of games   -> the game, and what its record says of each position
 *     view_search.c   an evaluator      -> what a search says of each position
 *     view_page.c     both              -> one HTML file; view_board.c draws its boards
 *     view.js         steps through the game, in the reader's browser
 *     view.css        how it looks there */
#ifndef TRIGO_VIEW_H
#define TRIGO_VIEW_H

#include "output.h"
#include "trigo/evaluator.h"
#include "trigo/game.h"

/* A move that was thought about. */
typedef struct trigo_view_move {
    trigo_move move;
    uint32_t visits;
    double prior, value; /* of the network; the search's W / N, above 0 if White is better; NAN: not
                            known */
} trigo_view_move;

/* What is known of a position. */
typedef struct trigo_view_position {
    uint32_t visits;        /* of the search's root; 0: there was none */
    double value, searched; /* by itself; as the search found it: W / N; NAN: not known */
    trigo_view_move *moves; /* [n] those with visits or a prior */
    uint32_t n;
} trigo_view_position;

typedef struct trigo_view {
    trigo_game *game;
    char *name;                     /* of the game: its file's, and its id in a record */
    char *analysis;                 /* who says what is known of positions; NULL: nothing is */
    trigo_view_position *positions; /* [game->plies + 1] */
} trigo_view;

/* Read a game from a file: its text (tgn.h), or the line number `number` (from 1, empty ones do not
 * count) of records, which are those of trigo replay and of self-play (played.h), or less: `shape`
 * and `moves`.
 *
 * view    set; free it with trigo_view_free, also after a failure
 * Errors  KVF_ERR_IO, KVF_ERR_NOMEM; KVF_ERR_ARG: file, line, and what is wrong there */
kvf_status trigo_view_read(trigo_view *view, const char *path, uint64_t number, kvf_error *err);
void trigo_view_free(trigo_view *view); /* zeroed is fine */

/* Search every position of the game anew, each by itself, so that what is found is what `trigo
 * analyze` says of it; it takes the place of what was known.
 *
 * simulations  for each, at least 2
 * progress     told after each of plies + 1 positions; may be NULL
 * Errors       those of the search */
kvf_status trigo_view_search(trigo_view *view, const trigo_evaluator *evaluator,
                             uint32_t simulations, void (*progress)(uint32_t done, uint32_t of),
                             kvf_error *err);

/* Write the page. Errors  KVF_ERR_IO, KVF_ERR_NOMEM; there is then no new file */
kvf_status trigo_view_write(const trigo_view *view, const char *path, kvf_error *err);

/* Draw a position: each layer z by itself, and, where there are several but not too many, all of
 * them as a stack. Every cell is a circle with the attribute data-c, its index; that of `last`, if it
 * is one, is marked. */
void trigo_view_boards(const trigo_board *board, trigo_move last, kvf_output *out);

#endif
