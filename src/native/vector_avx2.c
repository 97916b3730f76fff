/* vector_avx2.c - vector_lanes.h over eight lanes. */
#include "lanes_avx2.h"
#include "vector_lanes.h"
