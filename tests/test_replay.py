#!/usr/bin/env python3
"""test_replay.py - the program trigo: the reference games come out as they are, and what is wrong is
said with its place."""

import json
import os
import random
import sys

from support import ROOT, TRIGO, check, check_full_disk, run, run_tests

GAMES = ROOT / "tests/data/trigo/games.jsonl"


def trigo(*arguments):
    return run(TRIGO, *arguments)


def replay_lines(folder, content):
    path = os.path.join(folder, "in.jsonl")
    with open(path, "wb") as file:
        file.write(content)
    return trigo("replay", path), path


def test_games_come_out_identical(folder):
    want = [json.loads(line) for line in open(GAMES)]
    check(len(want) == 25, "25 reference games")
    plain = [{"id": g["id"], "shape": g["shape"], "moves": [m["move"] for m in g["moves"]]} for g in want]
    sources = {"records": open(GAMES, "rb").read(),
               "plain strings": "\n\n".join(json.dumps(g) for g in plain).encode()}
    for name, content in sources.items():
        result, _ = replay_lines(folder, content)
        check(result.returncode == 0 and not result.stderr, f"{name}: {result.stderr}")
        got = [json.loads(line) for line in result.stdout.splitlines()]
        check(len(got) == len(want), f"{name}: {len(got)} games")
        for w, g in zip(want, got):
            for key in sorted(w.keys() | g.keys()):
                check(w.get(key) == g.get(key), f"{name}: {w['id']}: {key} differs")


def test_a_resignation(folder):
    content = b'{"id":"\\u00e9\\"","shape":[5,5,1],"moves":["00","b0","Resign"],"unknown":{"a":[]}}'
    result, _ = replay_lines(folder, content)
    check(result.returncode == 0, f"resignation: {result.stderr}")
    game = json.loads(result.stdout)
    last = game["moves"][-1]
    check(game["id"] == "\u00e9\"", "id")
    expected = {"move": "Resign", "index": -1, "xyz": None, "active": False, "captured": [], "player": "B",
                "to_move": "W", "pass_count": 0, "single_capture_memory": -1}
    for key, value in expected.items():
        check(last[key] == value, f"resignation: {key} is {last[key]}")
    check(game["final"]["winner"] == "W" and game["final"]["ended"], "resignation: winner")
    check("Pass" not in game["prompts"][-1]["candidates"], "no pass behind the end")
    check(game["tgn"] == "[Board 5x5]\n\n1. 00 b0\n2. Resign\n; 0\n", game["tgn"])


# A line, and what the error says behind "FILE: line 3: ".
WRONG = [
    (b"{", "column 2: "),
    (b'{"id":"a","id":"b","shape":[1,1,1],"moves":[]}', "column 14: duplicate object key"),
    (b'{"id":"a","shape":[5,5,1],"moves":[]} 1', "column 39: end of file expected"),
    (b"[]", "column 1: the line should be an object"),
    (b"\xff", "column 1: "),
    (b"\x00", "column "),
    (b'{"id":"\x1b[2J"}', "column "),
    (b"[" * 100000, "column "),
    (b'{"shape":[5,5,1],"moves":[]}', "'id' should be a string"),
    (b'{"id":1,"shape":[5,5,1],"moves":[]}', "'id' should be a string"),
    (b'{"id":"a","moves":[]}', "'shape' should be three integers [X,Y,Z]"),
    (b'{"id":"a","shape":[5,5],"moves":[]}', "'shape' should be three integers [X,Y,Z]"),
    (b'{"id":"a","shape":[5,5,1.0],"moves":[]}', "'shape' should be three integers [X,Y,Z]"),
    (b'{"id":"a","shape":"5x5","moves":[]}', "'shape' should be three integers [X,Y,Z]"),
    (b'{"id":"a","shape":[5,0,1],"moves":[]}', "'shape': axis Y of the board is 0, but must be 1 to 27"),
    (b'{"id":"a","shape":[5,5,4294967297],"moves":[]}', "'shape': axis Z of the board is 4294967297"),
    (b'{"id":"a","shape":[99999999999999999999,5,1],"moves":[]}', "column 39: too big integer"),
    (b'{"id":"a","shape":[5,5,1]}', "'moves' should be an array of moves"),
    (b'{"id":"a","shape":[5,5,1],"moves":{}}', "'moves' should be an array of moves"),
    (b'{"id":"a","shape":[5,5,1],"moves":["00",7]}', "move 2: should be a string, or an object"),
    (b'{"id":"a","shape":[5,5,1],"moves":[{"mov":"00"}]}', "move 1: should be a string, or an object"),
    (b'{"id":"a","shape":[5,5,1],"moves":["00","q0"]}', "move 2: 'q0' is no move on 5x5: "),
    (b'{"id":"a","shape":[5,5,1],"moves":["00","00"]}', "move 2: '00' is on a stone"),
    (b'{"id":"a","shape":[1,1,1],"moves":[""]}', "move 1: '' is suicide"),
    (b'{"id":"a","shape":[2,1,1],"moves":["0","z","0"]}', "move 3: '0' is forbidden by ko"),
    (b'{"id":"a","shape":[5,5,1],"moves":["Pass","Pass","00"]}', "move 3: '00' comes after the end of the game"),
]


