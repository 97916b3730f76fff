/* support_onnx.h - ONNX files out of a few lines, so that a test can get any detail wrong.
 *
 * A pb is a message that grows; numbers of fields are those of onnx.proto. Memory that runs out
 * ends the test program. */
#ifndef SUPPORT_ONNX_H
#define SUPPORT_ONNX_H

#include "onnx/onnx.h"

#define CORPUS KVF_SOURCE_DIR "/tests/data/corpus"
enum { N_VALID = 14 };
extern const char *const valid_models[N_VALID]; /* folders of CORPUS "/valid" */

typedef struct pb {
    uint8_t *data;
    size_t size, room;
} pb;

void pb_free(pb *p);
void pb_raw(pb *p, const void *data, size_t size); /* bytes as they are */
void pb_varint(pb *p, uint64_t v);                 /* a number without a field */
void pb_number(pb *p, uint32_t field, uint64_t v);
void pb_float(pb *p, uint32_t field, float f);
void pb_bytes(pb *p, uint32_t field, const void *data, size_t size);
void pb_text(pb *p, uint32_t field, const char *text);
void pb_message(pb *p, uint32_t field, pb child); /* frees the child */

/* A tensor whose raw_data is given; dims as "2,3", "" for a scalar. */
pb onnx_tensor(const char *name, kvf_type type, const char *dims, const void *raw, size_t size);
/* The same with raw_data in a file; offset and length may be NULL. */
pb onnx_external(const char *name, kvf_type type, const char *dims, const char *location,
                 const char *offset, const char *length);
/* An input or output; dims as "batch,2,past,8", NULL for no shape. */
pb onnx_port(const char *name, kvf_type type, const char *dims);
/* A node; names of inputs and outputs as "a,,b". */
pb onnx_node(const char *type, const char *domain, const char *inputs, const char *outputs);
void onnx_attr_int(pb *node, const char *name, int64_t i);
void onnx_attr_graph(pb *node, const char *name, pb graph);

/* Parts of a graph: its fields by name. */
void graph_node(pb *graph, pb node);
void graph_initializer(pb *graph, pb tensor);
void graph_input(pb *graph, pb port);
void graph_output(pb *graph, pb port);

/* A graph given by its ports, "name type dims; name type dims": types f32, f16, bf16, i64, i32, u8,
 * bool; dims "-" for a scalar, absent for an unknown shape. Each output is made of the first input
 * by an operator that nobody runs. */
pb graph_of(const char *inputs, const char *outputs);
void add_ports(pb *graph, const char *ports, bool output, const char *from);

/* The graph as a model of opset 24, with com.microsoft. */
pb onnx_model(pb graph);
/* The same and properties: key, value, ..., NULL. */
void model_property(pb *model, const char *key, const char *value);
void model_function(pb *model, pb function);
void pb_write(const pb *p, const char *path);

/* Parse from a heap block of exactly this size, so that a sanitizer sees every byte beyond it. */
kvf_status parse_exactly(kvf_onnx **out, uint8_t **block, const void *data, size_t size,
                         kvf_error *err);
/* A whole file, freed by free(). */
uint8_t *read_whole(const char *path, size_t *size);
/* Follow every pointer of a graph, and read the first and the last byte of every tensor. */
uint64_t touch_all(const kvf_onnx *onnx);

/* y = Identity(x), with room for more. */
pb small_graph(void);
/* Parse a model, which is freed; fail unless it is fine (words NULL; the caller closes it and frees
 * the block) or is refused with these words. */
kvf_onnx *expect_model(const char *what, pb model, const char *words, uint8_t **block);
/* The same, and look at all of it. */
void check_model(const char *what, pb model, const char *words);
#endif
