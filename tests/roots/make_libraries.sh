#!/bin/sh
# Compile small shared libraries with real names, for the trees in this directory: source me.
#
#   library FILE SONAME [LIBRARY...]   a shared object that needs the LIBRARYs
library() {
    file=$1 soname=$2
    shift 2
    mkdir -p "$(dirname "$file")"
    echo 'int recorded(void) { return 1; }' |
        "${CC:-gcc}" -shared -fPIC -nostdlib -s -Os -x c - -x none "$@" \
            -Wl,--no-as-needed -Wl,-z,noseparate-code -Wl,--build-id=none \
            -Wl,-soname,"$soname" -o "$file"
}
