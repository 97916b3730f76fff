/* cuda.c - the cuda engine: the device, and a model made ready on it. */
#include "cuda.h"

#include "model.h"

#include <stdlib.h>
#include <string.h>

/* ---- the device ------------------------------------------------------------------------------ */

kvf_status kvf_cuda_fail(kvf_error *err, cudaError_t code, const char *doing)
{
    (void)cudaGetLastError(); /* errors that pass are not for the next call to find */
    kvf_status status = code == cudaErrorMemoryAllocation ? KVF_ERR_NOMEM : KVF_ERR_ENGINE;
    return kvf_fail(err, status, "CUDA, %s: %s (%s)", doing, cudaGetErrorString(code),
                    cudaGetErrorName(code));
}

cudaError_t kvf_cuda_enter(const cuda_engine *e, cuda_before *before)
{
    *before = (cuda_before){-1, cudaStreamCaptureModeRelaxed};
    /* Another thread may be recording work of its own: what we do is none of that. */
    cudaError_t code = cudaThreadExchangeStreamCaptureMode(&before->mode);
    if (!code) code = cudaGetDevice(&before->device);
    if (code) return code;
    if (before->device == e->device) {
        before->device = -1;
        return cudaSuccess;
    }
    return cudaSetDevice(e->device);
}

void kvf_cuda_leave(cuda_before before)
{
    if (before.device >= 0) (void)cudaSetDevice(before.device);
    (void)cudaThreadExchangeStreamCaptureMode(&before.mode);
}

/* What is the matter where there is no driver that will do, in words. */
static kvf_status no_driver(kvf_error *err, cudaError_t code)
{
    int driver = 0, runtime = 0;
    if (code != cudaErrorInsufficientDriver || cudaDriverGetVersion(&driver) ||
        cudaRuntimeGetVersion(&runtime))
        return kvf_cuda_fail(err, code, "looking for a driver and a device");
    if (!driver) return kvf_fail(err, KVF_ERR_ENGINE, "there is no CUDA driver on this machine");
    return kvf_fail(err, KVF_ERR_ENGINE,
                    "the CUDA driver is for CUDA %d.%d, but this build needs one for %d.%d",
                    driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
}

/* The device that a model is opened for: there, and able to run the kernels. */
static kvf_status find_device(const struct kvf_model *model, int *device, int *capability,
                              kvf_error *err)
{
    enum { OLDEST = 70 };
    const char *name = model->info.device;
    int n = 0, major = 0, minor = 0;
    if (strncmp(name, "cuda:", 5))
        return kvf_fail(err, KVF_ERR_ENGINE, "the cuda engine runs on cuda:N, not on %s", name);
    *device = atoi(name + 5);
    cudaError_t code = cudaGetDeviceCount(&n);
    if (code == cudaErrorNoDevice) n = 0;
    if (code && code != cudaErrorNoDevice) return no_driver(err, code);
    if (*device >= n)
        return kvf_fail(err, KVF_ERR_ENGINE, "there is no device %s: this machine has %d", name, n);
    code = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, *device);
    if (!code) code = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, *device);
    if (code) return kvf_cuda_fail(err, code, "asking what the device is");
    *capability = 10 * major + minor;
    if (*capability < OLDEST)
        return kvf_fail(err, KVF_ERR_ENGINE,
                        "device %s has compute capability %d.%d, but the cuda engine needs 7.0",
                        name, major, minor);
    return KVF_OK;
}

/* Have a kernel loaded, now and not in the middle of a pass. */
static cudaError_t load_kernel(cuda_engine *e, const void *kernel)
{
    struct cudaFuncAttributes about;
    cudaError_t code = cudaFuncGetAttributes(&about, kernel);
    /* Code for older devices does not wait for the kernel in front. */
    if (!code && about.ptxVersion < 90) e->overlap = false;
    return code;
}

