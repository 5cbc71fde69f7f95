#!/usr/bin/env bash
# Trains the bundled sample detector anew: makes the pictures, a Python
# environment with PyTorch in the cache folder, and trains on the CPU.
#
#   scripts/train_shapes.sh [OUT.onnx] [flags of scripts/shapes_training/train.py]
#
# examples/shapes/README.md tells with which flags the bundled file was made.
STEP=train_shapes
. "$(dirname "$0")/setup/common.sh"
. "$ROOT_DIR/scripts/env.sh"
cd "$ROOT_DIR"

out=${1:-build/shapes.onnx}
[ $# -eq 0 ] || shift
python=$TRTACT_CACHE/training/bin/python
if [ ! -e "$TRTACT_CACHE/training/complete" ]; then
    say "PyTorch for training (6 GB)"
    rm -rf "$TRTACT_CACHE/training"
    logged training-venv python3 -m venv "$TRTACT_CACHE/training"
    logged training-wheels "$python" -m pip install --quiet --requirement scripts/requirements-train.txt
    touch "$TRTACT_CACHE/training/complete"
fi
pictures=$TRTACT_CACHE/shapes
if [ ! -e "$pictures/train/annotations.json" ]; then
    say "6000 pictures for training, 500 for measuring"
    go run ./scripts/shapes -out "$pictures/train" -n 6000 -seed 100
    go run ./scripts/shapes -out "$pictures/val" -n 500 -seed 7
fi
mkdir -p "$(dirname "$out")"
# Threads that wait in their sleep: a busy neighbour costs time, not ten times the time.
OMP_WAIT_POLICY=passive nice "$python" scripts/shapes_training/train.py --pictures "$pictures/train" --out "$out" "$@"
