/* test_tree.c - the tree call by call: creation, errors, eviction order, discarding, passes. */
#include "support_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { VOCAB = 50 };

static fake_model model;

static kvf_tree *tree_of(uint32_t max_tokens, bool no_cache)
{
    kvf_tree_options opt = {sizeof opt, .max_tokens = max_tokens, .no_cache = no_cache};
    kvf_tree *t;
    kvf_error err;
    if (kvf_tree_create(&t, &model.model, &opt, &err)) fail_msg("%s", err.msg);
    return t;
}

static void validate(const kvf_tree *t)
{
    const char *reason;
    if (!kvf_tree_validate(t, &reason)) fail_msg("%s", reason);
}

static void eval(kvf_tree *t, const kvf_entry *entries, size_t n, kvf_node *nodes,
                 const kvf_outputs *out)
{
    kvf_error err;
    if (kvf_eval(t, entries, n, nodes, out, &err)) fail_msg("%s", err.msg);
    validate(t);
}

/* One token after a node, or a letter of a chain. */
static kvf_node add(kvf_tree *t, kvf_node parent, int32_t token)
{
    kvf_entry e = {.token = token, .after = -1, .parent = parent};
    kvf_node node;
    eval(t, &e, 1, &node, NULL);
    return node;
}

static kvf_node add_chain(kvf_tree *t, kvf_node parent, const char *tokens)
{
    for (; *tokens; tokens++) parent = add(t, parent, *tokens - 'a');
    return parent;
}

static void hold(kvf_tree *t, kvf_node node)
{
    assert_int_equal(kvf_hold(t, node, NULL), KVF_OK);
}

static void release(kvf_tree *t, kvf_node node)
{
    assert_int_equal(kvf_release(t, node, NULL), KVF_OK);
}

static kvf_tree_stats stats_of(const kvf_tree *t)
{
    kvf_tree_stats stats;
    kvf_tree_get_stats(t, &stats);
    return stats;
}

static int set_up(void **state)
{
    (void)state;
    fake_model_init(&model, VOCAB, 0);
    return 0;
}

/* ---- creation -------------------------------------------------------------------------------- */

static void options_are_checked(void **state)
{
    (void)state;
    const struct {
        kvf_tree_options known;
        uint64_t unknown;
    } newer = {{.struct_size = sizeof newer, .max_tokens = 5}, 1},
      zero = {{.struct_size = sizeof zero, .max_tokens = 5}, 0};
    const kvf_tree_options older = {.struct_size = 8, .max_tokens = 5, .no_cache = true};
    kvf_tree *t;
    assert_int_equal(kvf_tree_create(&t, &model.model, &newer.known, NULL), KVF_ERR_ARG);
    assert_int_equal(kvf_tree_create(&t, &model.model, &zero.known, NULL), KVF_OK);
    kvf_tree_destroy(t);
    assert_int_equal(kvf_tree_create(&t, &model.model, &older, NULL), KVF_OK);
    assert_int_equal(stats_of(t).max_tokens, 5);
    assert_false(stats_of(t).no_cache); /* a field that this caller did not know */
    kvf_tree_destroy(t);
    const kvf_tree_options wrong[] = {
        {.max_tokens = 5},
        {.struct_size = UINT32_MAX, .max_tokens = 5},
        {.struct_size = sizeof(kvf_tree_options), .max_tokens = UINT32_MAX},
        {.struct_size = sizeof(kvf_tree_options), .max_bytes = 100},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        t = (kvf_tree *)&model;
        kvf_error err = {.status = KVF_OK};
        assert_int_equal(kvf_tree_create(&t, &model.model, &wrong[i], &err), KVF_ERR_ARG);
        assert_null(t);
        assert_int_equal(err.status, KVF_ERR_ARG);
        assert_int_equal(kvf_tree_bytes(&model.model, &wrong[i]), 0);
    }
    struct kvf_model none = model.model;
    none.ops = NULL;
    assert_int_equal(kvf_tree_create(&t, &none, NULL, NULL), KVF_ERR_ENGINE);
    assert_int_equal(kvf_tree_bytes(&none, NULL), 0);
    kvf_tree_destroy(NULL);
}

static void defaults_follow_context_and_bytes(void **state)
{
    (void)state;
    kvf_tree *t;
    assert_int_equal(kvf_tree_create(&t, &model.model, NULL, NULL), KVF_OK);
    assert_int_equal(stats_of(t).max_tokens, 4096);
    assert_ptr_equal(kvf_tree_model(t), &model.model);
    kvf_tree_destroy(t);
    model.model.info.context = 77;
    assert_int_equal(kvf_tree_create(&t, &model.model, NULL, NULL), KVF_OK);
    assert_int_equal(stats_of(t).max_tokens, 77);
    kvf_tree_destroy(t);
}

