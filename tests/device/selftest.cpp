/* selftest.cpp - the stand-in for a CUDA device, tested by small kernels. "speed": its costs. */
#include "device.h"

#include "cuda/rowwise.h"

#include <chrono>
#include <stdio.h>
#include <string.h>
#include <thread>
#include <vector>

static int failures;
#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                                \
            failures++;                                                                            \
        }                                                                                          \
    } while (0)
#define OK(x) CHECK((x) == cudaSuccess)

struct args {
    uint32_t *out, *in, n;
};

template <typename A>
static cudaError_t launch(const void *kernel, A a, dim3 grid, dim3 block, size_t shared = 0,
                          cudaStream_t stream = NULL)
{
    cudaLaunchAttribute attr = {};
    attr.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attr.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {grid, block, shared, stream, &attr, 1};
    void *list[] = {&a};
    return cudaLaunchKernelExC(&config, kernel, list);
}

static uint32_t *words_on_device(size_t n)
{
    void *p = NULL;
    OK(cudaMalloc(&p, n * 4));
    return (uint32_t *)p;
}
static std::vector<uint32_t> words_from(const uint32_t *p, size_t n)
{
    std::vector<uint32_t> v(n);
    OK(cudaMemcpy(v.data(), p, n * 4, cudaMemcpyDeviceToHost));
    return v;
}

/* ---- kernels --------------------------------------------------------------------------------- */

KVF_KERNEL(64) shuffles(args p)
{
    kvf_wait_for_kernel_before();
    uint32_t i = threadIdx.x, lane = i % KVF_WARP;
    uint32_t sum = (uint32_t)warp_sum((float)lane), top = (uint32_t)warp_max((float)i);
    uint32_t next = __shfl_sync(KVF_ALL, i, (int)lane + 1);
    int other = __shfl_xor_sync(KVF_ALL, (int)i, 3);
    p.out[4 * i] = sum;
    p.out[4 * i + 1] = top;
    p.out[4 * i + 2] = next;
    p.out[4 * i + 3] = (uint32_t)other;
}

/* Half the threads leave at once; the rest turn an array around, again and again. */
template <int TIMES, bool DYNAMIC> KVF_KERNEL(128) turns(args p)
{
    KVF_SHARED uint32_t fixed[64];
    KVF_DYNAMIC_SHARED(uint32_t, dynamic);
    uint32_t *own = DYNAMIC ? dynamic : fixed, i = threadIdx.x;
    if (i >= 64) return;
    if (DYNAMIC && own[i] != UINT32_MAX) p.n = 1000;
    own[i] = i;
    for (int k = 0; k < TIMES; k++) {
        __syncthreads();
        uint32_t x = own[63 - i];
        __syncthreads();
        own[i] = x + p.n;
    }
    p.out[blockIdx.x * 64 + i] = own[i];
}

struct mma_args {
    float *d;
    const uint32_t *a, *b; /* pairs: [16][8], [8 columns][8] */
};
KVF_KERNEL(32) multiply(mma_args p)
{
    uint32_t g = threadIdx.x / 4, t = threadIdx.x % 4;
    uint32_t a[4] = {p.a[g * 8 + t], p.a[(g + 8) * 8 + t], p.a[g * 8 + t + 4],
                     p.a[(g + 8) * 8 + t + 4]},
             b[2] = {p.b[g * 8 + t], p.b[g * 8 + t + 4]};
    float d[4] = {1, 1, 1, 1};
    kvf_mma(d, a, b);
    kvf_mma(d, a, b);
    for (uint32_t i = 0; i < 4; i++) p.d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
}

/* The last block adds up what all blocks wrote, and notes who it was. */
KVF_KERNEL(32) last_block(args p)
{
    KVF_SHARED uint32_t before;
    if (threadIdx.x == 0) p.out[2 + blockIdx.x] = blockIdx.x + 1;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) before = atomicAdd(p.out, 1u);
    __syncthreads();
    if (before + 1 != gridDim.x || threadIdx.x) return;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < gridDim.x; i++) sum += p.out[2 + i];
    p.out[1] = sum;
    p.out[2] = blockIdx.x;
}

