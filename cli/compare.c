/* compare.c - how far two sets of logits are apart. */
#include "compare.h"

#include <math.h>

static size_t argmax(const float *x, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

static double log_sum_exp(const float *x, size_t n, float top)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += exp((double)x[i] - top);
    return top + log(sum);
}

static double divergence(const float *got, const float *want, size_t n, size_t best_got,
                         size_t best_want)
{
    double from = log_sum_exp(got, n, got[best_got]), to = log_sum_exp(want, n, want[best_want]),
           sum = 0;
    for (size_t i = 0; i < n; i++) {
        double p = want[i] - to;
        sum += exp(p) * (p - (got[i] - from));
    }
    return sum > 0 ? sum : 0;
}

void compare_rows(comparison *c, const float *got, const float *want, size_t rows, size_t width)
{
    for (size_t r = 0; r < rows; r++, got += width, want += width, c->rows++) {
        double largest = 0;
        for (size_t i = 0; i < width; i++) {
            double d = fabs((double)got[i] - want[i]);
            if (!isfinite(d)) d = INFINITY;
            if (d > largest) largest = d;
            if (d <= c->largest) continue;
            c->largest = d;
            c->row = c->rows;
            c->column = i;
            c->got = got[i];
            c->want = want[i];
        }
        size_t a = argmax(got, width), b = argmax(want, width);
        c->kl_sum += divergence(got, want, width, a, b);
        if (a == b)
            c->argmax_equal++;
        else if ((double)want[b] - want[a] <= 2 * largest)
            c->close_calls++;
    }
}
