#!/usr/bin/env bash
# test_cli.sh - the program kvfork from outside: help, exit statuses, what goes where.
# With --update the golden help texts are written anew.
set -uo pipefail
root=${KVF_SOURCE_DIR:-$(cd "$(dirname "$0")/.." && pwd)}
kvfork=${KVF_BUILD_DIR:-$root/build}/kvfork
python=${KVF_PYTHON:-python3}
adder=$root/models/adder/adder.onnx
corpus=$root/tests/data/corpus/valid/optimum-gpt2
golden=$root/tests/data/help
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
failures=0

complain() { echo "FAILED: $*"; failures=$((failures + 1)); }

# expect STATUS WHAT COMMAND...: run it, stdout to $tmp/out, stderr to $tmp/err
expect() {
    local want=$1 what=$2 got
    shift 2
    timeout 120 "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    got=$?
    [ "$got" = "$want" ] || complain "$what: exit status $got, want $want: $(head -c 300 "$tmp/err")"
}
says() { grep -q -- "$2" "$tmp/$1" || complain "no \"$2\" in $1: $(head -c 300 "$tmp/$1")"; }

# ---- help ----
if [ "${1:-}" = --update ]; then
    mkdir -p "$golden"
    "$kvfork" --help >"$golden/kvfork.txt"
    for c in $("$kvfork" --help | awk '/^  [a-z]/ {print $1}'); do "$kvfork" "$c" --help >"$golden/$c.txt"; done
    exit 0
fi
expect 0 "--help" "$kvfork" --help
diff -u "$golden/kvfork.txt" "$tmp/out" || complain "--help is not the golden text"
commands=$(awk '/^  [a-z]/ {print $1}' "$tmp/out")
for c in $commands; do
    expect 0 "$c --help" "$kvfork" "$c" --help
    diff -u "$golden/$c.txt" "$tmp/out" || complain "$c --help is not the golden text"
done
expect 0 "--version" "$kvfork" --version

# ---- wrong usage: 2, words on stderr, nothing on stdout ----
while IFS= read -r line; do
    # shellcheck disable=SC2086
    expect 2 "kvfork $line" "$kvfork" $line
    [ -s "$tmp/out" ] && complain "kvfork $line: wrote to stdout"
    [ -s "$tmp/err" ] || complain "kvfork $line: said nothing"
done <<EOF

nothing
info
run
run $adder
run $adder --prompt a --tokens 1
run $adder --prompt a -n 0
run $adder --prompt a -n 12x
run $adder --prompt a --threads 0
run $adder --prompt a --temperature hot
run $adder --prompt a --seed -1
run $adder --prompt a --no-cache=1
run $adder --prompt
run $adder extra --prompt a
eval $adder --tokens 1,2
eval $adder --logits x
check $adder --against ort --expected $corpus
check $adder --tolerance -1
bench $adder -p 1,
bench $adder -t 0
bench $adder -o xml
bench $adder --modes warm
run $adder --tokens 1 --threads 5000
run $adder --tokens 1 --engine warp
run $adder --tokens 1 --device tpu
run $adder --tokens 1 --precision f64
run $adder --tokens 1 --kv q8
run $adder --tokens 1 --cpu neon
run $adder --tokens 1 --names x
run $adder --tokens 1 --names role=x
run $adder --tokens 1 --temperature -1
run $adder --tokens 1 --top-p 1.5
run $adder --tokens 1 --stop x
run $adder --tokens 1 --stop 1,2
run $adder --tokens 1,,2
run $adder --prompt a --tokenizer bpe
run $adder --prompt=
eval $adder --tokens 1 --branch 1: --logits $tmp/rows
eval $adder --tokens 1 --branch x:1 --logits $tmp/rows
eval $adder --tokens 1 --branch 2:1 --logits $tmp/rows
info $adder --engine warp
check $adder --against warp
bench $adder --precision f64
bench $adder --engines native,warp
bench $adder -t 1,5000
bench $adder --suite olympic
export --synthetic gpt2:layers=x -o $tmp/x.onnx
export --synthetic lstm -o $tmp/x.onnx
EOF
[ -e "$tmp/rows" ] && complain "a failed eval left its file"
expect 2 "unknown suite" "$kvfork" bench "$adder" --suite olympic; says err olympic
expect 2 "no token to stop at" "$kvfork" run "$adder" --tokens 1 --stop x; says err "--stop: byte 1"
expect 2 "no token in a branch" "$kvfork" eval "$adder" --tokens 1 --branch 1: --logits "$tmp/rows"; says err "--branch: there are no"

