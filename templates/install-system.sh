#!/bin/sh
# Install the system packages of an environment from the .deb files in this directory.
#
# Reads packages.tsv (name, architecture, version, file; dependencies come first), SHA256SUMS
# and os-release. Uses no network. Runs as root in an image build, once.
set -eu
cd "$(dirname "$0")"
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true LC_ALL=C
tab=$(printf '\t')

fail() {
    echo "envfreeze: $*" >&2
    exit 1
}

# Packages of one release do not belong on another.
while IFS='=' read -r key wanted; do
    found=$(sed -n "s/^$key=//p" /etc/os-release 2>/dev/null | tr -d "\"'" | head -n 1)
    [ "$found" = "$wanted" ] ||
        fail "the base image has $key=${found:-none}, the environment was captured on $wanted;" \
            "choose a base of that release"
done <os-release

command -v dpkg >/dev/null || fail "the base image has no dpkg; choose a Debian or Ubuntu base"
sha256sum --quiet --strict -c SHA256SUMS || fail "a .deb is not what the lock names"

# "installed" and the wanted version, or something else.
state() {
    dpkg-query --show --showformat='${db:Status-Status} ${Version}' "$1:$2" 2>/dev/null || true
}

# The files of those packages that are not yet installed in the wanted version.
missing() {
    while IFS="$tab" read -r name arch version file; do
        [ "$(state "$name" "$arch")" = "installed $version" ] || echo "./$file"
    done <packages.tsv
}

# There is no init system in a build, so no package may start a service (Debian's invoke-rc.d).
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi

# Unpack everything, then configure it. A package that must find another one configured
# (Pre-Depends) can refuse the first time, so there are three rounds at most.
for round in 1 2 3; do
    todo=$(missing)
    [ -n "$todo" ] || break
    echo "envfreeze: round $round: $(echo "$todo" | wc -l) of $(wc -l <packages.tsv) packages"
    # File names hold no blanks and no wildcards (render/dockerfile.py checks), so this may split.
    # shellcheck disable=SC2086
    dpkg --force-downgrade --auto-deconfigure --unpack $todo || true
    dpkg --force-confdef --force-confold --configure --pending || true
done

todo=$(missing)
if [ -n "$todo" ]; then
    dpkg --audit >&2 || true
    fail "not installed as the lock names them:" $todo
fi
ldconfig

# Logs, backups and caches that would make every build differ.
rm -f /var/log/dpkg.log /var/log/alternatives.log /var/cache/ldconfig/aux-cache
rm -f /var/lib/dpkg/*-old /var/cache/debconf/*-old
echo "envfreeze: $(wc -l <packages.tsv) system packages are there, in the versions of the lock"
