/* samples.c - see samples.h. */
#include "trigo/samples.h"

#include <string.h>

#include "base.h"
#include "trigo/notation.h"
#include "trigo/tgn.h"

enum { CANDIDATE_TOKENS = 4 }; /* "Pass"; a cell has three at most */

enum {
    GAME,
    SHAPE,
    SCORE,
    OUTCOME,
    END,
    TOKEN_START,
    TOKENS,
    POSITION_START,
    PROMPT_LENGTH,
    VISITS,
    ROOT_VALUE,
    NETWORK_VALUE,
    PLAYED,
    CANDIDATE_START,
    CANDIDATE_TOKEN,
    CANDIDATE_VISITS,
};

static const trigo_array layout[TRIGO_SAMPLE_ARRAYS] = {
    [GAME] = {.name = "game", .type = "i8"},
    [SHAPE] = {.name = "shape", .type = "u1", .columns = 3},
    [SCORE] = {.name = "score", .type = "i4"},
    [OUTCOME] = {.name = "outcome", .type = "f4"},
    [END] = {.name = "end", .type = "u1"},
    [TOKEN_START] = {.name = "token_start", .type = "i8"},
    [TOKENS] = {.name = "tokens", .type = "u1"},
    [POSITION_START] = {.name = "position_start", .type = "i8"},
    [PROMPT_LENGTH] = {.name = "prompt_length", .type = "i4"},
    [VISITS] = {.name = "visits", .type = "u4"},
    [ROOT_VALUE] = {.name = "root_value", .type = "f4"},
    [NETWORK_VALUE] = {.name = "network_value", .type = "f4"},
    [PLAYED] = {.name = "played", .type = "i4"},
    [CANDIDATE_START] = {.name = "candidate_start", .type = "i8"},
    [CANDIDATE_TOKEN] = {.name = "candidate_tokens", .type = "u1", .columns = CANDIDATE_TOKENS},
    [CANDIDATE_VISITS] = {.name = "candidate_visits", .type = "u4"},
};

static kvf_status add_number(trigo_samples *s, int array, const void *number, kvf_error *err)
{
    return trigo_array_add(&s->array[array], number, 1, err);
}

/* Where the next one's begin: behind all that were added. */
static kvf_status add_start(trigo_samples *s, int starts, int array, kvf_error *err)
{
    int64_t n = (int64_t)s->array[array].n;
    return add_number(s, starts, &n, err);
}

kvf_status trigo_samples_begin(trigo_samples *samples, kvf_error *err)
{
    memcpy(samples->array, layout, sizeof layout);
    kvf_status status = add_start(samples, TOKEN_START, TOKENS, err);
    if (!status) status = add_start(samples, POSITION_START, VISITS, err);
    return status ? status : add_start(samples, CANDIDATE_START, CANDIDATE_VISITS, err);
}

void trigo_samples_free(trigo_samples *samples)
{
    for (size_t i = 0; i < TRIGO_SAMPLE_ARRAYS; i++) trigo_array_free(&samples->array[i]);
}

/* ---- positions ------------------------------------------------------------------------------- */

static kvf_status add_candidates(trigo_samples *s, const trigo_candidates *c,
                                 const uint32_t *visits, kvf_error *err)
{
    kvf_status status = KVF_OK;
    for (uint32_t i = 0; i < c->n && !status; i++) {
        char name[TRIGO_MOVE_TEXT];
        uint8_t tokens[CANDIDATE_TOKENS] = {0};
        memcpy(tokens, name, trigo_move_write(c->shape, c->move[i], name));
        status = trigo_array_add(&s->array[CANDIDATE_TOKEN], tokens, 1, err);
    }
    if (!status) status = trigo_array_add(&s->array[CANDIDATE_VISITS], visits, c->n, err);
    return status ? status : add_start(s, CANDIDATE_START, CANDIDATE_VISITS, err);
}

static kvf_status add_position(trigo_samples *s, const trigo_played *p, uint32_t ply,
                               const trigo_candidates *c, size_t prompt, kvf_error *err)
{
    const trigo_played_move *m = &p->moves[ply];
    float root_value = (float)(m->total / m->visits), network_value = (float)m->value;
    int32_t length = (int32_t)prompt, played = 0;
    while (c->move[played] != p->game->steps[ply].move) played++;
    kvf_status status = add_number(s, PROMPT_LENGTH, &length, err);
    if (!status) status = add_number(s, VISITS, &m->visits, err);
    if (!status) status = add_number(s, ROOT_VALUE, &root_value, err);
    if (!status) status = add_number(s, NETWORK_VALUE, &network_value, err);
    if (!status) status = add_number(s, PLAYED, &played, err);
    return status ? status : add_candidates(s, c, p->visits + m->first, err);
}

static kvf_status add_positions(trigo_samples *s, const trigo_played *p, kvf_error *err)
{
    trigo_shape shape = p->game->board->shape;
    int32_t tokens[TRIGO_PROMPT_START];
    size_t prompt = trigo_prompt_start(shape, tokens);
    trigo_board *board;
    trigo_candidates *c = NULL;
    kvf_status status = trigo_board_create(&board, shape, err);
    if (!status) status = trigo_candidates_create(&c, shape, err);
    for (uint32_t i = 0; i < p->game->plies && !status; i++) {
        trigo_candidates_list(c, board);
        status = add_position(s, p, i, c, prompt, err);
        prompt += trigo_prompt_step(shape, i, p->game->steps[i].move, tokens);
        trigo_board_play(board, p->game->steps[i].move, NULL);
    }
    trigo_candidates_destroy(c);
    trigo_board_destroy(board);
    return status ? status : add_start(s, POSITION_START, VISITS, err);
}

/* ---- games ----------------------------------------------------------------------------------- */

static kvf_status add_tokens(trigo_samples *s, const trigo_played *p, kvf_error *err)
{
    char *text;
    size_t len, n = 0;
    kvf_status status = trigo_tgn_write(p->game, true, &text, &len, err);
    if (status) return status;
    int32_t *tokens = kvf_array(len + 2, sizeof *tokens);
    if (tokens)
        n = trigo_text_tokens(text, len, tokens);
    else
        status = kvf_fail(err, KVF_ERR_NOMEM, "%zu tokens", len + 2);
    for (size_t i = 0; i < n && !status; i++) {
        uint8_t token = (uint8_t)tokens[i];
        status = add_number(s, TOKENS, &token, err);
    }
    kvf_free(tokens);
    kvf_free(text);
    return status ? status : add_start(s, TOKEN_START, TOKENS, err);
}

kvf_status trigo_samples_add(trigo_samples *samples, const trigo_played *played, kvf_error *err)
{
    const trigo_board *b = played->game->board;
    int64_t index = (int64_t)played->index;
    uint8_t shape[] = {b->shape.x, b->shape.y, b->shape.z}, end = (uint8_t)played->end;
    int32_t score = trigo_played_score(played);
    float outcome = (float)trigo_area_value(trigo_board_area(b));
    kvf_status status = add_number(samples, GAME, &index, err);
    if (!status) status = add_number(samples, SHAPE, shape, err);
    if (!status) status = add_number(samples, SCORE, &score, err);
    if (!status) status = add_number(samples, OUTCOME, &outcome, err);
    if (!status) status = add_number(samples, END, &end, err);
    if (!status) status = add_tokens(samples, played, err);
    return status ? status : add_positions(samples, played, err);
}
