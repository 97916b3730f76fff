/* output.c - write beside, then rename. */
#include "output.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static void close_output(kvf_output *out)
{
    kvf_free(out->path);
    kvf_free(out->temporary);
    *out = (kvf_output){0};
}

kvf_status kvf_output_open(kvf_output *out, const char *path, kvf_error *err)
{
    *out = (kvf_output){0};
    /* Renaming over a folder fails late, over a device (/dev/null) it would destroy it. */
    struct stat st;
    if (!stat(path, &st) && !S_ISREG(st.st_mode))
        return kvf_fail(err, KVF_ERR_IO, "%s: is there, and is not a regular file", path);
    size_t room = strlen(path) + 40;
    out->path = kvf_copy_string(path);
    out->temporary = kvf_array(room, 1);
    if (!out->path || !out->temporary) {
        close_output(out);
        return kvf_fail(err, KVF_ERR_NOMEM, "%s: no memory to write it", path);
    }
    /* A process id is unique on one machine only, and a folder may be shared by several. */
    uint32_t chance = 0;
    (void)!getrandom(&chance, sizeof chance, GRND_NONBLOCK);
    snprintf(out->temporary, room, "%s.tmp.%ld.%08x", path, (long)getpid(), chance);
    out->file = fopen(out->temporary, "wbxe");
    if (!out->file) {
        kvf_fail(err, KVF_ERR_IO, "%s: cannot write it: %s", path, strerror(errno));
        close_output(out);
        return KVF_ERR_IO;
    }
    return KVF_OK;
}

void kvf_output_write(kvf_output *out, const void *data, uint64_t bytes)
{
    if (out->error || !bytes) return;
    errno = 0;
    if (fwrite(data, 1, (size_t)bytes, out->file) != bytes) out->error = errno ? errno : EIO;
    out->written += bytes;
}

void kvf_output_print(kvf_output *out, const char *fmt, ...)
{
    if (out->error) return;
    va_list args;
    va_start(args, fmt);
    errno = 0;
    int n = vfprintf(out->file, fmt, args);
    va_end(args);
    if (n < 0)
        out->error = errno ? errno : EIO;
    else
        out->written += (uint64_t)n;
}

kvf_status kvf_output_finish(kvf_output *out, kvf_error *err)
{
    errno = 0;
    /* On the disk before the name is: else a power cut may leave the name with nothing in it. */
    if (!out->error && (fflush(out->file) || fsync(fileno(out->file))))
        out->error = errno ? errno : EIO;
    if (!out->error) return KVF_OK;
    return kvf_fail(err, KVF_ERR_IO, "%s: cannot write it: %s", out->path, strerror(out->error));
}

kvf_status kvf_output_commit(kvf_output *out, kvf_error *err)
{
    kvf_status status = kvf_output_finish(out, err);
    if (!status) {
        FILE *file = out->file;
        out->file = NULL;
        if (fclose(file) || rename(out->temporary, out->path))
            status =
                kvf_fail(err, KVF_ERR_IO, "%s: cannot write it: %s", out->path, strerror(errno));
    }
    if (status)
        kvf_output_abandon(out);
    else
        close_output(out);
    return status;
}

void kvf_output_abandon(kvf_output *out)
{
    if (out->file) fclose(out->file);
    if (out->temporary) unlink(out->temporary);
    close_output(out);
}
