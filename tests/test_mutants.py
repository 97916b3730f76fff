#!/usr/bin/env python3
"""Graphs with one thing changed: native must refuse them, or compute what ONNX Runtime does.

usage: test_mutants.py [N [SEED [MODEL...]]]

N mutants of each model (default 4) are written: another number in an attribute, a constant or a
weight, another operator, one more or one less, inputs exchanged or taken from elsewhere, outputs
exchanged. Each is evaluated by native and, unless that refuses it with a reason, by ONNX Runtime, with
a cache and without. A wrong lift is one whose numbers are neither. Mutant i of a model depends on
MODEL, SEED and i alone. Without arguments this is a sample; the long run is

    test_mutants.py 1000 1          (about an hour and a half)

and `test_mutants.py -k MODEL SEED I` keeps one mutant in mutant.onnx and says what was done.
"""

import collections
import random
import re
import sys
import tempfile
from pathlib import Path

from support import KVFORK, MODELS, ROOT, run
from support_export import CHECKPOINTS, export, np, onnx
from onnx import TensorProto, helper, numpy_helper

TRUNK, CHUNK, BRANCHES = 40, 9, ("13:3,1,4,1,5", "27:9,2,6")
TOLERANCE = 2e-4  # of the largest logit

CORPUS = ROOT / "tests/data/corpus/valid"
HEADS = ["--policy-head", str(MODELS / "policy_head.onnx")]
MADE = ("plain", "values", "scatter", "length-first", "one-row-batch", "bits4", "no-past", "merged", "rotary",
        "parallel", "parallel-pair", "rotary-part")
EXPORTS = {"gpt2": [], "llama": [], "llama3-rope": [], "mistral": [], "qwen2": ["--names", "optimum"], "qwen3": []}


# ---- what can be changed ---------------------------------------------------------------------------

