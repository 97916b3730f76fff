/* search.c - PUCT, one simulation after the other, and looking ahead of it.
 *
 *   walk      from the root to where a simulation ends
 *   need      what has to be known there before it counts
 *   count     it, if nothing is missing
 *   guess     else: ask for it, count a guess, and go on as if; then take the guesses back
 *
 * Positions are not kept. A simulation reads nodes only; where a question arises, the root's board
 * is copied and the path played on it. */
#include "trigo/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "rng.h"
#include "trigo/arena.h"

enum {
    MIN_BYTES = 1 << 16, /* of max_bytes */
    MAX_BATCH = 1 << 12,
    GUESSES_PER_ASK = 4, /* at most, looking ahead: many end where nothing is missing */
    UNTIMED = 1 << 12,   /* simulations between two looks at the clock */
};

/* A question that is out. */
typedef struct slot {
    trigo_ask ask;
    uint32_t node, moves_room;
    trigo_candidates *candidates;
    trigo_move *moves;
} slot;

/* A node before a guess was counted in it. */
typedef struct before {
    uint32_t node;
    double total;
} before;

struct trigo_search {
    trigo_search_options options;
    trigo_evaluator evaluator;
    void *root; /* the evaluator's */
    trigo_board *board, *scratch;
    trigo_arena arena;
    kvf_rng rng;
    trigo_search_stats stats;

    /* the walk */
    uint32_t depth, room;
    uint32_t *path;    /* [depth + 1] nodes */
    trigo_move *moves; /* [depth] */

    /* questions and guesses */
    slot *slots;      /* [options.batch] */
    trigo_ask **asks; /* [options.batch] */
    uint32_t n_asks;
    before *guessed; /* in the order of counting */
    uint32_t n_guessed, guessed_room;
};

/* ---- creation -------------------------------------------------------------------------------- */

static kvf_status check_options(const trigo_search_options *o, kvf_error *err)
{
    if (!(o->c_puct >= 0 && o->c_puct <= 1e6))
        return kvf_fail(err, KVF_ERR_ARG, "c_puct is %g, but should be from 0 to 1e6", o->c_puct);
    if (o->batch < 1 || o->batch > MAX_BATCH)
        return kvf_fail(err, KVF_ERR_ARG, "the batch is %u, but should be from 1 to %d", o->batch,
                        MAX_BATCH);
    if (!(o->noise_alpha >= 0 && o->noise_alpha <= 1e6) ||
        !(o->noise_share >= 0 && o->noise_share <= 1))
        return kvf_fail(err, KVF_ERR_ARG,
                        "noise of alpha %g and share %g; alpha should be from 0 to 1e6, the share "
                        "from 0 to 1",
                        o->noise_alpha, o->noise_share);
    if (!(o->temperature >= 0 && o->temperature <= 1e6))
        return kvf_fail(err, KVF_ERR_ARG, "the temperature is %g, but should be from 0 to 1e6",
                        o->temperature);
    if (o->max_bytes < MIN_BYTES)
        return kvf_fail(err, KVF_ERR_ARG, "%llu bytes for a search, but it should have %d",
                        (unsigned long long)o->max_bytes, MIN_BYTES);
    return KVF_OK;
}

static kvf_status create_slots(trigo_search *s, trigo_shape shape, kvf_error *err)
{
    for (uint32_t i = 0; i < s->options.batch; i++) {
        slot *t = &s->slots[i];
        kvf_status status = trigo_candidates_create(&t->candidates, shape, err);
        if (status) return status;
        t->ask.priors = kvf_array(trigo_cells(shape) + 1u, sizeof *t->ask.priors);
        if (!t->ask.priors) return kvf_fail(err, KVF_ERR_NOMEM, "room for priors");
        s->asks[i] = &t->ask;
    }
    return KVF_OK;
}

/* What is known of the root before anybody is asked. */
static void judge_root(trigo_search *s)
{
    trigo_node *root = s->arena.nodes;
    if (trigo_board_terminal(s->board, &root->value)) root->state |= TRIGO_TERMINAL | TRIGO_VALUED;
}

