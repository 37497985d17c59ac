#!/bin/sh
# Install the identity providers of the single sign-on tests where npm is; where it is not, those tests are skipped by
# name. Versions and hashes stand in the lock file; no script of a package is run.
set -eu
cd "$(dirname "$0")/../tests/peers"
if ! command -v npm >/dev/null; then
    echo "npm is not installed. The tests that need oidc-provider or samlp are skipped by name." >&2
    exit 0
fi
[ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --silent
