#!/usr/bin/env bash
# test_build.sh - configuring on machines that lack something, and options that make no sense: what is
# said, and that what can be built is. Nothing is compiled here.
set -euo pipefail
source=${KVF_SOURCE_DIR:?}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fail() {
    echo "FAILED: $*" >&2
    exit 1
}
configure() { # what it says is in $tmp/said
    rm -rf "$tmp/build"
    cmake -S "$source" -B "$tmp/build" -G Ninja "$@" >"$tmp/said" 2>&1
}
says() { tr -s ' \n' ' ' <"$tmp/said" | grep -q -- "$1" || fail "$2 does not say \"$1\": $(cat "$tmp/said")"; }

# The set-up of `make demo` installs nothing that only tests need; it could not configure without.
cat >"$tmp/pkg-config" <<'EOF'
#!/bin/sh
for word; do [ "$word" != cmocka ] || exit 1; done
exec pkg-config "$@"
EOF
chmod +x "$tmp/pkg-config"
configure -DPKG_CONFIG_EXECUTABLE="$tmp/pkg-config" || fail "without cmocka: $(cat "$tmp/said")"
says "Tests: none, cmocka" "a build without cmocka"
ninja -C "$tmp/build" -n kvfork_program trigo_program >"$tmp/said" || fail "without cmocka: no programs"

configure -DKVF_CUDA=sometimes && fail "KVF_CUDA=sometimes is taken"
says "should be on, off or auto" "KVF_CUDA=sometimes"
configure -DONNXRUNTIME_ROOT="$tmp/nowhere" && fail "an ONNX Runtime that is not there is taken"
says "no include/onnxruntime_c_api.h is there" "ONNXRUNTIME_ROOT"
configure -DKVF_ORT=OFF || fail "without the ort engine: $(cat "$tmp/said")"
says "ONNX Runtime: off" "KVF_ORT=OFF"

configure -DKVF_CUDA=on -DCMAKE_DISABLE_FIND_PACKAGE_CUDAToolkit=ON && fail "KVF_CUDA=on is taken without a toolkit"
says "no CUDA toolkit of version 12 or newer is found" "KVF_CUDA=on"
configure -DKVF_CUDA=auto -DCMAKE_DISABLE_FIND_PACKAGE_CUDAToolkit=ON || fail "without a toolkit: $(cat "$tmp/said")"
says "so no cuda engine" "KVF_CUDA=auto"
echo "configured with and without what can be missing"
