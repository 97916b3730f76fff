#!/usr/bin/env python3
"""test_export.py - what `kvfork export` writes, judged by others: ONNX's checker and strict shape
inference, ONNX Runtime with its optimisations off and on, and logits that PyTorch recorded.

Every checkpoint of tests/data/checkpoints is exported with both opsets, both conventions of names
and both types, and run whole, in pieces, in batches, with branches and with padding on either side.
"""

import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import numpy as np
    import onnx
    import onnxruntime as ort
except ImportError as missing:
    print(f"skipped: {missing}; scripts/setup.sh test installs it")
    sys.exit(77)

ROOT = Path(os.environ.get("KVF_SOURCE_DIR", Path(__file__).resolve().parent.parent))
KVFORK = Path(os.environ.get("KVF_BUILD_DIR", ROOT / "build")).resolve() / "kvfork"
CHECKPOINTS = ROOT / "tests/data/checkpoints"
FAMILIES = sorted(folder.name for folder in CHECKPOINTS.iterdir() if folder.is_dir())
LEVELS = (ort.GraphOptimizationLevel.ORT_DISABLE_ALL, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
TOLERANCE = {"f32": 1e-4, "f16": 6e-2}  # of logits with a standard deviation of 2, and up to 10


def export(*arguments):
    done = subprocess.run([KVFORK, "export", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, f"export {arguments}: {done.stderr}"
    assert not done.stdout and not done.stderr, "nothing is said where nobody watches"


def check(path):
    """The file as ONNX's own tools see it."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    return model


class Decoder:
    """An exported file in ONNX Runtime; a past is a list of arrays."""

    def __init__(self, path, level):
        options = ort.SessionOptions()
        options.graph_optimization_level = level
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        inputs = self.session.get_inputs()
        self.pasts = [i for i in inputs if i.name.startswith("past_")]
        self.masked = any(i.name == "attention_mask" for i in inputs)

    def empty(self, batch):
        kind = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
        return [np.zeros((batch, p.shape[1], 0, p.shape[3]), kind[p.type]) for p in self.pasts]

    def outputs(self, ids, past=None, mask=None, positions=None):
        ids = np.asarray(ids, np.int64)
        past = past or self.empty(len(ids))
        before, new = past[0].shape[2], ids.shape[1]
        if positions is None:
            positions = np.tile(np.arange(before, before + new), (len(ids), 1))
        feed = {"input_ids": ids, "position_ids": np.asarray(positions, np.int64)}
        feed.update((p.name, value) for p, value in zip(self.pasts, past))
        if self.masked:
            ones = np.ones((len(ids), before + new), np.int64)
            feed["attention_mask"] = ones if mask is None else np.asarray(mask, np.int64)
        out = self.session.run(None, feed)
        assert all(value.shape[2] == before + new for value in out[-len(past) :])
        return out

    def run(self, ids, past=None, mask=None, positions=None):
        out = self.outputs(ids, past, mask, positions)
        return out[0].astype(np.float32), out[-len(self.pasts) :]

    def in_pieces(self, ids, cuts):
        """The same rows in several calls, each on the past of the one before."""
        ids, past, rows = np.asarray(ids), None, []
        for begin, end in itertools.pairwise([0, *cuts, ids.shape[1]]):
            logits, past = self.run(ids[:, begin:end], past)
            rows.append(logits)
        return np.concatenate(rows, axis=1)


class Expected:
    """Token paths and their logits, as recorded."""

    def __init__(self, folder):
        say = json.loads((folder / "expected.json").read_text())
        rows = np.fromfile(folder / "logits.f32", "<f4").reshape(-1, say["vocab"])
        at, trunk, branch = say["branch_at"], len(say["tokens"]), len(say["branch_a"])
        self.paths = [say["tokens"], say["tokens"][:at] + say["branch_a"], say["tokens"][:at] + say["branch_b"]]
        starts = [trunk, trunk + branch]
        self.logits = [rows[:trunk]] + [np.concatenate([rows[:at], rows[s : s + branch]]) for s in starts]
        self.branch_at = at


def close(got, want, tolerance, what):
    worst = float(np.abs(got - want).max())
    assert np.isfinite(got).all() and worst <= tolerance, f"{what}: differs by {worst:.2e}, at most {tolerance:.0e}"
    return worst


def check_chains(decoder, expected, tolerance):
    """Whole, token by token, cut at 7; one row and three; branches on the trunk's past."""
    path, want = expected.paths[0], expected.logits[0]
    shortest = min(map(len, expected.paths))
    three = [p[:shortest] for p in expected.paths]
    want_three = np.stack([rows[:shortest] for rows in expected.logits])
    worst = [close(decoder.run([path])[0][0], want, tolerance, "whole")]
    for cuts in ([7], [1, 7, 8], range(1, len(path))):
        worst.append(close(decoder.in_pieces([path], cuts)[0], want, tolerance, f"cut at {cuts}"))
    for cuts in ([], [7]):
        worst.append(close(decoder.in_pieces(three, cuts), want_three, tolerance, f"three rows cut at {cuts}"))
    at = expected.branch_at
    past = decoder.run([path[:at]])[1]
    for path, want in zip(expected.paths, expected.logits):
        worst.append(close(decoder.run([path[at:]], past)[0][0], want[at:], tolerance, "branch"))
    return max(worst)


def padded(paths, width, left, new_from, mask_before):
    """Rows of different lengths with padding on one side: ids, mask over all, positions."""
    ids, mask, positions = (np.zeros((len(paths), width), np.int64) for _ in range(3))
    ids += 3  # padding is some token, not a special one
    for row, path in enumerate(paths):
        place = slice(width - len(path), width) if left else slice(0, len(path))
        ids[row, place] = path
        mask[row, place] = 1
        positions[row, place] = np.arange(new_from[row], new_from[row] + len(path))
    return ids, np.concatenate([mask_before, mask], axis=1), positions


def check_padding(decoder, expected, tolerance, left):
    """Rows of 24, 20, 20 and 5 tokens, in one call, then in two with a padded past."""
    paths = [*expected.paths, expected.paths[0][:5]]
    logits = [*expected.logits, expected.logits[0][:5]]
    worst = []
    for cut in (None, 7):
        heads = [p if cut is None else p[: min(cut, len(p) - 1)] for p in paths]
        past, mask, seen, new_from = None, np.zeros((len(paths), 0), np.int64), [], [0] * len(paths)
        for parts in [heads] if cut is None else [heads, [p[len(h) :] for p, h in zip(paths, heads)]]:
            width = max(map(len, parts)) + 2  # the longest row is padded too
            ids, mask, positions = padded(parts, width, left, new_from, mask)
            got, past = decoder.run(ids, past, mask, positions)
            for row, part in enumerate(parts):
                place = slice(width - len(part), width) if left else slice(0, len(part))
                want = logits[row][new_from[row] : new_from[row] + len(part)]
                worst.append(close(got[row, place], want, tolerance, f"padded row {row}, left {left}, cut {cut}"))
            new_from = [n + len(p) for n, p in zip(new_from, parts)]
            assert all(np.isfinite(value).all() for value in past), "padding reaches the cache as NaN"
    return max(worst)


def test_families(folder):
    for family, names, opset, kind in itertools.product(FAMILIES, ("kvfork", "optimum"), (17, 23), ("f32", "f16")):
        path = folder / f"{family}-{names}-{opset}-{kind}.onnx"
        export(CHECKPOINTS / family, "-o", path, "--names", names, "--opset", opset, "--dtype", kind)
        model = check(path)
        assert model.producer_name == "kvfork" and model.opset_import[0].version == opset
        assert all(node.domain == "" for node in model.graph.node)
        assert not any("Attention" in node.op_type for node in model.graph.node) or opset == 23
        expected, worst = Expected(CHECKPOINTS / family), []
        for level in LEVELS:
            decoder = Decoder(path, level)
            worst.append(check_chains(decoder, expected, TOLERANCE[kind]))
            if names == "optimum":
                worst += [check_padding(decoder, expected, TOLERANCE[kind], left) for left in (True, False)]
        print(f"  {path.name:44} largest difference {max(worst):.1e}")


def test_metadata(folder):
    path = folder / "adder.onnx"
    export(ROOT / "models/adder/hf", "-o", path, "--tokenizer", "ascii")
    said = {p.key: p.value for p in onnx.load(path).metadata_props}
    digest = subprocess.run(["sha256sum", ROOT / "models/adder/hf/model.safetensors"], capture_output=True, text=True)
    assert said == {
        "kvfork.family": "gpt2",
        "kvfork.context": "256",
        "kvfork.eos": "10",
        "kvfork.tokenizer": "ascii",
        "kvfork.source_sha256": digest.stdout.split()[0],
    }, said


def answer(decoder, question):
    """Greedy decoding up to the newline."""
    ids, past, text = [list(question.encode())], None, b""
    while len(text) < 12 and not text.endswith(b"\n"):
        logits, past = decoder.run(ids, past) if past is None else decoder.run([[text[-1]]], past)
        text += bytes([int(logits[0, -1].argmax())])
    return question + text.decode()


def test_adder(folder, sums=200):
    """Against the file that another exporter wrote from the same checkpoint, and at its task."""
    path = folder / "adder.onnx"
    export(ROOT / "models/adder/hf", "-o", path)
    ours, other = (Decoder(p, LEVELS[1]) for p in (path, ROOT / "models/adder/adder.onnx"))
    ids = np.random.default_rng(1).integers(0, 128, (3, 40))
    close(ours.in_pieces(ids, [7, 8]), other.in_pieces(ids, [7, 8]), 1e-4, "adder")
    lines = (ROOT / "models/adder/heldout.txt").read_text().splitlines(keepends=True)[:sums]
    right = sum(answer(ours, line[: line.index("=") + 1]) == line for line in lines)
    print(f"  adder: {right} of {len(lines)} sums")
    assert right >= 0.99 * len(lines)


# ---- checkpoints that were changed -----------------------------------------------------------------


def read_tensors(path):
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header.pop("__metadata__", None)
    place = {name: slice(*(end + o for o in about["data_offsets"])) for name, about in header.items()}
    return {name: (about["dtype"], about["shape"], data[place[name]]) for name, about in header.items()}


def write_checkpoint(folder, config, tensors):
    """tensors: name -> (dtype, shape, bytes)."""
    folder.mkdir(exist_ok=True)
    header, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    body = b"".join(data for _, _, data in tensors.values())
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + body)
    (folder / "config.json").write_text(json.dumps(config))


def checkpoint(name):
    config = json.loads((CHECKPOINTS / name / "config.json").read_text())
    return config, read_tensors(CHECKPOINTS / name / "model.safetensors")


def as_floats(data):
    return np.frombuffer(data, "<f4")


def test_stored_types(folder):
    """float16 and bfloat16 checkpoints give what float32 ones with the same values give."""
    config, tensors = checkpoint("qwen3")
    narrow = {
        "F16": lambda x: x.astype("<f2").tobytes(),
        "BF16": lambda x: (x.view("<u4") >> 16).astype("<u2").tobytes(),
    }
    widen = {
        "F16": lambda data: np.frombuffer(data, "<f2").astype("<f4").tobytes(),
        "BF16": lambda data: (np.frombuffer(data, "<u2").astype("<u4") << 16).tobytes(),
    }
    for dtype in narrow:
        small = {k: (dtype, shape, narrow[dtype](as_floats(data))) for k, (_, shape, data) in tensors.items()}
        wide = {k: ("F32", shape, widen[dtype](data)) for k, (_, shape, data) in small.items()}
        logits = []
        for name, content in (("small", small), ("wide", wide)):
            write_checkpoint(folder / name, config, content)
            export(folder / name, "-o", folder / f"{name}.onnx")
            export(folder / name, "-o", folder / f"{name}-f16.onnx", "--dtype", "f16")
            logits.append(Decoder(folder / f"{name}.onnx", LEVELS[1]).run([[1, 2, 3]])[0])
        assert np.array_equal(*logits), dtype
    halves = {i.name: onnx.numpy_helper.to_array(i) for i in onnx.load(folder / "small-f16.onnx").graph.initializer}
    assert np.array_equal(halves["token_embedding"], as_floats(wide["model.embed_tokens.weight"][2]).astype("f2").reshape(350, 64))


def gelu(x, kind):
    from math import erf, pi, sqrt

    if kind == "gelu":
        return 0.5 * x * (1 + np.vectorize(erf)(x / sqrt(2)))
    return np.maximum(x, 0) if kind == "relu" else 0.5 * x * (1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))


def gpt2_twin(config, tensors, ids):
    """GPT-2 in float64, written from its definition, for options that no recorded checkpoint has."""
    w = {k.removeprefix("transformer."): as_floats(d).astype("f8").reshape(s) for k, (_, s, d) in tensors.items()}
    heads, n = config["n_head"], len(ids)

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + config["layer_norm_epsilon"])
        return x * w[name + ".weight"] + w[name + ".bias"]

    x = w["wte.weight"][ids] + w["wpe.weight"][:n]
    for i in range(config["n_layer"]):
        h = f"h.{i}."
        qkv = norm(x, h + "ln_1") @ w[h + "attn.c_attn.weight"] + w[h + "attn.c_attn.bias"]
        q, k, v = (part.reshape(n, heads, -1).transpose(1, 0, 2) for part in np.split(qkv, 3, -1))
        s = q @ k.transpose(0, 2, 1)
        s /= np.sqrt(q.shape[-1]) if config["scale_attn_weights"] else 1
        s /= i + 1 if config["scale_attn_by_inverse_layer_idx"] else 1
        s = np.where(np.tril(np.ones((n, n), bool)), s, -np.inf)
        s = np.exp(s - s.max(-1, keepdims=True))
        a = (s / s.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(n, -1)
        x = x + a @ w[h + "attn.c_proj.weight"] + w[h + "attn.c_proj.bias"]
        up = norm(x, h + "ln_2") @ w[h + "mlp.c_fc.weight"] + w[h + "mlp.c_fc.bias"]
        x = x + gelu(up, config["activation_function"]) @ w[h + "mlp.c_proj.weight"] + w[h + "mlp.c_proj.bias"]
    return norm(x, "ln_f") @ w["wte.weight"].T


def test_options_of_gpt2(folder):
    config, tensors = checkpoint("gpt2")
    ids = list(range(5, 25))
    for change in (
        {},
        {"activation_function": "gelu"},
        {"activation_function": "relu"},
        {"scale_attn_by_inverse_layer_idx": True},
        {"scale_attn_weights": False},
    ):
        changed = config | change
        bare = {name.removeprefix("transformer."): about for name, about in tensors.items()}
        for names in (tensors, bare):
            write_checkpoint(folder / "c", changed, names)
            for opset in (17, 23):
                export(folder / "c", "-o", folder / "c.onnx", "--opset", opset)
                check(folder / "c.onnx")
                got = Decoder(folder / "c.onnx", LEVELS[0]).run([ids])[0][0]
                close(got, gpt2_twin(changed, tensors, ids), 1e-4, change)


def test_biased_llama(folder):
    """Qwen2 is a Llama with biases; Llama's further ones are there too, as zeros and at work."""
    config, tensors = checkpoint("qwen2")
    export(CHECKPOINTS / "qwen2", "-o", folder / "qwen2.onnx")
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    widths = {"self_attn.o_proj": hidden, "mlp.gate_proj": inner, "mlp.up_proj": inner, "mlp.down_proj": hidden}
    llama = {k: v for k, v in config.items() if "window" not in k and k != "layer_types"}
    llama |= {"model_type": "llama", "attention_bias": True, "mlp_bias": True}
    logits = [Decoder(folder / "qwen2.onnx", LEVELS[1]).run([[1, 2, 3]])[0]]
    for place, size in ((None, 0), *((name, 1) for name in widths)):
        biases = {
            f"model.layers.{i}.{name}.bias": ("F32", [n], np.full(n, size if name == place else 0, "<f4").tobytes())
            for i in range(config["num_hidden_layers"])
            for name, n in widths.items()
        }
        write_checkpoint(folder / "c", llama, tensors | biases)
        export(folder / "c", "-o", folder / "llama.onnx")
        check(folder / "llama.onnx")
        logits.append(Decoder(folder / "llama.onnx", LEVELS[1]).run([[1, 2, 3]])[0])
    close(logits[1], logits[0], 1e-5, "zero biases")
    assert all(np.abs(a - b).max() > 1e-2 for a, b in itertools.combinations(logits[1:], 2))


def test_linear_rope(folder):
    """Linear scaling by 4 turns every angle to that of a quarter of the position."""
    config, tensors = checkpoint("llama")
    plain, scaled = folder / "plain.onnx", folder / "scaled.onnx"
    write_checkpoint(folder / "c", config | {"rope_scaling": {"type": "linear", "factor": 4.0}}, tensors)
    export(CHECKPOINTS / "llama", "-o", plain)
    export(folder / "c", "-o", scaled)
    ids, positions = [[5, 6, 7, 8]], np.array([[0, 1, 2, 3]])
    want = Decoder(plain, LEVELS[1]).run(ids, positions=positions)[0]
    close(Decoder(scaled, LEVELS[1]).run(ids, positions=positions * 4)[0], want, 1e-5, "linear rope")


def test_refused_checkpoints(folder):
    config, tensors = checkpoint("llama")
    some, head = "model.layers.1.self_attn.k_proj.weight", "lm_head.weight"
    dtype, shape, data = tensors[some]
    without = {name: about for name, about in tensors.items() if name != some}
    beyond = np.full(len(data) // 4, 1e6, "<f4").tobytes()
    rows = (
        (config, without, (), f"no tensor {some}"),
        (config | {"num_hidden_layers": 3}, tensors, (), "no tensor model.layers.2."),
        (config | {"num_hidden_layers": 1}, tensors, (), "tensor model.layers.1."),
        (config, tensors | {some: (dtype, shape[::-1], data)}, (), f"{some}: its shape is rank 2, [64, 32]"),
        (config, tensors | {some: (dtype, [len(data) // 4], data)}, (), f"{some}: its shape is rank 1"),
        (config, tensors | {some: ("I32", shape, data)}, (), f"{some}: is of type int32"),
        (config, tensors | {"model.extra": tensors[some]}, (), "tensor model.extra is no part of a llama"),
        (config | {"vocab_size": 399}, tensors, (), "model.embed_tokens.weight: its shape is"),
        (config | {"mystery": 1}, tensors, (), "--ignore mystery"),
        (config, tensors | {some: (dtype, shape, beyond)}, ("--dtype", "f16"), "numbers beyond float16"),
        (config, {n: a for n, a in tensors.items() if n != head}, (), f"no tensor {head}"),
    )
    for changed, content, more, words in rows:
        write_checkpoint(folder / "c", changed, content)
        out = folder / "out.onnx"
        done = subprocess.run([KVFORK, "export", folder / "c", "-o", out, *more], capture_output=True, text=True)
        assert done.returncode == 1 and words in done.stderr, f"{words}: {done.stderr}"
        assert [p.name for p in folder.iterdir()] == ["c"]
    write_checkpoint(folder / "c", config | {"mystery": 1}, tensors | {"model.extra": tensors[some]})
    export(folder / "c", "-o", folder / "out.onnx", "--ignore", "mystery", "--ignore", "model.extra")
    assert (folder / "out.onnx").stat().st_size


def test_tied_copy(folder):
    """A tied checkpoint may hold its head once more, and masks that older versions saved."""
    config, tensors = checkpoint("gpt2")
    more = {
        "lm_head.weight": tensors["transformer.wte.weight"],
        "transformer.h.0.attn.bias": ("U8", [4], bytes(4)),
        "transformer.h.0.attn.masked_bias": ("F32", [], bytes(4)),
    }
    write_checkpoint(folder / "c", config, tensors | more)
    export(folder / "c", "-o", folder / "more.onnx")
    export(CHECKPOINTS / "gpt2", "-o", folder / "less.onnx")
    weights = [onnx.load(folder / f"{name}.onnx").graph for name in ("more", "less")]
    assert weights[0] == weights[1]
    # untied, the same copy is the head
    write_checkpoint(folder / "c", config | {"tie_word_embeddings": False}, tensors | more)
    export(folder / "c", "-o", folder / "untied.onnx")
    a, b = (Decoder(folder / f"{name}.onnx", LEVELS[1]).run([[1, 2, 3]])[0] for name in ("less", "untied"))
    close(a, b, 1e-5, "untied")


# ---- the Trigo set ---------------------------------------------------------------------------------


def declared(path):
    """Inputs and outputs as the file says: runtimes would put in what they infer."""
    graph = onnx.load(path).graph
    for port in [*graph.input, *graph.output]:
        tensor = port.type.tensor_type
        yield port.name, tensor.elem_type, [d.dim_param or d.dim_value for d in tensor.shape.dim]


def trigo_session(path, level):
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def tree_mask(rng, m):
    """A random forest over m tokens: 1 where a row may look, itself and its ancestors."""
    mask = np.zeros((m, m), np.float32)
    for row in range(m):
        parent = int(rng.integers(-1, row)) if row else -1
        if parent >= 0:
            mask[row] = mask[parent]
        mask[row, row] = 1
    return mask


def trigo_cases(rng):
    for batch, n, m in ((1, 1, 1), (2, 14, 8), (3, 5, 33), (1, 130, 3)):
        masks = np.stack([tree_mask(rng, m) for _ in range(batch)])
        yield rng.integers(0, 128, (batch, n)), rng.integers(0, 128, (batch, m)), masks
    # a mask counts where it is exactly 1, and its sum is a position whatever it holds
    odd = np.array([[[1, 0, 0], [0.5, 1, 0], [2, -1, 1]]], np.float32)
    yield rng.integers(0, 128, (1, 6)), rng.integers(0, 128, (1, 3)), odd


def trigo_outputs(s, prefix, evaluated, mask):
    """Everything that a search asks for, by what it is."""
    got = {"base": s["base_model"].run(None, {"prefix_ids": prefix, "evaluated_ids": evaluated, "evaluated_mask": mask})[0]}
    cache = s["base_model_prefix"].run(None, {"prefix_ids": prefix})
    got.update((f"cache {i}", value) for i, value in enumerate(cache))
    names = [i.name for i in s["base_model_eval_cached"].get_inputs()][2:]
    feed = {"evaluated_ids": evaluated, "evaluated_mask": mask, **dict(zip(names, cache))}
    got["cached"] = s["base_model_eval_cached"].run(None, feed)[0]
    extended = s["base_model_eval_extend"].run(None, feed)
    got.update((f"extended {i}", value) for i, value in enumerate(extended))
    got["policy"] = s["policy_head"].run(None, {"hidden_states": got["base"]})[0]
    got["value"] = s["value_head"].run(None, {"hidden_states": got["base"][:, -1]})[0]
    return got


def test_trigo(folder):
    out, given = folder / "set", ROOT / "models/trigo"
    export("--parts", "trigo", given, "-o", out)
    assert sorted(p.name for p in out.iterdir()) == sorted(
        [*(p.name for p in given.glob("*.onnx") if "dynamo" not in p.name), "decoder.onnx"]
    )
    assert [p.name for p in folder.glob("set*")] == ["set"]
    names = [p.stem for p in out.iterdir() if p.stem != "decoder"]
    for name in names:
        check(out / f"{name}.onnx")
        for a, b in zip(declared(out / f"{name}.onnx"), declared(given / f"{name}.onnx"), strict=True):
            # a name that their exporter made up stands for the hidden size
            assert a == (*b[:2], [64 if str(d).startswith("Reshape") else d for d in b[2]]), f"{name}: {a}, want {b}"
    theirs = {name: trigo_session(given / f"{name}.onnx", LEVELS[1]) for name in names}
    worst = 0
    for level in LEVELS:
        ours = {name: trigo_session(out / f"{name}.onnx", level) for name in names}
        for case in trigo_cases(np.random.default_rng(2)):
            ours_out, theirs_out = (trigo_outputs(s, *case) for s in (ours, theirs))
            for what, want in theirs_out.items():
                assert ours_out[what].shape == want.shape
                worst = max(worst, close(ours_out[what], want, 1e-4, f"trigo {what}"))
        worst = max(worst, check_trigo_decoder(Decoder(out / "decoder.onnx", level), theirs))
    print(f"  trigo: largest difference {worst:.1e}")


def check_trigo_decoder(decoder, theirs):
    """Rows of the decoder's cached run against the set: a chain is a tree too."""
    ids = np.random.default_rng(3).integers(0, 128, (2, 12))
    chain = np.tril(np.ones((2, 8, 8), np.float32))
    feed = {"prefix_ids": ids[:, :4], "evaluated_ids": ids[:, 4:], "evaluated_mask": chain}
    hidden = theirs["base_model"].run(None, feed)[0]
    want = theirs["policy_head"].run(None, {"hidden_states": hidden})[0]
    want_values = np.stack([theirs["value_head"].run(None, {"hidden_states": row})[0] for row in hidden])
    first = decoder.outputs(ids[:, :7])
    second = decoder.outputs(ids[:, 7:], first[2:])
    worst = close(np.concatenate([first[0], second[0]], axis=1), want, 1e-4, "trigo decoder's logits")
    return max(worst, close(np.concatenate([first[1], second[1]], axis=1), want_values, 1e-4, "trigo decoder's values"))


# ---- other things that must hold -------------------------------------------------------------------


def test_synthetic(folder):
    """Valid files, equal bytes for equal specs, and finite numbers far into the context."""
    specs = (
        "gpt2:layers=2,heads=4,head_dim=8,vocab=100,context=300,tied=0",
        "llama:layers=2,heads=4,kv_heads=2,head_dim=16,vocab=100,context=300",
        "mistral:layers=1,heads=6,kv_heads=3,head_dim=8,hidden=40,intermediate=56,vocab=100,context=300",
        "qwen2:layers=1,heads=4,kv_heads=1,head_dim=8,vocab=100,context=300,tied=1",
        "qwen3:layers=1,heads=4,kv_heads=4,head_dim=8,hidden=24,vocab=100,context=300,seed=9",
    )
    for spec, (opset, kind) in itertools.product(specs, ((17, "f32"), (23, "f32"), (17, "f16"))):
        one, two = folder / "one.onnx", folder / "two.onnx"
        for path in (one, two):
            export("--synthetic", spec, "-o", path, "--opset", opset, "--dtype", kind)
        assert one.read_bytes() == two.read_bytes(), spec
        check(one)
        decoder = Decoder(one, LEVELS[1])
        ids = np.random.default_rng(4).integers(0, 100, (2, 300))
        whole = decoder.run(ids)[0]
        assert 0.3 < whole.std() < 3, f"{spec}: logits spread by {whole.std()}"
        close(decoder.in_pieces(ids, [299]), whole, TOLERANCE[kind], spec)


def small_disk():
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def test_failures_leave_nothing(folder):
    checkpoint, trigo = CHECKPOINTS / "llama", ROOT / "models/trigo"
    old = folder / "old.onnx"
    old.write_bytes(b"old")
    rows = (
        ((checkpoint, "-o", old, "--names", "optimum"), small_disk, "File too large"),
        (("--synthetic", "gpt2", "-o", old), small_disk, "File too large"),
        (("--parts", "trigo", trigo, "-o", folder / "set"), small_disk, "File too large"),
        (("--parts", "trigo", trigo, "-o", old), None, "old.onnx"),
        ((checkpoint, "-o", folder / "none" / "x.onnx"), None, "No such file"),
        ((checkpoint, "-o", folder), None, "not a regular file"),
        ((checkpoint, "-o", "/dev/null"), None, "not a regular file"),
        ((folder, "-o", old), None, "config.json"),
        ((checkpoint / "config.json", "-o", old), None, "config.json"),
    )
    for arguments, prepare, words in rows:
        done = subprocess.run(
            [KVFORK, "export", *map(str, arguments)],
            capture_output=True,
            text=True,
            preexec_fn=prepare,
            restore_signals=prepare is None,
        )
        assert done.returncode == 1 and words in done.stderr, f"{arguments}: {done.returncode} {done.stderr}"
        assert [p.name for p in folder.iterdir()] == ["old.onnx"] and old.read_bytes() == b"old", arguments


def test_usage(folder):
    rows = (
        ((), "DIR or --synthetic"),
        (("a",), "-o FILE"),
        (("a", "b", "-o", "x"), "one word too many"),
        (("a", "--synthetic", "gpt2", "-o", "x"), "DIR or --synthetic"),
        (("a", "-o", "x", "--opset", "18"), "17 or 23"),
        (("a", "-o", "x", "--dtype", "f64"), "f32 or f16"),
        (("a", "-o", "x", "--names", "hf"), "kvfork or optimum"),
        (("a", "-o", "x", "--parts", "go"), "--parts is trigo"),
        (("a", "-o", "x", "--parts", "trigo", "--dtype", "f16"), "a set has its own"),
        (("a", "-o", "x", "--tokenizer", "bpe"), "ascii"),
    )
    for arguments, words in rows:
        done = subprocess.run([KVFORK, "export", *arguments], capture_output=True, text=True, cwd=folder)
        assert done.returncode == 2 and words in done.stderr, f"{arguments}: {done.returncode} {done.stderr}"
    assert not list(folder.iterdir())


def main():
    wanted = sys.argv[1:]
    for name, test in list(globals().items()):
        if not name.startswith("test_") or (wanted and name.removeprefix("test_") not in wanted):
            continue
        with tempfile.TemporaryDirectory() as folder:
            print(name, flush=True)
            test(Path(folder))


if __name__ == "__main__":
    main()
