/* samples.h - games as arrays to train a policy and a value on.
 *
 * A game is one text, and a position's prompt the beginning of it; so tokens are kept once for a
 * game, and a position is a length. Games follow each other, positions of a game, candidates of a
 * position; `_start` arrays say where the i-th one's lie: [start[i] ... start[i + 1]).
 *
 *     game             i8 [G]     index in the generation
 *     shape            u1 [G, 3]
 *     score            i4 [G]     White's lead by area at the end
 *     outcome          f4 [G]     the value to learn: 0, or sign(score) * (1 + ln |score|)
 *     end              u1 [G]     trigo_end
 *     token_start      i8 [G + 1]
 *     tokens           u1 [T]     START, the text with its score line, END
 *     position_start   i8 [G + 1]
 *     prompt_length    i4 [P]     the position's prompt: so many tokens of its game
 *     visits           u4 [P]     N of the root
 *     root_value       f4 [P]     W / N
 *     network_value    f4 [P]     before the search
 *     played           i4 [P]     which of its candidates
 *     candidate_start  i8 [P + 1]
 *     candidate_tokens u1 [C, 4]  what a candidate adds to the prompt, filled up with PAD
 *     candidate_visits u4 [C]     the policy to learn: divided by their sum */
#ifndef TRIGO_SAMPLES_H
#define TRIGO_SAMPLES_H

#include "trigo/npz.h"
#include "trigo/played.h"

enum { TRIGO_SAMPLE_ARRAYS = 16 };

typedef struct trigo_samples {
    trigo_array array[TRIGO_SAMPLE_ARRAYS];
} trigo_samples;

/* Begin without a game; trigo_samples_free afterwards, also if it fails. Errors: KVF_ERR_NOMEM. */
kvf_status trigo_samples_begin(trigo_samples *samples, kvf_error *err);
kvf_status trigo_samples_add(trigo_samples *samples, const trigo_played *played, kvf_error *err);
void trigo_samples_free(trigo_samples *samples); /* zeroed is fine */

#endif
