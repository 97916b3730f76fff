/* generation.c - a generation as JSON, and the chance that its games are made of.
 *
 *   describe   fields and model -> json
 *   read       json -> fields, every one checked: the file may come from anywhere
 *   compare    json against json, so that what is written down is what counts */
#include "trigo/generation.h"

#include <sha256.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "rng.h"
#include "trigo/json.h"
#include "trigo/notation.h"

enum { MAX_BYTES = 1 << 20 }; /* of a generation.json */

/* ---- describe -------------------------------------------------------------------------------- */

/* Each file's hash into the list and, as sha256sum writes it, into the hash of all. */
static kvf_status hash_files(const kvf_model *model, json_t *files, char hex[MACHINE_HASH],
                             kvf_error *err)
{
    SHA2_CTX all;
    SHA256Init(&all);
    for (uint32_t i = 0; i < kvf_model_get_info(model)->n_files; i++) {
        const char *path = kvf_model_file(model, i), *name = kvf_file_name(path);
        char one[MACHINE_HASH];
        kvf_status status = machine_hash_file(path, one, err);
        if (status) return status;
        SHA256Update(&all, (const uint8_t *)one, strlen(one));
        SHA256Update(&all, (const uint8_t *)"  ", 2);
        SHA256Update(&all, (const uint8_t *)name, strlen(name));
        SHA256Update(&all, (const uint8_t *)"\n", 1);
        json_array_append_new(files, json_pack("{s:s, s:s}", "name", name, "sha256", one));
    }
    SHA256End(&all, hex);
    return KVF_OK;
}

/* What computes, as far as the bits of its results may depend on it. */
static kvf_status describe_model(trigo_generation *g, const kvf_model *model, trigo_set set,
                                 json_t **out, kvf_error *err)
{
    if (!model) {
        strcpy(g->model, "uniform");
        g->context = 0;
        *out = json_pack("{s:s, s:i}", "sha256", g->model, "context", 0);
        return KVF_OK;
    }
    const kvf_model_info *info = kvf_model_get_info(model);
    json_t *files = json_array();
    kvf_status status = hash_files(model, files, g->model, err);
    g->context = info->context;
    *out = json_pack("{s:s, s:i, s:s, s:o, s:s, s:s, s:s, s:s, s:s}", "sha256", g->model, "context",
                     (int)g->context, "set", trigo_set_name(set), "files", files, "engine",
                     info->engine, "engine_version", info->engine_version, "precision",
                     info->precision, "kv", info->kv_type, "cpu", info->cpu);
    return status;
}

static json_t *describe_shapes(const trigo_generation *g)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < g->n_shapes; i++) {
        char text[TRIGO_SHAPE_TEXT];
        trigo_shape_write(g->shapes[i], text);
        json_array_append_new(list, json_string(text));
    }
    return list;
}

static json_t *by_board_or(double value)
{
    return value == TRIGO_BY_BOARD ? json_string("by board") : json_real(value);
}

kvf_status trigo_generation_describe(trigo_generation *g, const kvf_model *model, trigo_set set,
                                     kvf_error *err)
{
    json_t *described = NULL;
    kvf_status status = describe_model(g, model, set, &described, err);
    if (status) {
        json_decref(described);
        return status;
    }
    json_t *plies = g->temperature_plies == TRIGO_BY_BOARD ? json_string("by board")
                                                           : json_integer(g->temperature_plies);
    json_decref(g->json);
    g->json = json_pack("{s:o, s:I, s:I, s:I, s:{s:o, s:I, s:I, s:f, s:o, s:f, s:f, s:o}}", "model",
                        described, "games", (json_int_t)g->games, "games_per_file",
                        (json_int_t)g->games_per_file, "seed", (json_int_t)g->seed, "options",
                        "shapes", describe_shapes(g), "sims", (json_int_t)g->sims, "max_plies",
                        (json_int_t)g->max_plies, "c_puct", g->c_puct, "noise_alpha",
                        by_board_or(g->noise_alpha), "noise_share", g->noise_share, "temperature",
                        g->temperature, "temperature_plies", plies);
    return g->json ? KVF_OK : kvf_fail(err, KVF_ERR_NOMEM, "the description of a generation");
}

/* ---- read ------------------------------------------------------------------------------------ */

static kvf_status not_a(const char *key, const char *what, kvf_error *err)
{
    return kvf_fail(err, KVF_ERR_ARG, "'%s' should be %s", key, what);
}

