/* player.c - names of players, and how each kind comes to a move.
 *
 *   kind     text -> options and an open model
 *   follow   the game as it is now -> the search at its position
 *   choose   search, or one evaluation */
#include "trigo/player.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "rng.h"

struct trigo_kind {
    char *text, *parts; /* parts: the same, cut into pieces that options point to */
    trigo_network_options network;
    kvf_model *model; /* NULL: the uniform evaluator */
    uint32_t sims;    /* 0: no search */
    double seconds;   /* 0: no limit */
    trigo_search_options search;
};

struct trigo_player {
    const trigo_kind *kind;
    trigo_policy *policy; /* NULL: uniform */
    trigo_evaluator evaluator;
    uint64_t seed;

    /* where the search is */
    trigo_search *search; /* NULL: nowhere */
    trigo_shape shape;
    trigo_move *moves; /* [plies] of its game */
    uint32_t plies, moves_room;

    trigo_search_child *children; /* [n_children] */
    uint32_t n_children, children_room;
};

/* ---- kinds ----------------------------------------------------------------------------------- */

enum { MAX_SIMS = 1000000000 };

/* Options of a player beyond the network's. */
static const struct own {
    const char *name;
    double least, most;
    bool whole;
} owns[] = {
    {"sims", 0, MAX_SIMS, true},    {"time", 1e-3, 86400, false},
    {"temperature", 0, 1e6, false}, {"temperature-plies", 0, 1e9, true},
    {"c-puct", 0, 1e6, false},      {"batch", 1, 4096, true},
    {"noise", 0, 1e6, false},       {"noise-share", 0, 1, false},
};
enum { SIMS, TIME, TEMPERATURE, TEMPERATURE_PLIES, C_PUCT, BATCH, NOISE, NOISE_SHARE, OWNS };

static void set_own(trigo_kind *k, size_t i, double v)
{
    switch (i) {
    case SIMS: k->sims = (uint32_t)v; break;
    case TIME: k->seconds = v; break;
    case TEMPERATURE: k->search.temperature = v; break;
    case TEMPERATURE_PLIES: k->search.temperature_plies = (uint32_t)v; break;
    case C_PUCT: k->search.c_puct = v; break;
    case BATCH: k->search.batch = (uint32_t)v; break;
    case NOISE: k->search.noise_alpha = v; break;
    default: k->search.noise_share = v;
    }
}

static kvf_status read_own(trigo_kind *k, size_t i, const char *value, kvf_error *err)
{
    const struct own *o = &owns[i];
    double v = 0;
    bool good = value && trigo_parse_real(value, o->least, o->most, &v);
    if (good && o->whole) good = v == floor(v);
    if (i == SIMS && v == 1) good = false; /* the root itself would be all that is looked at */
    if (!good)
        return kvf_fail(err, KVF_ERR_ARG, "%s should be %s from %g to %g%s", o->name,
                        o->whole ? "a whole number" : "a number", o->least, o->most,
                        i == SIMS ? ", but not 1" : "");
    set_own(k, i, v);
    return KVF_OK;
}

/* Options of the network have the names that they have on command lines. */
static kvf_status read_network(trigo_kind *k, const char *name, const char *value, kvf_error *err)
{
    static const struct option longs[] = {TRIGO_NETWORK_LONGS, {0}};
    for (const struct option *o = longs; o->name; o++) {
        if (strcmp(name, o->name) || o->val == TRIGO_OPTION_MODELS) continue;
        if (!k->network.models)
            return kvf_fail(err, KVF_ERR_ARG, "%s is an option of networks, but this has none",
                            name);
        bool needs_value = o->has_arg == required_argument;
        if (needs_value == (value != NULL) && trigo_network_option(&k->network, o->val, value))
            return KVF_OK;
        if (!needs_value) return kvf_fail(err, KVF_ERR_ARG, "%s takes no value", name);
        return kvf_fail(err, KVF_ERR_ARG, "%s cannot be '%s'", name, value ? value : "");
    }
    return kvf_fail(err, KVF_ERR_ARG, "there is no option '%s'", name);
}

static kvf_status read_options(trigo_kind *k, char *options, kvf_error *err)
{
    bool given[OWNS] = {0};
    for (char *option; (option = strsep(&options, ",")) != NULL;) {
        char *value = option, *name = strsep(&value, "=");
        size_t i = 0;
        while (i < OWNS && strcmp(name, owns[i].name)) i++;
        kvf_status status =
            i < OWNS ? read_own(k, i, value, err) : read_network(k, name, value, err);
        if (status) return status;
        if (i < OWNS) given[i] = true;
    }
    if (given[TIME] && !given[SIMS]) k->sims = MAX_SIMS;
    if (given[TEMPERATURE] && !given[TEMPERATURE_PLIES]) k->search.temperature_plies = UINT32_MAX;
    if (given[TEMPERATURE_PLIES] && !given[TEMPERATURE])
        return kvf_fail(err, KVF_ERR_ARG, "temperature-plies comes without a temperature");
    return KVF_OK;
}