kvf_status trigo_search_create(trigo_search **out, const trigo_game *game,
                               const trigo_evaluator *evaluator,
                               const trigo_search_options *options, kvf_error *err)
{
    *out = NULL;
    kvf_status status = check_options(options, err);
    if (status) return status;
    trigo_search *s = kvf_array(1, sizeof *s);
    if (!s) return kvf_fail(err, KVF_ERR_NOMEM, "a search");
    s->options = *options;
    s->evaluator = *evaluator;
    kvf_rng_seed(&s->rng, options->seed);
    trigo_shape shape = game->board->shape;
    s->slots = kvf_array(options->batch, sizeof *s->slots);
    s->asks = kvf_array(options->batch, sizeof(trigo_ask *));
    if (!s->slots || !s->asks || !trigo_arena_init(&s->arena, options->max_bytes)) {
        status = kvf_fail(err, KVF_ERR_NOMEM, "a search with a batch of %u", options->batch);
        goto fail;
    }
    status = create_slots(s, shape, err);
    if (!status) status = trigo_board_create(&s->board, shape, err);
    if (!status) status = trigo_board_create(&s->scratch, shape, err);
    if (!status) status = s->evaluator.open(s->evaluator.state, game, &s->root, err);
    if (status) goto fail_before_root;
    trigo_board_copy(s->board, game->board);
    judge_root(s);
    *out = s;
    return KVF_OK;

fail_before_root:
    s->root = NULL;
fail:
    s->evaluator.close = NULL;
    trigo_search_destroy(s);
    return status;
}

void trigo_search_destroy(trigo_search *search)
{
    trigo_search *s = search;
    if (!s) return;
    if (s->evaluator.close) s->evaluator.close(s->evaluator.state, s->root);
    for (uint32_t i = 0; s->slots && i < s->options.batch; i++) {
        trigo_candidates_destroy(s->slots[i].candidates);
        kvf_free(s->slots[i].ask.priors);
        kvf_free(s->slots[i].moves);
    }
    kvf_free(s->slots);
    kvf_free(s->asks);
    trigo_board_destroy(s->board);
    trigo_board_destroy(s->scratch);
    trigo_arena_free(&s->arena);
    kvf_free(s->path);
    kvf_free(s->moves);
    kvf_free(s->guessed);
    kvf_free(s);
}

/* ---- walk ------------------------------------------------------------------------------------ */

/* The edge to take from a node. */
static uint32_t pick(const trigo_search *s, const trigo_node *n, double sign)
{
    const trigo_edge *edges = s->arena.edges + n->edges;
    double root = sqrt((double)n->visits + 1), best_u = -INFINITY;
    uint32_t best = 0, last = n->n_children < n->n_edges ? n->n_children + 1u : n->n_edges;
    for (uint32_t i = 0; i < last; i++) {
        const trigo_edge *e = &edges[i];
        const trigo_node *c = &s->arena.nodes[e->child];
        uint32_t visits = e->child ? c->visits : 0;
        double q = visits ? sign * (c->total / visits) : 0;
        double u = q + s->options.c_puct * e->prior * root / (1.0 + visits);
        if (u > best_u || (u == best_u && e->move < edges[best].move)) {
            best_u = u;
            best = i;
        }
    }
    return best;
}

static bool reserve_depth(trigo_search *s)
{
    if (s->depth + 1 < s->room) return true;
    uint32_t room = s->room ? 2 * s->room : 64;
    uint32_t *path = kvf_resize(s->path, room, sizeof *path);
    if (path) s->path = path;
    trigo_move *moves = kvf_resize(s->moves, room, sizeof *moves);
    if (moves) s->moves = moves;
    if (path && moves) s->room = room;
    return path && moves;
}

/* Whether all priors count the same, so that candidates are tried in their order. */
static bool by_move(const trigo_search *s)
{
    return s->options.c_puct == 0;
}

/* Go from the root to the first node that has no edges or was not counted yet. If a child finds no
 * room, its parent is where the walk ends. */
