/* lift.c - from a graph to a plan, by proof. */
#include "model.h"

kvf_status kvf_plan_lift(kvf_plan **out, const struct kvf_model *model, kvf_error *err)
{
    *out = NULL;
    return kvf_fail(err, KVF_ERR_MODEL, "%s: no graph is known to the native plan",
                    model->onnx->path);
}

void kvf_plan_free(kvf_plan *plan)
{
    kvf_free(plan);
}
