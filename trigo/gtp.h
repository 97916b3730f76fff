/* gtp.h - a player behind the Go Text Protocol, so that programs of the Go world can talk to it.
 *
 * Version 2, as in Gunnar Farneback's "Specification of the Go Text Protocol, version 2, draft 2".
 * `trigo gtp --help` lists the commands, and what differs from Go. */
#ifndef TRIGO_GTP_H
#define TRIGO_GTP_H

#include <stdio.h>

#include "trigo/player.h"

/* Answer commands until `quit` or the end of the input.
 *
 * player  is begun anew with each board, with seeds that follow from this one
 * log     what is worth saying beside the answers
 * Errors  KVF_ERR_IO (writing), KVF_ERR_NOMEM before the first command; all else is an answer */
kvf_status trigo_gtp(trigo_player *player, uint64_t seed, FILE *in, FILE *out, FILE *log,
                     kvf_error *err);

/* The names of its commands and what they do: name at index i, NULL after the last. */
const char *trigo_gtp_command(size_t i, const char **line);

#endif
