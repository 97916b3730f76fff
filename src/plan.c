/* plan.c - what follows from a plan, for every engine that runs one. */
#include "plan.h"

#include <math.h>

uint32_t kvf_plan_widest_stage(const kvf_plan *plan)
{
    uint32_t widest = plan->hidden;
    for (int h = 0; h < KVF_HEADS; h++)
        for (uint32_t i = 0; i < plan->head[h].n_stages && plan->head[h].n_stages > 1; i++)
            if (plan->head[h].stages[i].linear.w.out > widest)
                widest = plan->head[h].stages[i].linear.w.out;
    return widest;
}

void kvf_rotary_tabulate(const kvf_rotary *r, uint32_t depth, float *to_cos, float *to_sin)
{
    for (uint32_t p = 0; p < depth; p++)
        for (uint32_t j = 0; j < r->pairs; j++) {
            float angle = (float)p * r->frequencies[j];
            to_cos[(size_t)p * r->pairs + j] = (float)cos(angle) * r->scale;
            to_sin[(size_t)p * r->pairs + j] = (float)sin(angle) * r->scale;
        }
}
