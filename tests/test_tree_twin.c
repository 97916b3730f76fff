/* test_tree_twin.c - random long sequences of all calls on a tree, against a naive twin.
 *
 * The twin knows every node as an array of tokens and answers every question by comparing arrays:
 * what a batch adds, whether it fits, what is kept, what may be evicted and what must go first.
 * After every call the two are compared, and the tree's own rules are checked. Budgets are a few
 * nodes and passes a few rows, so that all that is rare elsewhere happens all the time.
 *
 * usage: test_tree_twin [SEED [OPS]] */
#include "rng.h"
#include "support_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { MOST_TOKENS = 40, MOST_DEPTH = 80, MOST_ENTRIES = 24, MOST_STALE = 64, TREES = 400 };
enum { VOCAB = 3 };

typedef struct path {
    uint32_t n;
    int32_t tokens[MOST_DEPTH];
} path;

/* Whether a node must go before those that were not discarded. Not sure: what lies below a node
 * that was used after it was discarded may go early or late. */
typedef enum fate { NORMAL, UNSURE, FIRST } fate;

typedef struct twin_node {
    path path;
    kvf_node handle;
    uint32_t holds;
    fate fate;
    bool discarded; /* by a call that named it */
} twin_node;

typedef struct twin {
    fake_model model;
    kvf_tree *tree;
    uint32_t max_tokens, context;
    kvf_rng rng;
    uint32_t n;
    twin_node nodes[MOST_TOKENS + 1]; /* 0: the root */
    uint32_t n_stale;
    kvf_node stale[MOST_STALE];
    uint64_t evicted;
} twin;

static uint32_t below(twin *w, uint32_t n)
{
    return kvf_rng_below(&w->rng, n);
}

static uint32_t common(const path *a, const path *b)
{
    uint32_t n = 0;
    while (n < a->n && n < b->n && a->tokens[n] == b->tokens[n]) n++;
    return n;
}

static bool starts_with(const path *whole, const path *start)
{
    return common(whole, start) == start->n;
}

static twin_node *find(twin *w, const path *p)
{
    for (uint32_t i = 0; i < w->n; i++)
        if (w->nodes[i].path.n == p->n && starts_with(p, &w->nodes[i].path)) return &w->nodes[i];
    return NULL;
}

static bool kept(const twin *w, const path *p)
{
    for (uint32_t i = 0; i < w->n; i++)
        if (w->nodes[i].holds && starts_with(&w->nodes[i].path, p)) return true;
    return p->n == 0;
}

/* ---- what must go first ---------------------------------------------------------------------- */

/* The deepest node on a path that a call of kvf_discard named. */
static uint32_t discarded_depth(const twin *w, const path *p)
{
    uint32_t depth = 0;
    for (uint32_t i = 0; i < w->n; i++)
        if (w->nodes[i].discarded && starts_with(p, &w->nodes[i].path) &&
            w->nodes[i].path.n > depth)
            depth = w->nodes[i].path.n;
    return depth;
}

static void used(twin *w, const path *p)
{
    for (uint32_t i = 1; i < w->n; i++) {
        twin_node *n = &w->nodes[i];
        uint32_t same = common(&n->path, p);
        if (same == n->path.n)
            n->fate = NORMAL;
        else if (n->fate == FIRST && same > discarded_depth(w, &n->path))
            n->fate = UNSURE;
    }
}

/* While a node is held it shields what lies below it. */
static void shields(twin *w, const path *p)
{
    used(w, p);
    for (uint32_t i = 0; i < w->n && p->n; i++) {
        twin_node *n = &w->nodes[i];
        if (!starts_with(&n->path, p)) continue;
        if (n->fate == FIRST) n->fate = UNSURE;
        if (n->path.n == p->n) n->discarded = false;
    }
}

