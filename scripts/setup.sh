#!/usr/bin/env bash
# setup.sh [build|test|ci] - brings a fresh Debian 12 or 13 to where kvfork builds (default), is
# tested, or passes `make ci`; each includes the one before.
#
# Debian packages go into the system, as root or through sudo. All else goes into .deps/ of this
# folder, from the package index and the mirror that this machine is set up for:
#
#   .deps/venv                  Python packages of the test scripts and the formatter
#   .deps/onnxruntime/lib       ONNX Runtime's library, out of its pinned Python wheel
#   .deps/onnxruntime/include   its C header, out of Debian's libonnxruntime-dev
#
# What is there is left alone, so a second run does nothing and needs no network. Without ONNX
# Runtime everything else still builds: that it could not be had is said, and is not a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

level=${1:-build}
deps=$PWD/.deps
venv=$deps/venv
ort=$deps/onnxruntime
ort_version=$(sed -n 's/^onnxruntime==\([0-9.]*\).*/\1/p' scripts/onnxruntime.txt)

packages=(make cmake ninja-build gcc libc6-dev pkgconf libjansson-dev libmd-dev libzip-dev ca-certificates
    python3 python3-venv)
for_tests=(g++ binutils libcmocka-dev)
for_ci=(clang clang-tidy libclang-rt-dev llvm)
case $level in
build) ;;
test) packages+=("${for_tests[@]}") ;;
ci) packages+=("${for_tests[@]}" "${for_ci[@]}") ;;
*)
    echo "usage: scripts/setup.sh [build|test|ci]" >&2
    exit 2
    ;;
esac

say() { echo "setup: $*"; }
die() {
    echo "setup: $*" >&2
    exit 1
}

# ---- Debian packages ------------------------------------------------------------------------------

missing_packages() {
    for p in "${packages[@]}"; do
        case $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null) in
        installed) ;;
        *) echo "$p" ;;
        esac
    done
}

install_packages() {
    local missing sudo=()
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]})) || return 0
    say "installing Debian packages: ${missing[*]}"
    if ((EUID)); then
        command -v sudo >/dev/null ||
            die "this needs root, and there is no sudo; as root: apt-get install ${missing[*]}"
        sudo=(sudo)
    fi
    local apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
    # An update that fails is no reason to stop: the packages may lie in apt's cache.
    quietly "${apt[@]}" update || say "apt-get update failed; trying with what this machine knows"
    quietly "${apt[@]}" install -y --no-install-recommends "${missing[@]}" ||
        die "these Debian packages are missing and could not be installed: ${missing[*]}"
}

# Run a command; show what it wrote only if it fails.
quietly() {
    local log status=0
    log=$(mktemp)
    "$@" >"$log" 2>&1 </dev/null || status=$?
    if ((status)); then tail -n 20 "$log" >&2; fi
    rm -f "$log"
    return $status
}

# ---- Python ---------------------------------------------------------------------------------------

pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

# A venv whose Python has gone (an upgrade, a moved folder) is made anew.
make_venv() {
    "$venv/bin/python" -c 'import pip' 2>/dev/null && return
    say "creating .deps/venv"
    rm -rf "$venv"
    quietly python3 -m venv "$venv" || die "python3 -m venv failed; is python3-venv installed?"
}

