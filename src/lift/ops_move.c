/* ops_move.c - operators that move elements and compute none.
 *
 * They are the same for numbers and names. Where strides can say it (transpose, slice, most
 * reshapes) nothing is copied, so that weights stay views into the file. */
#include "trace.h"

#include <string.h>

/* ---- primitives ------------------------------------------------------------------------------ */

/* The form of a tensor that takes elements of both; knowns among symbols become symbols. */
static kvf_form join(kvf_ev *ev, kvf_cells *a, kvf_cells *b)
{
    if (a->form == KVF_SHAPE || b->form == KVF_SHAPE) return KVF_SHAPE;
    if (a->form == b->form) return a->form;
    if (a->form == KVF_KNOWN)
        *a = kvf_trace_constant(ev, *a);
    else
        *b = kvf_trace_constant(ev, *b);
    return KVF_SYMBOL;
}

kvf_cells kvf_transpose(kvf_ev *ev, kvf_cells a, const uint32_t *perm)
{
    kvf_cells out = a;
    for (uint32_t i = 0; i < a.rank && !ev->status; i++) {
        out.dims[i] = a.dims[perm[i]];
        out.strides[i] = a.strides[perm[i]];
    }
    return out;
}

kvf_cells kvf_swap(kvf_ev *ev, kvf_cells a, uint32_t i, uint32_t j)
{
    uint32_t perm[KVF_MAX_RANK];
    for (uint32_t k = 0; k < a.rank; k++) perm[k] = k == i ? j : k == j ? i : k;
    return kvf_transpose(ev, a, perm);
}

/* Strides of a with other dims, where no element has to move: each run of new axes must split or
 * merge a run of old ones that are evenly spaced. */
static bool restride(const kvf_cells *a, kvf_cells *out)
{
    uint32_t i = 0, j = 0;
    while (j < out->rank || i < a->rank) {
        uint32_t i0 = i, j0 = j;
        int64_t have = 1, want = 1;
        if (i < a->rank) have = a->dims[i++];
        if (j < out->rank) want = out->dims[j++];
        while (have != want) {
            if (have < want) {
                if (i >= a->rank) return false;
                have *= a->dims[i++];
            } else {
                if (j >= out->rank) return false;
                want *= out->dims[j++];
            }
        }
        /* axes of size 1 do not matter; the others must be one evenly spaced run */
        int64_t step = 0, seen = 0;
        for (uint32_t k = i; k-- > i0;) {
            if (a->dims[k] == 1) continue;
            if (!seen)
                step = a->strides[k];
            else if (a->strides[k] != step * seen)
                return false;
            seen = (seen ? seen : 1) * a->dims[k];
        }
        int64_t inner = step;
        for (uint32_t k = j; k-- > j0;) {
            out->strides[k] = inner;
            inner *= out->dims[k];
        }
    }
    return true;
}

kvf_cells kvf_reshape(kvf_ev *ev, kvf_cells a, uint32_t rank, const int64_t *dims)
{
    if (ev->status) return (kvf_cells){0};
    kvf_cells out = a;
    uint64_t count;
    if (rank > KVF_MAX_RANK || !kvf_cells_count(rank, dims, &count) || count != a.count)
        return kvf_ev_fail(ev, "%llu elements do not fit the new shape",
                           (unsigned long long)a.count);
    out.rank = rank;
    for (uint32_t i = 0; i < rank; i++) out.dims[i] = dims[i];
    if (a.form == KVF_SHAPE || !a.count || kvf_cells_dense(&a)) {
        kvf_cells_set_dense(&out);
        return out;
    }
    if (restride(&a, &out)) return out;
    out = kvf_dense(ev, a);
    out.rank = rank;
    for (uint32_t i = 0; i < rank; i++) out.dims[i] = dims[i];
    kvf_cells_set_dense(&out);
    return out;
}

kvf_cells kvf_slice(kvf_ev *ev, kvf_cells a, uint32_t axis, int64_t start, int64_t count,
                    int64_t step)
{
    if (ev->status) return (kvf_cells){0};
    kvf_cells out = a;
    out.dims[axis] = count;
    if (a.form == KVF_SHAPE) {
        kvf_cells_set_dense(&out);
    } else {
        int64_t bytes = (int64_t)(kvf_type_bits(a.held) / 8);
        if (count) out.data = (const uint8_t *)a.data + start * a.strides[axis] * bytes;
        out.strides[axis] = a.strides[axis] * step;
    }
    kvf_cells_count(out.rank, out.dims, &out.count);
    return out;
}