static bool walk(trigo_search *s)
{
    s->depth = 0;
    if (!reserve_depth(s)) return false;
    s->path[0] = 0;
    double sign = s->board->now.to_move == TRIGO_WHITE ? 1 : -1;
    for (uint32_t node = 0;; sign = -sign) {
        const trigo_node *n = &s->arena.nodes[node];
        if (!(n->state & TRIGO_EXPANDED) || !n->visits) return true;
        const trigo_edge *e = &s->arena.edges[n->edges + pick(s, n, sign)];
        trigo_move move = e->move;
        uint32_t child = e->child;
        if (!child) child = trigo_arena_child(&s->arena, node, by_move(s));
        if (!child) return true;
        s->moves[s->depth++] = move;
        if (!reserve_depth(s)) return false;
        s->path[s->depth] = node = child;
    }
}

static trigo_node *end_of(const trigo_search *s)
{
    return &s->arena.nodes[s->path[s->depth]];
}

/* Put the position at the end of some moves on the scratch board. */
static void replay(trigo_search *s, const trigo_move *moves, uint32_t n)
{
    trigo_board_copy(s->scratch, s->board);
    for (uint32_t i = 0; i < n; i++) trigo_board_play(s->scratch, moves[i], NULL);
}

/* ---- questions ------------------------------------------------------------------------------- */

typedef enum need { NOTHING, VALUE, PRIORS } need;

/* What has to be known before a simulation that ends here can be counted. The position is on the
 * scratch board if it is something. */
static need needed(trigo_search *s)
{
    trigo_node *n = end_of(s);
    if (n->state & (TRIGO_TERMINAL | TRIGO_EXPANDED)) return NOTHING;
    if ((n->state & TRIGO_VALUED) && (s->arena.full || (!n->visits && !s->options.eager)))
        return NOTHING;
    if (n->state & TRIGO_ASKED) return n->state & TRIGO_VALUED ? PRIORS : VALUE;
    replay(s, s->moves, s->depth);
    if (n->state & TRIGO_VALUED) return PRIORS;
    if (!trigo_board_terminal(s->scratch, &n->value)) return VALUE;
    n->state |= TRIGO_TERMINAL | TRIGO_VALUED;
    return NOTHING;
}

/* Ask for what is needed at the end of the walk; the position is on the scratch board. Priors of
 * the root are needed in any case, so they are asked for with its value. */
static bool ask(trigo_search *s, need what, bool priors_too)
{
    slot *t = &s->slots[s->n_asks];
    trigo_node *n = end_of(s);
    if (s->depth > t->moves_room) {
        trigo_move *moves = kvf_resize(t->moves, s->room, sizeof *moves);
        if (!moves) return false;
        t->moves = moves;
        t->moves_room = s->room;
    }
    if (s->depth) memcpy(t->moves, s->moves, s->depth * sizeof *t->moves);
    t->node = s->path[s->depth];
    t->ask.root = s->root;
    t->ask.moves = t->moves;
    t->ask.n_moves = s->depth;
    t->ask.note = n->note;
    t->ask.note_before = s->depth ? s->arena.nodes[s->path[s->depth - 1]].note : 0;
    t->ask.want_value = what == VALUE;
    t->ask.candidates = NULL;
    if (what == PRIORS || priors_too) {
        trigo_candidates_list(t->candidates, s->scratch);
        t->ask.candidates = t->candidates;
        s->stats.priors++;
    }
    s->stats.values += what == VALUE;
    n->state |= TRIGO_ASKED;
    s->n_asks++;
    return true;
}

/* ---- answers --------------------------------------------------------------------------------- */

/* Gamma-distributed with scale 1: George Marsaglia and Wai Wan Tsang, "A simple method for
 * generating gamma variables", 2000; below 1 by the usual power of a uniform variable. */
static double gamma_variable(kvf_rng *rng, double alpha)
{
    double boost = 1;
    if (alpha < 1) {
        boost = pow(1 - kvf_rng_uniform(rng), 1 / alpha);
        alpha += 1;
    }
    double d = alpha - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        double x = kvf_rng_normal(rng), v = 1 + c * x;
        if (v <= 0) continue;
        v = v * v * v;
        if (log(1 - kvf_rng_uniform(rng)) < 0.5 * x * x + d - d * v + d * log(v))
            return d * v * boost;
    }
}

