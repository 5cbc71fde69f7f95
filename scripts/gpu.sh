#!/usr/bin/env bash
# make test-gpu, make bench-gpu: what needs an NVIDIA GPU. Without one they say why and
# end well, so that a list of all checks runs anywhere.
#
#   scripts/gpu.sh test             the Go tests named TestGPU..., and the tests of
#                                   operators and of training on the GPU; ends with a table
#   scripts/gpu.sh sanitize         the tests of operators under compute-sanitizer
#   scripts/gpu.sh bench [MODEL...] every model in FP32, FP16, INT8 and INT8+FP16, in
#                                   turns, as Markdown (default: the bundled detector,
#                                   then those of TRTACT_DATA); the backend's passes over
#                                   memory; the parts of a training step; a step beside
#                                   PyTorch's on the same GPU in fp32, tf32 and bf16, where
#                                   TRTACT_TORCH names a Python that has it
#   scripts/gpu.sh pack             build/gpu.tar.xz for a machine with a GPU and no Go:
#                                   unpacked at the root of a checkout there, the others
#                                   run from it (with YOLOv5n, if TRTACT_DATA has it)
#
# What stands between the two lines of = goes into docs/results.md as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

export CUDA_DEVICE_ORDER=PCI_BUS_ID # NVML's

what=${1:-test}
shift || true
case $what in test | sanitize | bench | pack) ;; *) echo "gpu.sh: want test, sanitize, bench or pack, not $what" >&2; exit 2 ;; esac

packages="internal/compute internal/nn internal/e2e cli trt cuda" # with tests that need a GPU
packed=$PWD/build/tests
export TRTACT_ROOT=$PWD

if [ "$what" = pack ]; then
    stage=$(mktemp -d)
    trap 'rm -rf "$stage"' EXIT
    mkdir -p "$stage/build/lib" "$stage/build/tests"
    for package in $packages; do go test -c -ldflags="-s -w" -o "$stage/build/tests/${package//\//-}.test" "./$package"; done
    cp -L build/lib/*.so* "$stage/build/lib/"
    cp build/trtact "$stage/build/"
    if [ -n "${TRTACT_DATA:-}" ]; then
        mkdir -p "$stage/build/data/models"
        cp "$TRTACT_DATA/models/yolov5n.onnx" "$stage/build/data/models/"
        (cd "$TRTACT_DATA" && head -n 32 coco/train.txt | sed 's|^|coco/|' | tar -c -T - coco/annotations.json) | tar -x -C "$stage/build/data"
        head -n 32 "$TRTACT_DATA/coco/train.txt" >"$stage/build/data/coco/train.txt"
    fi
    # The tests have most of the program in common: a window that reaches back over several.
    tar -C "$stage" -c build | xz -T1 --lzma2=preset=6,dict=192MiB >build/gpu.tar.xz
    ls -lh build/gpu.tar.xz
    exit 0
fi

# go_test PACKAGE ARGUMENT...: by Go, or without it what was compiled by pack.
go_test() {
    local package=$1
    shift
    if command -v go >/dev/null; then
        go test -count=1 "$@" "./$package"
    else
        (cd "$package" && "$packed/${package//\//-}.test" -test.count=1 "${@/#-/-test.}")
    fi
}

if [ -d build/data ]; then export TRTACT_DATA=${TRTACT_DATA:-$PWD/build/data}; fi
# cuDNN and cuBLAS are PyTorch's where it brings them.
if [ -n "${TRTACT_TORCH:-}" ]; then
    LD_LIBRARY_PATH=$("$TRTACT_TORCH" -c 'import glob, os, torch
print(":".join(glob.glob(os.path.join(os.path.dirname(torch.__path__[0]), "nvidia", "*", "lib"))))')${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export LD_LIBRARY_PATH
fi
if ! why=$(build/trtact --quiet gpu 2>&1 >/dev/null); then
    echo "$what-gpu: skipped: ${why#trtact: }"
    exit 0
fi
line="========"
heading() {
    printf '%s\n`make %s-gpu` on %s, %s:\n\n' "$line" "$what" \
        "$(build/trtact --json gpu | sed -n 's/.*"name": *"\([^"]*\)".*/\1/p' | head -n 1)" "$(build/trtact version | head -n 1)"
}

