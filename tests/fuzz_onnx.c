/* fuzz_onnx.c - a libFuzzer target: any bytes are read as a model, its contract is looked for, and
 * everything that was found is followed. Built with clang and -DKVF_FUZZ=ON; run it as
 *
 *     build/tests/fuzz_onnx -max_total_time=300 -max_len=65536 FOLDER_OF_SMALL_MODELS
 *
 * Memory comes from the heap, so AddressSanitizer sees a read beyond the bytes given; the reader's
 * budget keeps a file from asking for more than libFuzzer allows. */
#include "model.h"
#include "support_onnx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static volatile uint64_t seen; /* so that nothing read is left out */
    kvf_onnx *onnx;
    kvf_contract contract;
    kvf_error err;
    if (kvf_onnx_parse(&onnx, data, size, "fuzz", &err)) return 0;
    seen = touch_all(onnx);
    (void)seen;
    if (!kvf_contract_read(&contract, onnx, NULL, &err)) kvf_contract_free(&contract);
    kvf_onnx_close(onnx);
    return 0;
}
