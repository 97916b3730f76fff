/* collect.c - see collect.h.
 *
 * What is wrong is a complaint, and the next thing is looked at; what cannot be read or written
 * ends the work. */
#include "trigo/collect.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base.h"
#include "trigo/tgn.h"

typedef struct collector {
    const char *const *folders;
    size_t n;
    trigo_generation g;
    const char *stage; /* where files are written, or NULL */
    void (*complain)(const char *words);
    trigo_collection *c;
    kvf_error *err;
} collector;

/* ---- complaints ------------------------------------------------------------------------------ */

__attribute__((format(printf, 2, 3))) static void wrong(collector *k, const char *format, ...)
{
    char words[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    k->c->wrong++;
    k->complain(words);
}

/* A failure that says what is wrong is a complaint; others stay failures. */
static kvf_status complain_of(collector *k, kvf_status status)
{
    if (status != KVF_ERR_ARG) return status;
    wrong(k, "%s", k->err->msg);
    return KVF_OK;
}

/* ---- a block --------------------------------------------------------------------------------- */

/* The next line of a file, without its end; false behind the last one. */
static bool next_line(const kvf_file *file, uint64_t *at, const char **line, size_t *len)
{
    if (*at >= file->size) return false;
    *line = (const char *)file->data + *at;
    const char *end = memchr(*line, '\n', (size_t)(file->size - *at));
    *len = end ? (size_t)(end - *line) : (size_t)(file->size - *at);
    *at += *len + 1;
    return true;
}

static kvf_status check_text(const char *folder, const trigo_played *p, kvf_error *err)
{
    char *path = trigo_folder_path(folder, "tgn/%08llu.tgn", p->index), *text = NULL;
    size_t len;
    kvf_file file = {0};
    kvf_status status = path ? trigo_tgn_write(p->game, true, &text, &len, err)
                             : kvf_fail(err, KVF_ERR_NOMEM, "the name of a file");
    if (!status && access(path, F_OK))
        status = kvf_fail(err, KVF_ERR_ARG, "%s: is not there", path);
    if (!status) status = kvf_file_open(&file, path, err);
    if (!status && (file.size != len || memcmp(file.data, text, len)))
        status = kvf_fail(err, KVF_ERR_ARG, "%s: is not the text of game %llu", path,
                          (unsigned long long)p->index);
    kvf_file_close(&file);
    kvf_free(text);
    kvf_free(path);
    return status;
}

static void count_game(trigo_collection *c, const trigo_played *p)
{
    int32_t score = trigo_played_score(p);
    c->games++;
    c->moves += p->game->plies;
    c->ends[p->end]++;
    *(score > 0 ? &c->white : score < 0 ? &c->black : &c->drawn) += 1;
}

/* Check the line of a game, and what else its folder has of it. */
static kvf_status take_line(collector *k, const char *folder, uint64_t index, const char *line,
                            size_t len, trigo_samples *samples, trigo_block_writer *w)
{
    trigo_played *p;
    kvf_status status = trigo_played_read(&p, &k->g, index, line, len, k->err);
    if (status)
        return complain_of(k, kvf_prefix(k->err, status, "%s: game %llu: ", folder,
                                         (unsigned long long)index));
    status = complain_of(k, check_text(folder, p, k->err));
    if (!status) status = trigo_samples_add(samples, p, k->err);
    if (!status && k->stage) status = trigo_block_write(w, p, k->err);
    if (!status) count_game(k->c, p);
    trigo_played_destroy(p);
    return status;
}

/* The lines of a block's file, and then its arrays, which only right lines can be compared with. */
static kvf_status take_lines(collector *k, const char *folder, uint64_t first, const kvf_file *file,
                             trigo_samples *samples, trigo_block_writer *w)
{
    uint32_t count = trigo_block_count(&k->g, first), n = 0;
    uint64_t at = 0, before = k->c->wrong;
    const char *line;
    size_t len;
    kvf_status status = KVF_OK;
    while (!status && next_line(file, &at, &line, &len)) {
        if (n < count) status = take_line(k, folder, first + n, line, len, samples, w);
        n++;
    }
    if (!status && n != count)
        wrong(k, "%s/%08llu.jsonl: has %u lines, but %u games belong there", folder,
              (unsigned long long)first, n, count);
    if (status || k->c->wrong != before) return status;
    char *path = trigo_folder_path(folder, "%08llu.npz", first);
    status = path ? trigo_npz_compare(path, samples->array, TRIGO_SAMPLE_ARRAYS, k->err)
                  : kvf_fail(k->err, KVF_ERR_NOMEM, "the name of a file");
    kvf_free(path);
    return complain_of(k, status);
}

static kvf_status take_block(collector *k, const char *folder, uint64_t first)
{
    trigo_samples samples = {0};
    trigo_block_writer w = {0};
    kvf_file file = {0};
    char *path = trigo_folder_path(folder, "%08llu.jsonl", first);
    kvf_status status = path ? kvf_file_open(&file, path, k->err)
                             : kvf_fail(k->err, KVF_ERR_NOMEM, "the name of a file");
    kvf_free(path);
    if (!status) status = trigo_samples_begin(&samples, k->err);
    if (!status && k->stage) status = trigo_block_begin(&w, k->stage, &k->g, first, k->err);
    if (!status) status = take_lines(k, folder, first, &file, &samples, &w);
    if (!status && k->stage && !k->c->wrong) status = trigo_block_end(&w, k->err);
    trigo_block_abandon(&w);
    trigo_samples_free(&samples);
    kvf_file_close(&file);
    return status;
}

/* ---- which blocks there are ------------------------------------------------------------------ */

static kvf_status is_there(const char *folder, const char *name, uint64_t first, bool *there,
                           kvf_error *err)
{
    char *path = trigo_folder_path(folder, name, first);
    if (!path) return kvf_fail(err, KVF_ERR_NOMEM, "the name of a file");
    *there = !access(path, F_OK);
    kvf_free(path);
    return KVF_OK;
}

/* The one folder that has a block; NULL, after a complaint, if none has, or more than one. */
static kvf_status find_block(collector *k, uint64_t first, const char **out)
{
    const char *playing = NULL;
    unsigned long long from = first, to = first + trigo_block_count(&k->g, first) - 1;
    *out = NULL;
    for (size_t i = 0; i < k->n; i++) {
        bool played = false, unfinished = false;
        kvf_status status = is_there(k->folders[i], "%08llu.jsonl", first, &played, k->err);
        if (!status) status = is_there(k->folders[i], "%08llu.playing", first, &unfinished, k->err);
        if (status) return status;
        if (unfinished) playing = k->folders[i];
        if (!played) continue;
        if (*out) {
            wrong(k, "games %llu to %llu are in %s and in %s", from, to, *out, k->folders[i]);
            *out = NULL;
            return KVF_OK;
        }
        *out = k->folders[i];
    }
    if (!*out && playing)
        wrong(k, "games %llu to %llu are not finished: %s/%08llu.playing", from, to, playing, from);
    else if (!*out)
        wrong(k, "games %llu to %llu are missing", from, to);
    return KVF_OK;
}

/* Files that look like a block's, and are none of this generation's. */
static kvf_status check_names(collector *k, const char *folder)
{
    DIR *dir = opendir(folder);
    if (!dir) return kvf_fail(k->err, KVF_ERR_IO, "%s: %s", folder, strerror(errno));
    const struct dirent *e;
    while ((e = readdir(dir))) {
        char *end, again[64];
        unsigned long long first = strtoull(e->d_name, &end, 10);
        if (strcmp(end, ".jsonl") && strcmp(end, ".npz")) continue;
        snprintf(again, sizeof again, "%08llu%s", first, end);
        if (strcmp(again, e->d_name) || first >= k->g.games || first % k->g.games_per_file)
            wrong(k, "%s/%s: is no file of this generation", folder, e->d_name);
    }
    closedir(dir);
    return KVF_OK;
}

/* All folders have the first one's generation. */
static kvf_status read_generations(collector *k)
{
    char *first = trigo_folder_path(k->folders[0], "generation.json", 0);
    kvf_status status = first ? trigo_generation_read(&k->g, first, k->err)
                              : kvf_fail(k->err, KVF_ERR_NOMEM, "the name of a file");
    for (size_t i = 1; i < k->n && !status; i++) {
        trigo_generation other = {0};
        char *path = trigo_folder_path(k->folders[i], "generation.json", 0);
        status = path ? trigo_generation_read(&other, path, k->err)
                      : kvf_fail(k->err, KVF_ERR_NOMEM, "the name of a file");
        if (!status) status = trigo_generation_compare(&k->g, first, &other, path, k->err);
        trigo_generation_free(&other);
        kvf_free(path);
    }
    kvf_free(first);
    return status;
}

/* ---- all together ---------------------------------------------------------------------------- */

static kvf_status take_all(collector *k)
{
    kvf_status status = KVF_OK;
    for (size_t i = 0; i < k->n && !status; i++) status = check_names(k, k->folders[i]);
    if (!status && k->stage) status = trigo_folder_open(k->stage, &k->g, k->err);
    for (uint64_t first = 0; first < k->g.games && !status; first += k->g.games_per_file) {
        const char *folder;
        status = find_block(k, first, &folder);
        if (!status && folder) status = take_block(k, folder, first);
    }
    if (status || !k->c->wrong) return status;
    return kvf_fail(k->err, KVF_ERR_ARG, "%llu of %llu games are right; nothing was written",
                    (unsigned long long)k->c->games, (unsigned long long)k->g.games);
}

/* ---- written beside -------------------------------------------------------------------------- */

/* All games go into the folder OUT.tmp.PID, which takes its own name when it is whole. Its process
 * holds a lock on it, which the system drops when that is killed; so who begins anew can tell what
 * was left behind from what another process writes, on any machine. */
static const int OPEN_FOLDER = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

static bool is_stage(const char *name, const char *of, size_t n)
{
    if (strncmp(name, of, n) || strncmp(name + n, ".tmp.", 5)) return false;
    const char *digits = name + n + 5;
    return *digits && !digits[strspn(digits, "0123456789")];
}

/* Remove what nobody holds. Where a file system knows no locks, that is nothing. */
static void sweep(const char *out, char *path, size_t room)
{
    const char *name = kvf_file_name(out);
    size_t n = strlen(name);
    snprintf(path, room, "%.*s", name > out ? (int)(name - out) : 1, name > out ? out : ".");
    DIR *dir = opendir(path);
    const struct dirent *e;
    while (dir && (e = readdir(dir))) {
        if (!is_stage(e->d_name, name, n)) continue;
        int fd = openat(dirfd(dir), e->d_name, OPEN_FOLDER);
        bool fits = snprintf(path, room, "%s%s", out, e->d_name + n) < (int)room;
        if (fits && fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB)) trigo_folder_remove(path, NULL);
        if (fd >= 0) close(fd);
    }
    if (dir) closedir(dir);
}

