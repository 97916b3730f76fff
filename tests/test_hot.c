/* test_hot.c - the hot path: once a tree stands, no call on it takes memory or enters the kernel.
 *
 * Memory is counted where the whole process takes it, in malloc and its kin. For the kernel a child
 * process bars itself from it: a system call that is not on the list ends it with SIGSYS. The list
 * is empty for a model of one thread; a team's members wake each other (futex) and give way to each
 * other (sched_yield). Reading the clock is no system call: the kernel maps its page. */
#include "support_plan.h"

#include "native/native.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

/* ---- memory ---------------------------------------------------------------------------------- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static volatile size_t taken; /* calls since the process began */

void *malloc(size_t size)
{
    taken++;
    return __libc_malloc(size);
}
void *calloc(size_t n, size_t size)
{
    taken++;
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t size)
{
    taken++;
    return __libc_realloc(p, size);
}
void *aligned_alloc(size_t alignment, size_t size)
{
    taken++;
    return __libc_memalign(alignment, size);
}
int posix_memalign(void **out, size_t alignment, size_t size)
{
    taken++;
    *out = __libc_memalign(alignment, size);
    return *out ? 0 : 12;
}

/* ---- the kernel ------------------------------------------------------------------------------ */

/* From here on every thread of this process may only end, and team members meet. */
static void bar_the_kernel(bool team)
{
    enum { END = SYS_exit_group };
    struct sock_filter only_end[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, END, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, team ? SYS_futex : END, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, team ? SYS_sched_yield : END, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {.len = sizeof only_end / sizeof *only_end, .filter = only_end};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program))
        _exit(77);
}

static void skip_without_a_bar(int status)
{
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 77) return;
    fputs("skipped: this kernel has no seccomp filters\n", stderr);
    exit(77);
}

/* ---- what a search and a chat do ------------------------------------------------------------- */

enum { VOCAB = 61, TOKENS = 700, LONG = 600, BRANCHES = 24, ROUNDS = 30 };

typedef struct bench {
    kvf_model *model;
    kvf_tree *tree;
    kvf_seq *seq;
    kvf_entry entries[LONG];
    kvf_node nodes[LONG];
    float *logits; /* [LONG][VOCAB] */
    kvf_tree_stats before, after;
} bench;

static bench set_up(const kvf_model_options *o, bool no_cache)
{
    bench b = {0};
    test_shape shape = test_llama(2, 4, 2, 16, VOCAB);
    kvf_error err;
    kvf_tree_options size = {.struct_size = sizeof size,
                             .max_tokens = TOKENS,
                             .no_cache = no_cache};
    b.model = test_model_create(&shape, 3, o, &err);
    if (!b.model) fail_msg("%s", err.msg);
    ((native_engine *)b.model->engine)->alone_below = 0; /* a team for every pass */
    b.logits = calloc(LONG * VOCAB, sizeof *b.logits);
    if (!b.logits || kvf_tree_create(&b.tree, b.model, &size, &err) ||
        kvf_seq_create(&b.seq, b.tree, &err))
        fail_msg("%s", err.msg);
    return b;
}

/* A prompt of more than a pass, steps of many branches, going back, holding, matching, discarding,
 * chains that evict what was there. False if a call failed. */
