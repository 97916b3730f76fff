/* support_expected.c - see support_expected.h. */
#include "support_expected.h"

#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

/* Append the tokens of one array, each after the one before, the first after parent. */
static uint32_t append(expected *e, const json_t *array, int32_t parent)
{
    size_t i;
    json_t *token;
    json_array_foreach(array, i, token)
    {
        e->tokens[e->n] = (int32_t)json_integer_value(token);
        e->parent[e->n] = i ? (int32_t)e->n - 1 : parent;
        e->n++;
    }
    return (uint32_t)json_array_size(array);
}

static bool read_json(expected *e, const char *folder)
{
    char path[600];
    snprintf(path, sizeof path, "%s/expected.json", folder);
    json_error_t error;
    json_t *j = json_load_file(path, 0, &error);
    if (!j) {
        fprintf(stderr, "%s: %s\n", path, error.text);
        return false;
    }
    json_t *trunk = json_object_get(j, "tokens"), *a = json_object_get(j, "branch_a"),
           *b = json_object_get(j, "branch_b");
    size_t n = json_array_size(trunk) + json_array_size(a) + json_array_size(b);
    e->vocab = (uint32_t)json_integer_value(json_object_get(j, "vocab"));
    e->branch_at = (uint32_t)json_integer_value(json_object_get(j, "branch_at"));
    e->tokens = calloc(n, sizeof *e->tokens);
    e->parent = calloc(n, sizeof *e->parent);
    e->trunk = append(e, trunk, -1);
    e->branch[0] = append(e, a, (int32_t)e->branch_at - 1);
    e->branch[1] = append(e, b, (int32_t)e->branch_at - 1);
    json_decref(j);
    return e->n && e->vocab;
}

static bool read_logits(expected *e, const char *folder, const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    if (!f) return false;
    size_t n = (size_t)e->n * e->vocab;
    e->logits = calloc(n, sizeof *e->logits);
    bool ok = fread(e->logits, sizeof *e->logits, n, f) == n && fgetc(f) == EOF;
    if (!ok) fprintf(stderr, "%s: should hold %zu numbers\n", path, n);
    fclose(f);
    return ok;
}

bool expected_read(expected *e, const char *folder)
{
    const char *slash = strrchr(folder, '/');
    *e = (expected){0};
    snprintf(e->name, sizeof e->name, "%s", slash ? slash + 1 : folder);
    snprintf(e->model, sizeof e->model, "%s/model.onnx", folder);
    if (!read_json(e, folder)) return false;
    if (read_logits(e, folder, "logits_as_shipped.f32")) return true;
    e->exact = true;
    return read_logits(e, folder, "logits.f32");
}

bool expected_take_exact(expected *e, const char *folder)
{
    free(e->logits);
    e->exact = true;
    return read_logits(e, folder, "logits.f32");
}

bool expected_lifts(const expected *e)
{
    static const char *const not [] = {"alibi",  "softcap", "window",        "window-wide",
                                       "merged", "nan",     "last-row-only", "no-past-last-row"};
    for (size_t i = 0; i < sizeof not / sizeof *not ; i++)
        if (!strcmp(e->name, not [i])) return false;
    return true;
}

void expected_run(const expected *e, kvf_tree *tree, uint32_t chunk, float *logits)
{
    enum { MOST = 64 };
    kvf_node nodes[MOST];
    for (uint32_t first = 0, n; first < e->n; first += n) {
        kvf_entry entries[MOST];
        for (n = 0; first + n < e->n && (!chunk || n < chunk); n++) {
            int32_t parent = e->parent[first + n];
            bool within = parent >= (int32_t)first;
            if (chunk && n && !within) break; /* a branch begins a call */
            entries[n] = (kvf_entry){.token = e->tokens[first + n],
                                     .after = within ? parent - (int32_t)first : -1,
                                     .parent = parent < 0 ? KVF_ROOT : nodes[parent],
                                     .want = KVF_WANT(KVF_LOGITS)};
        }
        kvf_outputs out = {{logits + (size_t)first * e->vocab}};
        kvf_error err;
        if (kvf_eval(tree, entries, n, nodes + first, &out, &err)) fail_msg("%s", err.msg);
    }
}

void expected_free(expected *e)
{
    free(e->tokens);
    free(e->parent);
    free(e->logits);
    *e = (expected){0};
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char **expected_folders(const char *folder, size_t *n)
{
    char path[600];
    snprintf(path, sizeof path, "%s/tests/data/%s", KVF_SOURCE_DIR, folder);
    DIR *dir = opendir(path);
    char **list = NULL;
    *n = 0;
    for (struct dirent *d; dir && (d = readdir(dir));) {
        char model[900];
        snprintf(model, sizeof model, "%s/%s/model.onnx", path, d->d_name);
        if (access(model, R_OK)) continue;
        *strrchr(model, '/') = '\0';
        list = realloc(list, (*n + 1) * sizeof *list);
        list[(*n)++] = strdup(model);
    }
    if (dir) closedir(dir);
    if (*n) qsort(list, *n, sizeof *list, by_name);
    return list;
}

bool ort_is_here(void)
{
    kvf_model_options o = {.struct_size = sizeof o, .engine = "ort", .threads = 1};
    kvf_model *m = NULL;
    kvf_error err;
    kvf_status status =
        kvf_model_open(&m, KVF_SOURCE_DIR "/tests/data/made/plain/model.onnx", &o, &err);
    kvf_model_close(m);
    if (status) fprintf(stderr, "skipped: %s\n", err.msg);
    return status == KVF_OK;
}

double largest_difference(const float *a, const float *b, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        if (isnan(a[i]) && isnan(b[i])) continue;
        double d = fabs((double)a[i] - b[i]);
        if (isnan(d)) return INFINITY;
        if (d > most) most = d;
    }
    return most;
}

static uint32_t largest(const float *row, uint32_t width)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < width; i++)
        if (row[i] > row[best]) best = i;
    return best;
}

bool same_choice(const float *a, const float *b, uint32_t width, double near)
{
    uint32_t i = largest(a, width), k = largest(b, width);
    return i == k || fabs((double)a[i] - a[k]) <= near;
}
