#!/usr/bin/env python3
"""test_play.py - trigo play over a pipe and on a terminal: games of people and of players."""

import fcntl
import os
import pty
import random
import re
import struct
import subprocess
import sys
import termios

from support import MODELS, TRIGO, check, check_full_disk, run, run_tests


def play(text, *arguments, status=0):
    result = run(TRIGO, "play", *arguments, input=text.encode() if isinstance(text, str) else text)
    check(result.returncode == status, f"{arguments}: exit status {result.returncode}: {result.stderr[:300]}")
    return result.stdout.decode(), result.stderr.decode()


def test_two_people(folder):
    saved = folder / "game.tgn"
    text = "a0\n0a\n\nz0\naa\npass\nPASS\n"
    out, words = play(text, "--board", "3x3", "--white", "human", "--save", str(saved))
    check(saved.read_text() == "[Board 3x3]\n\n1. a0 0a\n2. z0 aa\n3. Pass Pass\n; 0\n", saved.read_text())
    check("two passes: the game is over\narea: 2 black, 2 white, 5 neutral" in out and out.endswith("a draw\n"), out)
    check(not words and "\033" not in out, "nothing is wrong, and there are no colours in a pipe")
    check("z .  .  . \n0 X  . (X)\na .  O  . \n  a  0  z \n" in out, "the board, with the last move marked")

    out, words = play("a0\naa\n0a\nscore\n", "--board", "3x3", "--white", "human")
    check("2. Black 0a, takes 1: aa\n" in out and "taken so far: 0 black, 1 white\n" in out, "a stone is taken")
    check(out.endswith("area: 9 black, 0 white, 0 neutral; with prisoners Black 10, White 0\n"), out[-200:])

    out, words = play("00\nresign\nundo\nundo\nundo\na0\nquit\nb0\n", "--board", "3x3", "--white", "human")
    check("White resigned: Black wins\n" in out and words == "there is no move to take back\n", words)
    check("1. Black a0\n" in out and "b0" not in out, "after undo another move; nothing is read behind quit")


def test_wrong_commands(folder):
    rows = [("q0", "'q0' is no move on 5x5"), ("00\n00", "'00' is on a stone"), ("save", "one word, or save FILE"),
            ("b0 b0", "one word, or save FILE"), ("load", "one word, or save FILE"), ("load /no/such", "/no/such: No such file"),
            (f"load {folder}", str(folder)), ("save /no/such/file", "/no/such"),
            ("x" * 100000, "the line is too long"), ("\x00\x07", ""), ("b" * 3000, "is no move on 5x5")]
    for text, wanted in rows:
        out, words = play(text + "\nshow\n", "--white", "human")
        check(wanted in words if wanted else not words, f"{text[:40]!r}: {words[:200]!r}")
        check(out.count("taken so far") >= 2, f"{text[:40]!r}: it goes on")
    broken = folder / "broken.tgn"
    broken.write_text("[Board 5x5]\n\n1. 00 00\n")
    _, words = play(f"load {broken}\n", "--white", "human")
    check(f"{broken}: line 3, column 7: '00' is on a stone" in words, words)
    play("", "--load", str(broken), status=1)
    random.seed(4)
    for _ in range(10):
        play(bytes(random.randrange(256) for _ in range(3000)) + b"\n", "--white", "random")


def test_against_a_player(folder):
    saved, other = folder / "kept.tgn", folder / "other.tgn"
    out, _ = play(f"000\nhint\nsave {other}\nundo\n", "--white", "uniform:sims=50", "--save", str(saved), "--board", "3x3x3")
    check(re.search(r"^1\. White \w{3}  \(50 visits, even\)$", out, re.M), "the player answers")
    hints = re.search(r"^move +visits +prior +value\n((?:\w+ +\d+ +[\d.]+ % .*\n)+)", out, re.M)
    check(hints and hints.group(1).count("\n") == 8, "eight hints")
    visits = [int(line.split()[1]) for line in hints.group(1).splitlines()] if hints else []
    check(visits == sorted(visits, reverse=True), f"the most visited first: {visits}")
    check(re.match(r"\[Board 3x3x3\]\n\n1\. 000 \w{3}\n; ", other.read_text()), other.read_text())
    check(saved.read_text() == "[Board 3x3x3]\n\n; 0\n", "undo took two moves back, and the file follows")
    out, _ = play("pass\n", "--load", str(other), "--black", "human", "--white", "random", "--seed", "7")
    check("  layer a      layer 0      layer z\n" in out and "2. Black Pass" in out and "2. White " in out, "load goes on")


