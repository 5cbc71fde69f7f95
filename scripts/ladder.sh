#!/usr/bin/env bash
# make ladder; flags go on to scripts/bench/ladder.py.
cd "$(dirname "$0")/.." && . scripts/env.sh
[ -n "${TRTACT_PYTHON:-}" ] || { echo "ladder: needs Python: run make setup-test" >&2; exit 1; }
exec "$TRTACT_PYTHON" scripts/bench/ladder.py "$@"
