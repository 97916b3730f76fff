/* json.h - JSON that somebody else wrote: duplicate keys, deep nesting and trailing bytes are
 * errors that name the file and the line. */
#ifndef KVF_EXPORT_JSON_H
#define KVF_EXPORT_JSON_H

#include "base.h"

#include <jansson.h>

/* An object from size bytes that came from path. Free it with json_decref.
 * Errors  KVF_ERR_MODEL, KVF_ERR_NOMEM */
kvf_status kvf_json_parse(json_t **out, const char *path, const void *data, uint64_t size,
                          kvf_error *err);
/* The same from a file of at most 100 MB. Errors  KVF_ERR_IO too */
kvf_status kvf_json_read(json_t **out, const char *path, kvf_error *err);

enum { KVF_JSON_MOST = 100000000 }; /* bytes; what safetensors allows a header */
#endif
