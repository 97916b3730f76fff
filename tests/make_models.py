#!/usr/bin/env python3
"""make_models.py [OUT] - writes tests/data/made: small decoders in conventions that no file of the
corpus has; and tests/data/encoders, which look like some of them, but whose rows see all others.

Each folder is laid out as one of the corpus: model.onnx, expected.json (vocab, tokens, branch_at,
branch_a, branch_b) and logits.f32, a row for every token of the trunk, then of each branch. The
expected logits come from the decoder below in numpy and f64, which knows nothing of caches or of
ONNX. Weights and tokens follow from the name alone, so the files are the same on every machine.
"""
import json
import pathlib
import sys
import zlib

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save

VOCAB, HIDDEN, HEADS, SIZE, LAYERS, CONTEXT = 40, 16, 2, 8, 2, 96
TRUNK, BRANCH_AT, BRANCH = 24, 16, 4
FREQUENCY, SLOPES = 100.0, np.array([0.25, 0.0625])  # of rotary positions; of heads' linear biases
BLOCK = 16  # of rows of a matrix that share a scale, with weights of four bits

# What is peculiar about each; all else is as in "plain": f32, int64 ids, position_ids, a past that
# is concatenated, [batch, heads, length, size].
MODELS = {
    "plain": {},
    "fp16": {"float": np.float16},
    "int32-ids-only": {"ids": TensorProto.INT32, "position_ids": False},
    "merged": {"merged": True, "attention_mask": True},
    "scatter": {"cache": "scatter"},
    "scatter-fixed": {"cache": "scatter", "fixed": CONTEXT},
    "bits4": {"bits4": True},
    "length-first": {"layout": "length"},
    "last-row-only": {"last_only": True},
    "one-row-batch": {"one_row": True},
    "no-past": {"cache": "none"},
    "no-past-last-row": {"cache": "none", "last_only": True},
    "values": {"values": True},
    "nan": {"nan": True},
    "parallel": {"parallel": "beside"},
    "parallel-pair": {"parallel": "pair"},
    "rotary": {"rotary": 1.0},
    "rotary-part": {"rotary": 0.5, "parallel": "pair"},
    "alibi": {"alibi": True},
    "window": {"window": 7},
    "window-wide": {"window": 64},
    "softcap": {"softcap": 1.5},
}
ENCODERS = {
    "no-past": {"cache": "none", "sees_all": True},
    "past": {"sees_all": True},
}


def seed(text):
    return np.random.RandomState(zlib.crc32(text.encode()) & 0x7FFFFFFF)


# ---- weights ---------------------------------------------------------------------------------------


def make_weights(name, options):
    """f64 arrays, already rounded to what the file holds, and those of them in blocks: q, scale, zero."""
    rng = seed("weights:" + name)
    normal = lambda *shape: rng.standard_normal(shape) * 0.6
    w = {"embed": normal(VOCAB, HIDDEN) * 2, "place": normal(CONTEXT, HIDDEN), "head": normal(HIDDEN, VOCAB)}
    for i in range(LAYERS):
        for part in ("q", "k", "v", "o"):
            w[f"{part}{i}"] = normal(HIDDEN, HIDDEN)
        w[f"up{i}"] = normal(HIDDEN, 2 * HIDDEN)
        w[f"down{i}"] = normal(2 * HIDDEN, HIDDEN)
    if options.get("values"):
        w["value"] = normal(HIDDEN, 1)
    if options.get("nan"):
        w["head"][3, 7] = np.nan
    w = {k: v.astype(options.get("float", np.float32)).astype(np.float64) for k, v in w.items()}
    blocks = {}
    if options.get("bits4"):
        blocks = {k: quantize(w[k]) for k in w if k.startswith(("up", "down"))}
        w.update({k: unpack(*b) for k, b in blocks.items()})
    return w, blocks