kvf_cells kvf_expand(kvf_ev *ev, kvf_cells a, uint32_t rank, const int64_t *dims)
{
    if (ev->status) return (kvf_cells){0};
    kvf_cells out = a;
    out.rank = rank;
    for (uint32_t i = 0; i < rank; i++) {
        uint32_t lead = rank - a.rank;
        int64_t have = i < lead ? 1 : a.dims[i - lead];
        if (have != dims[i] && have != 1)
            return kvf_ev_fail(ev, "axis of size %lld does not expand to %lld", (long long)have,
                               (long long)dims[i]);
        out.strides[i] = have == 1 ? 0 : a.strides[i - lead];
        out.dims[i] = dims[i];
    }
    if (!kvf_cells_count(rank, dims, &out.count) || out.count > KVF_MAX_CELLS)
        return kvf_ev_fail(ev, "expands to a tensor that is too large to be evaluated");
    if (out.form == KVF_SHAPE) kvf_cells_set_dense(&out);
    return out;
}

bool kvf_broadcast(kvf_ev *ev, const kvf_cells *a, const kvf_cells *b, uint32_t *rank,
                   int64_t *dims)
{
    if (ev->status) return false;
    *rank = a->rank > b->rank ? a->rank : b->rank;
    for (uint32_t i = 0; i < *rank; i++) {
        int64_t x = i < *rank - a->rank ? 1 : a->dims[i - (*rank - a->rank)];
        int64_t y = i < *rank - b->rank ? 1 : b->dims[i - (*rank - b->rank)];
        if (x != y && x != 1 && y != 1) {
            kvf_ev_fail(ev, "axes of sizes %lld and %lld do not go together", (long long)x,
                        (long long)y);
            return false;
        }
        dims[i] = x == 1 ? y : x;
    }
    return true;
}

/* Write src into a slice of dst, which is dense and of the same held type. */
static void paste(const kvf_cells *dst, uint32_t axis, int64_t start, const kvf_cells *src)
{
    kvf_walk w = {.rank = src->rank,
                  .n = 2,
                  .dims = src->dims,
                  .strides = {dst->strides, src->strides}};
    int64_t *to = kvf_ints(dst) + start * dst->strides[axis];
    const int64_t *from = src->data; /* doubles are moved as their bits */
    for (uint64_t i = 0; i < src->count; i++, kvf_step(&w)) to[w.offset[0]] = from[w.offset[1]];
}

kvf_cells kvf_concat(kvf_ev *ev, uint32_t n, const kvf_cells *parts, uint32_t axis)
{
    if (ev->status) return (kvf_cells){0};
    int64_t dims[KVF_MAX_RANK], length = 0;
    bool symbols = false, shapes = false, moving = false;
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t a = 0; a < parts[0].rank; a++)
            if (parts[i].rank != parts[0].rank ||
                (a != axis && parts[i].dims[a] != parts[0].dims[a]))
                return kvf_ev_fail(ev, "input %u does not fit the first", i);
        length += parts[i].dims[axis];
        symbols |= parts[i].form == KVF_SYMBOL;
        shapes |= parts[i].form == KVF_SHAPE;
        moving |= parts[i].moving;
    }
    memcpy(dims, parts[0].dims, sizeof dims);
    dims[axis] = length;
    kvf_form form = shapes ? KVF_SHAPE : symbols ? KVF_SYMBOL : KVF_KNOWN;
    kvf_cells out = kvf_new(ev, form, parts[0].type, parts[0].rank, dims);
    out.moving = moving;
    int64_t start = 0;
    for (uint32_t i = 0; i < n && form != KVF_SHAPE && !ev->status; i++) {
        kvf_cells p = parts[i];
        if (form == KVF_SYMBOL && p.form == KVF_KNOWN && p.count) p = kvf_trace_constant(ev, p);
        p = kvf_load(ev, p);
        if (ev->status) break;
        paste(&out, axis, start, &p);
        start += p.dims[axis];
    }
    return out;
}

