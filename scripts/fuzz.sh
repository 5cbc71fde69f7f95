#!/usr/bin/env bash
# Runs every fuzz test of the tree for a while (first argument, default 20s).
# What it finds is kept in the package's testdata/fuzz and fails from then on in
# every ordinary test run.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
time=${1:-20s}
failed=0
# By their source: asking `go test -list` would compile every package's tests first.
while IFS=: read -r file line; do
    package=$(dirname "$file") name=${line#func } name=${name%%(*}
    echo "fuzz: $package $name"
    go test "$package" -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 5x || failed=1
done < <(grep -rE '^func Fuzz' --include='*_test.go' .)
exit $failed