def quantize(m):
    """[K, N] as blocks of four-bit numbers with a scale and a zero point: q [N, K], both [N, K / BLOCK]."""
    blocks = m.T.reshape(m.shape[1], -1, BLOCK)
    low, high = np.minimum(blocks.min(2), 0), np.maximum(blocks.max(2), 0)
    scale = ((high - low) / 15).astype(np.float32).astype(np.float64)
    zero = np.clip(np.round(-low / scale), 0, 15)
    q = np.clip(np.round(blocks / scale[..., None]) + zero[..., None], 0, 15)
    return q.reshape(m.shape[1], -1), scale, zero


def unpack(q, scale, zero):
    blocks = q.reshape(*scale.shape, BLOCK)
    return ((blocks - zero[..., None]) * scale[..., None]).reshape(len(q), -1).T


def nibbles(a):
    """Two to a byte along the last axis, the first in the low half; an odd end is padded."""
    a = np.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, a.shape[-1] % 2)]).astype(np.uint8)
    return a[..., ::2] | (a[..., 1::2] << 4)


# ---- the decoder in numpy --------------------------------------------------------------------------


def norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def turn(x, share):
    """The first elements of each head, as pairs of halves, turned with the position."""
    pairs = int(SIZE * share) // 2
    angle = np.arange(x.shape[1])[:, None] * FREQUENCY ** -(np.arange(pairs) / pairs)
    a, b, rest = x[..., :pairs], x[..., pairs : 2 * pairs], x[..., 2 * pairs :]
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle), rest], -1)


def decode(w, tokens, options):
    """Final states of a whole sequence."""
    n, get = len(tokens), options.get
    x = w["embed"][tokens] + (0 if get("rotary") or get("alibi") else w["place"][:n])
    back = np.arange(n)[:, None] - np.arange(n)  # how far behind a row the other is
    sees = (back >= 0) & (back < get("window", n + 1))
    for i in range(LAYERS):
        h = norm(x)
        q, k, v = ((h @ w[f"{p}{i}"]).reshape(n, HEADS, SIZE).transpose(1, 0, 2) for p in "qkv")
        if get("rotary"):
            q, k = turn(q, get("rotary")), turn(k, get("rotary"))
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(SIZE)
        if get("alibi"):
            scores = scores - SLOPES[:, None, None] * back
        if get("softcap"):
            scores = get("softcap") * np.tanh(scores / get("softcap"))
        scores = np.where(sees, scores, -np.inf)
        e = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (e / e.sum(-1, keepdims=True)) @ v
        before, x = x, x + mixed.transpose(1, 0, 2).reshape(n, HIDDEN) @ w[f"o{i}"]
        x = x + np.maximum(norm(before if get("parallel") else x) @ w[f"up{i}"], 0) @ w[f"down{i}"]
    return norm(x)


# ---- the decoder as a graph ------------------------------------------------------------------------


class Graph:
    def __init__(self, prefix=""):
        self.nodes, self.prefix, self.count = [], prefix, 0

    def op(self, kind, *inputs, out=None, outs=1, **attributes):
        names = out if isinstance(out, list) else [out] if out else []
        while len(names) < outs:
            self.count += 1
            names.append(f"{self.prefix}{kind}_{self.count}")
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outs == 1 else names


