/* search.h - Monte Carlo tree search: which move to play, found by asking an evaluator.
 *
 * One simulation walks from the root to a node that has not been counted yet, going at every node
 * to the child with the largest
 *
 *     U = s * W / N + c_puct * P * sqrt(N_node + 1) / (1 + N)     s = 1 if White is to move, else -1
 *
 * (W / N is 0 while N is; the first candidate wins a tie), takes that position's value, and adds 1
 * to N and the value to W of every node on the path. Values are White's: they never change sign. A
 * terminal position has the value of its area, and the evaluator is not asked. So is a position
 * that is too long for the evaluator.
 *
 * Nodes and edges lie in two arrays; a node knows its first edge, an edge its child:
 *
 *     nodes   0: N 6  W 0.16 ── edges 0..2      1: N 4 ── edges 3..6      2: N 1, terminal     ...
 *     edges   0: z  P .58 ── node 1             3: c  P .71 ── node 3
 *             1: x  P .42 ── node 2             4: x  P .28 ── node 4
 *             2: Pass  P .00, no child          5: a ...
 *
 * Edges with a child come first, and the best of the others behind them. Only these need be looked
 * at: as long as a move was not tried, the larger P has the larger U. So a step down costs as much
 * as there are children, not moves, and no list is ever sorted.
 *
 * What is asked, and when. The value of a position is asked for when it is reached; its priors only
 * when it is reached again, which most positions never are. And since an evaluator does best with
 * many questions at once, a search that needs an answer looks ahead: it goes on with a guess in its
 * place, notes which answers it would need next, takes all of that back, and asks for all of them
 * together. The guess decides what is asked early, never what is counted: equal evaluators give
 * equal trees for every `batch`, bit for bit, and only the number of calls differs. */
#ifndef TRIGO_SEARCH_H
#define TRIGO_SEARCH_H

#include "trigo/evaluator.h"

typedef struct trigo_search trigo_search;

typedef struct trigo_search_options {
    double c_puct;      /* at least 0 */
    uint32_t batch;     /* questions put together, at least 1; 1: no looking ahead */
    bool eager;         /* ask for priors of every position, at once: same tree, more work */
    double noise_alpha; /* Dirichlet noise in the root's priors; 0: none */
    double noise_share; /* of the noise in them, from 0 to 1 */
    double temperature; /* moves are chosen with probability ~ N^(1/temperature) ... */
    uint32_t temperature_plies; /* ... in the first plies of a game; later the most visited */
    uint64_t seed;              /* of noise and choices */
    uint64_t max_bytes;         /* of nodes and edges; when they are full, leaves are no longer
                              expanded, but counted again */
} trigo_search_options;

enum { TRIGO_SEARCH_BATCH = 4 }; /* docs/trigo.md has the figures */

#define TRIGO_SEARCH_DEFAULTS                                                                      \
    ((trigo_search_options){.c_puct = 1,                                                           \
                            .batch = TRIGO_SEARCH_BATCH,                                           \
                            .noise_share = 0.25,                                                   \
                            .temperature = 1,                                                      \
                            .max_bytes = (uint64_t)1 << 30})

/* Begin at a position.
 *
 * out        set on KVF_OK, else NULL; free it with trigo_search_destroy
 * game       copied as far as needed
 * evaluator  copied; its state must outlive the search, and may be shared by any number of them
 * Memory     two boards, room for a batch of questions; nodes and edges grow by doubling
 * Errors     KVF_ERR_ARG (an option), KVF_ERR_NOMEM */
kvf_status trigo_search_create(trigo_search **out, const trigo_game *game,
                               const trigo_evaluator *evaluator,
                               const trigo_search_options *options, kvf_error *err);
void trigo_search_destroy(trigo_search *search); /* NULL is fine */

/* Simulate until the root has been visited so often, visits kept from earlier moves included, or
 * until so many seconds have passed (0: no such limit; the result then depends on the clock).
 *
 * Errors  those of the evaluator, KVF_ERR_NOMEM; the tree is as good as before, and the call may be
 *         repeated */
kvf_status trigo_search_run(trigo_search *search, uint32_t visits, double seconds, kvf_error *err);

/* The same in steps, for whoever has questions of several searches answered together:
 *
 *     while (!(status = trigo_search_next(search, visits, &asks, &n, err)) && n)
 *         status = evaluator.ask(evaluator.state, asks, n, err);
 *
 * Each call takes the answers to the questions of the last one, which must have been answered, and
 * simulates until it needs more: asks [n], the search's own, good until the next call. n = 0: done.
 * Errors  KVF_ERR_NOMEM */
kvf_status trigo_search_next(trigo_search *search, uint32_t visits, trigo_ask *const **asks,
                             size_t *n, kvf_error *err);

/* Forget the questions of the last trigo_search_next: they could not be answered. */
void trigo_search_forget(trigo_search *search);

/* Give the root the answer to a question about its position, value and priors, that the caller had
 * answered before the first step. Does nothing if the root has a value already. */
void trigo_search_set_root(trigo_search *search, const trigo_ask *answered);

/* ---- results --------------------------------------------------------------------------------- */

typedef struct trigo_search_root {
    uint32_t visits; /* N */
    double total;    /* W */
    double value;    /* of the position by itself: the evaluator's, or the terminal one; 0 before
                        the first visit */
    bool terminal;   /* the search stops here: the game is over, or as good as */
    bool out_of_context; /* it is terminal because it is too long for the evaluator */
    uint32_t moves;      /* how many trigo_search_children lists */
} trigo_search_root;
trigo_search_root trigo_search_get_root(const trigo_search *search);

typedef struct trigo_search_child {
    trigo_move move;
    double prior; /* P, to float precision, with noise if there is any */
    uint32_t visits;
    double total;
} trigo_search_child;

/* List the root's candidates in their order; children [moves]. None before priors were needed,
 * which is when the root is visited for the second time. */
void trigo_search_children(const trigo_search *search, trigo_search_child *children);

/* The most visited candidate, the first one on a tie; or one by the temperature where that applies.
 * TRIGO_NONE if the root has no candidates listed. */
trigo_move trigo_search_best(const trigo_search *search);
trigo_move trigo_search_choose(trigo_search *search);

/* Play a move: the child becomes the root and keeps its tree, all else is dropped.
 * Cost    copies what is kept
 * Errors  KVF_ERR_ARG (an illegal move), KVF_ERR_NOMEM, those of the evaluator's play; the search
 *         is then where it was */
kvf_status trigo_search_play(trigo_search *search, trigo_move move, kvf_error *err);

/* What the search has done since it was created. */
typedef struct trigo_search_stats {
    uint64_t simulations;
    uint64_t calls, values, priors; /* rounds of questions; positions asked for each */
    uint32_t nodes, edges;          /* now */
    uint32_t depth;                 /* of the longest path, in moves */
    uint64_t bytes;                 /* of nodes and edges, now */
    bool full;                      /* a leaf was not expanded for want of room */
    double asking_s;                /* spent in the evaluator by trigo_search_run */
} trigo_search_stats;
trigo_search_stats trigo_search_get_stats(const trigo_search *search);

#endif
