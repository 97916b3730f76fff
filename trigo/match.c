/* match.c - games of two players on threads, counted in their order.
 *
 *   take      a thread takes the next number
 *   play      opening, then both players in turn, until the game ends or nobody waits for it
 *   count     what is done in order goes to the result; what is done early waits */
#include "trigo/match.h"

#include <pthread.h>

#include "base.h"
#include "rng.h"

enum { MAX_GAMES = 10000000, MAX_THREADS = 1024, MAX_PLIES = 1000000 };

typedef struct match {
    const trigo_match_options *o;
    trigo_match_result *result;
    atomic_bool over;     /* nobody waits for games that are not done */
    pthread_mutex_t lock; /* of all below */
    uint32_t next, counted;
    trigo_match_game *done; /* [games] a game is NULL before and after it waits */
    uint8_t *points;        /* [games] 1 + twice A's points; 0: not counted */
    kvf_status status;      /* the first failure */
    kvf_error err;
} match;

/* One thread, and whom it seats. */
typedef struct table {
    match *m;
    pthread_t thread;
    trigo_player *players[2]; /* A, B */
    trigo_move *drops;        /* [cells] */
} table;

/* ---- counting -------------------------------------------------------------------------------- */

static void count_pair(match *m, uint32_t number)
{
    const uint8_t *p = &m->points[number & ~1u];
    trigo_pairs *pairs = &m->result->pairs;
    if (!p[0] || !p[1]) return;
    pairs->n[p[0] - 1 + p[1] - 1]++;
    if (!m->o->sprt) return;
    trigo_sprt_state s = trigo_sprt_of(m->o->sprt, pairs);
    m->result->decided = s.llr <= s.lower || s.llr >= s.upper;
}

static void count_game(match *m, trigo_match_game *g)
{
    trigo_match_result *r = m->result;
    trigo_colour a = g->swapped ? TRIGO_WHITE : TRIGO_BLACK;
    uint32_t *cell = g->winner == TRIGO_EMPTY ? r->drawn : g->winner == a ? r->won : r->lost;
    cell[g->swapped]++;
    m->points[g->number] = g->winner == TRIGO_EMPTY ? 2 : g->winner == a ? 3 : 1;
    count_pair(m, g->number);
    if (m->o->played) m->status = m->o->played(m->o->user, g, r, &m->err);
    trigo_game_destroy(g->game);
    g->game = NULL;
}

/* Count what is done; all of it, or up to the first game that is not. */
static void count_done(match *m, bool all)
{
    for (; m->counted < m->o->games && !m->status && !m->result->decided; m->counted++) {
        trigo_match_game *g = &m->done[m->counted];
        if (g->game)
            count_game(m, g);
        else if (!all)
            return;
    }
    atomic_store(&m->over, true);
}

static void fail(match *m, kvf_status status, const kvf_error *err)
{
    pthread_mutex_lock(&m->lock);
    if (!m->status) {
        m->status = status;
        m->err = *err;
    }
    pthread_mutex_unlock(&m->lock);
    atomic_store(&m->over, true);
}

/* ---- one game -------------------------------------------------------------------------------- */

static bool stopped(const match *m)
{
    return (m->o->stop && atomic_load(m->o->stop)) || atomic_load(&m->over);
}

/* A few random drops, as long as the position is not decided by them. */
static kvf_status draw_opening(table *t, trigo_match_game *g, kvf_error *err)
{
    const trigo_match_options *o = t->m->o;
    kvf_rng rng;
    kvf_rng_seed(&rng, kvf_rng_derive(o->seed, g->number / 2));
    for (g->opening = 0; g->opening < o->opening_plies; g->opening++) {
        size_t n = trigo_board_drops(g->game->board, t->drops);
        if (!n) return KVF_OK;
        trigo_move move = t->drops[kvf_rng_below(&rng, (uint32_t)n)];
        kvf_status status = trigo_game_play(g->game, move, err);
        if (status) return status;
        if (!trigo_board_terminal(g->game->board, NULL)) continue;
        trigo_game_undo(g->game);
        return KVF_OK;
    }
    return KVF_OK;
}

static trigo_colour winner_by_area(const trigo_board *b)
{
    trigo_area area = trigo_board_area(b);
    if (area.black == area.white) return TRIGO_EMPTY;
    return area.black > area.white ? TRIGO_BLACK : TRIGO_WHITE;
}

static void end_game(trigo_match_game *g, trigo_end end)
{
    g->ended = true;
    g->end = end;
}

/* Whether the game has ended. */
static bool look_for_end(const match *m, trigo_match_game *g)
{
    const trigo_board *b = g->game->board;
    if (trigo_board_ended(b))
        end_game(g, TRIGO_END_PASSES);
    else if (trigo_board_terminal(b, NULL))
        end_game(g, TRIGO_END_DECIDED);
    else if (g->game->plies >= m->o->max_plies)
        end_game(g, TRIGO_END_PLIES);
    return g->ended;
}

/* One move, or the end for want of room. */
static kvf_status take_turn(table *t, trigo_match_game *g, kvf_error *err)
{
    trigo_choice choice;
    bool white = g->game->board->now.to_move == TRIGO_WHITE;
    int who = white != g->swapped;
    kvf_status status = trigo_player_choose(t->players[who], g->game, 0, &choice, err);
    if (status || !choice.out_of_context)
        return status ? status : trigo_game_play(g->game, choice.move, err);
    if (g->game->plies == g->opening)
        return kvf_fail(err, KVF_ERR_ARG, "already the opening is too long for %s",
                        trigo_kind_text(t->m->o->kinds[who]));
    end_game(g, TRIGO_END_CONTEXT);
    return KVF_OK;
}

