/* device.cpp - a CUDA runtime and a device that run on the host, for tests.
 *
 * A thread of a block is a fiber with a stack of its own. It runs until it has to meet others; who
 * goes on then is drawn at random, as is the order of blocks. All is under one lock, and everything
 * asynchronous is done at once, except what a graph captures. */
#include "device.h"

#include "cuda/lane.h"

#include <map>
#include <mutex>
#include <numeric>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <thread>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASAN 1
#endif
#endif
#ifdef ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__) && !defined(KVF_DEVICE_UCONTEXT)
#define KVF_DEVICE_UCONTEXT
#endif
#ifdef KVF_DEVICE_UCONTEXT
#include <ucontext.h>
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace
{
enum { MOST_THREADS = 1024, MOST_DEVICES = 16, MOST_SHARED = 48 << 10 };
constexpr size_t STACK = 256 << 10, GUARD = 64 << 10;

/* ---- fibers ---------------------------------------------------------------------------------- */

struct context {
#ifdef KVF_DEVICE_UCONTEXT
    ucontext_t u;
#else
    void *sp;
#endif
    void *fake_stack; /* these three are for AddressSanitizer alone */
    const void *bottom;
    size_t size;
};

enum state { READY, AT_WARP, AT_BLOCK, RETURNED };
struct fiber {
    context c;
    char *stack;
    uint3 place;
    uint32_t index;
    state at;
};

struct warp {
    kvf_meeting meeting[2]; /* in turn: a lane still reads one while others fill the next */
    uint32_t round, alive, here;
    kvf_meeting_kind kind;
};

struct {
    const kvf_kernel *kernel;
    const void *args;
    void *shared;
    context host;
    context *from; /* who switched last */
    fiber *now;
    std::vector<fiber> fibers;
    warp warps[MOST_THREADS / KVF_WARP];
    uint32_t ready[MOST_THREADS], n_ready, alive, at_barrier;
    bool failed;
    uint64_t random = 1;
} run;

uint32_t draw(uint32_t n) /* xorshift64* */
{
    run.random ^= run.random >> 12;
    run.random ^= run.random << 25;
    run.random ^= run.random >> 27;
    return (uint32_t)((run.random * 0x2545f4914f6cdd1dull >> 32) * n >> 32);
}

void seed(uint64_t s)
{
    run.random = (s + 1) * 0x9e3779b97f4a7c15ull | 1;
}

#ifndef KVF_DEVICE_UCONTEXT
extern "C" void kvf_device_switch(void **save, void *to);
asm(".text\n.p2align 4\n.type kvf_device_switch, @function\nkvf_device_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp, (%rdi)\nmovq %rsi, %rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n"
    ".size kvf_device_switch, . - kvf_device_switch\n");
#endif

void arrived(void *fake_stack)
{
#ifdef ASAN
    __sanitizer_finish_switch_fiber(fake_stack, &run.from->bottom, &run.from->size);
#endif
    (void)fake_stack;
}

/* for_good: nobody comes back to `from`. */
void switch_to(context &from, context &to, bool for_good)
{
    run.from = &from;
#ifdef ASAN
    __sanitizer_start_switch_fiber(for_good ? NULL : &from.fake_stack, to.bottom, to.size);
#endif
    (void)for_good;
#ifdef KVF_DEVICE_UCONTEXT
    swapcontext(&from.u, &to.u);
#else
    kvf_device_switch(&from.sp, to.sp);
#endif
    arrived(from.fake_stack);
}

void set_ready(uint32_t index)
{
    run.fibers[index].at = READY;
    run.ready[run.n_ready++] = index;
}

/* The running fiber goes on when it is drawn. With nobody left the host decides what it means. */
void let_others_run(void)
{
    fiber *me = run.now;
    bool for_good = me->at == RETURNED;
    if (run.failed || !run.n_ready) {
        switch_to(me->c, run.host, for_good);
        return;
    }
    uint32_t i = draw(run.n_ready), next = run.ready[i];
    run.ready[i] = run.ready[--run.n_ready];
    run.now = &run.fibers[next];
    threadIdx = run.now->place;
    if (run.now != me) switch_to(me->c, run.now->c, for_good);
}

void end_meeting_of_warp(uint32_t w)
{
    warp &p = run.warps[w];
    if (!p.here || p.here != p.alive) return;
    for (uint32_t lanes = p.here; lanes; lanes &= lanes - 1)
        set_ready(w * KVF_WARP + (uint32_t)__builtin_ctz(lanes));
    p.here = 0;
    p.round++;
    p.meeting[p.round % 2].who = 0;
}

void end_meeting_of_block(void)
{
    if (!run.at_barrier || run.at_barrier != run.alive) return;
    run.at_barrier = 0;
    for (uint32_t i = 0; i < blockDim.x * blockDim.y * blockDim.z; i++)
        if (run.fibers[i].at == AT_BLOCK) set_ready(i);
}

/* Does not end: the stack has no caller. */
void body_of_fiber(void)
{
    arrived(NULL);
    run.kernel->call(run.args);
    fiber *me = run.now;
    me->at = RETURNED;
    run.alive--;
    run.warps[me->index / KVF_WARP].alive &= ~(1u << me->index % KVF_WARP);
    end_meeting_of_warp(me->index / KVF_WARP);
    end_meeting_of_block();
    let_others_run();
}

void prepare(fiber &f, uint32_t index)
{
    f.index = index;
    f.place = {index % blockDim.x, index / blockDim.x % blockDim.y,
               index / blockDim.x / blockDim.y};
    f.c.fake_stack = NULL;
    f.c.bottom = f.stack;
    f.c.size = STACK;
#ifdef KVF_DEVICE_UCONTEXT
    getcontext(&f.c.u);
    f.c.u.uc_stack.ss_sp = f.stack;
    f.c.u.uc_stack.ss_size = STACK;
    f.c.u.uc_link = NULL;
    makecontext(&f.c.u, body_of_fiber, 0);
#else
    void **top = (void **)(f.stack + STACK);
    memset(top - 8, 0, 8 * sizeof *top); /* six registers, where to begin, no caller */
    top[-2] = (void *)body_of_fiber;
    f.c.sp = top - 8;
#endif
    set_ready(index);
}

const char *name_of(const fiber &f)
{
    static const char *const kinds[] = {"__syncwarp", "__shfl_sync", "__shfl_xor_sync", "kvf_mma"};
    if (f.at == AT_BLOCK) return "__syncthreads";
    return kinds[run.warps[f.index / KVF_WARP].kind];
}

void complain(const fiber &f, const char *what)
{
    fprintf(stderr, "device: block (%u, %u, %u), thread (%u, %u, %u): %s (%s)\n", blockIdx.x,
            blockIdx.y, blockIdx.z, f.place.x, f.place.y, f.place.z, what, run.kernel->name);
}

bool run_block(uint32_t threads)
{
    run.n_ready = run.at_barrier = 0;
    run.alive = threads;
    memset(run.warps, 0, (threads + KVF_WARP - 1) / KVF_WARP * sizeof *run.warps);
    for (uint32_t i = 0; i < threads; i++) {
        run.warps[i / KVF_WARP].alive |= 1u << i % KVF_WARP;
        prepare(run.fibers[i], i);
    }
    uint32_t first = draw(threads);
    run.ready[first] = run.ready[--run.n_ready];
    run.now = &run.fibers[first];
    threadIdx = run.now->place;
    switch_to(run.host, run.now->c, false);
    if (!run.failed && !run.alive) return true;
    for (uint32_t i = 0; !run.failed && i < threads; i++) {
        fiber &f = run.fibers[i];
        if (f.at == RETURNED) continue;
        char what[100];
        snprintf(what, sizeof what, "waits for ever at %s, with %u of %u others", name_of(f),
                 run.alive - 1, threads - 1);
        complain(f, what);
        break;
    }
#ifdef ASAN
    for (uint32_t i = 0; i < threads; i++) /* frames that nobody left */
        __asan_unpoison_memory_region(run.fibers[i].stack, STACK);
#endif
    return false;
}

/* A launch that was checked. */
bool run_grid(const kvf_kernel *kernel, const void *args, dim3 grid, dim3 block, size_t shared)
{
    uint32_t blocks = grid.x * grid.y * grid.z, threads = block.x * block.y * block.z;
    while (run.fibers.size() < threads) {
        void *p = mmap(NULL, GUARD + STACK, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED || mprotect(p, GUARD, PROT_NONE)) abort();
        run.fibers.push_back({});
        run.fibers.back().stack = (char *)p + GUARD;
    }
    if (posix_memalign(&run.shared, 16, shared)) abort();
    run.kernel = kernel;
    run.args = args;
    run.failed = false;
    gridDim = grid;
    blockDim = block;
    std::vector<uint32_t> order(blocks);
    std::iota(order.begin(), order.end(), 0u);
    bool ok = true;
    for (uint32_t i = 0; ok && i < blocks; i++) {
        std::swap(order[i], order[i + draw(blocks - i)]);
        uint32_t b = order[i];
        blockIdx = {b % grid.x, b / grid.x % grid.y, b / grid.x / grid.y};
        memset(run.shared, 0xff, shared);
        ok = run_block(threads);
    }
    free(run.shared);
    return ok;
}

/* ---- state of the runtime -------------------------------------------------------------------- */

std::mutex lock;
kvf_device_counts counts;

struct {
    int devices = 1, major = 9, minor = 0;
    bool no_driver = false, lost = false, no_image = false, no_graphs = false;
    size_t memory = (size_t)8 << 30;
    uint64_t lose_in = 0; /* kernels */
} knobs;

struct allocation {
    size_t size;
    int device; /* -1: pinned memory of the host */
};
std::map<uintptr_t, allocation> allocations;
size_t used[MOST_DEVICES];

thread_local int current;
thread_local cudaStream_t capturing;
thread_local cudaError_t last;

enum todo { COPY, SET, KERNEL };
struct node {
    todo what;
    void *to;
    const void *from;
    size_t size;
    int value;
    cudaMemcpyKind kind;
    cudaLaunchConfig_t config;
    const kvf_kernel *kernel;
    std::vector<unsigned char> args;
};

cudaError_t note(cudaError_t e)
{
    if (e) last = e;
    return e;
}

cudaError_t state_of_device(void)
{
    if (knobs.no_driver) return cudaErrorInsufficientDriver;
    if (!knobs.devices) return cudaErrorNoDevice;
    if (knobs.lost) return cudaErrorLaunchFailure;
    return cudaSuccess;
}

#define ENTER                                                                                      \
    std::lock_guard<std::mutex> hold(lock);                                                        \
    if (cudaError_t error = state_of_device()) return note(error)

/* What cannot be captured spoils a capture. */
#define ENTER_NOT_CAPTURING                                                                        \
    ENTER;                                                                                         \
    if (cudaError_t error = spoil_capture()) return note(error)

} // namespace

