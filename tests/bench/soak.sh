#!/bin/sh
# Mixed work on three nodes for a while: does anything grow, or come out wrong?
set -eu

usage() {
    cat <<'END'
usage: sh tests/bench/soak.sh MINUTES

Tasks, actors, objects, streams and keys on a head and two workers of this machine, one of which is killed and replaced
every 25 seconds. Prints a line a minute: results so far, wrong ones, those lost with their node (which an error must
have said), and the memory and descriptors of each process. Fails at a wrong result, or when memory or descriptors of
the driver, the head or the worker that lives are higher in the last quarter of the time than in the second. An hour
tells something; four minutes are the least that can tell of growth. What nodes log goes to build/soak.log.
END
}

case ${1-} in
--help | -h) usage && exit 0 ;;
'' | *[!0-9]*) usage >&2 && exit 2 ;;
esac
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$root/build
quietly() {
    log=$("$@" 2>&1) || { printf '%s\n' "$log" >&2; exit 1; }
}
[ -f "$build/build.ninja" ] || quietly meson setup --buildtype=release "$build" "$root"
quietly ninja -C "$build" tests/bench/bench_ray
exec "$build/tests/bench/bench_ray" soak "$1" 2>"$build/soak.log"
