#!/usr/bin/env bash
# test_stand_in.sh - the program over the cuda engine, on the stand-in for a device: what is said of the
# device, right sums, bench with what crossed the bus, and devices that are not there.
set -euo pipefail
build=${KVF_BUILD_DIR:?} source=${KVF_SOURCE_DIR:?}
kvfork=$build/tests/kvfork_stand_in adder=$source/models/adder/adder.onnx
[[ -x $kvfork ]] || { echo "skipped: built without the stand-in"; exit 77; }

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fail() {
    echo "FAILED: $*" >&2
    exit 1
}

"$kvfork" info "$adder" --device cuda:0 --json >"$tmp/info" || fail "info exits with $?"
"$kvfork" bench "$adder" -p 4 -n 3 -r 1 --engines cuda,native --modes cache -o json --report "$tmp/page.html" \
    >"$tmp/bench" || fail "bench exits with $?"
"${KVF_PYTHON:?}" - "$tmp/info" "$tmp/bench" <<'EOS' || fail "what info and bench say"
import json, sys

info, bench = (json.load(open(path)) for path in sys.argv[1:])
assert (info["engine"], info["device"], info["device_name"]) == ("cuda", "cuda:0", "test device 0"), info
for row in bench["rows"]:
    device = row["engine"] == "cuda"
    assert (row["device"] == "cuda:0") == device and (row["device_name"] != "") == device, row
    assert row["read_bandwidth"] > 0 and row["peak_operations"] > 0 and row["limit_share"] > 0, row
    assert (row["device_bytes"] > row["cache_bytes"]) == device and (row["sent_bytes_per_token"] > 0) == device, row
    if row["test"] == "tg3":  # the logits of each token, and nothing else
        assert row["received_bytes_per_token"] == 4 * info["vocab"] * device, row
assert {row["engine"] for row in bench["rows"]} == {"cuda", "native"}
EOS
grep -q "on cuda:0, test device 0" "$tmp/page.html" || fail "the page does not name the device"

"$kvfork" check "$adder" --engine cuda --against native --paths 2 --length 12 >"$tmp/said" || fail "check: $(cat "$tmp/said")"
sum=$("$kvfork" run "$adder" --device cuda:0 --prompt 123+456= 2>"$tmp/said") || fail "run: $(cat "$tmp/said")"
[[ $sum == 579* ]] || fail "123+456=$sum"

status=0
"$kvfork" run "$adder" --engine cuda --device cuda:1 --prompt 1+1= 2>"$tmp/said" || status=$?
[[ $status == 1 ]] && grep -q "there is no device cuda:1: this machine has 1" "$tmp/said" ||
    fail "cuda:1 exits with $status: $(cat "$tmp/said")"
status=0
"$kvfork" run "$adder" --engine cuda --device cpu --prompt 1+1= 2>"$tmp/said" || status=$?
[[ $status == 1 ]] && grep -q "the cuda engine runs on cuda:N" "$tmp/said" || fail "cpu exits with $status: $(cat "$tmp/said")"
echo "info, bench, check and run on a device"
