/* record.c - replays a game and writes down each position.
 *
 * The text is written directly: a record of a large board is a million numbers, which need not all
 * be objects at once. Nothing in it has to be escaped: notation and game text are plain ASCII, and
 * their new lines are the only character that JSON wants spelled. */
#include "trigo/record.h"

#include <errno.h>
#include <string.h>

#include "base.h"
#include "trigo/candidates.h"
#include "trigo/notation.h"
#include "trigo/tgn.h"

/* What is written about a position, and room to do it in. */
typedef struct recorder {
    FILE *out;
    trigo_game *now;
    trigo_candidates *candidates;
    uint16_t *cells; /* [cells] captured by one step */
    kvf_error *err;
} recorder;

/* ---- pieces of JSON -------------------------------------------------------------------------- */

static void write_text(FILE *out, const char *text, size_t len)
{
    putc('"', out);
    for (size_t i = 0; i < len; i++)
        if (text[i] == '\n')
            fputs("\\n", out);
        else
            putc(text[i], out);
    putc('"', out);
}

static void write_ints(FILE *out, const int32_t *numbers, size_t n)
{
    putc('[', out);
    for (size_t i = 0; i < n; i++) fprintf(out, i ? ",%d" : "%d", numbers[i]);
    putc(']', out);
}

static void write_move(FILE *out, trigo_shape shape, trigo_move move)
{
    char text[TRIGO_MOVE_TEXT];
    write_text(out, text, trigo_move_write(shape, move, text));
}

static const char *colour_text(trigo_colour colour)
{
    return colour == TRIGO_BLACK ? "\"B\"" : "\"W\"";
}

/* The cells of which the rules say this. */
static void write_drops(FILE *out, const trigo_board *b, const char *key, trigo_verdict verdict)
{
    const char *before = "";
    fprintf(out, ",\"%s\":[", key);
    for (uint32_t p = 0; p < b->cells; p++) {
        if (trigo_board_drop(b, p) != verdict) continue;
        fprintf(out, "%s%u", before, p);
        before = ",";
    }
    putc(']', out);
}

static int cell_or_minus_one(trigo_move move)
{
    return move >= TRIGO_MAX_CELLS ? -1 : move;
}

/* ---- the parts of a record ------------------------------------------------------------------- */

static void write_position(FILE *out, const trigo_board *b)
{
    fputs("\"board\":\"", out);
    for (uint32_t p = 0; p < b->cells; p++) putc(".BW"[b->colour[p]], out);
    fprintf(out, "\",\"to_move\":%s", colour_text(b->now.to_move));
    write_drops(out, b, "legal", TRIGO_LEGAL);
    write_drops(out, b, "ko_forbidden", TRIGO_KO);
    write_drops(out, b, "suicide_forbidden", TRIGO_SUICIDE);
    trigo_area area = trigo_board_area(b);
    fprintf(out,
            ",\"single_capture_memory\":%d,\"pass_count\":%u,\"active\":%s,"
            "\"territory\":[%u,%u,%u]}",
            cell_or_minus_one(b->now.ko), b->now.passes, trigo_board_ended(b) ? "false" : "true",
            area.black, area.white, area.neutral);
}

/* The step that was just played, and the position after it. */
static void write_step(const recorder *r, const trigo_step *step)
{
    FILE *out = r->out;
    const trigo_board *b = r->now->board;
    fprintf(out, "{\"ply\":%u,\"player\":%s,\"move\":", b->now.ply,
            colour_text(trigo_other(b->now.to_move)));
    write_move(out, b->shape, step->move);
    if (step->move < b->cells) {
        trigo_xyz at = trigo_cell_xyz(b->shape, step->move);
        fprintf(out, ",\"xyz\":[%u,%u,%u]", at.x, at.y, at.z);
    } else {
        fputs(",\"xyz\":null", out);
    }
    fprintf(out, ",\"index\":%d,\"captured\":[", cell_or_minus_one(step->move));
    trigo_board_captured(b, step, r->cells);
    for (uint32_t i = 0; i < step->captured; i++) fprintf(out, i ? ",%u" : "%u", r->cells[i]);
    fputs("],", out);
    write_position(out, b);
}

static void write_final(FILE *out, const trigo_board *b)
{
    trigo_area area = trigo_board_area(b);
    trigo_colour winner = trigo_board_winner(b);
    bool ended = trigo_board_ended(b);
    fprintf(out,
            ",\"final\":{\"plies\":%u,\"ended\":%s,\"territory\":{\"black\":%u,\"white\":%u,"
            "\"neutral\":%u},\"captured_counts\":{\"black_stones\":%u,\"white_stones\":%u},"
            "\"winner\":%s}",
            b->now.ply, ended ? "true" : "false", area.black, area.white, area.neutral,
            b->now.captured[TRIGO_BLACK], b->now.captured[TRIGO_WHITE],
            winner  ? colour_text(winner)
            : ended ? "\"draw\""
                    : "null");
}

