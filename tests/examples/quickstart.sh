#!/bin/sh
# What quickstart.sh does when packages are missing, and what its exit status says, with stand-ins for apt, meson and
# ninja.
set -u
source=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)/examples/quickstart.sh
dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
failures=0

fail()
{
    echo "failed: $*"
    cat "$dir/output" "$dir/calls"
    failures=$((failures + 1))
}

# stand_in NAME: a program that does what its standard input says.
stand_in()
{
    { echo '#!/bin/sh'; cat; } >"$dir/bin/$1"
    chmod +x "$dir/bin/$1"
}

# quickstart STATUS ARG…: runs it from elsewhere; its exit status must be STATUS.
quickstart()
{
    want=$1
    shift
    : >"$dir/calls"
    (cd "$dir/elsewhere" && PATH=$dir/bin sh "$dir/my tree/examples/quickstart.sh" "$@") >"$dir/output" 2>&1
    got=$?
    [ $got -eq "$want" ] || fail "exit status $got, expected $want"
}

called()
{
    grep -qF -e "$1" "$dir/calls" || fail "not called: $1"
}

mkdir -p "$dir/bin" "$dir/elsewhere" "$dir/my tree/examples"
mkdir -p "$dir/my tree/bindings/python/examples"
cp "$source" "$dir/my tree/examples"
echo 'import ray' >"$dir/my tree/bindings/python/examples/five_tasks.py"
export dir
for tool in sh cat dirname grep mkdir chmod mktemp rm sed env mv sleep; do
    ln -s "$(command -v $tool)" "$dir/bin/$tool"
done
echo 'test -e "$dir/installed" || exit 1; echo "install ok installed"' | stand_in dpkg-query
echo 'echo "apt-get $*" >>"$dir/calls"; test "$2" = update || test -e "$dir/no-network" || : >"$dir/installed"
test ! -e "$dir/no-network" || { echo "no network"; exit 100; }' | stand_in apt-get
echo 'echo 1000' | stand_in id
stand_in meson <<'END'
echo "meson $*" >>"$dir/calls"
build=$3
mkdir -p "$build/examples"
: >"$build/build.ninja"
for program in 01_task 20_wordcount; do
    cat >"$build/examples/$program" <<'PROGRAM'
#!/bin/sh
echo "${0##*/} $*" >>"$dir/calls"
pwd >>"$dir/calls"
exit ${STATUS-0}
PROGRAM
    chmod +x "$build/examples/$program"
done
mkdir -p "$build/launcher"
cat >"$build/launcher/raylaunch" <<'PROGRAM'
#!/bin/sh
echo "raylaunch $*" >>"$dir/calls"
while [ $# -gt 0 ]; do
    [ "$1" = --address-file ] && { echo 127.0.0.1:7777 >"$2"; echo "    raylaunch stop --session /there/$$"; }
    shift
done
PROGRAM
chmod +x "$build/launcher/raylaunch"
END
echo 'echo "ninja $*" >>"$dir/calls"' | stand_in ninja
export PYTHON=python3
stand_in python3 <<'END'
echo "python3 $*" >>"$dir/calls"
mkdir -p "$4/bin"
cat >"$4/bin/python" <<'PROGRAM'
#!/bin/sh
echo "python $*" >>"$dir/calls"
case "$*" in
*--address-file*)
    trap 'echo "python node ended" >>"$dir/calls"; exit 0' TERM # before anybody knows that it is there
    while [ $# -gt 1 ]; do
        [ "$1" = --address-file ] && echo 127.0.0.1:7777 >"$2"
        shift
    done
    while :; do sleep 0.02; done
    ;;
*wordcount.py*) exit ${PYTHON_STATUS-0} ;;
esac
PROGRAM
chmod +x "$4/bin/python"
END

# Not root, no sudo: it names the packages and stops.
quickstart 2
for package in gcc meson ninja-build pkg-config libuv1-dev uthash-dev libxxhash-dev libsodium-dev libnng-dev \
    libjansson-dev; do
    grep -q "[ :]$package" "$dir/output" || fail "$package is not named"
done
[ -s "$dir/calls" ] && fail "it went on"

# Through sudo; an installation that fails shows why.
echo 'echo "sudo $1" >>"$dir/calls"; exec "$@"' | stand_in sudo
: >"$dir/no-network"
quickstart 2
grep -q "no network" "$dir/output" || fail "the reason is not shown"
rm "$dir/no-network"
quickstart 0 --check some "dir s"
called "sudo env"
called "apt-get -q -y install --no-install-recommends gcc"
called "meson setup --libdir=lib $dir/my tree/build $dir/my tree"
called "ninja -C $dir/my tree/build programs"
called "01_task --isolation process"
called "20_wordcount --check some dir s"
called "raylaunch head --address 127.0.0.1:0"
called "raylaunch worker --address 127.0.0.1:7777"
called "raylaunch status --address 127.0.0.1:7777"
[ "$(grep -c "raylaunch stop --session /there/" "$dir/calls")" -eq 3 ] || fail "not all three nodes were stopped"
called "$dir/elsewhere"
called "python3 -m venv --system-site-packages $dir/my tree/build/python"
called "python -m pip install --no-index"
called "python five_tasks.py"
called "python -m libray $dir/my tree/bindings/python/examples/five_tasks.py"
called "python -m libray head --address 127.0.0.1:0"
called "python -m libray worker --address 127.0.0.1:7777"
called "python -m libray $dir/my tree/bindings/python/examples/wordcount.py --check some dir s"
called "python -m libray status --address 127.0.0.1:7777"
[ "$(grep -c "python node ended" "$dir/calls")" -eq 3 ] || fail "not all three nodes of Python were stopped"

# All is there: no apt, no second setup.
quickstart 0
grep -qE "apt-get|meson" "$dir/calls" && fail "apt-get or meson was called without need"

# The word counts' exit status is passed on, but that files of the system were skipped.
sed -i 's/STATUS-0/STATUS-1/' "$dir/my tree/build/examples/20_wordcount"
quickstart 1 "some dir"
quickstart 1 --check "some dir"
quickstart 0
quickstart 0 --check
sed -i 's/STATUS-1/STATUS-2/' "$dir/my tree/build/examples/20_wordcount"
quickstart 2
sed -i 's/STATUS-2/STATUS-0/' "$dir/my tree/build/examples/20_wordcount"
PYTHON_STATUS=1
export PYTHON_STATUS
quickstart 1 "some dir"
quickstart 0
unset PYTHON_STATUS
echo 'echo "broken source"; exit 1' | stand_in ninja
quickstart 2
grep -q "broken source" "$dir/output" || fail "the build's output is not shown"

[ $failures -eq 0 ]