static kvf_status load_kernels(cuda_engine *e, kvf_error *err)
{
    enum { RECORDS_OVERLAP = 12030 }; /* the first driver whose graphs can */
    static const uint32_t rows[] = {1, 4, 8, 16, 32, 64};
    const void *const others[] = {kvf_cuda_embed_kernel(), kvf_cuda_rowwise_kernel(),
                                  kvf_cuda_store_kernel(), kvf_cuda_merge_kernel(),
                                  kvf_cuda_attend_kernel(e->bf16_cache, e->plan->head_dim)};
    int driver = 0;
    cudaError_t code = cudaDriverGetVersion(&driver);
    e->overlap = e->capability >= 90 && driver >= RECORDS_OVERLAP;
    for (size_t i = 0; i < sizeof others / sizeof *others && !code; i++)
        code = load_kernel(e, others[i]);
    for (uint32_t gated = 0; gated < 2; gated++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows && !code; i++) {
            uint32_t tile, columns, threads;
            cuda_weights w = {.precision = e->precision, .gated = gated};
            code = load_kernel(e, kvf_cuda_product_kernel(&w, rows[i], &tile, &columns, &threads));
            w.precision = KVF_W_F32; /* stacks */
            if (code) break;
            code = load_kernel(e, kvf_cuda_product_kernel(&w, rows[i], &tile, &columns, &threads));
        }
    return code ? kvf_cuda_fail(err, code, "loading kernels") : KVF_OK;
}

static kvf_status cuda_accepts(const struct kvf_model *model, kvf_error *err)
{
    int device, capability;
    const kvf_plan *plan = model->plan;
    if (!plan) return kvf_fail(err, KVF_ERR_MODEL, "%s", model->why);
    if (plan->head_dim > KVF_MAX_HEAD_DIM)
        return kvf_fail(err, KVF_ERR_MODEL,
                        "heads have %u dimensions, but the cuda engine takes at most %d",
                        plan->head_dim, KVF_MAX_HEAD_DIM);
    return find_device(model, &device, &capability, err);
}

/* ---- a model made ready ---------------------------------------------------------------------- */

/* Numbers on their way: places are counted first, then filled, through one buffer. */
typedef struct upload {
    cuda_engine *e;
    const struct kvf_model *model;
    kvf_pool *pool;
    kvf_precision precision;
    uint64_t used;   /* of the engine's memory */
    bool filling;    /* else only counting */
    uint8_t *buffer; /* [buffer_bytes] */
    uint64_t buffer_bytes, done;
    kvf_status status;
    kvf_error *err;
} upload;

/* A place on the device for that many bytes. */
static uint8_t *place(upload *u, uint64_t bytes)
{
    uint8_t *at = u->filling ? u->e->memory + u->used : NULL;
    if (!kvf_add(u->used, (bytes + 255) & ~(uint64_t)255, &u->used)) u->used = UINT64_MAX;
    return at;
}

static void send(upload *u, void *to, const void *from, uint64_t bytes)
{
    if (u->status || !bytes) return;
    cudaError_t code = cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice);
    if (code) u->status = kvf_cuda_fail(u->err, code, "sending weights to the device");
    u->done += bytes;
    if (u->model->options.progress)
        u->model->options.progress(u->model->options.user, "sending weights", u->done,
                                   u->e->weight_bytes);
}

static const float *send_floats(upload *u, const float *from, uint64_t n)
{
    if (!from || !n) return NULL;
    uint8_t *to = place(u, n * sizeof *from);
    if (u->filling) send(u, to, from, n * sizeof *from);
    return (const float *)to;
}

static void send_norm(upload *u, cuda_norm *to, const kvf_norm *from)
{
    *to = (cuda_norm){.kind = from->kind, .width = from->width, .eps = from->eps};
    to->weight = send_floats(u, from->weight, from->width);
    to->bias = send_floats(u, from->bias, from->width);
}

