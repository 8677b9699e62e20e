#!/bin/sh
# usage.sh TASK MATMUL: what the examples that can run either way say to arguments that make no sense.
set -u
task=$(realpath "$1")
matmul=$(realpath "$2")
dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
failures=0

# refused WORDS PROGRAM ARG…: it must exit with 2, print nothing, and say WORDS in one line.
refused()
{
    words=$1
    shift
    (cd "$dir" && "$@" >out 2>err)
    got=$?
    if [ $got -ne 2 ] || [ -s "$dir/out" ] || [ "$(wc -l <"$dir/err")" -ne 1 ] ||
        ! grep -qF -e "$words" "$dir/err"; then
        echo "failed: $*: exit status $got, expected 2 and: $words"
        cat "$dir/out" "$dir/err"
        failures=$((failures + 1))
    fi
}

refused "task: --bogus: expected no option but --isolation thread|process" "$task" --bogus
refused "task: --isolation: expected thread or process" "$task" --isolation
refused "task: --isolation both: expected thread or process" "$task" --isolation both
refused "task: 5: expected fewer arguments" "$task" 5
refused "task: --bogus: expected no option" "$task" --isolation process --bogus
refused "matmul: --isolation: expected thread or process" "$matmul" --isolation
refused "matmul: --bogus: expected no option" "$matmul" 64 --bogus
refused "matmul: 3: expected fewer arguments" "$matmul" 64 32 3
refused "matmul: large: expected a number from 1 to 20000" "$matmul" large
refused "matmul: 64x: expected a number from 1 to 20000" "$matmul" 64x
refused "matmul: 0: expected a number from 1 to 20000" "$matmul" 64 0

[ $failures -eq 0 ]
