/* tgn.c - the game's text, written and read, and its prompt.
 *
 * The prompt is what is built, piece by piece as moves are played; the text is the prompt without
 * the number of a round that nobody has begun. So the two cannot differ. */
#include "trigo/tgn.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "output.h"
#include "trigo/notation.h"

/* ---- pieces ---------------------------------------------------------------------------------- */

enum { SCORE_TEXT = 16 }; /* room for the score line */

static size_t write_number(uint32_t round, char *out)
{
    return (size_t)sprintf(out, "%u. ", round);
}

static size_t write_start(trigo_shape shape, char *out)
{
    char board[TRIGO_SHAPE_TEXT];
    trigo_shape_write(shape, board);
    size_t n = (size_t)sprintf(out, "[Board %s]\n\n", board);
    return n + write_number(1, out + n);
}

static size_t write_step(trigo_shape shape, uint32_t ply, trigo_move move, char *out)
{
    size_t n = trigo_move_write(shape, move, out);
    if (ply % 2 == 0) {
        out[n] = ' ';
        return n + 1;
    }
    out[n++] = '\n';
    return n + write_number(ply / 2 + 2, out + n);
}

static size_t write_score(trigo_area area, char out[SCORE_TEXT])
{
    int lead = (int)area.white - (int)area.black;
    return (size_t)snprintf(out, SCORE_TEXT, lead ? "; %+d\n" : "; %d\n", lead);
}

/* ---- text ------------------------------------------------------------------------------------ */

kvf_status trigo_tgn_write(const trigo_game *game, bool score, char **text, size_t *len,
                           kvf_error *err)
{
    trigo_shape shape = game->board->shape;
    size_t room = TRIGO_PROMPT_START + (size_t)game->plies * TRIGO_PROMPT_STEP + SCORE_TEXT;
    *text = kvf_array(room, 1);
    if (!*text) return kvf_fail(err, KVF_ERR_NOMEM, "the text of a game of %u plies", game->plies);
    char *out = *text;
    size_t n = write_start(shape, out);
    for (uint32_t i = 0; i < game->plies; i++)
        n += write_step(shape, i, game->steps[i].move, out + n);
    if (game->plies % 2 == 0) {
        char number[TRIGO_PROMPT_STEP];
        n -= write_number(game->plies / 2 + 1, number);
    } else if (score) {
        out[n - 1] = '\n';
    }
    if (score) n += write_score(trigo_board_area(game->board), out + n);
    out[n] = '\0';
    if (len) *len = n;
    return KVF_OK;
}

kvf_status trigo_tgn_save(const trigo_game *game, const char *path, kvf_error *err)
{
    char *text;
    size_t len;
    kvf_output out;
    kvf_status status = trigo_tgn_write(game, true, &text, &len, err);
    if (status) return status;
    status = kvf_output_open(&out, path, err);
    if (!status) {
        kvf_output_write(&out, text, len);
        status = kvf_output_commit(&out, err);
    }
    kvf_free(text);
    return status;
}

typedef struct reader {
    const char *text;
    size_t len, at;
    kvf_error *err;
} reader;

/* Fail with the line and column of text[at] before the words. */
__attribute__((format(printf, 3, 4))) static kvf_status fail_at(const reader *r, size_t at,
                                                                const char *format, ...)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at; i++) {
        column = r->text[i] == '\n' ? 1 : column + 1;
        line += r->text[i] == '\n';
    }
    char words[400];
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    return kvf_fail(r->err, KVF_ERR_ARG, "line %zu, column %zu: %s", line, column, words);
}

/* Fail because something else was expected where the reader is. */
static kvf_status expected(const reader *r, const char *what)
{
    char quoted[TRIGO_QUOTE_TEXT];
    if (r->at == r->len) return fail_at(r, r->at, "the text ends, but here should be %s", what);
    size_t n = 0;
    while (n < 16 && r->at + n < r->len && r->text[r->at + n] > ' ') n++;
    return fail_at(r, r->at, "here is %s, but should be %s",
                   trigo_quote(r->text + r->at, n ? n : 1, quoted), what);
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}
static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static void skip_space(reader *r)
{
    while (r->at < r->len && is_space(r->text[r->at])) r->at++;
}

/* Take these characters if they are next. */
static bool take(reader *r, const char *literal)
{
    size_t n = strlen(literal);
    if (r->len - r->at < n || memcmp(r->text + r->at, literal, n)) return false;
    r->at += n;
    return true;
}

/* Take a number without superfluous zeros, up to nine digits. */
static bool take_number(reader *r, uint32_t *number)
{
    size_t at = r->at;
    uint32_t n = 0;
    while (at < r->len && at - r->at < 9 && is_digit(r->text[at]))
        n = 10 * n + (uint32_t)(r->text[at++] - '0');
    bool superfluous = at > r->at + 1 && r->text[r->at] == '0';
    if (at == r->at || superfluous || (at < r->len && is_digit(r->text[at]))) return false;
    r->at = at;
    *number = n;
    return true;
}

/* [Board 5x5] or [Board 5x5x5] */
static kvf_status read_board(reader *r, trigo_shape *shape)
{
    uint32_t size[3] = {1, 1, 1};
    skip_space(r);
    if (!take(r, "[")) return expected(r, "[Board XxYxZ]");
    skip_space(r);
    if (!take(r, "Board")) return expected(r, "the word Board");
    if (r->at < r->len && !is_space(r->text[r->at])) return expected(r, "a space");
    skip_space(r);
    size_t start = r->at;
    for (int i = 0; i < 3; i++) {
        if (!take_number(r, &size[i])) return expected(r, "the size of an axis");
        skip_space(r);
        if (i > 0 && r->at < r->len && r->text[r->at] == ']') break;
        if (i < 2 && !take(r, "x")) return expected(r, i ? "'x' or ']'" : "'x'");
        skip_space(r);
    }
    if (!take(r, "]")) return expected(r, "']'");
    kvf_error why;
    if (trigo_shape_set(shape, size[0], size[1], size[2], &why))
        return fail_at(r, start, "%s", why.msg);
    return KVF_OK;
}

