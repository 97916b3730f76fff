#!/usr/bin/env python3
"""test_export_trigo.py - the set that `kvfork export --parts trigo` writes, against the files that
another exporter wrote from the same weights: names, types, shapes, numbers."""

import sys

from support import MODELS, run_tests
from support_export import LEVELS, Decoder, check, close, export, np, onnx, ort


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
    out, given = folder / "set", MODELS
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


if __name__ == "__main__":
    run_tests(globals(), sys.argv[1:])