static void discard(twin *w, twin_node *root)
{
    if (root->holds) return;
    for (uint32_t i = 0; i < w->n; i++) {
        twin_node *n = &w->nodes[i];
        if (!starts_with(&n->path, &root->path)) continue;
        bool shielded = false;
        for (uint32_t k = 0; k < w->n; k++)
            shielded |= w->nodes[k].holds && starts_with(&n->path, &w->nodes[k].path) &&
                        w->nodes[k].path.n >= root->path.n;
        if (shielded) continue;
        n->fate = kept(w, &n->path) ? NORMAL : FIRST;
        n->discarded = n == root;
    }
}

/* ---- comparing ------------------------------------------------------------------------------- */

static void compare(twin *w)
{
    const char *reason = NULL;
    if (!kvf_tree_validate(w->tree, &reason)) fail_msg("the tree is broken: %s", reason);
    kvf_tree_stats stats;
    kvf_tree_get_stats(w->tree, &stats);
    uint32_t n_kept = 0;
    for (uint32_t i = 1; i < w->n; i++) n_kept += kept(w, &w->nodes[i].path);
    assert_int_equal(stats.nodes, w->n - 1);
    assert_int_equal(stats.held, n_kept);
    assert_int_equal(stats.evictable, w->n - 1 - n_kept);
    assert_int_equal(stats.evicted, w->evicted);
    for (uint32_t i = 0; i < w->n; i++) {
        const twin_node *n = &w->nodes[i];
        int32_t token;
        uint32_t depth;
        kvf_node parent;
        assert_int_equal(kvf_node_token(w->tree, n->handle, &token, NULL), KVF_OK);
        assert_int_equal(kvf_node_depth(w->tree, n->handle, &depth, NULL), KVF_OK);
        assert_int_equal(kvf_node_parent(w->tree, n->handle, &parent, NULL), KVF_OK);
        path above = n->path;
        if (above.n) above.n--;
        assert_int_equal(token, n->path.n ? n->path.tokens[n->path.n - 1] : -1);
        assert_int_equal(depth, n->path.n);
        assert_int_equal(parent, find(w, &above)->handle);
        if (n->path.n == 0) continue;
        uint32_t half = n->path.n / 2 + 1;
        uint32_t node = kvf_nodes_ancestor(w->tree, kvf_nodes_find(w->tree, n->handle), half);
        above.n = half;
        above.tokens[half - 1] = n->path.tokens[half - 1];
        assert_int_equal(kvf_nodes_handle(w->tree, node), find(w, &above)->handle);
    }
    for (uint32_t i = 0; i < w->n_stale; i++) assert_false(kvf_node_exists(w->tree, w->stale[i]));
}

/* Take out of the twin what the tree evicted, and see that it was allowed to. busy: nodes on the
 * path to what a batch names. */
static void compare_evicted(twin *w, uint32_t expected, const bool *busy)
{
    bool gone[MOST_TOKENS + 1];
    bool normal_gone = false, first_left = false;
    uint32_t n_gone = 0, left = 0;
    for (uint32_t i = 0; i < w->n; i++) {
        gone[i] = !kvf_node_exists(w->tree, w->nodes[i].handle);
        n_gone += gone[i];
        if (gone[i] && (busy[i] || kept(w, &w->nodes[i].path)))
            fail_msg("a node of depth %u went, but was kept", w->nodes[i].path.n);
        normal_gone |= gone[i] && w->nodes[i].fate == NORMAL;
        first_left |= !gone[i] && w->nodes[i].fate == FIRST && !busy[i];
    }
    if (n_gone != expected) fail_msg("%u nodes were evicted, not %u", n_gone, expected);
    if (normal_gone && first_left) fail_msg("a node went before one that was discarded");
    for (uint32_t i = 0; i < w->n; i++) {
        if (gone[i])
            w->stale[w->n_stale++ % MOST_STALE] = w->nodes[i].handle;
        else
            w->nodes[left++] = w->nodes[i];
    }
    if (w->n_stale > MOST_STALE) w->n_stale = MOST_STALE / 2;
    w->n = left;
    w->evicted += n_gone;
}