/* Make the stage, and hold it by the file descriptor *lock. */
static kvf_status make_stage(const char *stage, int *lock, kvf_error *err)
{
    if (mkdir(stage, 0777))
        return kvf_fail(err, KVF_ERR_IO, "%s: cannot make this folder: %s", stage, strerror(errno));
    *lock = open(stage, OPEN_FOLDER);
    if (*lock >= 0 && (!flock(*lock, LOCK_EX | LOCK_NB) || errno != EWOULDBLOCK)) return KVF_OK;
    return kvf_fail(err, KVF_ERR_IO, "%s: another process takes it away", stage);
}

static kvf_status take_all_beside(collector *k, const char *out, char *stage, size_t room)
{
    struct stat st;
    int lock = -1;
    if (!lstat(out, &st)) return kvf_fail(k->err, KVF_ERR_IO, "%s: is there already", out);
    sweep(out, stage, room);
    snprintf(stage, room, "%s.tmp.%ld", out, (long)getpid());
    kvf_status status = make_stage(stage, &lock, k->err);
    k->stage = stage;
    if (!status) status = take_all(k);
    if (!status && rename(stage, out))
        status = kvf_fail(k->err, KVF_ERR_IO, "%s: cannot give a folder this name: %s", out,
                          strerror(errno));
    if (status && lock >= 0) trigo_folder_remove(stage, NULL);
    if (lock >= 0) close(lock);
    return status;
}

static kvf_status take_all_into(collector *k, const char *folder)
{
    size_t length = strlen(folder), room = length + 32;
    while (length > 1 && folder[length - 1] == '/') length--;
    char *out = kvf_array(room, 1), *stage = kvf_array(room, 1);
    kvf_status status;
    if (out && stage) {
        snprintf(out, room, "%.*s", (int)length, folder);
        status = take_all_beside(k, out, stage, room);
    } else {
        status = kvf_fail(k->err, KVF_ERR_NOMEM, "the name of a folder");
    }
    kvf_free(out);
    kvf_free(stage);
    return status;
}

kvf_status trigo_collect(const char *const *folders, size_t n, const char *out,
                         void (*complain)(const char *words), trigo_collection *c, kvf_error *err)
{
    kvf_error own;
    collector k = {
        .folders = folders, .n = n, .complain = complain, .c = c, .err = err ? err : &own};
    *c = (trigo_collection){0};
    kvf_status status = read_generations(&k);
    c->of = k.g.games;
    if (!status) status = out ? take_all_into(&k, out) : take_all(&k);
    trigo_generation_free(&k.g);
    return status;
}
