#!/usr/bin/env bash
# What the cache is worth, on this machine: a model of seeded random weights is made and measured
# without and with cache; then a small trained model adds, with two branches of one prompt.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p demo

echo "== A decoder of 4 layers, 4 heads of 64, vocabulary 1,000, context 512: demo/prototype.onnx"
build/kvfork export --synthetic gpt2:layers=4,heads=4,head_dim=64,vocab=1000,context=512,tied=0,seed=1 \
    -o demo/prototype.onnx
echo
echo "== Time to generate 10 to 200 tokens, without and with cache"
build/kvfork bench demo/prototype.onnx --suite headline -r 3 --report demo/report.html
echo
echo "== A model that adds: greedy tokens behind a prompt"
for sum in 123+456= 999+999= 345+55= 7+8=; do
    printf '%s' "$sum"
    build/kvfork run models/adder/adder.onnx --prompt "$sum" 2>/dev/null
done
echo
echo "== Two branches of one prompt (examples/fork.c)"
build/fork models/adder/adder.onnx
if [ -x build/trigo ] && build/trigo analyze --help >/dev/null 2>&1; then
    echo
    echo "== A move of Trigo, searched with 50 simulations on the tree"
    echo '{"id":"demo","shape":[5,5,1],"moves":["0y","yy"],"sims":50}' |
        build/trigo analyze --models models/trigo | python3 -c 'import json, sys
r = json.load(sys.stdin)
best = sorted(r["children"], key=lambda c: -c["N"])[:3]
print("chosen", r["chosen"], "value %.3f" % r["root"]["value"], "visits", {c["move"]: c["N"] for c in best}, "%.1f ms" % r["ms"])'
    echo
    echo "== The same on the engines, without and with cache (README has the whole table)"
    build/trigo bench --search --models models/trigo --board 5x5 --sims 50 --repeat 1
fi
echo
echo "The report is demo/report.html."