case $what in
test)
    log=build/test-gpu.log
    status=0
    : >"$log"
    for package in $packages; do go_test "$package" -v -run '^TestGPU' >>"$log" 2>&1 || status=$?; done
    export TRTACT_TEST_DEVICE=cuda
    go_test internal/compute -v >>"$log" 2>&1 || status=$?
    go_test internal/nn -v -run 'Gradients|Student|Quantisers|Together' >>"$log" 2>&1 || status=$?
    if why=$(grep -m 1 'skipped: needs an NVIDIA GPU and the CUDA backend' "$log"); then # there is a GPU
        status=1
        echo "test-gpu: the CUDA backend did not open: $why" >&2
    fi
    heading
    printf '| test | result | seconds |\n|---|---|---|\n'
    sed -nE 's/^ *--- (PASS|FAIL|SKIP): ([^ ]+) \(([0-9.]+)s\)$/| \2 | \1 | \3 |/p' "$log"
    printf '\n'
    grep -oE '\| .* \|$' "$log" || true # tables that tests print
    echo "$line"
    if [ $status -ne 0 ]; then
        grep -vE '^(=== |ok |\?)' "$log" >&2
        echo "test-gpu: failed; whole output: $log" >&2
    fi
    exit $status
    ;;
sanitize)
    sanitizer=$(command -v compute-sanitizer || echo "${TRTACT_CUDA_ROOT:-/usr/local/cuda}/bin/compute-sanitizer")
    [ -x "$sanitizer" ] || { echo "sanitize-gpu: needs compute-sanitizer of the CUDA toolkit on the PATH" >&2; exit 1; }
    if command -v go >/dev/null; then mkdir -p "$packed" && go test -c -o "$packed/internal-compute.test" ./internal/compute; fi
    cd internal/compute
    for tool in memcheck racecheck initcheck synccheck; do
        echo "$tool"
        own=() # of libraries' kernels these two tell what is on purpose
        case $tool in racecheck | initcheck) own=(--kernel-regex kns=trtact) ;; esac
        # Libraries ask CUDA for what a driver may not have, and go on: not errors of ours.
        TRTACT_TEST_DEVICE=cuda "$sanitizer" --report-api-errors no --tool "$tool" "${own[@]}" --error-exitcode 1 "$packed/internal-compute.test" -test.count=1 >../../build/"$tool".log 2>&1 ||
            { echo "sanitize-gpu: $tool found something; whole output: build/$tool.log" >&2; exit 1; }
    done
    echo "sanitize-gpu: nothing found"
    ;;
bench)
    [ $# -gt 0 ] || set -- examples/shapes/shapes.onnx ${TRTACT_DATA:+"$TRTACT_DATA"/models/*.onnx}
    heading
    status=0
    for model; do
        data=examples/shapes/calib
        if [[ $model != examples/shapes/* ]] && [ -n "${TRTACT_DATA:-}" ]; then data=$TRTACT_DATA/coco/train.txt; fi
        printf '\n### %s\n\n' "$(basename "$model" .onnx)"
        build/trtact --quiet bench "$model" --precision fp32,fp16,int8,int8+fp16 --data "$data" --cuda-graph --format markdown ||
            { echo "$(basename "$model"): failed" >&2; status=1; }
    done
    printf '\n### passes over memory, beside what the memory can do\n\n| pass | time | reached | of it |\n|---|--:|--:|--:|\n'
    TRTACT_TEST_DEVICE=cuda go_test internal/compute -run '^$' -bench ElementwiseTraining -benchtime 1x | grep '^|' ||
        { echo "passes over memory: failed" >&2; status=1; }
    if [ -n "${TRTACT_DATA:-}" ]; then
        printf '\n### where a step of YOLOv5n spends its time, eight pictures together at 640, tf32\n'
        TRTACT_TEST_DEVICE=cuda TRTACT_TEST_PRECISION=tf32 go_test internal/nn -run '^$' -bench StepParts | grep '^|' ||
            { echo "parts of a step: failed" >&2; status=1; }
    fi
    if [ -n "${TRTACT_TORCH:-}" ] && [ -n "${TRTACT_PYTHON:-}" ]; then
        printf '\n### a step of training\n\n'
        printf '```\n'
        "$TRTACT_PYTHON" scripts/bench/bench.py --device cuda || { echo "training: failed" >&2; status=1; }
        printf '```\n'
    fi
    echo "$line"
    exit $status
    ;;
esac
