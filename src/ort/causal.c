/* causal.c - whether a graph is a decoder at all. An encoder may have a decoder's inputs and outputs,
 * and would run; but what it gives for a token depends on those behind it, so that neither a cache
 * nor a comparison of two ways to cut a sequence would mean anything. Shapes do not tell. Two
 * sequences of two tokens are run that differ in the second: the first row must be the same. */
#include "ort/ort.h"

#include <math.h>
#include <string.h>

enum { TOKENS = 2 };

/* Masked rows add exact zeros, so that nothing but rounding could differ; only activations that are
 * quantised over all rows at once move by a step or two. */
static double tolerance_of(const kvf_ort *e)
{
    const kvf_onnx *onnx = e->model->onnx;
    for (uint32_t i = 0; i < onnx->n_operators; i++)
        if (strstr(onnx->operators[i].name, "DynamicQuantize")) return 0.2;
    return 1e-3;
}

/* By more than tolerance times the range of a; of one number, times itself. NaNs count for nothing. */
static bool differ(const float *a, const float *b, uint32_t width, double tolerance)
{
    double low = width > 1 ? INFINITY : 0, high = low ? -INFINITY : 0, most = 0;
    for (uint32_t i = 0; i < width; i++) {
        low = fmin(low, a[i]);
        high = fmax(high, a[i]);
        most = fmax(most, fabs((double)a[i] - b[i]));
    }
    return most > tolerance * (high - low);
}

/* What a head gives for the first of two tokens: row [width]. */
static kvf_status run(void *state, const kvf_ort *e, kvf_head head, uint32_t second, float *row,
                      kvf_error *err)
{
    uint32_t first = e->contract->vocab / 2; /* the ends of a vocabulary are often padding */
    const kvf_run whole = {0, TOKENS};
    const kvf_row rows[TOKENS] = {
        {.token = (int32_t)first, .parent = -1, .n_runs = 1, .want = KVF_WANT(head)},
        {.token = (int32_t)second, .position = 1, .slot = 1, .n_runs = 1}};
    const kvf_pass pass = {.rows = rows, .runs = &whole, .n_rows = TOKENS, .n_runs = 1};
    float *const to[TOKENS] = {row, NULL};
    kvf_pass_outputs out = {{NULL}};
    out.head[head] = to;
    return kvf_engine_ort.forward(state, &pass, &out, err);
}

static kvf_status compare(void *state, const kvf_ort *e, kvf_head head, kvf_error *err)
{
    uint32_t width = e->contract->width[head], vocab = e->contract->vocab;
    float *rows = kvf_array((size_t)2 * width, sizeof *rows); /* [2][width] */
    if (!rows) return kvf_fail(err, KVF_ERR_NOMEM, "no memory for two rows of outputs");
    kvf_status status = run(state, e, head, vocab / 3, rows, err);
    if (!status) status = run(state, e, head, vocab - 1 - vocab / 3, rows + width, err);
    if (!status && differ(rows, rows + width, width, tolerance_of(e)))
        status = kvf_fail(err, KVF_ERR_MODEL,
                          "%s: what it gives for a token depends on the tokens behind it: this is "
                          "an encoder, and no decoder",
                          e->model->onnx->path);
    else if (status != KVF_ERR_NOMEM)
        status = KVF_OK; /* who cannot run two tokens at once may run one; the caller's run tells */
    kvf_free(rows);
    return status;
}

kvf_status kvf_ort_check_causal(kvf_ort *e, kvf_error *err)
{
    const kvf_contract *c = e->contract;
    uint32_t head = 0;
    while (head < KVF_HEADS && !c->width[head]) head++;
    /* With the tree contract a mask of ours says what each row may see. */
    if (c->tree || head == KVF_HEADS || c->vocab < 2 || c->context == 1) return KVF_OK;
    void *state;
    const kvf_limits limits = {.slots = TOKENS, .rows = TOKENS, .depth = TOKENS};
    kvf_status status = kvf_engine_ort.open(&state, e, &limits, err);
    if (!status) status = compare(state, e, (kvf_head)head, err);
    if (state) kvf_engine_ort.close(state);
    return status;
}
