/* vector_avx512.c - vector_lanes.h over sixteen lanes. */
#include "lanes_avx512.h"
#include "vector_lanes.h"
