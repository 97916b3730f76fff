/* fuzz_onnx.c - a libFuzzer target: any bytes are read as a model, its contract is looked for, and
 * everything that was found is followed. Built with clang and -DKVF_FUZZ=ON; run it as
 *
 *     build/tests/fuzz_onnx -max_total_time=300 -max_len=65536 FOLDER_OF_SMALL_MODELS
 *
 * Memory comes from the heap, so AddressSanitizer sees a read beyond the bytes given; the reader's
 * budget keeps a file from asking for more than libFuzzer allows. */
#include "model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t touch_tensor(const kvf_tensor *t)
{
    const uint8_t *bytes = t->data;
    return t->bytes ? (uint64_t)bytes[0] + bytes[t->bytes - 1] + t->count : t->count;
}

static uint64_t touch(const kvf_graph *g)
{
    uint64_t sum = g->n_values;
    for (uint32_t i = 0; i < g->n_initializers; i++) sum += touch_tensor(&g->initializers[i]);
    for (uint32_t i = 0; i < g->n_ops; i++)
        for (uint32_t a = 0; a < g->ops[i].n_attrs; a++) {
            const kvf_attr *attr = &g->ops[i].attrs[a];
            for (uint64_t k = 0; k < attr->n; k++) {
                if (attr->ints) sum += (uint64_t)attr->ints[k];
                if (attr->strings) sum += (uint64_t)attr->strings[k][0];
            }
            if (attr->tensor) sum += touch_tensor(attr->tensor);
            if (attr->graph) sum += touch(attr->graph);
        }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static volatile uint64_t seen; /* so that nothing read is left out */
    kvf_onnx *onnx;
    kvf_contract contract;
    kvf_error err;
    if (kvf_onnx_parse(&onnx, data, size, "fuzz", &err)) return 0;
    seen += touch(onnx->graph);
    if (!kvf_contract_read(&contract, onnx, NULL, &err)) kvf_contract_free(&contract);
    kvf_onnx_close(onnx);
    return 0;
}
