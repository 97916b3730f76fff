/* view_page.c - the page: boards, controls, curves, the list of moves, and what the script reads.
 *
 * All of it but the stones of earlier plies is there without the script: the position at the end,
 * the moves, the curves. */
#include "trigo/view.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/page.h"
#include "report/plot.h"
#include "trigo/notation.h"

extern const char trigo_view_css[], trigo_view_js[]; /* view.css, view.js */

/* ---- words ----------------------------------------------------------------------------------- */

static const char *colour_name(trigo_colour c)
{
    return c == TRIGO_BLACK ? "Black" : "White";
}

static void put_result(kvf_output *out, const trigo_board *b)
{
    char text[160];
    trigo_area area = trigo_board_area(b);
    trigo_colour winner = trigo_board_winner(b);
    if (b->now.resigned)
        snprintf(text, sizeof text, "%s wins: %s resigned", colour_name(winner),
                 colour_name(b->now.resigned));
    else if (trigo_board_ended(b))
        snprintf(text, sizeof text, "%s%s by area and prisoners, Black %u, White %u",
                 winner ? colour_name(winner) : "a draw", winner ? " wins" : "",
                 area.black + b->now.captured[TRIGO_WHITE],
                 area.white + b->now.captured[TRIGO_BLACK]);
    else
        snprintf(text, sizeof text, "not ended by passes; by area Black %u, White %u", area.black,
                 area.white);
    page_fact(out, "Result", text);
}

static void put_head(kvf_output *out, const trigo_view *v)
{
    const trigo_board *b = v->game->board;
    char shape[TRIGO_SHAPE_TEXT], text[64];
    trigo_shape_write(b->shape, shape);
    kvf_output_print(out, "<h1>Trigo %s <small>", shape);
    page_text(out, v->name);
    kvf_output_print(out, "</small></h1>\n<dl class=\"facts\">\n");
    put_result(out, b);
    snprintf(text, sizeof text, "%u plies, %u stones taken", b->now.ply,
             b->now.captured[TRIGO_BLACK] + b->now.captured[TRIGO_WHITE]);
    page_fact(out, "Length", text);
    if (v->analysis) page_fact(out, "Analysis", v->analysis);
    kvf_output_print(out, "</dl>\n");
}

/* A round on each line; a move is a button that shows the position behind it. */
static void put_moves(kvf_output *out, const trigo_game *game)
{
    kvf_output_print(out, "<figure class=\"moves\"><figcaption>Moves</figcaption>\n<ol>\n");
    for (uint32_t i = 0; i < game->plies; i++) {
        char name[TRIGO_MOVE_TEXT];
        uint16_t taken = game->steps[i].captured;
        trigo_move_write(game->board->shape, game->steps[i].move, name);
        kvf_output_print(out, "%s<button type=\"button\" class=\"%s\" data-ply=\"%u\">%s",
                         i % 2 ? "" : "<li>", i % 2 ? "w" : "b", i + 1, *name ? name : "&middot;");
        if (taken) kvf_output_print(out, "<small>&times;%u</small>", taken);
        kvf_output_print(out, "</button>%s", i % 2 || i + 1 == game->plies ? "</li>\n" : "");
    }
    kvf_output_print(out, "</ol></figure>\n");
}

