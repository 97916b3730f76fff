/* compare.h - how far two sets of logits are apart. */
#ifndef KVF_COMPARE_H
#define KVF_COMPARE_H

#include <stddef.h>
#include <stdint.h>

typedef struct comparison {
    uint64_t rows, argmax_equal;
    double largest; /* absolute difference; infinite where either is not finite */
    uint64_t row;   /* where it is, counted from the first row compared */
    size_t column;
    float got, want;      /* there */
    double kl_sum;        /* of KL(want || got) over rows, in nats */
    uint64_t close_calls; /* rows with another argmax, whose two best of `want` are closer than
                             twice the largest difference of that row: no fault by itself */
} comparison;

/* Add rows [rows][width]. Begin with a zeroed comparison. */
void compare_rows(comparison *c, const float *got, const float *want, size_t rows, size_t width);
#endif
