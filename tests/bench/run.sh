#!/bin/sh
# Measures libray beside what this machine allows, and beside its peers.
set -eu

usage() {
    cat <<'END'
usage: sh tests/bench/run.sh [--peers] [--json FILE] [--quick] [--only NAME]

  --peers      install (as root or through sudo) and measure StarPU and OpenMP tasks too, and measure Python's
               ProcessPoolExecutor, and Ray where it is installed; without it, figures of theirs that were recorded on
               another machine stand in, and say so
  --json FILE  also write the results to FILE
  --quick      shorter repetitions, for a look rather than for a record
  --only NAME  just this figure

Builds a release of libray into build/ first. Everything runs on the CPUs that this script may run on: pin all of it
with `taskset -c 0,1 sh tests/bench/run.sh`. The exit code says whether everything could be measured, not whether
targets are met.
END
}

root=$(cd "$(dirname "$0")/../.." && pwd)
build=$root/build
peers=
for argument in "$@"; do
    case $argument in
    --help | -h) usage && exit 0 ;;
    --peers) peers=1 ;;
    esac
done

need() {
    for tool in "$@"; do
        command -v "$tool" >/dev/null && continue
        echo "$0: $tool is missing; sh tests/run.sh installs what is needed" >&2
        exit 1
    done
}

install_peers() {
    pkg-config --exists starpu-1.3 && return
    as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    $as_root apt-get update -q && $as_root apt-get install -y -q --no-install-recommends libstarpu-dev
}

need meson ninja pkg-config strip
set -- "$build/tests/bench/bench" "$@"
programs='tests/bench/bench tests/bench/bench_ray tests/bench/bench_machine tests/bench/bench_sim'
if [ "$peers" ]; then
    install_peers >&2
    programs="$programs tests/bench/peer_openmp tests/bench/peer_starpu"
    if command -v python3 >/dev/null; then
        programs="$programs tests/bench/peer_pool.py"
        if python3 -c 'import ray' 2>/dev/null; then programs="$programs tests/bench/peer_ray.py"; fi
    fi
    export STARPU_HOME="$build/starpu" # else it writes into the home directory
fi

# Configured anew each time: what --peers has installed must be found.
quietly() {
    log=$("$@" 2>&1) || { printf '%s\n' "$log" >&2; exit 1; }
}
again=
[ -f "$build/build.ninja" ] && again=--reconfigure
quietly meson setup $again --buildtype=release "$build" "$root"
quietly ninja -C "$build" $programs
exec "$@"
