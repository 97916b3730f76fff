/* analyze.h - positions to evaluate and to search, as JSON lines.
 *
 * Requests come one a line, and are answered as they finish, each with one line. Several are worked
 * on in turn, so that a long search does not keep a short one waiting; a request that is wrong is
 * answered by what is wrong, and the others go on. `trigo analyze --help` lists the fields. */
#ifndef TRIGO_ANALYZE_H
#define TRIGO_ANALYZE_H

#include <stdio.h>

#include "trigo/policy.h"

/* Answer what comes from a file descriptor until it ends.
 *
 * policy  evaluates all positions; its tree is what the counts of tokens are taken from
 * in      may be a file, a pipe or a terminal; read as it comes
 * out     flushed after every line
 * Errors  KVF_ERR_IO (reading, writing), KVF_ERR_NOMEM; what is wrong with a request is an
 * answer */
kvf_status trigo_analyze(trigo_policy *policy, int in, FILE *out, kvf_error *err);

#endif