/* An index into n things, counted from the end if negative. */
static bool wrap_index(kvf_ev *ev, int64_t *i, int64_t n)
{
    if (*i < 0) *i += n;
    if (*i >= 0 && *i < n) return true;
    kvf_ev_fail(ev, "index %lld is outside of an axis of size %lld", (long long)*i, (long long)n);
    return false;
}

static kvf_cells gather_one(kvf_ev *ev, kvf_cells data, int64_t i, uint32_t axis)
{
    kvf_cells out = kvf_slice(ev, data, axis, i, 1, 1);
    for (uint32_t a = axis; a + 1 < out.rank; a++) {
        out.dims[a] = out.dims[a + 1];
        out.strides[a] = out.strides[a + 1];
    }
    out.rank--;
    return out;
}

kvf_cells kvf_gather(kvf_ev *ev, kvf_cells data, kvf_cells indices, uint32_t axis)
{
    if (ev->status) return (kvf_cells){0};
    if (indices.form == KVF_SYMBOL && data.form == KVF_KNOWN && axis == 0 && data.rank == 2)
        return kvf_trace_embed(ev, data, indices);
    int64_t dims[KVF_MAX_RANK];
    uint32_t rank = data.rank - 1 + indices.rank;
    if (rank > KVF_MAX_RANK) return kvf_ev_fail(ev, "the result has rank %u", rank);
    for (uint32_t a = 0; a < rank; a++)
        dims[a] = a < axis                  ? data.dims[a]
                  : a < axis + indices.rank ? indices.dims[a - axis]
                                            : data.dims[a - indices.rank + 1];
    if (indices.form != KVF_KNOWN || data.form == KVF_SHAPE) {
        if (indices.form == KVF_SYMBOL || data.form == KVF_SYMBOL)
            return kvf_trace_opaque(ev, data.type, rank, dims,
                                    "looks up a row that depends on the tokens");
        return kvf_new(ev, KVF_SHAPE, data.type, rank, dims);
    }
    if (indices.moving && !data.moving && data.form == KVF_KNOWN) kvf_trace_table(ev, data);
    indices = kvf_dense(ev, indices);
    if (ev->status) return (kvf_cells){0};
    if (!indices.rank) {
        int64_t i = kvf_ints(&indices)[0];
        return wrap_index(ev, &i, data.dims[axis]) ? gather_one(ev, data, i, axis) : (kvf_cells){0};
    }
    kvf_cells out = kvf_new(ev, data.form, data.type, rank, dims);
    out.moving = data.moving || indices.moving;
    uint64_t before = 1, after = 1;
    for (uint32_t a = 0; a < axis; a++) before *= (uint64_t)data.dims[a];
    for (uint32_t a = axis + 1; a < data.rank; a++) after *= (uint64_t)data.dims[a];
    for (uint64_t k = 0; k < indices.count && !ev->status; k++) {
        int64_t i = kvf_ints(&indices)[k];
        if (!wrap_index(ev, &i, data.dims[axis])) break;
        kvf_cells row = kvf_dense(ev, gather_one(ev, data, i, axis));
        for (uint64_t b = 0; b < before && !ev->status; b++)
            memcpy(kvf_ints(&out) + (b * indices.count + k) * after,
                   (const int64_t *)row.data + b * after, after * 8);
    }
    return ev->status ? (kvf_cells){0} : out;
}

/* ---- operators ------------------------------------------------------------------------------- */

static void op_identity(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    (void)ev;
    out[0] = in[0];
}

static void op_transpose(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    const kvf_attr *a = kvf_op_attr(ev->op, "perm");
    uint32_t perm[KVF_MAX_RANK], seen = 0, n = in[0].rank;
    for (uint32_t i = 0; i < n; i++) {
        int64_t p = a && a->ints && a->n == n ? a->ints[i] : (int64_t)n - 1 - i;
        if (p < 0 || p >= n || (a && a->n != n)) {
            kvf_ev_fail(ev, "perm does not fit a tensor of rank %u", n);
            return;
        }
        perm[i] = (uint32_t)p;
        seen |= 1u << p;
    }
    if (seen != (1u << n) - 1)
        kvf_ev_fail(ev, "perm is not a permutation");
    else
        out[0] = kvf_transpose(ev, in[0], perm);
    if (out[0].form == KVF_SHAPE) kvf_cells_set_dense(&out[0]);
}

