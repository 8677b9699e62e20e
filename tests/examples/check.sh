#!/bin/sh
# check.sh EXPECTED PROGRAM [ARG…]: runs an example in an empty directory. It must exit with 0, say nothing on stderr,
# and print what EXPECTED has, where <...> stands for anything. Files that it leaves behind count as lines
# "NAME: N bytes". With --isolation process it must have started a worker process.
set -u
expected=$1
program=$(realpath "$2")
shift 2
dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/files"

export mark="$dir/mark"
case " $* " in *" --isolation process "*)
    export RAY_WORKER_WRAPPER="sh -c 'touch \"\$mark\"; exec \"\$@\"' sh"
    ;;
*)
    : >"$mark"
    ;;
esac
ulimit -c 0 # an example that crashes on purpose leaves no core behind
(cd "$dir/files" && "$program" "$@" >"$dir/out" 2>"$dir/err")
status=$?
for file in "$dir"/files/*; do
    [ -e "$file" ] && echo "${file##*/}: $(wc -c <"$file") bytes" >>"$dir/out"
done

if [ $status -ne 0 ] || [ -s "$dir/err" ]; then
    echo "exit status $status; on stderr:"
    cat "$dir/err"
    exit 1
fi
if [ ! -e "$mark" ]; then
    echo "no worker process was started"
    exit 1
fi
awk '
    function same(want, got,    i, part) {
        while ((i = index(want, "<...>")) > 0) {
            part = substr(want, 1, i - 1)
            if (substr(got, 1, i - 1) != part)
                return 0
            got = substr(got, i)
            want = substr(want, i + 5)
            if (want == "")
                return 1
            i = index(want, "<...>")
            part = i > 0 ? substr(want, 1, i - 1) : want
            while (got != "" && substr(got, 1, length(part)) != part)
                got = substr(got, 2)
        }
        return want == got
    }
    NR == FNR { want[++wanted] = $0; next }
    { lines++ }
    lines > wanted || !same(want[lines], $0) {
        print "line " lines ": " $0
        print "expected: " (lines > wanted ? "the end" : want[lines])
        bad = 1
        exit
    }
    END {
        if (!bad && lines < wanted)
            print "ends too early; expected: " want[lines + 1]
        exit bad || lines < wanted
    }' "$expected" "$dir/out"
