/* product.h - y = x W over a plan's or a file's matrix, slow and obvious; and thinly.
 *
 * To compare a graph with its plan one would like to multiply through all weights twice, but
 * reading half a gigabyte takes as long as making a model ready. A thin product takes 8 of a
 * column's inputs instead of all of them (and of the vocabulary one column in 16). Which ones
 * depends on what the column holds, not on where it lies, so that graph and plan, which may have
 * cut or copied the matrix in different ways, leave out the same. Both sides then compute the same
 * decoder with sparser weights: it has the same structure, and that is what is being compared. */
#ifndef KVF_LIFT_PRODUCT_H
#define KVF_LIFT_PRODUCT_H

#include "plan.h"

double kvf_matrix_at(const kvf_matrix *w, uint32_t i, uint32_t o);
/* x [rows][in], y [rows][out] is written. thin: 0 for all of the matrix, else the size of the
 * vocabulary. */
void kvf_product(const kvf_matrix *w, const double *x, double *y, size_t rows, uint32_t thin);
#endif
