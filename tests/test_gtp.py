#!/usr/bin/env python3
"""test_gtp.py - trigo gtp as a controller meets it: the protocol's form, its commands, and what is sent
that is no command at all."""

import json
import random
import sys

from support import MODELS, TRIGO, check, check_full_disk, run, run_tests


def gtp(text, *arguments):
    return run(TRIGO, "gtp", *arguments, input=text.encode() if isinstance(text, str) else text)


def talk(text, *arguments, status=0):
    """The answers to what is sent, each without the empty line behind it."""
    result = gtp(text, *arguments)
    check(result.returncode == status, f"{arguments}: exit status {result.returncode}: {result.stderr[:300]}")
    out = result.stdout.decode("ascii")
    check(out == "" or out.endswith("\n\n"), f"the last answer ends with an empty line: {out[-80:]!r}")
    answers = out.split("\n\n")[:-1]
    for answer in answers:
        check(answer[:1] in "=?" and answer[:1], f"an answer begins with = or ?: {answer!r}")
        check(all(c == "\n" or " " <= c < "\x7f" for c in answer), f"an answer is text: {answer!r}")
    return answers


def converse(dialogue, *arguments):
    """Lines, and the answer to each; None: there is one that begins with =."""
    answers = talk("".join(line + "\n" for line, _ in dialogue), *arguments)
    wanted = [w for _, w in dialogue if w != ""]
    check(len(answers) == len(wanted), f"{len(answers)} answers to {len(wanted)} commands: {answers}")
    for (line, want), got in zip([d for d in dialogue if d[1] != ""], answers):
        good = got.startswith("=") if want is None else got.rstrip() == want
        check(good, f"{line!r}: {got!r}, want {want!r}")


def test_administration(_):
    converse([
        ("protocol_version", "= 2"), ("name", "= trigo"), ("known_command play", "= true"),
        ("known_command Play", "= false"), ("known_command loadsgf", "= false"), ("known_command", "? syntax error"),
        ("1 name", "=1 trigo"), ("0 foo", "?0 unknown command"), ("2147483647 name", "=2147483647 trigo"),
        ("2147483648 name", "? an id should be from 0 to 2147483647"),
        ("9" * 500 + " name", "? an id should be from 0 to 2147483647"),
        ("007 name", "=007 trigo"), ("12", "?12 unknown command"), ("12name", "? unknown command"),
        ("-1 name", "? unknown command"), ("NAME", "? unknown command"),
        ("", ""), ("   \t ", ""), ("# name", ""), ("name # protocol_version", "= trigo"), ("na\x07me\r", "= trigo"),
        ("5\tname", "=5 trigo"), ("  name", "= trigo"), ("name extra", "= trigo"),
        ("play" + " b" * 9, "? syntax error"), ("quit", "="), ("name", ""),
    ])
    listed = talk("list_commands\n")[0][2:].split("\n")
    check({"play", "genmove", "undo", "boardsize", "clear_board", "komi", "showboard"} <= set(listed), "list_commands")
    check(len(listed) == len(set(listed)), "no command is listed twice")
    known = talk("".join(f"known_command {c}\n" for c in listed))
    check(known == ["= true"] * len(listed), "what is listed is known")
    shown = gtp("", "--help").stdout.decode()
    check(all(f"\n  {c} " in shown for c in listed), "--help shows each command")
    check(talk("name") == ["= trigo"], "the last line needs no new line")
    check(talk("") == [], "nothing to say")


def test_boards(_):
    converse([
        ("boardsize 26", "? unacceptable size"), ("boardsize 0", "? unacceptable size"), ("boardsize", "? syntax error"),
        ("boardsize -5", "? syntax error"), ("boardsize 5 5", "? syntax error"), ("boardsize 4294967301", "? syntax error"),
        ("boardsize 25", "="), ("play b Z25", "="), ("play w z1", "="), ("play b J9", "="), ("play w h9", "="),
        ("trigo-moves", None),
        ("play b I5", "? syntax error"), ("play b A26", "? syntax error"), ("play b A0", "? syntax error"),
        ("play b AA1", "? syntax error"), ("play b A", "? syntax error"), ("play b 5", "? syntax error"),
        ("play b A01x", "? syntax error"), ("play x A1", "? syntax error"), ("play b", "? syntax error"),
        ("play b resign", "? syntax error"), ("play b Z25", "? illegal move"),
        ("boardsize 5", "="), ("play black a1", "="), ("play WHITE E5", "="), ("trigo-moves", "= aa zz"),
        ("play B pass", "="), ("play w PASS", "="), ("play b c3", "? illegal move"), ("genmove b", "? the game is over"),
        ("undo", "="), ("play w c3", "="), ("trigo-moves", "= aa zz Pass 00"), ("clear_board", "="),
        ("trigo-moves", "="), ("undo", "? cannot undo"),
    ])
    board = talk("boardsize 5\nplay b a1\nplay w b1\nshowboard\n")[-1]
    check(board == "= \n 5 .  .  .  .  . \n 4 .  .  .  .  . \n 3 .  .  .  .  . \n 2 .  .  .  .  . \n"
          " 1 X (O) .  .  . \n   A  B  C  D  E ", f"showboard: {board}")
    check(len(talk("boardsize 25\nshowboard\n")[-1].split("\n")) == 27, "a large board is drawn whole")


