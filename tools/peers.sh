#!/bin/sh
# Install the foreign peers of the interop tests where we may; where we may not, those tests are skipped by name.
set -eu
missing=
command -v storescu >/dev/null || missing="$missing dcmtk"
command -v Orthanc >/dev/null || missing="$missing orthanc"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing foreign peers:$missing ..."
    # Orthanc's package starts a plaintext service of its own; a policy for this one call keeps it down.
    if apt-get update -qq && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq $missing >/dev/null; then
        exit 0
    fi
fi
echo "Not installed:$missing. The tests that need them are skipped by name." >&2