static void bytes_are_what_is_taken(void **state)
{
    (void)state;
    for (uint32_t n = 1; n < 3000; n = n * 2 + 1)
        for (int no_cache = 0; no_cache < 2; no_cache++) {
            kvf_tree_options opt = {sizeof opt, .max_tokens = n, .no_cache = no_cache};
            uint64_t bytes = kvf_tree_bytes(&model.model, &opt);
            kvf_tree *t = tree_of(n, no_cache);
            kvf_tree_stats stats = stats_of(t);
            assert_int_equal(bytes, stats.tree_bytes + stats.cache_bytes);
            assert_int_equal(stats.no_cache, no_cache);
            kvf_tree_destroy(t);
        }
}

static void max_bytes_gives_the_most_tokens(void **state)
{
    (void)state;
    kvf_tree_options opt = {sizeof opt, .max_bytes = 1 << 20};
    assert_true(kvf_tree_bytes(&model.model, &opt) <= opt.max_bytes);
    kvf_tree *t;
    assert_int_equal(kvf_tree_create(&t, &model.model, &opt, NULL), KVF_OK);
    uint32_t n = (uint32_t)stats_of(t).max_tokens;
    kvf_tree_destroy(t);
    kvf_tree_options more = {sizeof more, .max_tokens = n + 1};
    assert_true(kvf_tree_bytes(&model.model, &more) > opt.max_bytes);
    /* Both given: the smaller one counts. */
    opt.max_tokens = n - 1;
    assert_int_equal(kvf_tree_create(&t, &model.model, &opt, NULL), KVF_OK);
    assert_int_equal(stats_of(t).max_tokens, n - 1);
    kvf_tree_destroy(t);
    opt.max_tokens = n + 1000;
    assert_int_equal(kvf_tree_create(&t, &model.model, &opt, NULL), KVF_OK);
    assert_int_equal(stats_of(t).max_tokens, n);
    kvf_tree_destroy(t);
}

static void creation_survives_every_failed_allocation(void **state)
{
    (void)state;
    kvf_tree *t = NULL;
    uint64_t nth = 1;
    for (;; nth++) {
        kvf_error err = {.msg = ""};
        kvf_fail_allocations(nth);
        kvf_status status = kvf_tree_create(&t, &model.model, NULL, &err);
        kvf_fail_allocations(0);
        if (status == KVF_OK) break;
        assert_int_equal(status, KVF_ERR_NOMEM);
        assert_null(t);
        assert_true(strlen(err.msg) > 0);
    }
    assert_true(nth > 3);
    kvf_tree_destroy(t);
}

/* ---- errors of kvf_eval ---------------------------------------------------------------------- */

static void entries_are_checked_before_anything_changes(void **state)
{
    (void)state;
    fake_model_init(&model, VOCAB, 3);
    kvf_tree *t = tree_of(4, false);
    kvf_node a = add(t, KVF_ROOT, 0), b = add(t, a, 1), c = add(t, b, 2);
    float rows[2 * VOCAB];
    kvf_outputs logits = {.head = {rows}};
    const struct {
        kvf_entry entries[2];
        const kvf_outputs *out;
        kvf_status status;
        const char *words;
    } rows_of[] = {
        {{{.token = 1, .after = -1}, {.token = -1, .after = 0}}, NULL, KVF_ERR_ARG, "[1].token"},
        {{{.token = 1, .after = -1}, {.token = VOCAB, .after = 0}}, NULL, KVF_ERR_ARG, "vocab"},
        {{{.token = 1, .after = 0}, {.token = 1, .after = 0}}, NULL, KVF_ERR_ARG, "[0].after"},
        {{{.token = 1, .after = -1}, {.token = 1, .after = 1}}, NULL, KVF_ERR_ARG, "[1].after"},
        {{{.token = 1, .after = -2}, {.token = 1, .after = 0}}, NULL, KVF_ERR_ARG, "[0].after"},
        {{{.token = 1, .after = -1}, {.token = 1, .after = INT32_MAX}}, NULL, KVF_ERR_ARG, "after"},
        {{{.token = 1, .after = -1}, {.token = 1, .after = -1, .parent = 4}},
         NULL,
         KVF_ERR_STALE,
         "[1].parent"},
        {{{.token = 1, .after = -1}, {.token = 1, .after = -1, .parent = UINT64_MAX}},
         NULL,
         KVF_ERR_STALE,
         "[1].parent"},
        {{{.token = 1, .after = -1, .parent = b}, {.token = 1, .after = 0}},
         NULL,
         KVF_ERR_ARG,
         "context"},
        {{{.token = 1, .after = -1, .parent = c}, {.token = 1, .after = -1}},
         NULL,
         KVF_ERR_ARG,
         "context is 3"},
        {{{.token = 1, .after = -1, .want = KVF_WANT(KVF_POLICY)}, {.token = 1, .after = 0}},
         &logits,
         KVF_ERR_ARG,
         "policy"},
        {{{.token = 1, .after = -1, .want = KVF_WANT(KVF_VALUE)}, {.token = 1, .after = 0}},
         &logits,
         KVF_ERR_ARG,
         "no place"},
        {{{.token = 1, .after = -1, .want = KVF_WANT(KVF_LOGITS)}, {.token = 1, .after = 0}},
         NULL,
         KVF_ERR_ARG,
         "no place"},
        {{{.token = 1, .after = -1, .want = 16}, {.token = 1, .after = 0}},
         &logits,
         KVF_ERR_ARG,
         "0x10"},
    };
    for (size_t i = 0; i < sizeof rows_of / sizeof rows_of[0]; i++) {
        kvf_error err = {.msg = ""};
        kvf_node nodes[2];
        assert_int_equal(kvf_eval(t, rows_of[i].entries, 2, nodes, rows_of[i].out, &err),
                         rows_of[i].status);
        if (!strstr(err.msg, rows_of[i].words)) fail_msg("row %zu: %s", i, err.msg);
        assert_int_equal(stats_of(t).nodes, 3);
        validate(t);
    }
    kvf_entry many[6] = {{.after = -1}, {.after = -1}, {.after = -1},
                         {.after = -1}, {.after = -1}, {.after = -1}};
    assert_int_equal(kvf_eval(t, many, 0, NULL, NULL, NULL), KVF_ERR_ARG);
    assert_int_equal(kvf_eval(t, many, 6, NULL, NULL, NULL), KVF_ERR_ARG); /* for want of nodes */
    kvf_node nodes[6];
    eval(t, many, 6, nodes, NULL);
    kvf_tree_destroy(t);
}