struct CUstream_st {
    int device;
    bool captures, spoilt;
    std::thread::id owner;
    std::vector<node> nodes;
};
struct CUgraph_st {
    std::vector<node> nodes;
};
struct CUgraphExec_st {
    std::vector<node> nodes;
};

namespace
{
cudaError_t spoil_capture(void)
{
    if (!capturing) return cudaSuccess;
    capturing->spoilt = true;
    return cudaErrorStreamCaptureUnsupported;
}

/* The allocation that has a byte of the range, or NULL. */
const std::pair<const uintptr_t, allocation> *find(const void *p, size_t size)
{
    auto at = allocations.upper_bound((uintptr_t)p + (size ? size - 1 : 0));
    if (at == allocations.begin()) return NULL;
    --at;
    return at->first + at->second.size > (uintptr_t)p ? &*at : NULL;
}

/* Whether a range is where it should be: in one allocation of a device, or on no device at all. */
bool check(const char *call, const char *role, const void *p, size_t size, bool device)
{
    auto a = find(p, size);
    bool on_device = a && a->second.device >= 0;
    bool inside = a && (uintptr_t)p >= a->first && (uintptr_t)p - a->first + size <= a->second.size;
    if (on_device == device && (inside || !a)) return true;
    const char *why = on_device != device ? device ? "is not on the device" : "is on the device"
                                          : "is not inside one allocation";
    fprintf(stderr, "device: %s: %s %p, %zu bytes, %s\n", call, role, p, size, why);
    return false;
}

cudaError_t check_node(const node &n)
{
    if (n.what == SET && n.size && !check("cudaMemsetAsync", "range", n.to, n.size, true))
        return cudaErrorInvalidValue;
    if (n.what != COPY || !n.size) return cudaSuccess;
    bool from = n.kind == cudaMemcpyDeviceToHost || n.kind == cudaMemcpyDeviceToDevice,
         to = n.kind == cudaMemcpyHostToDevice || n.kind == cudaMemcpyDeviceToDevice;
    return check("cudaMemcpy", "source", n.from, n.size, from) &&
                   check("cudaMemcpy", "target", n.to, n.size, to)
               ? cudaSuccess
               : cudaErrorInvalidValue;
}

cudaError_t execute(const node &n)
{
    if (cudaError_t e = check_node(n)) return e;
    if (n.what == SET) {
        counts.memsets++;
        if (n.size) memset(n.to, n.value, n.size);
    } else if (n.what == COPY) {
        if (n.kind == cudaMemcpyHostToDevice) {
            counts.to_device_calls++;
            counts.to_device_bytes += n.size;
        } else if (n.kind == cudaMemcpyDeviceToHost) {
            counts.to_host_calls++;
            counts.to_host_bytes += n.size;
        } else if (n.kind == cudaMemcpyDeviceToDevice) {
            counts.on_device_calls++;
            counts.on_device_bytes += n.size;
        }
        if (n.size) memmove(n.to, n.from, n.size);
    } else {
        counts.kernels++;
        if (knobs.lose_in && !--knobs.lose_in) knobs.lost = true;
        if (!knobs.lost && !run_grid(n.kernel, n.args.data(), n.config.gridDim, n.config.blockDim,
                                     n.config.dynamicSmemBytes))
            knobs.lost = true; /* a device does not survive that either */
        if (knobs.lost) return cudaErrorLaunchFailure;
    }
    return cudaSuccess;
}

cudaError_t submit(cudaStream_t stream, node &&n)
{
    if (!stream || !stream->captures) return execute(n);
    if (cudaError_t e = check_node(n)) return e;
    stream->nodes.push_back(std::move(n));
    return cudaSuccess;
}

cudaError_t copy(void *to, const void *from, size_t size, cudaMemcpyKind kind, cudaStream_t stream)
{
    if (kind > cudaMemcpyDefault) return cudaErrorInvalidValue;
    if (kind == cudaMemcpyDefault) {
        auto a = find(from, size), b = find(to, size);
        kind = a && a->second.device >= 0
                   ? b && b->second.device >= 0 ? cudaMemcpyDeviceToDevice : cudaMemcpyDeviceToHost
               : b && b->second.device >= 0 ? cudaMemcpyHostToDevice
                                            : cudaMemcpyHostToHost;
    }
    return submit(stream, {COPY, to, from, size, 0, kind, {}, NULL, {}});
}

cudaError_t allocate(void **p, size_t size, int device)
{
    *p = NULL;
    if (!size) return cudaSuccess;
    size_t *total = device >= 0 ? &used[device] : NULL;
    if (total && (*total > knobs.memory || size > knobs.memory - *total))
        return cudaErrorMemoryAllocation;
    if (posix_memalign(p, 256, size)) {
        *p = NULL;
        return cudaErrorMemoryAllocation;
    }
    memset(*p, 0xff, size);
    allocations[(uintptr_t)*p] = {size, device};
    if (total) *total += size;
    (device >= 0 ? counts.device_bytes : counts.host_bytes) += size;
    return cudaSuccess;
}

/* Frees whatever state the device is in. */
cudaError_t release(void *p, bool device)
{
    std::lock_guard<std::mutex> hold(lock);
    if (p && capturing) return note(spoil_capture());
    auto at = allocations.find((uintptr_t)p);
    bool ok = !p || (at != allocations.end() && (at->second.device >= 0) == device);
    if (p && ok) {
        size_t size = at->second.size;
        if (device) used[at->second.device] -= size;
        (device ? counts.device_bytes : counts.host_bytes) -= size;
        allocations.erase(at);
        free(p);
    } else if (!ok) {
        fprintf(stderr, "device: %s: %p was not allocated\n", device ? "cudaFree" : "cudaFreeHost",
                p);
    }
    cudaError_t e = state_of_device();
    return note(e ? e : ok ? cudaSuccess : cudaErrorInvalidValue);
}

template <typename T> cudaError_t destroy(T *p)
{
    std::lock_guard<std::mutex> hold(lock);
    delete p;
    cudaError_t e = state_of_device();
    return note(e ? e : p ? cudaSuccess : cudaErrorInvalidResourceHandle);
}
} // namespace