static kvf_status write_tgn(const recorder *r, const char *key, bool score)
{
    char *text;
    size_t len;
    kvf_status status = trigo_tgn_write(r->now, score, &text, &len, r->err);
    if (status) return status;
    fprintf(r->out, ",\"%s\":", key);
    write_text(r->out, text, len);
    kvf_free(text);
    return KVF_OK;
}

static kvf_status write_tokens(const recorder *r)
{
    char *text;
    size_t len;
    kvf_status status = trigo_tgn_write(r->now, true, &text, &len, r->err);
    if (status) return status;
    int32_t *tokens = kvf_array(len + 2, sizeof *tokens);
    if (tokens) {
        fputs(",\"token_ids\":", r->out);
        write_ints(r->out, tokens, trigo_text_tokens(text, len, tokens));
    } else {
        status = kvf_fail(r->err, KVF_ERR_NOMEM, "%zu tokens", len + 2);
    }
    kvf_free(tokens);
    kvf_free(text);
    return status;
}

/* The texts, candidates and candidate tree of the position. */
static kvf_status write_prompt(const recorder *r)
{
    const trigo_candidates *c = r->candidates;
    fprintf(r->out, "{\"ply\":%u", r->now->plies);
    kvf_status status = write_tgn(r, "tgn", false);
    if (!status) status = write_tgn(r, "tgn_with_score", true);
    if (status) return status;
    trigo_candidates_list(r->candidates, r->now->board);
    fputs(",\"candidates\":[", r->out);
    for (uint32_t i = 0; i < c->n; i++) {
        if (i) putc(',', r->out);
        write_move(r->out, c->shape, c->move[i]);
    }
    fputs("],\"tree\":{\"tokens\":", r->out);
    write_ints(r->out, c->token, c->m);
    fputs(",\"parent\":", r->out);
    write_ints(r->out, c->parent, c->m);
    fputs(",\"leaf\":", r->out);
    write_ints(r->out, c->leaf, c->n);
    fputs("}}", r->out);
    return KVF_OK;
}

static bool has_prompt(uint32_t ply, uint32_t plies)
{
    static const uint32_t some[] = {0, 1, 2, 3, 6, 11, 20, 40};
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++)
        if (ply == some[i]) return true;
    return ply == plies;
}

static kvf_status write_prompts(const recorder *r, const trigo_game *game)
{
    fputs(",\"prompts\":[", r->out);
    while (trigo_game_undo(r->now)) {}
    for (uint32_t ply = 0;; ply++) {
        kvf_status status = KVF_OK;
        if (has_prompt(ply, game->plies)) {
            if (ply) putc(',', r->out);
            status = write_prompt(r);
        }
        if (!status && ply == game->plies) break;
        if (!status) status = trigo_game_play(r->now, game->steps[ply].move, r->err);
        if (status) return status;
    }
    putc(']', r->out);
    return KVF_OK;
}

static void write_cells(FILE *out, const trigo_board *b)
{
    fputs(",\"cells\":[", out);
    for (uint32_t p = 0; p < b->cells; p++) {
        if (p) putc(',', out);
        write_move(out, b->shape, (trigo_move)p);
    }
    putc(']', out);
}

static kvf_status write_record(const recorder *r, const char *id, const trigo_game *game)
{
    FILE *out = r->out;
    const trigo_board *b = r->now->board;
    fprintf(out, "{\"id\":%s,\"shape\":[%u,%u,%u]", id, b->shape.x, b->shape.y, b->shape.z);
    write_cells(out, b);
    fputs(",\"initial\":{", out);
    write_position(out, b);
    fputs(",\"moves\":[", out);
    for (uint32_t i = 0; i < game->plies; i++) {
        if (i) putc(',', out);
        kvf_status status = trigo_game_play(r->now, game->steps[i].move, r->err);
        if (status) return status;
        write_step(r, &r->now->steps[i]);
    }
    putc(']', out);
    write_final(out, b);
    kvf_status status = write_tgn(r, "tgn", true);
    if (!status) status = write_tokens(r);
    if (!status) status = write_prompts(r, game);
    if (status) return status;
    fputs("}\n", out);
    return ferror(out)
               ? kvf_fail(r->err, KVF_ERR_IO, "a record cannot be written: %s", strerror(errno))
               : KVF_OK;
}

kvf_status trigo_record_write(FILE *out, const char *id, const trigo_game *game, kvf_error *err)
{
    recorder r = {.out = out, .err = err};
    trigo_shape shape = game->board->shape;
    kvf_status status = trigo_game_create(&r.now, shape, err);
    if (!status) status = trigo_candidates_create(&r.candidates, shape, err);
    if (!status) {
        r.cells = kvf_array(game->board->cells, sizeof *r.cells);
        if (!r.cells) status = kvf_fail(err, KVF_ERR_NOMEM, "a list of cells");
    }
    if (!status) status = write_record(&r, id, game);
    kvf_free(r.cells);
    trigo_candidates_destroy(r.candidates);
    trigo_game_destroy(r.now);
    return status;
}