static void a_path_longer_than_the_tree_is_an_error(void **state)
{
    (void)state;
    kvf_tree *t = tree_of(3, false);
    kvf_entry chain[4] = {{1, -1, 0, 0}, {1, 0, 0, 0}, {1, 1, 0, 0}, {1, 2, 0, 0}};
    kvf_node nodes[4];
    kvf_error err;
    assert_int_equal(kvf_eval(t, chain, 4, nodes, NULL, &err), KVF_ERR_ARG);
    assert_non_null(strstr(err.msg, "stores 3 tokens"));
    assert_int_equal(stats_of(t).nodes, 0);
    kvf_tree_destroy(t);
}

static void a_full_tree_says_so_and_gives_nothing_up(void **state)
{
    (void)state;
    kvf_tree *t = tree_of(6, false);
    kvf_node held = add_chain(t, KVF_ROOT, "abc");
    hold(t, held);
    kvf_node cache = add_chain(t, KVF_ROOT, "xy"); /* 5 of 6; evictable 2, 1 of it named below */
    kvf_node x;
    assert_int_equal(kvf_node_parent(t, cache, &x, NULL), KVF_OK);
    kvf_entry e[] = {{1, -1, x, 0}, {2, -1, held, 0}, {3, 1, 0, 0}, {3, 1, 0, 0}};
    kvf_node nodes[4];
    kvf_error err;
    assert_int_equal(kvf_eval(t, e, 4, nodes, NULL, &err), KVF_ERR_FULL);
    assert_non_null(strstr(err.msg, "than the 2, of 6,"));
    assert_true(kvf_node_exists(t, cache));
    assert_int_equal(stats_of(t).nodes, 5);
    assert_int_equal(stats_of(t).evicted, 0);
    validate(t);
    /* The same without the third new node fits, its equal again not counted. */
    kvf_entry fits[] = {{2, -1, held, 0}, {3, 0, 0, 0}, {3, 0, 0, 0}, {2, -1, held, 0}};
    eval(t, fits, 4, nodes, NULL);
    assert_int_equal(nodes[1], nodes[2]);
    assert_int_equal(nodes[0], nodes[3]);
    assert_false(kvf_node_exists(t, cache));
    assert_true(kvf_node_exists(t, x));
    kvf_tree_destroy(t);
}

/* Equal entries beyond the size of the tree count once. */
static void thousands_of_equal_entries_are_one_node(void **state)
{
    (void)state;
    enum { N = 3000 };
    static kvf_entry e[N];
    static kvf_node nodes[N];
    for (int i = 0; i < N; i++) e[i] = (kvf_entry){i % 2, i % 2 ? i - 1 : -1, KVF_ROOT, 0};
    kvf_tree *t = tree_of(2, false);
    eval(t, e, N, nodes, NULL);
    for (int i = 2; i < N; i++) assert_int_equal(nodes[i], nodes[i - 2]);
    assert_int_equal(stats_of(t).nodes, 2);
    assert_int_equal(model.rows, 2);
    assert_int_equal(stats_of(t).matched_tokens, N - 2);
    kvf_tree_destroy(t);
}

