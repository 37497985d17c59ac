#!/bin/sh
# Everything a commit must pass, the slow ones side by side.
set -u
bin=.venv/bin
failed=0
$bin/ruff format --check --quiet . || { echo "format: run 'make fix'"; failed=1; }
$bin/ruff check --quiet . || failed=1
$bin/lint-imports --no-logo >/tmp/leadglass-imports.$$ 2>&1 & imports=$!
$bin/pyright >/tmp/leadglass-pyright.$$ 2>&1 & pyright=$!
$bin/mypy >/tmp/leadglass-mypy.$$ 2>&1 & mypy=$!
wait $imports || { cat /tmp/leadglass-imports.$$; failed=1; }
wait $pyright || { cat /tmp/leadglass-pyright.$$; failed=1; }
wait $mypy || { cat /tmp/leadglass-mypy.$$; failed=1; }
rm -f /tmp/leadglass-*.$$
$bin/python tools/generate_docs.py --check || failed=1
[ $failed = 0 ] && echo "check: all good"
exit $failed