typedef struct pack_job {
    const cuda_packing *packing;
    uint8_t *data;
    float *bias, *scale;
} pack_job;

static void pack_share(void *arg, const kvf_member *me)
{
    const pack_job *job = arg;
    size_t begin, end;
    kvf_share(me, job->packing->out->panels, &begin, &end);
    kvf_cuda_pack_panels(job->packing, job->data, job->bias, job->scale, (uint32_t)begin,
                         (uint32_t)end);
}

static void send_product(upload *u, cuda_packing packing, kvf_precision precision)
{
    uint64_t bytes;
    if (u->status) return;
    u->status = kvf_cuda_pack_begin(&packing, precision, &bytes, u->err);
    if (u->status) return;
    cuda_weights *w = packing.out;
    uint64_t floats = (uint64_t)w->panels * kvf_cuda_panel_size(precision) * sizeof(float);
    bool has_bias = kvf_cuda_has_bias(&packing), has_scale = precision == KVF_W_Q8;
    uint8_t *data = place(u, bytes), *bias = has_bias ? place(u, floats) : NULL,
            *scale = has_scale ? place(u, floats) : NULL;
    if (bytes + 2 * floats > u->buffer_bytes) u->buffer_bytes = bytes + 2 * floats;
    if (!u->filling) return;
    pack_job job = {.packing = &packing, .data = u->buffer};
    if (has_bias) job.bias = (float *)(u->buffer + bytes);
    if (has_scale) job.scale = (float *)(u->buffer + bytes + floats);
    kvf_pool_run(u->pool, true, pack_share, &job);
    send(u, data, u->buffer, bytes);
    if (has_bias) send(u, bias, job.bias, floats);
    if (has_scale) send(u, scale, job.scale, floats);
    w->data = data;
    w->bias = (const float *)bias;
    w->scale = (const float *)scale;
}

/* An embedding, row by row: in bf16 if the file has it so, else in f32. */
static const void *send_table(upload *u, const kvf_matrix *m, bool *bf16)
{
    enum { ROWS = 256 };
    *bf16 = !m->block && m->type == KVF_BF16;
    uint64_t row = (uint64_t)m->out * (*bf16 ? 2 : 4), floats = (uint64_t)m->out * 4;
    if (!m->data || u->status) return NULL;
    u->status = kvf_matrix_check(m, m->in, u->err);
    uint8_t *to = place(u, row * m->in);
    if (ROWS * row + floats > u->buffer_bytes) u->buffer_bytes = ROWS * row + floats;
    if (!u->filling) return NULL;
    float *wide = (float *)(u->buffer + ROWS * row);
    for (uint32_t i = 0; i < m->in && !u->status; i += ROWS) {
        uint32_t n = m->in - i < ROWS ? m->in - i : ROWS;
        for (uint32_t r = 0; r < n; r++) {
            kvf_matrix_row(m, i + r, *bf16 ? wide : (float *)(u->buffer + r * row));
            for (uint32_t j = 0; j < m->out && *bf16; j++)
                ((uint16_t *)(u->buffer + r * row))[j] = kvf_to_bf16(wide[j]);
        }
        send(u, to + i * row, u->buffer, n * row);
    }
    return to;
}

