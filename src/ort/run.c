/* run.c - one batch through ONNX Runtime: inputs by their role, pasts and presents bound to the
 * sides, outputs to the rows that want them.
 *
 * Values are made over our memory for each run, since shapes change with every token; the memory
 * stays. ONNX Runtime allocates only what it gives back by itself: logits and other heads.
 *
 * A graph that extends a cache gives evaluated rows the position past + ancestors - 1, and cannot
 * run without a past, so the first token of a path, at position 0, could not be evaluated. But a
 * row that may not even see itself has the position past - 1, and sees the past alone: over a past
 * of one row at position 0, which is the token itself, it is that token at position 0. What its own
 * K and V are is not known at first, yet those of layer 0 do not depend on a past, those of layer 1
 * only on layer 0, and so on: after as many runs as layers, each over the rows that the last one
 * gave, all are right, and one more run gives the outputs. */
#include "ort/ort.h"

#include <string.h>

/* ---- values ---------------------------------------------------------------------------------- */

/* The numbers of both enumerations are those of ONNX. */
_Static_assert((int)KVF_F32 == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT &&
                   (int)KVF_I64 == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 &&
                   (int)KVF_BOOL == ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL &&
                   (int)KVF_F16 == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 &&
                   (int)KVF_BF16 == ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
               "element types");

typedef struct dims {
    int64_t d[5];
    uint32_t rank;
} dims;

/* A value over our memory. */
static OrtStatus *make_value(const kvf_ort *e, OrtValue **value, void *data, kvf_type type,
                             const dims *shape)
{
    uint64_t bytes = kvf_type_bits(type) / 8;
    for (uint32_t i = 0; i < shape->rank; i++) bytes *= (uint64_t)shape->d[i];
    return e->api->CreateTensorWithDataAsOrtValue(e->lib->memory, data, bytes, shape->d,
                                                  shape->rank, (ONNXTensorElementDataType)type,
                                                  value);
}

/* The binding keeps what it needs of the value. */
static OrtStatus *bind(const kvf_ort_state *s, const char *name, void *data, kvf_type type,
                       const dims *shape, bool output)
{
    const OrtApi *api = s->engine->api;
    OrtValue *value = NULL;
    OrtStatus *failed = make_value(s->engine, &value, data, type, shape);
    if (!failed)
        failed = output ? api->BindOutput(s->binding, name, value)
                        : api->BindInput(s->binding, name, value);
    if (value) api->ReleaseValue(value);
    return failed;
}

static const kvf_value *value_of(const kvf_ort *e, const kvf_contract_port *port)
{
    return &e->model->onnx->graph->values[port->value];
}

/* ---- inputs ---------------------------------------------------------------------------------- */

static const kvf_row *row_of(const kvf_ort_state *s, const kvf_ort_batch *batch,
                             const kvf_pass *pass, uint32_t unit, uint32_t i)
{
    return &pass->rows[s->plan.order[batch->units[unit]->first + i]];
}

static void put(void *data, kvf_type type, uint64_t i, int64_t number)
{
    switch (type) {
    case KVF_I32: ((int32_t *)data)[i] = (int32_t)number; break;
    case KVF_BOOL: ((uint8_t *)data)[i] = number != 0; break;
    case KVF_F32: ((float *)data)[i] = (float)number; break;
    default: ((int64_t *)data)[i] = number; break;
    }
}

/* Ones where a token is. */
static void put_attention_mask(const kvf_ort_batch *batch, void *data, kvf_type type,
                               uint32_t width)
{
    for (uint32_t i = 0; i < batch->n_units; i++)
        for (uint32_t t = 0; t < width; t++)
            put(data, type, (uint64_t)i * width + t, t < batch->units[i]->past + batch->n);
}

/* Each evaluated row sees the prefix or past, what its parent sees of the others, and itself;
 * children of the root: see above. */
