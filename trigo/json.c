/* json.c - see json.h. */
#include "trigo/json.h"

#include <string.h>

#include "base.h"
#include "trigo/notation.h"

kvf_status trigo_json_object(json_t **out, const char *text, size_t len, kvf_error *err)
{
    json_error_t why;
    *out = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
    if (!*out && json_error_code(&why) == json_error_out_of_memory)
        return kvf_fail(err, KVF_ERR_NOMEM, "a JSON line of %zu bytes", len);
    if (!*out) {
        for (char *c = why.text; *c; c++) /* it quotes the line, whatever that is */
            if (*c < 32 || *c > 126) *c = '?';
        return kvf_fail(err, KVF_ERR_ARG, "column %d: %s", why.position > 0 ? why.position : 1,
                        why.text);
    }
    if (json_is_object(*out)) return KVF_OK;
    json_decref(*out);
    *out = NULL;
    return kvf_fail(err, KVF_ERR_ARG, "column 1: the line should be an object { ... }");
}

static kvf_status read_shape(trigo_shape *shape, const json_t *object, kvf_error *err)
{
    const json_t *axes = json_object_get(object, "shape");
    bool good = json_array_size(axes) == 3;
    for (size_t i = 0; good && i < 3; i++) good = json_is_integer(json_array_get(axes, i));
    if (!good) return kvf_fail(err, KVF_ERR_ARG, "'shape' should be three integers [X,Y,Z]");
    json_int_t size[3];
    for (size_t i = 0; i < 3; i++) size[i] = json_integer_value(json_array_get(axes, i));
    kvf_status status = trigo_shape_set(shape, size[0], size[1], size[2], err);
    return status ? kvf_prefix(err, status, "'shape': ") : KVF_OK;
}

static kvf_status play(trigo_game *game, const json_t *item, kvf_error *err)
{
    if (json_is_object(item)) item = json_object_get(item, "move");
    if (!json_is_string(item))
        return kvf_fail(err, KVF_ERR_ARG, "should be a string, or an object with a string 'move'");
    trigo_move move;
    kvf_status status = trigo_move_read(game->board->shape, json_string_value(item),
                                        json_string_length(item), &move, err);
    return status ? status : trigo_game_play(game, move, err);
}

kvf_status trigo_json_game(trigo_game **out, const json_t *object, kvf_error *err)
{
    *out = NULL;
    trigo_shape shape;
    kvf_status status = read_shape(&shape, object, err);
    if (status) return status;
    const json_t *moves = json_object_get(object, "moves");
    if (!json_is_array(moves))
        return kvf_fail(err, KVF_ERR_ARG, "'moves' should be an array of moves");
    trigo_game *game;
    status = trigo_game_create(&game, shape, err);
    if (status) return status;
    for (size_t i = 0; i < json_array_size(moves); i++) {
        status = play(game, json_array_get(moves, i), err);
        if (!status) continue;
        trigo_game_destroy(game);
        return kvf_prefix(err, status, "move %zu: ", i + 1);
    }
    *out = game;
    return KVF_OK;
}
