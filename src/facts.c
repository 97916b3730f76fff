/* facts.c - widths read off weights and attention operators; see facts.h. */
#include "facts.h"

#include <string.h>

#define MICROSOFT "com.microsoft"

enum { MAX_STEPS = 256 }; /* of any walk back through a graph */

static const kvf_op *producer(const kvf_graph *g, uint32_t value)
{
    if (value == KVF_NO_VALUE || g->values[value].producer < 0) return NULL;
    return &g->ops[g->values[value].producer];
}

static uint32_t input(const kvf_op *op, uint32_t i)
{
    return i < op->n_inputs ? op->inputs[i] : KVF_NO_VALUE;
}

static const kvf_tensor *constant(const kvf_graph *g, uint32_t value)
{
    if (value == KVF_NO_VALUE) return NULL;
    if (g->values[value].initializer) return g->values[value].initializer;
    const kvf_op *op = producer(g, value);
    const kvf_attr *a = op && kvf_op_is(op, "", "Constant") ? kvf_op_attr(op, "value") : NULL;
    return a ? a->tensor : NULL;
}

static bool one_of(const kvf_op *op, const char *const *types)
{
    for (; *types; types++)
        if (!strcmp(op->type, *types)) return true;
    return false;
}

/* A constant matrix, if need be behind operators that keep its numbers. */
static bool table(const kvf_graph *g, uint32_t value, uint64_t *rows, uint64_t *columns)
{
    static const char *const keep[] = {"Cast", "Identity", "DequantizeLinear", NULL};
    bool turned = false;
    for (int step = 0; step < MAX_STEPS; step++) {
        const kvf_tensor *t = constant(g, value);
        if (t && t->rank == 2) {
            *rows = (uint64_t)t->dims[turned];
            *columns = (uint64_t)t->dims[!turned];
            return true;
        }
        const kvf_op *op = producer(g, value);
        if (t || !op) return false;
        if (!strcmp(op->type, "Transpose"))
            turned = !turned;
        else if (!one_of(op, keep))
            return false;
        value = input(op, 0);
    }
    return false;
}

/* ---- widths ---------------------------------------------------------------------------------- */

static uint64_t last_dim(const kvf_tensor *t)
{
    return t && t->rank ? (uint64_t)t->dims[t->rank - 1] : 0;
}

/* The width that an operator gives its first output, or 0; *next: or the value that has it too. */
static uint64_t width_by_op(const kvf_graph *g, const kvf_op *op, uint32_t *next)
{
    static const char *const norms[] = {"LayerNormalization", "SimplifiedLayerNormalization",
                                        "RMSNormalization", NULL};
    static const char *const skips[] = {"SkipLayerNormalization",
                                        "SkipSimplifiedLayerNormalization", NULL};
    static const char *const keep[] = {"Cast", "Identity", "Dropout", "RotaryEmbedding", NULL};
    uint64_t rows = 0, columns = 0;
    if (!strcmp(op->type, "MatMul")) return table(g, input(op, 1), &rows, &columns) ? columns : 0;
    if (!strcmp(op->type, "Gemm")) {
        table(g, input(op, 1), &rows, &columns);
        return kvf_op_int(op, "transB", 0) ? rows : columns;
    }
    if (kvf_op_is(op, MICROSOFT, "MatMulNBits")) {
        int64_t n = kvf_op_int(op, "N", 0);
        return n > 0 ? (uint64_t)n : 0;
    }
    if (!strcmp(op->type, "Add")) {
        const kvf_tensor *bias = constant(g, input(op, 0));
        *next = input(op, bias ? 1 : 0);
        if (!bias) bias = constant(g, input(op, 1));
        return last_dim(bias) > 1 ? last_dim(bias) : 0;
    }
    if (!strcmp(op->type, "Reshape")) {
        const kvf_tensor *shape = constant(g, input(op, 1));
        int64_t n = shape && shape->count ? kvf_tensor_i64(shape, shape->count - 1) : 0;
        return n > 0 ? (uint64_t)n : 0;
    }
    if (one_of(op, norms)) return last_dim(constant(g, input(op, 1)));
    if (one_of(op, skips)) return last_dim(constant(g, input(op, 2)));
    if (one_of(op, keep)) *next = input(op, 0);
    return 0;
}

uint64_t kvf_width_of(const kvf_graph *g, uint32_t value)
{
    for (int step = 0; step < MAX_STEPS && value != KVF_NO_VALUE; step++) {
        const kvf_shape *s = g->values[value].shape;
        if (s && s->known && s->rank && s->dims[s->rank - 1] > 0)
            return (uint64_t)s->dims[s->rank - 1];
        const kvf_op *op = producer(g, value);
        uint32_t next = KVF_NO_VALUE;
        uint64_t width = op ? width_by_op(g, op, &next) : 0;
        if (width) return width;
        value = next;
    }
    return 0;
}

/* ---- tables of tokens and positions ---------------------------------------------------------- */

typedef struct walk {
    const kvf_graph *graph;
    const uint32_t *ids;
    uint32_t n_ids, steps;
} walk;

/* Token ids reach their table through operators that only rearrange them, or put a dummy before. */
static bool comes_from_ids(walk *w, uint32_t value)
{
    static const char *const rearrange[] = {"Reshape", "Cast",     "Unsqueeze", "Squeeze",
                                            "Slice",   "Identity", "Flatten",   NULL};
    if (value == KVF_NO_VALUE || w->steps++ >= MAX_STEPS) return false;
    for (uint32_t i = 0; i < w->n_ids; i++)
        if (w->ids[i] == value) return true;
    const kvf_op *op = producer(w->graph, value);
    if (op && one_of(op, rearrange)) return comes_from_ids(w, input(op, 0));
    if (!op || strcmp(op->type, "Concat")) return false;
    for (uint32_t i = 0; i < op->n_inputs; i++)
        if (comes_from_ids(w, op->inputs[i])) return true;
    return false;
}

