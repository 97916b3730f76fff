/* folder.c - see folder.h.
 *
 *   generation   linked to its name, which only one of several processes can do
 *   writer       a block's files, wherever they are to be
 *   block        locked, swept, its finished games read; written within, then moved out */
#include "trigo/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base.h"
#include "trigo/tgn.h"

char *trigo_folder_path(const char *folder, const char *name, uint64_t number)
{
    const char *at = strstr(name, "%08llu");
    size_t before = at ? (size_t)(at - name) : strlen(name), room = strlen(folder) + strlen(name);
    char digits[24] = "", *path = kvf_array(room + 32, 1);
    if (at) snprintf(digits, sizeof digits, "%08llu", (unsigned long long)number);
    if (path)
        snprintf(path, room + 32, "%s/%.*s%s%s", folder, (int)before, name, digits,
                 at ? at + strlen("%08llu") : "");
    return path;
}

static kvf_status no_path(kvf_error *err)
{
    return kvf_fail(err, KVF_ERR_NOMEM, "the name of a file");
}

static kvf_status failed(const char *path, const char *what, kvf_error *err)
{
    return kvf_fail(err, KVF_ERR_IO, "%s: %s: %s", path, what, strerror(errno));
}

/* Make a folder, or take the one that is there. */
static kvf_status make_folder(const char *path, kvf_error *err)
{
    struct stat st;
    if (!mkdir(path, 0777)) return KVF_OK;
    if (errno != EEXIST || stat(path, &st)) return failed(path, "cannot make this folder", err);
    return S_ISDIR(st.st_mode)
               ? KVF_OK
               : kvf_fail(err, KVF_ERR_IO, "%s: is there, and is not a folder", path);
}

static kvf_status make_folder_in(const char *folder, const char *name, kvf_error *err)
{
    char *path = trigo_folder_path(folder, name, 0);
    kvf_status status = path ? make_folder(path, err) : no_path(err);
    kvf_free(path);
    return status;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path) && errno != ENOENT ? -1 : 0; /* two may be removing the same */
}

kvf_status trigo_folder_remove(const char *path, kvf_error *err)
{
    if (!nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS) || errno == ENOENT) return KVF_OK;
    return failed(path, "cannot remove it", err);
}

/* ---- generation ------------------------------------------------------------------------------ */

/* What starts that were killed left behind. A process that is writing there now sees that its file
 * has gone when it links it. */
static void sweep_generations(const char *folder)
{
    static const char begin[] = "generation.json.tmp.";
    DIR *dir = opendir(folder);
    const struct dirent *e;
    while (dir && (e = readdir(dir)))
        if (!strncmp(e->d_name, begin, sizeof begin - 1)) unlinkat(dirfd(dir), e->d_name, 0);
    if (dir) closedir(dir);
}

/* Write the generation down unless somebody has. A name is renamed over, but never linked over; so
 * of several processes that start at once one is first. Where there are no links, the last one is,
 * and the others see it when they compare. */