static kvf_status read_count(const json_t *object, const char *key, json_int_t least,
                             json_int_t most, uint64_t *out, kvf_error *err)
{
    const json_t *value = json_object_get(object, key);
    json_int_t n = json_integer_value(value);
    if (!json_is_integer(value) || n < least || n > most)
        return kvf_fail(err, KVF_ERR_ARG, "'%s' should be an integer from %lld to %lld", key,
                        (long long)least, (long long)most);
    *out = (uint64_t)n;
    return KVF_OK;
}

static bool is_by_board(const json_t *value)
{
    return json_is_string(value) && !strcmp(json_string_value(value), "by board");
}

static kvf_status read_real(const json_t *object, const char *key, bool may_be_by_board,
                            double *out, kvf_error *err)
{
    const json_t *value = json_object_get(object, key);
    if (may_be_by_board && is_by_board(value)) return *out = TRIGO_BY_BOARD, KVF_OK;
    if (!json_is_number(value)) return not_a(key, "a number", err);
    *out = json_number_value(value);
    return KVF_OK;
}

static kvf_status read_model(trigo_generation *g, const json_t *model, kvf_error *err)
{
    const char *hash = json_string_value(json_object_get(model, "sha256"));
    if (!hash || strlen(hash) >= MACHINE_HASH ||
        (strcmp(hash, "uniform") && strspn(hash, "0123456789abcdef") != MACHINE_HASH - 1))
        return not_a("model.sha256", "64 hexadecimal digits, or 'uniform'", err);
    strcpy(g->model, hash);
    uint64_t context = 0;
    kvf_status status = read_count(model, "context", 0, INT32_MAX, &context, err);
    g->context = (uint32_t)context;
    return status;
}

static kvf_status read_shapes(trigo_generation *g, const json_t *list, kvf_error *err)
{
    size_t n = json_array_size(list);
    if (!n || n > TRIGO_MAX_SHAPES) return not_a("shapes", "a list of 1 to 64 shapes", err);
    g->n_shapes = (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *text = json_array_get(list, i);
        if (!json_is_string(text)) return not_a("shapes", "a list of 1 to 64 shapes", err);
        kvf_status status =
            trigo_shape_read(json_string_value(text), json_string_length(text), &g->shapes[i], err);
        if (status) return status;
    }
    return KVF_OK;
}

static kvf_status read_options(trigo_generation *g, const json_t *o, kvf_error *err)
{
    uint64_t sims = 0, plies = 0, temperature_plies = 0;
    kvf_status status = read_shapes(g, json_object_get(o, "shapes"), err);
    if (!status) status = read_count(o, "sims", 2, INT32_MAX, &sims, err);
    if (!status) status = read_count(o, "max_plies", 1, TRIGO_MAX_PLIES, &plies, err);
    if (!status) status = read_real(o, "c_puct", false, &g->c_puct, err);
    if (!status) status = read_real(o, "noise_alpha", true, &g->noise_alpha, err);
    if (!status) status = read_real(o, "noise_share", false, &g->noise_share, err);
    if (!status) status = read_real(o, "temperature", false, &g->temperature, err);
    g->temperature_plies = TRIGO_BY_BOARD;
    if (!status && !is_by_board(json_object_get(o, "temperature_plies"))) {
        status = read_count(o, "temperature_plies", 0, TRIGO_MAX_PLIES, &temperature_plies, err);
        g->temperature_plies = (int64_t)temperature_plies;
    }
    g->sims = (uint32_t)sims;
    g->max_plies = (uint32_t)plies;
    return status;
}

static kvf_status read_fields(trigo_generation *g, kvf_error *err)
{
    uint64_t per_file = 0;
    kvf_status status = read_model(g, json_object_get(g->json, "model"), err);
    if (!status) status = read_count(g->json, "games", 1, TRIGO_MAX_GAMES, &g->games, err);
    if (!status) status = read_count(g->json, "games_per_file", 1, TRIGO_MAX_GAMES, &per_file, err);
    if (!status) status = read_count(g->json, "seed", 0, INT64_MAX, &g->seed, err);
    g->games_per_file = (uint32_t)per_file;
    if (!status) status = read_options(g, json_object_get(g->json, "options"), err);
    return status ? status : trigo_generation_check(g, err);
}

kvf_status trigo_generation_read(trigo_generation *g, const char *path, kvf_error *err)
{
    *g = (trigo_generation){0};
    kvf_file file;
    kvf_status status = kvf_file_open(&file, path, err);
    if (status) return status;
    if (file.size > MAX_BYTES)
        status = kvf_fail(err, KVF_ERR_ARG, "it has more than %d bytes", MAX_BYTES);
    if (!status)
        status = trigo_json_object(&g->json, (const char *)file.data, (size_t)file.size, err);
    kvf_file_close(&file);
    if (!status) status = read_fields(g, err);
    return status ? kvf_prefix(err, status, "%s: ", path) : KVF_OK;
}

