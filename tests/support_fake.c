/* support_fake.c - see support_fake.h. */
#include "support_fake.h"

#include <string.h>

typedef struct fake_slot {
    uint64_t chain; /* of the path up to here; 0: never written, or not to be read again */
    int32_t token;
    uint64_t pass; /* that wrote it */
} fake_slot;

typedef struct fake_state {
    fake_model *m;
    kvf_limits limits;
    fake_slot *slots; /* [limits.slots] */
} fake_state;

static uint64_t extend(uint64_t chain, int32_t token)
{
    uint64_t x = (chain ^ (uint32_t)(token + 1)) * 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 31) * 0xbf58476d1ce4e5b9u;
    return (x ^ x >> 29) | 1;
}

static void write_outputs(uint64_t chain, int head, uint32_t width, float *out)
{
    for (uint32_t i = 0; i < width; i++) /* 24 bits: exact in f32 */
        out[i] = (float)(extend(chain + (uint64_t)head, (int32_t)i) >> 40);
}

void fake_outputs(const int32_t *tokens, size_t n, kvf_head head, uint32_t width, float *out)
{
    uint64_t chain = 0;
    for (size_t i = 0; i < n; i++) chain = extend(chain, tokens[i]);
    write_outputs(chain, (int)head, width, out);
}

static kvf_status wrong(kvf_error *err, uint32_t row, const char *what)
{
    return kvf_fail(err, KVF_ERR_ENGINE, "row %u of the pass: %s", row, what);
}

/* Follow what a row sees: sets chain to that of the slot before its own. */
static kvf_status follow_runs(const fake_state *s, const kvf_pass *pass, uint32_t r,
                              uint64_t *chain, kvf_error *err)
{
    const kvf_row *row = &pass->rows[r];
    uint32_t seen = 0;
    *chain = 0;
    if (!row->n_runs || row->first_run + row->n_runs > pass->n_runs)
        return wrong(err, r, "its runs are outside of the list");
    for (uint32_t i = 0; i < row->n_runs; i++) {
        kvf_run run = pass->runs[row->first_run + i];
        if (!run.count || seen > row->position) return wrong(err, r, "it has runs it does not see");
        if (run.first + run.count > s->limits.slots) return wrong(err, r, "a run is outside");
        for (uint32_t k = 0; k < run.count && seen <= row->position; k++, seen++) {
            const fake_slot *slot = &s->slots[run.first + k];
            if (seen == row->position) {
                if (run.first + k != row->slot) return wrong(err, r, "its last slot is another's");
                continue;
            }
            if (!slot->chain) return wrong(err, r, "it sees a slot without K and V");
            if (slot->chain != extend(*chain, slot->token))
                return wrong(err, r, "it sees a slot that is not of its path");
            *chain = slot->chain;
            if (seen + 1 == row->position && row->parent >= 0 &&
                pass->rows[row->parent].slot != run.first + k)
                return wrong(err, r, "its parent is another row");
        }
    }
    return seen == row->position + 1 ? KVF_OK : wrong(err, r, "its runs end before it");
}

static kvf_status run_row(fake_state *s, const kvf_pass *pass, uint32_t r,
                          const kvf_pass_outputs *out, kvf_error *err)
{
    const kvf_row *row = &pass->rows[r];
    if (row->position >= s->limits.depth) return wrong(err, r, "its position is too large");
    if (row->slot >= s->limits.slots) return wrong(err, r, "its slot is too large");
    if (row->parent >= (int32_t)r) return wrong(err, r, "its parent comes later");
    uint64_t before;
    kvf_status status = follow_runs(s, pass, r, &before, err);
    if (status) return status;
    fake_slot *slot = &s->slots[row->slot];
    uint64_t chain = extend(before, row->token);
    if (slot->pass == s->m->passes) return wrong(err, r, "another row has the same slot");
    if (row->stored && slot->chain != chain)
        return wrong(err, r, "its K and V should be there, but others are");
    if (!row->stored) s->m->unstored++;
    *slot = (fake_slot){.chain = chain, .token = row->token, .pass = s->m->passes};
    for (int h = 0; h < KVF_HEADS; h++) {
        float *to = out->head[h] ? out->head[h][r] : NULL;
        if (!to != !(row->want & KVF_WANT(h)))
            return wrong(err, r, "what it wants and where outputs go do not fit");
        if (to) write_outputs(chain, h, s->m->model.info.width[h], to);
    }
    return KVF_OK;
}

