#!/usr/bin/env python3
"""test_pages.py - the pages that kvfork bench, trigo bench and trigo view write: whole, well-formed, on their own; what
they say is what was measured or played, and what others wrote in names stays text."""

import csv
import hashlib
import html.parser
import json
import os
import re
import sys
import xml.etree.ElementTree as xml

from support import KVFORK, MODELS, ROOT, TRIGO, check, run, run_tests

GAMES = ROOT / "tests/data/trigo/games.jsonl"
VOID = {"meta", "input", "br", "img", "link"}


class Page(html.parser.HTMLParser):
    """A page as tags and text; every tag must be closed in its turn."""

    def __init__(self, path):
        super().__init__()
        self.path, self.open, self.tags, self.scripts, self.texts = path, [], [], [], {}
        with open(path, encoding="utf-8") as file:
            self.source = file.read()
        self.feed(self.source)
        self.close()
        check(not self.open, f"{path}: not closed: {self.open}")
        check(self.source.startswith("<!DOCTYPE html>") and self.source.endswith("</html>\n"), f"{path}: whole")
        self.alone()

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        names = [name for name, _ in attributes]
        check(len(names) == len(set(names)), f"{self.path}: {tag} has an attribute twice")
        check(not any(name.startswith("on") for name in names), f"{self.path}: {tag} {names}")
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        check(self.open and self.open.pop() == tag, f"{self.path}: </{tag}> where {self.open[-1:]} is open")

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            self.scripts.append(data)
        elif self.open:
            self.texts[self.open[-1]] = self.texts.get(self.open[-1], "") + data

    def with_attribute(self, name):
        return [attributes for _, attributes in self.tags if name in attributes]

    def alone(self):
        """Nothing names another file or an address."""
        named = [name for _, attributes in self.tags for name in attributes if name in ("src", "href", "srcset", "action")]
        check(not named and not re.search(r"https?:|@import", self.source), f"{self.path}: names another file")
        check(all(inside == "#" for inside in re.findall(r"url\((.)", self.source)), f"{self.path}: url(...)")
        check(not {tag for tag, _ in self.tags} & {"img", "link", "iframe", "object", "embed", "base"}, self.path)


# ---- kvfork bench ---------------------------------------------------------------------------------


def test_report(folder):
    path = os.path.join(folder, "report.html")
    model = os.path.join(folder, '<b>&".onnx')
    with open(ROOT / "models/adder/adder.onnx", "rb") as a, open(model, "wb") as b:
        b.write(a.read())
    result = run(KVFORK, "bench", model, "-p", "4", "-n", "3,8", "-d", "0,5", "-np", "1,2,4", "-r", "2", "-t", "1",
                 "-o", "json", "--report", path)
    check(result.returncode == 0, f"bench: {result.stderr}")
    page, rows = Page(path), json.loads(result.stdout)["rows"]
    root = xml.fromstring(page.source)  # a report is XML, too
    check(page.texts["title"] == 'kvfork bench: <b>&".onnx', page.texts["title"])
    check(not page.scripts, "a report has no script")
    tables = list(root.iter("table"))
    check(len(tables) == 2, f"{len(tables)} tables")
    lines = [[cell.text or "" for cell in line] for line in tables[1].iter("tr")][1:]
    check(len(lines) == len(rows), f"{len(lines)} lines of {len(rows)} rows")
    titles = [cell.text for cell in tables[1].iter("th")]
    for row, line in zip(rows, lines):
        cell = dict(zip(titles, line))
        check(cell["test"] == row["test"] and cell["mode"] == row["mode"], f"{cell}")
        check(cell["engine"] == f'{row["engine"]} {row["precision"]}', f"{cell}")
        check(cell["total ms"] == f'{1e3 * row["total_s"]:.2f}', f'{cell} {row["total_s"]}')
    text = "".join(root.itertext())
    with open(model, "rb"):
        digest = json.loads(run(KVFORK, "info", model, "--json").stdout)["files"][0]["sha256"]
    for words in (digest, "Processor", "load", "Throughput over batch", *{row["engine_version"] for row in rows}):
        check(words in text, f"the report does not say {words}")


# ---- trigo view -----------------------------------------------------------------------------------


