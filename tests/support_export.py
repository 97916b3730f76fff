"""support_export.py - what the tests of `kvfork export` share beside support.py: ONNX's own judgement
of a file, a file in ONNX Runtime, recorded logits."""

import itertools
import json
import sys

from support import KVFORK, ROOT, run

try:
    import numpy as np
    import onnx
    import onnxruntime as ort
except ImportError as missing:
    print(f"skipped: {missing}; scripts/setup.sh test installs it")
    sys.exit(77)

CHECKPOINTS = ROOT / "tests/data/checkpoints"
FAMILIES = sorted(folder.name for folder in CHECKPOINTS.iterdir() if folder.is_dir())
LEVELS = (ort.GraphOptimizationLevel.ORT_DISABLE_ALL, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
TOLERANCE = {"f32": 1e-4, "f16": 6e-2}  # of logits with a standard deviation of 2, and up to 10


def export(*arguments):
    done = run(KVFORK, "export", *arguments, text=True)
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
