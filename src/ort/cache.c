/* cache.c - rows of K and V by slot, and the sides in which ONNX Runtime reads and writes them.
 *
 * The store is the truth: after each run its new rows, and nothing else, are copied there, so a
 * fork loses nothing, whatever lies in the sides. A side remembers for each of its places the
 * stamp of the stored row that it holds as well. A past is therefore compared with what lies
 * there already: if a batch goes on from the last run, nothing is copied; if it goes on from
 * elsewhere, only the rows that differ are.
 *
 *     heads   [layer][2] [batch, kv_heads, length, head_dim]
 *     length  [layer][2] [batch, length, kv_heads, head_dim]
 *     fused   [layer]    [2, batch, kv_heads, length, head_dim]
 *
 * Sides are dense for the batch and the length of the run that wrote them. Without the fused
 * layout neighbouring rows of a batch are a batch themselves, so one branch of several goes on
 * alone without a copy. */
#include "ort/ort.h"

#include <string.h>

/* ---- memory ---------------------------------------------------------------------------------- */

static uint32_t sides_of(const kvf_ort *e)
{
    return e->contract->cache == KVF_CACHE_NONE ? 0 : kvf_ort_in_place(e) ? 1 : 2;
}

static size_t row_bytes_of(const kvf_contract *c)
{
    return (size_t)c->kv_heads * c->head_dim * kvf_type_bits(c->kv_type) / 8;
}

static uint64_t times(uint64_t a, uint64_t b)
{
    uint64_t product;
    return kvf_mul(a, b, &product) ? product : UINT64_MAX;
}

/* Of all arrays except the rows themselves. */
static uint64_t index_bytes(uint32_t sides, uint64_t slots, uint64_t tokens)
{
    return 8 * slots + 8 * tokens * sides + 4 * tokens;
}

uint64_t kvf_ort_cache_bytes(const kvf_ort *e, uint32_t slots, uint32_t tokens, uint64_t *buffers)
{
    uint32_t n = sides_of(e);
    if (!n) return 0;
    uint64_t pair = 2 * (uint64_t)e->contract->layers * row_bytes_of(e->contract);
    uint64_t more = times(times(pair, tokens), n);
    if (!kvf_add(more, index_bytes(n, slots, tokens), &more) || !kvf_add(*buffers, more, buffers))
        *buffers = UINT64_MAX;
    return times(pair, slots);
}

kvf_status kvf_ort_cache_open(kvf_ort_cache *cache, const kvf_ort *e, uint32_t slots,
                              uint32_t tokens, kvf_error *err)
{
    uint32_t n = sides_of(e);
    *cache = (kvf_ort_cache){.contract = e->contract,
                             .slots = slots,
                             .tokens = tokens,
                             .fixed_length = e->fixed_length,
                             .in_place = kvf_ort_in_place(e)};
    if (!n) return KVF_OK;
    cache->row_bytes = row_bytes_of(e->contract);
    uint64_t pair = 2 * (uint64_t)e->contract->layers * cache->row_bytes;
    cache->store_bytes = times(pair, slots);
    cache->side_bytes = times(pair, tokens);
    if (cache->store_bytes == UINT64_MAX || cache->side_bytes == UINT64_MAX) goto no_memory;
    cache->store = kvf_pages(cache->store_bytes);
    cache->stamp = kvf_array(slots, sizeof *cache->stamp);
    cache->todo = kvf_array(tokens, sizeof *cache->todo);
    if (!cache->store || !cache->stamp || !cache->todo) goto no_memory;
    for (uint32_t i = 0; i < n; i++) {
        cache->side[i].base = kvf_pages(cache->side_bytes);
        cache->side[i].stamp = kvf_array(tokens, sizeof *cache->side[i].stamp);
        if (!cache->side[i].base || !cache->side[i].stamp) goto no_memory;
        kvf_touch_pages(cache->side[i].base, cache->side_bytes);
    }
    kvf_touch_pages(cache->store, cache->store_bytes);
    return KVF_OK;

no_memory:
    kvf_ort_cache_close(cache);
    return kvf_fail(err, KVF_ERR_NOMEM,
                    "no memory for %u cache rows of %llu bytes, and %u x %u more as buffers", slots,
                    (unsigned long long)pair, n, tokens);
}

void kvf_ort_cache_close(kvf_ort_cache *cache)
{
    for (int i = 0; i < 2; i++) {
        kvf_free_pages(cache->side[i].base, cache->side_bytes);
        kvf_free(cache->side[i].stamp);
    }
    kvf_free_pages(cache->store, cache->store_bytes);
    kvf_free(cache->stamp);
    kvf_free(cache->todo);
    *cache = (kvf_ort_cache){0};
}

