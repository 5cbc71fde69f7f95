#!/usr/bin/env bash
# make demo: the main job on the bundled detector, then a few pictures with the
# boxes of the float and the INT8 model side by side.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
sample=examples/shapes out=build/demo
mkdir -p "$out"

# Without a TensorRT (exit 3) the quantised model is there all the same.
status=0
build/trtact build $sample/shapes.onnx --int8 --data $sample/calib/images \
    --val $sample/val/annotations.json -o $out/shapes.engine >$out/result.txt || status=$?
if [ $status -eq 0 ] || [ $status -eq 3 ]; then
    build/trtact detect $sample/shapes.onnx $sample/val/images/00000[0-7].jpg \
        --compare $out/shapes.onnx -o $out/pictures --quiet >/dev/null
fi
cat $out/result.txt
[ ! -d $out/pictures ] || echo "pictures      $out/pictures (float and INT8 side by side)"
exit $status
