/* base.h - what every room stands on: errors in words, checked memory, mapped files, clocks. */
#ifndef KVF_BASE_H
#define KVF_BASE_H

#include "kvfork.h"

/* Fill err (if not NULL) and hand the status back, so that a failed check is one return. */
kvf_status kvf_fail(kvf_error *err, kvf_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Put words before the message of a failure that is on its way up: "model.onnx: " + msg. */
kvf_status kvf_prefix(kvf_error *err, kvf_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Zeroed memory for n elements, or NULL: on overflow, when memory is out, or when the test
 * hook says so. Free with kvf_free. */
void *kvf_array(size_t n, size_t size);
/* The same on a boundary of 64 bytes, and on huge pages where it is large; zeroed. The size is
 * asked for again by kvf_free_pages, since it may be mapped. */
void *kvf_pages(size_t bytes);
void kvf_free_pages(void *p, size_t bytes);
/* Bring pages in now: otherwise the first use of each waits while the kernel clears it, up to
 * half a millisecond for a huge one. Does nothing where the kernel cannot. */
void kvf_touch_pages(void *p, size_t bytes);
/* Resize to n elements; new ones are not zeroed. NULL leaves p as it was. */
void *kvf_resize(void *p, size_t n, size_t size);
char *kvf_copy_string(const char *s); /* NULL gives NULL */
void kvf_free(void *p);

/* Test hook: the n-th allocation from now (1 is the next) and all later ones fail; 0: none. Returns
 * how many were asked for since the last call. Per process; not for use beside other threads. */
uint64_t kvf_fail_allocations(uint64_t nth);

/* Take a caller's options, a struct whose first field is the uint32_t struct_size, into out of size
 * bytes: NULL gives zeros. A caller of another version knows fewer fields, or more, which must
 * then be zero. Errors  KVF_ERR_ARG */
kvf_status kvf_take_options(void *out, size_t size, const void *options, kvf_error *err);

/* Sizes that cannot wrap: false on overflow. */
static inline bool kvf_mul(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool kvf_add(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

/* Arrays one behind the other in one block, each on a line of cache of its own: place them once
 * without a base for their size, and once with it. used is UINT64_MAX if they cannot be. */
typedef struct kvf_block {
    uint8_t *base; /* NULL: only the size is asked for */
    uint64_t used;
} kvf_block;
static inline void *kvf_place(kvf_block *b, uint64_t n, uint64_t size)
{
    void *at = b->base ? b->base + b->used : NULL;
    uint64_t bytes;
    if (!kvf_mul(n, size, &bytes) || !kvf_add(bytes, 63, &bytes) ||
        !kvf_add(b->used, bytes & ~(uint64_t)63, &b->used))
        b->used = UINT64_MAX;
    return at;
}

/* A file mapped for reading. size may be 0; then data is not NULL but must not be read. */
typedef struct kvf_file {
    const uint8_t *data;
    uint64_t size;
} kvf_file;
kvf_status kvf_file_open(kvf_file *file, const char *path, kvf_error *err); /* regular files only */
void kvf_file_close(kvf_file *file);                                        /* zeroed is fine */

const char *kvf_file_name(const char *path); /* behind its last / */

double kvf_now(void);                        /* monotonic seconds */
uint64_t kvf_resident_bytes(uint64_t *peak); /* of this process; peak may be NULL */

/* f16 and bf16 bit patterns, exactly (IEEE 754 binary16; bfloat16 rounds to nearest even). Here,
 * and without branches, so that loops over many of them become vectors. */
typedef union kvf_bits {
    uint32_t u;
    float f;
} kvf_bits;

static inline float kvf_from_f16(uint16_t h)
{
    uint32_t magnitude = (uint32_t)(h & 0x7fff), sign = (uint32_t)(h & 0x8000) << 16;
    kvf_bits normal = {.u = (magnitude << 13) + (112u << 23)};
    kvf_bits tiny = {.f = (float)(int32_t)magnitude * 0x1p-24f}; /* subnormal or zero: exact */
    normal.u += magnitude >= 0x7c00 ? 112u << 23 : 0;            /* infinite, or not a number */
    normal.u = magnitude < 0x400 ? tiny.u : normal.u;
    normal.u |= sign;
    return normal.f;
}

uint16_t kvf_to_f16(float f);

static inline float kvf_from_bf16(uint16_t h)
{
    kvf_bits v = {.u = (uint32_t)h << 16};
    return v.f;
}

static inline float kvf_round_to_bf16(float f) /* the same number as f32 */
{
    kvf_bits v = {.f = f};
    uint32_t rounded = v.u + 0x7fff + (v.u >> 16 & 1);
    v.u = ((v.u & 0x7fffffff) > 0x7f800000 ? v.u | 0x400000 : rounded) & 0xffff0000;
    return v.f;
}

static inline uint16_t kvf_to_bf16(float f)
{
    kvf_bits v = {.f = kvf_round_to_bf16(f)};
    return (uint16_t)(v.u >> 16);
}
#endif