/* ---- places ---------------------------------------------------------------------------------- */

static uint8_t *stored(const kvf_ort_cache *cache, uint32_t layer, uint32_t kv, uint32_t slot)
{
    return cache->store + ((uint64_t)(2 * layer + kv) * cache->slots + slot) * cache->row_bytes;
}

/* Where a tensor begins in a side, at one row of its batch. */
static uint8_t *tensor(const kvf_ort_cache *cache, const kvf_ort_side *side, uint32_t layer,
                       uint32_t kv, uint32_t row)
{
    uint64_t length = side->length;
    uint64_t before = cache->contract->layout == KVF_LAYOUT_FUSED
                          ? (uint64_t)2 * layer * cache->tokens + kv * side->batch * length
                          : (uint64_t)(2 * layer + kv) * cache->tokens;
    return side->base + (before + row * length) * cache->row_bytes;
}

/* Copy one row of K or V between its slot and a place in a side. */
static void copy_row(const kvf_ort_cache *cache, uint8_t *first, const kvf_ort_side *side,
                     uint32_t at, uint8_t *slot, bool to_store)
{
    const kvf_contract *c = cache->contract;
    if (c->layout == KVF_LAYOUT_LENGTH) {
        uint8_t *place = first + at * cache->row_bytes;
        memcpy(to_store ? slot : place, to_store ? place : slot, cache->row_bytes);
        return;
    }
    size_t head = cache->row_bytes / c->kv_heads;
    for (uint32_t h = 0; h < c->kv_heads; h++) {
        uint8_t *place = first + ((uint64_t)h * side->length + at) * head, *from = slot + h * head;
        memcpy(to_store ? from : place, to_store ? place : from, head);
    }
}

void *kvf_ort_cache_past(const kvf_ort_cache *cache, const kvf_ort_batch *batch, uint32_t layer,
                         uint32_t kv)
{
    return tensor(cache, &cache->side[batch->from], layer, kv, batch->from_row);
}

void *kvf_ort_cache_present(const kvf_ort_cache *cache, const kvf_ort_batch *batch, uint32_t layer,
                            uint32_t kv)
{
    return tensor(cache, &cache->side[batch->to], layer, kv, cache->in_place ? batch->from_row : 0);
}

/* ---- before a run ---------------------------------------------------------------------------- */

/* Children of the root have themselves as their past while they are found out: see run.c. */
static uint32_t past_of(const kvf_ort_batch *batch, uint32_t i)
{
    return batch->first ? 1 : batch->units[i]->past;
}

static bool lies_there(const kvf_ort_cache *cache, const kvf_ort_batch *batch,
                       const kvf_ort_side *side, uint32_t row)
{
    for (uint32_t i = 0; i < batch->n_units; i++) {
        const uint64_t *there = side->stamp + (uint64_t)(row + i) * side->length;
        const uint32_t *slots = batch->slots + (uint64_t)i * batch->past;
        /* From the end: paths of one tree differ there first. */
        for (uint32_t t = past_of(batch, i); t-- > 0;)
            if (there[t] != cache->stamp[slots[t]]) return false;
    }
    return true;
}

/* A side that could hold the past as it is cut now. */
static bool suits(const kvf_ort_cache *cache, const kvf_ort_batch *batch, const kvf_ort_side *side)
{
    if (cache->in_place)
        return side->batch >= batch->n_units && side->length >= batch->past + batch->n;
    if (cache->contract->layout == KVF_LAYOUT_FUSED && side->batch != batch->n_units) return false;
    return side->batch >= batch->n_units && side->length == batch->length;
}

/* The side, and the row of its batch, from which the fewest rows have to be copied: none if the
 * past lies there, else those that differ, else all. */
static void choose_side(kvf_ort_cache *cache, kvf_ort_batch *batch)
{
    uint32_t sides = cache->in_place ? 1 : 2, suitable = sides;
    batch->from_row = 0;
    for (uint32_t i = 0; i < sides; i++) {
        batch->from = (cache->recent + i) % sides;
        const kvf_ort_side *side = &cache->side[batch->from];
        if (!suits(cache, batch, side)) continue;
        if (suitable == sides) suitable = batch->from;
        for (uint32_t row = 0; row + batch->n_units <= side->batch; row++)
            if (lies_there(cache, batch, side, row)) {
                batch->from_row = row;
                return;
            }
    }
    batch->from = suitable;
    if (suitable < sides) return;
    batch->from = cache->in_place ? 0 : 1 - cache->recent;
    kvf_ort_side *side = &cache->side[batch->from];
    side->batch = batch->n_units;
    side->length = !cache->in_place      ? batch->length
                   : cache->fixed_length ? cache->fixed_length
                                         : cache->tokens / batch->n_units;
    memset(side->stamp, 0, cache->tokens * sizeof *side->stamp);
}