def test_rules(_):
    ko = ["b B3", "w B2", "b C4", "w C1", "b D3", "w D2", "b C2", "w C3"]
    converse([("boardsize 5", "=")] + [(f"play {m}", "=") for m in ko] + [
        ("play b C2", "? illegal move"), ("trigo-play b 0b", "? illegal move: '0b' is forbidden by ko"),
        ("play b E5", "="), ("play w E1", "="), ("play b C2", "="),
        ("boardsize 5", "="), ("play b E5", "="), ("play w A2", "="), ("play b E4", "="), ("play w B1", "="),
        ("play b A1", "? illegal move"), ("trigo-play b aa", "? illegal move: 'aa' is suicide"),
        # out of turn: a pass is put in, and goes with the move it was put in for
        ("clear_board", "="), ("play w C3", "="), ("trigo-moves", "= Pass 00"), ("undo", "="), ("trigo-moves", "="),
        ("undo", "? cannot undo"), ("play b C3", "="), ("play b C4", "="), ("play b C5", "="),
        ("trigo-moves", "= 00 Pass 0y Pass 0z"), ("undo", "="), ("undo", "="), ("trigo-moves", "= 00"),
        ("play w pass", "="), ("play w D4", "? illegal move"), ("play b pass", "="), ("undo", "="), ("play b D4", "="),
        ("trigo-moves", "= 00 Pass yy"), ("clear_board", "="), ("play w pass", "? illegal move"), ("trigo-moves", "="),
        # a failed move out of turn leaves no pass behind
        ("play b C3", "="), ("play b C3", "? illegal move"), ("trigo-moves", "= 00"),
        # reg_genmove plays nothing, also out of turn
        ("reg_genmove w", None), ("reg_genmove b", None), ("trigo-moves", "= 00"), ("genmove x", "? syntax error"),
        ("genmove", "? syntax error"),
    ], "uniform:sims=20")


def test_scores(_):
    converse([
        ("boardsize 5", "="), ("final_score", "= 0"), ("play b C3", "="), ("final_score", "= B+25"),
        ("komi 6.5", "="), ("final_score", "= B+18.5"), ("komi x", "? syntax error"), ("komi nan", "? syntax error"),
        ("komi", "? syntax error"), ("komi 25", "="), ("final_score", "= 0"), ("komi 30", "="), ("final_score", "= W+5"),
        ("komi 0", "="), ("trigo-play w Resign", "="), ("final_score", "= B+Resign"), ("genmove b", "? the game is over"),
        ("undo", "="), ("final_score", "= B+25"),
    ])
    told = gtp("komi 6.5\nkomi 0\n").stderr.decode()
    check(told.count("no komi") == 1 and "6.5" in told, f"komi is told of: {told}")
    # a prisoner counts: White's stone at A1 is taken, then Black owns all
    taken = talk("boardsize 3\nplay b a2\nplay w a1\nplay b b1\nfinal_score\n")
    check(taken[-1] == "= B+10", f"area and prisoners: {taken[-1]}")


def test_layers(_):
    converse([
        ("trigo-boardsize 3 3 3", "="), ("play b A1", "? cells of this board have no vertices: use the trigo- commands"),
        ("genmove b", "? cells of this board have no vertices: use the trigo- commands"), ("trigo-play b 000", "="),
        ("trigo-genmove w", None), ("undo", "="), ("trigo-moves", "= 000"), ("trigo-reg_genmove w", None),
        ("trigo-play w 00", "? syntax error: '00' is no move on 3x3x3: that is Pass, Resign or 3 characters, one of each [a0z] [a0z] [a0z]"),
        ("trigo-play w 000", "? illegal move: '000' is on a stone"), ("showboard", None), ("clear_board", "="),
        ("trigo-boardsize 2 1", "="), ("trigo-legal", "= 0 z"), ("play b B1", "="), ("trigo-moves", "= z"),
        ("trigo-boardsize 3 28", "? unacceptable size: axis Y of the board is 28, but must be 1 to 27"),
        ("trigo-boardsize 3", "? syntax error"), ("trigo-boardsize 3 3 3 3", "? syntax error"),
        ("trigo-boardsize 27 27 27", "="), ("showboard", None), ("trigo-legal", None), ("trigo-play b 000", "="),
        ("trigo-boardsize 27 2", "="), ("play b A1", "? cells of this board have no vertices: use the trigo- commands"),
        ("trigo-play b Pass", "="), ("trigo-play w Pass", "="), ("trigo-legal", "="),
    ], "uniform:sims=20")


