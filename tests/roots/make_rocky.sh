#!/bin/sh
# Make rocky/, ndb/ and bdb/ again. Needs gcc, and Debian's packages rpm and db5.3-util.
#
# Rocky's mirrors cannot be reached from everywhere, so its packages are not Rocky's own: they
# are small ones with the names, versions and paths of Rocky 9.3, built by rpmbuild and installed
# by rpm into a database that rpm made. ndb/ holds the same headers as rpm's own rpmpkg.c writes
# them ($NDB names the program made of it, see README.md), bdb/ as Berkeley DB's db5.3_load does.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/make_libraries.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export SOURCE_DATE_EPOCH=1700000000

# package NAME VERSION RELEASE ARCH SOURCE LICENSE < the rest of the preamble; files in $work/NAME
package() {
    {
        cat <<SPEC
Name: $1
Version: $2
Release: $3
License: $6
Vendor: Rocky Enterprise Software Foundation
Summary: $1, small
AutoReqProv: no
%global _build_id_links none
%global source_date_epoch_from_changelog 0
%global use_source_date_epoch_as_buildtime 1
%global _buildhost builder.example
%global __os_install_post %{nil}
SPEC
        [ "$4" != noarch ] || echo "BuildArch: noarch"
        cat
        printf '%%description\n%s\n%%install\nmkdir -p %%{buildroot}\ncp -a %s/. %%{buildroot}\n' "$1" "$work/$1"
        printf '%%files\n'
        (cd "$work/$1" && find . ! -type d | sed 's/^\.//' | sort)
    } >"$work/$1.spec"
    rpmbuild -bb --quiet --target "$4" --define "_topdir $work/top" --define "_rpmdir $work/rpms" \
        --define "_build_name_fmt %%{NAME}.rpm" "$work/$1.spec"
}

lib=usr/lib64
mkdir -p "$work/glibc/$lib" "$work/bash/usr/bin" "$work/zlib/$lib" "$work/openssl-libs/$lib" \
    "$work/libstdc++/$lib" "$work/tzdata/usr/share/zoneinfo" "$work/bind-license/usr/share/doc"
library "$work/glibc/$lib/libc.so.6" libc.so.6
library "$work/glibc/$lib/libm.so.6" libm.so.6 "$work/glibc/$lib/libc.so.6"
library "$work/glibc/$lib/ld-linux-x86-64.so.2" ld-linux-x86-64.so.2
library "$work/zlib/$lib/libz.so.1.2.11" libz.so.1 "$work/glibc/$lib/libc.so.6"
ln -s libz.so.1.2.11 "$work/zlib/$lib/libz.so.1"
library "$work/openssl-libs/$lib/libcrypto.so.3.0.7" libcrypto.so.3 \
    "$work/zlib/$lib/libz.so.1.2.11" "$work/glibc/$lib/libc.so.6"
ln -s libcrypto.so.3.0.7 "$work/openssl-libs/$lib/libcrypto.so.3"
library "$work/libstdc++/$lib/libstdc++.so.6.0.29" libstdc++.so.6 \
    "$work/glibc/$lib/libm.so.6" "$work/glibc/$lib/libc.so.6"
ln -s libstdc++.so.6.0.29 "$work/libstdc++/$lib/libstdc++.so.6"
echo '#!/bin/true' >"$work/bash/usr/bin/bash"
ln -s bash "$work/bash/usr/bin/sh"
echo TZif >"$work/tzdata/usr/share/zoneinfo/UTC"
echo licence >"$work/bind-license/usr/share/doc/COPYRIGHT"

