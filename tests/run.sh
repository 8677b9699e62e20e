#!/bin/sh
# Installs what the tests need, builds the library four ways and runs everything: with gcc (all suites, and the Python
# binding over it), with clang (warnings are errors there too; unit tests), with the address and undefined sanitizers,
# with clang and the thread sanitizer. Three programs run at a time, since many of them wait more than they work. The
# last line is "N passed, N failed" over all builds. The builds stay in build-tests/: a second run only builds what
# changed.
#
#   sh tests/run.sh [BUILD...]     BUILD: gcc, python, clang, address, thread; default: all
#
# The Python binding is compared with Ray where LIBRAY_PARITY_PYTHON names an interpreter that has Ray 2.60.
set -u
cd "$(dirname "$0")/.." || exit 2

packages="gcc g++ gfortran clang libclang-rt-dev clang-format meson ninja-build pkg-config cmake binutils python3 procps
          iproute2 libuv1-dev uthash-dev libxxhash-dev libsodium-dev libnng-dev libjansson-dev libcriterion-dev
          python3-pytest python3-numpy python3-cloudpickle python3-joblib python3-setuptools python3-wheel
          python3-venv python3-pip"
missing=
for package in $packages; do
    dpkg -s "$package" 2>/dev/null | grep -q '^Status: install ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "tests/run.sh: install these packages as root, then run it again:$missing"
            exit 2
        fi
        as_root=sudo
    fi
    echo "== installing$missing"
    log=$(mktemp)
    as_root="$as_root env DEBIAN_FRONTEND=noninteractive"
    if ! { $as_root apt-get update && $as_root apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
        tail -n 30 "$log"
        echo "tests/run.sh: cannot install$missing"
        exit 2
    fi
    rm -f "$log"
fi

ccache=
command -v ccache >/dev/null && ccache="ccache "
passed=0 failed=0 skipped=0

# run NAME COMPILER 'SETUP OPTIONS' [SUITE...]
run() {
    name=$1 compiler=$2 options=$3
    shift 3
    build=build-tests/$name
    log=$build.log
    mkdir -p build-tests
    echo "== $name: building"
    # shellcheck disable=SC2086
    if ! { [ -f "$build/build.ninja" ] && ninja -C "$build"; } >"$log" 2>&1 && ! { rm -rf "$build" &&
        CC="$ccache$compiler" meson setup "$build" $options && ninja -C "$build"; } >"$log" 2>&1; then
        grep -E -B2 -A12 'error:|ERROR:|FAILED:' "$log" | head -n 80
        echo "== $name: does not build ($log)"
        failed=$((failed + 1))
        return
    fi
    echo "== $name: testing"
    suites=
    for suite in "$@"; do
        suites="$suites --suite $suite"
    done
    # A time limit is for what hangs: a machine that others use, too, may be three times as slow.
    # shellcheck disable=SC2086
    meson test -C "$build" --print-errorlogs --num-processes 3 --timeout-multiplier 3 $suites
    status=$?
    count "$name" "$build/meson-logs/testlog.junit.xml" "$status"
}

# count NAME JUNIT STATUS
count() {
    counts=$(python3 tests/support/counts.py "$2" "$3") || counts="0 1 0"
    name=$1
    # shellcheck disable=SC2086
    set -- $counts
    echo "== $name: $1 passed, $2 failed"
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

# The Python binding with Debian's Python, over the library that gcc has built.
run_python() {
    build=build-tests/gcc
    junit=build-tests/python.junit.xml
    if [ ! -f "$build/lib/libray.so.0" ]; then
        echo "== python: there is no $build: sh tests/run.sh gcc python"
        failed=$((failed + 1))
        return
    fi
    echo "== python: testing"
    rm -f "$junit"
    PYTHONPATH=$PWD/bindings/python LIBRAY_LIBRARY=$PWD/$build/lib/libray.so.0 LIBRAY_PREBUILT=$PWD/$build \
        PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -m pytest -p no:cacheprovider -q --tb=short --durations=5 \
        --junitxml="$junit" bindings/python/tests
    count python "$junit" $?
}

export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:history_size=4:atexit_sleep_ms=20
sanitizer="--buildtype=debug -Doptimization=1 -Dwerror=false -Db_lundef=false"

for build in ${*:-gcc python clang address thread}; do
    case $build in
    gcc) run gcc gcc "" ;;
    python) run_python ;;
    clang) run clang clang "" unit ;;
    address) run address gcc "$sanitizer -Db_sanitize=address,undefined" unit integration examples simulation ;;
    thread) run thread clang "$sanitizer -Db_sanitize=thread" unit integration ;;
    *)
        echo "tests/run.sh: no build \"$build\": gcc, python, clang, address or thread"
        exit 2
        ;;
    esac
done

[ $skipped -eq 0 ] || echo "$skipped skipped"
[ $passed -gt 0 ] || failed=$((failed + 1)) # nothing ran
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