static kvf_status read_parts(trigo_kind *k, kvf_error *err)
{
    char *colon = strrchr(k->parts, ':'), *options = NULL;
    if (colon) {
        *colon = '\0';
        options = colon[1] ? colon + 1 : NULL;
    }
    k->sims = TRIGO_PLAYER_SIMS;
    k->search = TRIGO_SEARCH_DEFAULTS;
    k->search.temperature = 0;
    if (!k->parts[0]) return kvf_fail(err, KVF_ERR_ARG, "random, uniform or a folder is missing");
    if (!strcmp(k->parts, "random")) {
        if (options) return kvf_fail(err, KVF_ERR_ARG, "random has no options");
        k->sims = 0;
        k->search.temperature = 1;
        k->search.temperature_plies = UINT32_MAX;
    } else if (strcmp(k->parts, "uniform")) {
        k->network.models = k->parts;
    }
    return options ? read_options(k, options, err) : KVF_OK;
}

kvf_status trigo_kind_read(trigo_kind **out, const char *text, kvf_error *err)
{
    *out = NULL;
    trigo_kind *k = kvf_array(1, sizeof *k);
    if (!k) return kvf_fail(err, KVF_ERR_NOMEM, "a player");
    k->text = kvf_copy_string(text);
    k->parts = kvf_copy_string(text);
    kvf_status status =
        k->text && k->parts ? read_parts(k, err) : kvf_fail(err, KVF_ERR_NOMEM, "a player's name");
    if (status) {
        trigo_kind_close(k);
        return kvf_prefix(err, status, "player '%.100s': ", text);
    }
    *out = k;
    return KVF_OK;
}

kvf_status trigo_kind_open(trigo_kind *kind, uint32_t threads, kvf_error *err)
{
    const trigo_network_options *n = &kind->network;
    if (!n->models) return KVF_OK;
    kvf_model_options o = n->model;
    o.struct_size = sizeof o;
    if (!o.threads) o.threads = threads;
    trigo_set set = n->set;
    return trigo_models_open(&kind->model, n->models, &set, &o, err);
}

void trigo_kind_close(trigo_kind *kind)
{
    if (!kind) return;
    kvf_model_close(kind->model);
    kvf_free(kind->text);
    kvf_free(kind->parts);
    kvf_free(kind);
}

const char *trigo_kind_text(const trigo_kind *kind)
{
    return kind->text;
}

/* ---- players --------------------------------------------------------------------------------- */

kvf_status trigo_player_create(trigo_player **out, const trigo_kind *kind, kvf_error *err)
{
    *out = NULL;
    trigo_player *p = kvf_array(1, sizeof *p);
    if (!p) return kvf_fail(err, KVF_ERR_NOMEM, "a player");
    p->kind = kind;
    p->evaluator = trigo_uniform();
    if (kind->model) {
        kvf_status status =
            trigo_policy_create(&p->policy, kind->model, &kind->network.policy, err);
        if (status) {
            trigo_player_destroy(p);
            return status;
        }
        p->evaluator = trigo_policy_evaluator(p->policy);
    }
    *out = p;
    return KVF_OK;
}

static void leave(trigo_player *p)
{
    trigo_search_destroy(p->search);
    p->search = NULL;
    p->plies = p->n_children = 0;
}

void trigo_player_destroy(trigo_player *player)
{
    if (!player) return;
    leave(player);
    trigo_policy_destroy(player->policy);
    kvf_free(player->moves);
    kvf_free(player->children);
    kvf_free(player);
}

void trigo_player_begin(trigo_player *player, uint64_t seed)
{
    leave(player);
    player->seed = seed;
}

/* ---- following the game ---------------------------------------------------------------------- */

/* Whether the search's game is how this one began. */
static bool began_so(const trigo_player *p, const trigo_game *game)
{
    const trigo_shape a = p->shape, b = game->board->shape;
    if (!p->search || a.x != b.x || a.y != b.y || a.z != b.z || p->plies > game->plies)
        return false;
    for (uint32_t i = 0; i < p->plies; i++)
        if (p->moves[i] != game->steps[i].move) return false;
    return true;
}

static kvf_status note_moves(trigo_player *p, const trigo_game *game, kvf_error *err)
{
    if (game->plies > p->moves_room) {
        uint32_t room = 2 * game->plies;
        trigo_move *moves = kvf_resize(p->moves, room, sizeof *moves);
        if (!moves) return kvf_fail(err, KVF_ERR_NOMEM, "a game of %u plies", game->plies);
        p->moves = moves;
        p->moves_room = room;
    }
    for (; p->plies < game->plies; p->plies++) p->moves[p->plies] = game->steps[p->plies].move;
    return KVF_OK;
}

