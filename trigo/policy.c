/* policy.c - questions as entries of one batch, and logits as priors.
 *
 *   locate   where the path of a position goes on from: its own node, that of the position before,
 *            or the root's; and the tokens from there
 *   add      these tokens, VALUE and the candidates' tree as entries
 *   run      all questions in one kvf_eval; in two halves if they do not fit together
 *   take     handles, values, priors */
#include "trigo/policy.h"

#include <math.h>
#include <string.h>

#include "base.h"
#include "trigo/tgn.h"

/* The root position of a game. */
typedef struct root {
    trigo_shape shape;
    uint32_t ply, n_tokens, room;
    int32_t *tokens; /* [n_tokens] its prompt */
    kvf_node node;   /* its end, held; KVF_ROOT if it was not evaluated yet */
} root;

/* Where the entries of a question are. */
typedef struct place {
    size_t prompt; /* the prompt's end */
    size_t tree;   /* the candidates' first node */
    size_t value;
    size_t logits, values; /* rows of outputs */
} place;

struct trigo_policy {
    kvf_tree *tree;
    uint32_t context; /* 0: unlimited */
    kvf_entry *entries;
    kvf_node *nodes;
    size_t n, room; /* entries */
    int32_t *tokens;
    size_t tokens_room;
    place *places;
    size_t places_room;
    float *logits, *values;
    size_t n_logits, logits_room, n_values, values_room; /* rows */
    double *lse;    /* [logits_room] ln of the sum of exp of a row */
    double *scores; /* [scores_room] of paths to tree nodes, and of candidates */
    size_t scores_room;
};

/* Have room for n items of an array. */
static bool reserve(void *array, size_t *room, size_t n, size_t size)
{
    void *old, *bigger;
    memcpy(&old, array, sizeof old);
    if (n <= *room && old) return true;
    bigger = kvf_resize(old, 2 * n, size);
    if (!bigger) return false;
    memcpy(array, &bigger, sizeof bigger);
    *room = 2 * n;
    return true;
}

/* ---- creation -------------------------------------------------------------------------------- */

kvf_status trigo_policy_check(const kvf_model *model, kvf_error *err)
{
    const kvf_model_info *info = kvf_model_get_info(model);
    if (info->vocab != TRIGO_VOCAB || info->width[KVF_LOGITS] != TRIGO_VOCAB ||
        info->width[KVF_VALUE] != 1)
        return kvf_fail(err, KVF_ERR_MODEL,
                        "it has a vocabulary of %u, and %u logits and %u values for a token; a "
                        "model of this game has %d, and %d and 1",
                        info->vocab, info->width[KVF_LOGITS], info->width[KVF_VALUE], TRIGO_VOCAB,
                        TRIGO_VOCAB);
    if (info->context && info->context < TRIGO_PROMPT_START + TRIGO_AHEAD)
        return kvf_fail(err, KVF_ERR_MODEL,
                        "its context is %u tokens; a game needs %d before the first move",
                        info->context, TRIGO_PROMPT_START + TRIGO_AHEAD);
    return KVF_OK;
}

kvf_status trigo_policy_create(trigo_policy **out, const kvf_model *model,
                               const trigo_policy_options *options, kvf_error *err)
{
    *out = NULL;
    kvf_status status = trigo_policy_check(model, err);
    if (status) return status;
    trigo_policy *p = kvf_array(1, sizeof *p);
    if (!p) return kvf_fail(err, KVF_ERR_NOMEM, "a policy");
    p->context = kvf_model_get_info(model)->context;
    kvf_tree_options how = {.struct_size = sizeof how,
                            .max_tokens = options ? options->cache_tokens : 0,
                            .no_cache = options && options->no_cache};
    if (!how.max_tokens) how.max_tokens = TRIGO_CACHE_TOKENS;
    status = kvf_tree_create(&p->tree, model, &how, err);
    if (status) {
        trigo_policy_destroy(p);
        return status;
    }
    *out = p;
    return KVF_OK;
}

void trigo_policy_destroy(trigo_policy *policy)
{
    if (!policy) return;
    kvf_tree_destroy(policy->tree);
    kvf_free(policy->entries);
    kvf_free(policy->nodes);
    kvf_free(policy->tokens);
    kvf_free(policy->places);
    kvf_free(policy->logits);
    kvf_free(policy->values);
    kvf_free(policy->lse);
    kvf_free(policy->scores);
    kvf_free(policy);
}