def replay(shape, moves):
    line = json.dumps({"id": "g", "shape": shape, "moves": moves})
    result = run(TRIGO, "replay", "/dev/stdin", input=line.encode())
    check(result.returncode == 0, f"replay: {result.stderr}")
    return json.loads(result.stdout)


def test_games(_):
    """Two colours of one player, to two passes: legal by the rules, scored as they say, and again the same."""
    for player, shape, most in (("random", [5, 5, 1], 400), ("uniform:sims=60", [4, 4, 1], 300),
                                (f"{MODELS}:sims=0,temperature=1", [4, 3, 2], 40)):
        lines = f"trigo-boardsize {shape[0]} {shape[1]} {shape[2]}\n" + "trigo-genmove b\ntrigo-genmove w\n" * (most // 2)
        lines += "trigo-moves\nfinal_score\n"
        answers = talk(lines, player)
        moves = answers[-2][2:].split()
        generated = [a[2:] for a in answers[1:-2] if a.startswith("=")]
        check(moves == generated and len(moves) > 5, f"{player}: {moves}")
        game = replay(shape, moves)["final"]
        if game["ended"]:
            score = answers[-1][2:]
            winner = {"B": "B", "W": "W", "0": "draw"}[score[0]]
            check(game["winner"] == winner, f"{player}: {score}, by the rules {game['winner']}")
            check(all(a == "? the game is over" for a in answers[1 + len(moves):-2]), f"{player}: behind the end")
        check(game["ended"] or most == 40, f"{player}: the game ends")
        check(talk(lines, player) == answers, f"{player}: equal seeds give equal games")
        if player == "random":
            check(talk(lines, player, "--seed", "1") != answers, "another seed gives another game")


def test_clocks(_):
    converse([
        ("boardsize 9", "="), ("time_settings 0 1 50", "="), ("genmove b", None), ("time_left b 1 40", "="),
        ("genmove w", None), ("genmove b", None), ("time_left w 0 0", "="), ("genmove w", None),
        ("time_settings 1 0 0", "="), ("genmove b", None), ("time_settings 1 x 0", "? syntax error"),
        ("time_settings 1", "? syntax error"), ("time_left x 1 1", "? syntax error"), ("time_left b 1", "? syntax error"),
    ], "uniform:sims=1000000000")


def test_hostile(_):
    answers = talk(b"x" * 1000000 + b"\nname\n")
    check(answers == ["? the line is too long", "= trigo"], f"a long line: {str(answers)[:100]}")
    check(talk(b"#" + b"x" * 3000 + b"\nname\n" + b"y" * 5000) == ["= trigo", "? the line is too long"], "long at the end")
    check(talk(b"na\x00me\n\x00\n") == ["= trigo"], "zero bytes are control characters")
    random.seed(3)
    for _ in range(20):
        junk = bytes(random.randrange(256) for _ in range(4000))
        check(talk(junk + b"\nname\n")[-1] == "= trigo", "alive behind junk")
    names = ["play", "genmove", "boardsize", "trigo-play", "trigo-boardsize", "undo", "showboard", "final_score",
             "clear_board", "komi", "time_left", "trigo-legal", "7"]
    words = ["b", "w", "A1", "C3", "pass", "3", "-1", "1e9", "99999999999999999999", "00", "000", "Pass", "Resign", "nan"]
    text = "boardsize 4\n"
    for _ in range(2000):
        text += " ".join([random.choice(names)] + random.choices(words, k=random.randrange(4))) + "\n"
    check(len(talk(text, "random")) == 2001 - sum(not l for l in text.splitlines()), "an answer for every command")
    check_full_disk(TRIGO, "gtp", input=b"name\n" * 10)


def test_usage(_):
    for arguments, status, words in ((["--what"], 2, "try: trigo gtp --help"), (["random", "random"], 2, "one word too many"),
                                     (["--seed", "x"], 2, "--seed cannot be 'x'"), (["uniform:sims=x"], 2, "sims should be"),
                                     (["/no/folder"], 1, "/no/folder: no complete set")):
        result = gtp("name\n", *arguments)
        check(result.returncode == status and words in result.stderr.decode(), f"{arguments}: {result}")
        check(not result.stdout, f"{arguments}: wrote to stdout")


run_tests(globals(), sys.argv[1:])
