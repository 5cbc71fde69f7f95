# What the set-up steps share; sourced, never run.
#
# A step is a small script that makes sure of one thing. It says nothing when
# the thing is there already, one line when it does something, one line on
# standard error when it cannot. Everything fetched lands in $TRTACT_CACHE,
# checked against a sha256 written down here in the tree, and is put in place
# by one rename, so that a killed set-up leaves nothing half-unpacked.
set -euo pipefail

SETUP_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT_DIR=$(cd "$SETUP_DIR/../.." && pwd)
export TRTACT_CACHE=${TRTACT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/trtact}
export PIP_DISABLE_PIP_VERSION_CHECK=1
export PATH=$PATH:/usr/local/go/bin:$HOME/.cargo/bin # where Go and cargo install themselves
STEP=$(basename "$0" .sh)

say()  { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s: %s\n' "$STEP" "$*" >&2; exit 1; }

# logged NAME COMMAND...: runs the command with its output in a log file; when
# it fails, the last telling line of the log and the log's place are the error.
logged() {
    local name=$1; shift
    local log=$TRTACT_CACHE/log/$name.log
    mkdir -p "$TRTACT_CACHE/log"
    if ! "$@" >"$log" 2>&1 </dev/null; then
        local cause
        cause=$(grep -iE '(^| )(error|fatal|E:|cannot|could not|no such)' "$log" | tail -n 1 || true)
        [ -n "$cause" ] || cause=$(tail -n 1 "$log")
        fail "$name failed: ${cause:-no output} (whole output: $log)"
    fi
}

# scratch: a new folder inside the cache, removed when the step ends.
scratch() {
    mkdir -p "$TRTACT_CACHE"
    SCRATCH=$(mktemp -d "$TRTACT_CACHE/.$STEP.XXXXXX")
    trap 'rm -rf "$SCRATCH"' EXIT
}

# wheels DIR REQUIREMENT...: downloads wheels from the Python registry that pip
# is set up for. Each requirement is "name==version sha256".
wheels() {
    local dir=$1; shift
    local line
    for line in "$@"; do
        printf '%s --hash=sha256:%s\n' "${line% *}" "${line##* }"
    done >"$dir/requirements.txt"
    logged "pip-$STEP" python3 -m pip download --quiet --no-deps --only-binary=:all: \
        --require-hashes --dest "$dir" --requirement "$dir/requirements.txt"
}
