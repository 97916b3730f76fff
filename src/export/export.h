/* export.h - from a checkpoint, or a seed, to files.
 *
 * Every file is written beside its name and renamed when it is whole; a failure leaves what was
 * there before. A model's metadata says where it comes from: kvfork.source (a seed's spec) or
 * kvfork.source_sha256 (of a checkpoint's weight files, in the order of their names). */
#ifndef KVF_EXPORT_EXPORT_H
#define KVF_EXPORT_EXPORT_H

#include "export/config.h"
#include "export/model.h"

typedef struct kvf_export_options {
    kvf_export_format format;
    kvf_ignored ignored;
    const char *tokenizer;  /* metadata kvfork.tokenizer, or NULL */
    uint64_t largest_graph; /* as in kvf_writer_options */
    void (*progress)(void *user, const char *what, uint64_t done, uint64_t total); /* or NULL */
    void *user;
} kvf_export_options;

/* Export a Hugging Face checkpoint in folder to the ONNX file path. With the names of optimum,
 * genai_config.json is written beside it.
 * Memory  the largest weight, and the checkpoint's JSON
 * Errors  KVF_ERR_IO, KVF_ERR_MODEL naming the key or tensor, KVF_ERR_NOMEM */
kvf_status kvf_export_checkpoint(const char *folder, const char *path,
                                 const kvf_export_options *options, kvf_error *err);
/* The same from a spec, see kvf_synthetic_parse. Errors  KVF_ERR_ARG too */
kvf_status kvf_export_synthetic(const char *spec, const char *path,
                                const kvf_export_options *options, kvf_error *err);
/* Export a Trigo set into the folder out, which is made if it is not there: the graphs of trigo.h,
 * and decoder.onnx, which has the cache and both heads. All files appear, or none.
 * Errors  as above */
kvf_status kvf_export_trigo(const char *folder, const char *out, const kvf_export_options *options,
                            kvf_error *err);
#endif