/* ---- what kernels call ----------------------------------------------------------------------- */

extern "C" {

void *kvf_device_dynamic_shared(void)
{
    return run.shared;
}

void kvf_device_meet_block(void)
{
    run.now->at = AT_BLOCK;
    run.at_barrier++;
    end_meeting_of_block();
    let_others_run();
}

const kvf_meeting *kvf_device_meet_warp(kvf_meeting_kind kind, uint32_t mask, const uint32_t *words,
                                        uint32_t n)
{
    fiber *me = run.now;
    uint32_t lane = me->index % KVF_WARP;
    warp &w = run.warps[me->index / KVF_WARP];
    kvf_meeting &m = w.meeting[w.round % 2];
    if (mask != KVF_ALL || (w.here && w.kind != kind)) {
        complain(*me, mask != KVF_ALL ? "meets only some lanes"
                                      : "others of its warp do something else");
        run.failed = true;
        let_others_run();
    }
    w.kind = kind;
    w.here |= 1u << lane;
    m.who |= 1u << lane;
    for (uint32_t i = 0; i < n; i++) m.word[lane][i] = words[i];
    me->at = AT_WARP;
    end_meeting_of_warp(me->index / KVF_WARP);
    let_others_run();
    return &m;
}
}

namespace
{
inline __attribute__((always_inline)) void sums(float d[4], const kvf_meeting *m, uint32_t g,
                                                uint32_t t)
{
    for (uint32_t half = 0; half < 2; half++)
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t low = m->word[4 * g + i][2 * half], high = m->word[4 * g + i][2 * half + 1],
                     left = m->word[8 * t + i][4 + half], right = m->word[8 * t + 4 + i][4 + half];
            for (uint32_t drop : {16, 0}) {
                float x = __uint_as_float(low << drop & 0xffff0000),
                      y = __uint_as_float(high << drop & 0xffff0000),
                      l = __uint_as_float(left << drop & 0xffff0000),
                      r = __uint_as_float(right << drop & 0xffff0000);
                d[0] = __builtin_fmaf(x, l, d[0]);
                d[1] = __builtin_fmaf(x, r, d[1]);
                d[2] = __builtin_fmaf(y, l, d[2]);
                d[3] = __builtin_fmaf(y, r, d[3]);
            }
        }
}
#ifdef __x86_64__
/* The same bits in a tenth of the time: no calls. */
__attribute__((target("fma"))) void sums_fma(float d[4], const kvf_meeting *m, uint32_t g,
                                             uint32_t t)
{
    sums(d, m, g, t);
}
#endif
} // namespace

