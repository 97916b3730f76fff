/* view_read.c - a game out of a file, and what a record says of its positions. */
#include "trigo/view.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "trigo/json.h"
#include "trigo/notation.h"
#include "trigo/tgn.h"

void trigo_view_free(trigo_view *v)
{
    for (uint32_t i = 0; v->positions && i <= v->game->plies; i++) kvf_free(v->positions[i].moves);
    kvf_free(v->positions);
    kvf_free(v->name);
    kvf_free(v->analysis);
    trigo_game_destroy(v->game);
    *v = (trigo_view){0};
}

/* ---- records --------------------------------------------------------------------------------- */

/* A number that may be missing. */
static kvf_status read_real(const json_t *object, const char *key, double *out, kvf_error *err)
{
    const json_t *value = json_object_get(object, key);
    *out = NAN;
    if (!value || json_is_null(value)) return KVF_OK;
    if (!json_is_number(value)) return kvf_fail(err, KVF_ERR_ARG, "'%s' should be a number", key);
    *out = json_number_value(value);
    return KVF_OK;
}

static kvf_status read_visits(trigo_view_position *p, trigo_shape shape, json_t *visits,
                              kvf_error *err)
{
    const char *name;
    json_t *n;
    if (!json_is_object(visits)) return kvf_fail(err, KVF_ERR_ARG, "'visits' should be an object");
    p->moves = kvf_array(json_object_size(visits) + 1, sizeof *p->moves);
    if (!p->moves) return kvf_fail(err, KVF_ERR_NOMEM, "a list of moves");
    json_object_foreach(visits, name, n)
    {
        trigo_view_move *m = &p->moves[p->n];
        kvf_status status = trigo_move_read(shape, name, strlen(name), &m->move, err);
        if (status) return kvf_prefix(err, status, "'visits': ");
        if (!json_is_integer(n) || json_integer_value(n) < 0 || json_integer_value(n) > UINT32_MAX)
            return kvf_fail(err, KVF_ERR_ARG, "the visits of '%s' should be an integer from 0",
                            name);
        m->visits = (uint32_t)json_integer_value(n);
        m->prior = m->value = NAN;
        p->n++;
    }
    return KVF_OK;
}

/* What the record of a move says of the position before it; *known if it says something. */
static kvf_status read_position(trigo_view_position *p, trigo_shape shape, const json_t *move,
                                bool *known, kvf_error *err)
{
    double visits, total;
    json_t *each = json_object_get(move, "visits");
    kvf_status status = read_real(move, "value", &p->value, err);
    if (!status) status = read_real(move, "N", &visits, err);
    if (!status) status = read_real(move, "W", &total, err);
    if (!status && each) status = read_visits(p, shape, each, err);
    if (status) return status;
    if (visits >= 1 && visits <= UINT32_MAX) {
        p->visits = (uint32_t)visits;
        p->searched = total / visits;
    }
    *known |= p->n || p->visits || !isnan(p->value);
    return KVF_OK;
}

static kvf_status read_positions(trigo_view *v, const json_t *object, kvf_error *err)
{
    const json_t *moves = json_object_get(object, "moves");
    bool known = false;
    for (uint32_t i = 0; i < v->game->plies; i++) {
        const json_t *move = json_array_get(moves, i);
        if (!json_is_object(move)) continue;
        kvf_status status =
            read_position(&v->positions[i], v->game->board->shape, move, &known, err);
        if (status) return kvf_prefix(err, status, "move %u: ", i + 1);
    }
    if (known) v->analysis = kvf_copy_string("as the game's record says");
    return !known || v->analysis ? KVF_OK : kvf_fail(err, KVF_ERR_NOMEM, "a record");
}

/* Nothing is known of any position yet. */
static kvf_status make_positions(trigo_view *v, kvf_error *err)
{
    v->positions = kvf_array(v->game->plies + 1u, sizeof *v->positions);
    if (!v->positions) return kvf_fail(err, KVF_ERR_NOMEM, "%u positions", v->game->plies + 1);
    for (uint32_t i = 0; i <= v->game->plies; i++)
        v->positions[i].value = v->positions[i].searched = NAN;
    return KVF_OK;
}

static kvf_status read_record(trigo_view *v, const char *file, const char *line, size_t len,
                              kvf_error *err)
{
    json_t *object;
    kvf_status status = trigo_json_object(&object, line, len, err);
    if (status) return status;
    status = trigo_json_game(&v->game, object, err);
    if (!status) status = make_positions(v, err);
    if (!status) status = read_positions(v, object, err);
    const char *id = json_string_value(json_object_get(object, "id"));
    char *name = NULL;
    if (!status && id && asprintf(&name, "%s, %s", file, id) < 0) name = NULL;
    v->name = kvf_copy_string(name ? name : file);
    free(name);
    json_decref(object);
    if (!status && !v->name) status = kvf_fail(err, KVF_ERR_NOMEM, "a name");
    return status;
}

/* ---- files ----------------------------------------------------------------------------------- */

static bool blank(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!strchr(" \t\r\n", text[i]) || !text[i]) return false;
    return true;
}

static kvf_status read_lines(trigo_view *v, const char *name, const char *text, size_t size,
                             uint64_t number, kvf_error *err)
{
    uint64_t line = 0, games = 0;
    for (size_t at = 0; at < size;) {
        const char *start = text + at, *end = memchr(start, '\n', size - at);
        size_t len = end ? (size_t)(end - start) : size - at;
        line++;
        at += len + 1;
        if (blank(start, len) || ++games < number) continue;
        kvf_status status = read_record(v, name, start, len, err);
        return status ? kvf_prefix(err, status, "line %llu: ", (unsigned long long)line) : KVF_OK;
    }
    return kvf_fail(err, KVF_ERR_ARG, "game %llu is asked for, but there are %llu",
                    (unsigned long long)number, (unsigned long long)games);
}

static kvf_status read_text(trigo_view *v, const char *name, const char *text, size_t size,
                            uint64_t number, kvf_error *err)
{
    if (number > 1)
        return kvf_fail(err, KVF_ERR_ARG, "the text of one game has no game %llu",
                        (unsigned long long)number);
    kvf_status status = trigo_tgn_read(&v->game, text, size, err);
    if (!status) status = make_positions(v, err);
    if (!status && !(v->name = kvf_copy_string(name)))
        status = kvf_fail(err, KVF_ERR_NOMEM, "a name");
    return status;
}

kvf_status trigo_view_read(trigo_view *v, const char *path, uint64_t number, kvf_error *err)
{
    kvf_file file;
    *v = (trigo_view){0};
    kvf_status status = kvf_file_open(&file, path, err);
    if (status) return status;
    const char *text = (const char *)file.data, *name = kvf_file_name(path);
    size_t size = (size_t)file.size, first = 0;
    while (first < size && blank(text + first, 1)) first++;
    bool records = first < size && text[first] == '{';
    status = (records ? read_lines : read_text)(v, name, text, size, number, err);
    kvf_file_close(&file);
    return status ? kvf_prefix(err, status, "%.200s: ", path) : KVF_OK;
}
