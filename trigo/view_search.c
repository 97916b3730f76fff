/* view_search.c - what a search says of every position of a game. */
#include "trigo/view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "trigo/search.h"

/* Priors that are too small to be seen are not worth their place in a page. */
static const double LEAST_PRIOR = 0.0005;

static kvf_status take_moves(trigo_view_position *p, const trigo_search *s, uint32_t n,
                             kvf_error *err)
{
    trigo_search_child *found = kvf_array(n + 1u, sizeof *found);
    trigo_view_move *moves = kvf_array(n + 1u, sizeof *moves);
    kvf_free(p->moves);
    p->moves = moves;
    p->n = 0;
    if (found && moves) trigo_search_children(s, found);
    for (uint32_t i = 0; found && moves && i < n; i++)
        if (found[i].visits || found[i].prior >= LEAST_PRIOR)
            moves[p->n++] =
                (trigo_view_move){.move = found[i].move,
                                  .visits = found[i].visits,
                                  .prior = found[i].prior,
                                  .value = found[i].visits ? found[i].total / found[i].visits
                                                           : (double)NAN};
    kvf_free(found);
    return found && moves ? KVF_OK : kvf_fail(err, KVF_ERR_NOMEM, "a list of %u moves", n);
}

static kvf_status search_position(trigo_view_position *p, const trigo_game *game,
                                  const trigo_evaluator *evaluator, uint32_t simulations,
                                  kvf_error *err)
{
    trigo_search *s;
    trigo_search_options o = TRIGO_SEARCH_DEFAULTS;
    kvf_status status = trigo_search_create(&s, game, evaluator, &o, err);
    if (status) return status;
    status = trigo_search_run(s, simulations, 0, err);
    trigo_search_root root = trigo_search_get_root(s);
    if (!status) status = take_moves(p, s, root.moves, err);
    if (!status) {
        p->visits = root.visits;
        p->value = root.value;
        p->searched = root.visits ? root.total / root.visits : (double)NAN;
    }
    trigo_search_destroy(s);
    return status;
}

kvf_status trigo_view_search(trigo_view *view, const trigo_evaluator *evaluator,
                             uint32_t simulations, void (*progress)(uint32_t done, uint32_t of),
                             kvf_error *err)
{
    trigo_game *now;
    uint32_t plies = view->game->plies;
    kvf_status status = trigo_game_create(&now, view->game->board->shape, err);
    for (uint32_t i = 0; i <= plies && !status; i++) {
        status = search_position(&view->positions[i], now, evaluator, simulations, err);
        if (status) kvf_prefix(err, status, "after %u plies: ", i);
        if (!status && i < plies) status = trigo_game_play(now, view->game->steps[i].move, err);
        if (progress) progress(i + 1, plies + 1);
    }
    trigo_game_destroy(now);
    return status;
}
