/* machine.c - see machine.h. */
#include "report/machine.h"

#include <sha256.h>
#include <stdio.h>
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

machine machine_now(void)
{
    machine m;
    read_cpu_model(m.cpu_model, sizeof m.cpu_model);
    if (getloadavg(&m.load, 1) < 1) m.load = -1;
    time_t now = time(NULL);
    struct tm utc;
    strftime(m.date, sizeof m.date, "%Y-%m-%d %H:%M UTC", gmtime_r(&now, &utc));
    return m;
}

kvf_status machine_hash_file(const char *path, char hash[MACHINE_HASH], kvf_error *err)
{
    kvf_file file = {0};
    kvf_status status = kvf_file_open(&file, path, err);
    if (status) return status;
    SHA256Data(file.data, (size_t)file.size, hash);
    kvf_file_close(&file);
    return KVF_OK;
}
