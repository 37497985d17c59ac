#!/bin/sh
# Unpack the OHIF viewer, 49 MB, for tests/interop/test_ohif.py. It is nowhere else needed, so nothing calls this by itself.
set -eu
version=3.12.10
sha512=d24b85eba32af5cf5d303fbe6d4b138ccac9a57270699873f41e2e4b6e380dac008d2913c0860553dde9c4fb915108b16918bb4001e517715ed6ab9d06566b98
mkdir -p "$(dirname "$0")/../tests/peers/ohif"
cd "$(dirname "$0")/../tests/peers/ohif"
[ ! -d package/dist ] || exit 0
npm pack --silent "@ohif/app@$version" >/dev/null
file="ohif-app-$version.tgz"
echo "$sha512  $file" | sha512sum --check --quiet
tar -xzf "$file" package/LICENSE package/dist
rm "$file"
