/* tgn.h - a game as text, and a position as the tokens that a model reads.
 *
 *     [Board 5x5]                 Z is written where it is not 1
 *
 *     1. 00 a0                    Black's move, White's move
 *     2. Pass zz
 *     3. b0                       the text ends here with one space; with a score line, without
 *     ; -3                        area: White's lead with its sign (+d, -d, or 0)
 *
 * A model's prompt is START and the text without score line, and then the number of the next round
 * if Black is to move. So the prompt after a move is the prompt before it and a little more: in a
 * tree of tokens the positions of a game lie on one path, each below the one before. */
#ifndef TRIGO_TGN_H
#define TRIGO_TGN_H

#include "trigo/game.h"

/* A token is a character's code, or one of these. */
enum {
    TRIGO_TOKEN_PAD = 0,
    TRIGO_TOKEN_START = 1,
    TRIGO_TOKEN_END = 2,
    TRIGO_TOKEN_VALUE = 3,
    TRIGO_VOCAB = 128,
};

/* ---- text ------------------------------------------------------------------------------------ */

/* Write a game's text.
 *
 * score   whether to end it with the score line, which any position has
 * text    set on KVF_OK to the text, terminated, free it with kvf_free; else NULL
 * len     set to its length; may be NULL
 * Errors  KVF_ERR_NOMEM */
kvf_status trigo_tgn_write(const trigo_game *game, bool score, char **text, size_t *len,
                           kvf_error *err);

/* Write a game's text with its score line to a file, which appears whole or not at all.
 * Errors: those of trigo_tgn_write and kvf_output_open. */
kvf_status trigo_tgn_save(const trigo_game *game, const char *path, kvf_error *err);

/* Read a game's text, playing its moves.
 *
 * text    [len] any bytes. White space may be any, also at the ends; the numbers of the rounds, the
 *         rules, and the score if there is one must be right
 * out     set on KVF_OK, else NULL; free it with trigo_game_destroy
 * Errors  KVF_ERR_ARG with line and column (of bytes, from 1), KVF_ERR_NOMEM */
kvf_status trigo_tgn_read(trigo_game **out, const char *text, size_t len, kvf_error *err);

/* The same of a file. Errors: also KVF_ERR_IO; all name the file. */
kvf_status trigo_tgn_load(trigo_game **out, const char *path, kvf_error *err);

/* ---- tokens ---------------------------------------------------------------------------------- */

/* A text's tokens: START, its bytes, END; bytes that are no token are left out. tokens [len + 2].
 * Returns how many there are. */
size_t trigo_text_tokens(const char *text, size_t len, int32_t *tokens);

enum {
    TRIGO_PROMPT_START = 32, /* room for the prompt of an empty board */
    TRIGO_PROMPT_STEP = 24,  /* room for what a move adds to it */
};

/* The prompt of the empty board. Returns how many tokens there are. */
size_t trigo_prompt_start(trigo_shape shape, int32_t tokens[TRIGO_PROMPT_START]);

/* What the move played after `ply` plies adds to the prompt: its characters, then a space after
 * Black's, a new line and the next round's number after White's. Returns how many tokens. */
size_t trigo_prompt_step(trigo_shape shape, uint32_t ply, trigo_move move,
                         int32_t tokens[TRIGO_PROMPT_STEP]);

/* The whole prompt. tokens [room]; returns its length, and writes no more than there is room
 * for. */
size_t trigo_prompt(const trigo_game *game, int32_t *tokens, size_t room);

#endif
