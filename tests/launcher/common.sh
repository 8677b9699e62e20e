# What the tests of raylaunch share, for whom to source it with raylaunch set: a directory of their own, $dir, what
# raylaunch says in it, and how many expectations have failed. Who has more to end than the directory sets a trap.
dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
unset RAY_WORKER_OF RAY_ADDRESS RAY_ROLE
failures=0
matches=-E # how has and lacks read what is to be there: as grep does

fail()
{
    echo "failed: $*"
    failures=$((failures + 1))
}

# run STATUS ARG…: its exit status must be STATUS; what it prints goes to $dir/out and $dir/err.
run()
{
    want=$1
    shift
    "$raylaunch" "$@" >"$dir/out" 2>"$dir/err"
    got=$?
    [ $got -eq "$want" ] || fail "raylaunch $*: exit status $got, expected $want: $(cat "$dir/out" "$dir/err")"
}

has()
{
    grep -q $matches -e "$2" "$dir/$1" || fail "not on std$1: $2 (but: $(cat "$dir/$1"))"
}

lacks()
{
    grep -q $matches -e "$2" "$dir/$1" && fail "on std$1: $2"
}