static void put_tree_mask(const kvf_ort_state *s, const kvf_ort_batch *batch, const kvf_pass *pass,
                          float *mask)
{
    uint32_t prefix = batch->units[0]->prefix, n = batch->n - prefix;
    memset(mask, 0, (size_t)batch->n_units * n * n * sizeof *mask);
    for (uint32_t i = 0; i < batch->n_units && !batch->first; i++)
        for (uint32_t j = 0; j < n; j++) {
            float *own = mask + ((size_t)i * n + j) * n;
            int32_t parent = row_of(s, batch, pass, i, prefix + j)->parent;
            bool inside =
                parent >= 0 && s->plan.place[parent] >= prefix &&
                s->plan.unit_of[parent] == s->plan.unit_of[s->plan.order[batch->units[i]->first]];
            if (inside)
                memcpy(own, mask + ((size_t)i * n + s->plan.place[parent] - prefix) * n, j * 4);
            own[j] = 1;
        }
}

static dims cache_dims(const kvf_ort *e, uint32_t batch, uint32_t length)
{
    const kvf_contract *c = e->contract;
    int64_t b = batch, h = c->kv_heads, l = length, d = c->head_dim;
    switch (c->layout) {
    case KVF_LAYOUT_LENGTH: return (dims){{b, l, h, d}, 4};
    case KVF_LAYOUT_FUSED: return (dims){{2, b, h, l, d}, 5};
    default: return (dims){{b, h, l, d}, 4};
    }
}

/* The tokens of an input: those of all rows, or without the last n of each unit, or only these. */
static void put_tokens(const kvf_ort_state *s, const kvf_ort_batch *batch, const kvf_pass *pass,
                       void *data, kvf_type type, uint32_t from, uint32_t n)
{
    for (uint32_t i = 0; i < batch->n_units; i++)
        for (uint32_t j = 0; j < n; j++)
            put(data, type, (uint64_t)i * n + j, row_of(s, batch, pass, i, from + j)->token);
}

/* Fill the memory of an input that is no past, and say its shape. */
static dims fill_input(const kvf_ort_state *s, const kvf_ort_batch *batch, const kvf_pass *pass,
                       kvf_role role, kvf_type type, void *data)
{
    uint32_t b = batch->n_units, n = batch->n;
    uint32_t prefix = batch->units[0]->prefix;
    uint32_t width = s->engine->wide_mask ? batch->length : batch->past + n;
    switch (role) {
    case KVF_ROLE_INPUT_IDS: put_tokens(s, batch, pass, data, type, 0, n); return (dims){{b, n}, 2};
    case KVF_ROLE_PREFIX_IDS:
        put_tokens(s, batch, pass, data, type, 0, prefix);
        return (dims){{b, prefix}, 2};
    case KVF_ROLE_EVALUATED_IDS:
        put_tokens(s, batch, pass, data, type, prefix, n - prefix);
        return (dims){{b, n - prefix}, 2};
    case KVF_ROLE_EVALUATED_MASK:
        put_tree_mask(s, batch, pass, data);
        return (dims){{b, n - prefix, n - prefix}, 3};
    case KVF_ROLE_POSITION_IDS:
        for (uint32_t i = 0; i < b * n; i++)
            put(data, type, i, row_of(s, batch, pass, i / n, i % n)->position);
        return (dims){{b, n}, 2};
    case KVF_ROLE_ATTENTION_MASK:
        put_attention_mask(batch, data, type, width);
        return (dims){{b, width}, 2};
    case KVF_ROLE_WRITE_INDICES:
        for (uint32_t i = 0; i < b; i++) put(data, type, i, batch->units[i]->past);
        return (dims){{b}, 1};
    case KVF_ROLE_SEQUENCE_LENGTHS:
        for (uint32_t i = 0; i < b; i++) put(data, type, i, batch->units[i]->past + n);
        return (dims){{b}, 1};
    default: /* use_cache_branch */ put(data, type, 0, batch->past > 0); return (dims){{1}, 1};
    }
}

