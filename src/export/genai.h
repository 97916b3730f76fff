/* genai.h - genai_config.json: how onnxruntime-genai finds its way in a model. */
#ifndef KVF_EXPORT_GENAI_H
#define KVF_EXPORT_GENAI_H

#include "export/decoder.h"
#include "output.h"

/* Write it for a model of optimum's names, to a file that the caller commits.
 * path    of the model; the config names it without folders
 * Errors  KVF_ERR_NOMEM, KVF_ERR_MODEL (a name that is not UTF-8), KVF_ERR_IO */
kvf_status kvf_genai_write(kvf_output *out, const kvf_decoder *d, const char *path, kvf_error *err);
#endif
