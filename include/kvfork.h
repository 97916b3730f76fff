/* kvfork.h - decoder inference whose KV cache is a tree of tokens.
 *
 *     root - the - cat - sat - down       a node is one token and, in every
 *                    \-- ran              layer, one row of K and one of V
 *
 * kvf_model  weights and an engine; immutable, shared by any number of threads
 * kvf_tree   one cache; used by one thread at a time
 * kvf_node   a handle into a tree; a sequence is the path from the root to it,
 *            a branch is another child, going back is going on from an ancestor
 * kvf_seq    a finger in a tree: forward, rewind, fork, and what that cost
 *
 * Every call that can fail returns a kvf_status and, where err is not NULL,
 * explains a failure in it. After a failure every argument is what it was before
 * the call unless the call says otherwise. Sizes are in elements unless they are
 * called bytes; times are in seconds. Arrays are dense, last index fastest. */
#ifndef KVFORK_H
#define KVFORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(KVF_BUILDING) && defined(__GNUC__)
#define KVF_API __attribute__((visibility("default")))
#else
#define KVF_API
#endif

/* ---- status and error ------------------------------------------------------------------------ */

/* What every call that can fail returns. The values are ABI: append only. */
typedef enum kvf_status {
    KVF_OK = 0,
    KVF_ERR_ARG = 1,    /* the caller asked for something impossible */
    KVF_ERR_NOMEM = 2,  /* host or device memory ran out */
    KVF_ERR_MODEL = 3,  /* the file is not a decoder this engine can run */
    KVF_ERR_FULL = 4,   /* held nodes fill the tree: release some and retry */
    KVF_ERR_ENGINE = 5, /* ONNX Runtime or CUDA failed or is missing; msg has its words */
    KVF_ERR_IO = 6,     /* a file cannot be read or written */
    KVF_ERR_NAN = 7,    /* the model's numbers are not finite */
    KVF_ERR_STALE = 8,  /* a handle names a node that has gone */
} kvf_status;

/* One failure, in words. It belongs to the caller, usually on its stack: the
 * library keeps no last error, so threads cannot race for it. Written only when
 * a call fails; every function accepts NULL in its place. */
typedef struct kvf_error {
    kvf_status status;
    char msg[508]; /* terminated; says what was wrong and what was expected */
} kvf_error;

KVF_API const char *kvf_status_name(kvf_status status); /* "KVF_ERR_ARG"; never NULL */
KVF_API const char *kvf_version(void);                  /* "0.1.0" */

/* ---- model ----------------------------------------------------------------------------------- */

typedef struct kvf_model kvf_model;

/* What a row of a model can give, beside its K and V. A model has a head if its
 * width is not zero. */
typedef enum kvf_head {
    KVF_LOGITS = 0, /* over the vocabulary, not normalised */
    KVF_POLICY = 1, /* over moves of a policy head, not normalised */
    KVF_VALUE = 2,
    KVF_HIDDEN = 3, /* after the final norm */
} kvf_head;
enum { KVF_HEADS = 4 };
#define KVF_WANT(head) (1u << (head))

/* How to open a model. Zero means the default. Set struct_size to sizeof the
 * struct: it tells a later library, with more fields, how many the caller knew. */
typedef struct kvf_model_options {
    uint32_t struct_size;
    uint32_t threads;        /* per forward pass; default: the processors this process may use */
    const char *engine;      /* "native", "ort", "cuda"; "none" reads the file only; default "auto":
                                native if the graph lifts into a plan, else ort */
    const char *device;      /* "cpu" (default), or "cuda:N" (default of cuda: N = 0) */
    const char *precision;   /* of weights: "f32", "bf16", "q8", "q4" (native only); default: the
                                file's own, which cuda rounds up to one that it has */
    const char *kv;          /* of cache rows: "f32", "bf16"; default: the file's own */
    const char *cpu;         /* native kernels: "c", "avx2", "avx512", "avx512v" (VNNI), "avx512x"
                                (VNNI and BF16); default: the best here */
    const char *names;       /* roles of inputs and outputs whose names say nothing, as
                                "input_ids=x,past_key_0=k0,present_key_0=nk0,logits=y" */
    const char *policy_head; /* ONNX file from hidden states to policy or logits, if apart */
    const char *value_head;  /* ONNX file from hidden states to values, if apart */
    const char *ort_library; /* ONNX Runtime's library; default: as built, else the system's */
    /* Called now and then while weights are prepared, from the opening thread; may be NULL. */
    void (*progress)(void *user, const char *what, uint64_t done, uint64_t total);
    void *user;
    bool pin; /* native: each further thread stays on a processor of its own, of those that the
                 opening thread may use; the first is left to the callers */
} kvf_model_options;

