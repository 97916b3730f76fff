/* match.h - two players, many games: who is stronger, and by how much.
 *
 *     pair 0   opening 0   game 0: A is Black     game 1: A is White
 *     pair 1   opening 1   game 2: A is Black     game 3: A is White       ...
 *
 * An opening is a few random drops. Both games of a pair begin with it, so that what one side gains
 * by it the other gains in the second game. A game is a function of the seed and its number alone,
 * and games are counted in pairs, in their order: the result is the same for any number of threads.
 *
 * A game ends by two passes, and is then won by the rules; or, by area alone, when a search takes
 * the position for decided (trigo_board_terminal), when it is too long for a network that is to
 * move, and when it has so many plies. */
#ifndef TRIGO_MATCH_H
#define TRIGO_MATCH_H

#include <stdatomic.h>

#include "trigo/elo.h"
#include "trigo/player.h"

/* A game that was played. */
typedef struct trigo_match_game {
    uint32_t number;     /* from 0 */
    uint32_t opening;    /* plies that were drawn */
    bool swapped;        /* A is White */
    bool ended;          /* before the match did */
    trigo_end end;       /* if it has */
    trigo_colour winner; /* TRIGO_EMPTY: a draw */
    trigo_game *game;
} trigo_match_game;

typedef struct trigo_match_result {
    uint32_t won[2], drawn[2], lost[2]; /* by A: as Black, as White */
    trigo_pairs pairs;                  /* both of whose games were played */
    bool decided;                       /* by the test, so that not all games were needed */
    bool stopped;                       /* somebody asked to; games in flight are lost */
} trigo_match_result;

typedef struct trigo_match_options {
    const trigo_kind *kinds[2]; /* A and B, open */
    trigo_shape shape;
    uint32_t games; /* even, at least 2 */
    uint32_t opening_plies, max_plies, threads;
    uint64_t seed;
    const trigo_sprt *sprt;  /* NULL: play all games */
    const atomic_bool *stop; /* set by anybody, a signal too, to stop; may be NULL */

    /* Called for each game that counts, in their order, one at a time, from any thread; the game
     * goes when it returns, and the result is that of the pairs so far. NULL: not called. Errors
     * end the match. */
    kvf_status (*played)(void *user, const trigo_match_game *game, const trigo_match_result *result,
                         kvf_error *err);
    void *user;
} trigo_match_options;

/* Whether all numbers are possible; trigo_match begins so. Errors: KVF_ERR_ARG. */
kvf_status trigo_match_check(const trigo_match_options *options, kvf_error *err);

/* Play.
 *
 * result  set on KVF_OK
 * Memory  for each thread two players; games that wait for an earlier one
 * Errors  KVF_ERR_ARG (an option), those of the players and of `played`: "game 7: ..." */
kvf_status trigo_match(const trigo_match_options *options, trigo_match_result *result,
                       kvf_error *err);

#endif
