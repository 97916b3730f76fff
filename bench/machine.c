/* machine.c - what the head of a result says: the machine and the model's file. */
#include "bench.h"

#include "base.h"

#include <sha256.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void read_cpu_model(char *out, size_t size)
{
    char line[256];
    snprintf(out, size, "unknown processor");
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon) continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(out, size, "%s", colon + 2);
        break;
    }
    if (f) fclose(f);
}

kvf_status bench_describe(bench_result *r, const kvf_model *model, kvf_error *err)
{
    const kvf_model_info *i = kvf_model_get_info(model);
    const char *path = kvf_model_file(model, 0), *slash = strrchr(path, '/');
    snprintf(r->file, sizeof r->file, "%s", slash ? slash + 1 : path);
    snprintf(r->exporter, sizeof r->exporter, "%s", i->exporter);
    r->layers = i->layers;
    r->heads = i->heads;
    r->kv_heads = i->kv_heads;
    r->head_dim = i->head_dim;
    r->hidden = i->hidden;
    r->vocab = i->vocab;
    r->context = i->context;
    r->parameters = i->parameters;
    r->file_bytes = i->file_bytes;
    r->bytes_per_token = i->bytes_per_token;

    read_cpu_model(r->cpu_model, sizeof r->cpu_model);
    if (getloadavg(&r->load, 1) < 1) r->load = -1;
    time_t now = time(NULL);
    struct tm utc;
    strftime(r->date, sizeof r->date, "%Y-%m-%d %H:%M UTC", gmtime_r(&now, &utc));
    kvf_file file = {0};
    kvf_status status = kvf_file_open(&file, path, err);
    if (status) return status;
    SHA256Data(file.data, (size_t)file.size, r->sha256);
    kvf_file_close(&file);
    return KVF_OK;
}
