/* floats.h - runs of floats from and to the types that weights are kept in. */
#ifndef KVF_EXPORT_FLOATS_H
#define KVF_EXPORT_FLOATS_H

#include "onnx/onnx.h"

/* n elements of type KVF_F32, KVF_F16 or KVF_BF16 from src, of any alignment, as floats. */
void kvf_floats_load(float *dst, kvf_type type, const void *src, size_t n);
/* n floats as elements of type KVF_F32 or KVF_F16. False if a finite one leaves the type's
 * range. */
bool kvf_floats_store(void *dst, kvf_type type, const float *src, size_t n);
#endif
