/* evaluator.c - one question, and the evaluator that knows nothing. */
#include "trigo/evaluator.h"

#include <math.h>

#include "base.h"

static kvf_status ask_one(const trigo_evaluator *e, trigo_ask *ask, const trigo_game *game,
                          kvf_error *err)
{
    kvf_status status = e->open(e->state, game, &ask->root, err);
    if (status) return status;
    status = e->ask(e->state, &ask, 1, err);
    e->close(e->state, ask->root);
    ask->root = NULL;
    return status;
}

kvf_status trigo_evaluate(trigo_evaluation *out, const trigo_evaluator *evaluator,
                          const trigo_game *game, kvf_error *err)
{
    *out = (trigo_evaluation){.ask.want_value = true};
    kvf_status status = trigo_candidates_create(&out->candidates, game->board->shape, err);
    if (status) return status;
    trigo_candidates_list(out->candidates, game->board);
    uint32_t n = out->candidates->n;
    out->ask.candidates = n ? out->candidates : NULL;
    out->ask.priors = kvf_array(n + 1, sizeof *out->ask.priors);
    out->ask.scores = kvf_array(n + 1, sizeof *out->ask.scores);
    status = out->ask.priors && out->ask.scores
                 ? ask_one(evaluator, &out->ask, game, err)
                 : kvf_fail(err, KVF_ERR_NOMEM, "priors of %u candidates", n);
    if (status) trigo_evaluation_free(out);
    return status;
}

void trigo_evaluation_free(trigo_evaluation *evaluation)
{
    trigo_candidates_destroy(evaluation->candidates);
    kvf_free(evaluation->ask.priors);
    kvf_free(evaluation->ask.scores);
    *evaluation = (trigo_evaluation){0};
}

static kvf_status open_nothing(void *state, const trigo_game *game, void **root, kvf_error *err)
{
    (void)state, (void)game, (void)err;
    *root = NULL;
    return KVF_OK;
}

static void close_nothing(void *state, void *root)
{
    (void)state, (void)root;
}

static kvf_status play_nothing(void *state, void *root, trigo_move move, uint64_t note,
                               kvf_error *err)
{
    (void)state, (void)root, (void)move, (void)note, (void)err;
    return KVF_OK;
}

static kvf_status answer_evenly(void *state, trigo_ask *const *asks, size_t n, kvf_error *err)
{
    (void)state, (void)err;
    for (size_t i = 0; i < n; i++) {
        trigo_ask *a = asks[i];
        a->out_of_context = false;
        a->value = 0;
        for (uint32_t k = 0; a->candidates && k < a->candidates->n; k++) {
            a->priors[k] = 1.0 / a->candidates->n;
            if (a->scores) a->scores[k] = -log(a->candidates->n);
        }
    }
    return KVF_OK;
}

trigo_evaluator trigo_uniform(void)
{
    return (trigo_evaluator){.open = open_nothing,
                             .close = close_nothing,
                             .play = play_nothing,
                             .ask = answer_evenly};
}