# Operators that can stand for each other: the same inputs, and types that fit.
ALIKE = [
    {"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"}, {"And", "Or", "Xor"},
    {"Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"},
    {"Relu", "Tanh", "Sigmoid", "Erf", "Gelu", "Neg", "Abs", "Identity", "Sqrt", "Exp", "Sin", "Cos", "Reciprocal",
     "Softplus", "Elu", "FastGelu", "QuickGelu"},
    {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceL2"}, {"Softmax", "LogSoftmax"},
    {"LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"},
    {"SkipLayerNormalization", "SkipSimplifiedLayerNormalization"},
]
UNARY = ["Relu", "Tanh", "Sigmoid", "Neg", "Abs", "Identity"]


class Mutant:
    def __init__(self, model, rng):
        self.model, self.graph, self.rng, self.said = model, model.graph, rng, ""
        self.types = {}
        try:
            inferred = onnx.shape_inference.infer_shapes(model)
            values = list(inferred.graph.value_info) + list(inferred.graph.input) + list(inferred.graph.output)
        except Exception:  # operators of other domains may stop it
            values = list(model.graph.value_info) + list(model.graph.input) + list(model.graph.output)
        for v in values:
            self.types[v.name] = v.type.tensor_type.elem_type
        self.initializers = {t.name: t for t in self.graph.initializer}
        for name, t in self.initializers.items():
            self.types[name] = t.data_type

    def pick(self, things):
        things = list(things)
        return self.rng.choice(things) if things else None

    def floats(self):
        """Names of values that are floats, as far as that is known: of operators' outputs."""
        return [o for n in self.graph.node for o in n.output if o and self.types.get(o) == TensorProto.FLOAT]

    def constants(self):
        for n in self.graph.node:
            for a in n.attribute:
                if a.type == onnx.AttributeProto.TENSOR:
                    yield n.output[0], a.t
        for t in self.graph.initializer:
            yield t.name, t

    # Each of these changes one thing and says what, or says nothing and has changed nothing.

    def attribute(self):
        node, a = self.pick((n, a) for n in self.graph.node for a in n.attribute
                            if a.type in (onnx.AttributeProto.FLOAT, onnx.AttributeProto.INT, onnx.AttributeProto.INTS,
                                          onnx.AttributeProto.STRING)) or (None, None)
        if not node:
            return
        before = helper.get_attribute_value(a)
        if a.type == onnx.AttributeProto.FLOAT:
            a.f = self.rng.choice([a.f * 3, a.f + 0.25, 0.0, -a.f, a.f / 2])
        elif a.type == onnx.AttributeProto.INT:
            a.i = self.rng.choice([a.i + 1, a.i - 1, 0, 1, a.i + 8])
        elif a.type == onnx.AttributeProto.INTS and len(a.ints) > 1:
            i, k = self.rng.sample(range(len(a.ints)), 2)
            a.ints[i], a.ints[k] = a.ints[k], a.ints[i]
        elif a.type == onnx.AttributeProto.INTS:
            a.ints[0] += self.rng.choice([-1, 1])
        else:
            a.s = {b"none": b"tanh", b"tanh": b"none"}.get(a.s, b"other")
        return f"{node.op_type} '{node.name}': {a.name} {before} -> {helper.get_attribute_value(a)}"

    def missing_attribute(self):
        node = self.pick(n for n in self.graph.node if n.attribute)
        if node:
            a = node.attribute.pop(self.rng.randrange(len(node.attribute)))
            return f"{node.op_type} '{node.name}': without {a.name}"

    def small_constant(self):
        """Scalars and short lists: eps, scales, masks, axes, shapes, bounds."""
        return self.number(lambda t: np.prod(t.dims) <= 8)

    def weight(self):
        return self.number(lambda t: np.prod(t.dims) > 8)

    def number(self, suits):
        name, t = self.pick((n, t) for n, t in self.constants() if suits(t)) or (None, None)
        if t is None or t.data_type in (TensorProto.STRING, TensorProto.INT4, TensorProto.UINT4):
            return
        x = numpy_helper.to_array(t).copy()
        flat, i = x.reshape(-1), self.rng.randrange(max(x.size, 1))
        if not x.size:
            return
        before = flat[i]
        if x.dtype == bool:
            flat[i] = not before
        elif x.dtype.kind in "iu":
            new = int(before) + self.rng.choice([1, -1 if before else 2, 8])
            flat[i] = min(max(new, np.iinfo(x.dtype).min), np.iinfo(x.dtype).max)
        else:
            flat[i] = self.rng.choice([before * 2, before + 1, -before if before else 1, 0.5])
        self.replace(t, x)
        return f"constant '{name}' [{','.join(map(str, x.shape))}]: {before} -> {flat[i]} at {i}"

    def whole_weight(self):
        name, t = self.pick((n, t) for n, t in self.constants()
                            if len(t.dims) and np.prod(t.dims) > 8 and t.data_type == TensorProto.FLOAT) or (None, None)
        if t is None:
            return
        x = numpy_helper.to_array(t).copy()
        ways = ["zero", "reverse", "halve"] + ["transpose"] * (x.ndim == 2 and x.shape[0] == x.shape[1])
        way = self.rng.choice(ways)
        x = {"zero": lambda: x * 0, "reverse": lambda: x[..., ::-1], "halve": lambda: x / 2, "transpose": lambda: x.T}[way]()
        self.replace(t, np.ascontiguousarray(x))
        return f"weight '{name}': {way}"

    def replace(self, t, x):
        name = t.name
        t.CopyFrom(numpy_helper.from_array(x, name))

    def operator(self):
        found = [(n, group) for n in self.graph.node for group in ALIKE if n.op_type in group]
        node, group = self.pick(found) or (None, None)
        if not node:
            return
        before = node.op_type
        node.op_type = self.rng.choice(sorted(group - {before}))
        node.domain = "com.microsoft" if node.op_type in ("FastGelu", "QuickGelu") or node.op_type.startswith("Skip") else ""
        return f"{before} '{node.name}' -> {node.op_type}"

    def swapped_inputs(self):
        node = self.pick(n for n in self.graph.node if len(set(n.input)) > 1)
        if node:
            i, k = self.rng.sample(range(len(node.input)), 2)
            node.input[i], node.input[k] = node.input[k], node.input[i]
            return f"{node.op_type} '{node.name}': inputs {i} and {k} exchanged"

    def other_input(self):
        """An input from elsewhere, of the same type where types are known: another layer's, V for K."""
        at = self.rng.randrange(len(self.graph.node))
        node = self.graph.node[at]
        if not node.input:
            return
        i = self.rng.randrange(len(node.input))
        kind = self.types.get(node.input[i])
        before = [o for n in self.graph.node[:at] for o in n.output] + [v.name for v in self.graph.input]
        if node.input[i] in self.initializers:
            shape = list(self.initializers[node.input[i]].dims)
            before = [n for n, t in self.initializers.items() if list(t.dims) == shape]
        new = self.pick(v for v in before if v and v != node.input[i] and self.types.get(v) == kind)
        if new:
            old, node.input[i] = node.input[i], new
            return f"{node.op_type} '{node.name}': input {i} '{old}' -> '{new}'"

    def missing_input(self):
        node = self.pick(n for n in self.graph.node if len(n.input) > 2)
        if node:
            i = self.rng.randrange(2, len(node.input))
            if i == len(node.input) - 1:
                del node.input[i]
            else:
                node.input[i] = ""
            return f"{node.op_type} '{node.name}': without input {i}"

    def more(self):
        """One more operator behind a value: for all that use it, or for one of them."""
        name = self.pick(self.floats())
        users = [(n, i) for n in self.graph.node for i, v in enumerate(n.input) if v == name]
        if not users:
            return
        if self.rng.random() < 0.5:
            users = [self.rng.choice(users)]
        kind = self.rng.choice(["Add", "Mul", "Sub"] + UNARY)
        ins = [name]
        if kind not in UNARY:
            c = self.rng.choice([1.0, 0.5, 2.0, 0.0, -1.0])
            self.graph.initializer.append(numpy_helper.from_array(np.array(c, np.float32), "more_c"))
            ins.append("more_c")
        self.insert(helper.make_node(kind, ins, ["more_y"], name="more"), name)
        for n, i in users:
            n.input[i] = "more_y"
        return f"{kind} {c if len(ins) > 1 else ''} behind '{name}' for {len(users)} users"

    def insert(self, node, behind):
        nodes = list(self.graph.node)
        at = next(i for i, n in enumerate(nodes) if behind in n.output) + 1
        del self.graph.node[:]
        self.graph.node.extend(nodes[:at] + [node] + nodes[at:])

    def less(self):
        """One operator less: whoever used it takes its input."""
        node = self.pick(n for n in self.graph.node
                         if n.input and n.output and n.input[0] and n.output[0] not in {o.name for o in self.graph.output}
                         and self.types.get(n.input[0]) == self.types.get(n.output[0]))
        if not node:
            return
        i = self.rng.randrange(min(2, len(node.input)))
        for n in self.graph.node:
            for k, v in enumerate(n.input):
                if v == node.output[0]:
                    n.input[k] = node.input[i]
        return f"without {node.op_type} '{node.name}': its input {i} instead"

    def swapped_outputs(self):
        """Two outputs of the graph, or of an operator, exchanged: K and V, layers, q and k."""
        split = [n for n in self.graph.node if len(n.output) > 1 and all(n.output)]
        if split and self.rng.random() < 0.5:
            node = self.rng.choice(split)
            i, k = self.rng.sample(range(len(node.output)), 2)
            node.output[i], node.output[k] = node.output[k], node.output[i]
            return f"{node.op_type} '{node.name}': outputs {i} and {k} exchanged"
        a, b = self.pair(o.name for o in self.graph.output)
        if a:
            for n in self.graph.node:
                for i, v in enumerate(n.output):
                    n.output[i] = {a: b, b: a}.get(v, v)
                for i, v in enumerate(n.input):
                    n.input[i] = {a: b, b: a}.get(v, v)
            return f"outputs '{a}' and '{b}' exchanged"

    def swapped_pasts(self):
        a, b = self.pair(v.name for v in self.graph.input)
        if a:
            for n in self.graph.node:
                for i, v in enumerate(n.input):
                    n.input[i] = {a: b, b: a}.get(v, v)
            return f"inputs '{a}' and '{b}' exchanged"

    def pair(self, names):
        names = [n for n in names if self.types.get(n) == TensorProto.FLOAT]
        return self.rng.sample(names, 2) if len(names) > 1 else (None, None)

    WAYS = [attribute, missing_attribute, small_constant, small_constant, weight, whole_weight, operator, swapped_inputs,
            other_input, missing_input, more, more, less, less, swapped_outputs, swapped_pasts]

    def change(self):
        for _ in range(50):
            way = self.rng.choice(self.WAYS)
            self.said = way(self)
            if self.said:
                return way.__name__


# ---- running ---------------------------------------------------------------------------------------


class Model:
    def __init__(self, name, path, options=()):
        self.name, self.options = name, list(options)
        self.onnx = onnx.load(path)
        for n in self.onnx.graph.node:  # integers of few bits in products would hide differences
            for a in list(n.attribute):
                if a.name == "accuracy_level":
                    n.attribute.remove(a)
        self.vocab = 128 if options else next(
            o.type.tensor_type.shape.dim[-1].dim_value for o in self.onnx.graph.output if o.name == "logits")

    def eval(self, path, rows, *options):
        """The rows, or why there are none."""
        rng = random.Random(self.name)
        tokens = ",".join(str(rng.randrange(self.vocab)) for _ in range(TRUNK))
        command = [KVFORK, "eval", path, "--tokens", tokens, "--chunk", CHUNK, "-t", 1, "--logits", rows]
        for b in BRANCHES:
            command += ["--branch", b]
        done = run(*command, *self.options, *options, text=True, timeout=60)
        if done.returncode == 0:
            return np.fromfile(rows, np.float32).astype(np.float64)
        if done.returncode < 0 and "ort" in options:  # its graph optimisations do not survive every graph
            return f"ONNX Runtime ended by signal {-done.returncode}"
        assert done.returncode == 1 and len(done.stderr) > 20, f"exit status {done.returncode}: {done.stderr}"
        return done.stderr.strip()


def difference(a, b):
    """Of two lists of rows, relative to the largest number; NaN and infinity must be where they are."""
    odd = ~np.isfinite(a)
    if (odd != ~np.isfinite(b)).any():
        return np.inf
    return 0 if odd.all() else float(np.abs(a - b)[~odd].max() / max(np.abs(b)[~odd].max(), 1e-3))


def mutate(model, seed, i, path):
    copy = onnx.ModelProto()
    copy.CopyFrom(model.onnx)
    m = Mutant(copy, random.Random(f"{model.name} {seed} {i}"))
    way = m.change()
    onnx.save(copy, path)
    return way, m.said


# Mutants that were once lifted as something else: these must be refused.


def mask_with_a_hole(m):
    """One row, far from all sizes that are traced, of a mask that is a table."""
    t = next(t for _, t in m.constants() if t.data_type == TensorProto.BOOL and len(t.dims) == 4)
    x = numpy_helper.to_array(t).copy()
    x[0, 0, 32, 7] = False
    m.replace(t, x)


def strange_flag(m):
    """Neither yes nor no: ONNX Runtime takes it for no."""
    a = [a for n in m.graph.node if n.op_type == "GroupQueryAttention" for a in n.attribute if a.name == "do_rotary"]
    a[-1].i = 9


REFUSED = {"ort-gpt2-fused-past": mask_with_a_hole, "genai-llama-fp32": strange_flag}


def must_be_refused(model, path, folder):
    copy = onnx.ModelProto()
    copy.CopyFrom(model.onnx)
    REFUSED[model.name](Mutant(copy, random.Random(0)))
    onnx.save(copy, path)
    got = model.eval(path, folder / "native", "-e", "native")
    assert isinstance(got, str) and "does not take it" in got, f"{model.name}: {REFUSED[model.name].__doc__}"


def judge(model, path, folder, original):
    """What became of a mutant: refused, right, changed (and right), no judge, or WRONG."""
    got = model.eval(path, folder / "native", "-e", "native", "--precision", "f32")
    cached = model.eval(path, folder / "ort", "-e", "ort")
    alone = model.eval(path, folder / "alone", "-e", "ort", "--no-cache")
    if isinstance(got, str) and "not finite" not in got:
        return "refused", re.sub(r"^kvfork eval: \S+: \S+: ", "", got)
    if isinstance(got, str):  # then ONNX Runtime's numbers are not finite either
        ok = isinstance(cached, str) or isinstance(alone, str)
        return ("right" if ok else "WRONG"), got
    if isinstance(cached, str) or isinstance(alone, str):
        return "no judge", cached if isinstance(cached, str) else alone
    worst = max(difference(got, cached), difference(got, alone))
    if not worst <= TOLERANCE:
        return "WRONG", f"differs by {difference(got, cached):.2g} from ort with cache, {difference(got, alone):.2g} without"
    return ("changed" if difference(got, original) > 10 * TOLERANCE else "right"), ""


def models(folder, wanted):
    for path in sorted(CORPUS.glob("*/model.onnx")):
        yield path.parent.name, path, ()
    for name in MADE:
        yield f"made-{name}", ROOT / f"tests/data/made/{name}/model.onnx", ()
    yield "adder", ROOT / "models/adder/adder.onnx", ()
    for name in ("base_model", "base_model.dynamo", "base_model_eval_extend"):
        yield f"trigo-{name}", MODELS / f"{name}.onnx", HEADS
    for family, options in EXPORTS.items():
        if not wanted or f"export-{family}" in wanted:
            path = folder / f"{family}.onnx"
            export(CHECKPOINTS / family, "-o", path, *options)
            yield f"export-{family}", path, ()


def main():
    arguments, keep = sys.argv[1:], sys.argv[1:2] == ["-k"]
    if keep:
        arguments = ["1", arguments[2], arguments[1], arguments[3]]
    n, seed = int((arguments or ["4"])[0]), int((arguments[1:] or ["0"])[0])
    wanted = set(arguments[2:3] if keep else arguments[2:])
    first = int(arguments[3]) if keep else 0
    counts, wrong = collections.Counter(), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for name, path, options in models(folder, wanted):
            if wanted and name not in wanted:
                continue
            model = Model(name, path, options)
            whole = folder / "mutant.onnx"
            onnx.save(model.onnx, whole)
            original = model.eval(whole, folder / "original", "-e", "ort")
            assert not isinstance(original, str), f"{name}: {original}"
            own = collections.Counter()
            if name in REFUSED and not keep:
                must_be_refused(model, whole, folder)
            for i in range(first, first + n):
                whole = Path("mutant.onnx") if keep else whole
                way, said = mutate(model, seed, i, whole)
                verdict, words = judge(model, whole, folder, original)
                own[verdict] += 1
                counts[verdict] += 1
                counts[f"  {way} {verdict}"] += 1
                if verdict in ("WRONG", "no judge") or keep or n > 20 and "-v" in sys.argv:
                    print(f"{name} {seed} {i}: {verdict}: {said}: {words}", flush=True)
                if verdict == "WRONG":
                    wrong.append(f"{name} {seed} {i}: {said}")
            print(f"{name}: " + ", ".join(f"{c} {v}" for v, c in sorted(own.items())), flush=True)
    print("; ".join(f"{v.strip()} {c}" for v, c in sorted(counts.items()) if not v.startswith("  ")))
    if wrong:
        sys.exit("native computes something else:\n" + "\n".join(wrong))
    if not keep and not wanted and not (counts["refused"] and counts["changed"]):
        sys.exit("nothing was refused, or nothing changed: this proves nothing")


if __name__ == "__main__":
    main()
