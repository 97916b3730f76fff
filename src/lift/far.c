/* far.c - what must hold far away, checked where it is computed. */
#include "far.h"

#include <string.h>

void kvf_far_free(kvf_far *far)
{
    for (uint32_t i = 0; far->kept && i < far->n_wanted; i++) kvf_free(far->kept[i].v);
    for (uint32_t i = 0; i < far->n_angles; i++) kvf_free(far->angles[i].v);
    kvf_free(far->kept);
    kvf_free(far->wanted);
    kvf_free(far->hidden);
    *far = (kvf_far){0};
}

static bool contains(const uint32_t *list, uint32_t n, uint32_t site)
{
    for (uint32_t i = 0; i < n; i++)
        if (list[i] == site) return true;
    return false;
}

static void keep(kvf_ev *ev, kvf_kept *to, uint32_t site, const kvf_cells *known)
{
    kvf_cells dense = kvf_dense(ev, *known);
    if (ev->status || dense.held != KVF_F64) return;
    kvf_free(to->v);
    *to = (kvf_kept){.site = site,
                     .n = (uint32_t)dense.count,
                     .v = kvf_array(dense.count, sizeof *to->v)};
    if (!to->v)
        kvf_ev_no_memory(ev);
    else
        memcpy(to->v, dense.data, dense.count * sizeof *to->v);
}

/* Scores are [.., rows, keys]: rows are the new ones, behind those that the graph adds by
 * itself. */
static bool read_shape(kvf_ev *ev, uint32_t rank, const int64_t *dims)
{
    kvf_far *f = ev->far;
    int64_t fresh = (int64_t)f->probe->rows - f->probe->past;
    if (rank >= 2) {
        f->rows = dims[rank - 2];
        f->keys = dims[rank - 1];
    }
    int64_t extra = f->rows - fresh;
    if (rank >= 2 && extra >= 0 && extra <= 1 && f->keys == (int64_t)f->probe->rows + extra)
        return true;
    kvf_ev_fail(ev,
                "with %u tokens its scores do not have one column per token: a window, or a limit",
                f->probe->rows);
    return false;
}

static int64_t broadcast_offset(const kvf_cells *c, uint64_t batch, int64_t row, int64_t key)
{
    int64_t at = 0;
    for (uint32_t a = c->rank > 2 ? c->rank - 2 : 0; a-- > 0;) {
        at += (int64_t)(batch % (uint64_t)c->dims[a]) * c->strides[a];
        batch /= (uint64_t)c->dims[a];
    }
    if (c->rank > 1 && c->dims[c->rank - 2] > 1) at += row * c->strides[c->rank - 2];
    if (c->rank > 0 && c->dims[c->rank - 1] > 1) at += key * c->strides[c->rank - 1];
    return at;
}

static uint64_t batches(const kvf_cells *c)
{
    uint64_t n = 1;
    for (uint32_t a = 0; a + 2 < c->rank; a++) n *= (uint64_t)c->dims[a];
    return n;
}

/* hides(row, key) of every batch of a mask into f->hidden; all batches must hide the same. */
typedef bool hides_fn(const kvf_cells *mask, const kvf_cells *number, bool keep, uint64_t batch,
                      int64_t row, int64_t key, bool *strange);

static bool hides_by_sum(const kvf_cells *mask, const kvf_cells *number, bool keep_if,
                         uint64_t batch, int64_t row, int64_t key, bool *strange)
{
    (void)number;
    (void)keep_if;
    double v = kvf_floats(mask)[broadcast_offset(mask, batch, row, key)];
    *strange |= v != 0 && !(v <= -9999);
    return v != 0;
}

static bool hides_by_choice(const kvf_cells *mask, const kvf_cells *number, bool keep_if,
                            uint64_t batch, int64_t row, int64_t key, bool *strange)
{
    if ((kvf_ints(mask)[broadcast_offset(mask, batch, row, key)] != 0) == keep_if) return false;
    *strange |= !(kvf_floats(number)[broadcast_offset(number, 0, row, key)] <= -9999);
    return true;
}

static void hide(kvf_ev *ev, kvf_cells mask, kvf_cells number, bool keep_if, hides_fn *hides)
{
    kvf_far *f = ev->far;
    bool strange = false, differs = false;
    uint8_t *hidden = kvf_array((size_t)f->rows, (size_t)f->keys);
    if (!hidden || !kvf_spend(ev, (uint64_t)(f->rows * f->keys))) {
        kvf_free(hidden);
        kvf_ev_no_memory(ev);
        return;
    }
    for (uint64_t b = 0; b < batches(&mask); b++)
        for (int64_t i = 0; i < f->rows; i++)
            for (int64_t j = 0; j < f->keys; j++) {
                uint8_t now = hides(&mask, &number, keep_if, b, i, j, &strange);
                uint8_t *at = &hidden[i * f->keys + j];
                differs |= b && *at != now;
                *at = now;
            }
    if (strange || differs) kvf_ev_fail(ev, "with %u tokens it is no mask", f->probe->rows);
    for (int64_t i = 0; f->hidden && i < f->rows * f->keys; i++) hidden[i] |= f->hidden[i];
    kvf_free(f->hidden);
    f->hidden = hidden;
}

void kvf_far_operand(kvf_ev *ev, const kvf_cells *known, uint32_t rank, const int64_t *dims)
{
    kvf_far *f = ev->far;
    uint32_t site = kvf_ev_site(ev);
    for (uint32_t i = 0; i < f->n_wanted; i++)
        if (f->wanted[i] == site) keep(ev, &f->kept[i], site, known);
    if (!contains(f->masks, f->n_masks, site) || !kvf_is_float(known->type) ||
        !read_shape(ev, rank, dims))
        return;
    kvf_cells mask = kvf_load(ev, *known);
    if (!ev->status) hide(ev, mask, mask, false, hides_by_sum);
}

void kvf_far_choice(kvf_ev *ev, const kvf_cells *cond, bool keep_if, const kvf_cells *number,
                    uint32_t rank, const int64_t *dims)
{
    kvf_far *f = ev->far;
    if (!contains(f->masks, f->n_masks, kvf_ev_site(ev)) || !read_shape(ev, rank, dims)) return;
    kvf_cells mask = kvf_load(ev, *cond), low = kvf_load(ev, *number);
    if (!ev->status && kvf_is_float(low.type)) hide(ev, mask, low, keep_if, hides_by_choice);
}

void kvf_far_softmax(kvf_ev *ev, const kvf_cells *a)
{
    kvf_far *f = ev->far;
    if (!read_shape(ev, a->rank, a->dims)) return;
    int64_t past = f->probe->past, extra = f->rows - ((int64_t)f->probe->rows - past);
    bool right = true;
    for (int64_t i = extra; i < f->rows; i++)
        for (int64_t j = 0; j < f->keys; j++) {
            bool own = j >= past && j < past + extra; /* the graph's own token */
            int64_t key = j < past ? j : j - extra,
                    row = past + i - extra; /* as the probe counts */
            bool sees = !own && key <= row, off = f->hidden && f->hidden[i * f->keys + j];
            right &= sees != off;
        }
    if (!right)
        kvf_ev_fail(ev, "with %u tokens its mask is not the causal mask: a window, or a limit",
                    f->probe->rows);
    kvf_free(f->hidden);
    f->hidden = NULL;
}

void kvf_far_angles(kvf_ev *ev, const kvf_cells *a)
{
    kvf_far *f = ev->far;
    if (f->n_angles < 8 && a->count <= 65536)
        keep(ev, &f->angles[f->n_angles++], kvf_ev_site(ev), a);
}
