/* cmd_view.c - trigo view: a game as a page. */
#include "trigo/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "trigo/network.h"
#include "trigo/view.h"

enum { SIMULATIONS = 50 };

static const char usage[] =
    "usage: trigo view GAME -o PAGE.html [--models DIR [--sims N]] [options]\n"
    "\n"
    "Writes one page that shows a game in a browser, without a network: the board, or the layers of\n"
    "one in 3D, at every ply; what was taken; the area. Arrow keys, a slider, the list of moves and\n"
    "the curves step through it; PAGE.html#12 opens at ply 12.\n"
    "\n"
    "GAME is a game's text (TGN), or a file of JSON lines: what `trigo replay` and `trigo selfplay`\n"
    "write, or objects with `shape` and `moves`. With --models every position is searched while the\n"
    "page is made, and the page shows its value, and priors and visits on the board; else what a\n"
    "record of self-play says of it.\n"
    "\n"
    "  -o FILE            the page; it appears when it is whole\n"
    "  --game N           which game of a file of several, from 1 (default 1)\n"
    "  --sims N           simulations for each position, from 2 (default 50)\n"
    "\n" TRIGO_NETWORK_USAGE "\n"
    "  trigo view game.tgn -o game.html\n"
    "  trigo view games.jsonl --game 3 -o game.html --models models/trigo --sims 400\n";

typedef struct options {
    trigo_network_options network;
    const char *page;
    uint64_t number, simulations; /* 0: not said */
} options;

static void show_progress(uint32_t done, uint32_t of)
{
    fprintf(stderr, "\rtrigo view: searched %u of %u positions%s", done, of,
            done == of ? "\n" : "");
}

/* Search the game with the model of the options, and note who says so. */
static kvf_status analyse(trigo_view *v, const trigo_network_options *o, uint32_t simulations,
                          kvf_error *err)
{
    trigo_network network;
    kvf_status status = trigo_network_open(&network, o, err);
    if (status) return status;
    const kvf_model_info *info = kvf_model_get_info(network.model);
    trigo_evaluator evaluator = trigo_policy_evaluator(network.policy);
    free(v->analysis);
    if (asprintf(&v->analysis, "%u simulations a position; set %s of %s on %s, %s", simulations,
                 trigo_set_name(network.set), o->models, info->engine, info->precision) < 0)
        v->analysis = NULL;
    status = v->analysis ? trigo_view_search(v, &evaluator, simulations,
                                             isatty(STDERR_FILENO) ? show_progress : NULL, err)
                         : KVF_ERR_NOMEM;
    trigo_network_close(&network);
    return status;
}

static kvf_status make_page(const char *game, const options *o, kvf_error *err)
{
    trigo_view v;
    uint32_t simulations = o->simulations ? (uint32_t)o->simulations : SIMULATIONS;
    kvf_status status = trigo_view_read(&v, game, o->number, err);
    if (!status && o->network.models) status = analyse(&v, &o->network, simulations, err);
    if (!status) status = trigo_view_write(&v, o->page, err);
    trigo_view_free(&v);
    return status;
}

static bool take(void *options_read, int code, const char *argument)
{
    options *o = options_read;
    switch (code) {
    case 'o': o->page = argument; return true;
    case 'g': return trigo_parse_count(argument, 1, UINT64_MAX, &o->number);
    case 's': return trigo_parse_count(argument, 2, 10000000, &o->simulations);
    default: return trigo_network_option(&o->network, code, argument);
    }
}

int cmd_view(int argc, char **argv)
{
    static const struct option longs[] = {TRIGO_NETWORK_LONGS,
                                          {"game", required_argument, NULL, 'g'},
                                          {"sims", required_argument, NULL, 's'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    static const trigo_command command = {"view", "ho:", longs, 1, take, usage, NULL};
    options o = {.number = 1};
    int exit_status = trigo_options_read(&command, &o, argc, argv);
    if (exit_status >= 0) return exit_status;
    if (optind == argc) return trigo_usage_error(&command, "which GAME?");
    if (!o.page) return trigo_usage_error(&command, "-o PAGE.html is missing");
    if (o.simulations && !o.network.models)
        return trigo_usage_error(&command, "--sims needs --models DIR");
    kvf_error err;
    if (make_page(argv[optind], &o, &err)) {
        fprintf(stderr, "trigo view: %s\n", err.msg);
        return 1;
    }
    fprintf(stderr, "trigo view: the page is %s\n", o.page);
    return 0;
}