/* Whether there could be a build, a machine and a file for such options: unknown names and numbers
 * out of range are told apart from what a file or this machine lacks. kvf_model_open begins so.
 * Errors  KVF_ERR_ARG (which option, what it is, what it should be), KVF_ERR_NOMEM */
KVF_API kvf_status kvf_model_options_check(const kvf_model_options *opt, kvf_error *err);

/* Open a decoder.
 *
 * out     set on KVF_OK, else NULL; free it with kvf_model_close
 * path    an ONNX file, with its external data files beside it; mapped, not read, and
 *         must not change while the model is open
 * opt     NULL for the defaults; strings are copied
 * Cost    native packs the weights once; ort optimises the graph
 * Errors  KVF_ERR_IO, KVF_ERR_MODEL (which tensor or operator, what it is, what it
 *         should be), KVF_ERR_ENGINE (not built in or not installed, and how to get
 *         it), KVF_ERR_ARG, KVF_ERR_NOMEM */
KVF_API kvf_status kvf_model_open(kvf_model **out, const char *path, const kvf_model_options *opt,
                                  kvf_error *err);
KVF_API void kvf_model_close(kvf_model *model); /* NULL is fine; after its trees */

/* What a model is. Strings live as long as the model. */
typedef struct kvf_model_info {
    uint32_t layers, heads, kv_heads, head_dim; /* heads is 0 if the graph does not say */
    uint32_t hidden;                            /* 0 if the graph does not say */
    uint32_t vocab;
    uint32_t context;          /* longest path in tokens; 0: unlimited */
    uint32_t width[KVF_HEADS]; /* of each head; 0: the model does not have it */
    uint64_t parameters;       /* elements of all weights */
    uint64_t file_bytes;       /* of the model and its external data */
    uint64_t weight_bytes;     /* taken by the engine for weights; 0 if it does not know */
    uint64_t bytes_per_token;  /* of cache: K and V of all layers */
    const char *kv_type;       /* "float32", "float16", "bfloat16" */
    const char *logits_type;
    const char *layout;         /* of one past tensor, e.g. "[batch, kv_heads, length, head_dim]" */
    const char *precision;      /* of weights as the engine holds them, e.g. "f32" */
    const char *engine;         /* "native", "ort", "cuda", "none" */
    const char *engine_version; /* of the library behind it, or this one's */
    const char *why;            /* why this engine, in one sentence */
    const char *device;         /* "cpu", "cuda:0" */
    const char *device_name;    /* of cuda:N, as its driver says; "" for the cpu */
    const char *cpu;            /* kernels in use, "" if the engine has none of ours */
    const char *exporter;       /* producer name and version as the file says */
    const char *tokenizer;      /* metadata kvfork.tokenizer, or "" */
    int32_t eos;                /* metadata kvfork.eos, or -1 */
    uint32_t threads;
    uint32_t n_files, n_inputs, n_outputs, n_operators, n_opsets; /* of the calls below */
    bool caches; /* false: the graph has no past, so every tree is without cache */
} kvf_model_info;
KVF_API const kvf_model_info *kvf_model_get_info(const kvf_model *model);

/* One input or output of the graph, in the file's order. */
typedef struct kvf_port {
    const char *name;
    const char *role; /* "input_ids", "past_key", "logits", ...; "" if it has none */
    const char *type; /* "float32", "int64", ... */
    uint32_t layer;   /* of a past or present */
    uint32_t rank;
    const int64_t *dims;          /* [rank] -1 where dynamic */
    const char *const *dim_names; /* [rank] "" where fixed or unnamed */
} kvf_port;
typedef struct kvf_count {
    const char *name; /* "MatMul" or "com.microsoft::Attention"; of opsets: the domain */
    uint64_t count;   /* of nodes; of opsets: the version */
} kvf_count;
KVF_API const kvf_port *kvf_model_input(const kvf_model *model, uint32_t i);
KVF_API const kvf_port *kvf_model_output(const kvf_model *model, uint32_t i);
KVF_API const kvf_count *kvf_model_operator(const kvf_model *model, uint32_t i);
KVF_API const kvf_count *kvf_model_opset(const kvf_model *model, uint32_t i);
KVF_API const char *kvf_model_file(const kvf_model *model,
                                   uint32_t i); /* the graph, then its data */
