/* policy.h - a network as an evaluator: positions are paths in a tree of tokens.
 *
 *     START [ B o a r d _ 5 x 5 ] ... 1 . _ ─┬─ a ─┬─ 0 ── _ ── ...    the prompt of a position
 *                                            │     └─ (y ...)          is a path, and that of the
 *                                            ├─ b ── ...               next one goes on from it
 *                                            ├─ P ── a ── s
 *                                            └─ VALUE
 *
 * Below a prompt's end lies the tree of its candidates' characters (candidates.h): their logits
 * make the priors, and the same nodes are the beginnings of the prompts after these moves. VALUE is
 * one more child; its row gives the value. So a position costs the tokens that no earlier one had,
 * and what both trees share needs no bookkeeping: the token tree finds it.
 *
 * What a position's prompt ended in is noted with the search's node (trigo_ask.note). Such a node
 * may go when the cache is full; then the path is walked again from the root, and what is missing
 * is evaluated again. The root's own prompt is held.
 *
 * From the logits, which are f32, on everything is double:
 *
 *     l(node, c) = max(ln softmax(logits of node)[c], ln 1e-10)
 *     score of a candidate c1 c2 .. cr = l(prompt's end, c1) + l(c1, c2) + .. + l(c(r-1), cr)
 *     priors = softmax of the scores */
#ifndef TRIGO_POLICY_H
#define TRIGO_POLICY_H

#include "trigo/evaluator.h"

typedef struct trigo_policy trigo_policy;

typedef struct trigo_policy_options {
    uint32_t cache_tokens; /* of the tree; 0: TRIGO_CACHE_TOKENS */
    bool no_cache;         /* keep nothing between calls */
} trigo_policy_options;

enum {
    TRIGO_CACHE_TOKENS = 1 << 15,
    TRIGO_AHEAD = 3, /* tokens that an evaluation may put behind a prompt in one path: "Pas" */
};

/* Whether a model suits the game: its vocabulary, its heads, and a context that has room for more
 * than an empty board. Errors: KVF_ERR_MODEL. */
kvf_status trigo_policy_check(const kvf_model *model, kvf_error *err);

/* Take a model of the game as evaluator of positions.
 *
 * out      set on KVF_OK, else NULL; free it with trigo_policy_destroy
 * model    borrowed: must outlive the policy
 * options  NULL for the defaults
 * Memory   the tree; buffers that grow with the largest call
 * Errors   those of trigo_policy_check and kvf_tree_create */
kvf_status trigo_policy_create(trigo_policy **out, const kvf_model *model,
                               const trigo_policy_options *options, kvf_error *err);
void trigo_policy_destroy(trigo_policy *policy); /* NULL is fine; after the searches that use it */

/* The policy as evaluator, to be used while it lives. Beyond the evaluator's own, ask fails with
 *   KVF_ERR_NAN   the model gave something that is no number, and after which ply
 *   KVF_ERR_FULL  one position and what it needs do not fit in the cache
 * and what else kvf_eval may meet. A position whose prompt and TRIGO_AHEAD tokens exceed the
 * model's context is out of it. */
trigo_evaluator trigo_policy_evaluator(trigo_policy *policy);

/* The tree, to ask it for its stats. */
const kvf_tree *trigo_policy_tree(const trigo_policy *policy);

#endif
