/* played.c - a finished game: kept while it is played, written, and read by who trusts nobody. */
#include "trigo/played.h"

#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "trigo/json.h"
#include "trigo/notation.h"
#include "trigo/policy.h"
#include "trigo/tgn.h"

int32_t trigo_played_score(const trigo_played *played)
{
    trigo_area area = trigo_board_area(played->game->board);
    return (int32_t)area.white - (int32_t)area.black;
}

/* A copy of the generation's options: threads share these, and jansson looks at a count of references
 * before it changes it. */
static json_t *copy_options(const trigo_generation *g)
{
    return json_deep_copy(json_object_get(g->json, "options"));
}

/* ---- kept ------------------------------------------------------------------------------------ */

kvf_status trigo_played_create(trigo_played **out, const trigo_generation *g, uint64_t index,
                               kvf_error *err)
{
    *out = NULL;
    trigo_played *p = kvf_array(1, sizeof *p);
    if (!p) return kvf_fail(err, KVF_ERR_NOMEM, "a game");
    p->index = index;
    kvf_status status = trigo_game_create(&p->game, trigo_generation_shape(g, index), err);
    if (status) {
        kvf_free(p);
        return status;
    }
    *out = p;
    return KVF_OK;
}

void trigo_played_destroy(trigo_played *played)
{
    if (!played) return;
    trigo_game_destroy(played->game);
    kvf_free(played->moves);
    kvf_free(played->visits);
    kvf_free(played);
}

/* Have room for one more move of n candidates, whose visits are then zero. */
static trigo_played_move *reserve_move(trigo_played *p, uint32_t n, kvf_error *err)
{
    uint32_t plies = p->game->plies;
    if (plies == p->moves_room) {
        uint32_t room = 2 * plies + 64;
        trigo_played_move *moves = kvf_resize(p->moves, room, sizeof *moves);
        if (moves) p->moves = moves;
        if (moves) p->moves_room = room;
    }
    if (p->n_visits + n > p->visits_room) {
        size_t room = 2 * (p->n_visits + n);
        uint32_t *visits = kvf_resize(p->visits, room, sizeof *visits);
        if (visits) p->visits = visits;
        if (visits) p->visits_room = room;
    }
    if (plies == p->moves_room || p->n_visits + n > p->visits_room) {
        kvf_fail(err, KVF_ERR_NOMEM, "a game of %u moves", plies + 1);
        return NULL;
    }
    trigo_played_move *m = &p->moves[plies];
    *m = (trigo_played_move){.first = p->n_visits, .n = n};
    memset(p->visits + m->first, 0, n * sizeof *p->visits);
    return m;
}

kvf_status trigo_played_add(trigo_played *played, const trigo_search *search, trigo_move move,
                            kvf_error *err)
{
    trigo_search_root root = trigo_search_get_root(search);
    trigo_played_move *m = reserve_move(played, root.moves, err);
    if (!m) return KVF_ERR_NOMEM;
    trigo_search_child *children = kvf_array(root.moves + 1u, sizeof *children);
    if (!children) return kvf_fail(err, KVF_ERR_NOMEM, "a list of %u moves", root.moves);
    trigo_search_children(search, children);
    m->visits = root.visits;
    m->total = root.total;
    m->value = root.value;
    for (uint32_t i = 0; i < m->n; i++) played->visits[m->first + i] = children[i].visits;
    kvf_free(children);
    kvf_status status = trigo_game_play(played->game, move, err);
    if (!status) played->n_visits += m->n;
    return status;
}

/* ---- written --------------------------------------------------------------------------------- */

/* A copy of the board at the beginning: the moves are played again on it. */
static kvf_status begin_again(const trigo_played *p, trigo_board **board, trigo_candidates **c,
                              kvf_error *err)
{
    *c = NULL;
    kvf_status status = trigo_board_create(board, p->game->board->shape, err);
    return status ? status : trigo_candidates_create(c, p->game->board->shape, err);
}

static json_t *visits_json(const trigo_played *p, const trigo_played_move *m,
                           const trigo_candidates *c)
{
    json_t *visits = json_object();
    for (uint32_t i = 0; i < m->n; i++) {
        char name[TRIGO_MOVE_TEXT];
        if (!p->visits[m->first + i]) continue;
        trigo_move_write(c->shape, c->move[i], name);
        json_object_set_new(visits, name, json_integer(p->visits[m->first + i]));
    }
    return visits;
}

