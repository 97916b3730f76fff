#!/usr/bin/env python3
"""test_export.py - what `kvfork export` writes, judged by others: ONNX's checker and strict shape
inference, ONNX Runtime with its optimisations off and on, and logits that PyTorch recorded.

Every checkpoint of tests/data/checkpoints is exported with both opsets, both conventions of names
and both types, and run whole, in pieces, in batches, with branches and with padding on either side.
"""

import itertools
import resource
import signal
import sys

from support import KVFORK, ROOT, run, run_tests
from support_export import (
    CHECKPOINTS,
    FAMILIES,
    LEVELS,
    TOLERANCE,
    Decoder,
    Expected,
    check,
    close,
    export,
    np,
    onnx,
)


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
        past, mask, new_from = None, np.zeros((len(paths), 0), np.int64), [0] * len(paths)
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
    digest = run("sha256sum", ROOT / "models/adder/hf/model.safetensors", text=True)
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


def test_engines(folder):
    """The project's own engines run the files: `kvfork check` against the recorded logits."""
    for family, opset in itertools.product(FAMILIES, (17, 23)):
        path = folder / f"{family}.onnx"
        export(CHECKPOINTS / family, "-o", path, "--opset", opset)
        expected = CHECKPOINTS / family
        done = run(KVFORK, "check", path, "--expected", expected, text=True)
        said = f"{family}, opset {opset}: {done.stdout} {done.stderr}"
        assert done.returncode == 0 and done.stdout.startswith("native"), said


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
        how = {"preexec_fn": prepare, "restore_signals": prepare is None}
        done = run(KVFORK, "export", *arguments, text=True, **how)
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
        done = run(KVFORK, "export", *arguments, text=True, cwd=folder)
        assert done.returncode == 2 and words in done.stderr, f"{arguments}: {done.returncode} {done.stderr}"
    assert not list(folder.iterdir())


if __name__ == "__main__":
    run_tests(globals(), sys.argv[1:])
