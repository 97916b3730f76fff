#!/usr/bin/env bash
# test_outside.sh - kvfork as others meet it: installed into a fresh prefix that is then moved, and
# a program of theirs built against it by pkg-config and by CMake, shared and static, in C and C++.
# Also what the libraries show to a linker: names of ours only, and no call that prints or exits.
set -euo pipefail
build=${KVF_BUILD_DIR:?} source=${KVF_SOURCE_DIR:?}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# ---- install, then move: nothing may remember the first place -------------------------------------
cmake --install "$build" --prefix "$tmp/first" >"$tmp/install.log" || fail "cmake --install"
mv "$tmp/first" "$tmp/moved"
prefix=$tmp/moved
pc=$(find "$prefix" -name kvfork.pc)
libdir=$(dirname "$(dirname "$pc")")
export PKG_CONFIG_PATH=${pc%/*}
version=$(pkg-config --modversion kvfork)
grep -rIl "$tmp/first" "$prefix" && fail "these installed files name the folder they were installed to"

# ---- what a linker sees ---------------------------------------------------------------------------
so=$libdir/libkvfork.so
soname=$(readelf -d "$so" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
[[ $soname == "libkvfork.so.${version%%.*}" ]] || fail "the soname is $soname, version $version"
[[ -e $libdir/$soname ]] || fail "$soname is not installed"

foreign=$(nm --defined-only --extern-only "$libdir/libkvfork.a" | awk 'NF == 3 && $3 !~ /^kvf_/ { print $3 }')
[[ -z $foreign ]] || fail "libkvfork.a defines names that are not kvf_: $foreign"
declared=$(grep -o 'KVF_API.*' "$prefix/include/kvfork.h" | grep -o 'kvf_[a-z0-9_]*(' | tr -d '(' | sort -u)
differ=$(diff <(echo "$declared") <(nm -D --defined-only "$so" | awk '{ print $3 }' | sort -u)) ||
    fail "kvfork.h declares (<) and libkvfork.so exports (>) different functions: $differ"
rude=$(nm --undefined-only "$libdir/libkvfork.a" |
    awk '$2 ~ /^(exit|_exit|abort|printf|puts|putchar|perror|stdout|stderr|getenv|secure_getenv)$/ { print $2 }')
[[ -z $rude ]] || fail "a library does not print, exit or read the environment, but this one uses: $rude"

# ---- programs of others ---------------------------------------------------------------------------
cat >"$tmp/outside.c" <<'EOF'
#include <kvfork.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    static kvf_model_options options; /* zeros: the defaults */
    kvf_model *model = NULL;
    kvf_error err;
    if (argc != 2) return 2;
    options.struct_size = sizeof options;
    options.engine = "none";
    if (kvf_model_open(&model, argv[1], &options, &err) != KVF_OK) {
        fprintf(stderr, "%s: %s\n", kvf_status_name(err.status), err.msg);
        return 1;
    }
    printf("kvfork %s, %u layers\n", kvf_version(), kvf_model_get_info(model)->layers);
    kvf_model_close(model);
    return 0;
}
EOF
cp "$tmp/outside.c" "$tmp/outside.cpp"
strict=(-Wall -Wextra -Werror -pedantic)
shared=$(pkg-config --cflags --libs kvfork)
# ld prefers a shared library; naming the archive is the usual way to say otherwise.
static=$(pkg-config --static --cflags --libs kvfork | sed 's/-lkvfork\b/-l:libkvfork.a/')
cd "$tmp"
cc -std=c99 "${strict[@]}" outside.c $shared -o pc-shared
cc -std=c11 "${strict[@]}" outside.c $static -o pc-static
c++ -std=c++11 "${strict[@]}" outside.cpp $shared -o pc-shared-c++

mkdir project
cat >project/CMakeLists.txt <<'EOF'
cmake_minimum_required(VERSION 3.25)
project(outside C)
find_package(kvfork ${version} EXACT REQUIRED)
add_executable(cmake-shared ../outside.c)
target_link_libraries(cmake-shared kvfork::kvfork)
add_executable(cmake-static ../outside.c)
target_link_libraries(cmake-static kvfork::kvfork_static)
EOF
cmake -S project -B project/build -Dversion="$version" -DCMAKE_PREFIX_PATH="$prefix" >cmake.log ||
    fail "find_package(kvfork): $(cat cmake.log)"
cmake --build project/build >cmake.log || fail "CMake's programs: $(cat cmake.log)"

check() { # PROGRAM shared|static
    local said linked=static
    said=$(LD_LIBRARY_PATH=$libdir "$1" "$source/models/adder/adder.onnx") || fail "$1 exits with $?"
    [[ $said == "kvfork $version, 4 layers" ]] || fail "$1 says \"$said\", not \"kvfork $version, 4 layers\""
    readelf -d "$1" | grep -q "NEEDED.*$soname" && linked=shared
    [[ $linked == "$2" ]] || fail "$1 links the $linked library, and should link the $2 one"
}
check ./pc-shared shared
check ./pc-shared-c++ shared
check ./pc-static static
check project/build/cmake-shared shared
check project/build/cmake-static static

# ---- installed programs ---------------------------------------------------------------------------
for name in kvfork trigo; do
    program=$prefix/bin/$name
    [[ -e $build/$name || -e $program ]] || continue
    "$program" --help >"$name.help" || fail "the installed $name --help exits with $?"
    grep -q "$name" "$name.help" || fail "the installed $name --help does not name $name"
    ! readelf -d "$program" | grep -q "R.*PATH.*$source" || fail "$name has an RPATH into its source folder"
done
if [[ -e $libdir/kvfork/libonnxruntime.so.1 ]]; then
    readelf -d "$so" | grep -q 'RUNPATH.*\$ORIGIN/kvfork' || fail "libkvfork.so does not look beside itself"
fi
echo "kvfork $version: installed, moved, and used by five programs"