/* Copy those rows of the past that do not lie there. */
static void fill_past(kvf_ort_cache *cache, const kvf_ort_batch *batch)
{
    kvf_ort_side *side = &cache->side[batch->from];
    uint32_t n = 0;
    for (uint32_t i = 0; i < batch->n_units; i++)
        for (uint32_t t = 0; t < past_of(batch, i); t++) {
            uint64_t *there = &side->stamp[(uint64_t)(batch->from_row + i) * side->length + t];
            uint64_t stamp = cache->stamp[batch->slots[i * batch->past + t]];
            if (*there == stamp) continue;
            *there = stamp;
            cache->todo[n++] = i * batch->past + t;
        }
    for (uint32_t layer = 0; layer < cache->contract->layers; layer++)
        for (uint32_t kv = 0; kv < 2; kv++)
            for (uint32_t k = 0; k < n; k++) {
                uint32_t i = cache->todo[k] / batch->past, t = cache->todo[k] % batch->past;
                copy_row(cache, tensor(cache, side, layer, kv, batch->from_row + i), side, t,
                         stored(cache, layer, kv, batch->slots[cache->todo[k]]), false);
            }
    cache->copied_bytes += (uint64_t)n * 2 * cache->contract->layers * cache->row_bytes;
}

void kvf_ort_cache_place(kvf_ort_cache *cache, kvf_ort_batch *batch)
{
    if (cache->contract->cache == KVF_CACHE_NONE) return;
    batch->length = batch->past;
    batch->from = cache->recent;
    batch->from_row = 0;
    if (batch->past || cache->in_place) {
        choose_side(cache, batch);
        fill_past(cache, batch);
    }
    if (!cache->in_place) {
        batch->to = 1 - batch->from;
        kvf_ort_side *to = &cache->side[batch->to];
        to->batch = batch->n_units;
        to->length = batch->past + batch->n;
        memset(to->stamp, 0, (uint64_t)to->batch * to->length * sizeof *to->stamp);
        return;
    }
    kvf_ort_side *side = &cache->side[0];
    batch->to = 0;
    batch->length = side->length;
    /* The run overwrites these places, whatever becomes of it. */
    for (uint32_t i = 0; i < batch->n_units; i++)
        memset(side->stamp + (uint64_t)(batch->from_row + i) * side->length + past_of(batch, i), 0,
               batch->n * sizeof *side->stamp);
}

/* ---- after a run ----------------------------------------------------------------------------- */

/* In a fresh present the past lies as well. */
static void stamp_past(kvf_ort_cache *cache, const kvf_ort_batch *batch)
{
    kvf_ort_side *to = &cache->side[batch->to];
    for (uint32_t i = 0; i < batch->n_units; i++)
        for (uint32_t t = 0; t < batch->past; t++)
            to->stamp[(uint64_t)i * to->length + t] =
                cache->stamp[batch->slots[i * batch->past + t]];
}

static void store_row(kvf_ort_cache *cache, const kvf_ort_side *to, uint32_t row, uint32_t at,
                      uint32_t slot)
{
    for (uint32_t layer = 0; layer < cache->contract->layers; layer++)
        for (uint32_t kv = 0; kv < 2; kv++)
            copy_row(cache, tensor(cache, to, layer, kv, row), to, at,
                     stored(cache, layer, kv, slot), true);
    cache->copied_bytes += 2 * (uint64_t)cache->contract->layers * cache->row_bytes;
}

void kvf_ort_cache_take(kvf_ort_cache *cache, const kvf_ort_batch *batch, const kvf_pass *pass,
                        const uint32_t *order)
{
    kvf_ort_side *to = &cache->side[batch->to];
    cache->recent = batch->to;
    if (!cache->in_place) stamp_past(cache, batch);
    for (uint32_t i = 0; i < batch->n_units && batch->write; i++) {
        const kvf_ort_unit *u = batch->units[i];
        uint32_t row = cache->in_place ? batch->from_row + i : i;
        for (uint32_t j = 0; j < u->n; j++) {
            const kvf_row *r = &pass->rows[order[u->first + j]];
            if (r->stored) continue; /* what lies there now may differ in its last bits */
            uint32_t at = past_of(batch, i) + j;
            store_row(cache, to, row, at, r->slot);
            cache->stamp[r->slot] = ++cache->writes;
            to->stamp[(uint64_t)row * to->length + at] = cache->stamp[r->slot];
        }
    }
}