KVF_KERNEL(64) order(args p)
{
    p.out[1 + atomicAdd(p.out, 1u)] = threadIdx.x;
}
KVF_KERNEL(64) add(args p)
{
    p.out[threadIdx.x] += p.in[threadIdx.x] + p.n;
}
KVF_KERNEL(64) warp_waits_for_block(args p)
{
    if (threadIdx.x == p.n)
        __syncthreads();
    else
        __syncwarp();
}
KVF_KERNEL(64) warp_splits(args)
{
    if (threadIdx.x % 2)
        __syncwarp();
    else
        __shfl_sync(KVF_ALL, 1u, 0);
}
KVF_KERNEL(64) lanes_leave(args p)
{
    if (threadIdx.x % 2) return;
    p.out[threadIdx.x / 2] = __shfl_sync(KVF_ALL, threadIdx.x, (int)p.n);
}
KVF_KERNEL(128) meets(args p)
{
    for (uint32_t i = 0; i < p.n; i++) __syncwarp();
}
KVF_KERNEL(128) multiplies(args p)
{
    float d[4] = {};
    uint32_t a[4] = {threadIdx.x}, b[2] = {threadIdx.x};
    for (uint32_t i = 0; i < p.n; i++) kvf_mma(d, a, b);
    p.out[threadIdx.x] = __float_as_uint(d[0]);
}
KVF_KERNEL(128) nothing(args) {}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_meetings(void)
{
    uint32_t *out = words_on_device(4 * 128);
    for (uint64_t s = 0; s < 20; s++) {
        kvf_device_set_seed(s);
        OK(launch(KVF_HANDLE(shuffles), args{out, NULL, 0}, {1, 1, 1}, {64, 1, 1}));
        std::vector<uint32_t> v = words_from(out, 4 * 64);
        for (uint32_t i = 0; i < 64; i++) {
            CHECK(v[4 * i] == 496 && v[4 * i + 1] == i / 32 * 32 + 31);
            CHECK(v[4 * i + 2] == i / 32 * 32 + (i + 1) % 32 && v[4 * i + 3] == (i ^ 3));
        }
        for (bool dynamic : {false, true}) {
            const void *k = dynamic ? KVF_HANDLE(turns<3, true>) : KVF_HANDLE(turns<3, false>);
            OK(launch(k, args{out, NULL, 1}, {4, 1, 1}, {128, 1, 1}, dynamic ? 256 : 0));
            v = words_from(out, 256);
            for (uint32_t i = 0; i < 256; i++) CHECK(v[i] == 63 - i % 64 + 3);
        }
    }
    OK(launch(KVF_HANDLE(lanes_leave), args{out, NULL, 2}, {1, 1, 1}, {64, 1, 1}));
    CHECK(words_from(out, 32)[0] == 2 && words_from(out, 32)[31] == 34);
    OK(launch(KVF_HANDLE(lanes_leave), args{out, NULL, 3}, {1, 1, 1}, {64, 1, 1}));
    CHECK(words_from(out, 32)[0] == UINT32_MAX);
    OK(cudaFree(out));
}

static void test_mma(void)
{
    float a[16][16], b[16][8];
    uint32_t pa[16][8], pb[8][8];
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 16; k++) a[i][k] = (float)((i * 37 + k * 11) % 64 - 32) / 8;
    for (int k = 0; k < 16; k++)
        for (int j = 0; j < 8; j++) b[k][j] = (float)((k * 29 + j * 5) % 64 - 32) / 16;
    for (int k = 0; k < 8; k++) {
        for (int i = 0; i < 16; i++) pa[i][k] = kvf_pack_bf16(a[i][2 * k], a[i][2 * k + 1]);
        for (int j = 0; j < 8; j++) pb[j][k] = kvf_pack_bf16(b[2 * k][j], b[2 * k + 1][j]);
    }
    uint32_t *da = words_on_device(128), *db = words_on_device(64), *d = words_on_device(128);
    OK(cudaMemcpy(da, pa, sizeof pa, cudaMemcpyHostToDevice));
    OK(cudaMemcpy(db, pb, sizeof pb, cudaMemcpyHostToDevice));
    OK(launch(KVF_HANDLE(multiply), mma_args{(float *)d, da, db}, {1, 1, 1}, {32, 1, 1}));
    std::vector<uint32_t> got = words_from(d, 128);
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 8; j++) {
            double sum = 0;
            for (int k = 0; k < 16; k++) sum += (double)a[i][k] * (double)b[k][j];
            CHECK(__uint_as_float(got[i * 8 + j]) == 1 + 2 * sum); /* all of it is exact */
        }
    for (uint32_t *p : {da, db, d}) OK(cudaFree(p));
    CHECK(kvf_pack_bf16(1.00390625f, -1.01171875f) == 0xbf823f80u);
    CHECK(kvf_pack_bf16(NAN, INFINITY) == 0x7f807fffu);
}

