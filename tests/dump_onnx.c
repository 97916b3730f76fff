/* dump_onnx.c - print all that the reader found in a file, line by line, for
 * test_onnx_differential.py, which writes the same lines from what the onnx package found.
 *
 * usage: dump_onnx MODEL */
#include "onnx/onnx.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* CRC-32 as zlib has it, so that weights need not be printed. */
static uint32_t crc32_of(const void *data, uint64_t size)
{
    const uint8_t *p = data;
    uint32_t crc = UINT32_MAX;
    for (uint64_t i = 0; i < size; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (0xedb88320u & -(crc & 1));
    }
    return ~crc;
}

static void print_bytes(const char *s, uint64_t n)
{
    putchar('\t');
    for (uint64_t i = 0; i < n; i++) printf("%02x", (uint8_t)s[i]);
}

static void print_float(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    printf("\t%08" PRIx32, bits);
}

static void print_tensor(const kvf_tensor *t)
{
    printf("\t%d", (int)t->type);
    for (uint32_t i = 0; i < t->rank; i++) printf("%s%" PRId64, i ? "," : "\t[", t->dims[i]);
    printf(t->rank ? "]" : "\t[]");
    if (t->type != KVF_STRING)
        printf("\t%" PRIu64 "\t%08" PRIx32, t->bytes, crc32_of(t->data, t->bytes));
    putchar('\n');
}

static void print_shape(const char *what, const kvf_value *v)
{
    printf("%s\t%s", what, v->name);
    if (!v->shape) {
        puts("\tnone");
        return;
    }
    printf("\t%d", (int)v->shape->type);
    if (!v->shape->known) printf("\tunknown");
    for (uint32_t i = 0; i < v->shape->rank; i++) {
        if (v->shape->dims[i] >= 0)
            printf("\t%" PRId64, v->shape->dims[i]);
        else
            printf("\t?%s", v->shape->names[i]);
    }
    putchar('\n');
}

static void print_graph(const kvf_graph *g);

static void print_attr(const kvf_attr *a)
{
    printf("attr\t%s\t%d", a->name, a->type);
    if (a->type == 1) print_float(a->f);
    if (a->type == 2) printf("\t%" PRId64, a->i);
    if (a->type == 3) print_bytes(a->s, a->s_length);
    for (uint64_t i = 0; i < a->n; i++) {
        if (a->type == 6) print_float(a->floats[i]);
        if (a->type == 7) printf("\t%" PRId64, a->ints[i]);
        if (a->type == 8) print_bytes(a->strings[i], strlen(a->strings[i]));
    }
    if (a->tensor) {
        print_tensor(a->tensor);
        return;
    }
    putchar('\n');
    if (a->graph) print_graph(a->graph);
}

static const char *name_of(const kvf_graph *g, uint32_t value)
{
    return value == KVF_NO_VALUE ? "" : g->values[value].name;
}

static void print_graph(const kvf_graph *g)
{
    printf("graph\t%s\n", g->name);
    for (uint32_t i = 0; i < g->n_inputs; i++) print_shape("input", &g->values[g->inputs[i]]);
    for (uint32_t i = 0; i < g->n_outputs; i++) print_shape("output", &g->values[g->outputs[i]]);
    for (uint32_t i = 0; i < g->n_initializers; i++) {
        printf("initializer\t%s", g->initializers[i].name);
        print_tensor(&g->initializers[i]);
    }
    for (uint32_t i = 0; i < g->n_ops; i++) {
        const kvf_op *op = &g->ops[i];
        printf("node\t%s\t%s\t%s\n", op->type, op->domain, op->name);
        for (uint32_t k = 0; k < op->n_inputs; k++) printf("in\t%s\n", name_of(g, op->inputs[k]));
        for (uint32_t k = 0; k < op->n_outputs; k++)
            printf("out\t%s\n", name_of(g, op->outputs[k]));
        for (uint32_t k = 0; k < op->n_attrs; k++) print_attr(&op->attrs[k]);
        for (uint32_t k = 0; k < op->n_outputs; k++)
            if (op->outputs[k] != KVF_NO_VALUE) print_shape("value", &g->values[op->outputs[k]]);
    }
    puts("end");
}

int main(int argc, char **argv)
{
    kvf_onnx *o;
    kvf_error err;
    if (argc != 2) {
        fprintf(stderr, "usage: %s MODEL\n", argv[0]);
        return 2;
    }
    if (kvf_onnx_open(&o, argv[1], &err)) {
        fprintf(stderr, "%s: %s\n", kvf_status_name(err.status), err.msg);
        return 1;
    }
    printf("model\t%" PRId64 "\t%s\t%s\n", o->ir_version, o->producer, o->producer_version);
    for (uint32_t i = 0; i < o->n_opsets; i++)
        printf("opset\t%s\t%" PRId64 "\n", o->opsets[i].domain, o->opsets[i].version);
    for (uint32_t i = 0; i < o->n_properties; i++) {
        printf("property\t%s", o->properties[i].key);
        print_bytes(o->properties[i].value, strlen(o->properties[i].value));
        putchar('\n');
    }
    for (uint32_t i = 0; i < o->n_functions; i++)
        printf("function\t%s\t%s\n", o->functions[i].domain, o->functions[i].name);
    print_graph(o->graph);
    kvf_onnx_close(o);
    return 0;
}
