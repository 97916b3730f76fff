#!/usr/bin/env python3
"""The reader against the onnx package: every node, name, attribute, shape and byte of every tensor.

Files: those of the corpus and of models/, and some that are made here because no exporter writes
them, such as numbers of every type spelled out one by one. dump_onnx prints what our reader found;
the same lines are written here from what the package found.
"""

import pathlib
import struct
import sys
import tempfile
import zlib

try:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError as error:
    sys.exit(f"{error}: this test needs the onnx package; scripts/setup.sh test installs it in .deps/venv")

from support import BUILD, ROOT, run


# ---- what the onnx package found -----------------------------------------------------------------


def tensor_bytes(t):
    if t.HasField("raw_data"):
        return t.raw_data
    if t.data_type in (TensorProto.INT4, TensorProto.UINT4):
        return bytes(v & 255 for v in t.int32_data)
    return numpy_helper.to_array(t).tobytes()


def tensor(t):
    fields = [str(t.data_type), "[" + ",".join(map(str, t.dims)) + "]"]
    if t.data_type != TensorProto.STRING:
        data = tensor_bytes(t)
        fields += [str(len(data)), f"{zlib.crc32(data):08x}"]
    return fields


def shape(what, name, info):
    if info is None or not info.type.HasField("tensor_type"):
        return "\t".join([what, name, "none"])
    t = info.type.tensor_type
    dims = []
    if not t.HasField("shape"):
        dims = ["unknown"]
    for d in t.shape.dim:
        dims.append(str(d.dim_value) if d.HasField("dim_value") else "?" + d.dim_param)
    return "\t".join([what, name, str(t.elem_type)] + dims)


def float_bits(f):
    return f"{struct.unpack('<I', struct.pack('<f', f))[0]:08x}"


def attribute(a):
    values = {
        1: lambda: [float_bits(a.f)],
        2: lambda: [str(a.i)],
        3: lambda: [a.s.hex()],
        4: lambda: tensor(a.t),
        6: lambda: [float_bits(f) for f in a.floats],
        7: lambda: [str(i) for i in a.ints],
        8: lambda: [s.hex() for s in a.strings],
    }
    yield "\t".join(["attr", a.name, str(a.type)] + values.get(a.type, list)())
    if a.type == 5:
        yield from graph(a.g)


def graph(g):
    initializers = {t.name for t in g.initializer}
    infos = {}
    for v in list(g.value_info) + list(g.output) + list(g.input):
        infos[v.name] = v  # inputs and outputs say more than value_info
    yield f"graph\t{g.name}"
    for v in g.input:
        if v.name not in initializers:
            yield shape("input", v.name, v)
    for v in g.output:
        yield shape("output", v.name, v)
    for t in g.initializer:
        yield "\t".join(["initializer", t.name] + tensor(t))
    for n in g.node:
        domain = "" if n.domain == "ai.onnx" else n.domain
        yield "\t".join(["node", n.op_type, domain, n.name])
        yield from ("in\t" + name for name in n.input)
        yield from ("out\t" + name for name in n.output)
        for a in n.attribute:
            yield from attribute(a)
        for name in n.output:
            if name:
                yield shape("value", name, infos.get(name))
    yield "end"


def model(m):
    yield "\t".join(["model", str(m.ir_version), m.producer_name, m.producer_version])
    for o in m.opset_import:
        domain = "" if o.domain == "ai.onnx" else o.domain
        yield "\t".join(["opset", domain, str(o.version)])
    for p in m.metadata_props:
        yield "\t".join(["property", p.key, p.value.encode().hex()])
    for f in sorted(m.functions, key=lambda f: (len(f.domain), f.domain, len(f.name), f.name)):
        yield "\t".join(["function", f.domain, f.name])
    yield from graph(m.graph)


# ---- files that no exporter writes -----------------------------------------------------------------


def spelled_out():
    """Numbers of every type, one by one in the typed fields, as initializers and as attributes."""
    rng = np.random.default_rng(5)
    types = {
        TensorProto.FLOAT: rng.standard_normal(6),
        TensorProto.DOUBLE: rng.standard_normal(6),
        TensorProto.FLOAT16: rng.standard_normal(6),
        TensorProto.BFLOAT16: rng.standard_normal(6),
        TensorProto.INT64: rng.integers(-(2**62), 2**62, 6),
        TensorProto.INT32: rng.integers(-(2**31), 2**31, 6),
        TensorProto.INT16: rng.integers(-(2**15), 2**15, 6),
        TensorProto.INT8: rng.integers(-128, 128, 6),
        TensorProto.UINT64: rng.integers(0, 2**63, 6).astype(np.uint64) * 2,
        TensorProto.UINT32: rng.integers(0, 2**32, 6),
        TensorProto.UINT16: rng.integers(0, 2**16, 6),
        TensorProto.UINT8: rng.integers(0, 256, 6),
        TensorProto.BOOL: rng.integers(0, 2, 6),
        TensorProto.INT4: rng.integers(-8, 8, 6),
        TensorProto.UINT4: rng.integers(0, 16, 6),
    }
    tensors = [helper.make_tensor(f"w{t}", t, [2, 3], v.tolist()) for t, v in types.items()]
    tensors.append(helper.make_tensor("odd", TensorProto.INT4, [3], [-8, 7, 1]))
    tensors.append(helper.make_tensor("none", TensorProto.FLOAT, [0, 5], []))
    tensors.append(helper.make_tensor("scalar", TensorProto.INT64, [], [-7]))
    tensors.append(helper.make_tensor("text", TensorProto.STRING, [2], [b"a", b"bc"]))
    nodes = [helper.make_node("Constant", [], [f"c{t.name}"], value=t) for t in tensors]
    return make(nodes, tensors)


