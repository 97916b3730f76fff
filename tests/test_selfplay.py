#!/usr/bin/env python3
"""test_selfplay.py - trigo selfplay and collect: the same games whatever the threads, shards and
interruptions; files that are whole or not there; arrays that numpy reads; and what is refused."""

import fcntl
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import support
from support import MODELS, TRIGO, check, check_full_disk, run

try:
    import numpy
except ImportError:
    print("numpy is not installed; scripts/setup.sh test installs it")
    sys.exit(77)

UNIFORM = ["--models", "uniform", "--games", "60", "--games-per-file", "8", "--shape", "5x5,3x3x3,4x4", "--seed", "7"]


def trigo(*arguments, **options):
    return run(TRIGO, *arguments, text=True, **options)


def selfplay(out, *arguments, **options):
    return trigo("selfplay", "--out", out, *arguments, **options)


def must(result, what):
    check(result.returncode == 0, f"{what}: exit status {result.returncode}: {result.stderr}")


def refused(result, status, words, what):
    check(result.returncode == status, f"{what}: exit status {result.returncode}, not {status}: {result.stderr}")
    check(words in result.stderr, f"{what}: no '{words}' in: {result.stderr}")
    check(not result.stdout, f"{what}: wrote to stdout")


def contents(folder):
    """Every file below a folder, by its path from there."""
    found = {}
    for at, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(at, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, folder)] = file.read()
    return found


def same(a, b, what):
    a, b = contents(a), contents(b)
    differ = sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))
    check(a and not differ, f"{what}: these files differ: {differ[:5]}")


def lines(folder):
    games = []
    for name in sorted(os.listdir(folder)):
        if name.endswith(".jsonl"):
            with open(os.path.join(folder, name)) as file:
                games += [json.loads(line) for line in file]
    return games


# ---- the same games ----


def threads_and_shards(tmp):
    whole = os.path.join(tmp, "whole")
    must(selfplay(whole, *UNIFORM, "--threads", "1"), "60 games")
    for name, options in {"two": ["--threads", "2"], "single": ["--threads", "3", "--at-once", "1"]}.items():
        out = os.path.join(tmp, name)
        must(selfplay(out, *UNIFORM, *options), name)
        same(whole, out, name)
    one_folder, parts = os.path.join(tmp, "shards"), []
    for i in range(3):
        must(selfplay(one_folder, *UNIFORM, "--shard", f"{i}/3"), f"shard {i}/3")
        parts.append(os.path.join(tmp, f"part{i}"))
        must(selfplay(parts[-1], *UNIFORM, "--shard", f"{i}/3"), f"shard {i}/3 by itself")
    same(whole, one_folder, "three shards in one folder")
    result = trigo("collect", *parts, "-o", os.path.join(tmp, "collected/"))
    must(result, "collect")
    check("60 of 60" in result.stdout, f"collect: {result.stdout}")
    same(whole, os.path.join(tmp, "collected"), "collected shards")
    other = os.path.join(tmp, "other seed")
    must(selfplay(other, *UNIFORM[:-1], "8"), "another seed")
    moves = [[[m["move"] for m in g["moves"]] for g in lines(f)] for f in (whole, other)]
    check(not any(m in moves[1] for m in moves[0]), "another seed gives a game again")
    check({tuple(g["shape"]) for g in lines(whole)} == {(5, 5, 1), (3, 3, 3), (4, 4, 1)}, "all shapes are played")
    return whole


def with_a_model(tmp):
    """The network's answers do not depend on what they are asked together with."""
    options = ["--models", MODELS, "--games", "6", "--games-per-file", "4", "--shape", "3x3,2x2x2", "--sims", "12"]
    folders = []
    for i, how in enumerate((["--threads", "1"], ["--threads", "2", "--at-once", "2"], ["--threads", "1", "--at-once", "1"],
                             ["--threads", "1", "--cache-tokens", "4200"])):
        folders.append(os.path.join(tmp, f"model{i}"))
        must(selfplay(folders[-1], *options, *how), f"a model, {how}")
        same(folders[0], folders[-1], f"a model, {how}")
    must(trigo("collect", folders[0]), "collect a model's games")
    with open(os.path.join(folders[0], "generation.json")) as file:
        model = json.load(file)["model"]
    listed = subprocess.run(["sha256sum", *[f["name"] for f in model["files"]]], cwd=MODELS, capture_output=True)
    whole = subprocess.run(["sha256sum"], input=listed.stdout, capture_output=True, text=False).stdout[:64].decode()
    check(model["sha256"] == whole, f"the model's hash is {model['sha256']}, sha256sum says {whole}")
    for g in lines(folders[0]):
        check(g["model"] == whole, "a game names its model")
        check(all(abs(m["value"]) <= 1 for m in g["moves"]), "a value is the network's")
    check(any(m["value"] for g in lines(folders[0]) for m in g["moves"]), "all values are 0")


