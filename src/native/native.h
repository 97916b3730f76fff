/* native.h - the native engine: a plan with packed weights, and its passes.
 *
 * native.c makes a model ready and takes a tree's memory; forward.c is the pass, told in model
 * order; attend.c is attention along paths. linear.h has the products, vector.h everything else. */
#ifndef KVF_NATIVE_H
#define KVF_NATIVE_H

#include "engine.h"
#include "native/linear.h"
#include "native/pool.h"
#include "native/vector.h"
#include "plan.h"
#include "tiles.h"

#include <stdatomic.h>

typedef struct native_layer {
    kvf_packed qkv; /* q, k and v side by side: [heads + 2 * kv_heads][head_dim] outputs */
    kvf_packed o, gate, up, down;
} native_layer;

/* A model made ready; shared by all its trees, immutable but for the pool. */
typedef struct native_engine {
    const kvf_plan *plan;
    const kvf_linear_table *linear;
    const kvf_vector *vector;
    kvf_pool *pool;
    native_layer *layer;                        /* [plan->layers] */
    kvf_packed head[KVF_HEADS][KVF_MAX_STAGES]; /* of linear stages */
    kvf_precision precision;
    bool bf16_cache;
    uint32_t q_dim, kv_dim; /* heads * head_dim, kv_heads * head_dim */
    uint32_t side, bundles; /* heads of K and V that lie side by side, and how many such bundles */
    bool turned;            /* q, k and v come out of their product in that order */
    uint32_t widest_stage;  /* of heads that are stacks: the longest row between two stages */
    uint64_t weight_bytes, layer_parameters;
    size_t prepared_stride; /* bytes of a row made ready for any product */
    double alone_below;     /* seconds: shorter passes are not worth waking a team and meeting */
    uint64_t apart_bytes;   /* of weights that every processor may read for itself */
} native_engine;

enum { TILE_ROWS = KVF_ATTEND_ROWS, FEW_ROWS = 4 };

/* Buffers of one member of the team. */
typedef struct native_own {
    float *h;          /* [FEW_ROWS][wide] rows made ready alone */
    uint8_t *prepared; /* of FEW_ROWS rows */
    float *attend;     /* [TILE_ROWS][bundles][group][state] */
    uint8_t *block;    /* [2][KVF_BLOCK][head_dim][side] K and V of a block that many rows see */
    float *stack;      /* [2][TILE_ROWS][widest_stage] */
} native_own;

/* One tree: its rows of K and V, and the buffers of a pass. */
typedef struct native_state {
    const native_engine *engine;
    kvf_limits limits;
    uint8_t *cache; /* [layers][2][slots][bundles][head_dim][side] f32 or bf16 */
    uint64_t cache_bytes;
    uint8_t *memory; /* all that follows */
    uint64_t memory_bytes;
    float *x, *h;              /* [rows][hidden_stride] the residual stream; rows made ready */
    float *qkv;                /* [rows][qkv_stride] */
    float *a;                  /* [rows][q_stride] results of attention */
    float *up, *gate;          /* [rows][up_stride] */
    float *y;                  /* [rows][hidden_stride] what is added to x */
    uint8_t *prepared;         /* of all rows, for the widest product */
    float *cos, *sin;          /* [depth][pairs] of rotaries that are given as frequencies */
    uint32_t *all, *wanted;    /* [rows] indices: all of them, and those with outputs */
    kvf_tile *tiles;           /* [rows] */
    native_own *own;           /* [threads] */
    struct native_part *parts; /* [threads] of a pass that members do apart */
    uint32_t n_parts;
    size_t hidden_stride, qkv_stride, q_stride, up_stride;
} native_state;

/* A part of a pass: neighbouring rows, in the buffers of their places. Done apart, it waits for
 * nothing but K and V of earlier parts, layer by layer, and only if rows descend from theirs. */
typedef struct native_part {
    native_state s;
    kvf_pass pass;
    kvf_pass_outputs out;
    uint32_t n_wanted, n_tiles, n_wanted_tiles;
    uint32_t before;         /* parts to wait for: as many that stand before this one */
    const kvf_member *by;    /* of the team, who does it */
    _Atomic uint32_t stored; /* layers whose K and V are stored */
} native_part;

kvf_status kvf_native_forward(void *state, const kvf_pass *pass, const kvf_pass_outputs *out,
                              kvf_error *err);

/* ---- attend.c -------------------------------------------------------------------------------- */

/* Neighbouring bundles of heads of K and V, with the query heads that share them. */
typedef struct native_bundle_range {
    uint32_t first, n;
} native_bundle_range;

/* Attention of one tile by one member of the team: reads q of the rows from s->qkv (turned), K and V from the cache, and
 * writes s->a. */
void kvf_native_attend(const native_state *s, const kvf_pass *pass, const uint32_t *active,
                       const kvf_tile *tile, uint32_t layer, native_bundle_range bundles,
                       const native_own *own);

/* Bytes of an element of K and V. */
static inline size_t native_element(const native_engine *e)
{
    return e->bf16_cache ? 2 : 4;
}

static inline uint8_t *native_rows(const native_state *s, uint32_t layer, uint32_t v)
{
    const native_engine *e = s->engine;
    return s->cache + ((size_t)layer * 2 + v) * s->limits.slots * e->kv_dim * native_element(e);
}
#endif
