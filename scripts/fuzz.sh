#!/usr/bin/env bash
# Runs every fuzz test of the tree for a while (first argument, default 20s).
# What it finds is kept in the package's testdata/fuzz and fails from then on in
# every ordinary test run.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
time=${1:-20s}
failed=0
for package in $(go list ./...); do
    # A package that does not build must not pass as one without fuzz tests.
    for name in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || [ "${PIPESTATUS[0]}" -eq 0 ]); do
        echo "fuzz: $package $name"
        go test "$package" -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 5x || failed=1
    done
done
exit $failed