static void test_order(void)
{
    uint32_t *out = words_on_device(102), different = 0, last_different = 0;
    std::vector<uint32_t> first;
    for (uint64_t s = 0; s < 10; s++) {
        kvf_device_set_seed(s);
        OK(cudaMemsetAsync(out, 0, 4, NULL));
        OK(launch(KVF_HANDLE(order), args{out, NULL, 0}, {1, 1, 1}, {64, 1, 1}));
        std::vector<uint32_t> v = words_from(out, 65);
        if (s == 0) first = v;
        different += v != first;
        OK(cudaMemsetAsync(out, 0, 4, NULL));
        OK(launch(KVF_HANDLE(last_block), args{out, NULL, 0}, {100, 1, 1}, {32, 1, 1}));
        v = words_from(out, 3);
        CHECK(v[0] == 100 && v[1] == 5050);
        last_different += v[2] != 99;
    }
    CHECK(different == 9 && last_different > 5);
    OK(cudaFree(out));
}

static void test_graphs(void)
{
    cudaStream_t s;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    void *host, *p;
    OK(cudaMallocHost(&host, 256));
    OK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
    uint32_t *in = words_on_device(64), *out = words_on_device(64), *h = (uint32_t *)host;
    kvf_device_reset_counts();
    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
    OK(cudaMemcpyAsync(in, h, 256, cudaMemcpyHostToDevice, s));
    OK(cudaMemsetAsync(out, 0, 256, s));
    OK(launch(KVF_HANDLE(add), args{out, in, 5}, {1, 1, 1}, {64, 1, 1}, 0, s));
    OK(cudaMemcpyAsync(h, out, 256, cudaMemcpyDeviceToHost, s));
    OK(cudaStreamEndCapture(s, &graph));
    CHECK(kvf_device_count().kernels == 0 && kvf_device_count().memsets == 0);
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphDestroy(graph));
    for (uint32_t i = 0; i < 64; i++) h[i] = i;
    for (int i = 0; i < 3; i++) OK(cudaGraphLaunch(exec, s));
    OK(cudaStreamSynchronize(s));
    for (uint32_t i = 0; i < 64; i++) CHECK(h[i] == i + 15);
    kvf_device_counts c = kvf_device_count();
    CHECK(c.graphs == 3 && c.kernels == 3 && c.memsets == 3 && c.device_bytes == 512);
    CHECK(c.to_device_calls == 3 && c.to_device_bytes == 768 && c.to_host_calls == 3 &&
          c.to_host_bytes == 768 && c.on_device_calls == 0 && c.host_bytes == 256);
    OK(cudaMemcpyAsync(out, in, 100, cudaMemcpyDeviceToDevice, s));
    CHECK(kvf_device_count().on_device_bytes == 100 && kvf_device_count().on_device_calls == 1);
    OK(cudaFree(in)); /* what the graph copies to is gone */
    CHECK(cudaGraphLaunch(exec, s) == cudaErrorInvalidValue);
    OK(cudaGraphExecDestroy(exec));
    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
    CHECK(cudaMalloc(&p, 10) == cudaErrorStreamCaptureUnsupported);
    CHECK(cudaStreamEndCapture(s, &graph) == cudaErrorStreamCaptureInvalidated && !graph);
    OK(cudaFree(out));
    OK(cudaFreeHost(host));
    OK(cudaStreamDestroy(s));
}