extern "C" {

void kvf_device_mma(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    const uint32_t words[6] = {a[0], a[1], a[2], a[3], b[0], b[1]},
                   lane = run.now->index % KVF_WARP;
    const kvf_meeting *m = kvf_device_meet_warp(KVF_MEET_MMA, KVF_ALL, words, 6);
    if (m->who != KVF_ALL) { /* undefined: let it be seen */
        for (int i = 0; i < 4; i++) d[i] = NAN;
        return;
    }
#ifdef __x86_64__
    static const bool fma = __builtin_cpu_supports("fma");
    if (fma) {
        sums_fma(d, m, lane / 4, lane % 4);
        return;
    }
#endif
    sums(d, m, lane / 4, lane % 4);
}

/* ---- the runtime ----------------------------------------------------------------------------- */

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 0;
    ENTER;
    *count = knobs.devices;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device)
{
    ENTER;
    *device = current;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    ENTER;
    if (device < 0 || device >= knobs.devices) return note(cudaErrorInvalidDevice);
    current = device;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *prop, int device)
{
    ENTER;
    if (device < 0 || device >= knobs.devices) return note(cudaErrorInvalidDevice);
    *prop = {};
    snprintf(prop->name, sizeof prop->name, "test device %d", device);
    prop->totalGlobalMem = knobs.memory;
    prop->sharedMemPerBlock = MOST_SHARED;
    prop->sharedMemPerBlockOptin = 227 << 10;
    prop->major = knobs.major;
    prop->minor = knobs.minor;
    prop->multiProcessorCount = 8;
    prop->l2CacheSize = 1 << 20;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attr, int device)
{
    ENTER;
    if (device < 0 || device >= knobs.devices) return note(cudaErrorInvalidDevice);
    switch (attr) {
    case cudaDevAttrMultiProcessorCount: *value = 8; return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor: *value = knobs.major; return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor: *value = knobs.minor; return cudaSuccess;
    }
    return note(cudaErrorInvalidValue);
}