# Install one list of Python packages, once: a copy of the list in the venv says that it was done.
install_python() {
    local list=scripts/$1
    shift
    local done=$venv/${list##*/}
    cmp -s "$list" "$done" && return
    make_venv
    say "installing Python packages into .deps/venv: $(sed -n 's/^\([^#=]*==[^ ]*\).*/\1/p' "$list" | xargs)"
    quietly pip install -q --no-deps "$@" -r "$list" ||
        die "pip could not install the packages of $list"
    cp "$list" "$done"
}

# ---- ONNX Runtime ---------------------------------------------------------------------------------

# The wheel is checked against the hashes in onnxruntime.txt by pip, and kept for the test scripts.
fetch_wheel() {
    compgen -G "$deps/wheels/onnxruntime-$ort_version-*.whl" >/dev/null && return
    make_venv
    quietly pip download -q --no-deps --require-hashes --only-binary :all: \
        -d "$deps/wheels" -r scripts/onnxruntime.txt
}

install_ort_library() {
    local name=libonnxruntime.so.$ort_version new=$ort/lib.new
    [[ -e $ort/lib/$name && -e $ort/lib/libonnxruntime.so ]] && return
    say "fetching ONNX Runtime $ort_version's library into .deps/onnxruntime/lib"
    fetch_wheel || return
    rm -rf "$new"
    mkdir -p "$new"
    "$venv/bin/python" -m zipfile -e "$deps"/wheels/onnxruntime-"$ort_version"-*.whl "$new/wheel" &&
        mv "$new/wheel/onnxruntime/capi/$name" "$new/wheel/onnxruntime/LICENSE" \
            "$new/wheel/onnxruntime/ThirdPartyNotices.txt" "$new" || return
    rm -rf "$new/wheel" "$ort/lib"
    ln -s "$name" "$new/libonnxruntime.so.1"
    ln -s libonnxruntime.so.1 "$new/libonnxruntime.so"
    mv "$new" "$ort/lib"
}

# Wheels come without headers. Debian 13 packages them (an older header works with a newer library),
# so a private apt configuration names that suite on this machine's own mirror: neither its sources
# nor its lists are touched, and apt checks the signatures as it always does.
install_ort_header() {
    local include=$ort/include apt=$deps/apt codename mirrors
    [[ -e $include/onnxruntime_c_api.h ]] && return
    say "fetching ONNX Runtime's C header (Debian 13's libonnxruntime-dev) into .deps/onnxruntime/include"
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    rm -rf "$apt"
    mkdir -p "$apt"/{lists,cache}/partial "$apt/package"
    # Whoever serves this release's main is asked for the next one's; of those, only Debian's own
    # archive has the right signature.
    mirrors=$(apt-get -o Dir::State::Lists="$apt/lists" --print-uris update 2>/dev/null |
        sed -n "s|^'\(.*/\)dists/$codename/main/binary-.*|\1|p" | sort -u)
    if [[ -z $mirrors ]]; then
        say "apt has no source for $codename main"
        return 1
    fi
    sed 's|.*|deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] & trixie main|' \
        <<<"$mirrors" >"$apt/sources.list"
    local private=(apt-get -q -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
        -o Dir::State::Lists="$apt/lists" -o Dir::State::Status=/dev/null -o Dir::Cache="$apt/cache"
        -o Acquire::Languages=none -o APT::Sandbox::User=root)
    quietly "${private[@]}" update || true # one mirror of several may fail; the download decides
    (cd "$apt/package" && quietly "${private[@]}" download libonnxruntime-dev && dpkg -x libonnxruntime-dev_*.deb .) || return
    rm -rf "$include"
    mv "$apt/package/usr/include/onnxruntime" "$include"
    rm -rf "$apt"
}

install_ort() {
    mkdir -p "$ort"
    if ! install_ort_library; then
        say "ONNX Runtime's library could not be fetched: the ort engine will say so when it is asked for."
        say "  What you have elsewhere can be named: cmake -DONNXRUNTIME_ROOT=FOLDER, with include/ and lib/"
    fi
    if ! install_ort_header && [[ ! -e /usr/include/onnxruntime/onnxruntime_c_api.h ]]; then
        say "ONNX Runtime's header could not be fetched: the ort engine will not be built."
        say "  What you have elsewhere can be named: cmake -DONNXRUNTIME_ROOT=FOLDER, with include/ and lib/"
    fi
}

# ---------------------------------------------------------------------------------------------------

command -v apt-get >/dev/null ||
    die "this is not Debian; install what these packages hold, then run cmake: ${packages[*]}"
mkdir -p "$deps"
install_packages
install_ort
if [[ $level != build ]]; then
    install_python onnxruntime.txt --find-links "$deps/wheels"
    install_python python-test.txt
fi
if [[ $level == ci ]]; then
    install_python python-ci.txt
fi