static kvf_status read_move(reader *r, trigo_game *game)
{
    size_t start = r->at;
    if (start == r->len) return expected(r, "a move");
    while (r->at < r->len && !is_space(r->text[r->at])) r->at++;
    trigo_move move;
    kvf_error why;
    kvf_status status =
        trigo_move_read(game->board->shape, r->text + start, r->at - start, &move, &why);
    if (!status) status = trigo_game_play(game, move, &why);
    if (status == KVF_ERR_NOMEM) return kvf_fail(r->err, status, "%s", why.msg);
    return status ? fail_at(r, start, "%s", why.msg) : KVF_OK;
}

/* The number of a round, before Black's move. */
static kvf_status read_round(reader *r, uint32_t round)
{
    char what[64];
    uint32_t number;
    size_t start = r->at;
    snprintf(what, sizeof what, "'%u.', the number of the round, or ';'", round);
    if (!take_number(r, &number)) return expected(r, what);
    if (number != round) {
        r->at = start;
        return expected(r, what);
    }
    if (!take(r, ".")) return expected(r, "'.' behind the number of the round");
    skip_space(r);
    return KVF_OK;
}

/* The score line, behind its semicolon, and nothing after it. */
static kvf_status read_score(reader *r, const trigo_board *board)
{
    char right[SCORE_TEXT];
    skip_space(r);
    size_t start = r->at;
    while (r->at < r->len && !is_space(r->text[r->at])) r->at++;
    size_t n = r->at - start;
    skip_space(r);
    if (r->at < r->len) return expected(r, "the end of the text, behind the score");
    size_t want = write_score(trigo_board_area(board), right) - 3; /* "; " and the new line */
    if (n == want && !memcmp(r->text + start, right + 2, n)) return KVF_OK;
    r->at = start;
    right[2 + want] = '\0';
    return expected(r, right + 2);
}

static kvf_status read_moves(reader *r, trigo_game *game)
{
    for (;;) {
        skip_space(r);
        if (r->at == r->len) return KVF_OK;
        if (take(r, ";")) return read_score(r, game->board);
        kvf_status status = KVF_OK;
        if (game->plies % 2 == 0) status = read_round(r, game->plies / 2 + 1);
        if (!status) status = read_move(r, game);
        if (status) return status;
    }
}

kvf_status trigo_tgn_read(trigo_game **out, const char *text, size_t len, kvf_error *err)
{
    *out = NULL;
    reader r = {text, len, 0, err};
    trigo_shape shape;
    kvf_status status = read_board(&r, &shape);
    if (status) return status;
    trigo_game *game;
    status = trigo_game_create(&game, shape, err);
    if (status) return status;
    status = read_moves(&r, game);
    if (status) {
        trigo_game_destroy(game);
        return status;
    }
    *out = game;
    return KVF_OK;
}

kvf_status trigo_tgn_load(trigo_game **out, const char *path, kvf_error *err)
{
    kvf_file file;
    *out = NULL;
    kvf_status status = kvf_file_open(&file, path, err);
    if (status) return status;
    status = trigo_tgn_read(out, (const char *)file.data, file.size, err);
    kvf_file_close(&file);
    return status ? kvf_prefix(err, status, "%.200s: ", path) : KVF_OK;
}

/* ---- tokens ---------------------------------------------------------------------------------- */

/* The tokens of characters that are tokens all. */
static size_t widen(const char *text, size_t n, int32_t *tokens)
{
    for (size_t i = 0; i < n; i++) tokens[i] = (unsigned char)text[i];
    return n;
}

size_t trigo_text_tokens(const char *text, size_t len, int32_t *tokens)
{
    size_t n = 0;
    tokens[n++] = TRIGO_TOKEN_START;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\n' || (c >= 32 && c < TRIGO_VOCAB)) tokens[n++] = c;
    }
    tokens[n++] = TRIGO_TOKEN_END;
    return n;
}

size_t trigo_prompt_start(trigo_shape shape, int32_t tokens[TRIGO_PROMPT_START])
{
    char text[TRIGO_PROMPT_START];
    tokens[0] = TRIGO_TOKEN_START;
    return 1 + widen(text, write_start(shape, text), tokens + 1);
}

size_t trigo_prompt_step(trigo_shape shape, uint32_t ply, trigo_move move,
                         int32_t tokens[TRIGO_PROMPT_STEP])
{
    char text[TRIGO_PROMPT_STEP];
    return widen(text, write_step(shape, ply, move, text), tokens);
}

size_t trigo_prompt(const trigo_game *game, int32_t *tokens, size_t room)
{
    trigo_shape shape = game->board->shape;
    int32_t piece[TRIGO_PROMPT_START];
    size_t length = 0, n = trigo_prompt_start(shape, piece);
    for (uint32_t i = 0;; i++) {
        for (size_t k = 0; k < n && length + k < room; k++) tokens[length + k] = piece[k];
        length += n;
        if (i == game->plies) return length;
        n = trigo_prompt_step(shape, i, game->steps[i].move, piece);
    }
}