/* What the script fills and hears. */
static void put_controls(kvf_output *out, uint32_t plies, bool visits, bool priors)
{
    static const char *const button[][2] = {{"first", "&#171;"},
                                            {"back", "&#8249;"},
                                            {"next", "&#8250;"},
                                            {"last", "&#187;"}};
    kvf_output_print(
        out,
        "<nav hidden=\"hidden\"><p id=\"status\" aria-live=\"polite\"></p>\n<div class=\"bar\">");
    for (size_t i = 0; i < 4; i++)
        kvf_output_print(out,
                         "<button type=\"button\" data-go=\"%s\" aria-label=\"%s\">%s</button>",
                         button[i][0], button[i][0], button[i][1]);
    kvf_output_print(
        out,
        "<input id=\"ply\" type=\"range\" min=\"0\" max=\"%u\" value=\"%u\" aria-label=\"ply\"/></div>\n",
        plies, plies);
    if (visits || priors) {
        kvf_output_print(
            out,
            "<div class=\"heat\" role=\"group\" aria-label=\"shown on the board\">on the board");
        if (visits)
            kvf_output_print(out, "<button type=\"button\" data-heat=\"visits\">visits</button>");
        if (priors)
            kvf_output_print(out, "<button type=\"button\" data-heat=\"prior\">priors</button>");
        kvf_output_print(out,
                         "<button type=\"button\" data-heat=\"none\">stones only</button></div>\n");
    }
    kvf_output_print(
        out, "</nav>\n<p class=\"signs\">Red ring: the last move. Dashed: taken by it.%s</p>\n",
        visits || priors ? " Dark ring: the move played next." : "");
}

/* ---- curves ---------------------------------------------------------------------------------- */

/* A network's value is from -1 to 1, that of a decided position up to 1 and the logarithm of its
 * lead, beside which nothing else could be seen. */
static double cut(double value)
{
    return value > 1 ? 1 : value < -1 ? -1 : value;
}

static void put_values(kvf_output *out, const trigo_view *v)
{
    plot p = {.title = "Value",
              .x_name = "ply",
              .y_name = "above 0 White is better; what is decided lies on the edge",
              .id = "values",
              .low = -1,
              .high = 1};
    for (uint32_t i = 0; i <= v->game->plies; i++) {
        plot_add(&p, "network", i, cut(v->positions[i].value));
        plot_add(&p, "search", i, cut(v->positions[i].searched));
    }
    plot_curves(&p, out);
    plot_free(&p);
}

/* From the second stone on: one stone alone owns the whole board. */
static void put_area(kvf_output *out, const trigo_area *area, uint32_t plies)
{
    plot p = {.title = "Area",
              .x_name = "ply",
              .y_name = "White's lead, in cells",
              .id = "area",
              .low = -1,
              .high = 1};
    for (uint32_t i = 0; i <= plies; i++)
        if (i != 1)
            plot_add(&p, "White's area less Black's", i, (double)area[i].white - area[i].black);
    plot_curves(&p, out);
    plot_free(&p);
}

/* ---- the script's data ----------------------------------------------------------------------- */

static void put_number(kvf_output *out, double x)
{
    if (isfinite(x))
        kvf_output_print(out, ",%.4g", x);
    else
        kvf_output_print(out, ",null");
}

/* Passes and resignations are -1 and -2. */
static int number_of(trigo_move move)
{
    return move == TRIGO_PASS ? -1 : move == TRIGO_RESIGN ? -2 : move;
}

/* [visits, value, searched, [[move, visits, prior, value], ...]], or null. */
static void put_position(kvf_output *out, const trigo_view_position *p)
{
    if (!p->n && !p->visits && isnan(p->value)) {
        kvf_output_print(out, "null");
        return;
    }
    kvf_output_print(out, "[%u", p->visits);
    put_number(out, p->value);
    put_number(out, p->searched);
    kvf_output_print(out, ",[");
    for (uint32_t i = 0; i < p->n; i++) {
        kvf_output_print(out, "%s[%d,%u", i ? "," : "", number_of(p->moves[i].move),
                         p->moves[i].visits);
        put_number(out, p->moves[i].prior);
        put_number(out, p->moves[i].value);
        kvf_output_print(out, "]");
    }
    kvf_output_print(out, "]]");
}

static void put_names(kvf_output *out, const trigo_board *b)
{
    kvf_output_print(out, "names: [");
    for (uint32_t i = 0; i < b->cells; i++) {
        char name[TRIGO_MOVE_TEXT];
        trigo_move_write(b->shape, (trigo_move)i, name);
        kvf_output_print(out, "%s\"%s\"", i ? "," : "", name);
    }
    kvf_output_print(out, "],\n");
}

