#!/usr/bin/env bash
# make accuracy; flags go on to scripts/bench/accuracy.py.
cd "$(dirname "$0")/.." && . scripts/env.sh
[ -n "${TRTACT_PYTHON:-}" ] || { echo "accuracy: needs the reference tools: run make setup-test" >&2; exit 1; }
exec "$TRTACT_PYTHON" scripts/bench/accuracy.py "$@"
