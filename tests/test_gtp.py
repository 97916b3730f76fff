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
        ("known_command Play", "= false"), ("known_command kgs-chat", "= false"), ("known_command", "? syntax error"),
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


def test_handicap(_):
    """Black stones in a row, which no undo takes back; the points are those of the protocol's table."""
    converse([
        ("boardsize 9", "="), ("fixed_handicap 5", "= C3 G7 C7 G3 E5"), ("get_handicap", "= 5"), ("move_history", "="),
        ("trigo-moves", "= cc Pass xx Pass cx Pass xc Pass 00"), ("undo", "? cannot undo"), ("list_stones w", "="),
        ("fixed_handicap 2", "? board not empty"), ("place_free_handicap 2", "? board not empty"),
        ("set_free_handicap A1 A2", "? board not empty"), ("play w A1", "="), ("play b A2", "="),
        ("move_history", "= black A2\nwhite A1"), ("undo", "="), ("undo", "="), ("undo", "? cannot undo"),
        ("clear_board", "="), ("get_handicap", "= 0"), ("fixed_handicap 6", "= C3 G7 C7 G3 C5 G5"),
        ("clear_board", "="), ("fixed_handicap 7", "= C3 G7 C7 G3 E5 C5 G5"),
        ("clear_board", "="), ("fixed_handicap 8", "= C3 G7 C7 G3 C5 G5 E3 E7"),
        ("clear_board", "="), ("fixed_handicap 9", "= C3 G7 C7 G3 E5 C5 G5 E3 E7"),
        ("clear_board", "="), ("fixed_handicap 1", "? invalid number of stones"), ("fixed_handicap x", "? syntax error"),
        ("fixed_handicap 10", "? invalid number of stones"), ("place_free_handicap 40", "= C3 G7 C7 G3 E5 C5 G5 E3 E7"),
        ("boardsize 8", "="), ("fixed_handicap 5", "? invalid number of stones"), ("place_free_handicap 5", "= C3 F6 C6 F3"),
        ("boardsize 13", "="), ("fixed_handicap 2", "= D4 K10"), ("boardsize 5", "="),
        ("fixed_handicap 2", "? invalid number of stones"), ("place_free_handicap 2", "? invalid number of stones"),
        ("set_free_handicap C3", "? syntax error"), ("set_free_handicap C3 F6", "? syntax error"),
        ("set_free_handicap C3 C3", "? bad vertex list"), ("set_free_handicap C3 pass", "? bad vertex list"),
        ("list_stones b", "="), ("set_free_handicap " + " ".join(f"{c}{n}" for c in "ABCD" for n in range(1, 6)), "="),
        ("get_handicap", "= 20"), ("genmove w", None), ("trigo-boardsize 3 3 3", "="),
        ("fixed_handicap 2", "? cells of this board have no vertices: use the trigo- commands"),
        ("set_free_handicap A1 A2", "? cells of this board have no vertices: use the trigo- commands"),
    ], "uniform:sims=20")


def test_position(_):
    """What graphical programs ask for, since GNU Go answers it: kigo draws nothing without list_stones."""
    converse([
        ("boardsize 3", "="), ("query_boardsize", "= 3"), ("get_komi", "= 0"), ("komi 2.5", "="), ("get_komi", "= 2.5"),
        ("play b a2", "="), ("play w a1", "="), ("play b b1", "="), ("captures b", "= 1"), ("captures white", "= 0"),
        ("captures", "? syntax error"), ("list_stones black", "= A2 B1"), ("list_stones w", "="), ("list_stones", "? syntax error"),
        ("all_legal w", "= A3 B2 B3 C1 C2 C3"), ("all_legal b", "= A1 A3 B2 B3 C1 C2 C3"), ("all_legal", "? syntax error"),
        ("trigo-moves", "= a0 aa 0a"), ("play b b2", "="), ("move_history", "= black B2\nblack B1\nwhite A1\nblack A2"),
        ("final_status_list alive", None), ("final_status_list dead", "="), ("final_status_list seki", "="),
        ("final_status_list dame", "? syntax error"), ("final_status_list", "? syntax error"), ("estimate_score", "= B+7.5"),
        ("play w pass", "="), ("all_legal w", "? out of turn behind a pass: putting a second one in would end the game"),
        ("top_moves_white", "? out of turn behind a pass: putting a second one in would end the game"),
        ("play b pass", "="), ("all_legal w", "? the game is over"), ("top_moves_black", "? the game is over"),
        ("boardsize 5", "="), ("trigo-boardsize 3 4", "="), ("query_boardsize", "? this board is not square"), ("list_stones b", "="),
        ("trigo-boardsize 3 3 3", "="), ("query_boardsize", "? this board is not square"), ("captures b", "= 0"),
    ] + [(c, "? cells of this board have no vertices: use the trigo- commands") for c in
         ("list_stones b", "all_legal b", "move_history", "final_status_list alive", "top_moves_black")], "uniform:sims=20")
    groups = talk("boardsize 5\nplay b a1\nplay b a2\nplay b c3\nplay w e5\nfinal_status_list alive\n")[-1]
    check(sorted(sorted(g.split()) for g in groups[2:].split("\n")) == [["A1", "A2"], ["C3"], ["E5"]], f"groups: {groups}")
    for player in ("uniform:sims=50", f"{MODELS}:sims=50", f"{MODELS}:sims=0", "random"):
        best, moves = talk("boardsize 5\nplay b c3\ntop_moves_white\ntrigo-moves\n", player)[-2:]
        words = best[2:].split()
        cells, shares = words[::2], [float(w) for w in words[1::2]]
        check(moves == "= 00" and 0 < len(cells) <= 10 and len(set(cells)) == len(cells), f"{player}: {best}")
        check(shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 100.1, f"{player}: {best}")
        if player != "random" and "sims=0" in player:
            check(talk("boardsize 5\nplay b c3\ngenmove w\n", player)[-1] == "= " + cells[0], f"{player}: {best}")


