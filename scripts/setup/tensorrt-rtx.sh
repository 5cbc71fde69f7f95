#!/usr/bin/env bash
# TensorRT for RTX: builds engines on a machine without a GPU.
# Puts libraries and headers into $TRTACT_CACHE/tensorrt-rtx-VERSION/{lib,include},
# and the headers of TensorRT proper 11.4, for whoever has that library, into
# $TRTACT_CACHE/tensorrt-11.4/include.
#
# NVIDIA gives the libraries as a Python wheel without headers. The headers that
# belong to them (Apache-2.0) are part of a Rust crate. Nothing of the crate is
# compiled: its dependencies are replaced by empty ones, so cargo fetches that
# one crate and no other, and any cargo since 2021 will do.
. "$(dirname "$0")/common.sh"

VERSION=1.7.1
PROPER=11.4
WHEEL="tensorrt-rtx-cu12-libs==1.7.1.116 68c2615fef1556e7721235682f460f3d78ab89df320a3f34a416367b144817a8"
CRATE_VERSION=0.9.1
CRATE_SHA256=5480ee056292951daa1bc74532162d6cb75190f091e45d7d97c0c356916ae171

target=$TRTACT_CACHE/tensorrt-rtx-$VERSION
proper=$TRTACT_CACHE/tensorrt-$PROPER
complete() {
    [ -e "$target/lib/libtensorrt_rtx.so.1" ] &&
        [ -e "$target/lib/libtensorrt_onnxparser_rtx.so.1" ] &&
        [ -e "$target/include/NvOnnxParser.h" ] &&
        [ -e "$proper/include/NvOnnxParser.h" ]
}
if complete; then
    exit 0
fi

[ "$(uname -sm)" = "Linux x86_64" ] || fail "TensorRT for RTX comes for Linux on x86_64 only, this is $(uname -sm)"
python3 -m pip --version >/dev/null 2>&1 || fail "python3 with pip is needed to fetch the libraries (Debian, Ubuntu: python3-pip)"
command -v cargo >/dev/null || fail "cargo is needed to fetch the headers (Debian: cargo-web, Ubuntu: cargo)"

say "TensorRT for RTX $VERSION (90 MB)"
scratch
wheels "$SCRATCH" "$WHEEL"

# One member at a time: unpacked, the wheel is 225 MB.
mkdir -p "$SCRATCH/tree/lib"
python3 - "$SCRATCH"/*.whl "$SCRATCH/tree" <<'EOF' || fail "the wheel does not hold what it should"
import os, shutil, sys, zipfile
wheel, tree = sys.argv[1:]
wanted = {"libtensorrt_rtx.so.1": "lib", "libtensorrt_onnxparser_rtx.so.1": "lib", "LICENSE.txt": "."}
with zipfile.ZipFile(wheel) as z:
    for member in z.namelist():
        folder = wanted.pop(os.path.basename(member), None)
        if folder:
            to = os.path.join(tree, folder, os.path.basename(member))
            with z.open(member) as src, open(to, "wb") as dst:
                shutil.copyfileobj(src, dst)
if wanted:
    sys.exit("missing: " + ", ".join(wanted))
EOF
rm -f "$SCRATCH"/*.whl

mkdir -p "$SCRATCH/crate"
{
    printf '[package]\nname = "headers"\nversion = "0.0.0"\nedition = "2018"\n[lib]\npath = "empty.rs"\n'
    printf '[dependencies]\ntrtx-sys = "=%s"\n[patch.crates-io]\n' "$CRATE_VERSION"
    for dependency in autocxx:0.30.0 autocxx-build:0.30.0 bindgen:0.72.0 bitflags:2.13.1 cc:1.0.0 cxx:1.0.0 regex:1.0.0; do
        name=${dependency%:*}
        mkdir -p "$SCRATCH/crate/$name"
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

headers=$SCRATCH/crate/vendor/trtx-sys/TensorRT-Headers
mkdir -p "$SCRATCH/proper"
mv "$headers/TRT-RTX-1.7" "$SCRATCH/tree/include"
mv "$headers/TRT-Enterprise-$PROPER" "$SCRATCH/proper/include"
rm -rf "$target" "$proper"
mv "$SCRATCH/tree" "$target"
mv "$SCRATCH/proper" "$proper"
complete || fail "files are missing in $target"