/* A metadata property of the file, or NULL. */
KVF_API const char *kvf_model_metadata(const kvf_model *model, const char *key);

/* ---- tree ------------------------------------------------------------------------------------ */

typedef struct kvf_tree kvf_tree;
/* Index and generation: a stale handle is an error, never another node. */
typedef uint64_t kvf_node;
#define KVF_ROOT ((kvf_node)0)

/* Size of a tree. Zero means the default. */
typedef struct kvf_tree_options {
    uint32_t struct_size;
    uint32_t max_tokens; /* nodes stored at once; default: what max_bytes allows, else the
                            context, else 4,096 */
    uint64_t max_bytes;  /* of cache rows and bookkeeping; the smaller of the two counts */
    bool no_cache;       /* keep no K and V: every call recomputes the whole path of every row */
} kvf_tree_options;

/* Create an empty tree.
 *
 * out     set on KVF_OK, else NULL; free it with kvf_tree_destroy
 * model   borrowed: must outlive the tree
 * opt     NULL for the defaults
 * Memory  kvf_tree_bytes(model, opt), all taken here: later calls on the tree do
 *         not allocate (ONNX Runtime's own arena is apart, and counted apart)
 * Errors  KVF_ERR_ARG, KVF_ERR_NOMEM, KVF_ERR_ENGINE */
KVF_API kvf_status kvf_tree_create(kvf_tree **out, const kvf_model *model,
                                   const kvf_tree_options *opt, kvf_error *err);
KVF_API void kvf_tree_destroy(kvf_tree *tree); /* NULL is fine */

/* Bytes that kvf_tree_create would take; 0 if the options are impossible. */
KVF_API uint64_t kvf_tree_bytes(const kvf_model *model, const kvf_tree_options *opt);
KVF_API const kvf_model *kvf_tree_model(const kvf_tree *tree);

/* One token to evaluate: after a node of the tree, or after an earlier entry of
 * the same batch. Chains, many branches and whole trees are one batch. */
typedef struct kvf_entry {
    int32_t token;   /* in [0, vocab) */
    int32_t after;   /* index of an earlier entry, or -1: after parent */
    kvf_node parent; /* read only if after is -1 */
    uint32_t want;   /* KVF_WANT(KVF_LOGITS) | ...; 0 for none */
} kvf_entry;

/* Where outputs go, per head: [entries that want it][width], f32, in the order of the
 * entries. A head that nobody wants may be NULL. */
typedef struct kvf_outputs {
    float *head[KVF_HEADS];
} kvf_outputs;

/* Evaluate a batch.
 *
 * entries  [n]; n >= 1
 * nodes    [n], set: one node per entry, held by nobody yet (kvf_hold what must
 *          stay); an entry that names a node which the tree already has gets that
 *          node, and costs nothing unless it wants an output: then its row is
 *          computed again. Equal entries of one batch get one node. May be NULL if n is at
 *          most the tree's max_tokens
 * out      may be NULL if no entry wants anything
 * Cost     the new tokens, each against its own path; memory is bounded by the tree's
 *          options however large n is. Nodes held by nobody and least recently used
 *          make room, in a large tree some at a time
 * Errors   KVF_ERR_ARG (a token, a parent, a head the model lacks, a path longer than
 *          the context), KVF_ERR_STALE, KVF_ERR_FULL, KVF_ERR_ENGINE; no new node then
 *          exists, no held one has gone, nodes and outputs are undefined */
KVF_API kvf_status kvf_eval(kvf_tree *tree, const kvf_entry *entries, size_t n, kvf_node *nodes,
                            const kvf_outputs *out, kvf_error *err);

/* Walk from a node along tokens that the tree already has.
 *
 * from     KVF_ROOT for whole sequences
 * deepest  set to the last node reached, from itself if the first token is not there;
 *          held by nobody
 * matched  set to the number of tokens walked
 * Cost     one look-up per token
 * Errors   KVF_ERR_STALE */
