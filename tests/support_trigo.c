/* support_trigo.c - see support_trigo.h. */
#include "support_trigo.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "rng.h"

/* ---- hashes ---------------------------------------------------------------------------------- */

static kvf_rng rng_of(const trigo_move *moves, uint32_t n, uint64_t salt)
{
    uint64_t hash = salt;
    for (uint32_t i = 0; i < n; i++) hash = (hash ^ moves[i]) * 0x9e3779b97f4a7c15u + n;
    kvf_rng rng;
    kvf_rng_seed(&rng, hash);
    return rng;
}

double hash_value(const trigo_move *moves, uint32_t n)
{
    kvf_rng rng = rng_of(moves, n, 1);
    return 2 * kvf_rng_uniform(&rng) - 1;
}

/* Few moves are likely, as in a network; some are equal. */
void hash_priors(const trigo_move *moves, uint32_t n, const trigo_candidates *c, double *priors)
{
    kvf_rng rng = rng_of(moves, n, 2);
    double sum = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        priors[i] = exp(-8 * kvf_rng_uniform(&rng));
        if (i && kvf_rng_below(&rng, 5) == 0) priors[i] = priors[i - 1];
        sum += priors[i];
    }
    for (uint32_t i = 0; i < c->n; i++) priors[i] = (float)(priors[i] / sum);
}

/* ---- evaluator ------------------------------------------------------------------------------- */

typedef struct moves_of_root {
    trigo_move *moves;
    uint32_t n;
} moves_of_root;

static kvf_status open_moves(void *state, const trigo_game *game, void **out, kvf_error *err)
{
    (void)state;
    moves_of_root *r = calloc(1, sizeof *r);
    if (r) r->moves = malloc((game->plies + 4096) * sizeof *r->moves);
    if (!r || !r->moves) abort();
    for (; r->n < game->plies; r->n++) r->moves[r->n] = game->steps[r->n].move;
    *out = r;
    (void)err;
    return KVF_OK;
}

static void close_moves(void *state, void *root)
{
    (void)state;
    moves_of_root *r = root;
    free(r->moves);
    free(r);
}

static kvf_status play_moves(void *state, void *root, trigo_move move, uint64_t note,
                             kvf_error *err)
{
    (void)state, (void)note, (void)err;
    moves_of_root *r = root;
    r->moves[r->n++] = move;
    return KVF_OK;
}

static uint64_t note_of(const trigo_move *moves, uint32_t n)
{
    kvf_rng rng = rng_of(moves, n, 3);
    return kvf_rng_next(&rng) | 1;
}

static kvf_status answer(void *state, trigo_ask *const *asks, size_t n, kvf_error *err)
{
    hash_evaluator *h = state;
    h->calls++;
    if (n > h->widest) h->widest = (uint32_t)n;
    if (h->fail_at && !--h->fail_at) return kvf_fail(err, KVF_ERR_ENGINE, "as the test asked for");
    for (size_t i = 0; i < n; i++) {
        trigo_ask *a = asks[i];
        const moves_of_root *r = a->root;
        uint32_t plies = r->n + a->n_moves;
        trigo_move *moves = malloc((plies + 1) * sizeof *moves);
        if (!moves) abort();
        memcpy(moves, r->moves, r->n * sizeof *moves);
        if (a->n_moves) memcpy(moves + r->n, a->moves, a->n_moves * sizeof *moves);
        if (a->note && a->note != note_of(moves, plies)) abort();
        if (a->note_before && (!plies || a->note_before != note_of(moves, plies - 1))) abort();
        a->out_of_context = h->most_plies && plies > h->most_plies;
        if (!a->out_of_context) {
            a->note = note_of(moves, plies);
            if (a->want_value) a->value = hash_value(moves, plies);
            if (a->candidates) hash_priors(moves, plies, a->candidates, a->priors);
            h->values += a->want_value;
            h->priors += a->candidates != NULL;
        }
        free(moves);
    }
    return KVF_OK;
}

trigo_evaluator hash_evaluator_of(hash_evaluator *h)
{
    return (trigo_evaluator){
        .state = h, .open = open_moves, .close = close_moves, .play = play_moves, .ask = answer};
}

/* ---- games ----------------------------------------------------------------------------------- */

trigo_game *random_game(trigo_shape shape, uint32_t plies, uint64_t seed)
{
    trigo_game *game;
    kvf_rng rng;
    kvf_rng_seed(&rng, seed);
    trigo_move *drops = malloc(trigo_cells(shape) * sizeof *drops);
    if (!drops || trigo_game_create(&game, shape, NULL)) abort();
    while (game->plies < plies) {
        uint32_t n = (uint32_t)trigo_board_drops(game->board, drops);
        bool pass = n == 0 || kvf_rng_below(&rng, 30) == 0;
        if (pass && game->board->now.passes) {
            if (n == 0) break; /* a second pass would end it */
            pass = false;
        }
        if (trigo_game_play(game, pass ? TRIGO_PASS : drops[kvf_rng_below(&rng, n)], NULL)) abort();
    }
    free(drops);
    return game;
}