def data_of(page):
    """The object that the script reads."""
    text = page.scripts[0].strip()
    check(text.startswith("const game = ") and text.endswith(";"), text[:40])
    return json.loads(re.sub(r"^(\w+):", r'"\1":', text[len("const game = "):-1], flags=re.M))


def view(folder, game, *arguments):
    path = os.path.join(folder, "page.html")
    result = run(TRIGO, "view", game, "-o", path, *arguments)
    check(result.returncode == 0, f"view {game} {arguments}: {result.stderr}")
    return Page(path)


def test_games(folder):
    """Every reference game: each ply, what it took, the area, and the stones at the end."""
    for number, line in enumerate(open(GAMES), 1):
        game = json.loads(line)
        page = view(folder, GAMES, "--game", str(number))
        data = data_of(page)
        check(data["names"] == game["cells"], f"{game['id']}: names")
        check(len(page.scripts) == 2, f"{game['id']}: scripts")
        plies = [[-1 if m["move"] == "Pass" else m["index"], *m["captured"]] for m in game["moves"]]
        check(data["plies"] == plies, f"{game['id']}: plies")
        check(data["area"][1:] == [m["territory"][:2] for m in game["moves"]], f"{game['id']}: area")
        check(data["positions"] == [None] * (len(plies) + 1), f"{game['id']}: positions")
        listed = [int(button["data-ply"]) for button in page.with_attribute("data-ply")]
        check(listed == list(range(1, len(plies) + 1)), f"{game['id']}: list of moves")
        drawings = 2 if game["shape"][2] > 1 else 1
        stones = {}
        for circle in page.with_attribute("data-c"):
            look = circle["class"].split()
            stones.setdefault(int(circle["data-c"]), []).append("B" if "b" in look else "W" if "w" in look else ".")
        board = game["moves"][-1]["board"]
        check(all(stones[cell] == [colour] * drawings for cell, colour in enumerate(board)) and len(stones) == len(board),
              f"{game['id']}: stones")
        with open(os.path.join(folder, "game.tgn"), "w") as file:
            file.write(game["tgn"])
        text = view(folder, os.path.join(folder, "game.tgn"))
        check(data_of(text) == data, f"{game['id']}: its text gives another page")


def test_searched(folder):
    """What a page says of a position is what trigo analyze says of it."""
    game = os.path.join(folder, "game.jsonl")
    moves = ["00", "b0", "zz", "0b", "Pass", "bb"]
    with open(game, "w") as file:
        json.dump({"shape": [5, 5, 1], "moves": moves}, file)
    data = data_of(view(folder, game, "--models", MODELS, "--sims", "30"))
    requests = [json.dumps({"id": i, "shape": [5, 5, 1], "moves": moves[:i], "sims": 30}) for i in range(len(moves) + 1)]
    answers = run(TRIGO, "analyze", "--models", MODELS, input="\n".join(requests).encode())
    told = {answer["id"]: answer for answer in map(json.loads, answers.stdout.splitlines())}
    names = data["names"]
    for i, (visits, value, found, children) in enumerate(data["positions"]):
        want = told[i]
        check(visits == want["root"]["N"] == 30, f"position {i}: {visits} visits")
        check(abs(value - want["root"]["value"]) < 1e-3 * max(1, abs(value)), f"position {i}: value {value}")
        check(abs(found - want["root"]["W"] / 30) < 1e-3, f"position {i}: {found}")
        got = {"Pass" if move == -1 else names[move]: (n, prior) for move, n, prior, _ in children}
        for child in want["children"]:
            n, prior = got.get(child["move"], (0, 0))
            check(n == child["N"] and abs(prior - child["P"]) < 1e-3, f"position {i}: {child} {n} {prior}")


