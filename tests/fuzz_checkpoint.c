/* fuzz_checkpoint.c - a libFuzzer target: any bytes are a checkpoint's config.json, a zero byte, and
 * its model.safetensors; what is accepted is exported, and must then read as a model. Built with
 * clang and -DKVF_FUZZ=ON. Seeds are checkpoints of a few kilobytes:
 *
 *     (cat config.json; printf '\0'; cat model.safetensors) >SEEDS/name
 *     build/tests/fuzz_checkpoint -max_total_time=300 -max_len=65536 SEEDS */
#include "export/export.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/fuzz_checkpoint.XXXXXX", config[64], tensors[64], model[64];

static void remove_folder(void)
{
    unlink(config);
    unlink(tensors);
    unlink(model);
    rmdir(folder);
}

static void make_folder(void)
{
    if (*config) return;
    if (!mkdtemp(folder)) abort();
    snprintf(config, sizeof config, "%s/config.json", folder);
    snprintf(tensors, sizeof tensors, "%s/model.safetensors", folder);
    snprintf(model, sizeof model, "%s/model.onnx", folder);
    atexit(remove_folder);
}

static void write_file(const char *path, const uint8_t *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    size_t n = zero ? (size_t)(zero - data) : size;
    kvf_export_options options = {.format = {.opset = 17, .type = KVF_F32}};
    kvf_onnx *onnx;
    kvf_error err;
    make_folder();
    write_file(config, data, n);
    write_file(tensors, data + n + !!zero, size - n - !!zero);
    if (kvf_export_checkpoint(folder, model, &options, &err)) return 0;
    if (kvf_onnx_open(&onnx, model, &err)) {
        fprintf(stderr, "what was written does not read: %s\n", err.msg);
        abort();
    }
    kvf_onnx_close(onnx);
    return 0;
}
