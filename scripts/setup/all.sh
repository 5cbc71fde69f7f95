#!/usr/bin/env bash
# Every set-up step in order. "all.sh test" adds what only tests need.
. "$(dirname "$0")/common.sh"

"$SETUP_DIR/system.sh"
go=$("$SETUP_DIR/go.sh")
cd "$ROOT_DIR"
logged go-modules env GOTOOLCHAIN=local "$go" mod download
"$SETUP_DIR/onednn.sh"
if [ -x "$SETUP_DIR/tensorrt-rtx.sh" ]; then
    "$SETUP_DIR/tensorrt-rtx.sh"
fi
if [ "${1:-}" = test ]; then
    "$SETUP_DIR/python.sh"
    "$SETUP_DIR/cuda.sh" || say "the CUDA backend is not compiled; its kernels are tested on the emulated device all the same"
    "$SETUP_DIR/mpi.sh"
fi