def test_recorded(folder):
    """A record of self-play brings its own values and visits."""
    game = os.path.join(folder, "record.jsonl")
    record = {"id": "7-17", "shape": [5, 5, 1], "end": "plies", "moves": [
        {"move": "00", "N": 50, "W": -5.0, "value": -0.25, "visits": {"00": 40, "b0": 9}},
        {"move": "b0", "N": 10, "W": 2.5, "value": 0.5, "visits": {"b0": 8, "Pass": 1}}]}
    with open(game, "w") as file:
        file.write("\n" + json.dumps({"shape": [1, 1, 1], "moves": []}) + "\n" + json.dumps(record) + "\n")
    page = view(folder, game, "--game", "2")
    data = data_of(page)
    check(data["positions"] == [[50, -0.25, -0.1, [[12, 40, None, None], [7, 9, None, None]]],
                                [10, 0.5, 0.25, [[7, 8, None, None], [-1, 1, None, None]]], None], data["positions"])
    heats = [button["data-heat"] for button in page.with_attribute("data-heat")]
    check(heats == ["visits", "none"], f"there are no priors to show: {heats}")
    check("values" in [tag.get("id") for _, tag in page.tags], "values are drawn")


def test_selfplayed(folder):
    """What self-play writes is read as it stands, and its text is the same game."""
    out = os.path.join(folder, "games")
    result = run(TRIGO, "selfplay", "--models", "uniform", "--games", "2", "--out", out, "--shape", "3x3x3", "--sims", "8",
                 "--max-plies", "20", "--threads", "1")
    check(result.returncode == 0, f"selfplay: {result.stderr}")
    lines = os.path.join(out, "00000000.jsonl")
    record = json.loads(open(lines).readlines()[1])
    data = data_of(view(folder, lines, "--game", "2"))
    for position, move in zip(data["positions"], record["moves"]):
        visits, value, found, children = position
        names = {"Pass" if cell == -1 else data["names"][cell]: n for cell, n, _, _ in children}
        check((visits, names) == (move["N"], move["visits"]), f"{position} is not {move}")
        check(abs(found - move["W"] / move["N"]) < 1e-3 and abs(value - move["value"]) < 1e-3, f"{position}, {move}")
    text = data_of(view(folder, os.path.join(out, "tgn/00000001.tgn")))
    check(text["plies"] == data["plies"] and len(data["plies"]) == len(record["moves"]), "text and record differ")


