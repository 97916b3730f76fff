/* sgf.c - see sgf.h.
 *
 * A file is `(;SZ[9]KM[5.5];B[ee](;W[cc];B[gg])(;W[gc]))`: nodes begin with `;` and hold properties,
 * a name and values in brackets; variations are in parentheses behind what they have in common, the
 * main one first. So the main line is what stands before the first `)`, all parentheses ignored. */
#include "trigo/sgf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "trigo/notation.h"
#include "trigo/options.h"

typedef struct reader {
    const char *at, *end;
    char name[8]; /* of the property; all that is longer is one that is not known */
    size_t name_len;
    bool named; /* the name is over */
    const char *value;
    size_t len; /* of the value, as it stands */
} reader;

/* ---- reading --------------------------------------------------------------------------------- */

static kvf_status no_game(kvf_error *err)
{
    return kvf_fail(err, KVF_ERR_ARG, "there is no whole game of Go (SGF) in it");
}

static reader begin(const char *text, size_t len)
{
    const char *game = len ? memchr(text, '(', len) : NULL;
    return (reader){.at = game ? game : text + len, .end = text + len};
}

/* Step to the next value of the main line. */
static bool next_value(reader *r)
{
    while (r->at < r->end && *r->at != ')') {
        char c = *r->at++;
        if (c >= 'A' && c <= 'Z') { /* older files have small letters between, which mean nothing */
            if (r->named) r->name_len = 0;
            r->named = false;
            if (r->name_len < sizeof r->name - 1) r->name[r->name_len++] = c;
            r->name[r->name_len] = '\0';
        } else if (c == '[') {
            r->value = r->at;
            while (r->at < r->end && *r->at != ']')
                r->at += *r->at == '\\' && r->end - r->at > 1 ? 2 : 1;
            r->len = (size_t)(r->at - r->value);
            r->named = true;
            return r->at < r->end;
        } else if (c < 'a' || c > 'z') {
            r->named = true;
        }
    }
    return false;
}

static bool is(const reader *r, const char *name)
{
    return !strcmp(r->name, name);
}

static kvf_status refuse(const reader *r, const char *why, kvf_error *err)
{
    char quoted[TRIGO_QUOTE_TEXT];
    return kvf_fail(err, KVF_ERR_ARG, "%s[] of %s: %s", r->name,
                    trigo_quote(r->value, r->len, quoted), why);
}

/* SZ[9], or SZ[9:13] with columns first. */
static kvf_status read_size(const reader *r, char *value, trigo_shape *shape, kvf_error *err)
{
    uint64_t x, y;
    char *rows = value, *columns = strsep(&rows, ":");
    if (!trigo_parse_count(columns, 1, TRIGO_MAX_AXIS, &x) ||
        !trigo_parse_count(rows ? rows : columns, 1, TRIGO_MAX_AXIS, &y))
        return refuse(r, "boards have 1 to 27 rows and columns", err);
    return trigo_shape_set(shape, (int64_t)x, (int64_t)y, 1, err);
}

/* What holds for the whole game; it need not stand before the stones. */
static kvf_status read_settings(trigo_sgf *sgf, reader r, trigo_shape *shape, kvf_error *err)
{
    kvf_status status = KVF_OK;
    while (!status && next_value(&r)) {
        char value[32] = "";
        if (r.len < sizeof value) memcpy(value, r.value, r.len);
        if (is(&r, "SZ")) status = read_size(&r, value, shape, err);
        if (is(&r, "GM") && strcmp(value, "1")) status = refuse(&r, "the game is not Go", err);
        if (is(&r, "KM") && r.len && !trigo_parse_real(value, -1e6, 1e6, &sgf->komi))
            status = refuse(&r, "komi should be a number", err);
    }
    return status || r.at < r.end ? status : no_game(err);
}

/* Letters from the upper left corner: columns to the right, rows down. */
static bool read_point(trigo_shape s, const char *letters, uint32_t at[2])
{
    const uint32_t sides[2] = {s.x, s.y};
    for (int i = 0; i < 2; i++) {
        char c = letters[i];
        at[i] = c >= 'a' && c <= 'z' ? (uint32_t)(c - 'a') : c == 'A' ? 26u : TRIGO_MAX_AXIS;
        if (at[i] >= sides[i]) return false;
    }
    return true;
}

static trigo_move cell_at(trigo_shape s, uint32_t x, uint32_t y)
{
    return (trigo_move)(x * s.y + s.y - 1 - y);
}

static kvf_status play(trigo_sgf *sgf, const reader *r, trigo_move move, kvf_error *err)
{
    trigo_colour colour = strchr(r->name, 'B') ? TRIGO_BLACK : TRIGO_WHITE;
    kvf_error why;
    kvf_status status = trigo_turns_play(&sgf->turns, colour, move, &why);
    sgf->to_move = trigo_other(colour);
    return status == KVF_ERR_ARG ? refuse(r, why.msg, err) : status;
}

