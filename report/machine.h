/* machine.h - what a measurement says of the machine it was made on and of the files it read. */
#ifndef REPORT_MACHINE_H
#define REPORT_MACHINE_H

#include "base.h"

typedef struct machine {
    char cpu_model[96], date[32]; /* of the day, in UTC */
    double load;                  /* of the last minute; below 0: not known */
} machine;

machine machine_now(void);

enum { MACHINE_HASH = 65 };

/* A file's SHA-256 in hexadecimal digits, terminated. Errors: those of kvf_file_open. */
kvf_status machine_hash_file(const char *path, char hash[MACHINE_HASH], kvf_error *err);

#endif
