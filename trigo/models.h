/* models.h - a folder of ONNX files as a model of the game.
 *
 *   set      files                          cache
 *   decoder  decoder.onnx                   yes     one decoder, both heads
 *   cached   base_model_eval_extend.onnx,   yes     tokens over a past
 *            policy_head.onnx, value_head.onnx
 *   base     base_model.onnx,               no      whole sequences only
 *            policy_head.onnx, value_head.onnx
 *
 * The first set whose files are all there is taken. What its files should be, the file says
 * (kvf_model_open reads the contract from it); that they fit together and to the game is checked
 * here. */
#ifndef TRIGO_MODELS_H
#define TRIGO_MODELS_H

#include "kvfork.h"

typedef enum trigo_set {
    TRIGO_SET_FIRST = 0, /* the first that is complete */
    TRIGO_SET_DECODER,
    TRIGO_SET_CACHED,
    TRIGO_SET_BASE,
} trigo_set;

const char *trigo_set_name(trigo_set set); /* "decoder"; never NULL */
bool trigo_set_find(const char *name, trigo_set *set);

/* Open a folder's model.
 *
 * out      set on KVF_OK, else NULL; free it with kvf_model_close
 * set      what to take; on KVF_OK *set is what was taken
 * options  of the model, whose heads are filled in here; NULL for the defaults
 * Errors   KVF_ERR_IO (which files are missing), those of kvf_model_open (a graph of fixed length,
 *          heads of another width), KVF_ERR_MODEL (vocabulary, heads or context do not suit the
 *          game); all name the file */
kvf_status trigo_models_open(kvf_model **out, const char *folder, trigo_set *set,
                             const kvf_model_options *options, kvf_error *err);

#endif