static OrtStatus *bind_inputs(const kvf_ort_state *s, const kvf_ort_batch *batch,
                              const kvf_pass *pass)
{
    const kvf_ort *e = s->engine;
    OrtStatus *failed = NULL;
    uint32_t used = 0;
    for (uint32_t i = 0; i < e->contract->n_inputs && !failed; i++) {
        const kvf_contract_port *port = &e->contract->inputs[i];
        const kvf_value *value = value_of(e, port);
        void *data;
        dims shape;
        if (port->role == KVF_ROLE_PAST_KEY || port->role == KVF_ROLE_PAST_VALUE ||
            port->role == KVF_ROLE_PAST_FUSED) {
            data = kvf_ort_cache_past(&s->cache, batch, port->layer,
                                      port->role == KVF_ROLE_PAST_VALUE);
            shape = cache_dims(e, batch->n_units, batch->length);
        } else {
            data = s->inputs + used++ * s->input_bytes;
            shape = fill_input(s, batch, pass, port->role, value->shape->type, data);
        }
        failed = bind(s, value->name, data, value->shape->type, &shape, false);
    }
    return failed;
}

/* ---- outputs --------------------------------------------------------------------------------- */

static int head_of(kvf_role role)
{
    return role == KVF_ROLE_LOGITS   ? KVF_LOGITS
           : role == KVF_ROLE_POLICY ? KVF_POLICY
           : role == KVF_ROLE_VALUE  ? KVF_VALUE
           : role == KVF_ROLE_HIDDEN ? KVF_HIDDEN
                                     : -1;
}

static bool is_present(kvf_role role)
{
    return role == KVF_ROLE_PRESENT_KEY || role == KVF_ROLE_PRESENT_VALUE ||
           role == KVF_ROLE_PRESENT_FUSED;
}

/* What the graph itself is to give: heads of their own ask for hidden states. */
static uint32_t wanted(const kvf_ort_state *s, const kvf_ort_batch *batch, const kvf_pass *pass)
{
    uint32_t want = 0;
    for (uint32_t i = 0; i < batch->n_units; i++)
        for (uint32_t j = 0; j < batch->n; j++) want |= row_of(s, batch, pass, i, j)->want;
    for (int i = 0; i < KVF_ORT_HEADS; i++)
        if (s->engine->heads[i].session && (want & KVF_WANT(s->engine->heads[i].head)))
            want |= KVF_WANT(KVF_HIDDEN);
    return want;
}

static OrtStatus *bind_outputs(const kvf_ort_state *s, const kvf_ort_batch *batch, uint32_t want,
                               uint32_t *n_bound)
{
    const kvf_ort *e = s->engine;
    dims present =
        cache_dims(e, batch->n_units, s->cache.in_place ? batch->length : batch->past + batch->n);
    OrtStatus *failed = NULL;
    *n_bound = 0;
    for (uint32_t i = 0; i < e->contract->n_outputs && !failed; i++) {
        const kvf_contract_port *port = &e->contract->outputs[i];
        const char *name = value_of(e, port)->name;
        int head = head_of(port->role);
        if (head >= 0 && (want & KVF_WANT(head)))
            failed = e->api->BindOutputToDevice(s->binding, name, e->lib->memory);
        else if (is_present(port->role) && (batch->write || s->cache.in_place))
            failed = bind(s, name,
                          kvf_ort_cache_present(&s->cache, batch, port->layer,
                                                port->role == KVF_ROLE_PRESENT_VALUE),
                          e->contract->kv_type, &present, true);
        else
            continue;
        s->bound[(*n_bound)++] = i;
    }
    return failed;
}

/* Rows of an output: of all rows of each unit behind offset others, or of the last one. */
typedef struct view {
    const void *data;
    kvf_type type;
    uint32_t width, per_unit, offset;
    bool last_only;
} view;

static void copy_floats(float *to, const view *v, uint64_t row)
{
    uint64_t at = row * v->width;
    if (v->type == KVF_F32) {
        memcpy(to, (const float *)v->data + at, v->width * sizeof *to);
        return;
    }
    const uint16_t *half = (const uint16_t *)v->data + at;
    for (uint32_t i = 0; i < v->width; i++)
        to[i] = v->type == KVF_F16 ? kvf_from_f16(half[i]) : kvf_from_bf16(half[i]);
}

