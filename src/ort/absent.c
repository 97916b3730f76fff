/* absent.c - the engine `ort` of a build without ONNX Runtime's header: it is in the list, and says
 * what is missing. Built instead of all other files of this folder. */
#include "model.h"

static kvf_status refuse(const kvf_model *model, kvf_error *err)
{
    (void)model;
    return kvf_fail(err, KVF_ERR_ENGINE,
                    "this build has no ort engine: ONNX Runtime's header (onnxruntime_c_api.h) was "
                    "not found; scripts/setup.sh fetches it; or configure with "
                    "-DONNXRUNTIME_ROOT=FOLDER, an unpacked release of ONNX Runtime; then build "
                    "again");
}

static kvf_status refuse_load(void **engine, kvf_model *model, kvf_error *err)
{
    *engine = NULL;
    return refuse(model, err);
}

static void unload(void *engine)
{
    (void)engine; /* there never was one */
}

const kvf_engine_ops kvf_engine_ort = {.name = "ort",
                                       .accepts = refuse,
                                       .load = refuse_load,
                                       .unload = unload};