cudaError_t cudaDriverGetVersion(int *version)
{
    std::lock_guard<std::mutex> hold(lock);
    *version = knobs.no_driver ? 0 : CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **ptr, size_t size)
{
    ENTER_NOT_CAPTURING;
    return note(allocate(ptr, size, current));
}

cudaError_t cudaMallocHost(void **ptr, size_t size)
{
    ENTER_NOT_CAPTURING;
    return note(allocate(ptr, size, -1));
}

cudaError_t cudaFree(void *ptr)
{
    return release(ptr, true);
}

cudaError_t cudaFreeHost(void *ptr)
{
    return release(ptr, false);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    ENTER;
    *total = knobs.memory;
    *free_bytes = used[current] < knobs.memory ? knobs.memory - used[current] : 0;
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void *dst, const void *src, size_t count, enum cudaMemcpyKind kind)
{
    ENTER_NOT_CAPTURING;
    return note(copy(dst, src, count, kind, NULL));
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t count, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    ENTER;
    return note(copy(dst, src, count, kind, stream));
}

cudaError_t cudaMemsetAsync(void *ptr, int value, size_t count, cudaStream_t stream)
{
    ENTER;
    return note(submit(stream, {SET, ptr, NULL, count, value, cudaMemcpyDefault, {}, NULL, {}}));
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned int flags)
{
    ENTER;
    if (flags > cudaStreamNonBlocking) return note(cudaErrorInvalidValue);
    *stream = new CUstream_st{current, false, false, {}, {}};
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    if (stream && stream == capturing) capturing = NULL;
    return destroy(stream);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    ENTER;
    if (stream && stream->captures) {
        stream->spoilt = true;
        return note(cudaErrorStreamCaptureUnsupported);
    }
    return cudaSuccess;
}