/* The type and the number of elements of a value, and its data. */
static kvf_status open_value(const kvf_ort *e, OrtValue *value, view *v, uint64_t *count,
                             kvf_error *err)
{
    OrtTensorTypeAndShapeInfo *info = NULL;
    ONNXTensorElementDataType type = 0;
    size_t n = 0;
    void *data = NULL;
    OrtStatus *failed = e->api->GetTensorTypeAndShape(value, &info);
    if (!failed) failed = e->api->GetTensorElementType(info, &type);
    if (!failed) failed = e->api->GetTensorShapeElementCount(info, &n);
    if (!failed) failed = e->api->GetTensorMutableData(value, &data);
    if (info) e->api->ReleaseTensorTypeAndShapeInfo(info);
    *v = (view){.data = data, .type = (kvf_type)type};
    *count = n;
    return kvf_ort_check(e->lib, failed, KVF_ERR_ENGINE, err);
}

static kvf_status look_at(const kvf_ort_state *s, const kvf_ort_batch *batch,
                          const kvf_contract_port *port, OrtValue *value, view *v, kvf_error *err)
{
    const kvf_ort *e = s->engine;
    uint64_t count;
    kvf_status status = open_value(e, value, v, &count, err);
    if (status) return status;
    v->width = e->contract->width[head_of(port->role)];
    v->per_unit = (uint32_t)(count / v->width / batch->n_units);
    v->last_only = v->per_unit == 1 && batch->n > 1;
    v->offset = kvf_ort_extends(e) && v->per_unit == batch->n + 1;
    if (count % ((uint64_t)v->width * batch->n_units) == 0 &&
        (v->per_unit == batch->n + v->offset || v->last_only) &&
        (v->type == KVF_F32 || v->type == KVF_F16 || v->type == KVF_BF16))
        return KVF_OK;
    return kvf_fail(err, KVF_ERR_MODEL,
                    "its output \"%.100s\" has %llu elements of %s for %u x %u tokens, but should "
                    "have a row of %u for each",
                    value_of(e, port)->name, (unsigned long long)count, kvf_type_name(v->type),
                    batch->n_units, batch->n, v->width);
}

/* Whether a row of the batch is to get a head from it. */
static bool asks(const kvf_ort_state *s, const kvf_ort_batch *batch, const kvf_pass *pass,
                 uint32_t unit, uint32_t i, kvf_head head)
{
    /* Units that end where outputs are wanted may run through wanted rows of others. */
    if (s->plan.last_only && i + 1 < batch->n) return false;
    return row_of(s, batch, pass, unit, i)->want & KVF_WANT(head);
}

/* If the graph gives less than it is asked for, that is learned, and the pass is planned anew. */
static kvf_status gives_enough(kvf_ort_state *s, const kvf_ort_batch *batch, const kvf_pass *pass,
                               const view *v, kvf_head head, kvf_error *err)
{
    if (!v->last_only) return KVF_OK;
    for (uint32_t i = 0; i < batch->n_units; i++)
        for (uint32_t j = 0; j + 1 < batch->n; j++)
            if (asks(s, batch, pass, i, j, head)) s->again = true;
    if (s->again) s->engine->last_only = true;
    if (s->again && s->engine->contract->tree)
        return kvf_fail(err, KVF_ERR_MODEL,
                        "the graph gives an output for the last of %u evaluated rows only",
                        batch->n);
    return KVF_OK;
}

static uint64_t row_in(const view *v, uint32_t unit, uint32_t i)
{
    return v->last_only ? unit : (uint64_t)unit * v->per_unit + v->offset + i;
}

/* Hand a head to the rows that want it: each has a place of its own. */
static void hand_out(const kvf_ort_state *s, const kvf_ort_batch *batch, const kvf_pass *pass,
                     const view *v, kvf_head head, const kvf_pass_outputs *out)
{
    for (uint32_t i = 0; i < batch->n_units; i++)
        for (uint32_t j = 0; j < batch->n; j++)
            if (asks(s, batch, pass, i, j, head))
                copy_floats(out->head[head][s->plan.order[batch->units[i]->first + j]], v,
                            row_in(v, i, j));
}

