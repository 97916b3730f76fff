/* library.h - ONNX Runtime's shared library: found, opened, its failures in words, its memory. */
#ifndef KVF_ORT_LIBRARY_H
#define KVF_ORT_LIBRARY_H

#include "base.h"

#include <onnxruntime_c_api.h>

typedef struct kvf_ort_library kvf_ort_library;
struct kvf_ort_library {
    kvf_ort_library *next;
    void *handle;
    const OrtApi *api;   /* of the highest version that both the header and the library know */
    const char *version; /* the library's own, as "1.32.0" */
    OrtMemoryInfo *memory;
    OrtAllocator allocator; /* where its sessions take their memory */
    bool counts;            /* false: the allocator cannot be used, and bytes stays 0 */
    void (*out_of_memory)(void);
    uint64_t machine_bytes;
    _Atomic uint64_t bytes;        /* taken by it now, for all models */
    _Atomic uint64_t most_bytes;   /* at any time since a model was loaded */
    _Atomic uint64_t weight_bytes; /* of these: while models were loaded */
};

/* Find and open ONNX Runtime: the file that is named; without a name, the first that is there of
 * the folders that the build recorded, the run path of this program or library, the system.
 *
 * out     lives as long as the process; all models that name the same file share it
 * Errors  KVF_ERR_ENGINE: where it was looked for and how to get it, or what is wrong with it;
 *         KVF_ERR_NOMEM */
kvf_status kvf_ort_library_open(kvf_ort_library **out, const char *file, kvf_error *err);

/* Take an OrtStatus, which may be NULL, and say its words on one line behind the library's name
 * and version. */
kvf_status kvf_ort_check(const kvf_ort_library *lib, OrtStatus *result, kvf_status as,
                         kvf_error *err);
#endif