/* Where something about a move is in an array of [cells + 1]. */
static uint32_t place_of(const trigo_search *s, trigo_move move)
{
    return move < s->board->cells ? move : s->board->cells;
}

/* Mix Dirichlet noise into the root's priors. It is drawn in order of moves: the order of edges
 * depends on which children were looked at ahead. No question is out or unread, so that the first
 * one's room is free. */
static void add_noise(trigo_search *s)
{
    const trigo_node *root = s->arena.nodes;
    trigo_edge *edges = s->arena.edges + root->edges;
    double share = s->options.noise_share, sum = 0, *noise = s->slots[0].ask.priors;
    if (!(root->state & TRIGO_EXPANDED) || s->options.noise_alpha == 0) return;
    for (uint32_t i = 0; i <= s->board->cells; i++) noise[i] = -1;
    for (uint32_t i = 0; i < root->n_edges; i++) noise[place_of(s, edges[i].move)] = 0;
    for (uint32_t i = 0; i <= s->board->cells; i++) {
        if (noise[i] < 0) continue;
        noise[i] = gamma_variable(&s->rng, s->options.noise_alpha);
        sum += noise[i];
    }
    for (uint32_t i = 0; i < root->n_edges; i++) {
        double n = sum > 0 ? noise[place_of(s, edges[i].move)] / sum : 1.0 / root->n_edges;
        edges[i].prior = (float)((1 - share) * edges[i].prior + share * n);
    }
    trigo_arena_order(&s->arena, 0, by_move(s));
}

static void take_answer(trigo_search *s, uint32_t node, const trigo_ask *a)
{
    trigo_node *n = &s->arena.nodes[node];
    n->state &= (uint8_t)~TRIGO_ASKED;
    n->note = a->note;
    if (a->out_of_context) {
        replay(s, a->moves, a->n_moves);
        n->value = trigo_area_value(trigo_board_area(s->scratch));
        n->state |= TRIGO_TERMINAL | TRIGO_OUTSIDE | TRIGO_VALUED;
        return;
    }
    if (a->want_value) {
        n->value = a->value;
        n->state |= TRIGO_VALUED;
    }
    if (!a->candidates) return;
    bool fits = trigo_arena_expand(&s->arena, node, a->candidates->move, a->priors,
                                   a->candidates->n, by_move(s));
    if (fits && !node) add_noise(s);
}

void trigo_search_forget(trigo_search *search)
{
    for (uint32_t i = 0; i < search->n_asks; i++)
        search->arena.nodes[search->slots[i].node].state &= (uint8_t)~TRIGO_ASKED;
    search->n_asks = 0;
}

void trigo_search_set_root(trigo_search *search, const trigo_ask *answered)
{
    if (!(search->arena.nodes->state & TRIGO_VALUED)) take_answer(search, 0, answered);
}

/* ---- counting and guessing ------------------------------------------------------------------- */

static void count(trigo_search *s, double value)
{
    for (uint32_t i = 0; i <= s->depth; i++) {
        trigo_node *n = &s->arena.nodes[s->path[i]];
        n->visits++;
        n->total += value;
    }
}

/* Until the answer comes, a position is taken to be worth what its parent was found to be worth
 * so far. */
static double guess(const trigo_search *s)
{
    const trigo_node *n = end_of(s);
    if (n->state & TRIGO_VALUED) return n->value;
    const trigo_node *parent = &s->arena.nodes[s->path[s->depth - 1]];
    return parent->visits ? parent->total / parent->visits : parent->value;
}

static bool count_guess(trigo_search *s)
{
    uint32_t need_room = s->n_guessed + s->depth + 1;
    if (need_room > s->guessed_room) {
        before *bigger = kvf_resize(s->guessed, 2 * need_room, sizeof *bigger);
        if (!bigger) return false;
        s->guessed = bigger;
        s->guessed_room = 2 * need_room;
    }
    for (uint32_t i = 0; i <= s->depth; i++) {
        uint32_t node = s->path[i];
        s->guessed[s->n_guessed++] = (before){node, s->arena.nodes[node].total};
    }
    count(s, guess(s));
    return true;
}

