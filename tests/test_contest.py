#!/usr/bin/env python3
"""test_contest.py - the program trigo match: what it prints and writes, and how it ends."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time

from support import MODELS, TRIGO, check, check_full_disk, run, run_tests


def match(*arguments, status=0):
    result = run(TRIGO, "match", *arguments, text=True)
    check(result.returncode == status, f"{arguments}: exit status {result.returncode}: {result.stderr[:300]}")
    return result


def count(result, side=("as_black", "as_white")):
    return sum(sum(result[s].values()) for s in side)


def test_records(folder):
    """The same match on one thread and on three: same result, same files, and the games replay."""
    told = []
    for threads in (1, 3):
        lines, texts = folder / f"{threads}.jsonl", folder / f"texts{threads}"
        told.append(json.loads(match("uniform:sims=80", "random", "--board", "4x4", "--games", 20, "--seed", 3, "--json",
                                     "--threads", threads, "--records", lines, "--tgn", texts).stdout))
    check(told[0] == told[1], f"threads change the result: {told}")
    check((folder / "1.jsonl").read_text() == (folder / "3.jsonl").read_text(), "threads change the records")
    result = told[0]
    check(count(result) == 20 and sum(result["pairs"]) == 10 and result["ended_by"] == "games", f"{result}")
    points = {"A": 1, "draw": 0.5, "B": 0}
    games = [json.loads(line) for line in (folder / "1.jsonl").read_text().splitlines()]
    check(abs(sum(points[g["winner"]] for g in games) / 20 - result["score"]) < 1e-9, "the score is that of the records")
    replayed = run(TRIGO, "replay", folder / "1.jsonl", text=True).stdout
    for i, (g, line) in enumerate(zip(games, replayed.splitlines())):
        r = json.loads(line)
        check([m["move"] for m in r["moves"]] == g["moves"], f"game {i}: replay")
        check((folder / f"texts1/{i + 1:05}.tgn").read_text() == r["tgn"], f"game {i}: its text")
        check(g["id"] == f"3-{i + 1}" and g["A"] == ("white" if i % 2 else "black"), f"game {i}: {g['id']}")
        check(g["moves"][:g["opening"]] == games[i & ~1]["moves"][:g["opening"]], f"game {i}: the pair's opening")
        area = r["final"]["territory"]
        check(g["score"] == area["white"] - area["black"], f"game {i}: score")
        if g["end"] == "passes":
            by_rules = {"B": g["black"], "W": g["white"], "draw": "draw"}[r["final"]["winner"]]
            winner = {"A": "uniform:sims=80", "B": "random", "draw": "draw"}[g["winner"]]
            check(winner == by_rules, f"game {i}: winner {winner}, by the rules {by_rules}")
        else:
            lead = g["score"] if g["A"] == "white" else -g["score"]
            check(g["end"] == "decided" and g["winner"] == ("draw" if lead == 0 else "A" if lead > 0 else "B"), f"game {i}")
    check(len(games) == 20 and {"passes", "decided"} == {g["end"] for g in games}, "both ends occur")


def test_table(_):
    out = match("uniform:sims=40", "uniform:sims=40", "--games", 10, "--board", "3x3x2").stdout
    check("A: uniform:sims=40\nB: uniform:sims=40\n" in out, out)
    check("A                10 " in out and "50.0 %" in out and "0 to 2: 0 0 5 0 0\nElo +0.0, no interval" in out, out)
    out = match("uniform:sims=1000", "random", "--board", "3x3", "--games", 1000, "--sprt", "0,200", "--json").stdout
    result = json.loads(out)
    check(result["ended_by"] == "test" and result["sprt"]["accepted"] == 200 and count(result) < 400, out)
    check(result["elo"] is None or result["elo"] > 100, out)
    out = match("random", "uniform:sims=1000", "--board", "3x3", "--games", 1000, "--sprt", "-50,0,0.1,0.2").stdout
    check("-50 is accepted" in out, out)
    out = match("random", "random", "--games", 2, "--sprt", "0,5").stdout
    check("not decided" in out, out)


def test_networks(folder):
    names = (f"{MODELS}:sims=8,engine=native", f"{MODELS}:sims=0,temperature=1,engine=native")
    arguments = (*names, "--board", "3x3", "--games", 4, "--json")
    one, two = (match(*arguments, "--threads", threads) for threads in (1, 2))
    check(one.stdout == two.stdout and not one.stderr, "networks on one thread and on two")
    check(json.loads(one.stdout)["A"] == names[0], "names")

    import onnx
    spoiled = folder / "spoiled"
    shutil.copytree(MODELS, spoiled)
    head = onnx.load(spoiled / "value_head.onnx")
    last = next(t for t in head.graph.initializer if list(t.dims) == [1])
    last.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(last) * float("nan"), last.name))
    onnx.save(head, spoiled / "value_head.onnx")
    kept = folder / "kept.jsonl"
    kept.write_text("older\n")
    result = match("random", f"{spoiled}:sims=8", "--games", 4, "--records", kept, status=1)
    check("KVF_ERR_NAN: game 1: " in result.stderr, f"NaN: {result.stderr}")
    check(kept.read_text() == "older\n" and sorted(p.name for p in folder.iterdir() if "kept" in p.name) == ["kept.jsonl"],
          "a match that failed leaves no records")
    os.remove(spoiled / "policy_head.onnx")
    result = match("random", f"{spoiled}", status=1)
    check("spoiled: no complete set of models" in result.stderr, result.stderr)


def test_interruption(folder):
    lines = folder / "kept.jsonl"
    process = subprocess.Popen([TRIGO, "match", "uniform:sims=300", "random", "--games", "1000000", "--json", "--threads", "2",
                                "--records", lines], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while time.monotonic() < end and not any(p.stat().st_size for p in folder.glob("kept.jsonl.tmp.*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    check(process.returncode == 0, f"interrupted: {process.returncode}, {err}")
    result = json.loads(out)
    check(result["ended_by"] == "interrupted" and count(result) > 2, f"what was played counts: {out}")
    check(len(lines.read_text().splitlines()) == count(result), "and is recorded")


def test_progress(_):
    master, slave = pty.openpty()
    process = subprocess.Popen([TRIGO, "match", "random", "random", "--games", "10"], stdout=subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    check(process.wait(timeout=60) == 0, "progress: exit status")
    check("game 10 of 10: +" in os.read(master, 65536).decode(), "progress on a terminal")
    os.close(master)


def test_bad_ends(folder):
    for arguments, words in (([], "it takes two players"), (["random"], "it takes two players"),
                             (["a", "b", "c"], "'c' is one word too many"), (["random", "random:x=1"], "random has no options"),
                             (["random", "random", "--games", "3"], "--games cannot be '3'"),
                             (["random", "random", "--games", "0"], "--games cannot be '0'"),
                             (["random", "random", "--threads", "0"], "--threads cannot be '0'"),
                             (["random", "random", "--max-plies", "0"], "--max-plies cannot be"),
                             (["random", "random", "--sprt", "5,5"], "--sprt cannot be '5,5'"),
                             (["random", "random", "--sprt", "0,5,0.5,0.1"], "--sprt cannot be"),
                             (["random", "random", "--sprt", "0,5,0.1"], "--sprt cannot be"),
                             (["random", "random", "--sprt", "0"], "--sprt cannot be"),
                             (["random", "random", "--board", "5x"], "no shape of a board"),
                             (["random", "random", "--opening-plies", "600"], "600"),
                             (["random", f"{MODELS}:engine=warp"], "engine cannot be 'warp'"),
                             (["random", "random", "--what"], "try: trigo match --help")):
        result = match(*arguments, status=2)
        check(words in result.stderr and not result.stdout, f"{arguments}: {result.stderr}")
    check(match("--help").stdout.startswith("usage: trigo match A B"), "help")
    (folder / "file").touch()
    for arguments, words in ((["--records", "/no/such/file"], "/no/such"), (["--tgn", "/no/such/folder"], "/no/such"),
                             (["--tgn", str(folder / "file")], "/file")):
        result = match("random", "random", *arguments, status=1)
        check(words in result.stderr and not result.stdout, f"{arguments}: {result.stderr}")
    result = match("random", f"{MODELS}:sims=0", "--board", "9x9x9", "--opening-plies", 450, "--max-plies", 900, status=1)
    check("already the opening is too long for" in result.stderr, result.stderr)
    check_full_disk(TRIGO, "match", "random", "random", "--games", "2")


run_tests(globals(), sys.argv[1:])
