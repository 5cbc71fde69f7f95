#!/usr/bin/env bash
# CUDA's compiler: builds the CUDA backend, also on a machine without a GPU.
# An installed CUDA (CUDA_HOME, nvcc on the PATH, /usr/local/cuda), 11.8 to 13, is
# used as it is; else compiler, headers and static runtime come as wheels into
# $TRTACT_CACHE/cuda-VERSION. cuDNN and cuBLAS are opened when the program runs
# and are not needed here. With --find it prints the folder, or fails.
. "$(dirname "$0")/common.sh"

VERSION=13.5.37
WHEELS=(
    "nvidia-cuda-nvcc==13.5.37    f5c4f7ead5d964fb4af42bbf1e6d3ec3c1e6e9d83b53749f691d387e7fcaa3a7"
    "nvidia-nvvm==13.5.37         c41bfa362e407405163f103c2229f0765f8cc2ed7d148b754dc77f228bf7e070"
    "nvidia-cuda-crt==13.5.37     e898b7f73d3035fa89915a3f7bf3b54a73e90249746111aed295822c4729bb29"
    "nvidia-cuda-runtime==13.5.37 df2b79a8852f10d1fef8c848489c49eebb5754051bf870202a862831412b179d"
    "nvidia-cuda-cccl==13.3.5.0.6 d5230098fa2df5021e1a00c0c4eee41797671a91119d31e892463e5ccf3ee326"
)

new_enough() { # new_enough FOLDER
    local release
    release=$("$1/bin/nvcc" --version 2>/dev/null | sed -n 's/.*release \([0-9]*\)\.\([0-9]*\).*/\1 \2/p') || return 1
    # shellcheck disable=SC2086
    set -- $release
    [ $# -eq 2 ] && { [ "$1" -ge 12 ] || { [ "$1" -eq 11 ] && [ "$2" -ge 8 ]; }; }
}

target=$TRTACT_CACHE/cuda-$VERSION
on_path=$(command -v nvcc || true)
for folder in "${CUDA_HOME:-}" "${on_path:+$(dirname "$(dirname "$(readlink -f "$on_path")")")}" /usr/local/cuda "$target"; do
    if [ -n "$folder" ] && [ -x "$folder/bin/nvcc" ] && new_enough "$folder"; then
        [ "${1:-}" != --find ] || echo "$folder"
        exit 0
    fi
done
[ "${1:-}" != --find ] || exit 1

[ "$(uname -sm)" = "Linux x86_64" ] || fail "CUDA's compiler comes as a wheel for Linux on x86_64 only, this is $(uname -sm)"
say "CUDA compiler $VERSION (129 MB)"
scratch
wheels "$SCRATCH" "${WHEELS[@]}"
for wheel in "$SCRATCH"/*.whl; do
    python3 -m zipfile -e "$wheel" "$SCRATCH/unpacked"
    rm "$wheel"
done
tree=$SCRATCH/unpacked/nvidia/cu13
# zip files carry no permissions that zipfile would restore
chmod +x "$tree"/bin/* "$tree"/nvvm/bin/*
new_enough "$tree" || fail "the downloaded nvcc does not run on this machine"
rm -rf "$target"
mv "$tree" "$target"
