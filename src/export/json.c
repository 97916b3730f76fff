/* json.c - jansson with its strict settings, and its errors in our words. */
#include "export/json.h"

kvf_status kvf_json_parse(json_t **out, const char *path, const void *data, uint64_t size,
                          kvf_error *err)
{
    json_error_t why;
    *out = NULL;
    if (size > KVF_JSON_MOST)
        return kvf_fail(err, KVF_ERR_MODEL, "%s: %llu bytes of JSON, but at most %d make sense",
                        path, (unsigned long long)size, KVF_JSON_MOST);
    json_t *json = json_loadb(data, (size_t)size, JSON_REJECT_DUPLICATES, &why);
    if (!json && json_error_code(&why) == json_error_out_of_memory)
        return kvf_fail(err, KVF_ERR_NOMEM, "%s: no memory for its JSON", path);
    if (!json)
        return kvf_fail(err, KVF_ERR_MODEL, "%s: line %d, column %d: %s", path, why.line,
                        why.column, why.text);
    if (!json_is_object(json)) {
        json_decref(json);
        return kvf_fail(err, KVF_ERR_MODEL, "%s: should be a JSON object", path);
    }
    *out = json;
    return KVF_OK;
}

kvf_status kvf_json_read(json_t **out, const char *path, kvf_error *err)
{
    kvf_file file;
    *out = NULL;
    kvf_status status = kvf_file_open(&file, path, err);
    if (status) return status;
    status = kvf_json_parse(out, path, file.data, file.size, err);
    kvf_file_close(&file);
    return status;
}