/* Everything, in the order of the model: counted or sent. */
static void send_all(upload *u)
{
    cuda_engine *e = u->e;
    const kvf_plan *plan = e->plan;
    u->used = 0;
    e->token_table = send_table(u, &plan->token_embedding, &e->token_bf16);
    e->position_table = send_table(u, &plan->position_embedding, &e->position_bf16);
    e->table_bytes = u->used;
    uint64_t turns = (uint64_t)plan->rotary.rows * plan->rotary.pairs;
    e->cos = send_floats(u, plan->rotary.cos, turns);
    e->sin = send_floats(u, plan->rotary.sin, turns);
    for (uint32_t i = 0; i < plan->layers; i++) {
        const kvf_layer *l = &plan->layer[i];
        cuda_layer *to = &e->layer[i];
        cuda_packing up = {.out = &to->up, .parts = {&l->up}, .n = 1};
        if (l->gate.w.data)
            up = (cuda_packing){.out = &to->up, .parts = {&l->gate, &l->up}, .n = 2, .gated = true};
        send_norm(u, &to->attn_norm, &l->attn_norm);
        send_norm(u, &to->q_norm, &l->q_norm);
        send_norm(u, &to->k_norm, &l->k_norm);
        send_norm(u, &to->mlp_norm, &l->mlp_norm);
        send_product(u, (cuda_packing){.out = &to->qkv, .parts = {&l->q, &l->k, &l->v}, .n = 3},
                     u->precision);
        send_product(u, (cuda_packing){.out = &to->o, .parts = {&l->o}, .n = 1}, u->precision);
        send_product(u, up, u->precision);
        send_product(u, (cuda_packing){.out = &to->down, .parts = {&l->down}, .n = 1},
                     u->precision);
    }
    send_norm(u, &e->final_norm, &plan->final_norm);
    for (int h = 0; h < KVF_HEADS; h++)
        for (uint32_t i = 0; i < plan->head[h].n_stages; i++) {
            const kvf_stage *stage = &plan->head[h].stages[i];
            cuda_stage *to = &e->head[h][i];
            if (stage->kind == KVF_STAGE_NORM) send_norm(u, &to->norm, &stage->norm);
            if (stage->kind != KVF_STAGE_LINEAR) continue;
            /* A stack is small, and its stages add their errors up: it stays in f32. */
            send_product(u, (cuda_packing){.out = &to->linear, .parts = {&stage->linear}, .n = 1},
                         plan->head[h].n_stages > 1 ? KVF_W_F32 : u->precision);
        }
}

static void cuda_unload(void *engine)
{
    cuda_engine *e = engine;
    cuda_before before;
    if (!e) return;
    if (e->memory) {
        (void)kvf_cuda_enter(e, &before);
        (void)cudaFree(e->memory);
        (void)cudaGetLastError();
        kvf_cuda_leave(before);
    }
    kvf_free(e->layer);
    kvf_free(e);
}

static kvf_status fill(upload *u, kvf_error *err)
{
    cuda_engine *e = u->e;
    send_all(u); /* counts */
    if (u->status) return u->status;
    e->weight_bytes = u->used;
    u->buffer = kvf_array(u->buffer_bytes, 1);
    if (!u->buffer) return kvf_fail(err, KVF_ERR_NOMEM, "a buffer for weights");
    cudaError_t code = cudaMalloc((void **)&e->memory, e->weight_bytes);
    if (code) {
        e->memory = NULL;
        size_t available = 0, total = 0;
        (void)cudaMemGetInfo(&available, &total);
        kvf_status status = kvf_cuda_fail(err, code, "taking memory for weights");
        return kvf_prefix(err, status, "weights take %llu bytes of the device, %zu are free: ",
                          (unsigned long long)e->weight_bytes, available);
    }
    u->filling = true;
    send_all(u);
    code = u->status ? cudaSuccess : cudaStreamSynchronize(NULL);
    return code ? kvf_cuda_fail(err, code, "sending weights to the device") : u->status;
}

/* What the file itself stores, if all of it is held the same way; 4-bit integers become bf16. */
static kvf_precision own_precision(const kvf_plan *plan)
{
    for (uint32_t i = 0; i < plan->layers; i++) {
        const kvf_layer *l = &plan->layer[i];
        const kvf_linear *const all[] = {&l->q, &l->k, &l->v, &l->o, &l->up, &l->down, &l->gate};
        for (size_t t = 0; t < sizeof all / sizeof *all; t++)
            if (all[t]->w.data && kvf_precision_of(&all[t]->w) == KVF_W_F32) return KVF_W_F32;
    }
    return KVF_W_BF16;
}

