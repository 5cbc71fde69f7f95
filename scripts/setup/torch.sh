#!/usr/bin/env bash
# A Python environment with PyTorch, in $TRTACT_CACHE/training: trains the bundled
# sample (scripts/train_shapes.sh), makes reference values (make references) and is
# the peer of `make bench`. 6 GB, so nothing installs it unasked. Prints the path of
# its python; with --find only if it is there.
. "$(dirname "$0")/common.sh"

target=$TRTACT_CACHE/training
if [ ! -e "$target/complete" ]; then
    [ "${1:-}" != --find ] || exit 1
    say "PyTorch (6 GB)" >&2
    rm -rf "$target"
    mkdir -p "$TRTACT_CACHE"
    logged training-venv python3 -m venv "$target"
    logged training-wheels "$target/bin/python" -m pip install --quiet --requirement "$ROOT_DIR/scripts/requirements-train.txt"
    touch "$target/complete"
fi
echo "$target/bin/python"