def test_players_alone(folder):
    saved = folder / "alone.tgn"
    arguments = ["--black", "uniform:sims=30,temperature=1", "--white", "random", "--board", "4x4", "--save", str(saved)]
    out, words = play("", *arguments)
    first = saved.read_text()
    check(out.rstrip().endswith(("wins", "a draw")) and not words, "a game to its end")
    check(play("", *arguments)[0] == out, "equal seeds give equal games")
    check(play("", *arguments[:-2], "--seed", "9")[0] != out, "another seed gives another game")
    out, _ = play("", "--load", str(saved), "--black", "random", "--white", "random")
    check("two passes" in out and saved.read_text() == first, "a game that is over")
    play("", "--black", f"{MODELS}:sims=4,temperature=1", "--white", f"{MODELS}:sims=0,temperature=1", "--board", "3x3")


def test_bad_ends(folder):
    for arguments, words in ((["--board", "5"], "no shape of a board"), (["--board", "28x5"], "axis X"),
                             (["--white", "uniform:sims=1"], "but not 1"), (["--white", f"{MODELS}:cpu=neon"], "cpu cannot be 'neon'"), (["extra"], "one word too many"),
                             (["--seed", "x"], "--seed cannot be 'x'"), (["--adviser", "human"], "--adviser cannot be"),
                             (["--board", "5x5", "--load", "x"], "--load brings its board"), (["--what"], "try: ")):
        out, told = play("", *arguments, status=2)
        check(words in told and not out, f"{arguments}: {told}")
    _, told = play("", "--white", "/no/folder", status=1)
    check("/no/folder: no complete set" in told, told)
    _, told = play("00\n", "--save", "/no/such/game.tgn", status=1)
    check("/no/such" in told, told)
    check(play("", "--help")[0].startswith("usage: trigo play"), "help")
    check_full_disk(TRIGO, "play", input=b"show\n" * 99)


def on_a_terminal(columns, environment, *arguments):
    """What is shown on a terminal of that width while a person plays one move and quits."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen([TRIGO, "play", *arguments], stdin=slave, stdout=slave, stderr=slave,
                               env={"TERM": "xterm", **environment})
    os.close(slave)
    os.write(master, b"000\nquit\n")
    shown = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the other side is closed
            break
        shown += piece
    os.close(master)
    check(process.wait(timeout=60) == 0, "exit status on a terminal")
    return shown.decode().replace("\r", "")


def test_terminals(_):
    wide = on_a_terminal(120, {}, "--board", "5x5x5", "--white", "human")
    check(re.search(r"layer a +layer b +layer 0 +layer y +layer z", wide), "five layers side by side")
    check("Black> " in wide and "White> " in wide and "\033[1;36;7mX\033[0m" in wide, "prompts and colours")
    narrow = on_a_terminal(40, {"NO_COLOR": "1"}, "--board", "5x5x5", "--white", "human")
    check(re.search(r"layer a +layer b *\n", narrow) and "\033" not in narrow, "two layers, no colours")
    check(max(len(line.rstrip()) for line in narrow.split("\n") if "layer" in line or re.match(r"[abz0y][ (]", line)) <= 40,
          "lines fit")
    check("\033" not in on_a_terminal(80, {"TERM": "dumb"}, "--board", "3x3x3", "--white", "human"), "a dumb terminal")


run_tests(globals(), sys.argv[1:])