const kvf_tree *trigo_policy_tree(const trigo_policy *policy)
{
    return policy->tree;
}

/* ---- roots ----------------------------------------------------------------------------------- */

static void close_root(void *state, void *of_game)
{
    trigo_policy *p = state;
    root *r = of_game;
    if (!r) return;
    if (r->node != KVF_ROOT) kvf_release(p->tree, r->node, NULL);
    kvf_free(r->tokens);
    kvf_free(r);
}

static kvf_status open_root(void *state, const trigo_game *game, void **of_game, kvf_error *err)
{
    *of_game = NULL;
    root *r = kvf_array(1, sizeof *r);
    if (!r) return kvf_fail(err, KVF_ERR_NOMEM, "a game");
    *r = (root){.shape = game->board->shape, .ply = game->plies, .node = KVF_ROOT};
    r->room = TRIGO_PROMPT_START + (game->plies + 1) * TRIGO_PROMPT_STEP;
    r->tokens = kvf_array(r->room, sizeof *r->tokens);
    if (!r->tokens) {
        close_root(state, r);
        return kvf_fail(err, KVF_ERR_NOMEM, "the prompt of %u plies", game->plies);
    }
    r->n_tokens = (uint32_t)trigo_prompt(game, r->tokens, r->room);
    *of_game = r;
    return KVF_OK;
}

/* The node of the new root is held before the old one is let go; what else lay below the old one
 * goes first when room is needed. */
static kvf_status play_root(void *state, void *of_game, trigo_move move, uint64_t note,
                            kvf_error *err)
{
    trigo_policy *p = state;
    root *r = of_game;
    if (r->room - r->n_tokens < TRIGO_PROMPT_STEP) {
        uint32_t room = 2 * r->room + TRIGO_PROMPT_STEP;
        int32_t *tokens = kvf_resize(r->tokens, room, sizeof *tokens);
        if (!tokens) return kvf_fail(err, KVF_ERR_NOMEM, "the prompt of %u plies", r->ply + 1);
        r->tokens = tokens;
        r->room = room;
    }
    r->n_tokens += (uint32_t)trigo_prompt_step(r->shape, r->ply++, move, r->tokens + r->n_tokens);
    kvf_node old = r->node;
    r->node = note && !kvf_hold(p->tree, note, NULL) ? note : KVF_ROOT;
    if (old == KVF_ROOT) return KVF_OK;
    kvf_status status = kvf_release(p->tree, old, err);
    return status ? status : kvf_discard(p->tree, old, err);
}

/* ---- locate ---------------------------------------------------------------------------------- */

/* Make tokens [n_moves steps] of the moves from the root that begins at ply. */
static size_t step_tokens(const root *r, const trigo_move *moves, uint32_t from, uint32_t n,
                          int32_t *tokens)
{
    size_t length = 0;
    for (uint32_t i = from; i < n; i++)
        length += trigo_prompt_step(r->shape, r->ply + i, moves[i], tokens + length);
    return length;
}

typedef struct start {
    kvf_node node;
    size_t n;        /* tokens from there: in policy.tokens */
    uint32_t length; /* of the whole prompt */
} start;

static kvf_status locate(trigo_policy *p, const trigo_ask *a, start *at, kvf_error *err)
{
    const root *r = a->root;
    size_t most = r->n_tokens + (size_t)a->n_moves * TRIGO_PROMPT_STEP;
    if (!reserve(&p->tokens, &p->tokens_room, most, sizeof *p->tokens))
        return kvf_fail(err, KVF_ERR_NOMEM, "a prompt of %zu tokens", most);
    uint32_t depth;
    kvf_node before = a->n_moves ? a->note_before : 0, own = a->n_moves ? a->note : r->node;
    if (own && !kvf_node_depth(p->tree, own, &depth, NULL)) {
        *at = (start){.node = own, .length = depth};
    } else if (before && !kvf_node_depth(p->tree, before, &depth, NULL)) {
        size_t n = step_tokens(r, a->moves, a->n_moves - 1, a->n_moves, p->tokens);
        *at = (start){.node = before, .n = n, .length = depth + (uint32_t)n};
    } else {
        size_t n = 0;
        if (r->node == KVF_ROOT) {
            memcpy(p->tokens, r->tokens, r->n_tokens * sizeof *p->tokens);
            n = r->n_tokens;
        }
        n += step_tokens(r, a->moves, 0, a->n_moves, p->tokens + n);
        uint32_t held = r->node == KVF_ROOT ? 0 : r->n_tokens;
        *at = (start){.node = r->node, .n = n, .length = held + (uint32_t)n};
    }
    return KVF_OK;
}

