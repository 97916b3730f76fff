/* device.h - what tests may ask of the stand-in for a CUDA device, and do to it. */
#ifndef KVF_TEST_DEVICE_H
#define KVF_TEST_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What has run since the last reset; what a graph holds counts whenever it is launched. */
typedef struct kvf_device_counts {
    uint64_t to_device_calls, to_device_bytes;
    uint64_t to_host_calls, to_host_bytes;
    uint64_t on_device_calls, on_device_bytes;
    uint64_t memsets, kernels, graphs;
    uint64_t device_bytes, host_bytes; /* allocated right now: not reset */
} kvf_device_counts;

kvf_device_counts kvf_device_count(void);
void kvf_device_reset_counts(void);

/* Counts to zero, everything below to its default, a lost device back. Memory stays allocated. */
void kvf_device_reset(void);

void kvf_device_set_devices(int n);                   /* 1; at most 16 */
void kvf_device_set_no_driver(int none);              /* 0 */
void kvf_device_set_no_image(int none);               /* 0: of kernels, for that device */
void kvf_device_set_no_graphs(int none);              /* 0: no memory to make one */
void kvf_device_set_capability(int major, int minor); /* 9.0 */
void kvf_device_set_memory(size_t bytes);             /* of each device: 8 GiB */
void kvf_device_set_seed(uint64_t seed);              /* of the order of threads and blocks: 1 */
void kvf_device_lose_at(uint64_t n); /* the n-th kernel from now on fails for good; 0: none does */

#ifdef __cplusplus
}
#endif
#endif
