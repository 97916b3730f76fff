/* base.c - errors in words, checked memory, mapped files, clocks, half floats. */
#include "base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef KVF_VERSION
#define KVF_VERSION "unknown"
#endif

const char *kvf_version(void)
{
    return KVF_VERSION;
}

const char *kvf_status_name(kvf_status status)
{
    static const char *const names[] = {"KVF_OK",        "KVF_ERR_ARG",  "KVF_ERR_NOMEM",
                                        "KVF_ERR_MODEL", "KVF_ERR_FULL", "KVF_ERR_ENGINE",
                                        "KVF_ERR_IO",    "KVF_ERR_NAN",  "KVF_ERR_STALE"};
    size_t i = (size_t)status;
    return i < sizeof names / sizeof names[0] ? names[i] : "unknown status";
}

/* ---- errors ---------------------------------------------------------------------------------- */

kvf_status kvf_fail(kvf_error *err, kvf_status status, const char *fmt, ...)
{
    if (err) {
        va_list args;
        va_start(args, fmt);
        err->status = status;
        vsnprintf(err->msg, sizeof err->msg, fmt, args);
        va_end(args);
    }
    return status;
}

kvf_status kvf_prefix(kvf_error *err, kvf_status status, const char *fmt, ...)
{
    if (err) {
        char msg[sizeof err->msg];
        va_list args;
        va_start(args, fmt);
        int n = vsnprintf(msg, sizeof msg, fmt, args);
        va_end(args);
        size_t used = n < 0 ? 0 : (size_t)n < sizeof msg ? (size_t)n : sizeof msg - 1;
        snprintf(msg + used, sizeof msg - used, "%s", err->msg);
        memcpy(err->msg, msg, sizeof msg);
        err->status = status;
    }
    return status;
}

