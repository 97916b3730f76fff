/* speed_open.c - how long opening a model takes, and how much memory at its peak: a tool, not a test.
 * usage: speed_open MODEL [THREADS [PRECISION]] */
#include "base.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    kvf_model_options o = {.struct_size = sizeof o,
                           .engine = "native",
                           .threads = argc > 2 ? (uint32_t)atoi(argv[2]) : 0,
                           .precision = argc > 3 ? argv[3] : NULL};
    kvf_model *model;
    kvf_error err;
    uint64_t peak;
    if (argc < 2) return puts("usage: speed_open MODEL [THREADS [PRECISION]]"), 2;
    double start = kvf_now();
    if (kvf_model_open(&model, argv[1], &o, &err)) return puts(err.msg), 1;
    double seconds = kvf_now() - start;
    kvf_resident_bytes(&peak);
    const kvf_model_info *i = kvf_model_get_info(model);
    double file = (double)i->file_bytes, packed = (double)i->weight_bytes;
    printf("%.2f s; at its peak %.1f MB, %.2f times the file's %.1f and the packed weights' %.1f\n",
           seconds, (double)peak / 1e6, (double)peak / (file + packed), file / 1e6, packed / 1e6);
    kvf_model_close(model);
    return 0;
}