static void a_failing_engine_leaves_no_new_node(void **state)
{
    (void)state;
    enum { N = 1200 }; /* three passes */
    static kvf_entry e[N];
    static kvf_node nodes[N];
    for (int i = 0; i < N; i++) e[i] = (kvf_entry){i % VOCAB, i - 1, KVF_ROOT, 0};
    for (int no_cache = 0; no_cache < 2; no_cache++)
        for (uint32_t nth = 1; nth <= 3; nth++) {
            kvf_tree *t = tree_of(N, no_cache);
            kvf_node held = add_chain(t, KVF_ROOT, "abc"), cache = add_chain(t, KVF_ROOT, "xyz");
            hold(t, held);
            float out[VOCAB];
            e[N - 1].want = KVF_WANT(KVF_LOGITS);
            model.fail_at = nth;
            kvf_error err;
            assert_int_equal(kvf_eval(t, e, N, nodes, &(kvf_outputs){{out}}, &err), KVF_ERR_ENGINE);
            assert_string_equal(err.msg, "told to fail");
            validate(t);
            assert_true(kvf_node_exists(t, held));
            assert_false(kvf_node_exists(t, cache)); /* it had to make room */
            assert_int_equal(stats_of(t).nodes, 3);
            eval(t, e, N, nodes, &(kvf_outputs){{out}});
            kvf_tree_destroy(t);
        }
}

/* ---- what goes first ------------------------------------------------------------------------- */

static void the_least_recently_used_leaf_goes_first(void **state)
{
    (void)state;
    kvf_tree *t = tree_of(4, false);
    kvf_node a = add(t, KVF_ROOT, 0), b = add(t, KVF_ROOT, 1), c = add(t, KVF_ROOT, 2),
             below_a = add(t, a, 3);
    kvf_node deepest;
    size_t matched;
    int32_t token = 1;
    kvf_match(t, KVF_ROOT, &token, 1, &deepest, &matched, NULL); /* b is used again */
    assert_int_equal(deepest, b);
    kvf_node e = add(t, KVF_ROOT, 4);
    assert_false(kvf_node_exists(t, c));
    kvf_node f = add(t, KVF_ROOT, 5);
    assert_false(kvf_node_exists(t, below_a));
    assert_true(kvf_node_exists(t, a)); /* a leaf now, last used when its child was added */
    add(t, KVF_ROOT, 6);
    assert_false(kvf_node_exists(t, a));
    assert_true(kvf_node_exists(t, b));
    add(t, KVF_ROOT, 7);
    assert_false(kvf_node_exists(t, b));
    assert_true(kvf_node_exists(t, e) && kvf_node_exists(t, f));
    kvf_tree_destroy(t);
}

static void a_path_goes_from_its_end_on(void **state)
{
    (void)state;
    kvf_tree *t = tree_of(6, false);
    kvf_node old[4], node = KVF_ROOT;
    for (int i = 0; i < 4; i++) hold(t, old[i] = node = add(t, node, i));
    add_chain(t, KVF_ROOT, "xy");
    for (int i = 0; i < 4; i++) release(t, old[i]);
    kvf_node young = add_chain(t, KVF_ROOT, "xy"); /* used after the old path fell idle */
    for (int i = 3; i >= 0; i--) {
        add(t, KVF_ROOT, 40 + i);
        for (int k = 0; k < 4; k++) assert_int_equal(kvf_node_exists(t, old[k]), k < i);
    }
    assert_true(kvf_node_exists(t, young));
    kvf_tree_destroy(t);
}

static void a_held_node_keeps_its_path(void **state)
{
    (void)state;
    kvf_tree *t = tree_of(3, false);
    kvf_node c = add_chain(t, KVF_ROOT, "abc");
    hold(t, c);
    hold(t, c);
    assert_int_equal(stats_of(t).held, 3);
    release(t, c);
    kvf_entry e = {.token = 9, .after = -1};
    assert_int_equal(kvf_eval(t, &e, 1, NULL, NULL, NULL), KVF_ERR_FULL);
    release(t, c);
    assert_int_equal(kvf_release(t, c, NULL), KVF_ERR_ARG);
    assert_int_equal(stats_of(t).evictable, 3);
    add(t, KVF_ROOT, 9);
    assert_false(kvf_node_exists(t, c));
    hold(t, KVF_ROOT);
    release(t, KVF_ROOT);
    release(t, KVF_ROOT); /* the root is always there */
    kvf_tree_destroy(t);
}

