#!/usr/bin/env python3
"""test_rooms.py - dependencies point one way: what each room's #include lines may name.

A room is a folder or a few files. It may include itself and the rooms listed for it, nothing else of
this project. Also held: only the files built for an instruction set include its intrinsics.
"""

import os
import re
import sys
from pathlib import Path

from support import ROOT

LOW = ["api", "base"]
ENGINE = LOW + ["onnx", "plan", "engine", "model"]  # what lifts a model or runs it

# name, files (a folder ends in "/"), rooms it may include; the first that matches a file has it
ROOMS = [
    ("api", ["include/kvfork.h"], []),
    ("base", ["src/base.", "src/output.", "src/rng."], ["api"]),
    ("onnx", ["src/onnx/"], LOW),
    ("plan", ["src/plan.", "src/matrix."], LOW + ["onnx"]),
    ("engine", ["src/engine.h", "src/tiles."], LOW),
    ("model", ["src/model.h"], LOW + ["onnx", "plan", "engine"]),
    ("lift", ["src/lift/"], ENGINE),
    ("native", ["src/native/"], ENGINE),
    ("ort", ["src/ort/"], ENGINE),
    ("cuda", ["src/cuda/"], ENGINE + ["native"]),
    ("export", ["src/export/"], LOW + ["onnx", "plan"]),
    ("seq", ["src/seq.", "src/metrics.", "src/sample."], ENGINE + ["library"]),
    ("library", ["src/"], ENGINE),  # the tree, the open model, the list of engines
    ("report", ["report/"], LOW),
    ("bench", ["bench/"], ENGINE + ["report"]),  # what an engine's machine can do
    ("cli", ["cli/"], LOW + ["bench", "export", "report"]),
    ("trigo", ["trigo/"], LOW + ["report"]),
]
MAY = {name: {name, *may} for name, _, may in ROOMS}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
INTRINSICS = re.compile(r"^(?:[a-z]*mmintrin|immintrin|x86intrin|arm_neon)\.h$")


def room_of(path):
    """The room of a file of this project, by its path from the root."""
    for name, places, _ in ROOMS:
        if any(path.startswith(place) for place in places):
            return name
    return None


def resolve(path, included):
    """Which file of this project an include line means, or None: a header of somebody else's."""
    for folder in (Path(path).parent, Path("include"), Path("src"), Path(".")):
        candidate = os.path.normpath(folder / included)
        if (ROOT / candidate).is_file():
            return candidate
    return None


def complaints(path):
    room = room_of(path)
    text = (ROOT / path).read_text(encoding="utf-8")
    for bracket, included in INCLUDE.findall(text):
        if INTRINSICS.match(included):
            if not re.search(r"_(avx2|avx512x?)\.[ch]$", path):
                yield f"{path} includes <{included}>; intrinsics belong to files named after their instruction set"
            continue
        target = resolve(path, included)
        if target is None:
            if bracket == '"':
                yield f'{path} includes "{included}", which is no file of this project; use <> for others'
            continue
        other = room_of(target)
        if other not in MAY[room]:
            allowed = ", ".join(sorted(MAY[room] - {room})) or "nothing"
            yield f"{path} (room {room}) includes {target} (room {other}); {room} may include: {allowed}"


def main():
    files = sorted(
        str(file.relative_to(ROOT))
        for folder in ("include", "src", "report", "bench", "cli", "trigo")
        for file in (ROOT / folder).rglob("*")
        if file.suffix in (".c", ".h", ".cu", ".cuh")
    )
    found = [line for file in files for line in complaints(file)]
    for line in found:
        print(line)
    print(f"{len(files)} files, {len(found)} includes against the order of rooms")
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main())