class Model:
    def __init__(self, name, options):
        self.get = options.get
        self.w, self.blocks = make_weights(name, options)
        self.float = options.get("float", np.float32)
        self.element = helper.np_dtype_to_tensor_dtype(np.dtype(self.float))
        self.cache = options.get("cache", "concat")
        self.initializers = []
        for k, v in self.w.items():
            if k in self.blocks:
                q, scale, zero = self.blocks[k]
                self.constant(k + "_q", nibbles(q.reshape(*scale.shape, BLOCK)))
                self.constant(k + "_scale", scale.astype(np.float32).ravel())
                self.constant(k + "_zero", nibbles(zero).ravel())
            else:
                self.constant(k, v.astype(self.float))
        shapes = {"minus1": [-1], "axis1": [1], "axis2": [2], "end": [2**62], "heads": [0, 0, HEADS, SIZE],
                  "merged": [0, 0, HIDDEN], "one_row": [1, -1, HIDDEN], "axis3": [3], "i0": 0, "i1": 1, "i2": 2,
                  "list0": [0], "list1": [1], "list2": [2], "list3": [3]}
        for k, v in shapes.items():
            self.constant(k, np.array(v, np.int64))
        pairs = int(SIZE * self.get("rotary", 0)) // 2
        self.constant("pairs", np.array([0, pairs, 2 * pairs, SIZE], np.int64))
        self.constant("window", np.array(self.get("window", 0), np.int64))
        floats = {"frequencies": FREQUENCY ** -(np.arange(pairs) / max(pairs, 1)), "slopes": SLOPES[:, None, None],
                  "cap": self.get("softcap", 1), "one": np.ones(HIDDEN), "nought": np.zeros(HIDDEN), "scale": SIZE**-0.5, "near": 0, "far": -1e4}
        for k, v in floats.items():
            self.constant(k, np.array(v, self.float))

    def constant(self, name, array):
        self.initializers.append(numpy_helper.from_array(array, name))

    def product(self, g, x, name):
        if name not in self.blocks:
            return g.op("MatMul", x, name)
        k, n = self.w[name].shape
        return g.op("MatMulNBits", x, name + "_q", name + "_scale", name + "_zero", domain="com.microsoft",
                    K=k, N=n, bits=4, block_size=BLOCK)

    def past_axis(self):
        return "i1" if self.get("layout") == "length" else "i2"

    # The rows of one layer's K or V that attention sees, [b, heads, length, size].
    def cached(self, g, new, past, present, with_past):
        first = self.get("layout") == "length"
        if not first or self.cache == "none":
            new = g.op("Transpose", new, perm=[0, 2, 1, 3])
        if self.cache == "none":
            return new
        if not with_past:
            return g.op("Identity", new, out=present)
        if self.cache == "scatter":
            return g.op("TensorScatter", past, new, "write_indices", axis=2, out=present)
        whole = g.op("Concat", past, new, axis=1 if first else 2, out=present)
        return g.op("Transpose", whole, perm=[0, 2, 1, 3]) if first else whole

    # Where tokens stand, [b, n] or [n], and a mask [.., n, length] of what each may see.
    def places(self, g, with_past):
        n = g.op("Gather", g.op("Shape", "input_ids"), "i1")
        past = "i0"
        if with_past and self.cache == "concat":
            past = g.op("Gather", g.op("Shape", "past_key_0"), self.past_axis())
        total = g.op("Add", past, n)
        if self.cache == "scatter":
            total = g.op("Gather", g.op("Shape", "past_key_0"), "i2")
        own = "position_ids" if self.get("position_ids", True) else g.op("Range", past, total, "i1")
        keys = g.op("Range", "i0", total, "i1")
        place = g.op("Unsqueeze", own, "minus1")
        seen = g.op("LessOrEqual", keys, g.op("Add", place, total) if self.get("sees_all") else place)
        if self.get("window"):
            seen = g.op("And", seen, g.op("Less", g.op("Sub", place, keys), "window"))
        if own == "position_ids":
            seen = g.op("Unsqueeze", seen, "axis1")
        if self.get("attention_mask"):
            there = g.op("Cast", "attention_mask", to=TensorProto.BOOL)
            seen = g.op("And", seen, g.op("Unsqueeze", g.op("Unsqueeze", there, "axis1"), "axis1"))
        if self.cache == "scatter":  # rows behind the last one are of other sequences, or of none
            count = g.op("Unsqueeze", g.op("Unsqueeze", g.op("Unsqueeze", "sequence_lengths", "axis1"), "axis1"), "axis1")
            seen = g.op("And", seen, g.op("Less", keys, count))
        mask = g.op("Where", seen, "near", "far")
        if self.get("alibi"):
            back = g.op("Cast", g.op("Unsqueeze", g.op("Sub", place, keys), "axis1"), to=self.element)
            mask = g.op("Sub", mask, g.op("Mul", back, "slopes"))
        return own, mask

    # Heads [b, heads, n, size] with their first elements turned by angles [b, 1, n, pairs].
    def turned(self, g, x, cos, sin):
        if not self.get("rotary"):
            return x
        part = lambda i: g.op("Slice", x, self.at(g, i), self.at(g, i + 1), "axis3")
        a, b = part(0), part(1)
        new = [g.op("Sub", g.op("Mul", a, cos), g.op("Mul", b, sin)), g.op("Add", g.op("Mul", b, cos), g.op("Mul", a, sin))]
        return g.op("Concat", *new, *([part(2)] if self.get("rotary") < 1 else []), axis=-1)

    def at(self, g, i):
        return g.op("Gather", "pairs", f"list{i}")

    def normed(self, g, x):
        return g.op("LayerNormalization", x, "one", "nought", epsilon=1e-5)

    def body(self, prefix="", with_past=True, outputs=None):
        g, out = Graph(prefix), outputs or (lambda name: name)
        own, mask = self.places(g, with_past)
        x, cos, sin = g.op("Gather", "embed", "input_ids"), None, None
        if self.get("rotary"):
            place = g.op("Unsqueeze", g.op("Cast", own, to=self.element), g.op("Concat", "axis1", "minus1", axis=0))
            angle = g.op("Mul", place, "frequencies")
            cos, sin = g.op("Cos", angle), g.op("Sin", angle)
        elif not self.get("alibi"):
            x = g.op("Add", x, g.op("Gather", "place", own))
        for i in range(LAYERS):
            h = self.normed(g, x)
            if self.get("one_row"):
                h = g.op("Reshape", h, "one_row")
            q, k, v = (g.op("Reshape", g.op("MatMul", h, f"{p}{i}"), "heads") for p in "qkv")
            if self.get("rotary"):  # rows first, as the cache takes them
                back = lambda x: g.op("Transpose", x, perm=[0, 2, 1, 3])
                k = back(self.turned(g, back(k), cos, sin))
            k = self.cached(g, k, f"past_key_{i}", out(f"present_key_{i}"), with_past)
            v = self.cached(g, v, f"past_value_{i}", out(f"present_value_{i}"), with_past)
            q = self.turned(g, g.op("Transpose", q, perm=[0, 2, 1, 3]), cos, sin)
            scores = g.op("MatMul", q, g.op("Transpose", k, perm=[0, 1, 3, 2]))
            scores = g.op("Mul", scores, "scale")
            if self.get("softcap"):
                scores = g.op("Mul", g.op("Tanh", g.op("Div", scores, "cap")), "cap")
            share = g.op("Softmax", g.op("Add", scores, mask), axis=-1)
            mixed = g.op("Transpose", g.op("MatMul", share, v), perm=[0, 2, 1, 3])
            before, mixed = x, g.op("MatMul", g.op("Reshape", mixed, "merged"), f"o{i}")
            if self.get("parallel") != "pair":
                x = g.op("Add", x, mixed)
            inner = g.op("Relu", self.product(g, self.normed(g, before if self.get("parallel") else x), f"up{i}"))
            inner = self.product(g, inner, f"down{i}")
            x = g.op("Add", g.op("Add", inner, mixed), x) if self.get("parallel") == "pair" else g.op("Add", x, inner)
        x = self.normed(g, x)
        if self.get("values"):
            g.op("Squeeze", g.op("MatMul", x, "value"), "axis2", out=out("values"))
        if self.get("last_only"):
            x = g.op("Slice", x, "minus1", "end", "axis1")
        g.op("MatMul", x, "head", out=out("logits"))
        return g

    # Both branches of a merged export read the inputs and weights around them.
    def merged_body(self):
        branches = []
        for with_past in (True, False):
            prefix = "with_" if with_past else "without_"
            g = self.body(prefix, with_past, lambda name: prefix + name)
            outs = [helper.make_tensor_value_info(prefix + o.name, self.element, None) for o in self.outputs()]
            branches.append(helper.make_graph(g.nodes, prefix + "past", [], outs))
        g = Graph()
        g.op("If", "use_cache_branch", out=[o.name for o in self.outputs()], outs=0,
             then_branch=branches[0], else_branch=branches[1])
        return g

    def inputs(self):
        ids = self.get("ids", TensorProto.INT64)
        info = helper.make_tensor_value_info
        ports = [info("input_ids", ids, ["batch", "new"])]
        if self.get("position_ids", True):
            ports.append(info("position_ids", ids, ["batch", "new"]))
        if self.get("attention_mask"):
            ports.append(info("attention_mask", ids, ["batch", "total"]))
        if self.cache == "scatter":
            ports.append(info("write_indices", TensorProto.INT64, ["batch"]))
            ports.append(info("sequence_lengths", TensorProto.INT64, ["batch"]))
        if self.get("merged"):
            ports.append(info("use_cache_branch", TensorProto.BOOL, [1]))
        return ports + self.caches("past", self.get("fixed", "past"))

    def outputs(self):
        info = helper.make_tensor_value_info
        ports = [info("logits", self.element, ["batch", 1 if self.get("last_only") else "new", VOCAB])]
        if self.get("values"):
            ports.append(info("values", self.element, ["batch", "new"]))
        return ports + self.caches("present", self.get("fixed", "total"))

    def caches(self, kind, length):
        if self.cache == "none":
            return []
        shape = ["batch", length, HEADS, SIZE] if self.get("layout") == "length" else ["batch", HEADS, length, SIZE]
        return [helper.make_tensor_value_info(f"{kind}_{kv}_{i}", self.element, shape)
                for i in range(LAYERS) for kv in ("key", "value")]

    def build(self):
        body = self.merged_body() if self.get("merged") else self.body()
        used = {i for n in body.nodes for i in n.input}
        for n in body.nodes:
            for a in n.attribute:
                used |= {i for m in a.g.node for i in m.input}
        graph = helper.make_graph(body.nodes, "decoder", self.inputs(), self.outputs(),
                                  [t for t in self.initializers if t.name in used])
        opsets = [helper.make_opsetid("", 24 if self.cache == "scatter" else 17)]
        if self.blocks:
            opsets.append(helper.make_opsetid("com.microsoft", 1))
        model = helper.make_model(graph, opset_imports=opsets, producer_name="make_models.py", producer_version="1",
                                  ir_version=11 if self.cache == "scatter" else 8)
        checker.check_model(model)
        return model


