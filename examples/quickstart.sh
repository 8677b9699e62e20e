#!/bin/sh
# quickstart.sh [--check] [DIR…]: from a fresh Debian 12 to a first result.
#
# Installs the Debian packages that the build needs, builds libray and its examples into build/, runs five tasks, and
# counts the words of all files below the DIRs (default: /usr/share/doc and /usr/share/common-licenses).
# Exit status: 0 all was counted, 1 something was skipped, 2 an error.
set -u

packages="gcc libc6-dev meson ninja-build pkg-config libuv1-dev uthash-dev"
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd) || exit 2
build=$root/build

say()
{
    printf '==> %s\n' "$*"
}

fail()
{
    printf 'quickstart: %s\n' "$*" >&2
    exit 2
}

# quietly COMMAND…: shows its output only if it fails.
quietly()
{
    log=$(mktemp) || exit 2
    "$@" >"$log" 2>&1
    status=$?
    [ $status -eq 0 ] || cat "$log" >&2
    rm -f "$log"
    return $status
}

case ${1-} in
-h | --help)
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac

missing=
for package in $packages; do
    case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
    *" ok installed") ;;
    *) missing="$missing $package" ;;
    esac
done
missing=${missing# }

if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null; then
        fail "this is no Debian system; it needs what these Debian packages contain: $missing"
    elif [ "$(id -u)" -eq 0 ]; then
        as_root=
    elif command -v sudo >/dev/null; then
        as_root=sudo
    else
        fail "these packages are missing, and only root can install them: apt-get install $missing"
    fi
    say "installing $missing"
    quietly $as_root apt-get -q update || say "could not update the package lists; trying with those that are there"
    quietly $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends $missing ||
        fail "could not install; as root: apt-get install $missing"
fi

say "building into $build"
if [ ! -f "$build/build.ninja" ]; then
    quietly meson setup --libdir=lib "$build" "$root" || fail "meson setup failed"
fi
quietly ninja -C "$build" programs || fail "the build failed"

say "five tasks: x * 2 for 0 to 4"
"$build/examples/01_task" || fail "01_task failed"

say "word count${*:+ of $*}"
"$build/examples/20_wordcount" "$@"
