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

static kvf_status make_page(const char *game, uint64_t number, const char *page,
                            const trigo_network_options *network, uint32_t simulations,
                            kvf_error *err)
{
    trigo_view v;
    kvf_status status = trigo_view_read(&v, game, number, err);
    if (!status && network->models) status = analyse(&v, network, simulations, err);
    if (!status) status = trigo_view_write(&v, page, err);
    trigo_view_free(&v);
    return status;
}

int cmd_view(int argc, char **argv)
{
    static const struct option longs[] = {TRIGO_NETWORK_LONGS,
                                          {"game", required_argument, NULL, 'g'},
                                          {"sims", required_argument, NULL, 's'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    trigo_network_options network = {0};
    const char *page = NULL;
    uint64_t number = 1, simulations = 0;
    bool ok = true;
    for (int c; (c = getopt_long(argc, argv, "ho:", longs, NULL)) != -1;) switch (c) {
        case 'h': fputs(usage, stdout); return 0;
        case 'o': page = optarg; break;
        case 'g': ok &= trigo_parse_count(optarg, 1, UINT64_MAX, &number); break;
        case 's': ok &= trigo_parse_count(optarg, 2, 10000000, &simulations); break;
        default: ok &= trigo_network_option(&network, c, optarg);
        }
    if (!ok || !page || optind + 1 != argc || (simulations && !network.models)) {
        fputs(usage, stderr);
        return 2;
    }
    if (!simulations) simulations = SIMULATIONS;
    kvf_error err;
    if (make_page(argv[optind], number, page, &network, (uint32_t)simulations, &err)) {
        fprintf(stderr, "trigo view: %s\n", err.msg);
        return 1;
    }
    fprintf(stderr, "trigo view: the page is %s\n", page);
    return 0;
}
