#!/bin/sh
# Fetch the .deb files that urls.tsv names (file, sha256, URL) beside this script, with apt's own
# helper: every base with apt has it. Runs as root in an image build, before install.sh.
set -eu
cd "$(dirname "$0")"
tab=$(printf '\t')
helper=/usr/lib/apt/apt-helper

fail() {
    echo "envfreeze: $*" >&2
    exit 1
}

[ -x "$helper" ] || fail "the base image has no apt; choose a Debian or Ubuntu base"

# The base may have no certificates yet, and does not need them: each file has to have its sha256,
# here and again in install.sh.
while IFS="$tab" read -r file sha256 url; do
    "$helper" -o Acquire::https::Verify-Peer=false -o APT::Sandbox::User=root \
        download-file "$url" "$file" "SHA256:$sha256" </dev/null ||
        fail "$url cannot be had as the lock names it; mirrors drop old versions, an archive of" \
            "snapshots keeps them"
done <urls.tsv
