/* config.h - config.json as a description of a decoder, with nothing skipped in silence.
 *
 * A key is used, or on the list of those that do not change what a decoder computes, or refused by
 * name: a key that we do not know may be the one that makes the numbers wrong. */
#ifndef KVF_EXPORT_CONFIG_H
#define KVF_EXPORT_CONFIG_H

#include "export/decoder.h"

/* Names that the user insists to do without: keys of config.json, and tensors. */
typedef struct kvf_ignored {
    const char *const *names; /* [n] */
    size_t n;
} kvf_ignored;
bool kvf_is_ignored(const kvf_ignored *ignored, const char *name);

/* Read config.json of a Hugging Face checkpoint, as transformers 4 or 5 writes it.
 * Errors  KVF_ERR_IO; KVF_ERR_MODEL naming the key, what it is and what it should be */
kvf_status kvf_config_read(kvf_decoder *out, const char *path, const kvf_ignored *ignored,
                           kvf_error *err);
/* Read config.json of a Trigo set: a GPT-2 with a value head. */
kvf_status kvf_config_read_trigo(kvf_decoder *out, const char *path, const kvf_ignored *ignored,
                                 kvf_error *err);
#endif