# ---- failures: 1, with the name of the thing ----
expect 1 "no file" "$kvfork" info "$tmp/none.onnx"; says err none.onnx
expect 1 "a folder" "$kvfork" run "$tmp" --tokens 1; says err folder
echo text >"$tmp/text.onnx"
expect 1 "no model" "$kvfork" run "$tmp/text.onnx" --tokens 1; says err text.onnx
expect 1 "token beyond the vocabulary" "$kvfork" run "$adder" --tokens 1,128; says err 128
expect 1 "no token in a file" "$kvfork" run "$adder" --tokens "@$tmp/text.onnx"; says err "token id"
expect 1 "no file of tokens" "$kvfork" run "$adder" --tokens "@$tmp/none"; says err none
expect 1 "a name that the graph lacks" "$kvfork" run "$adder" --tokens 1 --names input_ids=x; says err "no such input"
expect 1 "prompt beyond the context" "$kvfork" run "$adder" --tokens "$(seq -s, 1 100),$(seq -s, 1 100),$(seq -s, 1 100)"; says err 256
expect 1 "a device that nothing here has" "$kvfork" run "$adder" --tokens 1 --engine native --device cuda:0; says err cuda
expect 1 "unwritable logits" "$kvfork" eval "$adder" --tokens 1 --logits "$tmp/none/rows"; says err none
expect 1 "no case that fits" "$kvfork" bench "$adder" -d 5000; says err context
expect 1 "branch beyond the vocabulary" "$kvfork" eval "$adder" --tokens 1 --branch 1:128 --logits "$tmp/rows"; says err 128
[ -e "$tmp/rows" ] && complain "a failed eval left its file"
timeout 60 "$kvfork" info "$adder" >/dev/full 2>/dev/null
[ $? = 1 ] || complain "info into a full disk does not fail"

# ---- info ----
expect 0 info "$kvfork" info "$adder"; says out "4 layers"
expect 0 "info --json" "$kvfork" info "$adder" --json
"$python" - "$tmp/out" <<'EOF' || complain "info --json"
import json, sys
i = json.load(open(sys.argv[1]))
assert (i["layers"], i["kv_heads"], i["head_dim"], i["vocab"], i["context"]) == (4, 4, 32, 128, 256), i
assert i["bytes_per_token"] == 4096 and i["eos"] == 10 and i["tokenizer"] == "ascii"
assert i["files"][0]["sha256"] == "c869ce6d70a86c7d8f2d68b432a50d8df0cd0020518c9a60b95f7fc84cc05551"
assert i["inputs"][2] == {"name": "past_key_0", "role": "past_key", "type": "float32", "shape": ["batch", 4, "past", 32], "layer": 0}
EOF

# ---- run ----
expect 0 run "$kvfork" run "$adder" --prompt "123+456="
[ "$(cat "$tmp/out")" = 579 ] || complain "123+456 is $(cat "$tmp/out")"
says err "tokens/s"
expect 0 "run without cache" "$kvfork" run "$adder" --prompt "999+999=" --no-cache
[ "$(cat "$tmp/out")" = 1998 ] || complain "999+999 is $(cat "$tmp/out") without cache"
expect 0 "run ids" "$kvfork" run "$adder" --tokens 55,43,56,61 -n 2
[ "$(cat "$tmp/out")" = 49,53 ] || complain "7+8= as ids is $(cat "$tmp/out")"
expect 0 "run --stop" "$kvfork" run "$adder" --prompt "123+456=" --stop 55
[ "$(cat "$tmp/out")" = 5 ] || complain "--stop 55 gives $(cat "$tmp/out")"
echo " 55, 43 56,61" >"$tmp/ids"
expect 0 "run @FILE" "$kvfork" run "$adder" --tokens "@$tmp/ids" --json
"$python" -c 'import json,sys; r=json.load(open(sys.argv[1])); assert r["tokens"]==[49,53], r; assert r["metrics"]' "$tmp/out" || complain "run --json"
expect 0 "seed" "$kvfork" run "$adder" --prompt "12" --temperature 1.5 --top-k 20 --top-p 0.9 --seed 3 -n 20
cp "$tmp/out" "$tmp/first"
expect 0 "seed again" "$kvfork" run "$adder" --prompt "12" --temperature 1.5 --top-k 20 --top-p 0.9 --seed 3 -n 20
cmp -s "$tmp/first" "$tmp/out" || complain "equal seeds give different tokens"

# ---- progress: on a terminal, and there alone ----
script -qec "'$kvfork' run '$adder' --prompt 12+3= -n 1 >'$tmp/answer'" /dev/null >"$tmp/out" 2>/dev/null </dev/null
says out "packing weights 0 %"
expect 0 "run without a terminal" "$kvfork" run "$adder" --prompt 12+3= -n 1
grep -q packing "$tmp/err" && complain "progress goes where no terminal is"
cmp -s "$tmp/answer" "$tmp/out" || complain "progress changes what is answered"

