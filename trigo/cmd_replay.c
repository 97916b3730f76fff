/* cmd_replay.c - trigo replay: game records, played again and written in full. */
#include "trigo/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "trigo/json.h"
#include "trigo/options.h"
#include "trigo/record.h"

static const char usage[] =
    "usage: trigo replay FILE.jsonl\n"
    "\n"
    "Plays the games of a file again by the rules and writes each as one JSON line that says\n"
    "everything about each of its positions.\n"
    "\n"
    "A line of the file is an object with `id` (a string), `shape` [X,Y,Z], and `moves`, an array\n"
    "of moves (\"b0\", \"Pass\", \"Resign\") or of objects with such a `move`. All else in it is\n"
    "ignored, so what was written can be read again. The first line that is wrong ends the work.\n"
    "\n"
    "Cells are written as index (x*Y + y)*Z + z. A line that is written has\n"
    "  id, shape; cells       the name of every cell in order of index\n"
    "  initial                the first position: board (a character a cell: . B W), to_move, legal,\n"
    "                         ko_forbidden and suicide_forbidden (drops of the side to move),\n"
    "                         single_capture_memory (the cell of the one stone that was taken last,\n"
    "                         or -1), pass_count, active, territory [black, white, neutral]\n"
    "  moves                  the same after each ply, and ply, player, move, xyz, index, captured\n"
    "  final                  plies, ended, territory, captured_counts, winner (B, W, draw or null)\n"
    "  tgn, token_ids         the game's text with its score line, and its tokens\n"
    "  prompts                at some plies: tgn, tgn_with_score, candidates, and the tree of their\n"
    "                         characters: tokens, parent of each node, leaf of each candidate\n"
    "\n"
    "  echo '{\"id\":\"one\",\"shape\":[5,5,1],\"moves\":[\"00\",\"b0\"]}' > game.jsonl\n"
    "  trigo replay game.jsonl\n";

static kvf_status replay_line(const char *line, size_t len, kvf_error *err)
{
    json_t *object;
    trigo_game *game;
    kvf_status status = trigo_json_object(&object, line, len, err);
    if (status) return status;
    const json_t *id = json_object_get(object, "id");
    if (!json_is_string(id)) {
        json_decref(object);
        return kvf_fail(err, KVF_ERR_ARG, "'id' should be a string");
    }
    status = trigo_json_game(&game, object, err);
    if (!status) {
        char *text = json_dumps(id, JSON_ENCODE_ANY);
        status = text ? trigo_record_write(stdout, text, game, err)
                      : kvf_fail(err, KVF_ERR_NOMEM, "an id");
        free(text);
        trigo_game_destroy(game);
    }
    json_decref(object);
    return status;
}

static kvf_status replay_file(const char *path, kvf_error *err)
{
    FILE *file = fopen(path, "r");
    if (!file) return kvf_fail(err, KVF_ERR_IO, "%s: %s", path, strerror(errno));
    kvf_status status = KVF_OK;
    char *line = NULL;
    size_t room = 0, number = 0;
    ssize_t len;
    while (!status && (len = getline(&line, &room, file)) >= 0) {
        number++;
        if (strspn(line, " \t\r\n") == (size_t)len) continue;
        status = replay_line(line, (size_t)len, err);
        if (status) kvf_prefix(err, status, "%s: line %zu: ", path, number);
    }
    if (!status && !feof(file)) status = kvf_fail(err, KVF_ERR_IO, "%s: %s", path, strerror(errno));
    if (!status && fflush(stdout))
        status = kvf_fail(err, KVF_ERR_IO, "standard output: %s", strerror(errno));
    free(line);
    fclose(file);
    return status;
}

int cmd_replay(int argc, char **argv)
{
    static const struct option longs[] = {{"help", no_argument, NULL, 'h'}, {0}};
    static const trigo_command command = {"replay", "h", longs, 1, NULL, usage, NULL};
    int exit_status = trigo_options_read(&command, NULL, argc, argv);
    if (exit_status >= 0) return exit_status;
    if (optind == argc) return trigo_usage_error(&command, "which FILE?");
    kvf_error err;
    if (replay_file(argv[optind], &err) == KVF_OK) return 0;
    fprintf(stderr, "trigo replay: %s\n", err.msg);
    return 1;
}