static kvf_status moves_json(const trigo_played *p, json_t *list, kvf_error *err)
{
    trigo_board *board;
    trigo_candidates *c;
    kvf_status status = begin_again(p, &board, &c, err);
    for (uint32_t i = 0; i < p->game->plies && !status; i++) {
        const trigo_played_move *m = &p->moves[i];
        char name[TRIGO_MOVE_TEXT];
        trigo_candidates_list(c, board);
        trigo_move_write(c->shape, p->game->steps[i].move, name);
        json_t *move =
            json_pack("{s:s, s:I, s:f, s:f, s:o}", "move", name, "N", (json_int_t)m->visits, "W",
                      m->total, "value", m->value, "visits", visits_json(p, m, c));
        if (json_array_append_new(list, move))
            status = kvf_fail(err, KVF_ERR_NOMEM, "the record of a game");
        trigo_board_play(board, p->game->steps[i].move, NULL);
    }
    trigo_candidates_destroy(c);
    trigo_board_destroy(board);
    return status;
}

kvf_status trigo_played_line(const trigo_played *played, const trigo_generation *g, char **text,
                             kvf_error *err)
{
    char id[64];
    trigo_shape shape = played->game->board->shape;
    snprintf(id, sizeof id, "%llu-%llu", (unsigned long long)g->seed,
             (unsigned long long)played->index);
    json_t *moves = json_array();
    *text = NULL;
    kvf_status status = moves_json(played, moves, err);
    json_t *line =
        status ? NULL
               : json_pack("{s:s, s:I, s:I, s:s, s:o, s:[i,i,i], s:O, s:s, s:i}", "id", id, "index",
                           (json_int_t)played->index, "seed", (json_int_t)g->seed, "model",
                           g->model, "options", copy_options(g), "shape", shape.x, shape.y, shape.z,
                           "moves", moves, "end", trigo_end_name(played->end), "score",
                           (int)trigo_played_score(played));
    json_decref(moves);
    char *dump = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(line);
    if (!status && (!dump || asprintf(text, "%s\n", dump) < 0)) {
        *text = NULL;
        status = kvf_fail(err, KVF_ERR_NOMEM, "the record of a game");
    }
    free(dump);
    return status;
}

/* ---- read ------------------------------------------------------------------------------------ */

/* A field whose value is known. */
static kvf_status must_be(const json_t *object, const char *key, json_t *want, kvf_error *err)
{
    const json_t *got = json_object_get(object, key);
    bool same = want && got && json_equal(got, want);
    char *text = json_dumps(want, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(17));
    kvf_status status =
        same ? KVF_OK
             : kvf_fail(err, KVF_ERR_ARG, "'%s' should be %.300s", key, text ? text : "another");
    free(text);
    json_decref(want);
    return status;
}

static kvf_status read_real(const json_t *object, const char *key, double *out, kvf_error *err)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value)) return kvf_fail(err, KVF_ERR_ARG, "'%s' should be a number", key);
    *out = json_number_value(value);
    return KVF_OK;
}

/* The visits, which name their candidates. Every visit of the root but its first went to one of
 * them, unless memory for the search had run out. */
static kvf_status read_visits(trigo_played *p, trigo_played_move *m, const trigo_candidates *c,
                              json_t *visits, kvf_error *err)
{
    uint64_t sum = 0;
    size_t found = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        char name[TRIGO_MOVE_TEXT];
        trigo_move_write(c->shape, c->move[i], name);
        const json_t *n = json_object_get(visits, name);
        if (!n) continue;
        if (!json_is_integer(n) || json_integer_value(n) < 1 || json_integer_value(n) > UINT32_MAX)
            return kvf_fail(err, KVF_ERR_ARG, "the visits of '%s' should be an integer above 0",
                            name);
        p->visits[m->first + i] = (uint32_t)json_integer_value(n);
        sum += p->visits[m->first + i];
        found++;
    }
    if (!json_is_object(visits) || found != json_object_size(visits))
        return kvf_fail(err, KVF_ERR_ARG, "'visits' should be an object of legal moves");
    if (!sum || sum >= m->visits)
        return kvf_fail(err, KVF_ERR_ARG, "%llu visits of moves, but 'N' is %u",
                        (unsigned long long)sum, m->visits);
    return KVF_OK;
}