static void take_back_guesses(trigo_search *s)
{
    while (s->n_guessed) {
        const before *b = &s->guessed[--s->n_guessed];
        s->arena.nodes[b->node].visits--;
        s->arena.nodes[b->node].total = b->total;
    }
}

/* Simulate until answers are missing, then ask and guess until the batch is full. With guesses
 * counted, everything is one. False: no memory for the path. */
static bool simulate(trigo_search *s, uint32_t visits)
{
    uint32_t guesses = 0, most = GUESSES_PER_ASK * s->options.batch;
    while (s->arena.nodes->visits < visits) {
        if (!walk(s)) return false;
        need what = needed(s);
        if (what == NOTHING && !s->n_asks) {
            count(s, end_of(s)->value);
            s->stats.simulations++;
            if (s->depth > s->stats.depth) s->stats.depth = s->depth;
            continue;
        }
        if (what != NOTHING && !(end_of(s)->state & TRIGO_ASKED) &&
            !ask(s, what, !s->depth && visits > 1))
            return false;
        if (s->n_asks == s->options.batch || !s->depth || ++guesses > most) break;
        if (!count_guess(s)) break;
    }
    return true;
}

kvf_status trigo_search_next(trigo_search *search, uint32_t visits, trigo_ask *const **asks,
                             size_t *n, kvf_error *err)
{
    trigo_search *s = search;
    for (uint32_t i = 0; i < s->n_asks; i++) take_answer(s, s->slots[i].node, &s->slots[i].ask);
    s->n_asks = 0;
    bool ok = simulate(s, visits);
    take_back_guesses(s);
    if (!ok) {
        trigo_search_forget(s);
        return kvf_fail(err, KVF_ERR_NOMEM, "a path of %u moves", s->depth);
    }
    s->stats.calls += s->n_asks > 0;
    *asks = s->asks;
    *n = s->n_asks;
    return KVF_OK;
}

/* Answer what is asked until the root has so many visits, or the time is over. */
static kvf_status run_until(trigo_search *s, uint32_t visits, double end, kvf_error *err)
{
    for (;;) {
        trigo_ask *const *asks;
        size_t n;
        kvf_status status = trigo_search_next(s, visits, &asks, &n, err);
        if (status || !n) return status;
        double asked = kvf_now();
        status = s->evaluator.ask(s->evaluator.state, asks, n, err);
        double now = kvf_now();
        s->stats.asking_s += now - asked;
        if (status) trigo_search_forget(s);
        if (status || now >= end) return status;
    }
}

kvf_status trigo_search_run(trigo_search *search, uint32_t visits, double seconds, kvf_error *err)
{
    double end = seconds > 0 ? kvf_now() + seconds : INFINITY;
    uint32_t *now = &search->arena.nodes->visits;
    while (*now < visits && (end == INFINITY || kvf_now() < end)) {
        /* Not every simulation asks, so the clock is looked at in between. */
        uint32_t target = visits - *now > UNTIMED && end < INFINITY ? *now + UNTIMED : visits;
        kvf_status status = run_until(search, target, end, err);
        if (status) return status;
        now = &search->arena.nodes->visits;
    }
    trigo_ask *const *asks; /* what came after the time was over still counts */
    size_t n;
    return trigo_search_next(search, *now, &asks, &n, err);
}

/* ---- results --------------------------------------------------------------------------------- */

trigo_search_root trigo_search_get_root(const trigo_search *search)
{
    const trigo_node *root = search->arena.nodes;
    return (trigo_search_root){.visits = root->visits,
                               .total = root->total,
                               .value = root->value,
                               .terminal = root->state & TRIGO_TERMINAL,
                               .out_of_context = root->state & TRIGO_OUTSIDE,
                               .moves = root->n_edges};
}

static int compare_moves(const void *a, const void *b)
{
    const trigo_search_child *x = a, *y = b;
    return (x->move > y->move) - (x->move < y->move);
}