static void op_reshape(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    int64_t dims[KVF_MAX_RANK];
    uint32_t rank, free_axis = KVF_MAX_RANK;
    bool zero = kvf_ev_flag(ev, "allowzero", false);
    if (!kvf_take_ints(ev, &in[1], "shape", KVF_MAX_RANK, dims, &rank)) return;
    uint64_t rest = 1;
    for (uint32_t i = 0; i < rank; i++) {
        if (dims[i] == 0 && !zero) {
            if (i >= in[0].rank) {
                kvf_ev_fail(ev, "shape keeps axis %u of a tensor of rank %u", i, in[0].rank);
                return;
            }
            dims[i] = in[0].dims[i];
        }
        if (dims[i] == -1 && free_axis == KVF_MAX_RANK)
            free_axis = i;
        else if (dims[i] < 0 || !kvf_mul(rest, (uint64_t)dims[i], &rest)) {
            kvf_ev_fail(ev, "shape has an axis of size %lld", (long long)dims[i]);
            return;
        }
    }
    if (free_axis < KVF_MAX_RANK) dims[free_axis] = rest ? (int64_t)(in[0].count / rest) : 0;
    out[0] = kvf_reshape(ev, in[0], rank, dims);
}

static void op_flatten(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    int64_t axis = kvf_op_int(ev->op, "axis", 1), dims[2] = {1, 1};
    if (axis < 0) axis += in[0].rank;
    if (axis < 0 || axis > in[0].rank) {
        kvf_ev_fail(ev, "axis %lld of a tensor of rank %u", (long long)axis, in[0].rank);
        return;
    }
    for (uint32_t i = 0; i < in[0].rank; i++) dims[i >= axis] *= in[0].dims[i];
    out[0] = kvf_reshape(ev, in[0], 2, dims);
}

static void op_squeeze(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    int64_t axes[KVF_MAX_RANK], dims[KVF_MAX_RANK];
    uint32_t n, rank = 0, axis, drop = 0;
    if (!kvf_attr_or_input(ev, "axes", &in[1], axes, &n)) return;
    for (uint32_t i = 0; i < n; i++) {
        if (!kvf_take_axis(ev, axes[i], in[0].rank, &axis)) return;
        drop |= 1u << axis;
    }
    for (uint32_t i = 0; i < in[0].rank; i++) {
        bool one = in[0].dims[i] == 1;
        if (n ? !(drop >> i & 1) : !one) dims[rank++] = in[0].dims[i];
        if (drop >> i & 1 && !one)
            kvf_ev_fail(ev, "axis %u has size %lld, not 1", i, (long long)in[0].dims[i]);
    }
    out[0] = kvf_reshape(ev, in[0], rank, dims);
}

static void op_unsqueeze(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    int64_t axes[KVF_MAX_RANK], dims[KVF_MAX_RANK];
    uint32_t n, axis, added = 0, next = 0;
    if (!kvf_attr_or_input(ev, "axes", &in[1], axes, &n)) return;
    uint32_t rank = in[0].rank + n;
    for (uint32_t i = 0; i < n; i++) {
        if (rank > KVF_MAX_RANK || !kvf_take_axis(ev, axes[i], rank, &axis) || added >> axis & 1) {
            kvf_ev_fail(ev, "axes are not those of a tensor of rank %u", rank);
            return;
        }
        added |= 1u << axis;
    }
    for (uint32_t i = 0; i < rank; i++) dims[i] = added >> i & 1 ? 1 : in[0].dims[next++];
    out[0] = kvf_reshape(ev, in[0], rank, dims);
}

static int64_t clamp(int64_t v, int64_t low, int64_t high)
{
    return v < low ? low : v > high ? high : v;
}

/* One axis of Slice, with ONNX's rules for bounds outside of it. */
static kvf_cells slice_axis(kvf_ev *ev, kvf_cells a, uint32_t axis, int64_t start, int64_t end,
                            int64_t step)
{
    int64_t n = a.dims[axis];
    if (!step || step == INT64_MIN) return kvf_ev_fail(ev, "a step of 0");
    if (start < 0) start = start < -n - 1 ? -1 : start + n;
    if (end < 0) end = end < -n - 1 ? -1 : end + n;
    if (step > 0) {
        start = clamp(start, 0, n);
        end = clamp(end, 0, n);
    } else {
        start = clamp(start, 0, n - 1);
        end = clamp(end, -1, n - 1);
    }
    int64_t span = step > 0 ? end - start : start - end, by = step > 0 ? step : -step;
    return kvf_slice(ev, a, axis, start, n && span > 0 ? (span - 1) / by + 1 : 0, step);
}

