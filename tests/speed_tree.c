/* speed_tree.c - what the calls on a tree cost, at a million nodes and at a thousand: a tool, not a
 * test. The engine beneath does nothing, so that only the tree is measured.
 *
 * usage: speed_tree [NODES ...]
 *
 * Each batch adds 64 pairs of tokens. "near": below some of the last 256 nodes, as paths of up to
 * 256 tokens that grow side by side, and calls name nodes in the order they were added. "anywhere": below any node, and
 * calls name any node, so that in a large tree all that they touch is in no cache of the processor. */
#include "rng.h"
#include "tree.h"

#include <stdio.h>
#include <stdlib.h>

enum { PAIRS = 64, BATCH = 2 * PAIRS, VOCAB = 50000, CALLS = 2000000, CONTEXT = 256 };

static kvf_status forward(void *state, const kvf_pass *pass, const kvf_pass_outputs *out,
                          kvf_error *err)
{
    (void)state, (void)pass, (void)out, (void)err;
    return KVF_OK;
}
static kvf_status open_state(void **state, void *engine, const kvf_limits *limits, kvf_error *err)
{
    (void)engine, (void)limits, (void)err;
    *state = NULL;
    return KVF_OK;
}
static void close_state(void *state)
{
    (void)state;
}
static uint64_t no_bytes(const void *engine, const kvf_limits *limits)
{
    (void)engine, (void)limits;
    return 0;
}
static void no_stats(const void *state, kvf_engine_stats *stats)
{
    (void)state, (void)stats;
}
static const kvf_engine_ops idle = {.name = "idle",
                                    .open = open_state,
                                    .close = close_state,
                                    .bytes = no_bytes,
                                    .forward = forward,
                                    .stats = no_stats};

typedef struct speed {
    kvf_tree *tree;
    kvf_node *node; /* [n] those that were added, in order; the newest in place of the oldest */
    uint32_t n, most, next;
    bool scattered;
    kvf_rng rng;
} speed;

/* The i-th node to be asked about. */
static kvf_node pick(speed *s, uint32_t i)
{
    return s->node[s->scattered ? kvf_rng_below(&s->rng, s->n) : i % s->n];
}

static kvf_node parent_for(speed *s)
{
    enum { NEAR = 256 };
    if (s->n < NEAR) return KVF_ROOT;
    uint32_t back = 1 + kvf_rng_below(&s->rng, s->scattered ? s->n : NEAR);
    kvf_node parent = s->node[(s->next + s->n - back) % s->n];
    uint32_t depth;
    bool gone = kvf_node_depth(s->tree, parent, &depth, NULL) != KVF_OK;
    return gone || depth > CONTEXT ? KVF_ROOT : parent;
}

/* Add nodes, and hold them or not; seconds for each. */
static double grow(speed *s, uint32_t nodes, bool hold)
{
    double seconds = 0;
    for (uint32_t done = 0; done < nodes; done += BATCH) {
        kvf_entry entries[BATCH];
        kvf_node added[BATCH];
        for (int i = 0; i < BATCH; i += 2) {
            int32_t token = (int32_t)kvf_rng_below(&s->rng, VOCAB);
            entries[i] = (kvf_entry){.token = token, .after = -1, .parent = parent_for(s)};
            entries[i + 1] = (kvf_entry){.token = token, .after = i};
        }
        double start = kvf_now();
        if (kvf_eval(s->tree, entries, BATCH, added, NULL, NULL)) abort();
        seconds += kvf_now() - start;
        for (int i = 0; i < BATCH; i++) {
            if (hold) kvf_hold(s->tree, added[i], NULL);
            s->node[s->next] = added[i];
            s->next = (s->next + 1) % s->most;
            if (s->n < s->most) s->n++;
        }
    }
    return seconds / nodes;
}

/* Hold and release a node. First while nothing is held, so that the whole path above it changes, or
 * while its parent is, which is as near as one may be. */
static double hold_and_release(speed *s, bool parents_held)
{
    uint32_t n = 0;
    kvf_node *order = malloc(CALLS * sizeof *order), parent;
    if (!order) abort();
    for (uint32_t i = 0; i < CALLS; i++) {
        order[n] = pick(s, i);
        if (kvf_node_parent(s->tree, order[n], &parent, NULL)) continue; /* it has gone */
        if (parents_held) kvf_hold(s->tree, parent, NULL);
        n++;
    }
    double start = kvf_now();
    for (uint32_t i = 0; i < n; i++) {
        kvf_hold(s->tree, order[i], NULL);
        kvf_release(s->tree, order[i], NULL);
    }
    double seconds = kvf_now() - start;
    for (uint32_t i = 0; i < n && parents_held; i++) {
        kvf_node_parent(s->tree, order[i], &parent, NULL);
        kvf_release(s->tree, parent, NULL);
    }
    free(order);
    return seconds / n;
}

/* Take every node out, least recently used leaves first. */
static double evict_all(speed *s)
{
    uint32_t nodes = s->tree->n_nodes;
    double start = kvf_now();
    while (s->tree->n_nodes) kvf_nodes_remove(s->tree, s->tree->leaves.head);
    return (kvf_now() - start) / nodes;
}

static void measure(uint32_t nodes, bool scattered)
{
    struct kvf_model model = {.ops = &idle};
    model.info = (kvf_model_info){.vocab = VOCAB, .bytes_per_token = 1, .caches = true};
    kvf_tree_options o = {.struct_size = sizeof o, .max_tokens = nodes};
    speed s = {.most = nodes, .node = malloc(nodes * sizeof *s.node), .scattered = scattered};
    const uint32_t whole = nodes / BATCH * BATCH;
    kvf_error err;
    if (!s.node || kvf_tree_create(&s.tree, &model, &o, &err)) abort();
    kvf_rng_seed(&s.rng, 5);
    double below_held = grow(&s, whole, true);
    kvf_tree_destroy(s.tree);
    if (kvf_tree_create(&s.tree, &model, &o, &err)) abort();
    kvf_rng_seed(&s.rng, 5);
    s.n = s.next = 0;
    double create = grow(&s, whole, false), beside = hold_and_release(&s, true),
           path = hold_and_release(&s, false), replace = grow(&s, nodes, false),
           evict = evict_all(&s);
    printf("%9u  %-9s  %10.0f  %6.0f  %19.0f  %19.0f  %16.0f  %5.0f\n", nodes,
           scattered ? "anywhere" : "near", below_held * 1e9, create * 1e9, beside * 1e9,
           path * 1e9, replace * 1e9, evict * 1e9);
    kvf_tree_destroy(s.tree);
    free(s.node);
}

int main(int argc, char **argv)
{
    static const uint32_t sizes[] = {1024, 32768, 1048576};
    puts(
        "nanoseconds for one node\n"
        "                      create:                  hold and release:    hold and release:  "
        "create in a tree\n"
        "    nodes  parents    path held  create   parent is held      nothing is held     that is "
        "full     evict");
    for (int scattered = 0; scattered < 2; scattered++) {
        for (int i = 1; i < argc; i++) measure((uint32_t)strtoul(argv[i], NULL, 10), scattered);
        for (int i = 0; i < 3 && argc < 2; i++) measure(sizes[i], scattered);
    }
    return 0;
}
