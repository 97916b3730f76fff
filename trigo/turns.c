/* turns.c - passes put in, and noted. */
#include "trigo/turns.h"

#include "base.h"

kvf_status trigo_turns_begin(trigo_turns *turns, trigo_shape shape, kvf_error *err)
{
    *turns = (trigo_turns){0};
    return trigo_game_create(&turns->game, shape, err);
}

void trigo_turns_end(trigo_turns *turns)
{
    trigo_game_destroy(turns->game);
    kvf_free(turns->put_in);
    *turns = (trigo_turns){0};
}

static kvf_status play(trigo_turns *t, trigo_move move, bool put_in, kvf_error *err)
{
    uint32_t ply = t->game->plies;
    if (ply >= t->put_in_room) {
        uint8_t *bigger = kvf_resize(t->put_in, 2 * ply + 64, 1);
        if (!bigger) return kvf_fail(err, KVF_ERR_NOMEM, "a game of %u plies", ply);
        t->put_in = bigger;
        t->put_in_room = 2 * ply + 64;
    }
    t->put_in[ply] = put_in;
    return trigo_game_play(t->game, move, err);
}

kvf_status trigo_turns_give(trigo_turns *turns, trigo_colour colour, kvf_error *err)
{
    const trigo_board *b = turns->game->board;
    if (trigo_board_ended(b)) return kvf_fail(err, KVF_ERR_ARG, "the game is over");
    if (b->now.to_move == colour) return KVF_OK;
    if (b->now.passes)
        return kvf_fail(err, KVF_ERR_ARG,
                        "out of turn behind a pass: putting a second one in would end the game");
    return play(turns, TRIGO_PASS, true, err);
}

kvf_status trigo_turns_play(trigo_turns *turns, trigo_colour colour, trigo_move move,
                            kvf_error *err)
{
    uint32_t before = turns->game->plies;
    kvf_status status = trigo_turns_give(turns, colour, err);
    if (!status && move == TRIGO_PASS && turns->game->plies > before)
        status = kvf_fail(err, KVF_ERR_ARG, "a pass out of turn would end the game");
    if (!status) status = play(turns, move, false, err);
    if (status) trigo_turns_return(turns, before);
    return status;
}

bool trigo_turns_undo(trigo_turns *turns)
{
    trigo_game *game = turns->game;
    if (!trigo_game_undo(game)) return false;
    if (game->plies && turns->put_in[game->plies - 1]) trigo_game_undo(game);
    return true;
}

void trigo_turns_return(trigo_turns *turns, uint32_t plies)
{
    while (turns->game->plies > plies) trigo_game_undo(turns->game);
}
