/* cmd_analyze.c - trigo analyze: positions to evaluate and search, as JSON lines. */
#include "trigo/cmd.h"

#include <stdio.h>
#include <unistd.h>

#include "trigo/analyze.h"
#include "trigo/network.h"

static const char usage[] =
    "usage: trigo analyze --models DIR [options] < REQUESTS > ANSWERS\n"
    "\n" TRIGO_NETWORK_USAGE "\n"
    "A request is a JSON object on one line:\n"
    "  id        a string or an integer, for the answer\n"
    "  shape     [X,Y,Z], each from 1 to 27\n"
    "  moves     those played so far: \"b0\", \"Pass\", \"Resign\"\n"
    "  sims      simulations of the search; 0 (the default): evaluate only\n"
    "  c_puct    how much the search explores, from 0 (default 1)\n"
    "  mode      \"reference\" (the default) asks the model one thing at a time, \"fast\" many at\n"
    "            once; the visits are the same\n"
    "  seed      of random choices, if there are any\n"
    "All else in it is ignored. Requests are answered as they finish, each with one line:\n"
    "  id\n"
    "  root               N, W of the search, and value, the network's; above 0 White is better\n"
    "  children           for each candidate move, P, score, N, W\n"
    "  chosen             the most visited one; null without a search or if the game is decided\n"
    "  terminal_value     by area, if the game is decided, else null\n"
    "  evaluated_tokens, matched_tokens   computed, and found in the cache\n"
    "  ms                 that it took\n"
    "or, if something is wrong with it, id and error.\n"
    "\n"
    "  echo '{\"id\":1,\"shape\":[5,5,1],\"moves\":[\"00\",\"b0\"],\"sims\":50}' |\n"
    "      trigo analyze --models models/trigo\n";

static bool take(void *options, int code, const char *argument)
{
    return trigo_network_option(options, code, argument);
}

int cmd_analyze(int argc, char **argv)
{
    static const struct option longs[] = {TRIGO_NETWORK_LONGS,
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    static const trigo_command command = {"analyze", "h", longs, 0, take, usage, NULL};
    trigo_network_options o = {0};
    int exit_status = trigo_options_read(&command, &o, argc, argv);
    if (exit_status >= 0) return exit_status;
    if (!o.models) return trigo_usage_error(&command, "--models DIR is missing");
    kvf_error err;
    trigo_network network;
    kvf_status status = trigo_network_open(&network, &o, &err);
    if (!status) {
        const kvf_model_info *info = kvf_model_get_info(network.model);
        fprintf(stderr, "trigo analyze: set %s on %s (%s)\n", trigo_set_name(network.set),
                info->engine, info->why);
        status = trigo_analyze(network.policy, STDIN_FILENO, stdout, &err);
        trigo_network_close(&network);
    }
    if (!status) return 0;
    fprintf(stderr, "trigo analyze: %s: %s\n", kvf_status_name(status), err.msg);
    return 1;
}
