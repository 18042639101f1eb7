#!/bin/sh
# run.sh - explores every scenario clean, then every mutant, a line each; the last line counts.
#
#     tests/model/run.sh PROGRAM [--large]
# SPDX-License-Identifier: MIT
set -u
program=${1:?usage: run.sh PROGRAM [--large]}
shift
out=$(mktemp) || exit 71
trap 'rm -f "$out"' EXIT
{ "$program" "$@" || echo "FAIL clean runs: exit status $?"; } | tee "$out"
{ "$program" --mutants || echo "FAIL mutants: exit status $?"; } | tee -a "$out"
passed=$(grep -c '^pass ' "$out")
failed=$(grep -c '^FAIL ' "$out")
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