/* ---- a batch --------------------------------------------------------------------------------- */

typedef struct twin_batch {
    size_t n;
    kvf_entry entries[MOST_ENTRIES];
    path paths[MOST_ENTRIES];
    kvf_node nodes[MOST_ENTRIES];
    float logits[MOST_ENTRIES][VOCAB], values[MOST_ENTRIES];
    kvf_status expected;
} twin_batch;

static void choose_parent(twin *w, twin_batch *b, size_t i)
{
    kvf_entry *e = &b->entries[i];
    e->after = -1;
    if (i && below(w, 3)) {
        e->after = (int32_t)(below(w, 2) ? i - 1 : below(w, (uint32_t)i));
        b->paths[i] = b->paths[e->after];
    } else if (w->n_stale && below(w, 60) == 0) {
        e->parent = w->stale[below(w, w->n_stale)];
        b->paths[i].n = 0;
        if (!b->expected) b->expected = KVF_ERR_STALE;
    } else {
        const twin_node *parent = &w->nodes[below(w, w->n)];
        e->parent = parent->handle;
        b->paths[i] = parent->path;
    }
}

static void make_batch(twin *w, twin_batch *b)
{
    b->n = 1 + below(w, below(w, 4) ? 4 : MOST_ENTRIES);
    b->expected = KVF_OK;
    for (size_t i = 0; i < b->n; i++) {
        kvf_entry *e = &b->entries[i];
        *e = (kvf_entry){.token = (int32_t)below(w, VOCAB)};
        if (below(w, 200) == 0) e->token = below(w, 2) ? -1 : VOCAB;
        if (below(w, 3) == 0) e->want |= KVF_WANT(KVF_LOGITS);
        if (below(w, 4) == 0) e->want |= KVF_WANT(KVF_VALUE);
        if (below(w, 300) == 0) e->want |= KVF_WANT(KVF_POLICY);
        bool bad_token = e->token < 0 || e->token >= VOCAB;
        if (bad_token && !b->expected) b->expected = KVF_ERR_ARG;
        choose_parent(w, b, i);
        path *p = &b->paths[i];
        p->tokens[p->n++] = e->token;
        bool too_long = p->n > w->max_tokens || (w->context && p->n > w->context);
        if ((too_long || e->want & KVF_WANT(KVF_POLICY)) && !b->expected) b->expected = KVF_ERR_ARG;
    }
}

/* How many nodes a batch adds; marks those that it is busy with. */
static uint32_t count_new(twin *w, const twin_batch *b, bool *busy)
{
    uint32_t n_new = 0;
    for (size_t i = 0; i < b->n; i++) {
        path parent = b->paths[i];
        parent.n--;
        for (uint32_t k = 0; k < w->n; k++)
            busy[k] |= starts_with(&b->paths[i], &w->nodes[k].path) ||
                       (b->entries[i].after < 0 && starts_with(&parent, &w->nodes[k].path));
        if (find(w, &b->paths[i])) continue;
        bool first = true;
        for (size_t k = 0; k < i; k++)
            first &= b->paths[k].n != b->paths[i].n || !starts_with(&b->paths[k], &b->paths[i]);
        n_new += first;
    }
    return n_new;
}

static bool fits(const twin *w, uint32_t n_new, const bool *busy)
{
    uint32_t room = w->max_tokens - (w->n - 1);
    for (uint32_t k = 1; k < w->n; k++) room += !busy[k] && !kept(w, &w->nodes[k].path);
    return n_new <= room;
}

