/* npz.c - see npz.h. The zip file is libzip's work; a .npy file is a header and the bytes. */
#include "trigo/npz.h"

#include <pthread.h>
#include <string.h>
#include <zip.h>

#include "base.h"

enum {
    HEADER = 128, /* of a .npy file: magic, version, length, and a line of text that fills it up */
    NAME = 64,
    LEVEL = 4,          /* of compression: more costs time and gains little */
    FIRST_OF_1980 = 33, /* as MS-DOS wrote it: the oldest date that a zip file knows */
};

/* libzip turns dates with calls of the C library that share its time zone: one thread at a time. */
static pthread_mutex_t packing = PTHREAD_MUTEX_INITIALIZER;

/* ---- arrays ---------------------------------------------------------------------------------- */

static size_t row_bytes(const trigo_array *a)
{
    return (size_t)(a->type[1] - '0') * (a->columns ? a->columns : 1);
}

kvf_status trigo_array_add(trigo_array *array, const void *rows, size_t n, kvf_error *err)
{
    size_t bytes = row_bytes(array);
    if (array->n + n > array->room) {
        size_t room = 2 * (array->n + n);
        uint8_t *data = kvf_resize(array->data, room, bytes);
        if (!data) return kvf_fail(err, KVF_ERR_NOMEM, "%zu rows of '%s'", room, array->name);
        array->data = data;
        array->room = room;
    }
    if (n) memcpy(array->data + array->n * bytes, rows, n * bytes);
    array->n += n;
    return KVF_OK;
}

void trigo_array_free(trigo_array *array)
{
    kvf_free(array->data);
    array->data = NULL;
    array->n = array->room = 0;
}

/* ---- .npy ------------------------------------------------------------------------------------ */

static void write_header(const trigo_array *a, uint8_t header[HEADER])
{
    static const uint8_t magic[] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, HEADER - 10, 0};
    char shape[48], text[HEADER];
    const char *format = a->columns ? "(%zu, %u)" : "(%zu,)";
    snprintf(shape, sizeof shape, format, a->n, a->columns);
    char order = a->type[1] == '1' ? '|' : __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? '<' : '>';
    int n = snprintf(text, sizeof text, "{'descr': '%c%s', 'fortran_order': False, 'shape': %s, }",
                     order, a->type, shape);
    memcpy(header, magic, sizeof magic);
    memset(header + sizeof magic, ' ', HEADER - sizeof magic);
    memcpy(header + sizeof magic, text, (size_t)n);
    header[HEADER - 1] = '\n';
}

static kvf_status make_npy(const trigo_array *a, uint8_t **out, size_t *size, kvf_error *err)
{
    size_t bytes = a->n * row_bytes(a);
    *size = HEADER + bytes;
    *out = kvf_array(*size, 1);
    if (!*out) return kvf_fail(err, KVF_ERR_NOMEM, "%zu bytes of '%s'", bytes, a->name);
    write_header(a, *out);
    if (bytes) memcpy(*out + HEADER, a->data, bytes);
    return KVF_OK;
}

/* ---- pack ------------------------------------------------------------------------------------ */

static kvf_status zip_failed(kvf_error *err, zip_error_t *why)
{
    kvf_status status = zip_error_code_zip(why) == ZIP_ER_MEMORY ? KVF_ERR_NOMEM : KVF_ERR_IO;
    kvf_fail(err, status, "libzip: %s", zip_error_strerror(why));
    zip_error_fini(why);
    return status;
}

/* Add a file to the archive, which reads the bytes when it is closed. */
static bool add_file(zip_t *zip, const char *array, const uint8_t *bytes, size_t size)
{
    char name[NAME];
    snprintf(name, sizeof name, "%s.npy", array);
    zip_source_t *source = zip_source_buffer(zip, bytes, size, 0);
    zip_int64_t i = source ? zip_file_add(zip, name, source, ZIP_FL_ENC_UTF_8) : -1;
    if (i < 0) zip_source_free(source);
    return i >= 0 && !zip_set_file_compression(zip, (zip_uint64_t)i, ZIP_CM_DEFLATE, LEVEL) &&
           !zip_file_set_dostime(zip, (zip_uint64_t)i, 0, FIRST_OF_1980, 0);
}

