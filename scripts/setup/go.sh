#!/usr/bin/env bash
# Go 1.24 or newer. Prints the path of the go command on standard output.
#
# Looked for in this order: $GO, go on the PATH, /usr/local/go, and what an
# earlier set-up fetched. Where only an older Go is (Debian 12 has 1.19), it is
# used once, to download the newer toolchain as the Go module it is published
# as, checked by Go's checksum database like every other module.
. "$(dirname "$0")/common.sh"

WANTED=1.24
TOOLCHAIN=v0.0.1-go1.24.13.linux-amd64

new_enough() {
    local found
    found=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) || return 1
    found=${found#go}
    [ "$(printf '%s\n%s\n' "$WANTED" "$found" | sort -V | head -n 1)" = "$WANTED" ]
}

fetched=$TRTACT_CACHE/go-$TOOLCHAIN/bin/go
for go in "${GO:-}" "$(command -v go || true)" /usr/local/go/bin/go "$fetched"; do
    if [ -n "$go" ] && [ -x "$go" ] && new_enough "$go"; then
        echo "$go"
        exit 0
    fi
done
[ "${1:-}" != --find ] || exit 1

old=$(command -v go || true)
[ -n "$old" ] || fail "needs Go $WANTED or newer: install it from the Go project's download page into /usr/local/go, or install any older golang-go package and run this again"

say "Go toolchain ${TOOLCHAIN#*-} (75 MB)" >&2
scratch
# Its own module cache, which go writes read-only: made writable so that it can be moved.
trap 'chmod -R u+w "$SCRATCH"; rm -rf "$SCRATCH"' EXIT
fetch() { cd "$SCRATCH" && GO111MODULE=on GOFLAGS=-modcacherw GOMODCACHE="$SCRATCH/mod" "$old" mod download "golang.org/toolchain@$TOOLCHAIN"; }
logged go-toolchain fetch
tree=$SCRATCH/mod/golang.org/toolchain@$TOOLCHAIN
chmod -R u+w "$tree"
# Module archives carry no execute bits.
chmod +x "$tree"/bin/* "$tree"/pkg/tool/*/*
new_enough "$tree/bin/go" || fail "the downloaded Go toolchain does not run on this machine"
mv "$tree" "$TRTACT_CACHE/go-$TOOLCHAIN"
echo "$fetched"