static kvf_status read_move(trigo_played *p, trigo_candidates *c, const json_t *object,
                            kvf_error *err)
{
    const json_t *name = json_object_get(object, "move"), *n = json_object_get(object, "N");
    trigo_move move;
    double terminal;
    if (trigo_board_terminal(p->game->board, &terminal))
        return kvf_fail(err, KVF_ERR_ARG, "it comes after the game was decided");
    if (!json_is_string(name)) return kvf_fail(err, KVF_ERR_ARG, "'move' should be a string");
    if (!json_is_integer(n) || json_integer_value(n) < 2 || json_integer_value(n) > UINT32_MAX)
        return kvf_fail(err, KVF_ERR_ARG, "'N' should be an integer from 2 on");
    trigo_candidates_list(c, p->game->board);
    trigo_played_move *m = reserve_move(p, c->n, err);
    if (!m) return KVF_ERR_NOMEM;
    m->visits = (uint32_t)json_integer_value(n);
    kvf_status status = read_real(object, "W", &m->total, err);
    if (!status) status = read_real(object, "value", &m->value, err);
    if (!status) status = read_visits(p, m, c, json_object_get(object, "visits"), err);
    if (!status)
        status = trigo_move_read(c->shape, json_string_value(name), json_string_length(name), &move,
                                 err);
    if (!status) status = trigo_game_play(p->game, move, err);
    if (status) return status;
    p->n_visits += m->n;
    for (uint32_t i = 0; i < c->n; i++)
        if (c->move[i] == move && p->visits[m->first + i]) return KVF_OK;
    return kvf_fail(err, KVF_ERR_ARG, "'%s' was played, but never visited",
                    json_string_value(name));
}

static kvf_status read_moves(trigo_played *p, const json_t *moves, kvf_error *err)
{
    trigo_candidates *c;
    if (!json_is_array(moves))
        return kvf_fail(err, KVF_ERR_ARG, "'moves' should be an array of moves");
    kvf_status status = trigo_candidates_create(&c, p->game->board->shape, err);
    for (size_t i = 0; i < json_array_size(moves) && !status; i++) {
        status = read_move(p, c, json_array_get(moves, i), err);
        if (status) kvf_prefix(err, status, "move %zu: ", i + 1);
    }
    trigo_candidates_destroy(c);
    return status;
}

/* How a game of so many moves ended, as far as the board, the rules of play and the model's context
 * say. */
static bool find_end(trigo_played *p, const trigo_generation *g)
{
    if (trigo_board_ended(p->game->board))
        p->end = TRIGO_END_PASSES;
    else if (trigo_board_terminal(p->game->board, NULL))
        p->end = TRIGO_END_DECIDED;
    else if (p->game->plies >= g->max_plies)
        p->end = TRIGO_END_PLIES;
    else
        p->end = TRIGO_END_CONTEXT;
    if (p->game->plies > g->max_plies) return false;
    if (p->end != TRIGO_END_CONTEXT) return true;
    return g->context && trigo_prompt(p->game, NULL, 0) + TRIGO_AHEAD > g->context;
}

static kvf_status read_fields(trigo_played *p, const trigo_generation *g, const json_t *line,
                              kvf_error *err)
{
    trigo_shape s = p->game->board->shape;
    kvf_status status = must_be(line, "index", json_integer((json_int_t)p->index), err);
    if (!status) status = must_be(line, "seed", json_integer((json_int_t)g->seed), err);
    if (!status) status = must_be(line, "model", json_string(g->model), err);
    if (!status) status = must_be(line, "options", copy_options(g), err);
    if (!status) status = must_be(line, "shape", json_pack("[i,i,i]", s.x, s.y, s.z), err);
    if (!status) status = read_moves(p, json_object_get(line, "moves"), err);
    if (status) return status;
    if (!find_end(p, g))
        return kvf_fail(err, KVF_ERR_ARG, "after %u moves the game should %s", p->game->plies,
                        p->game->plies > g->max_plies ? "have ended" : "go on");
    status = must_be(line, "end", json_string(trigo_end_name(p->end)), err);
    return status ? status : must_be(line, "score", json_integer(trigo_played_score(p)), err);
}

kvf_status trigo_played_read(trigo_played **out, const trigo_generation *g, uint64_t index,
                             const char *line, size_t len, kvf_error *err)
{
    json_t *object;
    *out = NULL;
    kvf_status status = trigo_json_object(&object, line, len, err);
    if (status) return status;
    trigo_played *p;
    status = trigo_played_create(&p, g, index, err);
    if (!status) status = read_fields(p, g, object, err);
    json_decref(object);
    if (status) {
        trigo_played_destroy(p);
        return status;
    }
    *out = p;
    return KVF_OK;
}