/* To half floats in place: each lands at or before the place of what is still to be read. */
static void halve(float *numbers, uint64_t n, kvf_type type)
{
    for (uint64_t i = 0; i < n && type != KVF_F32; i++) {
        uint16_t half = type == KVF_F16 ? kvf_to_f16(numbers[i]) : kvf_to_bf16(numbers[i]);
        memcpy((char *)numbers + i * sizeof half, &half, sizeof half);
    }
}

/* Run a head of its own over hidden states: [n][hidden] in s->hidden. The caller releases value. */
static kvf_status run_head(const kvf_ort_state *s, const kvf_ort_head *head, uint32_t n,
                           OrtValue **value, view *v, kvf_error *err)
{
    const kvf_ort *e = s->engine;
    int64_t width = e->contract->width[KVF_HIDDEN];
    dims shape = head->rank == 2 ? (dims){{n, width}, 2} : (dims){{1, n, width}, 3};
    OrtValue *hidden = NULL;
    halve(s->hidden, n * (uint64_t)width, head->type);
    OrtStatus *failed = make_value(e, &hidden, s->hidden, head->type, &shape);
    if (!failed)
        failed = e->api->Run(head->session, NULL, &head->input, (const OrtValue *const *)&hidden, 1,
                             &head->output, 1, value);
    if (hidden) e->api->ReleaseValue(hidden);
    kvf_status status = kvf_ort_check(e->lib, failed, KVF_ERR_ENGINE, err);
    uint64_t count = 0;
    if (!status) status = open_value(e, *value, v, &count, err);
    v->width = e->contract->width[head->head];
    if (!status && count != (uint64_t)n * v->width)
        return kvf_fail(err, KVF_ERR_MODEL,
                        "the output \"%.100s\" of a head has %llu elements for %u rows, but should "
                        "have %u for each",
                        head->output, (unsigned long long)count, n, v->width);
    return status;
}

static kvf_status hand_out_head(const kvf_ort_state *s, const kvf_ort_batch *batch,
                                const kvf_pass *pass, const view *hidden, const kvf_ort_head *head,
                                const kvf_pass_outputs *out, kvf_error *err)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < batch->n_units; i++)
        for (uint32_t j = 0; j < batch->n; j++)
            if (asks(s, batch, pass, i, j, head->head))
                copy_floats(s->hidden + (uint64_t)n++ * hidden->width, hidden,
                            row_in(hidden, i, j));
    if (!n) return KVF_OK;
    OrtValue *value = NULL;
    view v;
    kvf_status status = run_head(s, head, n, &value, &v, err);
    n = 0;
    for (uint32_t i = 0; i < batch->n_units && !status; i++)
        for (uint32_t j = 0; j < batch->n; j++)
            if (asks(s, batch, pass, i, j, head->head))
                copy_floats(out->head[head->head][s->plan.order[batch->units[i]->first + j]], &v,
                            n++);
    if (value) s->engine->api->ReleaseValue(value);
    return status;
}

static kvf_status take_head(kvf_ort_state *s, const kvf_ort_batch *batch, const kvf_pass *pass,
                            const kvf_contract_port *port, OrtValue *value,
                            const kvf_pass_outputs *out, kvf_error *err)
{
    kvf_head head = (kvf_head)head_of(port->role);
    view v;
    kvf_status status = look_at(s, batch, port, value, &v, err);
    if (!status) status = gives_enough(s, batch, pass, &v, head, err);
    if (status || s->again) return status;
    hand_out(s, batch, pass, &v, head, out);
    for (int i = 0; i < KVF_ORT_HEADS && head == KVF_HIDDEN; i++) {
        const kvf_ort_head *h = &s->engine->heads[i];
        if (h->session && !status) status = gives_enough(s, batch, pass, &v, h->head, err);
        if (h->session && !status && !s->again)
            status = hand_out_head(s, batch, pass, &v, h, out, err);
    }
    return status;
}

/* A present is where it was bound; were it elsewhere, it is brought there, and that counts. */
static kvf_status take_present(kvf_ort_state *s, const kvf_ort_batch *batch,
                               const kvf_contract_port *port, OrtValue *value, kvf_error *err)
{
    view v;
    uint64_t count;
    kvf_status status = open_value(s->engine, value, &v, &count, err);
    void *ours =
        kvf_ort_cache_present(&s->cache, batch, port->layer, port->role == KVF_ROLE_PRESENT_VALUE);
    if (status || v.data == ours) return status;
    s->moved_buffers++;
    memcpy(ours, v.data, count * (kvf_type_bits(v.type) / 8));
    return KVF_OK;
}

