/* support_forest.c - see support_forest.h. */
#include "support_forest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

void forest_draw(forest *f, kvf_rng *rng)
{
    for (int p = 0; p < FOREST_PATHS; p++) {
        uint32_t shared = p ? kvf_rng_below(rng, f->length) : 0;
        for (uint32_t i = 0; i < f->length; i++)
            f->token[p][i] =
                i < shared ? f->token[p - 1][i] : (int32_t)kvf_rng_below(rng, FOREST_VOCAB);
    }
}

kvf_tree *forest_tree(const kvf_model *model, uint32_t tokens, bool no_cache)
{
    kvf_tree *tree;
    kvf_error err;
    kvf_tree_options o = {.struct_size = sizeof o, .max_tokens = tokens, .no_cache = no_cache};
    if (kvf_tree_create(&tree, model, &o, &err)) fail_msg("%s", err.msg);
    return tree;
}

/* Evaluate n entries that all want logits and values, into rows of FOREST_WIDTH. */
static void eval(kvf_tree *tree, kvf_entry *entries, size_t n, kvf_node *nodes,
                 float (*rows)[FOREST_WIDTH])
{
    static float logits[FOREST_PATHS * FOREST_LENGTH * FOREST_VOCAB],
        values[FOREST_PATHS * FOREST_LENGTH];
    kvf_error err;
    for (size_t i = 0; i < n; i++) entries[i].want = KVF_WANT(KVF_LOGITS) | KVF_WANT(KVF_VALUE);
    kvf_outputs out = {{[KVF_LOGITS] = logits, [KVF_VALUE] = values}};
    if (kvf_eval(tree, entries, n, nodes, &out, &err)) fail_msg("%s", err.msg);
    for (size_t i = 0; i < n; i++) {
        memcpy(rows[i], logits + i * FOREST_VOCAB, FOREST_VOCAB * sizeof(float));
        rows[i][FOREST_VOCAB] = values[i];
    }
}

void forest_expect(forest *f, const kvf_model *model)
{
    kvf_entry entries[FOREST_LENGTH];
    kvf_node nodes[FOREST_LENGTH];
    for (int p = 0; p < FOREST_PATHS; p++) {
        kvf_tree *tree = forest_tree(model, f->length, false);
        for (uint32_t i = 0; i < f->length; i++)
            entries[i] =
                (kvf_entry){.token = f->token[p][i], .after = (int32_t)i - 1, .parent = KVF_ROOT};
        eval(tree, entries, f->length, nodes, f->want[p]);
        kvf_tree_destroy(tree);
    }
}

void forest_wander(const forest *f, const kvf_model *model, bool no_cache, int rounds, kvf_rng *rng,
                   const char *what)
{
    static float rows[FOREST_PATHS * FOREST_LENGTH][FOREST_WIDTH];
    kvf_tree *tree = forest_tree(model, f->length * 3, no_cache);
    uint32_t done[FOREST_PATHS] = {0};
    for (int round = 0; round < (no_cache ? 6 : rounds); round++) {
        kvf_entry entries[FOREST_PATHS * FOREST_LENGTH];
        kvf_node nodes[FOREST_PATHS * FOREST_LENGTH];
        struct {
            int path;
            uint32_t i;
        } at[FOREST_PATHS * FOREST_LENGTH];
        size_t n = 0;
        for (int p = 0; p < FOREST_PATHS; p++) {
            if (kvf_rng_below(rng, 3)) continue;
            if (done[p] && !kvf_rng_below(rng, 4)) done[p] = kvf_rng_below(rng, done[p]);
            size_t deepest_n;
            kvf_node parent;
            kvf_error err;
            if (kvf_match(tree, KVF_ROOT, f->token[p], done[p], &parent, &deepest_n, &err))
                fail_msg("%s", err.msg);
            done[p] = (uint32_t)deepest_n; /* what was evicted comes again */
            uint32_t piece = kvf_rng_below(rng, 3) ? 1 : 1 + kvf_rng_below(rng, 20);
            int32_t after = -1;
            for (; piece-- && done[p] < f->length && n < f->length * 2; done[p]++) {
                entries[n] =
                    (kvf_entry){.token = f->token[p][done[p]], .after = after, .parent = parent};
                at[n].path = p;
                at[n].i = done[p];
                after = (int32_t)n++;
            }
        }
        if (!n) continue;
        eval(tree, entries, n, nodes, rows);
        for (size_t i = 0; i < n; i++)
            if (memcmp(rows[i], f->want[at[i].path][at[i].i], sizeof rows[i]))
                fail_msg("%s: round %d, path %d, position %u differs", what, round, at[i].path,
                         at[i].i);
    }
    kvf_tree_destroy(tree);
}
