/* json.h - shapes and moves as they come in JSON lines: records to replay, requests to analyse. */
#ifndef TRIGO_JSON_H
#define TRIGO_JSON_H

#include <jansson.h>

#include "trigo/game.h"

/* Parse one JSON object; a key that comes twice is an error, and so is anything behind it.
 *
 * out     set on KVF_OK, else NULL; drop it with json_decref
 * Errors  KVF_ERR_ARG with the column (in bytes, from 1) where parsing stopped, KVF_ERR_NOMEM */
kvf_status trigo_json_object(json_t **out, const char *text, size_t len, kvf_error *err);

/* Read `shape` [X,Y,Z] and play `moves`, an array of strings, or of objects with a string `move`.
 *
 * out     set on KVF_OK, else NULL; free it with trigo_game_destroy
 * Errors  KVF_ERR_ARG: which field or move, counted from 1, and what is wrong; KVF_ERR_NOMEM */
kvf_status trigo_json_game(trigo_game **out, const json_t *object, kvf_error *err);

#endif
