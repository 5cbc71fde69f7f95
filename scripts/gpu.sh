#!/usr/bin/env bash
# make test-gpu, make bench-gpu: what needs an NVIDIA GPU. Without one they say why and
# end well, so that a list of all checks runs anywhere.
#
#   scripts/gpu.sh test             the Go tests named TestGPU...; ends with a table
#   scripts/gpu.sh bench [MODEL...] every model in FP32, FP16, INT8 and INT8+FP16, in
#                                   turns, as Markdown (default: the bundled detector,
#                                   then those of TRTACT_DATA)
#
# What stands between the two lines of = goes into docs/results.md as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

what=${1:-test}
shift || true
case $what in test | bench) ;; *) echo "gpu.sh: want test or bench, not $what" >&2; exit 2 ;; esac
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
    echo "$line"
    exit $status
    ;;
esac