static void op_slice(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    int64_t v[4][KVF_MAX_RANK]; /* starts, ends, axes, steps */
    uint32_t n[4], axis;
    static const char *const names[] = {"starts", "ends", "axes", "steps"};
    for (uint32_t i = 0; i < 4; i++)
        if (!kvf_attr_or_input(ev, names[i], &in[1 + i], v[i], &n[i])) return;
    if (n[0] != n[1] || (n[2] && n[2] != n[0]) || (n[3] && n[3] != n[0])) {
        kvf_ev_fail(ev, "starts, ends, axes and steps are not of one length");
        return;
    }
    bool moves = false;
    for (uint32_t i = 1; i < 5; i++) moves |= kvf_given(&in[i]) && in[i].moving;
    if (moves && in[0].form == KVF_KNOWN && !in[0].moving) kvf_trace_table(ev, in[0]);
    out[0] = in[0];
    for (uint32_t i = 0; i < n[0]; i++) {
        if (!kvf_take_axis(ev, n[2] ? v[2][i] : i, in[0].rank, &axis)) return;
        out[0] = slice_axis(ev, out[0], axis, v[0][i], v[1][i], n[3] ? v[3][i] : 1);
    }
}

static void op_split(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    int64_t sizes[KVF_MAX_OUTPUTS], start = 0;
    uint32_t axis, n = 0, parts = ev->op->n_outputs;
    const kvf_attr *a = kvf_op_attr(ev->op, "split");
    if (!kvf_take_axis(ev, kvf_op_int(ev->op, "axis", 0), in[0].rank, &axis)) return;
    if (a && a->ints && a->n <= KVF_MAX_OUTPUTS) {
        n = (uint32_t)a->n;
        memcpy(sizes, a->ints, a->n * sizeof *sizes);
    } else if (kvf_given(&in[1]) &&
               !kvf_take_ints(ev, &in[1], "split", KVF_MAX_OUTPUTS, sizes, &n)) {
        return;
    }
    int64_t length = in[0].dims[axis], each = parts ? (length + parts - 1) / parts : 0;
    for (uint32_t i = 0; i < parts; i++) {
        int64_t size = n ? sizes[i < n ? i : n - 1] : clamp(length - start, 0, each);
        if ((n && n != parts) || size < 0 || size > length - start) {
            kvf_ev_fail(ev, "the parts do not fit an axis of size %lld", (long long)length);
            return;
        }
        out[i] = kvf_slice(ev, in[0], axis, start, size, 1);
        start += size;
    }
    if (start != length)
        kvf_ev_fail(ev, "the parts do not fill an axis of size %lld", (long long)length);
}

static void op_expand(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    kvf_cells want = {0};
    int64_t dims[KVF_MAX_RANK];
    uint32_t rank;
    if (!kvf_take_ints(ev, &in[1], "shape", KVF_MAX_RANK, want.dims, &want.rank)) return;
    if (kvf_broadcast(ev, &in[0], &want, &rank, dims)) out[0] = kvf_expand(ev, in[0], rank, dims);
}

/* Repeat axis after axis: an axis of its own of stride 0 before it, merged into it. */
static void op_tile(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    int64_t times[KVF_MAX_RANK], dims[KVF_MAX_RANK], wide[KVF_MAX_RANK + 1];
    uint32_t n;
    if (!kvf_take_ints(ev, &in[1], "repeats", KVF_MAX_RANK, times, &n)) return;
    if (n != in[0].rank || n >= KVF_MAX_RANK) {
        kvf_ev_fail(ev, "%u repeats for a tensor of rank %u", n, in[0].rank);
        return;
    }
    out[0] = in[0];
    for (uint32_t i = 0; i < n && !ev->status; i++) {
        if (times[i] == 1) continue;
        for (uint32_t k = 0; k <= n; k++)
            wide[k] = k < i ? out[0].dims[k] : k == i ? 1 : out[0].dims[k - 1];
        out[0] = kvf_reshape(ev, out[0], n + 1, wide);
        wide[i] = times[i];
        out[0] = kvf_expand(ev, out[0], n + 1, wide);
        for (uint32_t k = 0; k < n; k++)
            dims[k] = k == i ? times[i] * in[0].dims[i] : out[0].dims[k + (k > i)];
        out[0] = kvf_reshape(ev, out[0], n, dims);
    }
}

