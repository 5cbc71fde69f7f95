#!/usr/bin/env bash
# Every set-up step in order. "all.sh test" adds what only tests need.
. "$(dirname "$0")/common.sh"

"$SETUP_DIR/system.sh"
"$SETUP_DIR/go.sh" >/dev/null
"$SETUP_DIR/onednn.sh"
if [ -x "$SETUP_DIR/tensorrt-rtx.sh" ]; then
    "$SETUP_DIR/tensorrt-rtx.sh"
fi
if [ "${1:-}" = test ]; then
    "$SETUP_DIR/python.sh"
fi
