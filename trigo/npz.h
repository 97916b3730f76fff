/* npz.h - arrays of numbers as NumPy reads them: a zip file of .npy files.
 *
 * numpy.load takes it without pickle. Equal arrays give equal bytes on one machine; another
 * version of zlib may compress them differently, so files are compared by what is in them. */
#ifndef TRIGO_NPZ_H
#define TRIGO_NPZ_H

#include "kvfork.h"

/* A growing array of one or two dimensions. */
typedef struct trigo_array {
    const char *name;
    const char *type; /* as NumPy writes it, without the order of bytes: "u1", "i4", "f4", "i8" */
    uint32_t columns; /* 0: one dimension */
    uint8_t *data;    /* [n][columns] */
    size_t n, room;   /* rows */
} trigo_array;

/* Add rows. Errors: KVF_ERR_NOMEM. */
kvf_status trigo_array_add(trigo_array *array, const void *rows, size_t n, kvf_error *err);
void trigo_array_free(trigo_array *array); /* empties it */

/* Make a file of arrays; bytes is set on KVF_OK to [size], free it with kvf_free. Takes memory for
 * the arrays once more, and for the file. Errors: KVF_ERR_NOMEM, KVF_ERR_IO (libzip's words). */
kvf_status trigo_npz_pack(const trigo_array *arrays, size_t n, uint8_t **bytes, uint64_t *size,
                          kvf_error *err);

/* Check that a file holds just these arrays. Errors: KVF_ERR_ARG (the file, and that it is not
 * there, is no such file, or which array is the first that differs), KVF_ERR_IO, KVF_ERR_NOMEM. */
kvf_status trigo_npz_compare(const char *path, const trigo_array *arrays, size_t n, kvf_error *err);

#endif