kvf_status kvf_take_options(void *out, size_t size, const void *options, kvf_error *err)
{
    enum { MOST = 4096 }; /* a larger size was never set */
    uint32_t known = (uint32_t)size, given = known;
    memset(out, 0, size);
    if (options) memcpy(&given, options, sizeof given);
    if (given < sizeof given || given > MOST)
        return kvf_fail(err, KVF_ERR_ARG, "options.struct_size is %u, but should be %u", given,
                        known);
    for (uint32_t i = known; i < given; i++)
        if (((const char *)options)[i])
            return kvf_fail(err, KVF_ERR_ARG,
                            "options hold something at byte %u that this version does not know", i);
    if (options) memcpy(out, options, given < known ? given : known);
    memcpy(out, &known, sizeof known);
    return KVF_OK;
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* How many allocations were asked for, and the first one to fail (0: none). The only state of
 * the process that the library has; tests use it to walk through every failure. */
static _Atomic uint64_t asked, first_to_fail;

uint64_t kvf_fail_allocations(uint64_t nth)
{
    atomic_store(&first_to_fail, nth);
    return atomic_exchange(&asked, 0);
}

static bool refused(void)
{
    uint64_t i = atomic_fetch_add_explicit(&asked, 1, memory_order_relaxed) + 1;
    uint64_t first = atomic_load_explicit(&first_to_fail, memory_order_relaxed);
    return first && i >= first;
}

void *kvf_array(size_t n, size_t size)
{
    return refused() ? NULL : calloc(n ? n : 1, size ? size : 1);
}

void *kvf_resize(void *p, size_t n, size_t size)
{
    uint64_t bytes;
    if (!kvf_mul(n, size, &bytes) || bytes > SIZE_MAX || refused()) return NULL;
    return realloc(p, bytes ? bytes : 1);
}

char *kvf_copy_string(const char *s)
{
    if (!s) return NULL;
    size_t n = strlen(s) + 1;
    char *copy = kvf_array(n, 1);
    return copy ? memcpy(copy, s, n) : NULL;
}

void kvf_free(void *p)
{
    free(p);
}

/* From this size on memory is mapped, so that it can lie on huge pages: rows of a cache and
 * packed weights are read at random or streamed, and 4 KiB pages cost both misses of the TLB. */
enum { MAPPED_FROM = 1 << 20, HUGE_PAGE = 2 << 20, SMALL_PAGE = 1 << 16 /* or smaller */ };

/* The short end of something long is not worth a huge page. */
static size_t mapped_size(size_t bytes)
{
    size_t page = bytes > HUGE_PAGE && bytes % HUGE_PAGE < HUGE_PAGE / 2 ? SMALL_PAGE : HUGE_PAGE;
    return (bytes + page - 1) & ~(page - 1);
}

void *kvf_pages(size_t bytes)
{
    if (refused() || bytes > SIZE_MAX - 2 * (size_t)HUGE_PAGE) return NULL;
    if (bytes < MAPPED_FROM) {
        size_t rounded = (bytes + 64) & ~(size_t)63;
        void *p = aligned_alloc(64, rounded);
        return p ? memset(p, 0, rounded) : NULL;
    }
    /* Map one huge page too much, and give the unaligned ends back. */
    size_t size = mapped_size(bytes), whole = size + HUGE_PAGE;
    uint8_t *p = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    size_t head = (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;
    if (head) munmap(p, head);
    munmap(p + head + size, whole - head - size);
    madvise(p + head, size, MADV_HUGEPAGE);
    return p + head;
}

void kvf_touch_pages(void *p, size_t bytes)
{
#ifndef MADV_POPULATE_WRITE
    enum { MADV_POPULATE_WRITE = 23 }; /* of Linux 5.14; older headers lack the name */
#endif
    if (p && bytes >= MAPPED_FROM) madvise(p, mapped_size(bytes), MADV_POPULATE_WRITE);
}

void kvf_free_pages(void *p, size_t bytes)
{
    if (!p) return;
    if (bytes < MAPPED_FROM)
        free(p);
    else
        munmap(p, mapped_size(bytes));
}

/* ---- files ----------------------------------------------------------------------------------- */

kvf_status kvf_file_open(kvf_file *file, const char *path, kvf_error *err)
{
    *file = (kvf_file){.data = (const uint8_t *)"", .size = 0};
    /* Without blocking: opening a pipe must not hang before we can see what it is. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return kvf_fail(err, KVF_ERR_IO, "%s: %s", path, strerror(errno));
    kvf_status status = KVF_OK;
    struct stat st;
    if (fstat(fd, &st)) {
        status = kvf_fail(err, KVF_ERR_IO, "%s: %s", path, strerror(errno));
    } else if (S_ISDIR(st.st_mode)) {
        status = kvf_fail(err, KVF_ERR_IO, "%s: is a folder, but a file is needed", path);
    } else if (!S_ISREG(st.st_mode)) {
        status = kvf_fail(err, KVF_ERR_IO, "%s: is not a regular file", path);
    } else if (st.st_size) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            status = kvf_fail(err, KVF_ERR_IO, "%s: cannot map it: %s", path, strerror(errno));
        else
            *file = (kvf_file){.data = p, .size = (uint64_t)st.st_size};
    }
    close(fd);
    return status;
}

void kvf_file_close(kvf_file *file)
{
    if (file->size) munmap((void *)(uintptr_t)file->data, (size_t)file->size);
    *file = (kvf_file){0};
}

const char *kvf_file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---- clocks and sizes ------------------------------------------------------------------------ */

double kvf_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint64_t status_kib(const char *text, const char *key)
{
    const char *line = strstr(text, key);
    return line ? strtoull(line + strlen(key), NULL, 10) : 0;
}

uint64_t kvf_resident_bytes(uint64_t *peak)
{
    char text[4096];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    text[n > 0 ? n : 0] = 0;
    if (peak) *peak = status_kib(text, "VmHWM:") * 1024;
    return status_kib(text, "VmRSS:") * 1024;
}

/* ---- half floats ----------------------------------------------------------------------------- */

uint16_t kvf_to_f16(float f)
{
    kvf_bits v = {.f = f};
    uint16_t sign = (uint16_t)(v.u >> 16 & 0x8000);
    v.u &= 0x7fffffff;
    if (v.u > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (v.f >= 65520.0f) return (uint16_t)(sign | 0x7c00);
    if (v.f < 0x1p-14f) { /* subnormal: the adder rounds to multiples of 2^-24, ties to even */
        v.f += 0.5f;
        return (uint16_t)(sign | (v.u - 0x3f000000));
    }
    v.u += 0xfff + (v.u >> 13 & 1);
    return (uint16_t)(sign | (v.u - (112u << 23)) >> 13);
}