void trigo_search_children(const trigo_search *search, trigo_search_child *children)
{
    const trigo_node *root = search->arena.nodes;
    for (uint32_t i = 0; i < root->n_edges; i++) {
        const trigo_edge *e = &search->arena.edges[root->edges + i];
        const trigo_node *c = &search->arena.nodes[e->child];
        children[i] = (trigo_search_child){.move = e->move, .prior = e->prior};
        if (e->child) {
            children[i].visits = c->visits;
            children[i].total = c->total;
        }
    }
    qsort(children, root->n_edges, sizeof *children, compare_moves);
}

static uint32_t child_visits(const trigo_search *s, uint32_t i)
{
    const trigo_edge *e = &s->arena.edges[s->arena.nodes->edges + i];
    return e->child ? s->arena.nodes[e->child].visits : 0;
}

trigo_move trigo_search_best(const trigo_search *search)
{
    const trigo_node *root = search->arena.nodes;
    uint32_t most = 0;
    trigo_move best = TRIGO_NONE;
    for (uint32_t i = 0; i < root->n_edges; i++) {
        trigo_move move = search->arena.edges[root->edges + i].move;
        uint32_t visits = child_visits(search, i);
        if (visits > most || (visits == most && move < best)) {
            most = visits;
            best = move;
        }
    }
    return best;
}

/* The power of a child's share of the visits, which choices are made by. */
static double weight(const trigo_search *s, const trigo_search_child *child, uint32_t most)
{
    return pow((double)child->visits / most, 1 / s->options.temperature);
}

trigo_move trigo_search_choose(trigo_search *search)
{
    trigo_search *s = search;
    const trigo_node *root = s->arena.nodes;
    trigo_move best = trigo_search_best(s), chosen = TRIGO_NONE;
    if (best == TRIGO_NONE || s->board->now.ply >= s->options.temperature_plies ||
        s->options.temperature == 0)
        return best;
    trigo_search_child *children = kvf_array(root->n_edges, sizeof *children);
    if (!children) return best;
    trigo_search_children(s, children);
    uint32_t most = 0;
    for (uint32_t i = 0; i < root->n_edges; i++)
        if (children[i].visits > most) most = children[i].visits;
    double sum = 0;
    for (uint32_t i = 0; most && i < root->n_edges; i++) sum += weight(s, &children[i], most);
    double at = sum * kvf_rng_uniform(&s->rng);
    for (uint32_t i = 0; most && i < root->n_edges && chosen == TRIGO_NONE; i++) {
        at -= weight(s, &children[i], most);
        if (at < 0) chosen = children[i].move;
    }
    kvf_free(children);
    return chosen == TRIGO_NONE ? best : chosen;
}

kvf_status trigo_search_play(trigo_search *search, trigo_move move, kvf_error *err)
{
    trigo_search *s = search;
    trigo_search_forget(s);
    trigo_board_copy(s->scratch, s->board);
    trigo_verdict verdict = trigo_board_play(s->scratch, move, NULL);
    if (verdict) return kvf_fail(err, KVF_ERR_ARG, "the move %s", trigo_verdict_text(verdict));
    const trigo_node *root = s->arena.nodes;
    const trigo_edge *e = s->arena.edges + root->edges;
    uint32_t child = 0;
    for (uint32_t i = 0; i < root->n_children; i++)
        if (e[i].move == move) child = e[i].child;
    uint64_t note = child ? s->arena.nodes[child].note : 0;
    kvf_status status = s->evaluator.play(s->evaluator.state, s->root, move, note, err);
    if (status) return status;
    trigo_board_copy(s->board, s->scratch);
    trigo_arena_keep(&s->arena, child);
    judge_root(s);
    add_noise(s);
    return KVF_OK;
}

trigo_search_stats trigo_search_get_stats(const trigo_search *search)
{
    trigo_search_stats stats = search->stats;
    stats.nodes = search->arena.n_nodes;
    stats.edges = search->arena.n_edges;
    stats.bytes = trigo_arena_bytes(&search->arena);
    stats.full = search->arena.full;
    return stats;
}