/* A move is a point, or a pass: nothing, or what used to be written on boards without such a point. */
static kvf_status read_move(trigo_sgf *sgf, const reader *r, kvf_error *err)
{
    trigo_shape s = sgf->turns.game->board->shape;
    uint32_t at[2];
    if (r->len == 2 && read_point(s, r->value, at))
        return play(sgf, r, cell_at(s, at[0], at[1]), err);
    if (!r->len || (r->len == 2 && !memcmp(r->value, "tt", 2) && s.x <= 19 && s.y <= 19))
        return play(sgf, r, TRIGO_PASS, err);
    return refuse(r, "no point of this board", err);
}

/* Stones on a point, or on all of a rectangle: AB[aa:cb]. */
static kvf_status read_stones(trigo_sgf *sgf, const reader *r, kvf_error *err)
{
    trigo_shape s = sgf->turns.game->board->shape;
    uint32_t a[2], b[2];
    bool many = r->len == 5 && r->value[2] == ':';
    if ((!many && r->len != 2) || !read_point(s, r->value, a) ||
        !read_point(s, r->value + (many ? 3 : 0), b))
        return refuse(r, "no points of this board", err);
    kvf_status status = KVF_OK;
    for (uint32_t x = a[0]; x <= b[0] && !status; x++)
        for (uint32_t y = a[1]; y <= b[1] && !status; y++) {
            bool first = sgf->turns.game->plies == trigo_sgf_first_ply(sgf);
            if (first && is(r, "AB")) sgf->handicap++;
            status = play(sgf, r, cell_at(s, x, y), err);
        }
    return status;
}

static kvf_status read_line(trigo_sgf *sgf, reader r, uint64_t before, kvf_error *err)
{
    kvf_status status = KVF_OK;
    uint64_t moves = 0;
    while (!status && next_value(&r)) {
        if (is(&r, "B") || is(&r, "W")) {
            if (++moves == before) break;
            status = read_move(sgf, &r, err);
        } else if (is(&r, "AB") || is(&r, "AW")) {
            status = read_stones(sgf, &r, err);
        } else if (is(&r, "AE")) {
            status = refuse(&r, "stones are not taken off the board here", err);
        } else if (is(&r, "PL")) {
            sgf->to_move = *r.value == 'W' || *r.value == 'w' ? TRIGO_WHITE : TRIGO_BLACK;
        }
    }
    if (sgf->handicap < 2) sgf->handicap = 0;
    return status;
}

kvf_status trigo_sgf_read(trigo_sgf *sgf, const char *text, size_t len, uint64_t before,
                          kvf_error *err)
{
    *sgf = (trigo_sgf){.to_move = TRIGO_BLACK};
    trigo_shape shape = {19, 19, 1};
    const reader r = begin(text, len);
    if (r.at == r.end) return no_game(err);
    kvf_status status = read_settings(sgf, r, &shape, err);
    if (!status) status = trigo_turns_begin(&sgf->turns, shape, err);
    if (!status) status = read_line(sgf, r, before, err);
    if (!status) return KVF_OK;
    trigo_turns_end(&sgf->turns);
    *sgf = (trigo_sgf){0};
    return status;
}

kvf_status trigo_sgf_load(trigo_sgf *sgf, const char *path, uint64_t before, kvf_error *err)
{
    kvf_file file;
    *sgf = (trigo_sgf){0};
    kvf_status status = kvf_file_open(&file, path, err);
    if (status) return status;
    status = trigo_sgf_read(sgf, (const char *)file.data, (size_t)file.size, before, err);
    kvf_file_close(&file);
    return status ? kvf_prefix(err, status, "%s: ", path) : KVF_OK;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void write_point(FILE *out, trigo_shape s, trigo_move move)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzA";
    trigo_xyz at = trigo_cell_xyz(s, move);
    if (move == TRIGO_PASS)
        fputs("[]", out);
    else
        fprintf(out, "[%c%c]", letters[at.x], letters[s.y - 1 - at.y]);
}

kvf_status trigo_sgf_write(const trigo_sgf *sgf, char **text, kvf_error *err)
{
    const trigo_game *game = sgf->turns.game;
    trigo_shape s = game->board->shape;
    size_t size;
    FILE *out = open_memstream(text, &size);
    if (!out) return kvf_fail(err, KVF_ERR_NOMEM, "a game's text");
    fprintf(out, "(;FF[4]GM[1]SZ[%d", s.x);
    if (s.x != s.y) fprintf(out, ":%d", s.y);
    fprintf(out, "]KM[%.10g]", sgf->komi);
    if (sgf->handicap) fprintf(out, "HA[%u]AB", sgf->handicap);
    uint32_t first = trigo_sgf_first_ply(sgf);
    for (uint32_t ply = 0; ply < first; ply += 2) write_point(out, s, game->steps[ply].move);
    for (uint32_t ply = first; ply < game->plies; ply++) {
        trigo_move move = game->steps[ply].move;
        if (sgf->turns.put_in[ply] || move == TRIGO_RESIGN) continue;
        fputs(ply % 2 ? "\n;W" : "\n;B", out);
        write_point(out, s, move);
    }
    fputs(")\n", out);
    bool whole = !ferror(out);
    whole &= !fclose(out);
    if (whole) return KVF_OK;
    free(*text);
    *text = NULL;
    return kvf_fail(err, KVF_ERR_NOMEM, "a game's text");
}
