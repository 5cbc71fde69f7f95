#!/usr/bin/env bash
# make bench; flags go on to scripts/bench/bench.py.
cd "$(dirname "$0")/.." && . scripts/env.sh
[ -n "${TRTACT_PYTHON:-}" ] || { echo "bench: needs the reference tools: run make setup-test" >&2; exit 1; }
TRTACT_TORCH=${TRTACT_TORCH:-$(scripts/setup/torch.sh)}
export TRTACT_TORCH
exec "$TRTACT_PYTHON" scripts/bench/bench.py "$@"
