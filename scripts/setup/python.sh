#!/usr/bin/env bash
# A Python environment with the tools that tests and benchmarks compare with:
# $TRTACT_CACHE/python-HASH, HASH being that of the requirements file. The
# program itself needs no Python. Prints the path of its python with --find.
. "$(dirname "$0")/common.sh"

requirements=$ROOT_DIR/scripts/requirements-test.txt
hash=$(sha256sum "$requirements" | cut -c 1-12)
target=$TRTACT_CACHE/python-$hash
if [ -e "$target/complete" ]; then
    [ "${1:-}" != --find ] || echo "$target/bin/python"
    exit 0
fi
[ "${1:-}" != --find ] || exit 1

# Wheels are pinned for these two versions only.
for python in python3 /usr/bin/python3 python3.11 python3.12; do
    case $("$python" -c 'import sys, venv, ensurepip; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) in
        3.11 | 3.12) found=$python; break ;;
    esac
done
if [ -z "${found:-}" ]; then
    say "reference tools need Python 3.11 or 3.12 with venv: tests that compare with them will be skipped"
    exit 0
fi

say "reference tools for tests: onnx, onnxruntime, pycocotools, OpenCV (120 MB)"
# A virtual environment holds its own path, so it is made in place and marked when complete.
rm -rf "$target"
mkdir -p "$TRTACT_CACHE"
logged python-venv "$found" -m venv "$target"
logged python-wheels "$target/bin/python" -m pip install --quiet --no-deps --only-binary=:all: \
    --require-hashes --requirement "$requirements"
touch "$target/complete"
