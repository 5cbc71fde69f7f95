#!/usr/bin/env bash
# All tests: go vet, the C++ tests, the Go tests; then one line of counts.
# Arguments are packages (default: all) and flags for go test.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

[ $# -gt 0 ] || set -- ./...
go vet ./...
go build -o build/testsummary ./scripts/testsummary
if [ -e build/CTestTestfile.cmake ] && ctest --test-dir build --show-only=json-v1 2>/dev/null | grep -q '"command"'; then
    ctest --test-dir build --output-on-failure
fi
# go test's own status is in the events that testsummary judges by.
{ go test -json "$@" || true; } | build/testsummary