/* ---- add ------------------------------------------------------------------------------------- */

static size_t push(trigo_policy *p, int32_t token, int32_t after, kvf_node parent, uint32_t want)
{
    p->entries[p->n] = (kvf_entry){.token = token, .after = after, .parent = parent, .want = want};
    return p->n++;
}

/* The prompt from where it goes on. An end that is there already is named by its parent and token,
 * and only if its logits are wanted. */
static kvf_status add_prompt(trigo_policy *p, const start *at, uint32_t want, size_t *end,
                             kvf_error *err)
{
    int32_t after = -1;
    for (size_t i = 0; i < at->n; i++)
        after = (int32_t)push(p, p->tokens[i], after, at->node, i + 1 < at->n ? 0 : want);
    if (!at->n && want) {
        kvf_node parent;
        int32_t token;
        kvf_status status = kvf_node_parent(p->tree, at->node, &parent, err);
        if (!status) status = kvf_node_token(p->tree, at->node, &token, err);
        if (status) return status;
        after = (int32_t)push(p, token, -1, parent, want);
    }
    *end = after < 0 ? SIZE_MAX : (size_t)after;
    return KVF_OK;
}

static kvf_status add(trigo_policy *p, trigo_ask *a, place *where, kvf_error *err)
{
    const trigo_candidates *c = a->candidates;
    uint32_t logits = c ? KVF_WANT(KVF_LOGITS) : 0;
    start at = {0};
    kvf_status status = locate(p, a, &at, err);
    if (status) return status;
    a->out_of_context = p->context && at.length + TRIGO_AHEAD > p->context;
    if (a->out_of_context) return KVF_OK;
    size_t more = p->n + at.n + 2 + (c ? c->m : 0), room = p->room;
    if (!reserve(&p->entries, &room, more, sizeof *p->entries) ||
        !reserve(&p->nodes, &p->room, more, sizeof *p->nodes))
        return kvf_fail(err, KVF_ERR_NOMEM, "a batch of %zu tokens", more);
    a->note = at.node;
    status = add_prompt(p, &at, logits, &where->prompt, err);
    if (status) return status;
    int32_t end = where->prompt == SIZE_MAX ? -1 : (int32_t)where->prompt;
    where->logits = p->n_logits;
    where->values = p->n_values;
    if (a->want_value) {
        where->value = push(p, TRIGO_TOKEN_VALUE, end, at.node, KVF_WANT(KVF_VALUE));
        p->n_values++;
    }
    where->tree = p->n;
    for (uint32_t i = 0; c && i < c->m; i++) {
        int32_t after = c->parent[i] < 0 ? end : (int32_t)where->tree + c->parent[i];
        push(p, c->token[i], after, at.node, logits);
    }
    if (c) p->n_logits += 1 + c->m;
    return KVF_OK;
}

/* ---- take ------------------------------------------------------------------------------------ */

/* priors[i] = e^score[i] over the sum of all. */
static void softmax(const double *score, double *priors, size_t n)
{
    double most = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++) most = score[i] > most ? score[i] : most;
    for (size_t i = 0; i < n; i++) sum += priors[i] = exp(score[i] - most);
    for (size_t i = 0; i < n; i++) priors[i] /= sum;
}

static kvf_status no_number(const trigo_ask *a, const char *what, double got, kvf_error *err)
{
    const root *r = a->root;
    return kvf_fail(err, KVF_ERR_NAN, "the model's %s gives %g for the position after ply %u", what,
                    got, r->ply + a->n_moves);
}