static void a_handle_never_names_another_node(void **state)
{
    (void)state;
    kvf_tree *t = tree_of(1, false);
    kvf_node before = KVF_ROOT, parent;
    uint32_t depth;
    int32_t token;
    for (int i = 0; i < 1000; i++) {
        kvf_node node = add(t, KVF_ROOT, i % VOCAB);
        assert_int_not_equal(node, before);
        if (before != KVF_ROOT) {
            assert_false(kvf_node_exists(t, before));
            assert_int_equal(kvf_node_parent(t, before, &parent, NULL), KVF_ERR_STALE);
            assert_int_equal(kvf_node_depth(t, before, &depth, NULL), KVF_ERR_STALE);
            assert_int_equal(kvf_node_token(t, before, &token, NULL), KVF_ERR_STALE);
        }
        before = node;
    }
    for (kvf_node made_up = 1; made_up < 5; made_up++) assert_false(kvf_node_exists(t, made_up));
    assert_int_equal(kvf_node_token(t, KVF_ROOT, &token, NULL), KVF_OK);
    assert_int_equal(token, -1);
    kvf_tree_destroy(t);
}

/* A move of a search: hold the child, release the old root, discard it. */
static void discarded_subtrees_go_first(void **state)
{
    (void)state;
    kvf_tree *t = tree_of(9, false);
    kvf_node keep = add_chain(t, KVF_ROOT, "xyz"); /* cache, older than all below */
    kvf_node root = add(t, KVF_ROOT, 0);
    hold(t, root);
    kvf_node played = add(t, root, 1), reply = add(t, played, 2);
    kvf_node left = add_chain(t, root, "cd"), right = add(t, root, 9);
    hold(t, played);
    release(t, root);
    assert_int_equal(kvf_discard(t, root, NULL), KVF_OK);
    validate(t);
    for (int i = 0; i < 3; i++) add(t, played, 20 + i);
    assert_false(kvf_node_exists(t, left) || kvf_node_exists(t, right));
    assert_true(kvf_node_exists(t, keep) && kvf_node_exists(t, reply) && kvf_node_exists(t, root));
    add(t, played, 30);
    assert_false(kvf_node_exists(t, keep)); /* nothing discarded is left */
    kvf_tree_destroy(t);
}

static void what_is_below_a_kept_path_is_discarded_too(void **state)
{
    (void)state;
    kvf_tree *t = tree_of(8, false);
    kvf_node old = add_chain(t, KVF_ROOT, "x");
    kvf_node a = add(t, KVF_ROOT, 0), b = add(t, a, 1), c = add(t, b, 2), below_c = add(t, c, 3);
    kvf_node beside_b = add(t, a, 4), beside_c = add(t, b, 5);
    hold(t, c);
    assert_int_equal(kvf_discard(t, a, NULL), KVF_OK);
    add(t, KVF_ROOT, 10); /* takes the free one */
    add(t, KVF_ROOT, 11);
    assert_false(kvf_node_exists(t, beside_b));
    add(t, KVF_ROOT, 12);
    assert_false(kvf_node_exists(t, beside_c));
    add(t, KVF_ROOT, 13);
    assert_false(kvf_node_exists(t, old)); /* normal order again: c shields what is below it */
    assert_true(kvf_node_exists(t, below_c));
    kvf_tree_destroy(t);
}

static void what_is_used_after_it_was_discarded_is_cache_again(void **state)
{
    (void)state;
    kvf_tree *t = tree_of(5, false);
    kvf_node a = add(t, KVF_ROOT, 0), b = add(t, KVF_ROOT, 1), c = add(t, KVF_ROOT, 2);
    assert_int_equal(kvf_discard(t, KVF_ROOT, NULL), KVF_OK);
    kvf_node d = add(t, KVF_ROOT, 3), e = add(t, KVF_ROOT, 4);
    assert_int_equal(add(t, KVF_ROOT, 0), a); /* used again */
    add(t, KVF_ROOT, 5);
    add(t, KVF_ROOT, 6);
    assert_false(kvf_node_exists(t, b) || kvf_node_exists(t, c));
    add(t, KVF_ROOT, 7);
    assert_false(kvf_node_exists(t, d));
    add(t, KVF_ROOT, 8);
    assert_false(kvf_node_exists(t, e));
    assert_true(kvf_node_exists(t, a));
    kvf_tree_destroy(t);
}

static void a_discarded_node_that_is_held_shields_what_is_below(void **state)
{
    (void)state;
    kvf_tree *t = tree_of(4, false);
    kvf_node old = add(t, KVF_ROOT, 9), a = add(t, KVF_ROOT, 0), b = add(t, a, 1),
             leaf = add(t, KVF_ROOT, 2);
    hold(t, a);
    assert_int_equal(kvf_discard(t, a, NULL), KVF_OK); /* held: nothing happens */
    release(t, a);
    assert_int_equal(kvf_discard(t, a, NULL), KVF_OK);
    hold(t, a);
    add(t, KVF_ROOT, 3);
    assert_false(kvf_node_exists(t, old));
    assert_true(kvf_node_exists(t, b));
    assert_int_equal(kvf_discard(t, leaf, NULL), KVF_OK); /* a leaf goes at once */
    add(t, KVF_ROOT, 4);
    assert_false(kvf_node_exists(t, leaf));
    assert_true(kvf_node_exists(t, b));
    kvf_tree_destroy(t);
}

