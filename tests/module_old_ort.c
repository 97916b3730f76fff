/* module_old_ort.c - a library that says it is an ONNX Runtime of long ago, and has no interface
 * that kvfork could use. */
#include <stddef.h>
#include <stdint.h>

struct base {
    const void *(*get_api)(uint32_t version);
    const char *(*get_version)(void);
};
const struct base *OrtGetApiBase(void);

static const void *get_api(uint32_t version)
{
    (void)version;
    return NULL;
}

static const char *get_version(void)
{
    return "1.10.0";
}

const struct base *OrtGetApiBase(void)
{
    static const struct base base = {get_api, get_version};
    return &base;
}
