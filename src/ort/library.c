/* library.c - ONNX Runtime's shared library: where it is looked for, which version of its
 * interface is asked for, and an allocator that counts what it takes.
 *
 * A library that was opened stays for the life of the process, in a list that is the one thing
 * here that belongs to no model. ONNX Runtime itself is like that: it has one environment per
 * process however often one is created, that environment keeps the allocator that it was given
 * first, and its threads and static objects do not survive being unloaded. */
#include "library.h"

#include <dlfcn.h>
#include <glob.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef KVF_ORT_ROOT
#define KVF_ORT_ROOT "" /* as given to cmake */
#endif
#ifndef KVF_ORT_INSTALLED
#define KVF_ORT_INSTALLED "" /* for programs that lack our RPATH */
#endif

/* The oldest interface with all that is called here, and with the operators of models in use. */
enum { OLDEST_API = 16 };

static const char how_to_get_it[] =
    "scripts/setup.sh fetches it; or configure with -DONNXRUNTIME_ROOT=FOLDER, an unpacked release "
    "of ONNX Runtime; or install the system's libonnxruntime";

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static kvf_ort_library *opened; /* under lock; entries are never freed */

/* ---- failures -------------------------------------------------------------------------------- */

/* On one line, and without the path of the model, which callers name. */
static void say(kvf_error *err, kvf_status as, const kvf_ort_library *lib, const char *words)
{
    static const char failed[] = " failed:";
    const char *rest = strncmp(words, "Load model from ", 16) ? NULL : strstr(words, failed);
    if (rest) words = rest + strlen(failed);
    char line[sizeof err->msg];
    size_t n = 0;
    for (; *words && n + 1 < sizeof line; words++) {
        char c = *words == '\n' || *words == '\t' ? ' ' : *words;
        if (c != ' ' || (n && line[n - 1] != ' ')) line[n++] = c;
    }
    while (n && line[n - 1] == ' ') n--;
    line[n] = '\0';
    kvf_fail(err, as, "ONNX Runtime %s: %.480s", lib->version, line);
}

kvf_status kvf_ort_check(const kvf_ort_library *lib, OrtStatus *result, kvf_status as,
                         kvf_error *err)
{
    if (!result) return KVF_OK;
    const char *words = lib->api->GetErrorMessage(result);
    if (strstr(words, "bad_alloc") || strstr(words, "Failed to allocate memory"))
        as = KVF_ERR_NOMEM;
    say(err, as, lib, words);
    lib->api->ReleaseStatus(result);
    return as;
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Before each block, for its size; keeps the alignment that kernels want. */
enum { HEADER = 64 };

static kvf_ort_library *library_of(const OrtAllocator *allocator)
{
    return (kvf_ort_library *)((uintptr_t)allocator - offsetof(kvf_ort_library, allocator));
}

/* ONNX Runtime does not look whether it got NULL: it expects std::bad_alloc, which it catches and
 * turns into a status. A kernel that overcommits would also grant more than the machine has, and
 * end the process when it is filled; a graph may ask for any size. */
static void *ORT_API_CALL take(OrtAllocator *allocator, size_t size)
{
    kvf_ort_library *lib = library_of(allocator);
    void *block = NULL;
    if (size > lib->machine_bytes || lib->bytes > lib->machine_bytes - size ||
        posix_memalign(&block, HEADER, size + HEADER)) {
        lib->out_of_memory();
        return NULL;
    }
    memcpy(block, &size, sizeof size);
    uint64_t now = atomic_fetch_add(&lib->bytes, size) + size, most = lib->most_bytes;
    while (now > most && !atomic_compare_exchange_weak(&lib->most_bytes, &most, now)) {}
    return (char *)block + HEADER;
}

static void ORT_API_CALL give(OrtAllocator *allocator, void *p)
{
    if (!p) return;
    void *block = (char *)p - HEADER;
    size_t size;
    memcpy(&size, block, sizeof size);
    library_of(allocator)->bytes -= size;
    free(block);
}

static const OrtMemoryInfo *ORT_API_CALL memory_info(const OrtAllocator *allocator)
{
    return library_of(allocator)->memory;
}

/* Functions out of a shared library are data pointers to dlsym. */
static void *symbol(void *handle, const char *name, void *function)
{
    void *p = dlsym(handle, name);
    memcpy(function, &p, sizeof p);
    return p;
}

static void make_allocator(kvf_ort_library *lib)
{
    /* std::__throw_bad_alloc() of libstdc++, which the library is linked with. */
    lib->counts = symbol(lib->handle, "_ZSt17__throw_bad_allocv", &lib->out_of_memory) != NULL;
    lib->machine_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    /* Version 18 of the interface is the one that brought Reserve, the last member set here. */
    lib->allocator = (OrtAllocator){
        .version = 18, .Alloc = take, .Free = give, .Info = memory_info, .Reserve = take};
}

/* ---- the interface --------------------------------------------------------------------------- */

/* The library prints to stderr when it is asked for a version that it does not have, so that its
 * own version number ("1.21.0" has versions up to 21) is read first. */
static const OrtApi *get_api(const OrtApiBase *base, const char *version)
{
    unsigned major = 0, minor = 0;
    if (sscanf(version, "%u.%u", &major, &minor) != 2 || major != 1) return NULL;
    for (uint32_t v = minor < ORT_API_VERSION ? minor : ORT_API_VERSION; v >= OLDEST_API; v--) {
        const OrtApi *api = base->GetApi(v);
        if (api) return api;
    }
    return NULL;
}

static kvf_status fill(kvf_ort_library *lib, const char *name, kvf_error *err)
{
    const OrtApiBase *(*get_base)(void);
    if (!symbol(lib->handle, "OrtGetApiBase", &get_base))
        return kvf_fail(err, KVF_ERR_ENGINE, "%s is not ONNX Runtime: it has no OrtGetApiBase",
                        name);
    lib->version = get_base()->GetVersionString();
    lib->api = get_api(get_base(), lib->version);
    if (!lib->api)
        return kvf_fail(err, KVF_ERR_ENGINE,
                        "%s is ONNX Runtime %.40s, but 1.%d or a later 1.x is needed; %s", name,
                        lib->version, OLDEST_API, how_to_get_it);
    make_allocator(lib);
    return kvf_ort_check(lib,
                         lib->api->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault,
                                                       &lib->memory),
                         KVF_ERR_ENGINE, err);
}

