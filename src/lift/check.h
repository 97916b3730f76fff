/* check.h - a plan against the graph it was lifted from, in numbers. */
#ifndef KVF_LIFT_CHECK_H
#define KVF_LIFT_CHECK_H

#include "eval.h"
#include "model.h"

/* Run the graph, in double, and the plan on the same random tokens (and a random past), and
 * compare every output.
 *
 * constants  the graph's, as kvf_ev_run(..., true) left them, or NULL: computed here
 * fresh, before  as in probe.h
 * worst      set to the largest difference, relative to the largest number of its output
 * Errors     KVF_ERR_MODEL: the graph does not run; KVF_ERR_NOMEM */
kvf_status kvf_plan_compare(const struct kvf_model *model, const kvf_plan *plan,
                            const kvf_ev *constants, uint32_t fresh, uint32_t before, uint64_t seed,
                            double *worst, kvf_error *err);
#endif