/* Positions are an input of that name, or count up: by Range, by CumSum, or along a mask. */
static bool comes_from_positions(walk *w, uint32_t value)
{
    static const char *const count[] = {"Range", "CumSum", "ReduceSum", "NonZero", NULL};
    static const char *const compute[] = {"Reshape", "Cast", "Unsqueeze", "Squeeze", "Concat",
                                          "Slice",   "Add",  "Sub",       "Mul",     "Expand",
                                          "Where",   "Clip", "Identity",  "Tile",    "Max",
                                          "Flatten", "Min",  "Gather",    NULL};
    if (value == KVF_NO_VALUE || w->steps++ >= MAX_STEPS) return false;
    const kvf_op *op = producer(w->graph, value);
    if (!op) return strstr(w->graph->values[value].name, "position") != NULL;
    if (one_of(op, count)) return true;
    if (!one_of(op, compute)) return false;
    for (uint32_t i = 0; i < op->n_inputs; i++)
        if (comes_from_positions(w, op->inputs[i])) return true;
    return false;
}

static void shorten(uint64_t *context, uint64_t rows)
{
    if (rows && (!*context || rows < *context)) *context = rows;
}

/* A table may begin before position 0: OPT adds 2 to every position. */
static uint64_t added(const kvf_graph *g, uint32_t value)
{
    const kvf_op *op = producer(g, value);
    if (!op || strcmp(op->type, "Add")) return 0;
    for (uint32_t i = 0; i < op->n_inputs; i++) {
        const kvf_tensor *t = constant(g, op->inputs[i]);
        if (t && t->count == 1 && kvf_tensor_i64(t, 0) > 0) return (uint64_t)kvf_tensor_i64(t, 0);
    }
    return 0;
}

static void look_up(kvf_facts *f, walk *w, const kvf_op *op)
{
    uint64_t rows, columns;
    if (kvf_op_int(op, "axis", 0) != 0 || !table(w->graph, input(op, 0), &rows, &columns)) return;
    w->steps = 0;
    if (comes_from_ids(w, input(op, 1))) {
        if (f->vocab) return;
        f->vocab = rows;
        f->hidden = columns;
        return;
    }
    w->steps = 0;
    uint64_t offset = added(w->graph, input(op, 1));
    if (offset < rows && comes_from_positions(w, input(op, 1))) shorten(&f->context, rows - offset);
}

static void embed(kvf_facts *f, const kvf_graph *g, const kvf_op *op)
{
    uint64_t rows, columns;
    if (table(g, input(op, 2), &rows, &columns)) {
        f->vocab = rows;
        f->hidden = columns;
    }
    if (table(g, input(op, 3), &rows, &columns)) shorten(&f->context, rows);
}

/* ---- attention operators --------------------------------------------------------------------- */

static uint64_t positive(const kvf_op *op, const char *attribute)
{
    int64_t v = kvf_op_int(op, attribute, 0);
    return v > 0 ? (uint64_t)v : 0;
}

/* Key is input 1; where it is empty, input 0 holds queries, keys and values side by side. */
static uint64_t grouped_head_dim(const kvf_graph *g, const kvf_op *op, const kvf_facts *f)
{
    uint64_t packed = input(op, 1) == KVF_NO_VALUE, parts = f->kv_heads;
    if (packed && (f->heads > 1u << 20 || f->kv_heads > 1u << 20)) return 0;
    if (packed) parts = f->heads + 2 * f->kv_heads;
    uint64_t width = kvf_width_of(g, input(op, packed ? 0 : 1)), rows, pairs;
    if (width && parts && width % parts == 0) return width / parts;
    if (kvf_op_int(op, "rotary_embedding_dim", 0) || !table(g, input(op, 7), &rows, &pairs))
        return 0;
    return pairs < 1u << 30 ? 2 * pairs : 0;
}

static void attend(kvf_facts *f, const kvf_graph *g, const kvf_op *op)
{
    bool grouped = kvf_op_is(op, MICROSOFT, "GroupQueryAttention");
    uint64_t rows, pairs;
    if (grouped && table(g, input(op, 7), &rows, &pairs)) shorten(&f->context, rows);
    if (f->heads) return;
    if (kvf_op_is(op, "", "Attention")) {
        f->heads = positive(op, "q_num_heads");
        f->kv_heads = positive(op, "kv_num_heads");
    } else {
        f->heads = positive(op, "num_heads");
        f->kv_heads = grouped ? positive(op, "kv_num_heads") : 0;
    }
    if (grouped) f->head_dim = grouped_head_dim(g, op, f);
}

kvf_facts kvf_facts_of(const kvf_graph *g, const uint32_t *ids, uint32_t n_ids)
{
    static const char *const attentions[] = {"Attention", "GroupQueryAttention",
                                             "MultiHeadAttention", NULL};
    kvf_facts f = {0};
    walk w = {.graph = g, .ids = ids, .n_ids = n_ids};
    for (uint32_t i = 0; i < g->n_ops; i++) {
        const kvf_op *op = &g->ops[i];
        uint64_t rows, pairs;
        if (kvf_op_is(op, "", "Gather"))
            look_up(&f, &w, op);
        else if (kvf_op_is(op, MICROSOFT, "EmbedLayerNormalization"))
            embed(&f, g, op);
        else if (!strcmp(op->type, "RotaryEmbedding") &&
                 table(g, input(op, op->domain[0] ? 2 : 1), &rows, &pairs))
            shorten(&f.context, rows);
        else if (one_of(op, attentions))
            attend(&f, g, op);
    }
    return f;
}
