#!/usr/bin/env bash
# make check-tensorrt: the shims compiled against every set of TensorRT headers that
# is here, warnings being errors, and opened with TensorRT's real libraries.
#
#   scripts/check_tensorrt.sh [VERSION...]     default: 8.4.3 8.6.1 10.6.0 11.2.1
#
# Libraries: from Maven Central with the ordinary client (mvn), 340 MB to 1.1 GB to
# fetch for each version, checked against the sha256 below and kept, core and parser
# only, in $TRTACT_CACHE/tensorrt-check (1.6 GB for all). Headers come with no package:
# TensorRT for RTX 1.3 to 1.7 and TensorRT 11.4 are there after set-up; others are taken from
# $TRTACT_TRT_HEADERS, a folder of folders named 8.4, 8.6, 10.6, 11.1 and so on, each
# with NvInfer.h and NvOnnxParser.h (TensorRT's open source repository has them in
# include/, for 8.x the parser's is in onnx-tensorrt), and from $TENSORRT_ROOT/include.
#
# A shim works with its headers' version and what is newer of the same major one: a
# library is opened by the newest shim that is not newer than itself.
. "$(dirname "$0")/setup/common.sh"
cd "$ROOT_DIR"
. scripts/env.sh

# version, Maven's version, sha256 of the archive
TABLE="
8.4.3  8.4-1.5.8   3ff2c81263b345984fd6da9d15f47969006f0b5e6dcb142f5dd700c0a09bb8eb
8.6.1  8.6-1.5.10  8694feefe1b23d079a23527e3a65ca1dead18fccedfe2afa96651174a903b379
10.6.0 10.6-1.5.11 e7979693541f996bc284335b05f5e890a82b8b3aba50d680e1343a139cf291c4
11.2.1 11.2-1.5.14 909dea6c768a0db60ab53d76d9f089c78cada1b55ad5d3d78b308b140f669f6d
"
[ $# -gt 0 ] || set -- $(awk 'NF { print $1 }' <<<"$TABLE")

store=$TRTACT_CACHE/tensorrt-check
out=$ROOT_DIR/build/check-tensorrt
rm -rf "$out"
mkdir -p "$store" "$out"

# fetch VERSION: its core and parser into $store/VERSION/lib.
fetch() {
    local version=$1 major=${1%%.*} coordinate sum jar
    if [ -e "$store/$version/lib/libnvonnxparser.so.$major" ]; then return; fi
    read -r coordinate sum < <(awk -v v="$version" '$1 == v { print $2, $3 }' <<<"$TABLE") || fail "version $version is not in the table"
    command -v mvn >/dev/null || fail "mvn is needed to fetch TensorRT $version (Debian, Ubuntu: maven)"
    say "TensorRT $version"
    scratch
    logged "tensorrt-$version" mvn -q -B dependency:get -Dtransitive=false -Dmaven.repo.local="$store/maven" \
        -Dartifact="org.bytedeco:tensorrt:$coordinate:jar:linux-x86_64-redist"
    jar=$store/maven/org/bytedeco/tensorrt/$coordinate/tensorrt-$coordinate-linux-x86_64-redist.jar
    echo "$sum  $jar" | sha256sum --check --status || fail "TensorRT $version is not the one known here (sha256 differs): $jar"
    mkdir -p "$SCRATCH/lib"
    unzip -q -j "$jar" "*/libnvinfer.so.$major" "*/libnvonnxparser.so.$major" -d "$SCRATCH/lib" ||
        fail "the archive of TensorRT $version does not hold what it should"
    if [ "$major" = 8 ]; then
        # The parser of 8.x is linked with the plug-ins, and these with cuBLAS and
        # cuDNN. None is called here: an empty library takes their place.
        printf '_Bool initLibNvInferPlugins(void* logger, const char* space) { (void)logger, (void)space; return 1; }\n' |
            cc -shared -fPIC -Wl,-soname,libnvinfer_plugin.so.8 -x c - -o "$SCRATCH/lib/libnvinfer_plugin.so.8"
    fi
    rm -rf "${store:?}/$version" "$store/maven/org/bytedeco"
    mkdir "$store/$version"
    mv "$SCRATCH/lib" "$store/$version/lib"
    rm -rf "$SCRATCH"
}

# number FOLDER: the version of the headers in it, 8.4.
number() {
    awk '
        $2 ~ /^(NV_TENSORRT|TRT)_MAJOR(_[A-Z]+)?$/ && $3 ~ /^[0-9]+$/ { major = $3 }
        $2 ~ /^(NV_TENSORRT|TRT)_MINOR(_[A-Z]+)?$/ && $3 ~ /^[0-9]+$/ { minor = $3 }
        END { print major "." minor }' "$1/NvInferVersion.h"
}

shims="" # lines "VERSION FILE", without TensorRT for RTX
seen=" "
compile() {
    local folder=$1 version family lib into
    version=$(number "$folder")
    family=trt${version%%.*}
    if grep -q MAJOR_RTX "$folder/NvInferVersion.h"; then family=rtx${version%%.*}; fi
    if [[ $seen == *" $family-$version "* ]]; then return; fi
    seen+="$family-$version "
    lib=$out/shims/$family-$version/libtrtact_trt_$family.so
    into=(-O1 -fPIC -shared -fvisibility=hidden -fvisibility-inlines-hidden -o "$lib" -Wl,-Bsymbolic -Wl,-z,now -Wl,--no-undefined)
    if [[ $family == rtx* ]]; then into=(-fsyntax-only); fi # the one library there is of it, all tests open
    mkdir -p "$(dirname "$lib")"
    "${CXX:-c++}" -std=c++17 -Wall -Wextra -Werror -Wno-deprecated-declarations -DTRTACT_TRT_FAMILY="\"$family\"" \
        -Icsrc/include -Icsrc -isystem "$folder" -isystem csrc/tensorrt/cuda csrc/tensorrt/*.cpp "${into[@]}" -ldl -lpthread ||
        fail "the shim does not compile against the headers in $folder"
    say "compiled against $family $version"
    if [[ $family == trt* ]]; then shims+="$version $lib"$'\n'; fi
}

for folder in "${TRTACT_TRT_RTX_INCLUDE:-}" ${TRTACT_TRT_INCLUDE:-} "${TENSORRT_ROOT:+$TENSORRT_ROOT/include}" \
    "$TRTACT_CACHE"/tensorrt-headers/* "${TRTACT_TRT_HEADERS:+$TRTACT_TRT_HEADERS}"/*; do
    if [ -n "$folder" ] && [ -e "$folder/NvInferVersion.h" ]; then compile "$folder"; fi
done

# newest VERSION: the newest shim for it.
newest() {
    local major=${1%%.*} minor
    minor=$(cut -d. -f2 <<<"$1")
    awk -F'[. ]' -v major="$major" -v minor="$minor" '$1 == major && $2 <= minor { print }' <<<"$shims" | sort -V | tail -n 1
}

for version; do
    fetch "$version"
    read -r headers shim < <(newest "$version") || true
    if [ -z "${shim:-}" ]; then
        say "TensorRT $version: no headers here to open it with (TRTACT_TRT_HEADERS)"
        continue
    fi
    mkdir -p "$out/cases/$version"
    ln -s "$shim" "$out/cases/$version/"
    printf '%s\n' "$store/$version/lib" >"$out/cases/$version/libraries"
    headers="" shim=""
done
TRTACT_TRT_CHECK=$out go test -count=1 -v -run 'TestTensorRTVersions' ./trt | grep -vE '^(=== |PASS$|ok )'