static void op_concat(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    uint32_t axis;
    if (!ev->op->n_inputs || !kvf_op_attr(ev->op, "axis"))
        kvf_ev_fail(ev, "has no inputs, or no axis");
    else if (kvf_take_axis(ev, kvf_op_int(ev->op, "axis", 0), in[0].rank, &axis))
        out[0] = kvf_concat(ev, ev->op->n_inputs, in, axis);
}

static void op_gather(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    uint32_t axis;
    if (kvf_take_axis(ev, kvf_op_int(ev->op, "axis", 0), in[0].rank, &axis))
        out[0] = kvf_gather(ev, in[0], in[1], axis);
}

static void op_gather_elements(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    uint32_t axis;
    kvf_cells data = kvf_load(ev, in[0]), idx = kvf_dense(ev, in[1]);
    if (!kvf_take_axis(ev, kvf_op_int(ev->op, "axis", 0), data.rank, &axis)) return;
    if (idx.form != KVF_KNOWN || idx.rank != data.rank) {
        kvf_ev_fail(ev, "needs known indices of the data's rank");
        return;
    }
    kvf_cells o = kvf_new(ev, data.form, data.type, idx.rank, idx.dims);
    if (ev->status || o.form == KVF_SHAPE) {
        out[0] = o;
        return;
    }
    int64_t none[KVF_MAX_RANK] = {0};
    kvf_walk w = {.rank = idx.rank, .n = 1, .dims = idx.dims, .strides = {none}};
    for (uint64_t k = 0; k < idx.count; k++, kvf_step(&w)) {
        int64_t at = 0, i = kvf_ints(&idx)[k];
        if (!wrap_index(ev, &i, data.dims[axis])) return;
        for (uint32_t a = 0; a < data.rank; a++) {
            if (a != axis && w.at[a] >= data.dims[a]) {
                kvf_ev_fail(ev, "indices are larger than the data");
                return;
            }
            at += (a == axis ? i : w.at[a]) * data.strides[a];
        }
        kvf_ints(&o)[k] = ((const int64_t *)data.data)[at];
    }
    out[0] = o;
}

/* The offset that row k of indices [.., depth] names in data, or -1 and a failure. */
static int64_t nd_offset(kvf_ev *ev, const kvf_cells *data, const kvf_cells *idx, uint64_t k)
{
    int64_t depth = idx->dims[idx->rank - 1], at = 0;
    for (int64_t d = 0; d < depth; d++) {
        int64_t i = kvf_ints(idx)[(int64_t)k * depth + d];
        if (!wrap_index(ev, &i, data->dims[d])) return -1;
        at += i * data->strides[d];
    }
    return at;
}

static bool nd_indices(kvf_ev *ev, const kvf_cells *data, const kvf_cells *idx)
{
    if (ev->status) return false;
    bool ok = idx->form == KVF_KNOWN && idx->rank && idx->dims[idx->rank - 1] <= data->rank &&
              !kvf_op_int(ev->op, "batch_dims", 0);
    if (!ok) kvf_ev_fail(ev, "needs known indices into the data, without batch_dims");
    return ok;
}

static void op_gather_nd(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    kvf_cells data = kvf_dense(ev, in[0]), idx = kvf_dense(ev, in[1]);
    int64_t dims[2 * KVF_MAX_RANK];
    if (!nd_indices(ev, &data, &idx)) return;
    uint32_t depth = (uint32_t)idx.dims[idx.rank - 1], rank = 0;
    uint64_t each = 1;
    for (uint32_t a = 0; a + 1 < idx.rank; a++) dims[rank++] = idx.dims[a];
    for (uint32_t a = depth; a < data.rank; a++) {
        dims[rank++] = data.dims[a];
        each *= (uint64_t)data.dims[a];
    }
    kvf_cells o = kvf_new(ev, data.form, data.type, rank, dims);
    for (uint64_t k = 0; !ev->status && o.form != KVF_SHAPE && each && k < o.count / each; k++) {
        int64_t at = nd_offset(ev, &data, &idx, k);
        if (at >= 0) memcpy(kvf_ints(&o) + k * each, (const int64_t *)data.data + at, each * 8);
    }
    out[0] = o;
}

