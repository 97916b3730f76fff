/* read.h - what the files of the reader share: one kvf_reader per file that is being read.
 *
 * reader.c    the model: versions, operator sets, metadata, which operators it has; open and close
 * graph.c     graphs: values and their names, operators in order, attributes
 * tensor.c    tensors and shapes
 * external.c  data in files beside the model
 * function.c  model-local functions: known by name, checked, never recursive
 * lookup.c    questions about a graph that has been read */
#ifndef KVF_ONNX_READ_H
#define KVF_ONNX_READ_H

#include "arena.h"
#include "onnx.h"

/* What kvf_onnx_close frees; the public part comes first. */
typedef struct kvf_onnx_file {
    kvf_onnx onnx;
    kvf_arena arena;
    kvf_file *maps;     /* [onnx.n_files] */
    const char **files; /* [onnx.n_files] */
    char *name;         /* of a model that is no file */
    uint64_t budget;    /* of the arena and of scratch */
} kvf_onnx_file;

typedef struct kvf_reader {
    kvf_error *err;
    const char *path; /* of the model; NULL: there is no folder for external data */
    kvf_span file;
    kvf_onnx_file *out;
    kvf_arena *arena;  /* where graphs go: that of out, or scratch while functions are checked */
    kvf_arena scratch; /* freed when the file is read */
    uint64_t n_ops;    /* of all graphs, without functions */
    struct kvf_function *functions; /* [n_functions] sorted */
    uint32_t n_functions, caller;   /* caller: the function that is being read, or n_functions */
} kvf_reader;

/* Walk the fields of one number and type, of a message that was walked to its end before. */
bool kvf_next_of(kvf_wire *wire, uint32_t key, kvf_span *out);

/* Failures. The first is of a walk that ended with wire->wrong; the second of a NULL arena. */
kvf_status kvf_broken(const kvf_reader *r, const kvf_wire *wire, const char *message);
kvf_status kvf_no_room(const kvf_reader *r);

/* Names are printed, compared and used as C strings, so they may not hold control characters. */
kvf_status kvf_check_name(const kvf_reader *r, kvf_span name);
bool kvf_span_is(kvf_span span, const char *text);
/* "ai.onnx" is the long name of the empty domain. */
kvf_span kvf_short_domain(kvf_span domain);

kvf_status kvf_read_graph(kvf_reader *r, kvf_span message, kvf_graph *out);
kvf_status kvf_read_function_body(kvf_reader *r, kvf_span message, kvf_graph *out);

kvf_status kvf_read_tensor(kvf_reader *r, kvf_span message, kvf_tensor *out);
/* The type in a ValueInfoProto; *out is NULL if it says nothing. */
kvf_status kvf_read_shape(kvf_reader *r, kvf_span value_info, const kvf_shape **out);
/* Set data of a tensor whose type, dims and bytes are known. */
kvf_status kvf_read_external(kvf_reader *r, kvf_span tensor, kvf_tensor *out);
kvf_status kvf_map_file(kvf_onnx_file *file, const char *path, kvf_error *err);

kvf_status kvf_find_functions(kvf_reader *r, kvf_span model);
bool kvf_is_function(const kvf_reader *r, kvf_span domain, kvf_span name, kvf_span overload,
                     uint32_t *which);
kvf_status kvf_note_call(kvf_reader *r, uint32_t callee);
kvf_status kvf_check_functions(kvf_reader *r);

/* Value of a name in values sorted as kvf_compare_names does: by length, then bytes. */
int kvf_compare_names(const void *a, uint64_t a_size, const void *b, uint64_t b_size);
uint32_t kvf_find_value(const kvf_value *values, uint32_t n, kvf_span name);
#endif