/* Play the game to its end; g->ended stays false if nobody waits for it any more. */
static kvf_status play(table *t, trigo_match_game *g, kvf_error *err)
{
    const trigo_match_options *o = t->m->o;
    kvf_status status = trigo_game_create(&g->game, o->shape, err);
    if (!status) status = draw_opening(t, g, err);
    uint64_t seed = kvf_rng_derive(~o->seed, g->number);
    for (int i = 0; i < 2; i++) trigo_player_begin(t->players[i], kvf_rng_derive(seed, i));
    while (!status && !g->ended && !look_for_end(t->m, g)) {
        if (stopped(t->m)) return KVF_OK;
        status = take_turn(t, g, err);
    }
    const trigo_board *b = status ? NULL : g->game->board;
    if (b) g->winner = trigo_board_ended(b) ? trigo_board_winner(b) : winner_by_area(b);
    return status ? kvf_prefix(err, status, "game %u: ", g->number + 1) : KVF_OK;
}

/* ---- threads --------------------------------------------------------------------------------- */

static bool take(match *m, uint32_t *number)
{
    pthread_mutex_lock(&m->lock);
    bool more = !stopped(m) && m->next < m->o->games;
    *number = m->next;
    m->next += more;
    pthread_mutex_unlock(&m->lock);
    return more;
}

static kvf_status play_games(table *t, kvf_error *err)
{
    match *m = t->m;
    kvf_status status = KVF_OK;
    for (int i = 0; i < 2 && !status; i++)
        status = trigo_player_create(&t->players[i], m->o->kinds[i], err);
    t->drops = kvf_array(trigo_cells(m->o->shape), sizeof *t->drops);
    if (!status && !t->drops) status = kvf_fail(err, KVF_ERR_NOMEM, "a list of drops");
    for (uint32_t number; !status && take(m, &number);) {
        trigo_match_game g = {.number = number, .swapped = number % 2};
        status = play(t, &g, err);
        if (status || !g.ended) {
            trigo_game_destroy(g.game);
            continue;
        }
        pthread_mutex_lock(&m->lock);
        m->done[number] = g;
        count_done(m, false);
        pthread_mutex_unlock(&m->lock);
    }
    for (int i = 0; i < 2; i++) trigo_player_destroy(t->players[i]);
    kvf_free(t->drops);
    return status;
}

static void *sit(void *table_)
{
    table *t = table_;
    kvf_error err;
    kvf_status status = play_games(t, &err);
    if (status) fail(t->m, status, &err);
    return NULL;
}

/* All threads but the caller's own; fewer if no more are to be had. */
static void run_tables(match *m, table *tables)
{
    uint32_t n = 1;
    for (; n < m->o->threads; n++) {
        tables[n].m = m;
        if (pthread_create(&tables[n].thread, NULL, sit, &tables[n])) break;
    }
    tables[0].m = m;
    sit(&tables[0]);
    while (--n) pthread_join(tables[n].thread, NULL);
}

/* ---- the match ------------------------------------------------------------------------------- */

static kvf_status check_number(const char *what, uint32_t n, uint32_t least, uint32_t most,
                               kvf_error *err)
{
    if (n >= least && n <= most) return KVF_OK;
    return kvf_fail(err, KVF_ERR_ARG, "%s are %u, but should be %u to %u", what, n, least, most);
}

kvf_status trigo_match_check(const trigo_match_options *o, kvf_error *err)
{
    kvf_status status = check_number("games", o->games, 2, MAX_GAMES, err);
    if (!status && o->games % 2)
        status =
            kvf_fail(err, KVF_ERR_ARG,
                     "games are %u, but should be even: each opening is played twice", o->games);
    if (!status) status = check_number("threads", o->threads, 1, MAX_THREADS, err);
    if (!status) status = check_number("plies of a game", o->max_plies, 1, MAX_PLIES, err);
    if (!status)
        status = check_number("plies of an opening", o->opening_plies, 0, o->max_plies, err);
    const trigo_sprt *s = o->sprt;
    if (status || !s) return status;
    bool chances = s->alpha > 0 && s->alpha < 0.5 && s->beta > 0 && s->beta < 0.5;
    if (s->elo0 >= -1e4 && s->elo0 < s->elo1 && s->elo1 <= 1e4 && chances) return KVF_OK;
    return kvf_fail(err, KVF_ERR_ARG,
                    "a test of Elo %g against %g with chances %g and %g; the first should be below "
                    "the second, both within 10000, the chances above 0 and below 0.5",
                    s->elo0, s->elo1, s->alpha, s->beta);
}

kvf_status trigo_match(const trigo_match_options *options, trigo_match_result *result,
                       kvf_error *err)
{
    kvf_status status = trigo_match_check(options, err);
    if (status) return status;
    *result = (trigo_match_result){0};
    match m = {.o = options, .result = result, .lock = PTHREAD_MUTEX_INITIALIZER};
    m.done = kvf_array(options->games, sizeof *m.done);
    m.points = kvf_array(options->games, sizeof *m.points);
    table *tables = kvf_array(options->threads, sizeof *tables);
    if (m.done && m.points && tables) {
        run_tables(&m, tables);
        result->stopped =
            !m.status && options->stop && atomic_load(options->stop) && m.counted < options->games;
        if (result->stopped && !result->decided) count_done(&m, true);
    } else {
        m.status = kvf_fail(&m.err, KVF_ERR_NOMEM, "a match of %u games", options->games);
    }
    for (uint32_t i = 0; m.done && i < options->games; i++) trigo_game_destroy(m.done[i].game);
    kvf_free(m.done);
    kvf_free(m.points);
    kvf_free(tables);
    if (m.status && err) *err = m.err;
    return m.status;
}
