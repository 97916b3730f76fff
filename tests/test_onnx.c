/* test_onnx.c - the reader: real exporters' files, and graphs made wrong, one way each.
 *
 * What real files hold is compared with the onnx package by test_onnx_differential.py. Here every
 * check of the reader has a file that only this check refuses. Tensors have test_onnx_tensors.c;
 * cut and damaged files, memory and time test_onnx_damage.c. */
#include "support_onnx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

/* ---- the corpus ------------------------------------------------------------------------------ */

static json_int_t number(const json_t *object, const char *key)
{
    json_t *v = json_object_get(object, key);
    if (!json_is_integer(v)) fail_msg("expected.json has no number %s", key);
    return json_integer_value(v);
}

static void same_histogram(const kvf_onnx *o, json_t *expected)
{
    const char *op;
    json_t *count;
    assert_int_equal(o->n_operators, json_object_size(expected));
    for (uint32_t i = 1; i < o->n_operators; i++)
        assert_true(strcmp(o->operators[i - 1].name, o->operators[i].name) < 0);
    json_object_foreach(expected, op, count)
    {
        uint64_t found = 0;
        for (uint32_t i = 0; i < o->n_operators; i++)
            if (!strcmp(o->operators[i].name, op)) found = o->operators[i].count;
        if (found != (uint64_t)json_integer_value(count))
            fail_msg("%s: %s %lld times, read %llu", o->path, op,
                     (long long)json_integer_value(count), (unsigned long long)found);
    }
}

static void corpus_is_read(void **state)
{
    (void)state;
    for (int i = 0; i < N_VALID; i++) {
        char path[512], producer[256];
        kvf_error err = {0};
        kvf_onnx *o;
        snprintf(path, sizeof path, CORPUS "/valid/%s/expected.json", valid_models[i]);
        json_t *expected = json_load_file(path, 0, NULL);
        assert_non_null(expected);
        snprintf(path, sizeof path, CORPUS "/valid/%s/model.onnx", valid_models[i]);
        if (kvf_onnx_open(&o, path, &err)) fail_msg("%s", err.msg);
        touch_all(o);
        assert_int_equal(o->graph->n_ops, number(expected, "nodes"));
        assert_int_equal(o->graph->n_initializers, number(expected, "initializers"));
        assert_int_equal(o->n_functions, number(expected, "functions"));
        assert_int_equal(o->ir_version, number(expected, "ir_version"));
        snprintf(producer, sizeof producer, "%s %s", o->producer, o->producer_version);
        assert_string_equal(producer, json_string_value(json_object_get(expected, "producer")));
        same_histogram(o, json_object_get(expected, "op_histogram"));
        json_t *opsets = json_object_get(expected, "opset"), *version;
        const char *domain;
        assert_int_equal(o->n_opsets, json_object_size(opsets));
        json_object_foreach(opsets, domain, version)
            assert_int_equal(kvf_onnx_opset(o, strcmp(domain, "ai.onnx") ? domain : ""),
                             json_integer_value(version));
        bool external = json_object_get(json_object_get(expected, "sha256"), "model.onnx.data");
        assert_int_equal(o->n_files, external ? 2 : 1);
        kvf_onnx_close(o);
        json_decref(expected);
    }
}

/* Files that are wrong in themselves, whatever a decoder is, and the words that name the cause. */
static const struct {
    const char *name, *words;
} broken[] = {
    {"zero-byte-file", "empty"},
    {"text-file", "no ONNX"},
    {"truncated-file", "longer than what is left"},
    {"truncated-last-byte", "longer than what is left"},
    {"trailing-garbage", "more than 64 bits"},
    {"cyclic-graph", "\"logits\" is used before"},
    {"initializer-short-bytes", "has 2048 bytes, but its shape and type ask for 4096"},
    {"initializer-negative-dim", "negative (-64)"},
    {"initializer-huge-dims-overflow", "overflow"},
    {"initializer-dims-wrap-to-right-size", "overflow"},
    {"external-path-escape", "must be in the model's folder"},
    {"external-path-absolute", "must be in the model's folder"},
    {"external-offset-past-end", "which has only 4096"},
    {"deeply-nested-subgraph-2000", "more than 32 deep"},
    {"recursive-function", "\"Rec\" calls itself"},
};

