#!/bin/sh
# wordcount.sh PROGRAM [OPTION…]: the word count with these options against tr, sort and uniq, words across chunk
# borders, and everything it skips.
set -u
program=$(realpath "$1")
shift
options=$*
dir=$(mktemp -d) || exit 99
export mark="$dir/mark" # left by the worker processes
export RAY_WORKER_WRAPPER="sh -c 'touch \"\$mark\" 2>/dev/null; exec \"\$@\"' sh"
trap 'chmod -R u+rwx "$dir"; rm -rf "$dir"' EXIT
failures=0

fail()
{
    echo "failed: $*"
    failures=$((failures + 1))
}

# run STATUS ARG…: runs the program, whose exit status must be STATUS; its output goes to $dir/out and $dir/err.
run()
{
    want=$1
    shift
    "$program" $options "$@" >"$dir/out" 2>"$dir/err"
    got=$?
    [ $got -eq "$want" ] || fail "wordcount $*: exit status $got, expected $want: $(cat "$dir/err")"
}

says()
{
    grep -qxF -e "$1" "$dir/$2" || fail "not in $2: $1 (but: $(cat "$dir/$2"))"
}

# A plain tree: nothing to skip.
mkdir -p "$dir/t/a/b"
printf 'the cat, the dog; The cat42x' >"$dir/t/a/one"
printf 'no-newline at_the end' >"$dir/t/a/b/two"
: >"$dir/t/nothing"
awk 'BEGIN { for (i = 1; i <= 1000; i++) printf "w%d %s\n", i % 97, i % 5 ? "a" : "b-c\303\251d"; }' >"$dir/t/many"
awk 'BEGIN { for (i = 0; i < 3000; i++) printf "long"; printf " "; for (i = 0; i < 3000; i++) printf "x"; }' \
    >"$dir/t/long"
ln -s a "$dir/t/link"

# In the C locale a byte is a character, and [:alnum:] is the ASCII letters and digits.
for file in "$dir/t/a/one" "$dir/t/a/b/two" "$dir/t/many" "$dir/t/long"; do
    cat "$file"
    echo
done | LC_ALL=C tr -cs '[:alnum:]' '\n' | grep . | LC_ALL=C sort | uniq -c |
    LC_ALL=C sort -k1,1nr -k2,2 | awk '{ printf "%12d  %s\n", $1, $2 }' >"$dir/expected"
for chunk in 1 2 7 100 4096 8191 8192 1M; do
    run 0 --check --chunk $chunk --top 1000 "$dir/t"
    [ -s "$dir/err" ] && fail "--chunk $chunk: $(cat "$dir/err")"
    sed '/^files /,$d' "$dir/out" >"$dir/got"
    cmp -s "$dir/expected" "$dir/got" || fail "--chunk $chunk: other counts than uniq"
    grep -q '^check     same table' "$dir/out" || fail "--chunk $chunk: no check"
done
says "files     5" out
says "bytes     $(cat "$dir/t/a/one" "$dir/t/a/b/two" "$dir/t/many" "$dir/t/long" | wc -c)" out
run 0 "$dir/t"
[ "$(sed '/^files /,$d' "$dir/out")" = "$(head -n 10 "$dir/expected")" ] || fail "the ten most frequent words"
run 0 "$dir/t" "$dir/t/a" "$dir/t/link" "$dir/t/many"
says "files     5" out

case "$options" in
*process*) [ -e "$mark" ] || fail "no worker process was started" ;;
*) [ -e "$mark" ] && fail "a worker process was started" ;;
esac

# Ties are in the order of the words.
mkdir "$dir/ties"
echo "b a C c B A ab a0" >"$dir/ties/f"
run 0 "$dir/ties"
[ "$(awk '/^files/ { exit } { printf "%s ", $2 }' "$dir/out")" = "A B C a a0 ab b c " ] ||
    fail "ties: $(cat "$dir/out")"

# What is skipped is reported, and stops nothing.
mkdir -p "$dir/s/empty" "$dir/s/sub"
printf 'one two' >"$dir/s/text"
printf 'x\000y' >"$dir/s/binary"
{ head -c 8191 /dev/zero | tr '\0' 'y'; printf '\000'; } >"$dir/s/binary2"
{ head -c 8192 /dev/zero | tr '\0' 'z'; printf '\000 z'; } >"$dir/s/sub/late"
printf 'x\000' >"$dir/s/sub/new
line"
mkfifo "$dir/s/pipe"
for chunk in 1000 1M; do
    run 1 --check --chunk $chunk "$dir/s" "$dir/gone"
    says "files     2" out
    says "skipped   5: 3 binary, 0 unreadable, 1 empty, 1 missing" out
    says "wordcount: $dir/s/binary: skipped: binary file" err
    says "wordcount: $dir/s/binary2: skipped: binary file" err
    says "wordcount: $dir/s/sub/new?line: skipped: binary file" err
    says "wordcount: $dir/s/empty: skipped: empty directory" err
    says "wordcount: $dir/gone: skipped: No such file or directory" err
    [ "$(wc -l <"$dir/err")" -eq 5 ] || fail "one line each: $(cat "$dir/err")"
done
run 1 "$dir/s/empty" "$dir/s/empty"
[ "$(wc -l <"$dir/err")" -eq 1 ] || fail "reported more than once"
run 1 /dev/null "$dir/s/text"
says "wordcount: /dev/null: skipped: neither a regular file nor a directory" err
says "files     1" out

# Unreadable files and directories. To root nothing is: so as somebody else, if that one may run the program.
as_user=
[ "$(id -u)" -ne 0 ] || as_user="setpriv --reuid=65534 --regid=65534 --clear-groups"
chmod 755 "$dir" "$dir/t"
mkdir "$dir/t/closed"
chmod 0 "$dir/t/a/one" "$dir/t/closed"
if $as_user "$program" --help >/dev/null 2>&1; then
    LC_ALL=C $as_user "$program" $options --check "$dir/t" >"$dir/out" 2>"$dir/err"
    [ $? -eq 1 ] || fail "unreadable: exit status"
    says "wordcount: $dir/t/a/one: skipped: Permission denied" err
    says "wordcount: $dir/t/closed: skipped: Permission denied" err
    says "files     4" out
    says "skipped   2: 0 binary, 2 unreadable, 0 empty, 0 missing" out
else
    echo "not tried: unreadable files"
fi

# Wrong usage.
for arguments in "--top x" "--top -1" "--chunk 0" "--chunk 2G" "--chunk 1Kx" "--unknown" "--top" \
    "--isolation both"; do
    run 2 $arguments
    [ -s "$dir/out" ] && fail "wordcount $arguments: it printed something"
    [ -s "$dir/err" ] || fail "wordcount $arguments: it printed no reason"
done
run 0 --help
grep -q '^usage: wordcount' "$dir/out" || fail "--help"

[ $failures -eq 0 ]