/* Which calls others' captures forbid: nothing here looks at it. */
cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *mode)
{
    thread_local enum cudaStreamCaptureMode now = cudaStreamCaptureModeGlobal;
    std::swap(now, *mode);
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode)
{
    ENTER;
    if (!stream || stream->captures || capturing) return note(cudaErrorStreamCaptureUnsupported);
    capturing = stream;
    stream->captures = true;
    stream->spoilt = false;
    stream->owner = std::this_thread::get_id();
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    *graph = NULL;
    std::lock_guard<std::mutex> hold(lock);
    if (!stream || !stream->captures) return note(cudaErrorInvalidValue);
    if (stream->owner != std::this_thread::get_id()) return note(cudaErrorStreamCaptureWrongThread);
    std::vector<node> nodes = std::move(stream->nodes);
    stream->nodes.clear();
    stream->captures = false; /* even on a lost device */
    capturing = NULL;
    if (cudaError_t e = state_of_device()) return note(e);
    if (stream->spoilt) return note(cudaErrorStreamCaptureInvalidated);
    *graph = new CUgraph_st{std::move(nodes)};
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    *exec = NULL;
    ENTER;
    if (!graph) return note(cudaErrorInvalidValue);
    if (knobs.no_graphs) return note(cudaErrorMemoryAllocation);
    *exec = new CUgraphExec_st{graph->nodes};
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    ENTER;
    if (!exec) return note(cudaErrorInvalidValue);
    if (stream && stream->captures) return note(cudaErrorStreamCaptureUnsupported);
    counts.graphs++;
    for (const node &n : exec->nodes)
        if (cudaError_t e = execute(n)) return note(e);
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    return destroy(exec);
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    return destroy(graph);
}

cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *attr, const void *func)
{
    ENTER;
    if (!func) return note(cudaErrorInvalidDeviceFunction);
    if (knobs.no_image) return note(cudaErrorNoKernelImageForDevice);
    *attr = {};
    attr->maxThreadsPerBlock = MOST_THREADS;
    attr->ptxVersion = attr->binaryVersion = 10 * knobs.major + knobs.minor;
    return cudaSuccess;
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *config, const void *func, void **args)
{
    ENTER;
    if (knobs.no_image) return note(cudaErrorNoKernelImageForDevice);
    const dim3 &g = config->gridDim, &b = config->blockDim;
    if (!func) return note(cudaErrorInvalidDeviceFunction);
    for (unsigned i = 0; i < config->numAttrs; i++)
        if (config->attrs[i].id != cudaLaunchAttributeProgrammaticStreamSerialization &&
            config->attrs[i].id != cudaLaunchAttributeIgnore)
            return note(cudaErrorInvalidValue);
    if (!g.x || !g.y || !g.z || !b.x || !b.y || !b.z || g.x > INT32_MAX || g.y > 65535 ||
        g.z > 65535 || (uint64_t)g.x * g.y * g.z > UINT32_MAX || b.x > MOST_THREADS ||
        b.y > MOST_THREADS || b.z > 64 || b.x * b.y * b.z > MOST_THREADS) {
        fprintf(stderr, "device: no grid of %u x %u x %u blocks of %u x %u x %u threads\n", g.x,
                g.y, g.z, b.x, b.y, b.z);
        return note(cudaErrorInvalidConfiguration);
    }
    if (config->dynamicSmemBytes > MOST_SHARED) {
        fprintf(stderr, "device: %zu bytes of shared memory\n", config->dynamicSmemBytes);
        return note(cudaErrorInvalidValue);
    }
    if (config->stream && config->stream->device != current)
        return note(cudaErrorInvalidResourceHandle);
    const kvf_kernel *kernel = (const kvf_kernel *)func;
    const unsigned char *from = (const unsigned char *)args[0];
    node n = {KERNEL, NULL, NULL, 0, 0, cudaMemcpyDefault, *config, kernel, {}};
    n.args.assign(from, from + kernel->size);
    return note(submit(config->stream, std::move(n)));
}