static kvf_status forward(void *state, const kvf_pass *pass, const kvf_pass_outputs *out,
                          kvf_error *err)
{
    fake_state *s = state;
    fake_model *m = s->m;
    if (!pass->n_rows || pass->n_rows > s->limits.rows)
        return kvf_fail(err, KVF_ERR_ENGINE, "a pass of %u rows", pass->n_rows);
    m->passes++;
    m->rows += pass->n_rows;
    m->lists += pass->n_runs;
    if (pass->n_rows > m->widest) m->widest = pass->n_rows;
    bool fail = m->fail_at && --m->fail_at == 0;
    for (uint32_t r = 0; r < pass->n_rows; r++) {
        if (fail) { /* as the contract allows: its rows are undefined now */
            if (!pass->rows[r].stored) s->slots[pass->rows[r].slot].chain = 0;
            continue;
        }
        kvf_status status = run_row(s, pass, r, out, err);
        if (status) return status;
    }
    /* Real engines run all rows layer by layer: no row may overwrite what another one sees. */
    for (uint32_t r = 0; r < pass->n_rows && !fail; r++) {
        uint64_t before;
        kvf_status status = follow_runs(s, pass, r, &before, err);
        if (status) return status;
    }
    if (!pass->keep) memset(s->slots, 0, s->limits.slots * sizeof *s->slots);
    return fail ? kvf_fail(err, KVF_ERR_ENGINE, "told to fail") : KVF_OK;
}

static uint64_t bytes(const void *engine, const kvf_limits *limits)
{
    (void)engine;
    return limits->slots * sizeof(fake_slot) + sizeof(fake_state);
}

static void close_state(void *state)
{
    fake_state *s = state;
    if (!s) return;
    kvf_free(s->slots);
    kvf_free(s);
}

static kvf_status open_state(void **state, void *engine, const kvf_limits *limits, kvf_error *err)
{
    fake_state *s = kvf_array(1, sizeof *s);
    if (s) s->slots = kvf_array(limits->slots, sizeof *s->slots);
    if (!s || !s->slots) {
        close_state(s);
        return kvf_fail(err, KVF_ERR_NOMEM, "%u slots", limits->slots);
    }
    s->m = engine;
    s->limits = *limits;
    *state = s;
    return KVF_OK;
}

static void stats(const void *state, kvf_engine_stats *stats)
{
    const fake_state *s = state;
    *stats = (kvf_engine_stats){.cache_bytes = s->limits.slots * sizeof(fake_slot),
                                .buffer_bytes = sizeof *s};
}

static const kvf_engine_ops fake_ops = {.name = "fake",
                                        .open = open_state,
                                        .close = close_state,
                                        .bytes = bytes,
                                        .forward = forward,
                                        .stats = stats};

void fake_model_init(fake_model *m, uint32_t vocab, uint32_t context)
{
    *m = (fake_model){.model = {.ops = &fake_ops, .engine = m}};
    m->model.info = (kvf_model_info){.vocab = vocab,
                                     .context = context,
                                     .width = {[KVF_LOGITS] = vocab, [KVF_VALUE] = 1},
                                     .bytes_per_token = sizeof(fake_slot),
                                     .weight_bytes = 1000,
                                     .engine = "fake",
                                     .caches = true};
    m->model.branches = true;
}