static void set_sizes(cuda_engine *e)
{
    const kvf_plan *plan = e->plan;
    uint32_t group = plan->heads / plan->kv_heads,
             most = e->bf16_cache ? KVF_BF16_QUERIES : KVF_F32_QUERIES;
    e->q_dim = plan->heads * plan->head_dim;
    e->kv_dim = plan->kv_heads * plan->head_dim;
    e->head_stride = cuda_up_to(plan->head_dim, 8);
    e->parts = (group + most - 1) / most;
    e->widest_stage = kvf_plan_widest_stage(plan);
    e->row_bytes = plan->kv_heads * e->head_stride * (e->bf16_cache ? 2 : 4);
    for (uint32_t i = 0; i < plan->layers; i++)
        if (plan->layer[i].up.w.out > e->inner) e->inner = plan->layer[i].up.w.out;
}

static void describe(const cuda_engine *e, kvf_model_info *info)
{
    info->weight_bytes = e->weight_bytes;
    info->precision = kvf_precision_names[e->precision];
    info->kv_type = e->bf16_cache ? "bfloat16" : "float32";
    info->bytes_per_token = (uint64_t)e->plan->layers * 2 * e->row_bytes;
    info->engine_version = kvf_version();
    info->device_name = e->device_name;
}

/* Everything of an engine that is on the device. */
static kvf_status load_device(upload *u, kvf_error *err)
{
    cuda_engine *e = u->e;
    struct cudaDeviceProp device;
    cuda_before before;
    kvf_status status;
    cudaError_t code = kvf_cuda_enter(e, &before);
    if (!code) code = cudaGetDeviceProperties(&device, e->device);
    if (code) {
        status = kvf_cuda_fail(err, code, "taking the device");
    } else {
        memcpy(e->device_name, device.name, sizeof device.name);
        status = load_kernels(e, err);
    }
    if (!status) status = fill(u, err);
    kvf_cuda_leave(before);
    return status;
}

static kvf_status cuda_load(void **engine, struct kvf_model *model, kvf_error *err)
{
    *engine = NULL;
    cuda_engine *e = kvf_array(1, sizeof *e);
    if (!e) return kvf_fail(err, KVF_ERR_NOMEM, "the cuda engine");
    upload u = {.e = e, .model = model, .err = err};
    int precision = -1;
    e->plan = model->plan;
    e->layer = kvf_array(model->plan->layers, sizeof *e->layer);
    kvf_status status = e->layer ? KVF_OK : kvf_fail(err, KVF_ERR_NOMEM, "the cuda engine");
    if (!status) status = find_device(model, &e->device, &e->capability, err);
    if (!status)
        status =
            kvf_precision_read(&precision, model->options.precision, "cuda", KVF_W_Q8 + 1, err);
    if (!status)
        status = kvf_cache_type_read(&e->bf16_cache, model->options.kv, model->contract.kv_type,
                                     "cuda", err);
    e->precision = precision < 0 ? own_precision(e->plan) : (kvf_precision)precision;
    u.precision = e->precision;
    set_sizes(e);
    if (!status) status = kvf_pool_create(&u.pool, model->info.threads, false, err);
    if (!status) status = load_device(&u, err);
    kvf_pool_destroy(u.pool);
    kvf_free(u.buffer);
    if (status) {
        cuda_unload(e);
        return status;
    }
    describe(e, &model->info);
    *engine = e;
    return KVF_OK;
}

const kvf_engine_ops kvf_engine_cuda = {
    .name = "cuda",
    .accepts = cuda_accepts,
    .load = cuda_load,
    .unload = cuda_unload,
    .open = kvf_cuda_state_open,
    .close = kvf_cuda_state_close,
    .bytes = kvf_cuda_state_bytes,
    .forward = kvf_cuda_forward,
    .stats = kvf_cuda_state_stats,
    .peak = kvf_cuda_peak,
};