void trigo_generation_free(trigo_generation *g)
{
    json_decref(g->json);
    *g = (trigo_generation){0};
}

kvf_status trigo_generation_check(const trigo_generation *g, kvf_error *err)
{
    if (!(g->c_puct >= 0 && g->c_puct <= 1e6))
        return kvf_fail(err, KVF_ERR_ARG, "c_puct is %g, but should be from 0 to 1e6", g->c_puct);
    if (g->noise_alpha != TRIGO_BY_BOARD && !(g->noise_alpha >= 1e-3 && g->noise_alpha <= 1e6))
        return kvf_fail(err, KVF_ERR_ARG,
                        "the noise's alpha is %g, but should be from 0.001 to 1e6", g->noise_alpha);
    if (!(g->noise_share >= 0 && g->noise_share <= 1))
        return kvf_fail(err, KVF_ERR_ARG, "the noise's share is %g, but should be from 0 to 1",
                        g->noise_share);
    if (!(g->temperature >= 0 && g->temperature <= 1e6))
        return kvf_fail(err, KVF_ERR_ARG, "the temperature is %g, but should be from 0 to 1e6",
                        g->temperature);
    return KVF_OK;
}

/* ---- compare --------------------------------------------------------------------------------- */

static void show(const json_t *value, char *text, size_t size)
{
    char *dump = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII |
                                               JSON_REAL_PRECISION(9))
                       : NULL;
    snprintf(text, size, "%s", dump ? dump : "not there");
    free(dump);
}

/* The first field that differs, by its path; KVF_OK if there is none. */
static kvf_status compare_objects(json_t *a, const char *where, json_t *b, const char *here,
                                  const char *path, kvf_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(b, key, value)
    {
        char name[80], theirs[80], ours[80];
        json_t *other = json_object_get(a, key);
        snprintf(name, sizeof name, "%s%s%s", path, *path ? "." : "", key);
        if (json_equal(other, value)) continue;
        if (json_is_object(other) && json_is_object(value)) {
            kvf_status status = compare_objects(other, where, value, here, name, err);
            if (status) return status;
            continue;
        }
        show(other, theirs, sizeof theirs);
        show(value, ours, sizeof ours);
        return kvf_fail(err, KVF_ERR_ARG, "%s is %s in %.120s, but %s in %.120s", name, theirs,
                        where, ours, here);
    }
    return KVF_OK;
}

kvf_status trigo_generation_compare(const trigo_generation *a, const char *where,
                                    const trigo_generation *b, const char *here, kvf_error *err)
{
    kvf_status status = compare_objects(a->json, where, b->json, here, "", err);
    return status ? status : compare_objects(b->json, here, a->json, where, "", err);
}

/* ---- games ----------------------------------------------------------------------------------- */

/* A game's own chance. Neighbouring seeds would do for the generator, but the same games must not
 * come back one index later in the generation with the next seed. */
static kvf_rng chance(const trigo_generation *g, uint64_t index)
{
    kvf_rng rng;
    kvf_rng_seed(&rng, g->seed);
    kvf_rng_seed(&rng, kvf_rng_next(&rng) + index);
    return rng;
}

trigo_shape trigo_generation_shape(const trigo_generation *g, uint64_t index)
{
    kvf_rng rng = chance(g, index);
    return g->shapes[kvf_rng_below(&rng, g->n_shapes)];
}

trigo_search_options trigo_generation_search(const trigo_generation *g, uint64_t index)
{
    kvf_rng rng = chance(g, index);
    uint32_t cells = trigo_cells(g->shapes[kvf_rng_below(&rng, g->n_shapes)]);
    trigo_search_options o = TRIGO_SEARCH_DEFAULTS;
    o.batch = 1; /* many games fill a batch, and none need look ahead */
    o.c_puct = g->c_puct;
    o.noise_share = g->noise_share;
    o.noise_alpha = g->noise_alpha == TRIGO_BY_BOARD ? 10.0 / cells : g->noise_alpha;
    if (g->noise_share == 0) o.noise_alpha = 0;
    o.temperature = g->temperature;
    o.temperature_plies =
        g->temperature_plies == TRIGO_BY_BOARD ? (cells + 3) / 4 : (uint32_t)g->temperature_plies;
    o.seed = kvf_rng_next(&rng);
    return o;
}