static void broken_corpus_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        char path[512];
        kvf_error err = {0};
        kvf_onnx *o = (kvf_onnx *)1;
        snprintf(path, sizeof path, CORPUS "/broken/%s/model.onnx", broken[i].name);
        kvf_status status = kvf_onnx_open(&o, path, &err);
        if (status != KVF_ERR_MODEL || o || !strstr(err.msg, broken[i].words) ||
            !strstr(err.msg, broken[i].name))
            fail_msg("%s: %s %s", broken[i].name, kvf_status_name(status), err.msg);
        assert_int_equal(kvf_onnx_open(&o, path, NULL), KVF_ERR_MODEL);
    }
}

static void paths_that_are_no_files(void **state)
{
    (void)state;
    kvf_onnx *o;
    kvf_error err;
    assert_int_equal(kvf_onnx_open(&o, CORPUS "/valid", &err), KVF_ERR_IO);
    assert_non_null(strstr(err.msg, "is a folder"));
    assert_int_equal(kvf_onnx_open(&o, CORPUS "/nothing", &err), KVF_ERR_IO);
    assert_int_equal(kvf_onnx_open(&o, "/dev/null", &err), KVF_ERR_IO);
    assert_int_equal(kvf_onnx_open(&o, "", &err), KVF_ERR_IO);
    kvf_onnx_close(NULL);
}

/* ---- files made wrong, one way each ---------------------------------------------------------- */

static void with_node(const char *what, pb node, const char *words)
{
    pb g = small_graph();
    graph_node(&g, node);
    check_model(what, onnx_model(g), words);
}