/* Bring the search to the game's position; its tree stays where it can. */
static kvf_status follow(trigo_player *p, const trigo_game *game, kvf_error *err)
{
    kvf_status status = KVF_OK;
    if (began_so(p, game)) {
        for (uint32_t i = p->plies; i < game->plies && !status; i++)
            status = trigo_search_play(p->search, game->steps[i].move, err);
    } else {
        leave(p);
        trigo_search_options o = p->kind->search;
        o.seed = kvf_rng_derive(p->seed, game->plies);
        p->shape = game->board->shape;
        status = trigo_search_create(&p->search, game, &p->evaluator, &o, err);
    }
    if (!status) status = note_moves(p, game, err);
    if (status) leave(p); /* it may have followed half the way */
    return status;
}

/* ---- choosing -------------------------------------------------------------------------------- */

static kvf_status reserve_children(trigo_player *p, uint32_t n, kvf_error *err)
{
    p->n_children = 0;
    if (n > p->children_room) {
        trigo_search_child *children = kvf_resize(p->children, n, sizeof *children);
        if (!children) return kvf_fail(err, KVF_ERR_NOMEM, "%u candidates", n);
        p->children = children;
        p->children_room = n;
    }
    p->n_children = n;
    return KVF_OK;
}

/* The likeliest candidate, the first on a tie; or one drawn with probability ~ P^(1/temperature). */
static trigo_move draw(const trigo_player *p, const trigo_game *game)
{
    const trigo_search_options *o = &p->kind->search;
    double most = 0, sum = 0;
    uint32_t best = 0, n = p->n_children;
    for (uint32_t i = 0; i < n; i++)
        if (p->children[i].prior > most) most = p->children[best = i].prior;
    if (game->plies >= o->temperature_plies || o->temperature == 0) return p->children[best].move;
    for (uint32_t i = 0; i < n; i++) sum += pow(p->children[i].prior / most, 1 / o->temperature);
    kvf_rng rng;
    kvf_rng_seed(&rng, kvf_rng_derive(p->seed, game->plies));
    double at = sum * kvf_rng_uniform(&rng);
    for (uint32_t i = 0; i < n; i++) {
        at -= pow(p->children[i].prior / most, 1 / o->temperature);
        if (at < 0) return p->children[i].move;
    }
    return p->children[best].move;
}

static kvf_status choose_at_once(trigo_player *p, const trigo_game *game, trigo_choice *c,
                                 kvf_error *err)
{
    trigo_evaluation e;
    kvf_status status = trigo_evaluate(&e, &p->evaluator, game, err);
    if (status) return status;
    c->out_of_context = e.ask.out_of_context;
    c->value = e.ask.value;
    if (!c->out_of_context) status = reserve_children(p, e.candidates->n, err);
    for (uint32_t i = 0; i < p->n_children; i++)
        p->children[i] =
            (trigo_search_child){.move = e.candidates->move[i], .prior = e.ask.priors[i]};
    trigo_evaluation_free(&e);
    if (!status && !c->out_of_context) c->move = draw(p, game);
    return status;
}

static kvf_status choose_by_search(trigo_player *p, const trigo_game *game, double seconds,
                                   trigo_choice *c, kvf_error *err)
{
    kvf_status status = follow(p, game, err);
    /* Whatever the clock says, two visits: then the candidates are known. */
    if (!status) status = trigo_search_run(p->search, 2, 0, err);
    if (!status) status = trigo_search_run(p->search, p->kind->sims, seconds, err);
    if (status) return status;
    trigo_search_root root = trigo_search_get_root(p->search);
    c->value = root.visits ? root.total / root.visits : root.value;
    c->visits = root.visits;
    c->out_of_context = root.out_of_context;
    c->decided = root.terminal && !root.out_of_context;
    if (root.terminal) {
        c->move = c->decided ? TRIGO_PASS : TRIGO_NONE;
        return KVF_OK;
    }
    status = reserve_children(p, root.moves, err);
    if (status) return status;
    if (!root.moves) return kvf_fail(err, KVF_ERR_NOMEM, "a search of a position this large");
    trigo_search_children(p->search, p->children);
    c->move = trigo_search_choose(p->search);
    return KVF_OK;
}

kvf_status trigo_player_choose(trigo_player *player, const trigo_game *game, double seconds,
                               trigo_choice *choice, kvf_error *err)
{
    const trigo_kind *k = player->kind;
    *choice = (trigo_choice){.move = TRIGO_NONE};
    player->n_children = 0;
    if (trigo_board_ended(game->board)) return kvf_fail(err, KVF_ERR_ARG, "the game has ended");
    if (!k->sims) return choose_at_once(player, game, choice, err);
    if (k->seconds && (!seconds || k->seconds < seconds)) seconds = k->seconds;
    return choose_by_search(player, game, seconds, choice, err);
}

const trigo_search_child *trigo_player_children(const trigo_player *player, uint32_t *n)
{
    *n = player->n_children;
    return player->children;
}