static kvf_cells copy_of(kvf_ev *ev, kvf_cells a)
{
    kvf_cells c = kvf_new(ev, a.form, a.type, a.rank, a.dims);
    c.moving = a.moving;
    if (!ev->status && a.form != KVF_SHAPE) paste(&c, 0, 0, &a);
    return c;
}

static void op_scatter_nd(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    const kvf_attr *reduction = kvf_op_attr(ev->op, "reduction");
    kvf_cells data = kvf_load(ev, in[0]), idx = kvf_dense(ev, in[1]), src = kvf_load(ev, in[2]);
    if (!nd_indices(ev, &data, &idx)) return;
    if (reduction && reduction->s && strcmp(reduction->s, "none")) {
        kvf_ev_fail(ev, "reduction %.20s is not known", reduction->s);
        return;
    }
    kvf_form form = join(ev, &data, &src);
    if (form == KVF_SHAPE) {
        out[0] = kvf_new(ev, form, data.type, data.rank, data.dims);
        return;
    }
    kvf_cells o = copy_of(ev, data);
    src = kvf_dense(ev, src);
    uint64_t each = 1, rows = 1;
    for (uint32_t a = 0; a + 1 < idx.rank; a++) rows *= (uint64_t)idx.dims[a];
    for (uint32_t a = (uint32_t)idx.dims[idx.rank - 1]; a < data.rank; a++)
        each *= (uint64_t)data.dims[a];
    if (!ev->status && src.count != rows * each) kvf_ev_fail(ev, "updates do not fit the indices");
    for (uint64_t k = 0; k < rows && !ev->status; k++) {
        int64_t at = nd_offset(ev, &o, &idx, k);
        if (at >= 0) memcpy(kvf_ints(&o) + at, kvf_ints(&src) + k * each, each * 8);
    }
    out[0] = o;
}

static void op_trilu(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    bool upper = kvf_ev_flag(ev, "upper", true);
    int64_t k = 0;
    uint32_t n;
    if (kvf_given(&in[1])) {
        kvf_cells one = in[1];
        one.rank = one.count == 1 ? 0 : one.rank;
        if (!kvf_take_ints(ev, &one, "k", 1, &k, &n)) return;
    }
    if (in[0].rank < 2) {
        kvf_ev_fail(ev, "needs a tensor of rank 2 or more");
        return;
    }
    kvf_cells a = kvf_load(ev, in[0]), zero = kvf_number(ev, in[0].type, 0);
    kvf_form form = join(ev, &a, &zero);
    kvf_cells o = form == KVF_SHAPE ? a : copy_of(ev, a);
    int64_t rows = o.dims[o.rank - 2], columns = o.dims[o.rank - 1];
    for (uint64_t i = 0; !ev->status && form != KVF_SHAPE && i < o.count; i++) {
        int64_t c = (int64_t)(i % (uint64_t)columns), r = (int64_t)(i / (uint64_t)columns) % rows;
        if (upper ? c < r + k : c > r + k) kvf_ints(&o)[i] = kvf_ints(&zero)[0];
    }
    out[0] = o;
}

static void op_shape(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    int64_t n = in[0].rank, start = kvf_op_int(ev->op, "start", 0),
            end = kvf_op_int(ev->op, "end", n);
    start = clamp(start < 0 ? start + n : start, 0, n);
    end = clamp(end < 0 ? end + n : end, 0, n);
    out[0] = kvf_integers(ev, start < end ? (uint32_t)(end - start) : 0,
                          in[0].dims + (start < n ? start : 0));
}

static void op_size(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    out[0] = kvf_number(ev, KVF_I64, (double)in[0].count);
}