def ends(tmp):
    out = os.path.join(tmp, "short")
    must(selfplay(out, "--models", "uniform", "--games", "5", "--max-plies", "5"), "five plies")
    check(all(g["end"] == "plies" and len(g["moves"]) == 5 for g in lines(out)), "games end at --max-plies")
    # Two visits for a move are few, but a board of this size is not decided before 2048 tokens.
    out = os.path.join(tmp, "long")
    must(selfplay(out, "--models", MODELS, "--games", "1", "--shape", "19x19", "--sims", "2"), "a long game")
    game = lines(out)[0]
    with open(os.path.join(out, "tgn/00000000.tgn")) as file:
        text = file.read()
    check(game["end"] == "context" and 2000 < len(text) < 2060, f"{game['end']}, {len(text)} characters")
    check(text.endswith("; %+d\n" % game["score"]), "the score line of a long game")
    must(trigo("collect", out), "collect a long game")


# ---- interruptions ----


def look(folder):
    """Every file that has its name is whole. Returns which games are finished."""
    finished = set()
    for path, content in contents(folder).items():
        name = os.path.basename(path)
        if ".tmp." in name or name == "lock" or os.path.dirname(path).endswith(".playing/tgn"):
            continue
        if path.endswith(".json") and "playing" in path:
            finished.add(json.loads(content)["index"])
        elif path.endswith(".jsonl"):
            finished |= {json.loads(line)["index"] for line in content.splitlines()}
        elif path.endswith(".npz"):
            with numpy.load(os.path.join(folder, path)) as arrays:
                check(all(len(arrays[k]) for k in arrays.files), f"{path} is whole")
        elif path.endswith(".tgn"):
            check(content.startswith(b"[Board ") and b"\n; " in content, f"{path} is whole")
        else:
            check(path == "generation.json" and json.loads(content), f"{path} is unknown")
    return finished


def killed(tmp):
    seed = random.randrange(1 << 30)
    rng = random.Random(seed)
    options = [*UNIFORM, "--sims", "800", "--threads", "1"]
    whole = os.path.join(tmp, "not killed")
    must(selfplay(whole, *options), "a run that nobody kills")
    for attempt in range(3):
        out, before, kills = os.path.join(tmp, f"killed{attempt}"), set(), 0
        for _ in range(400):
            command = [TRIGO, "selfplay", "--out", out, *options, "--at-once", "4"]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            try:
                process.wait(rng.choice((0.01, 0.05, 0.15)) * (1 + rng.random()))
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
            words = process.communicate()[1]
            check(process.returncode in (0, -signal.SIGKILL), f"seed {seed}: after a kill: {words}")
            now = look(out) if os.path.isdir(out) else set()
            check(before <= now, f"seed {seed}: finished games have gone: {before - now}")
            before = now
            if process.returncode != -signal.SIGKILL:
                break
        check(kills > 1, f"seed {seed}: it was killed {kills} times")
        must(selfplay(out, *options), "what was left after kills")
        same(whole, out, f"seed {seed}: after {kills} kills")