static kvf_status write_generation(const char *path, const trigo_generation *g, kvf_error *err)
{
    if (!access(path, F_OK)) return KVF_OK;
    char *text = json_dumps(g->json, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    if (!text) return kvf_fail(err, KVF_ERR_NOMEM, "the description of a generation");
    kvf_output out;
    kvf_status status = kvf_output_open(&out, path, err);
    if (!status) {
        kvf_output_write(&out, text, strlen(text));
        kvf_output_write(&out, "\n", 1);
        status = kvf_output_finish(&out, err);
        bool linked = !status && !link(out.temporary, path);
        if (!status && !linked && errno != EEXIST && errno != ENOENT)
            status = kvf_output_commit(&out, err);
        kvf_output_abandon(&out);
    }
    free(text);
    return status;
}

kvf_status trigo_folder_open(const char *folder, const trigo_generation *g, kvf_error *err)
{
    kvf_status status = make_folder(folder, err);
    if (!status) status = make_folder_in(folder, "tgn", err);
    if (status) return status;
    char *path = trigo_folder_path(folder, "generation.json", 0);
    trigo_generation there = {0};
    status = path ? write_generation(path, g, err) : no_path(err);
    if (!status) status = trigo_generation_read(&there, path, err);
    if (!status) {
        sweep_generations(folder);
        status = trigo_generation_compare(&there, path, g, "this run", err);
    }
    trigo_generation_free(&there);
    kvf_free(path);
    return status;
}

uint32_t trigo_block_count(const trigo_generation *g, uint64_t first)
{
    uint64_t left = g->games - first;
    return left < g->games_per_file ? (uint32_t)left : g->games_per_file;
}

/* ---- writer ---------------------------------------------------------------------------------- */

static kvf_status write_file(const char *folder, const char *name, uint64_t number,
                             const void *bytes, uint64_t size, kvf_error *err)
{
    kvf_output out = {0};
    char *path = trigo_folder_path(folder, name, number);
    kvf_status status = path ? kvf_output_open(&out, path, err) : no_path(err);
    if (!status) {
        kvf_output_write(&out, bytes, size);
        status = kvf_output_commit(&out, err);
    }
    kvf_free(path);
    return status;
}

kvf_status trigo_block_begin(trigo_block_writer *w, const char *folder, const trigo_generation *g,
                             uint64_t first, kvf_error *err)
{
    *w = (trigo_block_writer){.folder = folder, .g = g, .first = first};
    char *path = trigo_folder_path(folder, "%08llu.jsonl", first);
    kvf_status status = path ? kvf_output_open(&w->lines, path, err) : no_path(err);
    kvf_free(path);
    return status ? status : trigo_samples_begin(&w->samples, err);
}

kvf_status trigo_block_write(trigo_block_writer *w, const trigo_played *played, kvf_error *err)
{
    char *text, *line = NULL;
    size_t n;
    kvf_status status = trigo_tgn_write(played->game, true, &text, &n, err);
    if (!status) status = write_file(w->folder, "tgn/%08llu.tgn", played->index, text, n, err);
    kvf_free(text);
    if (!status) status = trigo_played_line(played, w->g, &line, err);
    if (status) return status;
    kvf_output_write(&w->lines, line, strlen(line));
    free(line);
    return trigo_samples_add(&w->samples, played, err);
}

kvf_status trigo_block_end(trigo_block_writer *w, kvf_error *err)
{
    uint8_t *bytes;
    uint64_t size;
    kvf_status status = trigo_npz_pack(w->samples.array, TRIGO_SAMPLE_ARRAYS, &bytes, &size, err);
    if (!status) status = write_file(w->folder, "%08llu.npz", w->first, bytes, size, err);
    kvf_free(bytes);
    if (!status) status = kvf_output_commit(&w->lines, err);
    trigo_block_abandon(w);
    return status;
}

void trigo_block_abandon(trigo_block_writer *w)
{
    kvf_output_abandon(&w->lines);
    trigo_samples_free(&w->samples);
}

/* ---- block: open ----------------------------------------------------------------------------- */

/* Whether a block has its files: the .jsonl, which comes last. */
static kvf_status is_finished(const char *folder, uint64_t first, bool *finished, kvf_error *err)
{
    struct stat st;
    char *path = trigo_folder_path(folder, "%08llu.jsonl", first);
    if (!path) return no_path(err);
    kvf_status status = KVF_OK;
    *finished = !lstat(path, &st);
    if (!*finished && errno != ENOENT)
        status = failed(path, "cannot look for it", err);
    else if (*finished && !S_ISREG(st.st_mode))
        status = kvf_fail(err, KVF_ERR_IO, "%s: is there, and is not a regular file", path);
    kvf_free(path);
    return status;
}

/* A second process would play the same games and fail when it found no place to put them: better to
 * say so at once. Where a file system knows no locks, it does. */
static kvf_status take_lock(trigo_block *b, kvf_error *err)
{
    char *path = trigo_folder_path(b->playing, "lock", 0);
    if (!path) return no_path(err);
    kvf_status status = KVF_OK;
    b->lock = open(path, O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (b->lock < 0)
        status = failed(path, "cannot open it", err);
    else if (flock(b->lock, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
        status =
            kvf_fail(err, KVF_ERR_IO, "%s: another process is playing these games", b->playing);
    kvf_free(path);
    return status;
}

/* The block has its files: what it was played in may go. The lock goes first, since file systems that
 * only know names (NFS, many in user space) keep a file that is open under another one, and a folder
 * with it. */
static kvf_status leave(trigo_block *b, kvf_error *err)
{
    if (b->lock >= 0) close(b->lock);
    b->lock = -1;
    return trigo_folder_remove(b->playing, err);
}

static kvf_status read_game(const trigo_block *b, uint64_t index, trigo_played **played,
                            kvf_error *err)
{
    *played = NULL;
    kvf_file file = {0};
    char *path = trigo_folder_path(b->playing, "%08llu.json", index);
    kvf_status status = path ? kvf_file_open(&file, path, err) : no_path(err);
    if (!status) {
        status =
            trigo_played_read(played, b->g, index, (const char *)file.data, (size_t)file.size, err);
        if (status) kvf_prefix(err, status, "%s: ", path);
    }
    kvf_file_close(&file);
    kvf_free(path);
    return status;
}

/* The game whose file this is; UINT64_MAX if it is none of the block's. */
static uint64_t game_of(const trigo_block *b, const char *name)
{
    char *end, again[32];
    uint64_t index = strtoull(name, &end, 10);
    snprintf(again, sizeof again, "%08llu.json", (unsigned long long)index);
    bool ours = !strcmp(name, again) && index >= b->first && index - b->first < b->count;
    return ours ? index : UINT64_MAX;
}

static kvf_status take_file(trigo_block *b, const char *name, kvf_error *err)
{
    if (!strcmp(name, ".") || !strcmp(name, "..") || !strcmp(name, "lock")) return KVF_OK;
    uint64_t index = game_of(b, name);
    if (index == UINT64_MAX) {
        char *path = trigo_folder_path(b->playing, name, 0);
        kvf_status status = path ? trigo_folder_remove(path, err) : no_path(err);
        kvf_free(path);
        return status;
    }
    trigo_played *played;
    kvf_status status = read_game(b, index, &played, err);
    trigo_played_destroy(played);
    if (status) return status;
    b->finished[index - b->first] = true;
    b->missing--;
    return KVF_OK;
}

/* Find the finished games, and remove what else a killed process left. */
static kvf_status look_inside(trigo_block *b, kvf_error *err)
{
    DIR *dir = opendir(b->playing);
    if (!dir) return failed(b->playing, "cannot read it", err);
    const struct dirent *e;
    kvf_status status = KVF_OK;
    while (!status && (e = readdir(dir))) status = take_file(b, e->d_name, err);
    closedir(dir);
    return status;
}

/* Look for the block's files before the lock is taken, so that finished blocks cost nothing, and
 * again with it: its last holder may have finished meanwhile. */
static kvf_status open_block(trigo_block *b, bool *finished, kvf_error *err)
{
    b->playing = trigo_folder_path(b->folder, "%08llu.playing", b->first);
    b->finished = kvf_array(b->count, sizeof *b->finished);
    if (!b->playing || !b->finished) return kvf_fail(err, KVF_ERR_NOMEM, "%u games", b->count);
    b->missing = b->count;
    kvf_status status = is_finished(b->folder, b->first, finished, err);
    if (!status && !*finished) {
        status = make_folder(b->playing, err);
        if (!status) status = take_lock(b, err);
        if (!status) status = is_finished(b->folder, b->first, finished, err);
    }
    if (status) return status;
    return *finished ? leave(b, err) : look_inside(b, err);
}

kvf_status trigo_block_open(trigo_block **out, const char *folder, const trigo_generation *g,
                            uint64_t first, kvf_error *err)
{
    *out = NULL;
    trigo_block *b = kvf_array(1, sizeof *b);
    if (!b) return kvf_fail(err, KVF_ERR_NOMEM, "a block of games");
    *b = (trigo_block){
        .folder = folder, .g = g, .first = first, .count = trigo_block_count(g, first), .lock = -1};
    bool finished = false;
    kvf_status status = open_block(b, &finished, err);
    if (!status && !finished && !b->missing) {
        status = trigo_block_finish(b, err);
        finished = true;
    }
    if (status || finished)
        trigo_block_close(b);
    else
        *out = b;
    return status;
}

void trigo_block_close(trigo_block *block)
{
    if (!block) return;
    if (block->lock >= 0) close(block->lock);
    kvf_free(block->playing);
    kvf_free(block->finished);
    kvf_free(block);
}

/* ---- block: add, finish ---------------------------------------------------------------------- */

kvf_status trigo_block_add(const trigo_block *block, const trigo_played *played, kvf_error *err)
{
    char *line;
    kvf_status status = trigo_played_line(played, block->g, &line, err);
    if (status) return status;
    status = write_file(block->playing, "%08llu.json", played->index, line, strlen(line), err);
    free(line);
    return status;
}

static kvf_status write_block(const trigo_block *b, trigo_block_writer *w, kvf_error *err)
{
    kvf_status status = trigo_block_begin(w, b->playing, b->g, b->first, err);
    for (uint32_t i = 0; i < b->count && !status; i++) {
        trigo_played *played;
        status = read_game(b, b->first + i, &played, err);
        if (!status) status = trigo_block_write(w, played, err);
        trigo_played_destroy(played);
    }
    if (!status) return trigo_block_end(w, err);
    trigo_block_abandon(w);
    return status;
}

static kvf_status move_out(const trigo_block *b, const char *name, uint64_t number, kvf_error *err)
{
    char *from = trigo_folder_path(b->playing, name, number);
    char *to = trigo_folder_path(b->folder, name, number);
    kvf_status status = from && to ? KVF_OK : no_path(err);
    if (!status && rename(from, to)) status = failed(to, "cannot give a file this name", err);
    kvf_free(from);
    kvf_free(to);
    return status;
}

kvf_status trigo_block_finish(trigo_block *block, kvf_error *err)
{
    trigo_block_writer w;
    kvf_status status = make_folder_in(block->playing, "tgn", err);
    if (!status) status = write_block(block, &w, err);
    for (uint32_t i = 0; i < block->count && !status; i++)
        status = move_out(block, "tgn/%08llu.tgn", block->first + i, err);
    if (!status) status = move_out(block, "%08llu.npz", block->first, err);
    if (!status) status = move_out(block, "%08llu.jsonl", block->first, err);
    return status ? status : leave(block, err);
}