# ---- eval and check ----
ids() { "$python" -c 'import json,sys; print(",".join(map(str,json.load(open(sys.argv[1]+"/expected.json"))[sys.argv[2]])))' "$corpus" "$1"; }
for chunk in "" "--chunk 1" "--chunk 7" "--no-cache"; do
    # shellcheck disable=SC2086
    expect 0 "eval $chunk" "$kvfork" eval "$corpus/model.onnx" --tokens "$(ids tokens)" --branch "16:$(ids branch_a)" \
        --branch "16:$(ids branch_b)" --logits "$tmp/rows.f32" $chunk
    "$python" - "$tmp/rows.f32" "$corpus/logits.f32" <<'EOF' || complain "eval $chunk differs from the recorded logits"
import struct, sys
a, b = (open(p, "rb").read() for p in sys.argv[1:])
assert len(a) == len(b)
n = len(a) // 4
assert max(abs(x - y) for x, y in zip(struct.unpack(f"<{n}f", a), struct.unpack(f"<{n}f", b))) < 1e-3
EOF
done
expect 0 "check --expected" "$kvfork" check "$corpus/model.onnx" --expected "$corpus"; says out passed
expect 3 "check with no tolerance to speak of" "$kvfork" check "$corpus/model.onnx" --expected "$corpus" --tolerance 1e-12
says out FAILED
# 0 is a tolerance too; it was taken for the default.
expect 3 "check with a tolerance of 0" "$kvfork" check "$corpus/model.onnx" --expected "$corpus" --tolerance 0
expect 0 "check of equal bits" "$kvfork" check "$corpus/model.onnx" --against native --tolerance 0
expect 0 "check --json" "$kvfork" check "$adder" --paths 2 --json
"$python" -c 'import json,sys; r=json.load(open(sys.argv[1])); assert r["passed"] and r["rows"]>0, r' "$tmp/out" || complain "check --json"

# ---- bench ----
for format in md csv json jsonl; do
    expect 0 "bench -o $format" "$kvfork" bench "$adder" -p 4 -n 3 -d 0,5 -np 1,2 -r 1 -t 1 -o $format --report "$tmp/report.html"
    cp "$tmp/out" "$tmp/bench.$format"
done
"$python" - "$tmp" <<'EOF' || complain "bench's formats disagree"
import csv, json, sys
rows = json.load(open(sys.argv[1] + "/bench.json"))["rows"]
lines = [json.loads(l) for l in open(sys.argv[1] + "/bench.jsonl")]
table = list(csv.DictReader(open(sys.argv[1] + "/bench.csv")))
assert len(rows) == len(lines) == len(table) > 0
key = lambda r: (r["test"], r["engine"], r["mode"])
assert [key(r) for r in rows] == [key(r) for r in lines] == [key(r) for r in table]
for r in rows:
    assert len(r["samples_s"]) == 1 and r["total_s"] > 0 and r["moved_buffers"] == 0, r
    if r["mode"] == "cache": # 2 * layers * batch * KV heads * length * head_dim * 4 bytes
        length = r["prompt"] + r["generated"] + r["depth"]
        assert r["cache_bytes"] == r["formula_bytes"] == 2 * 4 * r["batch"] * 4 * length * 32 * 4, r
html = open(sys.argv[1] + "/report.html").read()
assert "<svg" in html and "http" not in html and html.rstrip().endswith("</html>")
EOF
# The head took its figures from the first engine alone: ort does not know heads, and 0 was printed.
heads() { # ENGINES: what the head says of heads, - where it says nothing
    "$kvfork" bench "$corpus/model.onnx" --engines "$1" -p 2 -n 1 -r 1 -t 1 -o json 2>/dev/null |
        "$python" -c 'import json,sys; m=json.load(sys.stdin)["head"]["model"]; print(m.get("heads", "-"))'
}
[ "$(heads native)" = 4 ] || complain "bench knows $(heads native) heads"
if "$kvfork" info "$corpus/model.onnx" --engine ort >/dev/null 2>&1; then
    [ "$(heads ort,native)" = 4 ] || complain "bench with ort first knows $(heads ort,native) heads"
    [ "$(heads ort)" = - ] || complain "bench with ort alone knows $(heads ort) heads"
fi
# K and V of GPT-2's shape at 2,048 tokens; its weights do not count, so that they may be small.
expect 0 "GPT-2's shape" "$kvfork" export -o "$tmp/gpt2.onnx" \
    --synthetic gpt2:layers=12,heads=12,head_dim=64,hidden=8,vocab=16,context=2048,seed=1
expect 0 "info of GPT-2's shape" "$kvfork" info "$tmp/gpt2.onnx" --json
"$python" -c 'import json,sys; assert json.load(open(sys.argv[1]))["bytes_per_token"] * 2048 == 150994944' "$tmp/out" ||
    complain "K and V of GPT-2's shape at 2,048 tokens are not 150,994,944 bytes"
# In the foreground timeout asks the program alone, and once: to be asked twice means to end at once.
timeout --foreground -s INT 5 "$kvfork" bench "$adder" --suite scaling -r 1000 -t 1 >"$tmp/out" 2>"$tmp/err"
says out interrupted

[ $failures = 0 ] && echo "all passed"
exit $((failures > 0))
