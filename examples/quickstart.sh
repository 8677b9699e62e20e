#!/bin/sh
# quickstart.sh [--check] [DIR…]: from a fresh Debian 12 to a first result.
#
# Installs the Debian packages that the build needs, builds libray and its examples into build/, runs five tasks, then
# starts a cluster on this machine, a head and two workers, over which it runs them again and counts the words of all
# files below the DIRs (default: /usr/share/doc and /usr/share/common-licenses), and stops it. Then the same from
# Python: as `import libray as ray`, as an unchanged `import ray`, and over a cluster of nodes of Python.
# With PYTHON=PROGRAM of that Python, which must have cloudpickle, pip, setuptools, wheel and venv.
# Exit status: 0 all was counted, 1 something in the DIRs was skipped, 2 an error. (Debian compresses some of its
# documentation: what is skipped without DIRs is told, and no more.)
set -u

packages="gcc libc6-dev meson ninja-build pkg-config libuv1-dev uthash-dev libxxhash-dev libsodium-dev libnng-dev
          libjansson-dev python3 python3-venv python3-pip python3-setuptools python3-wheel python3-cloudpickle"
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
    quiet_status=$?
    [ $quiet_status -eq 0 ] || cat "$log" >&2
    rm -f "$log"
    return $quiet_status
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

say "the same in worker processes, which may crash without harm"
"$build/examples/01_task" --isolation process || fail "01_task --isolation process failed"

say "a cluster: a head, which runs no tasks, and two workers, which load the functions of the examples"
raylaunch=$build/launcher/raylaunch
run=$(mktemp -d) || exit 2
sessions=
stop_cluster()
{
    for session in $sessions; do
        "$raylaunch" stop --session "$session" || status=2
    done
    sessions=
    rm -rf "$run"
}
trap stop_cluster EXIT
trap 'exit 2' INT TERM

# node COMMAND OPTION…: starts a node behind and notes its session.
node()
{
    "$raylaunch" "$@" --daemon --address-file "$run/address" >"$run/output" || fail "raylaunch $1 failed"
    cat "$run/output"
    sessions="$(sed -n 's/.*raylaunch stop --session //p' "$run/output") $sessions" # the head goes last
}
node head --address 127.0.0.1:0 --num-cpus 0
read -r address <"$run/address"
for number in 1 2; do
    node worker --address "$address" --load "$build/examples/01_task_functions.so" \
        --load "$build/examples/20_wordcount_functions.so"
done

say "five tasks on the workers"
RAY_ADDRESS=$address "$build/examples/01_task" || fail "01_task failed in the cluster"

say "word count${*:+ of $*} on the workers, and the cluster's status meanwhile"
RAY_ADDRESS=$address "$build/examples/20_wordcount" "$@" &
counting=$!
"$raylaunch" status --address "$address" || fail "raylaunch status failed"
wait $counting
status=$?

say "stopping the cluster"
stop_cluster

say "Python: a wheel with the library, installed into $build/python"
python=$build/python/bin/python
quietly "${PYTHON:-/usr/bin/python3}" -m venv --system-site-packages "$build/python" || fail "python3 -m venv failed"
LIBRAY_PREBUILT=$build quietly "$python" -m pip install --no-index --no-deps --no-build-isolation --force-reinstall \
    "$root/bindings/python" || fail "pip install ./bindings/python failed"
run=$(mktemp -d) || exit 2
nodes=
stop_nodes()
{
    for node in $nodes; do
        kill "$node" && wait "$node" || status=2
    done
    nodes=
    rm -rf "$run"
}
trap stop_nodes EXIT
cd "$run" || exit 2
export RAY_TMPDIR=$run

say "five tasks: import libray as ray"
sed 's/^import ray$/import libray as ray/' "$root/bindings/python/examples/five_tasks.py" >five_tasks.py
"$python" five_tasks.py || fail "five_tasks.py failed"

say "five tasks of an unchanged program, which says import ray"
"$python" -m libray "$root/bindings/python/examples/five_tasks.py" || fail "python -m libray five_tasks.py failed"

# python_node COMMAND OPTION…: starts a node behind, waits until it serves, and notes its process.
python_node()
{
    rm -f address
    "$python" -m libray "$@" --address-file "$run/address" >>output 2>&1 &
    nodes="$! $nodes" # the head goes last
    while [ ! -s address ]; do
        kill -0 $! 2>/dev/null || fail "python -m libray $1 failed: $(cat output)"
        sleep 0.05
    done
}
say "a cluster of nodes of Python: a head, which runs no tasks, and two workers"
python_node head --address 127.0.0.1:0 --num-cpus 0
read -r address <address
python_node worker --address "$address"
python_node worker --address "$address"

say "five tasks on the workers"
RAY_ADDRESS=$address "$python" -m libray "$root/bindings/python/examples/five_tasks.py" ||
    fail "five_tasks.py failed in the cluster"

say "word count${*:+ of $*} on the workers, and the cluster's status meanwhile"
cd "$OLDPWD" || exit 2 # the DIRs may be relative
RAY_ADDRESS=$address "$python" -m libray "$root/bindings/python/examples/wordcount.py" "$@" &
counting=$!
"$python" -m libray status --address "$address" || fail "python -m libray status failed"
wait $counting || status=$?

say "stopping the cluster"
stop_nodes
for argument; do
    [ "$argument" = --check ] || exit $status
done
[ $status -eq 1 ] || exit $status
