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
#
# What stands between the two lines of = goes into docs/results.md as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

export CUDA_DEVICE_ORDER=PCI_BUS_ID # NVML's

what=${1:-test}
shift || true
case $what in test | sanitize | bench) ;; *) echo "gpu.sh: want test, sanitize or bench, not $what" >&2; exit 2 ;; esac
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
    go test -count=1 -v -run '^TestGPU' ./trt ./cuda ./cli ./internal/... >"$log" 2>&1 || status=$?
    TRTACT_TEST_DEVICE=cuda go test -count=1 -v ./internal/compute >>"$log" 2>&1 || status=$?
    TRTACT_TEST_DEVICE=cuda go test -count=1 -v -run 'Gradients|Student|Quantisers|Together' ./internal/nn >>"$log" 2>&1 || status=$?
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
    go test -c -o build/compute.test ./internal/compute
    cd internal/compute
    for tool in memcheck racecheck initcheck synccheck; do
        echo "$tool"
        own=() # of libraries' kernels these two tell what is on purpose
        case $tool in racecheck | initcheck) own=(--kernel-regex kns=trtact) ;; esac
        TRTACT_TEST_DEVICE=cuda "$sanitizer" --tool "$tool" "${own[@]}" --error-exitcode 1 ../../build/compute.test -test.count=1 >../../build/"$tool".log 2>&1 ||
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
    TRTACT_TEST_DEVICE=cuda go test -count=1 -run '^$' -bench ElementwiseTraining -benchtime 1x ./internal/compute | grep '^|' ||
        { echo "passes over memory: failed" >&2; status=1; }
    if [ -n "${TRTACT_DATA:-}" ]; then
        printf '\n### where a step of YOLOv5n spends its time, eight pictures together at 640, tf32\n'
        TRTACT_TEST_DEVICE=cuda TRTACT_TEST_PRECISION=tf32 go test -count=1 -run '^$' -bench StepParts ./internal/nn | grep '^|' ||
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
