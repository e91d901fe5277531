#!/bin/sh
# Make alpine/ again. Needs gcc, and apk of apk-tools 2.14 in $APK (see README.md).
#
# The packages are not Alpine's own: small ones with the names, versions and paths of Alpine 3.19,
# put together here and installed by apk, which wrote the database.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/make_libraries.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export SOURCE_DATE_EPOCH=1700000000

# package NAME VERSION ORIGIN LICENCE < further lines of .PKGINFO; files in $work/NAME
package() {
    tar="tar --format=posix --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime --sort=name --owner=0 --group=0 --mtime=@$SOURCE_DATE_EPOCH"
    (cd "$work/$1" && python3 "$here/make_alpine_data.py" . "$work/data.tar")
    gzip -9n <"$work/data.tar" >"$work/data.tar.gz"
    mkdir -p "$work/control"
    {
        printf 'pkgname = %s\npkgver = %s\norigin = %s\nlicense = %s\n' "$1" "$2" "$3" "$4"
        printf 'pkgdesc = %s, small\nurl = https://alpine.example/\narch = x86_64\nsize = 4096\n' "$1"
        printf 'builddate = %s\n' "$SOURCE_DATE_EPOCH"
        cat
        printf 'datahash = %s\n' "$(sha256sum "$work/data.tar.gz" | cut -d' ' -f1)"
    } >"$work/control/.PKGINFO"
    # A control segment has no end-of-archive blocks: the next segment goes on.
    (cd "$work/control" && $tar -cf - .PKGINFO) | python3 -c \
        'import sys; d = sys.stdin.buffer.read().rstrip(b"\0"); sys.stdout.buffer.write(d + bytes(-len(d) % 512))' |
        gzip -9n >"$work/control.tar.gz"
    cat "$work/control.tar.gz" "$work/data.tar.gz" >"$work/$1.apk"
}

for name in musl zlib libcrypto3 busybox alpine-baselayout; do mkdir -p "$work/$name"; done
library "$work/musl/lib/ld-musl-x86_64.so.1" libc.musl-x86_64.so.1
ln -s ld-musl-x86_64.so.1 "$work/musl/lib/libc.musl-x86_64.so.1"
library "$work/zlib/lib/libz.so.1.3.1" libz.so.1 "$work/musl/lib/ld-musl-x86_64.so.1"
ln -s libz.so.1.3.1 "$work/zlib/lib/libz.so.1"
library "$work/libcrypto3/lib/libcrypto.so.3" libcrypto.so.3 "$work/musl/lib/ld-musl-x86_64.so.1"
mkdir -p "$work/busybox/bin" "$work/alpine-baselayout/etc"
echo '#!/bin/true' >"$work/busybox/bin/busybox"
echo busybox >"$work/alpine-baselayout/etc/hostname"

package musl 1.2.4_git20230717-r4 musl MIT <<'INFO'
provides = so:libc.musl-x86_64.so.1=1
INFO
package zlib 1.3.1-r0 zlib Zlib <<'INFO'
depend = so:libc.musl-x86_64.so.1
provides = so:libz.so.1=1.3.1
INFO
package libcrypto3 3.1.4-r5 openssl Apache-2.0 <<'INFO'
depend = so:libc.musl-x86_64.so.1
provides = so:libcrypto.so.3=3
INFO
package busybox 1.36.1-r15 busybox GPL-2.0-only <<'INFO'
depend = so:libc.musl-x86_64.so.1
depend = !busybox-old
provides = /bin/sh
provides = cmd:busybox=1.36.1-r15
INFO
package alpine-baselayout 3.4.3-r2 alpine-baselayout GPL-2.0-only <<'INFO'
depend = /bin/sh
INFO

root=$here/alpine
rm -rf "$root"
"${APK:?the apk of apk-tools 2.14}" add --root "$root" --initdb --arch x86_64 --no-network \
    --no-cache --no-scripts --allow-untrusted --repositories-file /dev/null \
    "$work/musl.apk" "$work/busybox.apk" "$work/zlib.apk" "$work/libcrypto3.apk" \
    "$work/alpine-baselayout.apk"
# As somebody would have written it who asked for two of them by name.
printf 'alpine-baselayout\nlibcrypto3>=3\n' >"$root/etc/apk/world"
"$APK" info --root "$root" --arch x86_64 --verbose | sort >"$here/alpine.query"
rm -rf "$root/dev" "$root/proc" "$root/tmp" "$root/var" "$root/lib/apk/db/lock" "$root/lib/apk/exec"
cat >"$root/etc/os-release" <<'TEXT'
NAME="Alpine Linux"
ID=alpine
VERSION_ID=3.19.1
PRETTY_NAME="Alpine Linux v3.19"
TEXT
python3 "$here/keep_links.py" "$root"