static kvf_status take_priors(trigo_policy *p, const trigo_ask *a, const place *at, kvf_error *err)
{
    const trigo_candidates *c = a->candidates;
    const float *logits = p->logits + at->logits * TRIGO_VOCAB;
    double floor = log(1e-10), *path = p->scores, *score = a->scores ? a->scores : path + c->m;
    double *lse = p->lse;
    for (uint32_t i = 0; i <= c->m; i++) {
        lse[i] = kvf_log_sum_exp(logits + (size_t)i * TRIGO_VOCAB, TRIGO_VOCAB);
        if (!isfinite(lse[i])) return no_number(a, "policy head", lse[i], err);
    }
    for (uint32_t i = 0; i < c->m; i++) { /* row 0 is the prompt's end, 1 + i node i */
        uint32_t row = (uint32_t)(c->parent[i] + 1);
        double l = logits[(size_t)row * TRIGO_VOCAB + (uint32_t)c->token[i]] - lse[row];
        path[i] = (row ? path[row - 1] : 0) + (l > floor ? l : floor);
    }
    for (uint32_t i = 0; i < c->n; i++) {
        uint32_t row = (uint32_t)(c->leaf[i] + 1);
        double l = logits[(size_t)row * TRIGO_VOCAB + (uint32_t)c->last[i]] - lse[row];
        score[i] = (row ? path[row - 1] : 0) + (l > floor ? l : floor);
    }
    softmax(score, a->priors, c->n);
    return KVF_OK;
}

static kvf_status take(trigo_policy *p, trigo_ask *a, const place *at, kvf_error *err)
{
    root *r = a->root;
    if (a->out_of_context) return KVF_OK;
    if (at->prompt != SIZE_MAX) a->note = p->nodes[at->prompt];
    if (!a->n_moves && r->node == KVF_ROOT) {
        kvf_status status = kvf_hold(p->tree, a->note, err);
        if (status) return status;
        r->node = a->note;
    }
    if (a->want_value) {
        a->value = p->values[at->values];
        if (!isfinite(a->value)) return no_number(a, "value head", a->value, err);
        kvf_status status = kvf_discard(p->tree, p->nodes[at->value], err); /* nothing follows it */
        if (status) return status;
    }
    return a->candidates ? take_priors(p, a, at, err) : KVF_OK;
}

/* ---- run ------------------------------------------------------------------------------------- */

static kvf_status reserve_outputs(trigo_policy *p, trigo_ask *const *asks, size_t n, kvf_error *err)
{
    size_t scores = 0, room = p->logits_room;
    for (size_t i = 0; i < n; i++) {
        const trigo_candidates *c = asks[i]->candidates;
        if (c && (size_t)c->m + c->n > scores) scores = (size_t)c->m + c->n;
    }
    if (reserve(&p->logits, &room, p->n_logits + 1, TRIGO_VOCAB * sizeof *p->logits) &&
        reserve(&p->lse, &p->logits_room, p->n_logits + 1, sizeof *p->lse) &&
        reserve(&p->values, &p->values_room, p->n_values + 1, sizeof *p->values) &&
        reserve(&p->scores, &p->scores_room, scores + 1, sizeof *p->scores))
        return KVF_OK;
    return kvf_fail(err, KVF_ERR_NOMEM, "logits of %zu tokens", p->n_logits);
}

static kvf_status run(trigo_policy *p, trigo_ask *const *asks, size_t n, kvf_error *err)
{
    p->n = p->n_logits = p->n_values = 0;
    kvf_status status = KVF_OK;
    for (size_t i = 0; i < n && !status; i++) status = add(p, asks[i], &p->places[i], err);
    if (!status) status = reserve_outputs(p, asks, n, err);
    if (status || !p->n) return status;
    kvf_outputs out = {{p->logits, NULL, p->values, NULL}};
    status = kvf_eval(p->tree, p->entries, p->n, p->nodes, &out, err);
    for (size_t i = 0; i < n && !status; i++) status = take(p, asks[i], &p->places[i], err);
    return status;
}

/* What is asked together is in the cache together; if that is too much, less is. */
static kvf_status answer(void *state, trigo_ask *const *asks, size_t n, kvf_error *err)
{
    trigo_policy *p = state;
    if (!reserve(&p->places, &p->places_room, n, sizeof *p->places))
        return kvf_fail(err, KVF_ERR_NOMEM, "%zu questions", n);
    kvf_status status = run(p, asks, n, err);
    if (status != KVF_ERR_FULL || n < 2) return status;
    status = answer(p, asks, n / 2, err);
    return status ? status : answer(p, asks + n / 2, n - n / 2, err);
}

trigo_evaluator trigo_policy_evaluator(trigo_policy *policy)
{
    return (trigo_evaluator){
        .state = policy, .open = open_root, .close = close_root, .play = play_root, .ask = answer};
}
