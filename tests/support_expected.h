/* support_expected.h - recorded runs: folders with model.onnx, expected.json and logits.f32, as in
 * tests/data/corpus/valid and tests/data/made. */
#ifndef SUPPORT_EXPECTED_H
#define SUPPORT_EXPECTED_H

#include "kvfork.h"

typedef struct expected {
    char name[64], model[512];
    uint32_t vocab;
    uint32_t trunk, branch_at, branch[2]; /* numbers of tokens */
    uint32_t n;                           /* trunk, then both branches */
    int32_t *tokens;                      /* [n] */
    int32_t *parent;                      /* [n] index of the token before, or -1 */
    float *logits;                        /* [n][vocab] */
    bool exact; /* false: ONNX Runtime's own numbers for weights or arithmetic of few bits */
} expected;

/* Read one folder; prefers logits_as_shipped.f32. False with words on stderr if that fails. */
bool expected_read(expected *e, const char *folder);
void expected_free(expected *e);
/* Take logits.f32 instead: what the stored weights give in f32, whatever the file's own arithmetic
 * is. */
bool expected_take_exact(expected *e, const char *folder);
/* Whether a plan can say it, and it gives numbers: not so for some of tests/data/made, for reasons
 * that test_lift.c has. */
bool expected_lifts(const expected *e);
/* Run the trunk and both branches in calls of at most chunk tokens, a branch beginning a call; chunk
 * 0: all in one call. logits [n][vocab]. Fails the test if a call fails. */
void expected_run(const expected *e, kvf_tree *tree, uint32_t chunk, float *logits);

/* The names of the folders in tests/data/FOLDER that hold a model, sorted: full paths, [*n]. Free
 * each and the list. */
char **expected_folders(const char *folder, size_t *n);

/* Whether ONNX Runtime is there; if not, why is said on stderr: such a test is skipped (77). */
bool ort_is_here(void);

/* The largest difference of two arrays; infinite if one of a pair is NaN and the other is not. */
double largest_difference(const float *a, const float *b, size_t n);
/* Whether the largest elements of two rows agree, or are so near that rounding may decide. */
bool same_choice(const float *a, const float *b, uint32_t width, double near);
#endif
