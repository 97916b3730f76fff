/* probe.c - what the device does at most for a model, from runs that are long enough for the host's
 * clock. */
#include "cuda.h"

#include "model.h"

/* Seconds of one step of a kernel, of as many as take a while; 0 on failure. The first run, which loads
 * it, does not count. */
static double seconds_of_step(cudaStream_t stream, const void *kernel, uint32_t blocks,
                              cuda_probe probe)
{
    enum { MOST_STEPS = 1 << 24 };
    const double enough = 5e-3;
    cudaLaunchConfig_t config = {.gridDim = {blocks, 1, 1},
                                 .blockDim = {KVF_PROBE_THREADS, 1, 1},
                                 .stream = stream};
    void *args[] = {&probe};
    probe.steps = 1;
    for (bool first = true;; first = false) {
        double begin = kvf_now();
        cudaError_t code = cudaLaunchKernelExC(&config, kernel, args);
        if (!code) code = cudaStreamSynchronize(stream);
        double seconds = kvf_now() - begin;
        if (code) return 0;
        if (first) continue;
        if (seconds > enough || probe.steps >= MOST_STEPS) return seconds / probe.steps;
        probe.steps *= 4;
    }
}

static void measure(const cuda_engine *e, cudaStream_t stream, uint32_t *sink, kvf_peak *peak)
{
    enum { BLOCKS = 8 }; /* of every multiprocessor at once */
    int processors = 0;
    uint32_t operations;
    const void *multiply = kvf_cuda_multiply_kernel(e->precision, &operations);
    cuda_probe probe = {.data = e->memory, .pieces = e->weight_bytes / 16, .sink = sink};
    if (cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, e->device)) return;
    uint32_t blocks = BLOCKS * (uint32_t)processors;
    double read = seconds_of_step(stream, kvf_cuda_read_kernel(), blocks, probe),
           multiplied = seconds_of_step(stream, multiply, blocks, probe);
    if (read > 0) peak->bandwidth = (double)probe.pieces * 16 / read;
    if (multiplied > 0)
        peak->operations = (double)operations * KVF_PROBE_THREADS * blocks / multiplied;
}

kvf_peak kvf_cuda_peak(const struct kvf_model *model)
{
    const cuda_engine *e = model->engine;
    kvf_peak peak = {.weights = e->weight_bytes - e->table_bytes};
    cudaStream_t stream = NULL;
    uint32_t *sink = NULL;
    cuda_before before;
    cudaError_t code = kvf_cuda_enter(e, &before);
    if (!code) code = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    if (!code) code = cudaMalloc((void **)&sink, sizeof *sink);
    if (!code) measure(e, stream, sink, &peak);
    if (sink) (void)cudaFree(sink);
    if (stream) (void)cudaStreamDestroy(stream);
    (void)cudaGetLastError();
    kvf_cuda_leave(before);
    return peak;
}