static bool use(bench *b, size_t length)
{
    kvf_outputs out = {{[KVF_LOGITS] = b->logits}};
    bool ok = true;
    for (size_t i = 0; i < length; i++)
        b->entries[i] = (kvf_entry){.token = (int32_t)(i * 7 % VOCAB), .after = (int32_t)i - 1};
    b->entries[length - 1].want = KVF_WANT(KVF_LOGITS);
    ok &= !kvf_eval(b->tree, b->entries, length, b->nodes, &out, NULL);
    kvf_node trunk = b->nodes[length / 2], deepest;
    ok &= !kvf_hold(b->tree, trunk, NULL);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < BRANCHES; i++)
            b->entries[i] = (kvf_entry){.token = (round + i) % VOCAB,
                                        .after = -1,
                                        .parent = trunk,
                                        .want = i % 3 ? KVF_WANT(KVF_LOGITS) : 0};
        ok &= !kvf_eval(b->tree, b->entries, BRANCHES, b->nodes, &out, NULL);
        ok &= !kvf_discard(b->tree, b->nodes[round % BRANCHES], NULL);
        size_t matched;
        ok &= !kvf_match(b->tree, trunk, &(int32_t){round % VOCAB}, 1, &deepest, &matched, NULL);
    }
    ok &= !kvf_release(b->tree, trunk, NULL);
    for (int32_t round = 0; round < ROUNDS; round++) {
        int32_t tokens[20];
        for (int i = 0; i < 20; i++) tokens[i] = (round * 11 + i) % VOCAB;
        ok &= !kvf_seq_rewind(b->seq, kvf_seq_length(b->seq) / 2, NULL);
        ok &= !kvf_seq_forward(b->seq, tokens, 20, KVF_LAST_ROW, b->logits, NULL);
        ok &= !kvf_seq_forward(b->seq, tokens, 1, KVF_LAST_ROW, b->logits, NULL);
    }
    return ok;
}

/* In a child: 0 if all went well. Everything is set up there, since threads do not survive a fork. */
static int in_child(const kvf_model_options *o, bool no_cache)
{
    bench b = set_up(o, no_cache);
    size_t length = no_cache ? 40 : LONG;
    kvf_tree_get_stats(b.tree, &b.before);
    size_t before = taken;
    bar_the_kernel(o->threads > 1);
    bool ok = use(&b, length);
    kvf_tree_get_stats(b.tree, &b.after);
    if (!ok) return 1;
    if (taken != before) return 2;
    if (!no_cache && !b.after.evicted) return 3; /* then nothing was short */
    return b.after.passes > ROUNDS && b.after.tree_bytes == b.before.tree_bytes ? 0 : 4;
}

static void try_one(const kvf_model_options *o, bool no_cache, const char *what)
{
    static const char *const words[] = {"", "a call failed", "memory was taken",
                                        "nothing was evicted", "statistics are wrong"};
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) syscall(SYS_exit_group, in_child(o, no_cache));
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) fail_msg("%s: entered the kernel", what);
    skip_without_a_bar(status);
    if (!WIFEXITED(status)) fail_msg("%s: ended by signal %d", what, WTERMSIG(status));
    if (WEXITSTATUS(status)) fail_msg("%s: %s", what, words[WEXITSTATUS(status) % 5]);
}

static void neither_memory_nor_kernel(void **unused)
{
    (void)unused;
    static const char *const precisions[] = {"f32", "bf16", "q8", "q4"};
    for (uint32_t threads = 1; threads <= 2; threads++)
        for (int p = 0; p < 4; p++)
            for (int no_cache = 0; no_cache < 2; no_cache++) {
                kvf_model_options o = {.threads = threads,
                                       .precision = precisions[p],
                                       .kv = p % 2 ? "bf16" : "f32"};
                char what[80];
                snprintf(what, sizeof what, "%s, %u threads%s", precisions[p], threads,
                         no_cache ? ", without cache" : "");
                try_one(&o, no_cache, what);
            }
}

/* The judges themselves: a child that calls the kernel must fall, one that only ends must not; and
 * malloc is counted. */
static void the_judges_see(void **unused)
{
    (void)unused;
    for (int calls = 0; calls < 2; calls++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            bar_the_kernel(false);
            if (calls) (void)getppid();
            syscall(SYS_exit_group, 0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        skip_without_a_bar(status);
        assert_int_equal(WIFSIGNALED(status), calls);
    }
    size_t before = taken;
    void *p = malloc(100);
    assert_int_equal(taken, before + 1);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_judges_see),
                                       cmocka_unit_test(neither_memory_nor_kernel)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
