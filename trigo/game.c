/* game.c - a list of steps over a board. */
#include "trigo/game.h"

#include "base.h"
#include "trigo/notation.h"

kvf_status trigo_game_create(trigo_game **out, trigo_shape shape, kvf_error *err)
{
    *out = NULL;
    trigo_game *game = kvf_array(1, sizeof *game);
    if (!game) return kvf_fail(err, KVF_ERR_NOMEM, "a game");
    kvf_status status = trigo_board_create(&game->board, shape, err);
    if (status) {
        trigo_game_destroy(game);
        return status;
    }
    *out = game;
    return KVF_OK;
}

void trigo_game_destroy(trigo_game *game)
{
    if (!game) return;
    trigo_board_destroy(game->board);
    kvf_free(game->steps);
    kvf_free(game);
}

static kvf_status make_room(trigo_game *game, kvf_error *err)
{
    if (game->plies < game->room) return KVF_OK;
    uint32_t room = game->room ? 2 * game->room : 64;
    trigo_step *steps = room > game->room ? kvf_resize(game->steps, room, sizeof *steps) : NULL;
    if (!steps) return kvf_fail(err, KVF_ERR_NOMEM, "a game of %u plies", room);
    game->steps = steps;
    game->room = room;
    return KVF_OK;
}

kvf_status trigo_game_play(trigo_game *game, trigo_move move, kvf_error *err)
{
    kvf_status status = make_room(game, err);
    if (status) return status;
    trigo_verdict verdict = trigo_board_play(game->board, move, &game->steps[game->plies]);
    if (verdict == TRIGO_OFF_BOARD)
        return kvf_fail(err, KVF_ERR_ARG, "cell %u is not on the board of %u cells", move,
                        game->board->cells);
    if (verdict) {
        char text[TRIGO_MOVE_TEXT];
        trigo_move_write(game->board->shape, move, text);
        return kvf_fail(err, KVF_ERR_ARG, "'%s' %s", text, trigo_verdict_text(verdict));
    }
    game->plies++;
    return KVF_OK;
}

bool trigo_game_undo(trigo_game *game)
{
    if (!game->plies) return false;
    trigo_board_undo(game->board, &game->steps[--game->plies]);
    return true;
}

const char *trigo_end_name(trigo_end end)
{
    static const char *const names[TRIGO_ENDS] = {"passes", "decided", "plies", "context"};
    return names[end];
}