def full_disk(tmp, whole):
    """A file may not grow beyond a limit: for a game's file, and for the file of all arrays."""
    biggest = max(len(c) for n, c in contents(whole).items() if n.endswith(".jsonl"))
    for limit, of in ((1000, ".json"), (biggest // 2, ".jsonl")):
        def limited():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        out = os.path.join(tmp, f"full{limit}")
        result = selfplay(out, *UNIFORM, preexec_fn=limited)
        refused(result, 1, f"{of}: cannot write it: File too large", f"files of {limit} bytes")
        check(look(out) or of == ".json", "games are finished on a full disk")
        must(selfplay(out, *UNIFORM), "room again")
        same(whole, out, "after a full disk")
    check_full_disk(TRIGO, "collect", whole)


def killed_collecting(tmp, whole):
    """What a collection leaves that is killed goes with the next one; what another process holds stays."""
    home = os.path.join(tmp, "collecting")
    out = os.path.join(home, "games")
    os.mkdir(home)

    def limited():  # the signal of a file that grows beyond its limit kills it in the middle
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
    result = trigo("collect", whole, "-o", out, preexec_fn=limited)
    check(result.returncode == -signal.SIGXFSZ, f"a collection that is killed: {result.returncode} {result.stderr}")
    left = os.listdir(home)
    check(len(left) == 1 and left[0].startswith("games.tmp."), f"it leaves its stage: {left}")
    kept = ["games.tmp.1", "games.tmp.", "games.tmp.1x", "games.tmp.2", "other.tmp.3"]
    held, *_, link, _ = paths = [os.path.join(home, name) for name in kept]
    for path in paths:
        os.symlink(whole, path) if path == link else os.mkdir(path)
    lock = os.open(held, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    must(trigo("collect", whole, "-o", out), "collect once more")
    same(whole, out, "a collection after one that was killed")
    check(sorted(os.listdir(home)) == sorted(["games", *kept]), f"what stays: {os.listdir(home)}")
    os.close(lock)
    shutil.rmtree(out)
    result = run(TRIGO, "collect", whole, "-o", "games", cwd=home, text=True)
    must(result, "collect into a folder that has gone")
    check(sorted(os.listdir(home)) == sorted(["games", *kept[1:]]), f"nobody holds it any more: {os.listdir(home)}")


def network_folder(tmp, whole):
    """The lock was held while its folder was removed. On NFS and sshfs an open file stays in its folder under another
    name, so every file of games ended with "Directory not empty"."""
    module = os.path.join(support.BUILD, "tests/libmodule_keep_open.so")
    keep = {"env": {**os.environ, "LD_PRELOAD": module, "ASAN_OPTIONS": "verify_asan_link_order=0"}}
    out = os.path.join(tmp, "network")
    must(selfplay(out, *UNIFORM, **keep), "a folder that keeps open files")
    same(whole, out, "a folder that keeps open files")
    os.mkdir(os.path.join(out, "00000008.playing"))
    must(selfplay(out, *UNIFORM, **keep), "a folder that is left over")
    same(whole, out, "a folder that is left over")
    check(not [n for n in os.listdir(out) if n.endswith(".playing")], "a folder is left over")


# ---- arrays ----


def arrays(whole):
    ends_of = ["passes", "decided", "plies", "context"]
    for name in sorted(n for n in os.listdir(whole) if n.endswith(".npz")):
        with open(os.path.join(whole, name.replace(".npz", ".jsonl"))) as file:
            games = [json.loads(line) for line in file]
        with numpy.load(os.path.join(whole, name), allow_pickle=False) as loaded:
            a = {k: loaded[k] for k in loaded.files}
        types = {"game": "<i8", "shape": "|u1", "score": "<i4", "outcome": "<f4", "end": "|u1", "token_start": "<i8",
                 "tokens": "|u1", "position_start": "<i8", "prompt_length": "<i4", "visits": "<u4", "root_value": "<f4",
                 "network_value": "<f4", "played": "<i4", "candidate_start": "<i8", "candidate_tokens": "|u1",
                 "candidate_visits": "<u4"}
        check({k: v.dtype.str for k, v in a.items()} == types, f"types: { {k: v.dtype.str for k, v in a.items()} }")
        check(len(a["game"]) == len(games) and a["shape"].shape == (len(games), 3), "games")
        for i, game in enumerate(games):
            check(a["game"][i] == game["index"] and list(a["shape"][i]) == game["shape"], "index and shape")
            check(a["score"][i] == game["score"] and ends_of[a["end"][i]] == game["end"], "score and end")
            s = game["score"]
            want = 0 if s == 0 else (1 + numpy.log(abs(s))) * (1 if s > 0 else -1)
            check(abs(a["outcome"][i] - want) < 1e-6, "outcome")
            tokens = a["tokens"][a["token_start"][i]:a["token_start"][i + 1]]
            with open(os.path.join(whole, f"tgn/{game['index']:08d}.tgn"), "rb") as file:
                text = file.read()
            check(tokens[0] == 1 and tokens[-1] == 2 and bytes(tokens[1:-1]) == text, "tokens are the text's")
            first, last = a["position_start"][i:i + 2]
            check(last - first == len(game["moves"]), "positions")
            for ply, move in enumerate(game["moves"]):
                p = first + ply
                prompt, rest = bytes(tokens[1:a["prompt_length"][p]]), bytes(tokens[a["prompt_length"][p]:-1])
                check(prompt.endswith(b" ") and rest.startswith(move["move"].encode()), "a prompt and what follows it")
                check(a["visits"][p] == move["N"] and abs(a["root_value"][p] - move["W"] / move["N"]) < 1e-6, "root")
                check(abs(a["network_value"][p] - move["value"]) < 1e-6, "network_value")
                c0, c1 = a["candidate_start"][p:p + 2]
                names = [bytes(t).rstrip(b"\0").decode() for t in a["candidate_tokens"][c0:c1]]
                visits = a["candidate_visits"][c0:c1]
                check(names[a["played"][p]] == move["move"] and names[-1] == "Pass", "candidates")
                check({n: v for n, v in zip(names, visits) if v} == move["visits"], "candidate_visits")
                check(sum(visits) == move["N"] - 1, "visits add up")


# ---- refused ----


def other_options(tmp, whole):
    before = contents(whole)
    at = {option: i + 1 for i, option in enumerate(UNIFORM)}
    for option, value, words in (("--games", "61", "games is 60 in"), ("--games-per-file", "9", "games_per_file is 8"),
                                 ("--shape", "5x5", 'options.shapes is ["5x5","3x3x3","4x4"]'), ("--seed", "8", "seed is 7"),
                                 ("--models", MODELS, 'model.sha256 is "uniform"')):
        changed = list(UNIFORM)
        changed[at[option]] = value
        refused(selfplay(whole, *changed), 1, words, f"{option} {value}")
    for option, value, words in (("--sims", "51", "options.sims is 50 in"), ("--c-puct", "1.5", "options.c_puct is 1.0"),
                                 ("--noise-alpha", "1", 'options.noise_alpha is "by board"'),
                                 ("--noise-share", "0", "options.noise_share is 0.25"),
                                 ("--temperature", "0", "options.temperature is 1.0"),
                                 ("--temperature-plies", "3", 'options.temperature_plies is "by board"'),
                                 ("--max-plies", "400", "options.max_plies is 500")):
        refused(selfplay(whole, *UNIFORM, option, value), 1, words, f"{option} {value}")
    check(contents(whole) == before, "a refused run changed the folder")
    result = selfplay(whole, *UNIFORM)
    must(result, "a generation that is finished")
    check("60 of 60 games" in result.stderr and contents(whole) == before, f"nothing to do: {result.stderr}")


def wrong_usage(tmp):
    good = ["--models", "uniform", "--games", "1", "--out", os.path.join(tmp, "never")]
    for wrong in ([], good[:4], good[:2] + good[4:], good[2:], good + ["more"], good + ["--games", "0"], good + ["--shape", "5"],
                  good + ["--shape", "5x5,"], good + ["--shape", "0x5"], good + ["--shape", "28x5"], good + ["--sims", "1"],
                  good + ["--shard", "1/1"], good + ["--shard", "1"], good + ["--shard", "-1/2"], good + ["--temperature", "nan"],
                  good + ["--seed", "-1"], good + ["--threads", "0"], good + ["--at-once", "0"], good + ["--max-plies", "1e3"]):
        refused(trigo("selfplay", *wrong), 2, "", f"{wrong[-2:]}")
    refused(trigo("collect"), 2, "which DIR?", "collect of nothing")
    refused(trigo("selfplay", *good, "--noise-share", "2"), 2, "share", "a share of 2")
    refused(trigo("selfplay", *good, "--engine", "warp"), 2, "--engine cannot be 'warp'", "an engine that nobody knows")
    refused(trigo("selfplay", *good, "--precision", "f64"), 2, "--precision cannot be 'f64'", "a precision that nobody knows")
    refused(trigo("analyze", "--models", MODELS, "--cpu", "neon"), 2, "--cpu cannot be 'neon'", "kernels that nobody knows")
    refused(trigo("selfplay", *good[:-1], os.path.join(tmp, "no/such/folder")), 1, "no/such/folder", "no parent folder")
    refused(trigo("selfplay", "--models", tmp, *good[2:]), 1, "no complete set of models", "a folder without models")
    check(not os.path.exists(good[-1]), "wrong usage made a folder")


def hostile_files(tmp):
    """What lies in the folder may come from anywhere."""
    options = ["--models", "uniform", "--games", "4", "--games-per-file", "4", "--threads", "1"]
    clean = os.path.join(tmp, "clean")
    must(selfplay(clean, *options), "four games")
    line = json.dumps(lines(clean)[2]).encode()
    generation = contents(clean)["generation.json"]

    def case(name, files, words):
        out = os.path.join(tmp, "hostile " + name)
        os.makedirs(os.path.join(out, "tgn"))
        for path, content in files.items():
            os.makedirs(os.path.dirname(os.path.join(out, path)), exist_ok=True)
            if content is None:
                os.mkdir(os.path.join(out, path))
            else:
                with open(os.path.join(out, path), "wb") as file:
                    file.write(content)
        result = selfplay(out, *options)
        if words is None:
            must(result, name)
            same(clean, out, name)
        else:
            refused(result, 1, words, name)
            check(not any(".tmp." in p for p in contents(out)), f"{name}: a temporary file is left")

    for name, content in {"garbage": b"\x00\xff", "empty": b"", "no object": b"[]", "twice": b'{"games":1,"games":1}',
                          "nothing": b"{}", "deep": b"[" * 100000, "long": b" " * (1 << 21)}.items():
        case("generation " + name, {"generation.json": content}, "generation.json: ")
    for key, value in (("games", -1), ("games", "4"), ("games", 1e9), ("seed", None), ("model", 7), ("options", {}),
                       ("games_per_file", 0)):
        case(f"{key} {value}", {"generation.json": json.dumps({**json.loads(generation), key: value}).encode()}, "should be")
    case("generation folder", {"generation.json": None}, "generation.json: ")
    case("games file", {"00000000.playing": b""}, "is not a folder")
    case("jsonl folder", {"00000000.jsonl": None}, "is not a regular file")
    case("tgn folder", {"tgn/00000001.tgn": None}, "tgn/00000001.tgn: ")
    game = "00000000.playing/00000002.json"
    case("a finished game", {game: line, "00000000.playing/00000003.json.tmp.1.0": b"{", "00000000.playing/x/y": b""}, None)
    case("finished games", {f"00000000.playing/0000000{i}.json": json.dumps(g).encode() for i, g in enumerate(lines(clean))}, None)
    for name, content, words in (("cut", line[:-20], "column"), ("empty game", b"", "column"), ("other index", line.replace(b'"index": 2', b'"index": 3'), "'index' should be 2"),
                                 ("binary", b"\0" * 100, "column")):
        case(name, {game: content}, f"{game}: {words}")
    out = os.path.join(tmp, "locked")
    os.makedirs(os.path.join(out, "00000000.playing"))
    with open(os.path.join(out, "00000000.playing/lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = selfplay(out, *options)
        refused(result, 1, "another process is playing these games", "a lock")
        check("0 of 4 games" in result.stderr, f"what another process plays is not found: {result.stderr}")
    must(selfplay(out, *options), "a lock that nobody holds")
    same(clean, out, "a lock that nobody holds")


# ---- collect ----


def damaged(tmp, whole):
    def case(name, words, change):
        folder = os.path.join(tmp, "damaged " + name)
        shutil.copytree(whole, folder)
        more = change(folder) or []
        result = trigo("collect", folder, *more, "-o", folder + ".out")
        check(result.returncode == 3, f"{name}: exit status {result.returncode}: {result.stderr}")
        check(words in result.stderr, f"{name}: no '{words}' in: {result.stderr}")
        check(not os.path.exists(folder + ".out"), f"{name}: something was written")
        check(not [n for n in os.listdir(tmp) if ".tmp." in n], f"{name}: a temporary folder is left")
        shutil.rmtree(folder)

    def edit(change, at=10):
        """Change the JSON of game `at`."""
        def edited(folder):
            path = os.path.join(folder, f"{at // 8 * 8:08d}.jsonl")
            with open(path) as file:
                games = [json.loads(line) for line in file]
            change(games[at % 8])
            with open(path, "w") as file:
                file.writelines(json.dumps(g) + "\n" for g in games)
        return edited

    def setter(key, value):
        return edit(lambda g: g.update({key: value}))

    def move(key, value, ply=3):
        return edit(lambda g: g["moves"][ply].update({key: value}))

    def pass_never_visited(g):
        m = g["moves"][0]
        m["visits"].pop("Pass", None)
        m["move"] = "Pass"

    for name, words, change in (
            ("score", "game 10: 'score' should be", setter("score", 99)),
            ("end", "game 10: 'end' should be", setter("end", "context")),
            ("index", "game 10: 'index' should be 10", setter("index", 11)),
            ("model", "game 10: 'model' should be \"uniform\"", setter("model", "0" * 64)),
            ("options", "game 10: 'options' should be", setter("options", {})),
            ("shape", "game 10: 'shape' should be", setter("shape", [9, 9, 1])),
            ("moves", "game 10: 'moves' should be", setter("moves", 1)),
            ("cut moves", "the game should go on", edit(lambda g: g["moves"].pop())),
            ("illegal", "game 10: move 4: 'qq' is no move", move("move", "qq")),
            ("twice there", "game 10: move 4: ", edit(lambda g: g["moves"][3].update(move=g["moves"][0]["move"]))),
            ("never visited", "game 10: move 1: 'Pass' was played, but never visited", edit(pass_never_visited)),
            ("N", "game 10: move 4: ", move("N", 20)),
            ("N text", "game 10: move 4: 'N' should be", move("N", "50")),
            ("W", "game 10: move 4: 'W' should be a number", move("W", None)),
            ("visits", "game 10: move 4: 'visits' should be an object of legal moves", move("visits", {"00": 1, "no": 2})),
            ("resigned", "game 10: move 4: ", move("move", "Resign")),
    ):
        case(name, words, change)

    def path(folder, name):
        return os.path.join(folder, name)

    def write(folder, name, content):
        with open(path(folder, name), "wb") as file:
            file.write(content)

    case("no jsonl", "games 8 to 15 are missing", lambda f: os.remove(path(f, "00000008.jsonl")))
    case("no npz", "00000008.npz: ", lambda f: os.remove(path(f, "00000008.npz")))
    case("no text", "tgn/00000010.tgn: is not there", lambda f: os.remove(path(f, "tgn/00000010.tgn")))
    case("other text", "is not the text of game 10", lambda f: write(f, "tgn/00000010.tgn", b"[Board 5x5]\n\n; 0\n"))
    case("no zip", "00000008.npz: ", lambda f: write(f, "00000008.npz", b"PK\3\4 and so on"))
    case("other zip", "'game.npy' is not what its games give",
         lambda f: shutil.copy(path(f, "00000016.npz"), path(f, "00000008.npz")) and None)
    case("strange", "is no file of this generation", lambda f: write(f, "00000009.jsonl", b""))
    case("unfinished", "games 8 to 15 are not finished",
         lambda f: os.rename(path(f, "00000008.jsonl"), path(f, "00000008.playing")))
    case("twice", "games 0 to 7 are in ", lambda f: [whole])

    def drop_line(folder):
        with open(path(folder, "00000008.jsonl"), "rb") as file:
            content = file.read().splitlines(True)
        write(folder, "00000008.jsonl", b"".join(content[:-1]))

    def change_array(folder):
        with numpy.load(path(folder, "00000008.npz")) as loaded:
            arrays_of = {k: loaded[k] for k in loaded.files}
        arrays_of["candidate_visits"][5] += 1
        numpy.savez_compressed(path(folder, "00000008.npz"), **arrays_of)

    def same_arrays(folder):
        with numpy.load(path(folder, "00000008.npz")) as loaded:
            numpy.savez(path(folder, "00000008.npz"), **{k: loaded[k] for k in loaded.files})

    case("a line", "has 7 lines, but 8 games belong there", drop_line)
    case("array", "'candidate_visits.npy' is not what its games give", change_array)
    folder = os.path.join(tmp, "same arrays")
    shutil.copytree(whole, folder)
    same_arrays(folder)
    must(trigo("collect", folder), "arrays that are stored in another way")
    case("other generation", "seed is 7 in", lambda f: [os.path.join(tmp, "other seed")])
    refused(trigo("collect", whole, "-o", tmp), 1, "is there already", "collect onto a folder")
    refused(trigo("collect", os.path.join(tmp, "none")), 1, "none", "collect of no folder")


def main():
    with tempfile.TemporaryDirectory() as tmp:
        started = time.monotonic()
        whole = threads_and_shards(tmp)
        for what, test in (("arrays", lambda: arrays(whole)), ("model", lambda: with_a_model(tmp)),
                           ("ends", lambda: ends(tmp)), ("killed", lambda: killed(tmp)),
                           ("full disk", lambda: full_disk(tmp, whole)), ("network folder", lambda: network_folder(tmp, whole)),
                           ("killed collecting", lambda: killed_collecting(tmp, whole)),
                           ("other options", lambda: other_options(tmp, whole)),
                           ("wrong usage", lambda: wrong_usage(tmp)), ("hostile files", lambda: hostile_files(tmp)),
                           ("damaged", lambda: damaged(tmp, whole))):
            test()
            print(f"{time.monotonic() - started:6.1f} s  {what}", flush=True)
    print("all passed" if not support.failures else f"{support.failures} failed")
    return support.failures > 0


if __name__ == "__main__":
    sys.exit(main())