def attributes():
    """Attributes of every kind, graphs inside graphs, omitted inputs, a name that is used in both
    branches, an initializer that is an input."""

    def branch(name, *nodes):
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info("b", 1, None)])

    deepest = branch("deepest", helper.make_node("Neg", ["x"], ["b"]))
    then = branch(
        "then",
        helper.make_node("If", ["flag"], ["d"], then_branch=deepest, else_branch=deepest),
        helper.make_node("Add", ["d", "x"], ["b"]),
    )
    other = branch("else", helper.make_node("Clip", ["x", "", "limit"], ["b"]))
    nodes = [
        helper.make_node(
            "Everything", ["x", "", "x"], ["e", ""], domain="com.example", name="all/of/them",
            f=1.5, minus=-2.25e-40, i=-9, s=b"bytes\x00\xff", floats=[0.0, -0.0, 3e38],
            ints=[0, -1, 2**63 - 1, -(2**63)], strings=[b"", b"one", "\u00e4".encode()],
            tensor=numpy_helper.from_array(np.arange(5, dtype=np.int16)),
        ),
        helper.make_node("If", ["flag"], ["y2"], then_branch=then, else_branch=other),
    ]  # fmt: skip
    m = make(nodes, [numpy_helper.from_array(np.float32(3), "limit")])
    m.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, []))
    m.graph.input.append(helper.make_tensor_value_info("limit", TensorProto.FLOAT, []))
    return m


def functions():
    """Functions in two domains, one that calls another, and a call."""
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.example", 1)]
    double = helper.make_function(
        "com.example", "Double", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], opsets
    )
    four = helper.make_function(
        "com.example", "Four", ["a"], ["b"],
        [helper.make_node("Double", ["a"], ["t"], domain="com.example"),
         helper.make_node("Double", ["t"], ["b"], domain="com.example")], opsets,
    )  # fmt: skip
    m = make([helper.make_node("Four", ["x"], ["z"], domain="com.example")], [])
    m.functions.extend([four, double])
    return m


def make(nodes, initializers):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4, None])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    scalar = helper.make_tensor_value_info("s", TensorProto.FLOAT, [])
    nodes = nodes + [
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("ReduceMax", ["x"], ["s"], keepdims=0),
    ]
    g = helper.make_graph(nodes, "made", [x], [y, scalar], initializers)
    g.value_info.append(helper.make_tensor_value_info("nobody has this name", 1, [1]))
    return helper.make_model(
        g,
        opset_imports=[helper.make_opsetid("ai.onnx", 18), helper.make_opsetid("com.example", 1)],
        producer_name="made",
    )


# ---- comparison ------------------------------------------------------------------------------------


def compare(path):
    want = list(model(onnx.load(path)))
    dumped = run(BUILD / "tests/dump_onnx", path)
    if dumped.returncode:
        return f"{path}: {dumped.stderr.decode()}"
    got = dumped.stdout.decode().splitlines()
    for number, (a, b) in enumerate(zip(want, got)):
        if a != b:
            return f"{path}: line {number + 1}: onnx has\n  {a}\nwe have\n  {b}"
    if len(want) != len(got):
        return f"{path}: onnx has {len(want)} lines, we have {len(got)}"
    print(f"{path}: {len(want)} lines agree")
    return None


def main():
    paths = sorted((ROOT / "tests/data/corpus/valid").glob("*/model.onnx"))
    paths += sorted((ROOT / "models").glob("*/*.onnx"))
    paths += [ROOT / f"tests/data/corpus/broken/{n}/model.onnx"
              for n in ("control-good-base", "external-control-good", "unknown-op")]  # fmt: skip
    assert len(paths) > 20, f"only {len(paths)} files were found"
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        for made in (spelled_out, attributes, functions):
            path = pathlib.Path(folder) / f"{made.__name__}.onnx"
            onnx.save(made(), path)
            paths.append(path)
        wrong = [message for message in map(compare, paths) if message]
    for message in wrong:
        print(message, file=sys.stderr)
    sys.exit(1 if wrong else 0)


main()