/* ---- rows and passes ------------------------------------------------------------------------- */

static void compare_logits(const int32_t *tokens, size_t n, const float *got)
{
    float expected[VOCAB];
    fake_outputs(tokens, n, KVF_LOGITS, VOCAB, expected);
    assert_memory_equal(got, expected, sizeof expected);
}

static void wants_of_equal_entries_are_united(void **state)
{
    (void)state;
    kvf_tree *t = tree_of(8, false);
    kvf_entry e[] = {{1, -1, KVF_ROOT, 0},
                     {1, -1, KVF_ROOT, KVF_WANT(KVF_LOGITS)},
                     {2, 0, 0, KVF_WANT(KVF_VALUE)},
                     {2, 1, 0, KVF_WANT(KVF_LOGITS) | KVF_WANT(KVF_VALUE)},
                     {1, -1, KVF_ROOT, KVF_WANT(KVF_LOGITS)}};
    float logits[3][VOCAB], values[2], value;
    kvf_node nodes[5];
    kvf_outputs out = {{[KVF_LOGITS] = logits[0], [KVF_VALUE] = values}};
    eval(t, e, 5, nodes, &out);
    assert_int_equal(model.rows, 2);
    assert_int_equal(nodes[0], nodes[4]);
    assert_int_equal(nodes[2], nodes[3]);
    const int32_t tokens[] = {1, 2};
    compare_logits(tokens, 1, logits[0]);
    compare_logits(tokens, 2, logits[1]);
    compare_logits(tokens, 1, logits[2]);
    fake_outputs(tokens, 2, KVF_VALUE, 1, &value);
    assert_true(values[0] == value && values[1] == value);
    /* Again: what is wanted runs again, and K and V stay; without a want nothing runs. */
    memset(logits, 0, sizeof logits);
    eval(t, e + 1, 1, nodes, &out);
    assert_int_equal(model.rows, 3);
    assert_int_equal(model.unstored, 2);
    compare_logits(tokens, 1, logits[0]);
    eval(t, e, 1, nodes, NULL);
    assert_int_equal(model.rows, 3);
    kvf_tree_stats stats = stats_of(t);
    assert_int_equal(stats.matched_tokens, 3 + 1 + 1);
    assert_int_equal(stats.evaluated_tokens, 3);
    assert_true(stats.hit_rate == 5. / 8);
    assert_int_equal(stats.calls, 3);
    assert_int_equal(stats.passes, 2);
    kvf_tree_destroy(t);
}

/* A chain with many branches, wanted everywhere; run in blocks, and all numbers right. */
static void a_batch_of_thousands_runs_in_blocks(void **state)
{
    (void)state;
    enum { CHAIN = 700, N = 6000 };
    static kvf_entry e[N];
    static kvf_node nodes[N];
    static float values[N];
    for (int i = 0; i < N; i++) {
        e[i] = (kvf_entry){i % VOCAB, i - 1, KVF_ROOT, KVF_WANT(KVF_VALUE)};
        if (i >= CHAIN) e[i].after = (i * 7) % CHAIN; /* branches of one or two tokens */
        if (i >= CHAIN && i % 3 == 0) e[i].after = i - 1;
    }
    for (int no_cache = 0; no_cache < 2; no_cache++) {
        fake_model_init(&model, VOCAB, 0);
        kvf_tree *t = tree_of(N, no_cache);
        kvf_outputs out = {{[KVF_VALUE] = values}};
        kvf_fail_allocations(0);
        eval(t, e, N, nodes, &out);
        assert_int_equal(kvf_fail_allocations(0), 0);
        assert_true(model.widest <= KVF_PASS_ROWS);
        kvf_node n_nodes = stats_of(t).nodes;
        if (!no_cache) assert_int_equal(model.rows, n_nodes);
        for (int i = 0; i < N; i++) {
            int32_t path[CHAIN + 3];
            size_t n = 0;
            float expected;
            for (int k = i; k >= 0; k = e[k].after) n++;
            size_t at = n;
            for (int k = i; k >= 0; k = e[k].after) path[--at] = e[k].token;
            fake_outputs(path, n, KVF_VALUE, 1, &expected);
            assert_true(values[i] == expected);
        }
        kvf_tree_destroy(t);
    }
}