static kvf_status take_outputs(kvf_ort_state *s, const kvf_ort_batch *batch, const kvf_pass *pass,
                               const kvf_pass_outputs *out, kvf_error *err)
{
    const kvf_ort *e = s->engine;
    OrtAllocator *allocator;
    OrtValue **values = NULL;
    size_t n = 0;
    OrtStatus *failed = e->api->GetAllocatorWithDefaultOptions(&allocator);
    if (!failed) failed = e->api->GetBoundOutputValues(s->binding, allocator, &values, &n);
    kvf_status status = kvf_ort_check(e->lib, failed, KVF_ERR_ENGINE, err);
    for (size_t i = 0; i < n; i++) {
        const kvf_contract_port *port = &e->contract->outputs[s->bound[i]];
        if (!status && !s->again)
            status = is_present(port->role) ? take_present(s, batch, port, values[i], err)
                                            : take_head(s, batch, pass, port, values[i], out, err);
        e->api->ReleaseValue(values[i]);
    }
    if (values) failed = e->api->AllocatorFree(allocator, values);
    return status ? status : kvf_ort_check(e->lib, failed, KVF_ERR_ENGINE, err);
}

/* ---- together -------------------------------------------------------------------------------- */

static kvf_status run_once(kvf_ort_state *s, kvf_ort_batch *batch, const kvf_pass *pass,
                           uint32_t want, const kvf_pass_outputs *out, kvf_error *err)
{
    const kvf_ort *e = s->engine;
    uint32_t n_bound = 0;
    kvf_ort_cache_place(&s->cache, batch);
    e->api->ClearBoundInputs(s->binding);
    e->api->ClearBoundOutputs(s->binding);
    OrtStatus *failed = bind_inputs(s, batch, pass);
    if (!failed) failed = bind_outputs(s, batch, want, &n_bound);
    if (!failed && !n_bound) return KVF_OK;
    if (!failed) failed = e->api->RunWithBinding(e->session, NULL, s->binding);
    kvf_status status = kvf_ort_check(e->lib, failed, KVF_ERR_ENGINE, err);
    if (!status) status = take_outputs(s, batch, pass, out, err);
    if (status || s->again) return status;
    if (batch->write || s->cache.in_place)
        kvf_ort_cache_take(&s->cache, batch, pass, s->plan.order);
    if (!s->cache.in_place)
        s->graph_copied_bytes +=
            (uint64_t)batch->n_units * batch->past * 2 * e->contract->layers * s->cache.row_bytes;
    return KVF_OK;
}

/* Where the past of each unit lies in the store. */
static void list_slots(kvf_ort_state *s, kvf_ort_batch *batch, const kvf_pass *pass)
{
    for (uint32_t i = 0; i < batch->n_units; i++) {
        const kvf_row *row = row_of(s, batch, pass, i, 0);
        uint32_t *slots = batch->slots + (uint64_t)i * batch->past, t = 0;
        if (batch->first) slots[t] = row->slot;
        const kvf_run *run = &pass->runs[row->first_run];
        for (; t < batch->units[i]->past; run++)
            for (uint32_t k = 0; k < run->count && t < batch->units[i]->past; k++)
                slots[t++] = run->first + k;
    }
}

kvf_status kvf_ort_run(kvf_ort_state *s, kvf_ort_batch *batch, const kvf_pass *pass,
                       const kvf_pass_outputs *out, kvf_error *err)
{
    list_slots(s, batch, pass);
    uint32_t want = wanted(s, batch, pass);
    kvf_status status = KVF_OK;
    if (batch->first && !row_of(s, batch, pass, 0, 0)->stored) {
        batch->write = true;
        for (uint32_t i = 0; i < s->engine->contract->layers && !status; i++)
            status = run_once(s, batch, pass, 0, out, err);
        batch->write = false;
    }
    return status ? status : run_once(s, batch, pass, want, out, err);
}
