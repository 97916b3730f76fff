/* support_walk.c - see support_walk.h. */
#include "support_walk.h"

#include "rng.h"
#include "support_expected.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

enum { MAX_NODES = 96, MAX_ROWS = 64, MAX_CHAINS = 4, MAX_CHAIN = 8 };

typedef struct walk {
    kvf_tree *cached, *twin;
    kvf_head head;
    uint32_t vocab, width;
    kvf_rng rng;
    uint32_t n; /* nodes there are; 0 is the root */
    kvf_node node[MAX_NODES];
    uint32_t parent[MAX_NODES], depth[MAX_NODES];
    int32_t token[MAX_NODES];
} walk;

static kvf_tree *open_tree(const kvf_model *m, bool no_cache)
{
    kvf_tree_options o = {.struct_size = sizeof o, .max_tokens = MAX_NODES, .no_cache = no_cache};
    kvf_tree *t;
    kvf_error err;
    if (kvf_tree_create(&t, m, &o, &err)) fail_msg("%s", err.msg);
    return t;
}

static void eval(const walk *w, kvf_tree *t, const kvf_entry *entries, size_t n, kvf_node *nodes,
                 float *rows)
{
    kvf_outputs out = {0};
    out.head[w->head] = rows;
    kvf_error err;
    if (kvf_eval(t, entries, n, nodes, &out, &err)) fail_msg("%s", err.msg);
}

static uint32_t child_of(walk *w, uint32_t parent, int32_t token)
{
    uint32_t i = 1;
    while (i < w->n && (w->parent[i] != parent || w->token[i] != token)) i++;
    if (i == w->n) {
        w->parent[i] = parent;
        w->token[i] = token;
        w->depth[i] = w->depth[parent] + 1;
        w->n++;
    }
    return i;
}

/* A batch of a few chains: each goes on from any node, old or of this batch, or names again what
 * is there. index says which node each entry is. */
static uint32_t random_batch(walk *w, kvf_entry *entries, uint32_t *index)
{
    uint32_t chains = 1 + kvf_rng_below(&w->rng, MAX_CHAINS), n = 0, old = w->n;
    for (uint32_t c = 0; c < chains; c++) {
        uint32_t at = kvf_rng_below(&w->rng, 3) ? kvf_rng_below(&w->rng, w->n) : w->n - 1;
        uint32_t length = kvf_rng_below(&w->rng, 3) ? 1 : 1 + kvf_rng_below(&w->rng, MAX_CHAIN);
        if (at && !kvf_rng_below(&w->rng, 4)) at = w->parent[at]; /* so that siblings meet */
        for (uint32_t i = 0; i < length && n < MAX_ROWS; i++, n++) {
            int32_t after = -1;
            for (uint32_t k = 0; k < n && at >= old; k++)
                if (index[k] == at) after = (int32_t)k;
            entries[n] = (kvf_entry){.token = (int32_t)kvf_rng_below(&w->rng, w->vocab),
                                     .after = after,
                                     .parent = after < 0 ? w->node[at] : KVF_ROOT,
                                     .want = KVF_WANT(w->head)};
            at = index[n] = child_of(w, at, entries[n].token);
        }
    }
    return n;
}

/* The last row of a path, computed from nothing. */
static void recompute(const walk *w, uint32_t node, float *row)
{
    kvf_entry path[MAX_NODES];
    uint32_t length = w->depth[node];
    for (uint32_t i = length; i-- > 0; node = w->parent[node])
        path[i] = (kvf_entry){.token = w->token[node],
                              .after = (int32_t)i - 1,
                              .want = i + 1 == length ? KVF_WANT(w->head) : 0};
    eval(w, w->twin, path, length, NULL, row);
}

static double walk_on(walk *w, const char *name, float *got, float *want, double most)
{
    kvf_entry entries[MAX_ROWS];
    kvf_node nodes[MAX_ROWS];
    uint32_t index[MAX_ROWS], n = random_batch(w, entries, index);
    double worst = 0;
    eval(w, w->cached, entries, n, nodes, got);
    for (uint32_t i = 0; i < n; i++) {
        const float *row = got + (size_t)i * w->width;
        w->node[index[i]] = nodes[i];
        recompute(w, index[i], want);
        double off = largest_difference(row, want, w->width);
        if (off > worst) worst = off;
        if (!(off <= most) || !same_choice(row, want, w->width, most))
            fail_msg("%s: row %u of a batch of %u, at depth %u, is off by %g", name, i, n,
                     w->depth[index[i]], off);
    }
    return worst;
}

double walk_and_compare(const char *name, const kvf_model *cached, const kvf_model *twin,
                        kvf_head head, double most)
{
    const kvf_model_info *info = kvf_model_get_info(cached);
    walk w = {.n = 1,
              .head = head,
              .vocab = info->vocab,
              .width = info->width[head],
              .cached = open_tree(cached, false),
              .twin = open_tree(twin, true)};
    float *got = calloc((size_t)MAX_ROWS * w.width, sizeof *got);
    float *want = calloc(w.width, sizeof *want);
    double worst = 0;
    kvf_rng_seed(&w.rng, 17);
    while (w.n + MAX_CHAINS * MAX_CHAIN <= MAX_NODES) {
        double off = walk_on(&w, name, got, want, most);
        if (off > worst) worst = off;
    }
    kvf_tree_stats stats;
    kvf_tree_get_stats(w.cached, &stats);
    assert_int_equal(stats.moved_buffers, 0);
    kvf_tree_destroy(w.cached);
    kvf_tree_destroy(w.twin);
    free(got);
    free(want);
    return worst;
}