static void without_cache_only_wanted_paths_run(void **state)
{
    (void)state;
    kvf_tree *t = tree_of(100, true);
    kvf_entry e[20];
    for (int i = 0; i < 10; i++) e[i] = (kvf_entry){i, i - 1, KVF_ROOT, 0};
    kvf_node nodes[20];
    eval(t, e, 10, nodes, NULL);
    assert_int_equal(model.rows, 0);
    float logits[4 * VOCAB];
    kvf_outputs out = {{logits}};
    kvf_entry next = {11, -1, nodes[9], KVF_WANT(KVF_LOGITS)};
    eval(t, &next, 1, nodes, &out);
    assert_int_equal(model.rows, 11);
    /* Ancestors are on the path of the last one; branches share it, or have paths of their own. */
    kvf_entry batch[] = {{0, -1, KVF_ROOT, 0},
                         {1, 0, 0, KVF_WANT(KVF_LOGITS)},
                         {5, 1, 0, KVF_WANT(KVF_LOGITS)},
                         {6, 1, 0, KVF_WANT(KVF_LOGITS)},
                         {7, 1, 0, 0}};
    for (int chains = 0; chains < 2; chains++) {
        model.model.branches = !chains;
        uint64_t rows = model.rows, passes = model.passes;
        eval(t, batch, 5, nodes, &out);
        assert_int_equal(model.rows - rows, chains ? 3 + 3 : 3 + 1);
        assert_int_equal(model.passes - passes, 1);
        const int32_t path[] = {0, 1, 6};
        compare_logits(path, 2, logits);
        compare_logits(path, 3, logits + 2 * VOCAB);
    }
    kvf_tree_destroy(t);
}

static void a_graph_without_past_gets_whole_paths(void **state)
{
    (void)state;
    enum { N = 900 };
    static kvf_entry e[N];
    model.model.info.caches = false;
    kvf_tree *t = tree_of(N, false);
    assert_true(stats_of(t).no_cache);
    for (int i = 0; i < N; i++) e[i] = (kvf_entry){i % VOCAB, i - 1, KVF_ROOT, 0};
    float logits[VOCAB];
    e[N - 1].want = KVF_WANT(KVF_LOGITS);
    eval(t, e, N, NULL, &(kvf_outputs){{logits}});
    assert_int_equal(model.passes, 1);
    assert_int_equal(model.widest, N);
    kvf_tree_destroy(t);
}

/* Branches that grow in turn stay in few pieces: each starts where there is room behind it. */
static void branches_that_grow_in_turn_are_long_runs(void **state)
{
    (void)state;
    enum { BRANCHES = 8, STEPS = 50 };
    kvf_tree *t = tree_of(4096, false);
    kvf_node tips[BRANCHES], prefix = KVF_ROOT;
    for (int i = 0; i < 30; i++) prefix = add(t, prefix, i);
    for (int b = 0; b < BRANCHES; b++) tips[b] = prefix;
    for (int s = 0; s < STEPS; s++) {
        kvf_entry e[BRANCHES];
        for (int b = 0; b < BRANCHES; b++) e[b] = (kvf_entry){b, -1, tips[b], 0};
        eval(t, e, BRANCHES, tips, NULL);
    }
    for (int b = 0; b < BRANCHES; b++) {
        kvf_run runs[80];
        uint32_t n = kvf_nodes_runs(t, kvf_nodes_find(t, tips[b]), runs, 80);
        if (n > 3) fail_msg("branch %d lies in %u pieces", b, n);
    }
    kvf_tree_destroy(t);
}

/* Candidates of which one goes on: the others do not lie in its way. */
static void the_path_beside_many_candidates_is_long_runs(void **state)
{
    (void)state;
    enum { CANDIDATES = 16, STEPS = 200 };
    kvf_tree *t = tree_of(2 * CANDIDATES * STEPS, false);
    kvf_node tip = KVF_ROOT, nodes[CANDIDATES];
    for (int s = 0; s < STEPS; s++) {
        kvf_entry e[CANDIDATES];
        for (int b = 0; b < CANDIDATES; b++) e[b] = (kvf_entry){b, -1, tip, 0};
        eval(t, e, CANDIDATES, nodes, NULL);
        tip = nodes[0];
    }
    kvf_run runs[STEPS];
    uint32_t n = kvf_nodes_runs(t, kvf_nodes_find(t, tip), runs, STEPS);
    if (n > 3) fail_msg("%d tokens lie in %u pieces", STEPS, n);
    kvf_tree_destroy(t);
}

/* The places of an old path are used again in its order, not from its end on. */
static void a_path_in_place_of_an_old_one_is_long_runs(void **state)
{
    (void)state;
    enum { N = 2048 };
    kvf_tree *t = tree_of(N, false);
    for (int32_t round = 0; round < 3; round++) {
        kvf_node tip = KVF_ROOT;
        for (int32_t i = 0; i < N; i++) {
            kvf_entry e = {i ? i % VOCAB : round, -1, tip, 0};
            assert_int_equal(kvf_eval(t, &e, 1, &tip, NULL, NULL), KVF_OK);
        }
        validate(t);
        static kvf_run runs[N];
        uint32_t n = kvf_nodes_runs(t, kvf_nodes_find(t, tip), runs, N);
        if (n > N / 16) fail_msg("round %d: %d tokens lie in %u pieces", round, N, n);
    }
    kvf_tree_destroy(t);
}

