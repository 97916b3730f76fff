"""support.py - what Python tests share: where things are, how a program is run, and checks that count
instead of ending the test. Nothing here needs a package; support_export.py adds what ONNX files need."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(os.environ.get("KVF_SOURCE_DIR", Path(__file__).resolve().parent.parent))
BUILD = Path(os.environ.get("KVF_BUILD_DIR", ROOT / "build")).resolve()
KVFORK, TRIGO = str(BUILD / "kvfork"), str(BUILD / "trigo")
MODELS = ROOT / "models/trigo"
failures = 0


def check(good, what):
    global failures
    if not good:
        failures += 1
        print(f"FAILED: {what}", flush=True)


def run(*command, **options):
    """A program that has ended; what it wrote is bytes, unless text=True. Arguments may be numbers and paths."""
    words, pipe = [word if isinstance(word, bytes) else str(word) for word in command], subprocess.PIPE
    return subprocess.run(words, **{"stdout": pipe, "stderr": pipe, "timeout": 250, **options})


def check_full_disk(*command, **options):
    with open("/dev/full", "wb") as full:
        result = run(*command, stdout=full, **options)
    check(result.returncode == 1 and b"No space left" in result.stderr, f"{command} on a full disk: {result.stderr}")


def run_tests(tests, wanted):
    """Every function test_NAME, or the wanted NAMEs, each with a folder of its own; then the exit."""
    for name, test in list(tests.items()):
        if name.startswith("test_") and (not wanted or name.removeprefix("test_") in wanted):
            with tempfile.TemporaryDirectory() as folder:
                print(name, flush=True)
                test(Path(folder))
    sys.exit(1 if failures else 0)