static kvf_status write_archive(zip_source_t *into, const trigo_array *arrays, size_t n,
                                uint8_t **files, kvf_error *err)
{
    zip_error_t why;
    zip_error_init(&why);
    zip_source_keep(into); /* closing the archive frees it once */
    zip_t *zip = zip_open_from_source(into, ZIP_TRUNCATE, &why);
    if (!zip) {
        zip_source_free(into);
        return zip_failed(err, &why);
    }
    kvf_status status = KVF_OK;
    bool ok = true;
    for (size_t i = 0; i < n && !status && ok; i++) {
        size_t size;
        status = make_npy(&arrays[i], &files[i], &size, err);
        if (!status) ok = add_file(zip, arrays[i].name, files[i], size);
    }
    if (!status && ok && !zip_close(zip)) return KVF_OK;
    if (!status) status = kvf_fail(err, KVF_ERR_IO, "libzip: %s", zip_strerror(zip));
    zip_discard(zip);
    return status;
}

static kvf_status read_source(zip_source_t *source, uint8_t **bytes, uint64_t *size, kvf_error *err)
{
    zip_stat_t stat;
    zip_stat_init(&stat);
    if (zip_source_stat(source, &stat) || zip_source_open(source))
        return kvf_fail(err, KVF_ERR_IO, "libzip: %s",
                        zip_error_strerror(zip_source_error(source)));
    *size = stat.size;
    *bytes = kvf_array(stat.size, 1);
    kvf_status status = KVF_OK;
    if (!*bytes)
        status = kvf_fail(err, KVF_ERR_NOMEM, "%llu bytes", (unsigned long long)stat.size);
    else if (zip_source_read(source, *bytes, stat.size) != (zip_int64_t)stat.size)
        status = kvf_fail(err, KVF_ERR_IO, "libzip: the archive cannot be read back");
    zip_source_close(source);
    return status;
}

kvf_status trigo_npz_pack(const trigo_array *arrays, size_t n, uint8_t **bytes, uint64_t *size,
                          kvf_error *err)
{
    zip_error_t why;
    zip_error_init(&why);
    *bytes = NULL;
    zip_source_t *source = zip_source_buffer_create(NULL, 0, 0, &why);
    if (!source) return zip_failed(err, &why);
    uint8_t **files = kvf_array(n, sizeof *files);
    pthread_mutex_lock(&packing);
    kvf_status status = files ? write_archive(source, arrays, n, files, err)
                              : kvf_fail(err, KVF_ERR_NOMEM, "%zu arrays", n);
    pthread_mutex_unlock(&packing);
    if (!status) status = read_source(source, bytes, size, err);
    for (size_t i = 0; files && i < n; i++) kvf_free(files[i]);
    kvf_free(files);
    zip_source_free(source);
    if (!status) return KVF_OK;
    kvf_free(*bytes);
    *bytes = NULL;
    return status;
}

/* ---- compare --------------------------------------------------------------------------------- */

static kvf_status compare_file(zip_t *zip, const trigo_array *a, kvf_error *err)
{
    char name[NAME];
    snprintf(name, sizeof name, "%s.npy", a->name);
    uint8_t *want;
    size_t size, at = 0;
    kvf_status status = make_npy(a, &want, &size, err);
    if (status) return status;
    zip_file_t *file = zip_fopen(zip, name, 0);
    uint8_t got[1 << 14];
    zip_int64_t n = 0;
    bool same = file;
    while (same && (n = zip_fread(file, got, sizeof got)) > 0) {
        same = (uint64_t)n <= size - at && !memcmp(want + at, got, (size_t)n);
        at += (size_t)n;
    }
    if (!same || n < 0 || at != size)
        status = kvf_fail(err, KVF_ERR_ARG, "'%s' is %s", name,
                          file ? "not what its games give" : "not there");
    if (file) zip_fclose(file);
    kvf_free(want);
    return status;
}

kvf_status trigo_npz_compare(const char *path, const trigo_array *arrays, size_t n, kvf_error *err)
{
    int code;
    zip_t *zip = zip_open(path, ZIP_RDONLY | ZIP_CHECKCONS, &code);
    if (!zip) {
        zip_error_t why;
        zip_error_init_with_code(&why, code);
        bool told = code == ZIP_ER_NOZIP || code == ZIP_ER_NOENT || code == ZIP_ER_INCONS;
        kvf_status status = kvf_fail(err, told ? KVF_ERR_ARG : KVF_ERR_IO, "%s: %s", path,
                                     zip_error_strerror(&why));
        zip_error_fini(&why);
        return status;
    }
    kvf_status status = KVF_OK;
    if (zip_get_num_entries(zip, 0) != (zip_int64_t)n)
        status = kvf_fail(err, KVF_ERR_ARG, "%lld arrays, but there should be %zu",
                          (long long)zip_get_num_entries(zip, 0), n);
    for (size_t i = 0; i < n && !status; i++) status = compare_file(zip, &arrays[i], err);
    zip_discard(zip);
    return status ? kvf_prefix(err, status, "%s: ", path) : KVF_OK;
}
