#!/usr/bin/env bash
# make check-cuda: what we declare of cuDNN, cuBLAS, NCCL and CUDA's driver beside NVIDIA's
# own headers, and their real libraries opened by our code. No GPU or driver is needed.
#
#   scripts/check_cuda.sh [CUDA...]     default: 11.8 12.1 12.9 13.5
#
# Compiled (csrc/check): every function of our tables has its namesake's parameters and
# result, every number is NVIDIA's. Run: every function is found in the library, and the
# versions are read as the packages are named.
#
# Headers and libraries: the wheels below, which pip fetches one by one (1.0 to 1.6 GB for
# each CUDA) and which go again when the headers and the libraries that are opened lie in
# $TRTACT_CACHE/cuda-check (4.1 GB for all).
. "$(dirname "$0")/setup/common.sh"
cd "$ROOT_DIR"
export PIP_NO_CACHE_DIR=1

# CUDA, package, sha256 of the wheel. The oldest and newest of each kind are here. "any" has
# headers of the runtime that before CUDA 13 came with the compiler.
TABLE="
any  nvidia-cuda-crt==13.5.37            e898b7f73d3035fa89915a3f7bf3b54a73e90249746111aed295822c4729bb29
any  nvidia-cuda-cccl==13.3.5.0.6        d5230098fa2df5021e1a00c0c4eee41797671a91119d31e892463e5ccf3ee326
11.8 nvidia-cuda-runtime-cu11==11.8.89   92d04069a987e1fbc9213f8376d265df0f7bb42617d44f5eda1f496acea7f2d1
11.8 nvidia-cudnn-cu11==8.5.0.96         402f40adfc6f418f9dae9ab402e773cfed9beae52333f6d86ae3107a1b9527e7
11.8 nvidia-cublas-cu11==11.10.3.66      d32e4d75f94ddfb93ea0a5dda08389bcc65d8916a25cb9f37ac89edaeed3bded
11.8 nvidia-nccl-cu11==2.13.4            dec943cc2b75a700565965b59918137778e7917802734f40bf6084c043d9ad98
12.1 nvidia-cuda-runtime-cu12==12.1.105  6e258468ddf5796e25f1dc591a31029fa317d97a0a94ed93468fc86301d61e40
12.1 nvidia-cudnn-cu12==8.9.7.29         adf4f59ed7a1341103822ed8df6e144f4d47ea8b10d9bf0ea0047ba738fd7b02
12.1 nvidia-cublas-cu12==12.1.3.1        ee53ccca76a6fc08fb9701aa95b6ceb242cdaab118c3bb152af4e579af792728
12.1 nvidia-nccl-cu12==2.18.3            89cf220910c43e53df992f54f7aa2a35c6d606b077c9ae95b1f17c544d3ad3f3
12.9 nvidia-cuda-runtime-cu12==12.9.79   25bba2dfb01d48a9b59ca474a1ac43c6ebf7011f1b0b8cc44f54eb6ac48a96c3
12.9 nvidia-cudnn-cu12==9.1.0.70         165764f44ef8c61fcdfdfdbe769d687e06374059fbb388b6c89ecb0e28793a6f
12.9 nvidia-cublas-cu12==12.9.3.13       d7d51055f161b317c7105ddaae90e71eda059026074ffef93cf7cde2886bfe72
12.9 nvidia-nccl-cu12==2.27.5            ad730cf15cb5d25fe849c6e6ca9eb5b76db16a80f13f425ac68d8e2e55624457
13.5 nvidia-cuda-runtime==13.5.37        df2b79a8852f10d1fef8c848489c49eebb5754051bf870202a862831412b179d
13.5 nvidia-cudnn-cu13==9.28.1.4         a54f205b1db1f2895d99f398754db1369816f0569dd459731f925635cf7b65ec
13.5 nvidia-cublas==13.10.0.20           dcc6d63884c53d07e267ce7e6feac17b2538cebaafec5db865736c3e28e4dc84
13.5 nvidia-nccl-cu13==2.32.3            1459723080ac889d73a26edfa3e04383a7928ab31ac8f0ec43b3ea9548b04ff3
"
[ $# -gt 0 ] || set -- $(awk 'NF && $1 != "any" { print $1 }' <<<"$TABLE" | uniq)

store=$TRTACT_CACHE/cuda-check
out=$ROOT_DIR/build/check-cuda
rm -rf "$out"
mkdir -p "$store" "$out"

# What is opened: of cuDNN the parts that its descriptors need. The part of cuDNN 8 with
# convolutions does not open without a driver.
LIBRARIES=('*/lib/libcudnn.so.*' '*/lib/libcudnn_ops_infer.so.*' '*/lib/libcudnn_graph.so.*'
    '*/lib/libcudnn_ops.so.*' '*/lib/libcudnn_cnn.so.*' '*/lib/libcublas.so.*' '*/lib/libcublasLt.so.*' '*/lib/libnccl.so.*')

# fetch CUDA: its headers into $store/CUDA/include, its libraries into $store/CUDA/lib.
fetch() {
    local line folder
    if [ -e "$store/$1" ]; then return; fi
    scratch
    folder=$SCRATCH/$1
    mkdir -p "$folder/include" "$folder/lib"
    while read -r line; do
        say "CUDA $1: ${line%% *}"
        wheels "$SCRATCH" "$line"
        # 11: some of these are not in this one
        unzip -q "$SCRATCH"/*.whl '*/include/*' "${LIBRARIES[@]}" -x '*/include/cccl/*' -d "$SCRATCH/wheel" 2>/dev/null ||
            [ $? -eq 11 ] || fail "${line%% *} cannot be unpacked with unzip"
        rm "$SCRATCH"/*.whl
        cp -r "$SCRATCH"/wheel/nvidia/*/include/. "$folder/include"
        find "$SCRATCH/wheel" -name '*.so.*' -exec mv -t "$folder/lib" {} +
        rm -rf "$SCRATCH/wheel"
    done < <(awk -v cuda="$1" '$1 == cuda || $1 == "any" { print $2, $3 }' <<<"$TABLE")
    mv "$folder" "$store/$1"
    rm -rf "$SCRATCH"
}

# named CUDA PACKAGE PARTS: the first so many parts of the package's version.
named() {
    awk -v cuda="$1" -v package="$2" '$1 == cuda && $2 ~ package { sub(/.*==/, "", $2); print $2 }' <<<"$TABLE" | cut -d. -f"1-$3"
}

# Every number that a header gives is compared with NVIDIA's.
for header in cuda/libraries collective/nvidia tensorrt/driver; do
    for name in $(grep -oP '\b(CUDNN|CUBLAS|NCCL|CUDA)_[A-Z0-9_]+(?= =)' "csrc/$header.h"); do
        grep -q "NUMBER($name," "csrc/check/${header#*/}.cc" || fail "csrc/check/${header#*/}.cc does not compare $name with NVIDIA's number"
    done
done

for cuda; do
    grep -q "^$cuda " <<<"$TABLE" || fail "CUDA $cuda is not in the table"
    fetch "$cuda"
    flags=(-std=c++17 -Wall -Wextra -Werror -Icsrc/include -Icsrc -isystem "$store/$cuda/include")
    for source in csrc/check/{libraries,nvidia,driver}.cc; do
        "${CXX:-c++}" "${flags[@]}" -fsyntax-only "$source" || fail "our declarations are not those of the headers in $store/$cuda/include"
    done
    "${CXX:-c++}" "${flags[@]}" -o "$out/open-$cuda" csrc/check/open.cc csrc/cuda/libraries.cc csrc/collective/{nccl,nvidia}.cc -ldl -lpthread
    expected="cuDNN $(named "$cuda" cudnn 3), cuBLAS $(named "$cuda" cublas 2), NCCL $(named "$cuda" nccl 3)"
    found=$(LD_LIBRARY_PATH=$store/$cuda/lib "$out/open-$cuda") || fail "the libraries in $store/$cuda/lib do not open"
    found=$(paste -sd, <<<"$found" | sed 's/,/, /g')
    [ "$found" = "$expected" ] || fail "CUDA $cuda: opened as $found, expected $expected"
    say "CUDA $cuda: declarations and numbers agree; opened $found"
done
