/* module_old_ort.c - a library that says it is an ONNX Runtime of long ago, and has no interface
 * that kvfork could use. Types have the names of ONNX Runtime's header: a sanitizer that checks calls
 * through pointers goes by them. */
#include <stddef.h>
#include <stdint.h>

struct OrtApi;
struct OrtApiBase {
    const struct OrtApi *(*GetApi)(uint32_t version);
    const char *(*GetVersionString)(void);
};
const struct OrtApiBase *OrtGetApiBase(void);

static const struct OrtApi *get_api(uint32_t version)
{
    (void)version;
    return NULL;
}

static const char *get_version(void)
{
    return "1.10.0";
}

const struct OrtApiBase *OrtGetApiBase(void)
{
    static const struct OrtApiBase base = {get_api, get_version};
    return &base;
}
