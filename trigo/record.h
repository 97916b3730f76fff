/* record.h - a game as one JSON line that says everything about each of its positions.
 *
 * The fields are those of the reference games (tests/data/trigo/games.jsonl); docs/trigo.md lists
 * them. */
#ifndef TRIGO_RECORD_H
#define TRIGO_RECORD_H

#include <stdio.h>

#include "trigo/game.h"

/* Write a game's record and a new line.
 *
 * out     written as it goes, so that a record needs no memory of its size
 * id      a JSON text: a string in its quotes
 * Errors  KVF_ERR_NOMEM, KVF_ERR_IO; a part of the line may have been written */
kvf_status trigo_record_write(FILE *out, const char *id, const trigo_game *game, kvf_error *err);

#endif
