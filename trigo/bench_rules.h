/* bench_rules.h - how fast the rules are. */
#ifndef TRIGO_BENCH_RULES_H
#define TRIGO_BENCH_RULES_H

#include <jansson.h>

#include "trigo/board.h"

/* Measure boards of several shapes.
 *
 * seconds  for each figure; it is that of the fastest of five runs that share them
 * rows     set on KVF_OK to an array of one object per shape, drop it with json_decref; else NULL:
 *          shape            as in a game's text
 *          moves_per_s      random games from the empty board: list the legal drops, play one
 *          drops_us         list the legal drops of a position half full of stones
 *          play_undo_ns     there: play a legal drop and take it back
 *          copy_ns          there: copy the board
 *          area_us          there: count the area
 *          perft_depth, perft   sequences of so many legal moves, passes too, from the empty board
 *          perft_per_s      sequences counted in a second, by playing and undoing
 * Errors   KVF_ERR_NOMEM */
kvf_status trigo_bench_rules(double seconds, json_t **rows, kvf_error *err);

/* Count the sequences of `depth` legal moves (drops and passes) from a position, which is left as
 * it was. drops [depth][cells] is room to work in. */
uint64_t trigo_perft(trigo_board *board, uint32_t depth, trigo_move *drops);

#endif
