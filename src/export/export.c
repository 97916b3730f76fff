/* export.c - open, build, write; and the two cases where several files belong together. */
#include "export/export.h"

#include "export/checkpoint.h"
#include "export/genai.h"
#include "export/synthetic.h"
#include "export/trigo.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static kvf_writer_options writer_options(const kvf_export_options *o, kvf_fill fill, void *user)
{
    return (kvf_writer_options){.fill = fill,
                                .fill_user = user,
                                .largest_graph = o->largest_graph,
                                .progress = o->progress,
                                .user = o->user};
}

/* ---- one model ------------------------------------------------------------------------------- */

/* genai_config.json in the folder of path. */
static kvf_status open_genai(kvf_output *out, const char *path, kvf_error *err)
{
    static const char name[] = "genai_config.json";
    const char *slash = strrchr(path, '/');
    size_t folder = slash ? (size_t)(slash + 1 - path) : 0, room = folder + sizeof name;
    char *beside = kvf_array(room, 1);
    if (!beside) return kvf_fail(err, KVF_ERR_NOMEM, "%s: no memory", path);
    snprintf(beside, room, "%.*s%s", (int)folder, path, name);
    kvf_status status = kvf_output_open(out, beside, err);
    kvf_free(beside);
    return status;
}

/* Build d's graph and write it; source says in the metadata where it comes from. */
static kvf_status write_model(const kvf_decoder *d, const char *path, const char *source_key,
                              const char *source, const kvf_export_options *o,
                              const kvf_writer_options *write, kvf_error *err)
{
    kvf_writer *w;
    kvf_output genai = {0};
    kvf_status status = kvf_export_model(&w, d, &o->format, err);
    if (status) return status;
    kvf_writer_property(w, source_key, source);
    if (o->tokenizer) kvf_writer_property(w, "kvfork.tokenizer", o->tokenizer);
    if (o->format.optimum) {
        status = open_genai(&genai, path, err);
        if (!status) status = kvf_genai_write(&genai, d, path, err);
    }
    if (!status) status = kvf_writer_save(w, path, write, err);
    if (!status && o->format.optimum) status = kvf_output_commit(&genai, err);
    kvf_output_abandon(&genai);
    kvf_writer_destroy(w);
    return status;
}

kvf_status kvf_export_synthetic(const char *spec, const char *path,
                                const kvf_export_options *options, kvf_error *err)
{
    kvf_synthetic s;
    char text[256];
    kvf_status status = kvf_synthetic_parse(&s, spec, err);
    if (status) return status;
    s.type = options->format.type;
    kvf_synthetic_text(&s, text, sizeof text);
    kvf_writer_options write = writer_options(options, kvf_synthetic_fill, &s);
    return write_model(&s.decoder, path, "kvfork.source", text, options, &write, err);
}

kvf_status kvf_export_checkpoint(const char *folder, const char *path,
                                 const kvf_export_options *options, kvf_error *err)
{
    kvf_checkpoint c;
    char hash[65];
    kvf_status status =
        kvf_checkpoint_open(&c, folder, KVF_CHECKPOINT_HUGGING_FACE, &options->ignored, err);
    if (status) return status;
    c.type = options->format.type;
    kvf_safetensors_sha256(c.tensors, hash, options->progress, options->user);
    kvf_writer_options write = writer_options(options, kvf_checkpoint_fill, &c);
    status = write_model(&c.decoder, path, "kvfork.source_sha256", hash, options, &write, err);
    kvf_checkpoint_close(&c);
    return status;
}

/* ---- a Trigo set ----------------------------------------------------------------------------- */

/* The files are written into a folder beside the target, and moved when all are whole. */
typedef struct set {
    const char *out;
    char *beside;    /* the folder out.tmp.PID */
    char *from, *to; /* [room] paths of one file */
    size_t room;
} set;

static const char *set_name(int i)
{
    return i < KVF_TRIGO_GRAPHS ? kvf_trigo_name(i) : "decoder";
}

static void set_paths(set *s, int i)
{
    snprintf(s->from, s->room, "%s/%s.onnx", s->beside, set_name(i));
    snprintf(s->to, s->room, "%s/%s.onnx", s->out, set_name(i));
}

static kvf_status write_part(set *s, int i, kvf_checkpoint *c, const char *hash,
                             const kvf_export_options *o, kvf_error *err)
{
    kvf_writer *w;
    set_paths(s, i);
    c->type = i < KVF_TRIGO_GRAPHS ? KVF_F32 : o->format.type;
    kvf_status status = i < KVF_TRIGO_GRAPHS ? kvf_trigo_build(&w, &c->decoder, i, err)
                                             : kvf_export_model(&w, &c->decoder, &o->format, err);
    if (status) return status;
    kvf_writer_property(w, "kvfork.source_sha256", hash);
    if (o->tokenizer) kvf_writer_property(w, "kvfork.tokenizer", o->tokenizer);
    kvf_writer_options write = writer_options(o, kvf_checkpoint_fill, c);
    status = kvf_writer_save(w, s->from, &write, err);
    kvf_writer_destroy(w);
    return status;
}

static kvf_status move_set(set *s, kvf_error *err)
{
    if (mkdir(s->out, 0777) && errno != EEXIST)
        return kvf_fail(err, KVF_ERR_IO, "%s: cannot make this folder: %s", s->out,
                        strerror(errno));
    for (int i = 0; i <= KVF_TRIGO_GRAPHS; i++) {
        set_paths(s, i);
        if (rename(s->from, s->to))
            return kvf_fail(err, KVF_ERR_IO, "%s: cannot write it: %s", s->to, strerror(errno));
    }
    return KVF_OK;
}

static kvf_status open_set(set *s, const char *out, kvf_error *err)
{
    size_t length = strlen(out);
    while (length > 1 && out[length - 1] == '/') length--;
    *s = (set){.out = out, .room = length + 96};
    s->beside = kvf_array(s->room, 1);
    s->from = kvf_array(s->room, 1);
    s->to = kvf_array(s->room, 1);
    if (!s->beside || !s->from || !s->to) return kvf_fail(err, KVF_ERR_NOMEM, "%s: no memory", out);
    snprintf(s->beside, s->room, "%.*s.tmp.%ld", (int)length, out, (long)getpid());
    if (mkdir(s->beside, 0777))
        return kvf_fail(err, KVF_ERR_IO, "%s: cannot make this folder: %s", s->beside,
                        strerror(errno));
    return KVF_OK;
}

static void close_set(set *s)
{
    if (s->from && s->to)
        for (int i = 0; i <= KVF_TRIGO_GRAPHS; i++) {
            set_paths(s, i);
            unlink(s->from);
        }
    if (s->beside) rmdir(s->beside);
    kvf_free(s->beside);
    kvf_free(s->from);
    kvf_free(s->to);
}

kvf_status kvf_export_trigo(const char *folder, const char *out, const kvf_export_options *options,
                            kvf_error *err)
{
    kvf_checkpoint c;
    set s;
    char hash[65];
    kvf_status status =
        kvf_checkpoint_open(&c, folder, KVF_CHECKPOINT_TRIGO, &options->ignored, err);
    if (status) return status;
    kvf_safetensors_sha256(c.tensors, hash, options->progress, options->user);
    status = open_set(&s, out, err);
    for (int i = 0; !status && i <= KVF_TRIGO_GRAPHS; i++)
        status = write_part(&s, i, &c, hash, options, err);
    if (!status) status = move_set(&s, err);
    close_set(&s);
    kvf_checkpoint_close(&c);
    return status;
}