KVF_API kvf_status kvf_match(kvf_tree *tree, kvf_node from, const int32_t *tokens, size_t n,
                             kvf_node *deepest, size_t *matched, kvf_error *err);

/* Keep a node, and with it the path to it, until as many releases. KVF_ROOT is always
 * there and may be held and released freely.
 * Errors  KVF_ERR_STALE; KVF_ERR_ARG if it is not held (release) */
KVF_API kvf_status kvf_hold(kvf_tree *tree, kvf_node node, kvf_error *err);
KVF_API kvf_status kvf_release(kvf_tree *tree, kvf_node node, kvf_error *err);

/* Say that a node and what lies below it are not needed: they go first when room is
 * needed. What somebody holds, the path to it and what lies below it stay as they were.
 * Cost    constant
 * Errors  KVF_ERR_STALE */
KVF_API kvf_status kvf_discard(kvf_tree *tree, kvf_node node, kvf_error *err);

KVF_API bool kvf_node_exists(const kvf_tree *tree, kvf_node node);
/* Errors of the three: KVF_ERR_STALE. The root has depth 0, token -1 and itself as parent. */
KVF_API kvf_status kvf_node_parent(const kvf_tree *tree, kvf_node node, kvf_node *parent,
                                   kvf_error *err);
KVF_API kvf_status kvf_node_token(const kvf_tree *tree, kvf_node node, int32_t *token,
                                  kvf_error *err);
KVF_API kvf_status kvf_node_depth(const kvf_tree *tree, kvf_node node, uint32_t *depth,
                                  kvf_error *err);

typedef struct kvf_tree_stats {
    uint64_t max_tokens;
    uint64_t nodes;              /* now, without the root */
    uint64_t held;               /* of these: held, or on the path to a held one */
    uint64_t evictable;          /* nodes - held */
    uint64_t evicted;            /* since creation */
    uint64_t matched_tokens;     /* entries that found their node, and tokens walked by kvf_match */
    uint64_t evaluated_tokens;   /* rows computed */
    double hit_rate;             /* matched / (matched + evaluated), 0 before the first */
    uint64_t calls, passes;      /* of kvf_eval; of the engine */
    uint64_t cache_bytes;        /* K and V rows, taken at creation */
    uint64_t tree_bytes;         /* bookkeeping and the engine's buffers, taken at creation */
    uint64_t runtime_bytes;      /* ONNX Runtime's arena, 0 if the engine has none */
    uint64_t copied_bytes;       /* K and V moved by the engine: rows stored, pasts assembled */
    uint64_t graph_copied_bytes; /* computed: what the graph itself copies from past to present */
    uint64_t sent_bytes;         /* to the cuda engine's device: tokens, slots and runs */
    uint64_t received_bytes;     /* from it: outputs that were wanted */
    uint64_t device_bytes;       /* of its memory in use, by all processes, as its driver says */
    uint64_t moved_buffers;      /* times a cache buffer changed its address: always 0 */
    bool no_cache;
} kvf_tree_stats;
KVF_API void kvf_tree_get_stats(const kvf_tree *tree, kvf_tree_stats *stats);

/* ---- cursor ---------------------------------------------------------------------------------- */

typedef struct kvf_seq kvf_seq;

/* Start a sequence at the root. The tree is borrowed and must outlive it; any number
 * may share one tree, all in its thread. Holds its path.
 * Errors  KVF_ERR_NOMEM */
KVF_API kvf_status kvf_seq_create(kvf_seq **out, kvf_tree *tree, kvf_error *err);
KVF_API void kvf_seq_destroy(kvf_seq *seq); /* NULL is fine; its nodes stay as cache */

typedef enum kvf_rows { KVF_NO_ROWS = 0, KVF_LAST_ROW = 1, KVF_ALL_ROWS = 2 } kvf_rows;

/* Append tokens.
 *
 * tokens  [n]; n >= 1; those that the tree has already are not computed again
 * logits  [vocab] for KVF_LAST_ROW, [n][vocab] for KVF_ALL_ROWS, else NULL
 * Errors  those of kvf_eval; the sequence is then where it was */
