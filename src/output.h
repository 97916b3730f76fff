/* output.h - a file that takes its name only when it is whole.
 *
 * Bytes go to PATH.tmp.PID.RANDOM beside the target; commit renames it. A failed write is
 * remembered and told by commit, so that callers write without asking each time. Whatever happens
 * before commit, an older file of that name is untouched. */
#ifndef KVF_OUTPUT_H
#define KVF_OUTPUT_H

#include "base.h"

#include <stdio.h>

typedef struct kvf_output {
    char *path, *temporary;
    FILE *file;
    uint64_t written; /* bytes so far */
    int error;        /* errno of the first failure */
} kvf_output;

/* Begin to write path. Errors  KVF_ERR_IO (the folder is missing or not writable, path is there
 * and not a regular file), KVF_ERR_NOMEM; out is then closed already */
kvf_status kvf_output_open(kvf_output *out, const char *path, kvf_error *err);
void kvf_output_write(kvf_output *out, const void *data, uint64_t bytes);
void kvf_output_print(kvf_output *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Bring the bytes to the file, so that commit can fail for the name alone: for two files that
 * belong together. Errors  KVF_ERR_IO, also for an earlier write */
kvf_status kvf_output_finish(kvf_output *out, kvf_error *err);
/* Finish, and give the file its name. out is closed afterwards, also on failure. */
kvf_status kvf_output_commit(kvf_output *out, kvf_error *err);
void kvf_output_abandon(kvf_output *out); /* zeroed, failed or committed is fine */
#endif