static void compare_outputs(twin *w, const twin_batch *b, bool has_nodes)
{
    size_t n_logits = 0, n_values = 0;
    for (size_t i = 0; i < b->n; i++) {
        float expected[VOCAB];
        const path *p = &b->paths[i];
        if (b->entries[i].want & KVF_WANT(KVF_LOGITS)) {
            fake_outputs(p->tokens, p->n, KVF_LOGITS, VOCAB, expected);
            assert_memory_equal(b->logits[n_logits++], expected, sizeof expected);
        }
        if (b->entries[i].want & KVF_WANT(KVF_VALUE)) {
            fake_outputs(p->tokens, p->n, KVF_VALUE, 1, expected);
            assert_memory_equal(&b->values[n_values++], expected, sizeof *expected);
        }
        twin_node *there = find(w, p);
        kvf_node node = b->nodes[i];
        size_t matched = p->n;
        if (!has_nodes) { /* then the tree itself must know the path */
            assert_int_equal(kvf_match(w->tree, KVF_ROOT, p->tokens, p->n, &node, &matched, NULL),
                             KVF_OK);
            assert_int_equal(matched, p->n);
        }
        if (there)
            assert_int_equal(node, there->handle);
        else
            w->nodes[w->n++] = (twin_node){.path = *p, .handle = node};
    }
}

static void do_eval(twin *w)
{
    twin_batch b;
    make_batch(w, &b);
    bool busy[MOST_TOKENS + 1] = {false}, has_nodes = b.n > w->max_tokens || below(w, 4);
    uint32_t n_new = 0, n_free = w->max_tokens - (w->n - 1);
    if (!b.expected) {
        n_new = count_new(w, &b, busy);
        if (!fits(w, n_new, busy)) b.expected = KVF_ERR_FULL;
    }
    w->model.fail_at = below(w, 12) ? 0 : 1 + below(w, 3);
    bool may_fail = w->model.fail_at != 0;
    kvf_outputs out = {.head = {[KVF_LOGITS] = b.logits[0], [KVF_VALUE] = b.values}};
    kvf_error err = {.msg = ""};
    kvf_status status = kvf_eval(w->tree, b.entries, b.n, has_nodes ? b.nodes : NULL, &out, &err);
    if (may_fail && w->model.fail_at == 0 && b.expected == KVF_OK) b.expected = KVF_ERR_ENGINE;
    w->model.fail_at = 0;
    if (status != b.expected)
        fail_msg("kvf_eval: %s (%s), not %s", kvf_status_name(status), err.msg,
                 kvf_status_name(b.expected));
    if (status == KVF_OK || status == KVF_ERR_ENGINE || status == KVF_ERR_FULL)
        for (uint32_t k = 0; k < w->n; k++)
            if (busy[k]) shields(w, &w->nodes[k].path);
    bool ran = status == KVF_OK || status == KVF_ERR_ENGINE;
    compare_evicted(w, ran && n_new > n_free ? n_new - n_free : 0, busy);
    if (status == KVF_OK) compare_outputs(w, &b, has_nodes);
}

/* ---- the other calls ------------------------------------------------------------------------- */

static void do_match(twin *w)
{
    const twin_node *from = &w->nodes[below(w, 2) ? below(w, w->n) : 0];
    path tokens = {.n = below(w, 9)}, walked = from->path;
    for (uint32_t i = 0; i < tokens.n; i++) tokens.tokens[i] = (int32_t)below(w, VOCAB + 1);
    size_t expected = 0, matched;
    kvf_node node;
    for (; expected < tokens.n; expected++) {
        walked.tokens[walked.n++] = tokens.tokens[expected];
        if (find(w, &walked)) continue;
        walked.n--;
        break;
    }
    assert_int_equal(kvf_match(w->tree, from->handle, tokens.tokens, tokens.n, &node, &matched,
                               NULL),
                     KVF_OK);
    assert_int_equal(matched, expected);
    assert_int_equal(node, find(w, &walked)->handle);
    used(w, &walked);
}

static void do_hold(twin *w)
{
    twin_node *n = &w->nodes[below(w, w->n)];
    assert_int_equal(kvf_hold(w->tree, n->handle, NULL), KVF_OK);
    if (n == &w->nodes[0]) return;
    n->holds++;
    shields(w, &n->path);
}