def test_sgf(tmp):
    path = tmp / "game.sgf"

    def load(text, *commands, what=""):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return talk("".join(f"{c}\n" for c in (f"loadsgf {path} {what}", *commands)), "random")

    text = (r"(;GM[1]FF[4]CA[UTF-8]AP[a:1]PB[x [\] (;B[aa\]\)]SZ[9]KM[5.5]HA[2] AB[cg] [gc]; W[ee]C[) ; B[aa\]];B[cc]"
            "\n(;W[gg];B[];W[tt])(;W[aa];B[bb]))(;SZ[5])")
    check(load(text, "move_history", "get_komi", "get_handicap", "query_boardsize", "list_stones b") ==
          ["= black", "= white PASS\nblack PASS\nwhite G3\nblack C7\nwhite E5", "= 5.5", "= 2", "= 9", "= C3 C7 G7"], "main line")
    for before, history in ((1, "="), (2, "= white E5"), (3, "= black C7\nwhite E5"), (99, None), (0, None)):
        answers = load(text, "move_history", what=before)
        check(history is None or answers[1].rstrip() == history, f"before move {before}: {answers}")
        check(answers[0] == ("= black" if before in (2, 99, 0) else "= white"), f"before move {before}: {answers}")
    check(load("(;SZ[13:5];B[ma];PL[B])", "trigo-moves") == ["= black", "= zz"], "a board of 13 x 5, PL")
    check(load("(;AW[aa:bc]SZ[5]AB[ee];PL[W];)", "list_stones w", "list_stones b", "get_handicap") ==
          ["= white", "= A3 A4 A5 B3 B4 B5", "= E1", "= 0"], "a rectangle, before the size")
    check(load("(;AddBlack[aa]SiZe[5])", "list_stones b") == ["= white", "= A5"], "names of old files")
    check(load("junk\0 (;B[aa])", "trigo-moves")[1] == "= az", "words before the game; 19 x 19 unless it is said")
    check(load("(;SZ[27];B[AA];W[za])", "trigo-moves") == ["= black", "= za yz"], "26 letters are not enough")

    # Whatever is wrong, the game goes on as it was.
    for wrong, words in (("", "no whole game"), ("(", "no whole game"), ("(;B[aa]", "no whole game"), ("(;B[aa", "no whole game"),
                         ("(;B[aa\\", "no whole game"), ("(;SZ[0])", "1 to 27"), ("(;SZ[9:28])", "1 to 27"), ("(;SZ[])", "1 to 27"),
                         ("(;SZ[9:])", "1 to 27"), ("(;GM[2])", "not Go"), ("(;KM[x])", "komi should be"), ("(;SZ[5];B[ff])", "no point"),
                         ("(;SZ[5];B[a])", "no point"), ("(;SZ[20];B[uu])", "no point"), ("(;B[aa];W[aa])", "is on a stone"),
                         ("(;SZ[5]AB[aa:ff])", "no points"), ("(;AB[])", "no points"), ("(;AE[aa])", "not taken off"),
                         ("(;B[];W[];B[aa])", "the game is over"), (b"(;B[\xff\xfe])", "no point")):
        path.write_bytes(wrong if isinstance(wrong, bytes) else wrong.encode())
        answers = talk(f"boardsize 5\nplay b c3\nkomi 3\nloadsgf {path}\ntrigo-moves\nget_komi\n", "random")
        check(answers[3].startswith("? cannot load file: ") and words in answers[3], f"{wrong}: {answers[3]}")
        check(answers[4:] == ["= 00", "= 3"], f"{wrong}: the game: {answers[4:]}")
    answers = talk(f"loadsgf {tmp}/none\nloadsgf {tmp}\nloadsgf\nloadsgf {path} x\nloadsgf {path} 1 1\n", "random")
    check("none: No such file" in answers[0] and "folder" in answers[1] and answers[2:] == ["? syntax error"] * 3, f"{answers}")
    random.seed(4)
    for _ in range(60):
        junk = "(;" + "".join(random.choice("BWAPSZ[]()\\;:abcet59 ") for _ in range(300))
        check(len(load(junk, "name")) == 2, "alive behind junk")

    # What is written is read again as the same game.
    game = "boardsize 9\nkomi 6.5\nset_free_handicap a1 b2 c9\n" + "genmove w\ngenmove b\n" * 20 + "play b pass\n"
    seen = "move_history\nget_komi\nget_handicap\nlist_stones b\nlist_stones w\n"
    first = talk(game + seen + f"printsgf {path}\nprintsgf\n", "uniform:sims=2")
    again = talk(f"loadsgf {path}\n" + seen + "printsgf\n", "random")
    check(first[-7:-2] == again[1:-1] and first[-1] == again[-1], f"written and read: {first[-7:]} {again}")
    check("= " + path.read_text().rstrip() == first[-1], "the same in a file and as an answer")
    text = talk("trigo-boardsize 13 5\nplay w a1\nplay w pass\nprintsgf\n")[-1]
    check(text == "= (;FF[4]GM[1]SZ[13:5]KM[0]\n;W[ae])", f"an illegal pass is not written: {text}")
    answers = talk(f"trigo-boardsize 3 3 3\nprintsgf\nprintsgf {tmp}\nboardsize 5\nprintsgf {tmp}/no/file\nprintsgf {tmp}\nprintsgf a b\n")
    check(answers[1] == answers[2] == "? this board has layers, which such files have not", f"{answers}")
    check("no/file: cannot write it" in answers[4] and "not a regular file" in answers[5] and answers[6] == "? syntax error",
          f"{answers}")


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
