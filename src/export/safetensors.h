/* safetensors.h - tensors of a checkpoint by name, where they lie in the mapped files.
 *
 * A file is a length (8 bytes, little-endian), that many bytes of JSON that say for each tensor its
 * type, shape and place, and the tensors' bytes. Everything that the JSON says is held against
 * what is there before a tensor is given out: places follow each other without gap or overlap from
 * the first byte to the last, and each is as long as its type and shape say. Format: the
 * safetensors project of Hugging Face. */
#ifndef KVF_EXPORT_SAFETENSORS_H
#define KVF_EXPORT_SAFETENSORS_H

#include "onnx/onnx.h"

typedef struct kvf_safetensors kvf_safetensors;

/* Open a checkpoint.
 *
 * path    a file, or a folder that holds model.safetensors, or shards with
 *         model.safetensors.index.json; shards are files of the same folder, by plain name
 * Memory  what the JSON needs; tensors stay in the files
 * Errors  KVF_ERR_IO; KVF_ERR_MODEL naming the file and the tensor; KVF_ERR_NOMEM */
kvf_status kvf_safetensors_open(kvf_safetensors **out, const char *path, kvf_error *err);
void kvf_safetensors_close(kvf_safetensors *st); /* NULL is fine */

/* A tensor by name, or NULL. It counts as used from then on. */
const kvf_tensor *kvf_safetensors_find(kvf_safetensors *st, const char *name);
/* The next tensor from index i on that nobody has used; sets i behind it. NULL at the end. */
const kvf_tensor *kvf_safetensors_unused(const kvf_safetensors *st, size_t *i);

/* Say that a tensor's bytes have been read for good: its pages need not stay in memory. */
void kvf_safetensors_release(const kvf_tensor *tensor);

/* SHA-256 over the bytes of all weight files in the order of their names, as 64 hex digits. */
void kvf_safetensors_sha256(const kvf_safetensors *st, char hex[65],
                            void (*progress)(void *user, const char *what, uint64_t done,
                                             uint64_t total),
                            void *user);
#endif