/* The entry of a library that dlopen gave us, made if it is new. */
static kvf_status enter(kvf_ort_library **out, void *handle, const char *name, kvf_error *err)
{
    for (kvf_ort_library *l = opened; l; l = l->next)
        if (l->handle == handle) {
            dlclose(handle); /* counted once */
            *out = l;
            return KVF_OK;
        }
    kvf_ort_library *lib = kvf_array(1, sizeof *lib);
    if (!lib) {
        dlclose(handle);
        return kvf_fail(err, KVF_ERR_NOMEM, "no memory to open ONNX Runtime");
    }
    lib->handle = handle;
    kvf_status status = fill(lib, name, err);
    if (status) {
        kvf_free(lib);
        dlclose(handle);
        return status;
    }
    lib->next = opened;
    *out = opened = lib;
    return KVF_OK;
}

/* ---- where it is ----------------------------------------------------------------------------- */

typedef struct search {
    kvf_ort_library **out;
    kvf_error *err;
    kvf_status status;
    char looked[200]; /* folders without one */
} search;

/* One file, or one name that the loader looks for. */
static bool try_name(search *s, const char *name)
{
    void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!handle) return false;
    s->status = enter(s->out, handle, name, s->err);
    return true;
}

/* A file that is there but cannot be loaded ends the search with its reason: to take another one
 * silently would leave the user guessing. */
static bool try_file(search *s, const char *path)
{
    if (access(path, F_OK)) return false;
    if (try_name(s, path)) return true;
    const char *why = dlerror();
    s->status = kvf_fail(s->err, KVF_ERR_ENGINE, "%s cannot be loaded: %.300s", path,
                         why ? why : "no reason given");
    return true;
}

static bool try_folder(search *s, const char *folder, const char *below)
{
    static const char *const names[] = {"libonnxruntime.so.1", "libonnxruntime.so"};
    char path[4096];
    if (!*folder) return false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int n = snprintf(path, sizeof path, "%s%s/%s", folder, below, names[i]);
        if (n > 0 && (size_t)n < sizeof path && try_file(s, path)) return true;
    }
    size_t used = strlen(s->looked);
    snprintf(s->looked + used, sizeof s->looked - used, "%s%s, ", folder, below);
    return false;
}

/* Distributions name the file by their own rules (Debian: libonnxruntime.so.1.21). */
static bool try_system(search *s)
{
    static const char *const patterns[] = {"/usr/local/lib/libonnxruntime.so*",
                                           "/usr/lib/*-linux-gnu*/libonnxruntime.so*",
                                           "/usr/lib64/libonnxruntime.so*",
                                           "/usr/lib/libonnxruntime.so*"};
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        glob_t found;
        if (glob(patterns[i], 0, NULL, &found)) continue;
        bool done = false;
        for (size_t k = 0; k < found.gl_pathc && !done; k++) done = try_file(s, found.gl_pathv[k]);
        globfree(&found);
        if (done) return true;
    }
    return false;
}

static void look_around(search *s)
{
    if (try_folder(s, KVF_ORT_ROOT, *KVF_ORT_ROOT ? "/lib" : "") ||
        try_name(s, "libonnxruntime.so.1") || try_folder(s, KVF_ORT_INSTALLED, "") ||
        try_name(s, "libonnxruntime.so") || try_system(s))
        return;
    s->status = kvf_fail(s->err, KVF_ERR_ENGINE,
                         "ONNX Runtime (libonnxruntime.so) is not installed: it is not in %sthe "
                         "run path or the system's folders; %s",
                         s->looked, how_to_get_it);
}

kvf_status kvf_ort_library_open(kvf_ort_library **out, const char *file, kvf_error *err)
{
    search s = {.out = out, .err = err};
    *out = NULL;
    pthread_mutex_lock(&lock);
    if (!file)
        look_around(&s);
    else if (!try_file(&s, file))
        s.status = kvf_fail(err, KVF_ERR_ENGINE,
                            "%s: no such file; it should be ONNX Runtime's "
                            "library (libonnxruntime.so)",
                            file);
    pthread_mutex_unlock(&lock);
    return s.status;
}