static void models(void **state)
{
    (void)state;
    pb m = {0};
    check_model("control", onnx_model(small_graph()), NULL);
    pb_number(&m, 1, 8);
    pb_message(&m, 7, small_graph());
    check_model("no operator sets", m, "imports 0 operator sets");
    m = onnx_model(small_graph());
    pb_message(&m, 7, small_graph());
    check_model("two graphs", m, "more than one graph");
    m = (pb){0};
    pb_message(&m, 7, small_graph());
    check_model("no version", m, "no ir_version");
    m = onnx_model(small_graph());
    pb_raw(&m, "\x08", 1);
    check_model("a key without its number", m, "cut off");
    m = onnx_model(small_graph());
    pb_raw(&m, "\x0b\x0c", 2);
    check_model("a group", m, "no field of ONNX has such a wire type");
    m = onnx_model(small_graph());
    pb_raw(&m, "\x00\x00", 2);
    check_model("field 0", m, "no field has such a number");
    m = onnx_model(small_graph());
    pb_raw(&m, "\x02\x00", 2);
    check_model("field 0, of bytes", m, "no field has such a number");
    m = onnx_model(small_graph());
    pb_raw(&m, "\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11);
    check_model("2^64 and more", m, "more than 64 bits");
    m = onnx_model(small_graph());
    pb_raw(&m, "\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11);
    check_model("2^64 - 1", m, NULL);
    m = onnx_model(small_graph());
    pb_number(&m, 999, 5);
    pb_text(&m, 1000, "of a later version");
    check_model("fields that are not known", m, NULL);
    m = onnx_model(small_graph());
    pb opset = {0};
    pb_text(&opset, 1, "ai.onnx");
    pb_number(&opset, 2, 17);
    pb_message(&m, 8, opset);
    check_model("two versions of one set", m, "another one too");
}

static void nodes(void **state)
{
    (void)state;
    with_node("of a set that is not imported", onnx_node("Foo", "org.example", "x", "z"),
              "\"org.example\" is not among the operator sets");
    with_node("ai.onnx by its long name", onnx_node("Relu", "ai.onnx", "x", "z"), NULL);
    with_node("reads nothing known", onnx_node("Relu", "", "q", "z"), "\"q\" is used before");
    with_node("reads itself", onnx_node("Relu", "", "z", "z"), "\"z\" is used before");
    with_node("writes what is there", onnx_node("Relu", "", "x", "y"), "\"y\" is given twice");
    with_node("writes an input", onnx_node("Relu", "", "x", "x"), "\"x\" is given twice");
    with_node("writes twice", onnx_node("Split", "", "x", "a,a"), "\"a\" is given twice");
    with_node("writes nothing", onnx_node("Relu", "", "x", ""), "has no output");
    with_node("is nothing", onnx_node("", "", "x", "z"), "no operator type");
    with_node("omits an input", onnx_node("Clip", "", "x,,x", "z"), NULL);
    with_node("has a newline in its type", onnx_node("Re\nlu", "", "x", "z"), "control character");
    pb node = onnx_node("Relu", "", "x", "z");
    onnx_attr_int(&node, "alpha", 1);
    onnx_attr_int(&node, "alpha", 2);
    with_node("has an attribute twice", node, "alpha is there twice");
    node = onnx_node("Relu", "", "x", "z");
    pb attr = {0};
    pb_text(&attr, 1, "value");
    pb_number(&attr, 20, 4);
    pb_message(&node, 5, attr);
    with_node("has a tensor that is not there", node, "attribute value: it has no tensor");
    pb g = small_graph();
    graph_output(&g, onnx_port("never", KVF_F32, "n"));
    check_model("an output that nothing writes", onnx_model(g), "output \"never\"");
    g = small_graph();
    graph_input(&g, onnx_port("x", KVF_F32, "n"));
    check_model("an input twice", onnx_model(g), "\"x\" is given twice");
}

static void attributes(void **state)
{
    (void)state;
    pb node = onnx_node("Foo", "com.microsoft", "x", "z"), a = {0}, packed = {0};
    onnx_attr_int(&node, "minus", -3);
    pb_text(&a, 1, "ints");
    pb_number(&a, 8, 7);
    pb_varint(&packed, (uint64_t)-1);
    pb_varint(&packed, 300);
    pb_message(&a, 8, packed); /* packed after plain, and no type: both are allowed */
    pb_message(&node, 5, a);
    a = (pb){0};
    pb_text(&a, 1, "floats");
    pb_float(&a, 7, 1.5f);
    pb_bytes(&a, 7, (float[]){2.5f, -0.0f}, 8);
    pb_number(&a, 20, 6);
    pb_message(&node, 5, a);
    a = (pb){0};
    pb_text(&a, 1, "strings");
    pb_text(&a, 9, "one");
    pb_bytes(&a, 9, "t\0o", 3);
    pb_number(&a, 20, 8);
    pb_message(&node, 5, a);
    a = (pb){0};
    pb_text(&a, 1, "s");
    pb_bytes(&a, 4, "a\0b", 3);
    pb_number(&a, 20, 3);
    pb_message(&node, 5, a);
    a = (pb){0};
    pb_text(&a, 1, "zero"); /* proto3 writers leave zeros out */
    pb_number(&a, 20, 1);
    pb_message(&node, 5, a);
    pb g = small_graph();
    graph_node(&g, node);
    uint8_t *block;
    kvf_onnx *o = expect_model("attributes", onnx_model(g), NULL, &block);
    const kvf_op *op = &o->graph->ops[1];
    assert_true(kvf_op_is(op, "com.microsoft", "Foo"));
    assert_false(kvf_op_is(op, "", "Foo"));
    assert_int_equal(kvf_op_int(op, "minus", 0), -3);
    assert_int_equal(kvf_op_int(op, "s", 12), 12);
    assert_int_equal(kvf_op_int(op, "none", 13), 13);
    const kvf_attr *ints = kvf_op_attr(op, "ints");
    assert_int_equal(ints->type, 7);
    assert_int_equal(ints->n, 3);
    assert_int_equal(ints->ints[0], 7);
    assert_int_equal(ints->ints[1], -1);
    assert_int_equal(ints->ints[2], 300);
    const kvf_attr *floats = kvf_op_attr(op, "floats");
    assert_int_equal(floats->n, 3);
    assert_memory_equal(floats->floats, ((float[]){1.5f, 2.5f, -0.0f}), 12);
    const kvf_attr *strings = kvf_op_attr(op, "strings");
    assert_int_equal(strings->n, 2);
    assert_string_equal(strings->strings[0], "one");
    assert_int_equal(kvf_op_attr(op, "s")->s_length, 3);
    assert_memory_equal(kvf_op_attr(op, "s")->s, "a\0b", 4);
    assert_true(kvf_op_float(op, "zero", 9) == 0);
    assert_null(kvf_op_attr(op, "nothing"));
    touch_all(o);
    kvf_onnx_close(o);
    free(block);
}

static void shapes(void **state)
{
    (void)state;
    pb g = small_graph();
    graph_input(&g, onnx_port("below", KVF_F32, "2,-5"));
    check_model("a dimension below -1", onnx_model(g), "input \"below\": dimension 1 is -5");
    g = small_graph();
    graph_input(&g, onnx_port("dynamic", KVF_I64, "-1,,batch,7"));
    graph_input(&g, onnx_port("nine", KVF_F32, "1,1,1,1,1,1,1,1,1"));
    graph_input(&g, onnx_port("scalar", KVF_F32, ""));
    graph_input(&g, onnx_port("unknown", KVF_F32, NULL));
    uint8_t *block;
    kvf_onnx *o = expect_model("shapes", onnx_model(g), NULL, &block);
    const kvf_shape *s = o->graph->values[kvf_graph_find(o->graph, "dynamic")].shape;
    assert_true(s->known);
    assert_int_equal(s->rank, 4);
    assert_int_equal(s->type, KVF_I64);
    for (int i = 0; i < 4; i++) assert_int_equal(s->dims[i], i < 3 ? -1 : 7);
    assert_string_equal(s->names[0], "");
    assert_string_equal(s->names[2], "batch");
    s = o->graph->values[kvf_graph_find(o->graph, "nine")].shape;
    assert_false(s->known);
    assert_int_equal(s->rank, 0);
    s = o->graph->values[kvf_graph_find(o->graph, "scalar")].shape;
    assert_true(s->known && s->rank == 0);
    assert_false(o->graph->values[kvf_graph_find(o->graph, "unknown")].shape->known);
    kvf_onnx_close(o);
    free(block);
}

/* ---- graphs inside graphs, functions --------------------------------------------------------- */

/* If nodes inside each other, so many; the innermost reads x of the outermost. */
static pb nested(int depth)
{
    pb g = {0};
    char out[16];
    for (int i = 0; i <= depth; i++) {
        pb outer = {0}, node = i ? onnx_node("If", "", "x", "") : onnx_node("Neg", "", "x", "");
        snprintf(out, sizeof out, "v%d", i);
        pb_text(&node, 2, out);
        if (i) onnx_attr_graph(&node, "then_branch", g);
        if (i == depth) graph_input(&outer, onnx_port("x", KVF_F32, "n"));
        graph_node(&outer, node);
        graph_output(&outer, onnx_port(out, KVF_F32, NULL));
        g = outer;
    }
    return g;
}

static void subgraphs(void **state)
{
    (void)state;
    check_model("32 deep", onnx_model(nested(KVF_MAX_NESTING)), NULL);
    check_model("33 deep", onnx_model(nested(KVF_MAX_NESTING + 1)), "more than 32 deep");
    check_model("2,000 deep", onnx_model(nested(2000)), "more than 32 deep");

    pb inner = {0}, node = onnx_node("If", "", "x", "z");
    graph_node(&inner, onnx_node("Neg", "", "later", "w"));
    graph_output(&inner, onnx_port("w", KVF_F32, NULL));
    onnx_attr_graph(&node, "then_branch", inner);
    pb g = small_graph();
    graph_node(&g, node);
    graph_node(&g, onnx_node("Neg", "", "x", "later"));
    check_model("reads what is written around it later", onnx_model(g), "\"later\" is used before");

    node = onnx_node("If", "", "x", "z");
    inner = (pb){0};
    graph_node(&inner, onnx_node("Neg", "", "z", "w"));
    onnx_attr_graph(&node, "then_branch", inner);
    with_node("reads what its own node writes", node, "\"z\" is used before");

    node = onnx_node("If", "", "x", "z");
    inner = (pb){0};
    graph_node(&inner, onnx_node("Neg", "", "x", "w"));
    graph_node(&inner, onnx_node("Neg", "", "w", "x"));
    onnx_attr_graph(&node, "then_branch", inner);
    with_node("writes a name that it took from around", node, "\"x\" is given twice");
}

static pb function(const char *name, const char *const *calls, int n)
{
    pb f = {0};
    char out[32];
    pb_text(&f, 1, name);
    pb_text(&f, 4, "x");
    for (int i = 0; i < n; i++) {
        snprintf(out, sizeof out, "o%d", i);
        pb_message(&f, 7, onnx_node(calls[i], "local", "x", out));
    }
    pb_message(&f, 7, onnx_node("Identity", "", "x", "y"));
    pb_text(&f, 5, "y");
    pb_text(&f, 10, "local");
    return f;
}

static void functions(void **state)
{
    (void)state;
    const char *a[] = {"A"}, *b[] = {"B"};
    pb m = onnx_model(small_graph());
    model_function(&m, function("A", b, 1));
    model_function(&m, function("B", NULL, 0));
    uint8_t *block;
    kvf_onnx *o = expect_model("a calls b", m, NULL, &block);
    assert_int_equal(o->n_functions, 2);
    assert_string_equal(o->functions[0].domain, "local");
    assert_int_equal(o->n_operators, 1); /* bodies are not counted */
    kvf_onnx_close(o);
    free(block);
    m = onnx_model(small_graph());
    model_function(&m, function("A", b, 1));
    model_function(&m, function("B", a, 1));
    check_model("a and b call each other", m, "calls itself, directly or through others");
    m = onnx_model(small_graph());
    model_function(&m, function("A", NULL, 0));
    model_function(&m, function("A", NULL, 0));
    check_model("two of one name", m, "function \"A\" is there twice");
    pb f = {0};
    pb_text(&f, 1, "C");
    pb_message(&f, 7, onnx_node("Identity", "", "q", "y"));
    m = onnx_model(small_graph());
    model_function(&m, f);
    check_model("a body that reads nothing known", m,
                "function \"C\": node 0 (Identity): \"q\" is used");
}

/* Each function calls the next ten times: a small file that stands for 10^9 operators. And a chain
 * as long as the file, which a recursive walk would not survive. */
static void many_functions(void **state)
{
    (void)state;
    char names[12][16];
    pb m = onnx_model(small_graph());
    for (int i = 0; i < 10; i++) {
        const char *calls[10];
        snprintf(names[i], sizeof names[i], "F%d", i);
        snprintf(names[i + 1], sizeof names[i], "F%d", i + 1);
        for (int k = 0; k < 10; k++) calls[k] = names[i + 1];
        model_function(&m, function(names[i], calls, i < 9 ? 10 : 0));
    }
    check_model("ten times ten times ten", m, "stand for more than");
    m = onnx_model(small_graph());
    for (int i = 0; i < 50000; i++) {
        char name[16], callee[16];
        const char *calls[] = {callee};
        snprintf(name, sizeof name, "F%d", i);
        snprintf(callee, sizeof callee, "F%d", i + 1);
        model_function(&m, function(name, calls, i < 49999));
    }
    check_model("a long chain", m, NULL);
}

/* ---- names and types ------------------------------------------------------------------------- */

static void look_ups(void **state)
{
    (void)state;
    kvf_onnx *o;
    assert_int_equal(kvf_onnx_open(&o, KVF_SOURCE_DIR "/models/adder/adder.onnx", NULL), KVF_OK);
    assert_int_equal(kvf_graph_find(o->graph, "no such value"), KVF_NO_VALUE);
    assert_int_equal(kvf_graph_find(o->graph, ""), KVF_NO_VALUE);
    assert_int_not_equal(kvf_graph_find(o->graph, "past_key_0"), KVF_NO_VALUE);
    assert_string_equal(kvf_onnx_property(o, "kvfork.tokenizer"), "ascii");
    assert_null(kvf_onnx_property(o, "kvfork.nothing"));
    assert_int_equal(kvf_onnx_opset(o, ""), 17);
    assert_int_equal(kvf_onnx_opset(o, "com.microsoft"), 0);
    kvf_onnx_close(o);
    assert_string_equal(kvf_type_name(KVF_BF16), "bfloat16");
    assert_string_equal(kvf_type_name((kvf_type)99), "unknown");
    assert_int_equal(kvf_type_bits(KVF_I4), 4);
    assert_int_equal(kvf_type_bits(KVF_STRING), 0);
    assert_int_equal(kvf_type_bits((kvf_type)99), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(corpus_is_read),
        cmocka_unit_test(broken_corpus_is_refused),
        cmocka_unit_test(paths_that_are_no_files),
        cmocka_unit_test(models),
        cmocka_unit_test(nodes),
        cmocka_unit_test(attributes),
        cmocka_unit_test(shapes),
        cmocka_unit_test(subgraphs),
        cmocka_unit_test(functions),
        cmocka_unit_test(many_functions),
        cmocka_unit_test(look_ups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
