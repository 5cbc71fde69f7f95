#!/usr/bin/env bash
# TensorRT for RTX: builds engines on a machine without a GPU.
# Puts libraries and headers into $TRTACT_CACHE/tensorrt-rtx-VERSION/{lib,include},
# the headers of TensorRT proper 11.4, for whoever has that library, into
# $TRTACT_CACHE/tensorrt-11.4/include, and those of older TensorRTs for RTX, which
# tests compile against, into $TRTACT_CACHE/tensorrt-headers/rtx-1.3 and so on.
#
# NVIDIA gives the libraries as a Python wheel without headers. The headers that
# belong to them (Apache-2.0) are part of a Rust crate. Nothing of the crate is
# compiled: its dependencies are replaced by empty ones, so cargo fetches that
# one crate and no other, and any cargo since 2021 will do.
. "$(dirname "$0")/common.sh"

VERSION=1.7.1
WHEEL="tensorrt-rtx-cu12-libs==1.7.1.116 68c2615fef1556e7721235682f460f3d78ab89df320a3f34a416367b144817a8"
CRATE_VERSION=0.9.1
CRATE_SHA256=5480ee056292951daa1bc74532162d6cb75190f091e45d7d97c0c356916ae171

# Folders of headers in the crate, and where they go.
HEADERS="
TRT-RTX-1.7          tensorrt-rtx-$VERSION/include
TRT-Enterprise-11.4  tensorrt-11.4/include
TRT-RTX-1.6          tensorrt-headers/rtx-1.6
TRT-RTX-1.5          tensorrt-headers/rtx-1.5
TRT-RTX-1.4          tensorrt-headers/rtx-1.4
TRT-RTX-1.3          tensorrt-headers/rtx-1.3
"

target=$TRTACT_CACHE/tensorrt-rtx-$VERSION
have_libraries() {
    [ -e "$target/lib/libtensorrt_rtx.so.1" ] && [ -e "$target/lib/libtensorrt_onnxparser_rtx.so.1" ]
}

# missing_headers: those lines of HEADERS whose folder is not there.
missing_headers() {
    local from to
    while read -r from to; do
        if [ -n "$from" ] && [ ! -e "$TRTACT_CACHE/$to/NvOnnxParser.h" ]; then
            printf '%s %s\n' "$from" "$to"
        fi
    done <<<"$HEADERS"
}

# place FROM TO: FROM becomes the folder $TRTACT_CACHE/TO.
place() {
    mkdir -p "$(dirname "$TRTACT_CACHE/$2")"
    rm -rf "${TRTACT_CACHE:?}/$2"
    mv "$1" "$TRTACT_CACHE/$2"
}

fetch_libraries() {
    python3 -m pip --version >/dev/null 2>&1 || fail "python3 with pip is needed to fetch the libraries (Debian, Ubuntu: python3-pip)"
    say "TensorRT for RTX $VERSION (90 MB)"
    wheels "$SCRATCH" "$WHEEL"
    # One member at a time: unpacked, the wheel is 225 MB.
    mkdir "$SCRATCH/lib"
    python3 - "$SCRATCH"/*.whl "$SCRATCH/lib" <<'EOF' || fail "the wheel does not hold what it should"
import os, shutil, sys, zipfile
wheel, folder = sys.argv[1:]
wanted = {"libtensorrt_rtx.so.1", "libtensorrt_onnxparser_rtx.so.1", "LICENSE.txt"}
with zipfile.ZipFile(wheel) as z:
    for member in z.namelist():
        name = os.path.basename(member)
        if name in wanted:
            wanted.remove(name)
            with z.open(member) as src, open(os.path.join(folder, name), "wb") as dst:
                shutil.copyfileobj(src, dst)
if wanted:
    sys.exit("missing: " + ", ".join(wanted))
EOF
    rm -f "$SCRATCH"/*.whl
    place "$SCRATCH/lib" "tensorrt-rtx-$VERSION/lib"
}

fetch_headers() {
    local dependency name from to
    command -v cargo >/dev/null || fail "cargo is needed to fetch the headers (Debian: cargo-web, Ubuntu: cargo)"
    say "headers of TensorRT (5 MB)"
    mkdir "$SCRATCH/crate"
    {
        printf '[package]\nname = "headers"\nversion = "0.0.0"\nedition = "2018"\n[lib]\npath = "empty.rs"\n'
        printf '[dependencies]\ntrtx-sys = "=%s"\n[patch.crates-io]\n' "$CRATE_VERSION"
        for dependency in autocxx:0.30.0 autocxx-build:0.30.0 bindgen:0.72.0 bitflags:2.13.1 cc:1.0.0 cxx:1.0.0 regex:1.0.0; do
            name=${dependency%:*}
            mkdir "$SCRATCH/crate/$name"
            : >"$SCRATCH/crate/$name/empty.rs"
            printf '[package]\nname = "%s"\nversion = "%s"\n[lib]\npath = "empty.rs"\n' \
                "$name" "${dependency#*:}" >"$SCRATCH/crate/$name/Cargo.toml"
            printf '%s = { path = "%s" }\n' "$name" "$name"
        done
    } >"$SCRATCH/crate/Cargo.toml"
    : >"$SCRATCH/crate/empty.rs"
    (
        cd "$SCRATCH/crate"
        logged cargo-tensorrt-rtx cargo vendor vendor
    )
    # cargo has checked the crate against this line of its lock file.
    grep -q "^checksum = \"$CRATE_SHA256\"$" "$SCRATCH/crate/Cargo.lock" ||
        fail "the crate trtx-sys $CRATE_VERSION is not the one known here (sha256 differs)"
    while read -r from to; do
        place "$SCRATCH/crate/vendor/trtx-sys/TensorRT-Headers/$from" "$to"
    done < <(missing_headers)
    [ -z "$(missing_headers)" ] || fail "the crate trtx-sys $CRATE_VERSION does not hold what it should"
}

if have_libraries && [ -z "$(missing_headers)" ]; then
    exit 0
fi
[ "$(uname -sm)" = "Linux x86_64" ] || fail "TensorRT for RTX comes for Linux on x86_64 only, this is $(uname -sm)"
scratch
have_libraries || fetch_libraries
[ -z "$(missing_headers)" ] || fetch_headers