/* Any node; mostly one that is held. */
static void do_release(twin *w)
{
    twin_node *n = &w->nodes[below(w, w->n)];
    for (int tries = 0; tries < 10 && !n->holds; tries++) n = &w->nodes[below(w, w->n)];
    kvf_status expected = n->holds || n == &w->nodes[0] ? KVF_OK : KVF_ERR_ARG;
    assert_int_equal(kvf_release(w->tree, n->handle, NULL), expected);
    if (!n->holds) return;
    n->holds--;
    used(w, &n->path);
}

static void do_discard(twin *w)
{
    twin_node *n = &w->nodes[below(w, w->n)];
    assert_int_equal(kvf_discard(w->tree, n->handle, NULL), KVF_OK);
    discard(w, n);
}

static void do_stale(twin *w)
{
    if (!w->n_stale) return;
    kvf_node stale = w->stale[below(w, w->n_stale)], node;
    size_t matched;
    assert_int_equal(kvf_hold(w->tree, stale, NULL), KVF_ERR_STALE);
    assert_int_equal(kvf_release(w->tree, stale, NULL), KVF_ERR_STALE);
    assert_int_equal(kvf_discard(w->tree, stale, NULL), KVF_ERR_STALE);
    assert_int_equal(kvf_match(w->tree, stale, NULL, 0, &node, &matched, NULL), KVF_ERR_STALE);
}

static void run_tree(uint64_t seed, uint32_t n_ops)
{
    static twin w;
    w = (twin){.n = 1};
    kvf_rng_seed(&w.rng, seed);
    w.max_tokens = 1 + below(&w, MOST_TOKENS);
    w.context = below(&w, 2) ? 0 : 1 + below(&w, 12);
    fake_model_init(&w.model, VOCAB, w.context);
    uint32_t kind = below(&w, 6); /* 0: without cache, 1: a graph that cannot */
    w.model.model.info.caches = kind != 1;
    kvf_tree_options opt = {sizeof opt, .max_tokens = w.max_tokens, .no_cache = kind == 0};
    assert_int_equal(kvf_tree_create(&w.tree, &w.model.model, &opt, NULL), KVF_OK);
    if (kind != 1) { /* cut passes all the time */
        uint32_t rows = 1 + below(&w, 8);
        if (rows < w.tree->limits.rows) w.tree->limits.rows = rows;
        w.tree->limits.runs = w.tree->limits.depth + below(&w, 8);
        if (kind == 0) w.tree->limits.runs += rows;
    }
    kvf_run *guard = kind == 1 ? &(kvf_run){0} : &w.tree->pass.runs[w.tree->limits.runs];
    kvf_fail_allocations(0);
    bool crowded = below(&w, 2); /* else most calls are batches, and few nodes are held */
    for (uint32_t op = 0; op < n_ops; op++) {
        switch (below(&w, crowded ? 8 : 16)) {
        case 0: do_match(&w); break;
        case 1: do_hold(&w); break;
        case 2:
        case 3: do_release(&w); break;
        case 4: do_discard(&w); break;
        case 5: do_stale(&w); break;
        default: do_eval(&w);
        }
        compare(&w);
        assert_int_equal(guard->count, 0); /* the list of runs stays within its bounds */
    }
    assert_int_equal(kvf_fail_allocations(0), 0);
    kvf_tree_destroy(w.tree);
}

static uint64_t first_seed = 1, seed_now;
static uint32_t n_trees = TREES, n_operations = 300;

static void random_calls_match_the_twin(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < n_trees; i++) {
        seed_now = first_seed + i;
        run_tree(seed_now, n_operations);
    }
}

/* Runs after a failure too. */
static int say_seed(void **state)
{
    (void)state;
    print_message("last seed %llu\n", (unsigned long long)seed_now);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        first_seed = strtoull(argv[1], NULL, 10);
        n_trees = 1;
    }
    if (argc > 2) n_operations = (uint32_t)strtoul(argv[2], NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(random_calls_match_the_twin, say_seed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