KVF_API kvf_status kvf_seq_forward(kvf_seq *seq, const int32_t *tokens, size_t n, kvf_rows rows,
                                   float *logits, kvf_error *err);

/* Go back to the first length tokens. Costs nothing; what came after stays as cache.
 * Errors  KVF_ERR_ARG if length exceeds the present one */
KVF_API kvf_status kvf_seq_rewind(kvf_seq *seq, size_t length, kvf_error *err);
KVF_API void kvf_seq_reset(kvf_seq *seq); /* to the root; the metrics start anew */
KVF_API size_t kvf_seq_length(const kvf_seq *seq);
KVF_API kvf_node kvf_seq_node(const kvf_seq *seq);

/* Another finger at the same place, with metrics of its own. Copies no cache.
 * Errors  KVF_ERR_NOMEM */
KVF_API kvf_status kvf_seq_fork(kvf_seq **out, const kvf_seq *seq, kvf_error *err);

/* What the calls since creation or reset cost. Latencies are of whole forward calls: the
 * first, and the following ones (of these the last 4,096 count for quantiles). */
typedef struct kvf_metrics {
    uint64_t calls, tokens;
    double first_s;                     /* latency of the first token: 0 before it */
    double mean_s, p50_s, p90_s, p99_s; /* of the following ones; 0 if there are none */
    double tokens_per_s;                /* of the following ones */
    double speedup;                     /* over no cache; 0 until kvf_seq_measure_speedup */
    uint64_t cache_bytes, weight_bytes; /* of the tree; of the model */
    uint64_t process_bytes, peak_bytes; /* resident size of the process: now, and at most */
} kvf_metrics;
KVF_API void kvf_seq_get_metrics(const kvf_seq *seq, kvf_metrics *metrics);

/* Measure the last token of the present path without and with cache, medians of repeats
 * runs each, in turn, and keep the ratio as metrics.speedup. Takes a second tree without
 * cache for the time of the call.
 * Errors  KVF_ERR_ARG if the sequence is empty or repeats is 0; those of kvf_eval */
KVF_API kvf_status kvf_seq_measure_speedup(kvf_seq *seq, uint32_t repeats, kvf_error *err);

/* Metrics as a few lines of text, or as one JSON object, into text [size], terminated.
 * Returns the length without the terminator, which may exceed size - 1 (then it was cut). */
KVF_API size_t kvf_metrics_text(const kvf_metrics *metrics, char *text, size_t size);
KVF_API size_t kvf_metrics_json(const kvf_metrics *metrics, char *text, size_t size);

/* ---- log-probabilities ----------------------------------------------------------------------- */

/* ln of the sum of e^x over a row of n >= 1 logits: token t has the log-probability
 * row[t] - kvf_log_sum_exp(row, n).
 *
 * The sum is taken in f32 vectors of the best level of this processor: its logarithm is within 2e-6,
 * and equal rows give equal bits on one machine. NaN if one logit is NaN or +infinite, or all are
 * -infinite. Cost: a few nanoseconds for every hundred. */
KVF_API double kvf_log_sum_exp(const float *row, size_t n);

/* ---- sampling -------------------------------------------------------------------------------- */

/* How to choose a token. Zero means: greedy. */
typedef struct kvf_sampling {
    double temperature; /* 0: the largest logit, the lowest id on a tie */
    uint32_t top_k;     /* 0: all */
    double top_p;       /* smallest set of most likely tokens with this much mass; 0 or 1: all */
} kvf_sampling;

typedef struct kvf_sampler kvf_sampler;

/* A seeded chooser: equal seeds, options and logits give equal tokens on every machine.
 * Memory  16 bytes per token of the vocabulary
 * Errors  KVF_ERR_ARG (temperature or top_p negative or not finite, top_p > 1), KVF_ERR_NOMEM */
KVF_API kvf_status kvf_sampler_create(kvf_sampler **out, uint32_t vocab, const kvf_sampling *how,
                                      uint64_t seed, kvf_error *err);
KVF_API void kvf_sampler_destroy(kvf_sampler *sampler);

/* Choose from logits [vocab].
 * Errors  KVF_ERR_NAN if one is NaN, or none is finite: token is not written */
KVF_API kvf_status kvf_sample(kvf_sampler *sampler, const float *logits, int32_t *token,
                              kvf_error *err);

#ifdef __cplusplus
}
#endif
#endif