package tzdata 2023c 1.el9 noarch tzdata "Public Domain" </dev/null
package glibc 2.34 83.el9.7 x86_64 glibc "LGPLv2+ and GPLv2+" <<'SPEC'
Provides: libc.so.6()(64bit) libc.so.6(GLIBC_2.34)(64bit) libm.so.6()(64bit)
Provides: ld-linux-x86-64.so.2()(64bit) rtld(GNU_HASH)
Requires: tzdata
SPEC
package bash 5.1.8 6.el9_1 x86_64 bash GPLv3+ <<'SPEC'
Provides: /bin/sh
Requires: libc.so.6(GLIBC_2.34)(64bit)
SPEC
package zlib 1.2.11 40.el9 x86_64 zlib "zlib and Boost" <<'SPEC'
Provides: libz.so.1()(64bit)
Requires: libc.so.6()(64bit) rtld(GNU_HASH)
SPEC
package openssl-libs 3.0.7 24.el9 x86_64 openssl "ASL 2.0" <<'SPEC'
Epoch: 1
Provides: libcrypto.so.3()(64bit)
Requires: libz.so.1()(64bit) /usr/bin/sh (glibc-langpack if langpacks)
SPEC
package libstdc++ 11.4.1 2.1.el9 x86_64 gcc GPLv3+ <<'SPEC'
Provides: libstdc++.so.6()(64bit)
Requires: libm.so.6()(64bit) libc.so.6()(64bit)
SPEC
package bind-license 9.16.23 14.el9_3 noarch bind "MPLv2.0" <<'SPEC'
Epoch: 32
SPEC

root=$here/rocky
rm -rf "$root" "$here/ndb" "$here/bdb"
mkdir -p "$root/var/lib/rpm" "$root/etc" "$here/ndb" "$here/bdb"
rpm --root "$root" --dbpath /var/lib/rpm --initdb
rpm --root "$root" --dbpath /var/lib/rpm --install --nodeps --noscripts --ignoreos --ignorearch \
    --nosignature "$work"/rpms/*.rpm
rpm --root "$root" --dbpath /var/lib/rpm --query --all \
    --queryformat '%{NAME}|%{EPOCH}|%{VERSION}|%{RELEASE}|%{ARCH}|%{SOURCERPM}|%{VENDOR}|%{LICENSE}|%{SHA256HEADER}|[%{FILENAMES},]\n' |
    LC_ALL=C sort >"$here/rocky.query"
rm -f "$root"/var/lib/rpm/rpmdb.sqlite-* "$root/var/lib/rpm/.rpm.lock"
for name in lib64 bin; do ln -s "usr/$name" "$root/$name"; done
rm -rf "$root/usr/share"
python3 "$here/keep_links.py" "$root"
echo include ld.so.conf.d/*.conf >"$root/etc/ld.so.conf"
cat >"$root/etc/os-release" <<'TEXT'
NAME="Rocky Linux"
VERSION="9.3 (Blue Onyx)"
ID="rocky"
ID_LIKE="rhel centos fedora"
VERSION_ID="9.3"
PLATFORM_ID="platform:el9"
PRETTY_NAME="Rocky Linux 9.3 (Blue Onyx)"
TEXT

# The same headers in rpm's two other formats.
python3 - "$root/var/lib/rpm/rpmdb.sqlite" "$work" <<'PYTHON'
import pathlib, sqlite3, struct, sys

rows = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro&immutable=1", uri=True).execute(
    "SELECT hnum, blob FROM Packages ORDER BY hnum"
)
dump = ["00000000", struct.pack("<I", 8).hex()]
for number, blob in rows:
    pathlib.Path(sys.argv[2], f"{number:03}.header").write_bytes(blob)
    dump += [struct.pack("<I", number).hex(), blob.hex()]
lines = "".join(f"{''.join(chr(92) + t[i:i + 2] for i in range(0, len(t), 2))}\n" for t in dump)
pathlib.Path(sys.argv[2], "dump").write_text(lines)
PYTHON
db5.3_load -T -t hash -c db_pagesize=4096 -f "$work/dump" "$here/bdb/Packages"
"${NDB:?the program made of rpmpkg.c}" "$here/ndb/Packages.db" "$work"/*.header