/* Play the game again: each ply's move and what it took, and the area after it. */
static kvf_status put_plies(kvf_output *out, const trigo_game *game, trigo_area *area,
                            kvf_error *err)
{
    trigo_game *now;
    kvf_status status = trigo_game_create(&now, game->board->shape, err);
    if (status) return status;
    uint16_t *cells = kvf_array(game->board->cells, sizeof *cells);
    if (!cells) status = kvf_fail(err, KVF_ERR_NOMEM, "a list of cells");
    area[0] = trigo_board_area(now->board);
    kvf_output_print(out, "plies: [");
    for (uint32_t i = 0; i < game->plies && !status; i++) {
        status = trigo_game_play(now, game->steps[i].move, err);
        if (status) break;
        area[i + 1] = trigo_board_area(now->board);
        kvf_output_print(out, "%s[%d", i ? "," : "", number_of(game->steps[i].move));
        trigo_board_captured(now->board, &now->steps[i], cells);
        for (uint32_t k = 0; k < now->steps[i].captured; k++)
            kvf_output_print(out, ",%u", cells[k]);
        kvf_output_print(out, "]");
    }
    kvf_output_print(out, "],\n");
    kvf_free(cells);
    trigo_game_destroy(now);
    return status;
}

static kvf_status put_data(kvf_output *out, const trigo_view *v, trigo_area *area, kvf_error *err)
{
    uint32_t plies = v->game->plies;
    kvf_output_print(out, "<script>\nconst game = {\n");
    put_names(out, v->game->board);
    kvf_status status = put_plies(out, v->game, area, err);
    kvf_output_print(out, "area: [");
    for (uint32_t i = 0; i <= plies; i++)
        kvf_output_print(out, "%s[%u,%u]", i ? "," : "", area[i].black, area[i].white);
    kvf_output_print(out, "],\npositions: [");
    for (uint32_t i = 0; i <= plies; i++) {
        if (i) kvf_output_print(out, ",\n");
        put_position(out, &v->positions[i]);
    }
    kvf_output_print(out, "]};\n</script>\n");
    return status;
}

/* ---- the page -------------------------------------------------------------------------------- */

static void find_known(const trigo_view *v, bool *visits, bool *priors)
{
    *visits = *priors = false;
    for (uint32_t i = 0; i <= v->game->plies; i++)
        for (uint32_t k = 0; k < v->positions[i].n; k++) {
            *visits |= v->positions[i].moves[k].visits > 0;
            *priors |= !isnan(v->positions[i].moves[k].prior);
        }
}

static kvf_status put_page(kvf_output *out, const trigo_view *v, trigo_area *area, kvf_error *err)
{
    const trigo_game *game = v->game;
    bool visits, priors;
    find_known(v, &visits, &priors);
    put_head(out, v);
    kvf_status status = put_data(out, v, area, err);
    if (status) return status;
    kvf_output_print(out, "<main>\n<section class=\"position\">\n");
    trigo_view_boards(game->board, game->plies ? game->steps[game->plies - 1].move : TRIGO_NONE,
                      out);
    put_controls(out, game->plies, visits, priors);
    kvf_output_print(out, "</section>\n<section class=\"side\">\n");
    if (visits || priors)
        kvf_output_print(
            out,
            "<figure id=\"thoughts\" hidden=\"hidden\"><figcaption>Considered here</figcaption><div></div></figure>\n");
    if (v->analysis) put_values(out, v);
    put_area(out, area, game->plies);
    put_moves(out, game);
    kvf_output_print(out, "</section>\n</main>\n<script>\n%s</script>\n", trigo_view_js);
    return KVF_OK;
}

kvf_status trigo_view_write(const trigo_view *view, const char *path, kvf_error *err)
{
    kvf_output out;
    trigo_area *area = kvf_array(view->game->plies + 1u, sizeof *area);
    if (!area) return kvf_fail(err, KVF_ERR_NOMEM, "areas of %u plies", view->game->plies);
    kvf_status status = page_open(&out, path, view->name, trigo_view_css, err);
    if (!status) {
        status = put_page(&out, view, area, err);
        if (!status)
            status = page_close(&out, err);
        else
            kvf_output_abandon(&out);
    }
    kvf_free(area);
    return status;
}