static void op_constant(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    (void)in;
    const kvf_attr *a = ev->op->n_attrs ? &ev->op->attrs[0] : NULL;
    if (!a || ev->op->n_attrs != 1) {
        kvf_ev_fail(ev, "has %u attributes instead of one", ev->op->n_attrs);
    } else if (a->tensor) {
        out[0] = kvf_cells_of(a->tensor);
    } else if (!strcmp(a->name, "value_int")) {
        out[0] = kvf_number(ev, KVF_I64, 0);
        if (!ev->status) kvf_ints(&out[0])[0] = a->i;
    } else if (!strcmp(a->name, "value_float")) {
        out[0] = kvf_number(ev, KVF_F32, a->f);
    } else if (!strcmp(a->name, "value_ints")) {
        if (a->n > KVF_MAX_CELLS)
            kvf_ev_fail(ev, "is too large");
        else
            out[0] = kvf_integers(ev, (uint32_t)a->n, a->ints);
    } else if (!strcmp(a->name, "value_floats")) {
        out[0] = kvf_new(ev, KVF_KNOWN, KVF_F32, 1, (int64_t[]){(int64_t)a->n});
        for (uint64_t i = 0; i < a->n && !ev->status; i++) kvf_floats(&out[0])[i] = a->floats[i];
    } else {
        kvf_ev_fail(ev, "attribute %.40s is not known", a->name);
    }
}

static void op_constant_of_shape(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    const kvf_attr *a = kvf_op_attr(ev->op, "value");
    int64_t dims[KVF_MAX_RANK];
    uint32_t rank;
    if (!kvf_take_ints(ev, &in[0], "shape", KVF_MAX_RANK, dims, &rank)) return;
    kvf_cells value = a && a->tensor && a->tensor->count == 1 ? kvf_cells_of(a->tensor)
                                                              : kvf_number(ev, KVF_F32, 0);
    value.rank = 0;
    value = kvf_load(ev, value);
    uint64_t count;
    if (!ev->status && (!kvf_cells_count(rank, dims, &count) || count > KVF_MAX_CELLS))
        kvf_ev_fail(ev, "a tensor of that size cannot be evaluated");
    else
        out[0] = kvf_expand(ev, value, rank, dims);
}

/* opset 24: rows of update are written into past at write_indices, along axis. */
static void op_tensor_scatter(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    const kvf_attr *mode = kvf_op_attr(ev->op, "mode");
    uint32_t axis, n;
    int64_t at = 0;
    kvf_cells past = kvf_load(ev, in[0]), update = kvf_load(ev, in[1]);
    if (!kvf_take_axis(ev, kvf_op_int(ev->op, "axis", -2), past.rank, &axis)) return;
    if (kvf_given(&in[2]) && !kvf_take_ints(ev, &in[2], "write_indices", 1, &at, &n)) return;
    bool fits = past.rank == update.rank && at >= 0 && at <= past.dims[axis] - update.dims[axis];
    for (uint32_t a = 0; a < past.rank && fits; a++)
        fits = a == axis || past.dims[a] == update.dims[a];
    if (!fits || past.dims[0] != 1 || (mode && mode->s && strcmp(mode->s, "linear"))) {
        kvf_ev_fail(ev, "does not write whole new rows into the past");
        return;
    }
    kvf_form form = join(ev, &past, &update);
    out[0] = form == KVF_SHAPE ? past : copy_of(ev, past);
    if (form != KVF_SHAPE && !ev->status) paste(&out[0], axis, at, &update);
}

const kvf_operator_row kvf_ops_move[] = {
    {"", "Identity", op_identity},
    {"", "Dropout", op_identity},
    {"", "Transpose", op_transpose},
    {"", "Reshape", op_reshape},
    {"", "Flatten", op_flatten},
    {"", "Squeeze", op_squeeze},
    {"", "Unsqueeze", op_unsqueeze},
    {"", "Slice", op_slice},
    {"", "Split", op_split},
    {"", "Expand", op_expand},
    {"", "Tile", op_tile},
    {"", "Concat", op_concat},
    {"", "Gather", op_gather},
    {"", "GatherElements", op_gather_elements},
    {"", "GatherND", op_gather_nd},
    {"", "ScatterND", op_scatter_nd},
    {"", "TensorScatter", op_tensor_scatter},
    {"", "Trilu", op_trilu},
    {"", "Shape", op_shape},
    {"", "Size", op_size},
    {"", "Constant", op_constant},
    {"", "ConstantOfShape", op_constant_of_shape},
    {0},
};
