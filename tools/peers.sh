#!/bin/sh
# Install the foreign peers of the interop tests where we may; where we may not, those tests are skipped by name.
set -eu
sh "$(dirname "$0")/npm_peers.sh" ||
    echo "npm could not install oidc-provider and samlp. The tests that need them are skipped by name." >&2
missing=
want() { # a file or command that shows that it is there, and its package
    command -v "$1" >/dev/null || [ -e "$1" ] || missing="$missing $2"
}
want storescu dcmtk
want Orthanc orthanc
want /usr/share/orthanc/plugins/libOrthancDicomWeb.so orthanc-dicomweb
want testssl testssl.sh
want slapd slapd
want ldapsearch ldap-utils
want curl curl
# A browser is large, and not every Debian has this one: it is asked for apart, so that the others come all the same.
large=
command -v chromium >/dev/null && command -v chromedriver >/dev/null || large="chromium chromium-driver"
[ -n "$missing$large" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing foreign peers:$missing $large ..."
    # Orthanc and slapd come with services that listen in plaintext. invoke-rc.d asks this policy whether it may start
    # one; 101 is no. A policy that the machine has already is left as it is. Source: Debian policy-rc.d.
    policy=/usr/sbin/policy-rc.d
    made=
    if [ ! -e "$policy" ]; then
        made=1
        trap 'rm -f "$policy"' EXIT INT TERM
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    status=0
    take() { # packages
        [ $# -eq 0 ] ||
            DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    }
    apt-get update -qq || status=$?
    # shellcheck disable=SC2086 # the lists are of words
    { take $missing || status=$?; take $large || status=$?; }
    if [ -n "$made" ]; then
        rm -f "$policy"
        trap - EXIT INT TERM
    fi
    [ "$status" != 0 ] || exit 0
fi
echo "Not installed:$missing $large. The tests that need them are skipped by name." >&2
