/* writer.h - a graph under construction, and its ONNX bytes.
 *
 * Nodes, inputs and outputs are encoded as they are added; a weight is only named, and asked for
 * when the file is written, so that the largest tensor bounds the memory and not the model. Values
 * are known by their names. Functions that add something return nothing: running out of memory is
 * remembered, and kvf_writer_save tells.
 *
 *     kvf_writer_input(w, "x", KVF_F32, "batch, %u", 8);
 *     const char *y = kvf_writer_node(w, "Softmax", "y", "x", NULL);
 *     kvf_writer_int(w, "axis", -1);
 *     kvf_writer_output(w, y, KVF_F32, "batch, %u", 8); */
#ifndef KVF_WRITER_H
#define KVF_WRITER_H

#include "onnx/onnx.h"

typedef struct kvf_writer kvf_writer;

/* Start a graph. The IR version follows from the opset. Free it with kvf_writer_destroy. */
kvf_status kvf_writer_create(kvf_writer **out, const char *graph, int64_t opset, kvf_error *err);
void kvf_writer_destroy(kvf_writer *w); /* NULL is fine */

/* A string that lives as long as the writer; "" when memory is out. */
const char *kvf_writer_name(kvf_writer *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* An input or output of the graph. dims are separated by commas; what is not a number is a symbol:
 * "batch, 8, past + new, 64". */
void kvf_writer_input(kvf_writer *w, const char *name, kvf_type type, const char *dims, ...)
    __attribute__((format(printf, 4, 5)));
void kvf_writer_output(kvf_writer *w, const char *name, kvf_type type, const char *dims, ...)
    __attribute__((format(printf, 4, 5)));

/* A node of the standard domain, named like its output, which is returned. Inputs end with NULL;
 * "" omits one. What follows adds to the node last begun. */
const char *kvf_writer_node(kvf_writer *w, const char *op, const char *output, ...)
    __attribute__((sentinel));
const char *kvf_writer_also(kvf_writer *w, const char *output); /* one more output of it */
void kvf_writer_int(kvf_writer *w, const char *attribute, int64_t value);
void kvf_writer_float(kvf_writer *w, const char *attribute, float value);
void kvf_writer_string(kvf_writer *w, const char *attribute, const char *value);
void kvf_writer_ints(kvf_writer *w, const char *attribute, const int64_t *values, size_t n);

/* An initializer whose bytes (little-endian) are copied now. Returns its name. */
const char *kvf_writer_constant(kvf_writer *w, const char *name, kvf_type type, uint32_t rank,
                                const int64_t *dims, const void *data);

/* Where the bytes of a weight come from: fill data [bytes]. tag is what kvf_writer_weight got. */
typedef kvf_status (*kvf_fill)(void *user, uint64_t tag, void *data, uint64_t bytes,
                               kvf_error *err);
/* An initializer that is filled while the file is written. Returns its name. */
const char *kvf_writer_weight(kvf_writer *w, const char *name, kvf_type type, uint32_t rank,
                              const int64_t *dims, uint64_t tag);

void kvf_writer_property(kvf_writer *w, const char *key, const char *value); /* metadata */

typedef struct kvf_writer_options {
    kvf_fill fill; /* asked once per weight, in the order of adding */
    void *fill_user;
    uint64_t largest_graph; /* bytes; a larger one keeps its weights in PATH.data; default: what
                               every reader of Protocol Buffers takes, 2^31 - 1 */
    void (*progress)(void *user, const char *what, uint64_t done, uint64_t total); /* or NULL */
    void *user;                                                                    /* of progress */
} kvf_writer_options;

/* Write the file. Nothing appears under its name before it is whole; the list of opsets, which
 * every model needs, is the last thing in it, so that no prefix is a model.
 * Memory  the largest weight
 * Errors  KVF_ERR_IO, KVF_ERR_NOMEM, KVF_ERR_ARG (shapes beyond 64 bits), those of fill */
kvf_status kvf_writer_save(kvf_writer *w, const char *path, const kvf_writer_options *opt,
                           kvf_error *err);
#endif