def test_wrong_lines(folder):
    good = b'{"id":"good","shape":[2,1,1],"moves":["0"]}\n'
    for line, words in WRONG:
        result, path = replay_lines(folder, good + b"\n" + line + b"\n" + good)
        told = result.stderr.decode()
        check(result.returncode == 1, f"{line[:60]}: exit status {result.returncode}")
        check(told.startswith(f"trigo replay: {path}: line 3: {words}"), f"{line[:60]}: {told}")
        check(all(c == "\n" or 32 <= ord(c) < 127 for c in told), f"{line[:60]}: {told!r}")
        check(len(result.stdout.splitlines()) == 1, f"{line[:60]}: the game before it is written")


def test_damaged_lines(folder):
    random.seed(7)
    line = json.dumps({"id": "a", "shape": [3, 3, 1], "moves": ["a0", "00", {"move": "z0"}, "Pass"]}).encode()
    for cut in range(1, len(line)):
        result, _ = replay_lines(folder, line[:cut])
        check(result.returncode == 1 and b": line 1: column " in result.stderr, f"cut at {cut}: {result.stderr}")
    refused = 0
    for _ in range(200):
        broken = bytearray(line)
        for _ in range(random.randint(1, 3)):
            broken[random.randrange(len(line))] = random.choice(b'{}[]",:0a1z\\ \x00\xff' + bytes(range(256)))
        result, _ = replay_lines(folder, bytes(broken))
        check(result.returncode in (0, 1), f"{bytes(broken)}: exit status {result.returncode}")
        check(result.returncode == 0 or b": line " in result.stderr, f"{bytes(broken)}: {result.stderr}")
        refused += result.returncode
    check(refused > 100, f"only {refused} damaged lines were refused")


def test_usage(folder):
    check(trigo().returncode == 2, "no command")
    for arguments in (["nothing"], ["replay"], ["replay", "a", "b"], ["replay", "--what"], ["bench"],
                      ["bench", "--rules", "--seconds", "0"], ["bench", "--rules", "--seconds", "1x"],
                      ["bench", "--rules", "more"], ["bench", "--rules", "--rules"]):
        result = trigo(*arguments)
        check(result.returncode == 2 and result.stderr and not result.stdout, f"usage of {arguments}")
    for arguments in (["--help"], ["replay", "--help"], ["bench", "--help"]):
        result = trigo(*arguments)
        check(result.returncode == 0 and b"usage: " in result.stdout and not result.stderr, f"{arguments}")
    result = trigo("replay", os.path.join(folder, "absent"))
    check(result.returncode == 1 and b"absent: No such file" in result.stderr, "absent file")
    check(trigo("replay", folder).returncode == 1, "a folder is no file")
    check_full_disk(TRIGO, "replay", GAMES)


def test_bench(_):
    result = trigo("bench", "--rules", "--json", "--seconds", "0.001")
    rows = json.loads(result.stdout)["rows"]
    check(result.returncode == 0 and len(rows) >= 5, "bench --json")
    lines = {row["shape"]: (row["perft_depth"], row["perft"]) for row in rows}
    # 361 drops before 360 drops or a pass, and a pass before any of 362
    check(lines["5x5"] == (4, 361041) and lines["19x19"] == (2, 361 * 361 + 362), f"perft {lines}")
    table = trigo("bench", "--rules", "--seconds", "0.001").stdout.decode().splitlines()
    check(len(table) == len(rows) + 2, "the table has a line for each row")
    check([title.strip() for title in table[0].strip("|").split("|")] == list(rows[0]), "the table has the JSON's columns")
    check(len({len(line) for line in table}) == 1, "the table's lines are equally long")


run_tests(globals(), sys.argv[1:])