/* Rows of a chain share one list; each branch has its own, the prefix and itself. */
static void a_chain_hands_over_one_list_of_runs(void **state)
{
    (void)state;
    kvf_tree *t = tree_of(1000, false);
    kvf_entry e[200];
    kvf_node nodes[200];
    for (int i = 0; i < 200; i++) e[i] = (kvf_entry){i % VOCAB, i - 1, KVF_ROOT, 0};
    eval(t, e, 200, nodes, NULL);
    assert_int_equal(model.lists, 1);
    kvf_entry branches[8];
    for (int i = 0; i < 8; i++) branches[i] = (kvf_entry){i + 1, -1, nodes[99], 0};
    eval(t, branches, 8, nodes, NULL);
    assert_int_equal(model.lists, 1 + 8 * 2);
    kvf_tree_destroy(t);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void nothing_moves_and_nothing_is_allocated(void **state)
{
    (void)state;
    kvf_tree *t = tree_of(64, false);
    const void *nodes = t->nodes, *rows = t->pass.rows, *memory = t->memory;
    float logits[VOCAB];
    kvf_outputs out = {{logits}};
    kvf_node tip = KVF_ROOT;
    kvf_fail_allocations(0);
    for (int i = 0; i < 5000; i++) {
        kvf_entry e = {i * 7 % VOCAB, -1, tip, KVF_WANT(KVF_LOGITS)};
        kvf_node next;
        assert_int_equal(kvf_eval(t, &e, 1, &next, &out, NULL), KVF_OK);
        hold(t, next);
        release(t, tip);
        tip = next;
        if (i % 60 == 59) {
            release(t, tip);
            kvf_discard(t, i % 120 == 59 ? tip : KVF_ROOT, NULL);
            tip = KVF_ROOT;
        }
    }
    assert_int_equal(kvf_fail_allocations(0), 0);
    assert_ptr_equal(t->nodes, nodes);
    assert_ptr_equal(t->pass.rows, rows);
    assert_ptr_equal(t->memory, memory);
    assert_int_equal(stats_of(t).moved_buffers, 0);
    validate(t);
    kvf_tree_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(options_are_checked, set_up),
        cmocka_unit_test_setup(defaults_follow_context_and_bytes, set_up),
        cmocka_unit_test_setup(bytes_are_what_is_taken, set_up),
        cmocka_unit_test_setup(max_bytes_gives_the_most_tokens, set_up),
        cmocka_unit_test_setup(creation_survives_every_failed_allocation, set_up),
        cmocka_unit_test_setup(entries_are_checked_before_anything_changes, set_up),
        cmocka_unit_test_setup(a_path_longer_than_the_tree_is_an_error, set_up),
        cmocka_unit_test_setup(a_full_tree_says_so_and_gives_nothing_up, set_up),
        cmocka_unit_test_setup(thousands_of_equal_entries_are_one_node, set_up),
        cmocka_unit_test_setup(a_failing_engine_leaves_no_new_node, set_up),
        cmocka_unit_test_setup(the_least_recently_used_leaf_goes_first, set_up),
        cmocka_unit_test_setup(a_path_goes_from_its_end_on, set_up),
        cmocka_unit_test_setup(a_held_node_keeps_its_path, set_up),
        cmocka_unit_test_setup(a_handle_never_names_another_node, set_up),
        cmocka_unit_test_setup(discarded_subtrees_go_first, set_up),
        cmocka_unit_test_setup(what_is_below_a_kept_path_is_discarded_too, set_up),
        cmocka_unit_test_setup(what_is_used_after_it_was_discarded_is_cache_again, set_up),
        cmocka_unit_test_setup(a_discarded_node_that_is_held_shields_what_is_below, set_up),
        cmocka_unit_test_setup(wants_of_equal_entries_are_united, set_up),
        cmocka_unit_test_setup(a_batch_of_thousands_runs_in_blocks, set_up),
        cmocka_unit_test_setup(without_cache_only_wanted_paths_run, set_up),
        cmocka_unit_test_setup(a_graph_without_past_gets_whole_paths, set_up),
        cmocka_unit_test_setup(branches_that_grow_in_turn_are_long_runs, set_up),
        cmocka_unit_test_setup(the_path_beside_many_candidates_is_long_runs, set_up),
        cmocka_unit_test_setup(a_path_in_place_of_an_old_one_is_long_runs, set_up),
        cmocka_unit_test_setup(a_chain_hands_over_one_list_of_runs, set_up),
        cmocka_unit_test_setup(nothing_moves_and_nothing_is_allocated, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
