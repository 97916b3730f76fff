/* evaluator.c - the evaluator that knows nothing. */
#include "trigo/evaluator.h"

#include <math.h>

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
