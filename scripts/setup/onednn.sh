#!/usr/bin/env bash
# oneDNN: the convolutions and matrix products of the CPU backend.
# Puts headers and library into $TRTACT_CACHE/onednn-VERSION/{include,lib}.
# To change the version, change the table; docs/dependencies.md says why this one.
. "$(dirname "$0")/common.sh"

VERSION=3.2.0
WHEELS=(
    "onednn-cpu-gomp==2023.2.0       2f22a54d6a890ed14bfa185d42a4be65d8b5b1df85dc1f0f3a9abe31620416fb"
    "onednn-devel-cpu-gomp==2023.2.0 9763c69e8c907e119056bd52ad918ca84ac9ba939d130a99dfa95ccca3e5e284"
)

target=$TRTACT_CACHE/onednn-$VERSION
if [ -e "$target/lib/libdnnl.so.3" ] && [ -e "$target/include/dnnl.hpp" ]; then
    exit 0
fi

say "oneDNN $VERSION (39 MB)"
scratch
wheels "$SCRATCH" "${WHEELS[@]}"
mkdir -p "$SCRATCH/tree/lib"
for wheel in "$SCRATCH"/*.whl; do
    python3 -m zipfile -e "$wheel" "$SCRATCH/unpacked"
done
mv "$SCRATCH"/unpacked/onednn_devel_*.data/data/include "$SCRATCH/tree/include"
mv "$SCRATCH"/unpacked/onednn_cpu_*.data/data/share/doc/onednn "$SCRATCH/tree/licenses"
# The wheel holds the library three times, as zip files know no links.
mv "$SCRATCH"/unpacked/onednn_cpu_*.data/data/lib/libdnnl.so.3 "$SCRATCH/tree/lib/libdnnl.so.3"
ln -s libdnnl.so.3 "$SCRATCH/tree/lib/libdnnl.so"
rm -rf "$target"
mv "$SCRATCH/tree" "$target"