# ---- files -----------------------------------------------------------------------------------------


def write(folder, name, options):
    rng = seed("tokens:" + name)
    tokens, a, b = (rng.randint(0, VOCAB, n).tolist() for n in (TRUNK, BRANCH, BRANCH))
    model = Model(name, options)
    paths = [(tokens, 0), (tokens[:BRANCH_AT] + a, BRANCH_AT), (tokens[:BRANCH_AT] + b, BRANCH_AT)]
    states = np.concatenate([decode(model.w, path, options)[start:] for path, start in paths])
    folder.mkdir(parents=True, exist_ok=True)
    save(model.build(), str(folder / "model.onnx"))
    (states @ model.w["head"]).astype("<f4").tofile(folder / "logits.f32")
    if "value" in model.w:
        (states @ model.w["value"]).astype("<f4").tofile(folder / "values.f32")
    expected = {"vocab": VOCAB, "tokens": tokens, "branch_at": BRANCH_AT, "branch_a": a, "branch_b": b}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")


def main():
    default = pathlib.Path(__file__).parent / "data"
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    for name, options in MODELS.items():
        write(out / "made" / name, name, options)
    for name, options in ENCODERS.items():
        folder = out / "encoders" / name
        folder.mkdir(parents=True, exist_ok=True)
        save(Model(name, options).build(), str(folder / "model.onnx"))


if __name__ == "__main__":
    main()
