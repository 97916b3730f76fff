/* function.c - model-local functions: an operator of the file's own, spelled out as a body.
 *
 * Nothing here runs them; ONNX Runtime puts the body in the place of each call. So what must be
 * known is that every body is sound, that no function reaches itself, and that putting all of them
 * in their places ends with a graph of a sane size: ten functions that call each other ten times
 * are a small file and ten billion operators. */
#include "read.h"

#include <inttypes.h>
#include <stdlib.h>

#define MAX_EXPANDED UINT64_C(10000000) /* operators, once every call is replaced */

typedef struct call {
    struct call *next;
    uint32_t callee;
} call;

typedef struct kvf_function {
    kvf_span domain, name, overload, message;
    call *calls;       /* by its body */
    uint64_t expanded; /* operators of its body, once every call is replaced */
    enum { NEW = 0, OPEN, DONE } state;
} kvf_function;

static int compare_keys(const kvf_function *a, const kvf_function *b)
{
    int order = kvf_compare_names(a->domain.data, a->domain.size, b->domain.data, b->domain.size);
    if (!order) order = kvf_compare_names(a->name.data, a->name.size, b->name.data, b->name.size);
    if (order) return order;
    return kvf_compare_names(a->overload.data, a->overload.size, b->overload.data,
                             b->overload.size);
}

static int compare(const void *a, const void *b)
{
    return compare_keys(a, b);
}

static kvf_status read_key(const kvf_reader *r, kvf_span message, kvf_function *f)
{
    *f = (kvf_function){.message = message};
    kvf_wire w = kvf_wire_of(message);
    for (kvf_field field; kvf_wire_next(&w, &field);) switch (field.key) {
        case KVF_BYTES(1): f->name = field.bytes; break;
        case KVF_BYTES(10): f->domain = kvf_short_domain(field.bytes); break;
        case KVF_BYTES(13): f->overload = field.bytes; break;
        default: break;
        }
    if (w.wrong) return kvf_broken(r, &w, "a function");
    if (!f->name.size) return kvf_fail(r->err, KVF_ERR_MODEL, "a function has no name");
    kvf_status status = kvf_check_name(r, f->name);
    return status ? status : kvf_check_name(r, f->domain);
}

kvf_status kvf_find_functions(kvf_reader *r, kvf_span model)
{
    uint64_t n = 0;
    kvf_span message;
    for (kvf_wire w = kvf_wire_of(model); kvf_next_of(&w, KVF_BYTES(25), &message);) n++;
    if (n >= UINT32_MAX) return kvf_fail(r->err, KVF_ERR_MODEL, "it has too many functions");
    /* One more stands for the model's graph, as a caller. */
    r->functions = kvf_arena_take(&r->scratch, n + 1, sizeof *r->functions);
    kvf_onnx_function *shown = kvf_arena_take(r->arena, n, sizeof *shown);
    if (!r->functions || !shown) return kvf_no_room(r);
    for (kvf_wire w = kvf_wire_of(model); kvf_next_of(&w, KVF_BYTES(25), &message);) {
        kvf_status status = read_key(r, message, &r->functions[r->n_functions]);
        if (status) return status;
        r->n_functions++;
    }
    r->caller = r->n_functions;
    qsort(r->functions, n, sizeof *r->functions, compare);
    for (uint32_t i = 0; i < n; i++) {
        const kvf_function *f = &r->functions[i];
        shown[i].domain = kvf_arena_string(r->arena, f->domain);
        shown[i].name = kvf_arena_string(r->arena, f->name);
        if (!shown[i].domain || !shown[i].name) return kvf_no_room(r);
        if (i && !compare_keys(f - 1, f))
            return kvf_fail(r->err, KVF_ERR_MODEL, "function \"%s\" is there twice", shown[i].name);
    }
    r->out->onnx.functions = shown;
    r->out->onnx.n_functions = r->n_functions;
    return KVF_OK;
}

bool kvf_is_function(const kvf_reader *r, kvf_span domain, kvf_span name, kvf_span overload,
                     uint32_t *which)
{
    const kvf_function key = {.domain = domain, .name = name, .overload = overload};
    const kvf_function *f =
        r->n_functions ? bsearch(&key, r->functions, r->n_functions, sizeof *r->functions, compare)
                       : NULL;
    if (f) *which = (uint32_t)(f - r->functions);
    return f != NULL;
}

kvf_status kvf_note_call(kvf_reader *r, uint32_t callee)
{
    call *c = kvf_arena_take(&r->scratch, 1, sizeof *c);
    if (!c) return kvf_no_room(r);
    kvf_function *caller = &r->functions[r->caller];
    *c = (call){.next = caller->calls, .callee = callee};
    caller->calls = c;
    return KVF_OK;
}

/* Depth first from one function, with a stack of our own: a chain may be as long as the file. A
 * function that is met while it is open reaches itself. */
static kvf_status visit(kvf_reader *r, uint32_t first, uint32_t *stack)
{
    uint32_t depth = 0;
    stack[depth++] = first;
    while (depth) {
        kvf_function *f = &r->functions[stack[depth - 1]];
        f->state = OPEN;
        if (!f->calls) {
            f->state = DONE;
            depth--;
            continue;
        }
        const kvf_function *callee = &r->functions[f->calls->callee];
        if (callee->state == OPEN)
            return kvf_fail(r->err, KVF_ERR_MODEL,
                            "function \"%s\" calls itself, directly or through others",
                            r->out->onnx.functions[f->calls->callee].name);
        if (callee->state == NEW) {
            stack[depth++] = f->calls->callee;
            continue;
        }
        if (!kvf_add(f->expanded, callee->expanded, &f->expanded) || f->expanded > MAX_EXPANDED)
            return kvf_fail(r->err, KVF_ERR_MODEL,
                            "its functions stand for more than %" PRIu64 " operators",
                            MAX_EXPANDED);
        f->calls = f->calls->next;
    }
    return KVF_OK;
}

kvf_status kvf_check_functions(kvf_reader *r)
{
    if (!r->n_functions) return KVF_OK;
    kvf_status status = KVF_OK;
    uint32_t *stack = kvf_arena_take(&r->scratch, r->n_functions + 1u, sizeof *stack);
    if (!stack) return kvf_no_room(r);
    kvf_arena *kept = r->arena;
    uint64_t n_ops = r->n_ops;
    r->functions[r->n_functions].expanded = n_ops;
    r->arena = &r->scratch;
    for (uint32_t i = 0; i < r->n_functions && !status; i++) {
        kvf_graph body;
        r->caller = i;
        r->n_ops = 0;
        status = kvf_read_function_body(r, r->functions[i].message, &body);
        r->functions[i].expanded = r->n_ops;
        if (status)
            kvf_prefix(r->err, status, "function \"%.100s\": ", r->out->onnx.functions[i].name);
    }
    r->arena = kept;
    r->n_ops = n_ops;
    for (uint32_t i = 0; i <= r->n_functions && !status; i++)
        if (r->functions[i].state == NEW) status = visit(r, i, stack);
    return status;
}