static void test_memory(void)
{
    void *p, *q;
    size_t free_bytes, total;
    char host[64] = {};
    kvf_device_set_memory(1000);
    OK(cudaMalloc(&p, 600));
    CHECK(cudaMalloc(&q, 401) == cudaErrorMemoryAllocation && !q);
    CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
    OK(cudaGetLastError());
    OK(cudaMemGetInfo(&free_bytes, &total));
    CHECK(free_bytes == 400 && total == 1000);
    OK(cudaMalloc(&q, 400));
    OK(cudaFree(q));
    char *d = (char *)p;
    CHECK((uint8_t)d[599] == 0xff);
    OK(cudaMemcpy(d + 590, host, 10, cudaMemcpyHostToDevice));
    CHECK(cudaMemcpy(d + 591, host, 10, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
    CHECK(cudaMemcpy(d - 1, host, 10, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
    CHECK(cudaMemcpy(host, d, 10, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
    CHECK(cudaMemcpy(d, d + 20, 10, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
    CHECK(cudaMemsetAsync(host, 0, 10, NULL) == cudaErrorInvalidValue);
    CHECK(cudaMemsetAsync(d + 500, 0, 101, NULL) == cudaErrorInvalidValue);
    CHECK(cudaFreeHost(p) == cudaErrorInvalidValue);
    OK(cudaFree(p));
    OK(cudaFree(NULL));
    kvf_device_reset();
}

static void test_failures(void)
{
    uint32_t *out = words_on_device(64);
    for (const void *k : {KVF_HANDLE(warp_waits_for_block), KVF_HANDLE(warp_splits)}) {
        CHECK(launch(k, args{out, NULL, 40}, {2, 1, 1}, {64, 1, 1}) == cudaErrorLaunchFailure);
        CHECK(cudaStreamSynchronize(NULL) == cudaErrorLaunchFailure);
        kvf_device_reset();
        OK(launch(KVF_HANDLE(turns<1, false>), args{out, NULL, 0}, {1, 1, 1}, {64, 1, 1}));
    }
    kvf_device_lose_at(2);
    const void *k = KVF_HANDLE(nothing);
    OK(launch(k, args{}, {3, 2, 2}, {8, 4, 4}));
    CHECK(launch(k, args{}, {1, 1, 1}, {1, 1, 1}) == cudaErrorLaunchFailure);
    void *p;
    CHECK(cudaMalloc(&p, 1) == cudaErrorLaunchFailure);
    CHECK(cudaGetLastError() == cudaErrorLaunchFailure);
    CHECK(cudaFree(out) == cudaErrorLaunchFailure && kvf_device_count().device_bytes == 0);
    kvf_device_reset();
    CHECK(launch(k, args{}, {1, 1, 1}, {1025, 1, 1}) == cudaErrorInvalidConfiguration);
    CHECK(launch(k, args{}, {1, 0, 1}, {1, 1, 1}) == cudaErrorInvalidConfiguration);
    CHECK(launch(k, args{}, {1, 1, 1}, {1, 1, 1}, 49153) == cudaErrorInvalidValue);
    OK(launch(k, args{}, {1, 1, 1}, {1024, 1, 1}, 49152));
}

static void test_devices(void)
{
    int n;
    struct cudaDeviceProp prop;
    kvf_device_set_devices(2);
    kvf_device_set_capability(7, 5);
    OK(cudaGetDeviceCount(&n));
    CHECK(n == 2);
    OK(cudaSetDevice(1));
    CHECK(cudaSetDevice(2) == cudaErrorInvalidDevice);
    OK(cudaGetDeviceProperties(&prop, 1));
    CHECK(prop.major == 7 && prop.minor == 5 && prop.totalGlobalMem == (size_t)8 << 30);
    std::thread([] {
        int device = -1;
        CHECK(cudaGetDevice(&device) == cudaSuccess && device == 0);
    }).join();
    OK(cudaGetDevice(&n));
    CHECK(n == 1);
    kvf_device_set_devices(0);
    CHECK(cudaGetDeviceCount(&n) == cudaErrorNoDevice && n == 0);
    kvf_device_set_no_driver(1);
    CHECK(cudaGetDeviceCount(&n) == cudaErrorInsufficientDriver);
    CHECK(!strcmp(cudaGetErrorName(cudaErrorInsufficientDriver), "cudaErrorInsufficientDriver"));
    kvf_device_reset();
}

static void test_threads(void)
{
    std::vector<std::thread> threads;
    for (uint32_t i = 0; i < 4; i++)
        threads.emplace_back([i] {
            uint32_t *out = words_on_device(256);
            for (int k = 0; k < 20; k++) {
                OK(launch(KVF_HANDLE(turns<3, false>), args{out, NULL, i}, {4, 1, 1}, {64, 1, 1}));
                CHECK(words_from(out, 1)[0] == 63 + 3 * i);
            }
            OK(cudaFree(out));
        });
    for (std::thread &t : threads) t.join();
}

static void report(const char *what, const void *kernel, uint32_t n, uint32_t blocks, double each)
{
    uint32_t *out = words_on_device(128);
    auto begin = std::chrono::steady_clock::now();
    OK(launch(kernel, args{out, NULL, n}, {blocks, 1, 1}, {128, 1, 1}));
    std::chrono::duration<double, std::nano> t = std::chrono::steady_clock::now() - begin;
    printf("%-24s %7.1f ns\n", what, t.count() / each);
    OK(cudaFree(out));
}

int main(int argc, char **argv)
{
    kvf_device_reset();
    test_meetings();
    test_mma();
    test_order();
    test_graphs();
    test_memory();
    test_failures();
    test_devices();
    test_threads();
    CHECK(kvf_device_count().device_bytes == 0 && kvf_device_count().host_bytes == 0);
    if (argc > 1 && !strcmp(argv[1], "speed")) {
        report("switch", KVF_HANDLE(meets), 20000, 1, 128 * 20000.0);
        report("kvf_mma, of a lane", KVF_HANDLE(multiplies), 5000, 1, 128 * 5000.0);
        report("thread of a new block", KVF_HANDLE(nothing), 0, 10000, 128 * 10000.0);
    }
    if (failures) printf("%d checks failed\n", failures);
    return failures != 0;
}