cudaError_t cudaGetLastError(void)
{
    std::lock_guard<std::mutex> hold(lock);
    cudaError_t e = state_of_device();
    if (!e) e = last;
    last = cudaSuccess;
    return e;
}

const char *cudaGetErrorName(cudaError_t error)
{
#define NAME(e)                                                                                    \
    case e: return #e
    switch (error) {
        NAME(cudaSuccess);
        NAME(cudaErrorInvalidValue);
        NAME(cudaErrorMemoryAllocation);
        NAME(cudaErrorInvalidConfiguration);
        NAME(cudaErrorInsufficientDriver);
        NAME(cudaErrorInvalidDeviceFunction);
        NAME(cudaErrorNoDevice);
        NAME(cudaErrorInvalidDevice);
        NAME(cudaErrorNoKernelImageForDevice);
        NAME(cudaErrorInvalidResourceHandle);
        NAME(cudaErrorIllegalAddress);
        NAME(cudaErrorLaunchFailure);
        NAME(cudaErrorStreamCaptureUnsupported);
        NAME(cudaErrorStreamCaptureInvalidated);
        NAME(cudaErrorStreamCaptureWrongThread);
        NAME(cudaErrorUnknown);
    }
#undef NAME
    return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t error)
{
    switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInsufficientDriver:
        return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    case cudaErrorLaunchFailure: return "unspecified launch failure";
    default: return cudaGetErrorName(error);
    }
}

/* ---- what tests call ------------------------------------------------------------------------- */

kvf_device_counts kvf_device_count(void)
{
    std::lock_guard<std::mutex> hold(lock);
    return counts;
}

void kvf_device_reset_counts(void)
{
    std::lock_guard<std::mutex> hold(lock);
    kvf_device_counts old = counts;
    counts = {};
    counts.device_bytes = old.device_bytes;
    counts.host_bytes = old.host_bytes;
}

void kvf_device_reset(void)
{
    kvf_device_reset_counts();
    std::lock_guard<std::mutex> hold(lock);
    knobs = {};
    current = 0;
    last = cudaSuccess;
    seed(1);
}

void kvf_device_set_devices(int n)
{
    std::lock_guard<std::mutex> hold(lock);
    knobs.devices = n < 0 ? 0 : n > MOST_DEVICES ? MOST_DEVICES : n;
}

void kvf_device_set_no_driver(int none)
{
    std::lock_guard<std::mutex> hold(lock);
    knobs.no_driver = none;
}

void kvf_device_set_no_image(int none)
{
    std::lock_guard<std::mutex> hold(lock);
    knobs.no_image = none;
}

void kvf_device_set_no_graphs(int none)
{
    std::lock_guard<std::mutex> hold(lock);
    knobs.no_graphs = none;
}

void kvf_device_set_capability(int major, int minor)
{
    std::lock_guard<std::mutex> hold(lock);
    knobs.major = major;
    knobs.minor = minor;
}

void kvf_device_set_memory(size_t bytes)
{
    std::lock_guard<std::mutex> hold(lock);
    knobs.memory = bytes;
}

void kvf_device_set_seed(uint64_t s)
{
    std::lock_guard<std::mutex> hold(lock);
    seed(s);
}

void kvf_device_lose_at(uint64_t n)
{
    std::lock_guard<std::mutex> hold(lock);
    knobs.lose_in = n;
}
}
