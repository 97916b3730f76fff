#!/usr/bin/env python3
"""test_export_checkpoints.py - checkpoints that no recorded one is like: stored in half floats, with
other activations, scales, biases and names; and broken ones, each refused by name."""

import itertools
import json
import sys

from support import KVFORK, run, run_tests
from support_export import CHECKPOINTS, LEVELS, Decoder, check, close, export, np, onnx


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
        done = run(KVFORK, "export", folder / "c", "-o", out, *more, text=True)
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


if __name__ == "__main__":
    run_tests(globals(), sys.argv[1:])