def test_bench_search(folder):
    """The table of a searched move, in every format and as a page."""
    path = os.path.join(folder, "search.html")
    ask = [TRIGO, "bench", "--search", "--models", MODELS, "--engine", "native", "--board", "3x3x3", "--sims", "50",
           "--repeat", "1"]
    result = run(*ask, "-o", "json", "--report", path)
    check(result.returncode == 0, f"bench: {result.stderr}")
    told = json.loads(result.stdout)
    rows, head = told["rows"], told["head"]
    check({row["way"] for row in rows} == {way["way"] for way in head["ways"]} == {"native", "native, fast"}, head)
    page = Page(path)
    root = xml.fromstring(page.source)
    tables = list(root.iter("table"))
    titles = [cell.text for cell in tables[-1].iter("th")]
    lines = [[cell.text for cell in line] for line in tables[-1].iter("tr")][1:]
    check(titles == list(rows[0]) and len(lines) == len(rows), f"{titles}, {len(lines)} lines")
    check([line[titles.index("way")] for line in lines] == [row["way"] for row in rows], lines)
    check(len([tag for tag, _ in page.tags if tag == "figure"]) == 3, "three figures")
    text = "".join(root.itertext())
    with open(os.path.join(MODELS, "value_head.onnx"), "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    for words in (digest, head["cpu_model"], head["date"], "50 simulations", f'{rows[0]["ms"]:.2f}'):
        check(words in text, f"the page does not say {words}")
    lines = run(*ask, "-o", "csv").stdout.decode().splitlines()
    table = list(csv.DictReader(lines))
    check([row["way"] for row in table] == [row["way"] for row in rows] and list(table[0]) == titles, lines)
    for arguments in (["-o", "xml"], ["--rules", "--report", path], ["--engine", "warp"], ["--precision", "f64"],
                      ["--board", "6x6"], ["--sims", "51"]):
        check(run(TRIGO, "bench", "--models", MODELS, *arguments).returncode == 2, f"usage of {arguments}")


def test_hostile_names(folder):
    bad = "</title></script><script>alert(1)</script><img src=x onerror='alert(2)'>\"&amp;\u2028\u00e9\x1b"
    game = os.path.join(folder, "<i>&\"'.jsonl")
    with open(game, "w") as file:
        json.dump({"id": bad, "shape": [3, 3, 1], "moves": ["00"]}, file)
    page = view(folder, game)
    check(len(page.scripts) == 2, "a name became a script")
    check(page.texts["title"] == "<i>&\"'.jsonl, " + bad.replace("\x1b", "\ufffd"), repr(page.texts["title"]))
    binary = os.path.join(os.fsencode(folder), b"\xff\xfe<.tgn")
    with open(binary, "wb") as file:
        file.write(b"[Board 3x3]\n\n1. 00 ")
    check(view(folder, binary).texts["title"] == "\ufffd\ufffd<.tgn", "a name that is not UTF-8")


# What a file holds, and what the error says behind its name.
WRONG = [
    (b"", "line 1, column 1: "),
    (b"[Board 3x3]\n\n1. 00 00\n", "line 3, column 7: '00' is on a stone"),
    (b"[Board 3x3]\n\n1. q0 ", "line 3, column 4: 'q0' is no move on 3x3"),
    (b"[Board 99x3]\n\n", "line 1, column "),
    (b"\x00\xff\x1b[2J", "line 1, column 1: "),
    (b'{"shape":[3,3,1],"moves":["00","00"]}\n', "line 1: move 2: '00' is on a stone"),
    (b'\n\n{"shape":[3,3,1]}\n', "line 3: 'moves' should be an array"),
    (b'{"shape":[3,3,1],"moves":[{"move":"00","N":"x"}]}', "line 1: move 1: 'N' should be a number"),
    (b'{"shape":[3,3,1],"moves":[{"move":"00","visits":[]}]}', "line 1: move 1: 'visits' should be an object"),
    (b'{"shape":[3,3,1],"moves":[{"move":"00","visits":{"<":1}}]}', "line 1: move 1: 'visits': '<' is no move"),
    (b'{"shape":[3,3,1],"moves":[{"move":"00","visits":{"00":-1}}]}', "line 1: move 1: the visits of '00' should be"),
    (b'{"shape":[3,3,1],"moves":["00"]', "line 1: column "),
]


def test_wrong_files(folder):
    game, path = os.path.join(folder, "wrong"), os.path.join(folder, "none.html")
    for content, words in WRONG:
        with open(game, "wb") as file:
            file.write(content)
        result = run(TRIGO, "view", game, "-o", path)
        told = result.stderr.decode()
        check(result.returncode == 1 and told.startswith(f"trigo view: {game}: {words}"), f"{content[:60]}: {told}")
        check(all(c == "\n" or 32 <= ord(c) < 127 for c in told), f"{content[:60]}: {told!r}")
    with open(game, "w") as file:
        file.write("[Board 3x3]\n\n1. 00 ")
    absent = os.path.join(folder, "absent")
    for arguments, words in [([game, "--game", "2"], "no game 2"), ([GAMES, "--game", "26"], "there are 25"),
                             ([absent], "No such file"), ([folder], "is a folder"),
                             ([game, "--models", absent], "decoder.onnx")]:
        result = run(TRIGO, "view", "-o", path, *arguments)
        check(result.returncode == 1 and words in result.stderr.decode(), f"{arguments}: {result.stderr}")
    result = run(TRIGO, "view", game, "-o", os.path.join(absent, "page.html"))
    check(result.returncode == 1 and b"absent" in result.stderr, f"no folder: {result.stderr}")
    check(not [name for name in os.listdir(folder) if name.startswith("none.html")], "something was written")
    for arguments in ([], [game], ["-o", path], [game, game, "-o", path], [game, "-o", path, "--game", "0"],
                      [game, "-o", path, "--sims", "9"], [game, "-o", path, "--models", MODELS, "--sims", "1"],
                      [game, "-o", path, "--models", MODELS, "--device", "tpu"]):
        result = run(TRIGO, "view", *arguments)
        check(result.returncode == 2 and b"try: trigo view --help" in result.stderr and not result.stdout, f"usage of {arguments}")
    result = run(TRIGO, "view", "--help")
    check(result.returncode == 0 and b"-o PAGE.html" in result.stdout and not result.stderr, "help")


run_tests(globals(), sys.argv[1:])
