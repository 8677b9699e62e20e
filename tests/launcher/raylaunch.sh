#!/bin/sh
# raylaunch.sh RAYLAUNCH: its command line: what it says, where, and with which exit status.
set -u
raylaunch=$1
. "$(dirname "$0")/common.sh"

# says FILE TEXT: it is there, and the other file is empty.
says()
{
    grep -qF -e "$2" "$dir/$1" || fail "not on std$1: $2 (but: $(cat "$dir/$1"))"
    other=out
    [ "$1" = out ] && other=err
    [ -s "$dir/$other" ] && fail "it also says: $(cat "$dir/$other")"
}

run 0 --help
says out "usage: raylaunch COMMAND"
grep -q "^  worker-process " "$dir/out" || fail "--help does not list worker-process"
cp "$dir/out" "$dir/usage"
run 0 -h
says out "usage: raylaunch COMMAND"
run 0 --version
grep -qE '^raylaunch [0-9]+\.[0-9]+\.[0-9]+, libray [0-9]+\.[0-9]+\.[0-9]+$' "$dir/out" || fail "--version"
run 2
says err "raylaunch: expected a command"
run 2 no-such-command
says err 'raylaunch: there is no command "no-such-command"'
run 2 --no-such-option
says err 'raylaunch: there is no option "--no-such-option"'

run 0 worker-process --help
says out "usage: raylaunch worker-process"
run 0 worker-process --load x --help
says out "usage: raylaunch worker-process"
run 2 worker-process
says err "raylaunch worker-process: a node starts this"
run 2 worker-process --load ./x.so
says err "raylaunch worker-process: a node starts this"
run 2 worker-process --load
says err "raylaunch worker-process: --load needs a value"
run 2 worker-process --lode x
says err "raylaunch worker-process: there is no option --lode"
run 2 worker-process -xy
says err "raylaunch worker-process: there is no option -x"
run 2 worker-process ./x.so
says err 'raylaunch worker-process: expected options only, got "./x.so"'
"$raylaunch" --help >/dev/full 2>"$dir/err"
[ $? -eq 1 ] || fail "--help that cannot be written"

# ---- nodes: what is wrong is said before anything starts ----

for command in head worker status list get summary logs timeline stop; do
    grep -q "^  $command " "$dir/usage" || fail "--help does not list $command"
    run 0 $command --help
    says out "usage: raylaunch $command"
    run 2 $command --no-such-option
    says err "raylaunch $command: there is no option --no-such-option"
    "$raylaunch" $command --help | awk 'length > 120 { exit 1 }' || fail "$command --help has long lines"
done
for command in head worker; do
    address=
    [ $command = worker ] && address="--address 127.0.0.1:1"
    run 2 $command $address more
    says err "raylaunch $command: expected options only, got \"more\""
    run 2 $command $address --resources disk=x
    says err "raylaunch $command: --resources 'disk=x': expected an amount (2, 0.5 or 2GiB) in column 6, got \"x\""
    run 2 $command $address --resources '{"disk": }'
    says err "raylaunch $command: --resources '{\"disk\": }': expected JSON, as in {\"disk\": 2}: "
    run 2 $command $address --resources CPU=1
    says err "CPU has an option of its own, --num-cpus"
    run 2 $command $address --labels zone
    says err "raylaunch $command: --labels 'zone': expected '=' in column 5, got nothing more"
    for value in x -1 1.5 '' 1000001; do
        run 2 $command $address --num-cpus "$value"
        says err "raylaunch $command: --num-cpus: expected a whole number from 0 to 1000000, got \"$value\""
    done
    for value in x 0 -1 1.5 2KB 2GiBx 2000T '' ; do
        run 2 $command $address --memory "$value"
        says err "raylaunch $command: --memory: expected bytes, as in 2000000000 or 2GiB, up to 1024TiB, got \"$value\""
    done
    run 2 $command $address --object-store-memory
    says err "raylaunch $command: --object-store-memory needs a value"
    run 2 $command $address --isolation container
    says err "raylaunch $command: --isolation: expected process or thread, got \"container\""
    run 2 $command $address --daemon=yes
    says err "raylaunch $command: --daemon takes no value, got \"yes\""
    run 1 $command $address --load "$dir/gone.so"
    says err "raylaunch $command: --load $dir/gone.so: $dir/gone.so: cannot open shared object file"
    run 1 $command $address --daemon --load "$dir/gone.so" # the same from the background
    says err "raylaunch $command: --load $dir/gone.so: $dir/gone.so: cannot open shared object file"
done
run 2 head --no-key --key-file x
says err "raylaunch head: expected --key-file or --no-key, got both"
run 2 worker --address 127.0.0.1:1 --no-key --key-file x
says err "raylaunch worker: expected --key-file or --no-key, got both"
run 2 worker
says err "raylaunch worker: expected --address HOST:PORT (the head's) or --address auto, got none, and no"
run 2 worker --address local
says err "got \"local\""
run 2 worker --address 127.0.0.1:1 --head-wait long
says err "raylaunch worker: --head-wait: expected seconds, as in 30 or 0.5, got \"long\""

# ---- looking around, at a node that is there for the question only ----

run 2 list
says err "raylaunch list: expected one KIND (nodes, tasks, ...); --help tells more"
run 2 list node
says err "raylaunch list: KIND: expected nodes, jobs, tasks, actors, objects, placement-groups, workers, published or \
sessions,"
run 2 list nodes tasks
says err 'raylaunch list: expected one KIND (nodes, tasks, ...), got "tasks"'
run 2 list nodes --format xml
says err 'raylaunch list: --format: expected table or json, got "xml"'
for filter in state =ALIVE != !=ALIVE ''; do
    run 2 list nodes --filter "$filter"
    says err "raylaunch list: --filter: expected FIELD=VALUE or FIELD!=VALUE, got \"$filter\""
done
run 2 list nodes --limit 10001
says err "raylaunch list: --limit: expected a whole number from 0 to 10000"
run 1 list nodes --address local --filter status=ALIVE
says err 'raylaunch list: nodes have no field "status"; they have node_id, state'
run 0 list nodes --address local
says out "NODE_ID"
grep -q " ALIVE " "$dir/out" || fail "list nodes: $(cat "$dir/out")"
run 0 list nodes --address local --filter state=dead
says out "There are none that pass the filters."
run 0 list nodes --address local --filter state!=dead --format json
says out '"state": "ALIVE"'
run 0 list nodes --address local --filter 'labels=a&b=c %+"'
says out "There are none"
run 0 list tasks --address local --format json
says out "[]"
for kind in jobs actors objects placement-groups workers; do
    run 0 list $kind --address local
done
export RAY_ADDRESS=local
run 0 list nodes
says out "NODE_ID"
unset RAY_ADDRESS
run 2 get nodes
says err "raylaunch get: expected KIND and ID; --help tells more"
run 1 get nodes x --address local
says err "raylaunch get: there is no node x"
run 2 summary nodes
says err 'raylaunch summary: KIND: expected tasks, actors, placement-groups or objects, got "nodes"'
run 0 summary tasks --address local
says out "There are none."
run 0 summary objects --address local
says out "store_used_bytes: 0"
run 0 summary actors --address local --format json
says out "[]"
run 0 status --address local
says out "Nodes: 1 alive"
for words in Usage Demand ' CPU' 'GiB memory' none; do
    says out "$words"
done
run 0 status --address local --json
says out '"warnings": []'
run 2 status nodes
says err 'raylaunch status: expected options only, got "nodes"'
"$raylaunch" status --address local >/dev/full 2>"$dir/err"
[ $? -eq 1 ] || fail "a status that cannot be written"
"$raylaunch" list nodes --address local 2>"$dir/err" | true
run 2 logs a b
says err 'raylaunch logs: expected one NODE at most, got "b"'
run 2 logs a --session b
says err "raylaunch logs: expected NODE or --session, got both"
run 2 stop --all --session "$dir"
says err "raylaunch stop: expected --session or --all, got both"
run 2 stop --timeout -1
says err 'raylaunch stop: --timeout: expected seconds, as in 30 or 0.5, got "-1"'
run 1 stop --session "$dir/gone"
says err "raylaunch stop: --session $dir/gone: No such file or directory"

# What it says where a node could hear it. The node is made up: descriptors 3 to 5 are not what a node gives.
export RAY_WORKER_OF="$$ 0"
echo "no library" >"$dir/text.so"
run 1 worker-process --load "$dir/gone.so"
says err "raylaunch worker-process: --load $dir/gone.so: $dir/gone.so: cannot open shared object file"
run 1 worker-process --load gone.so
says err "(a name without a slash is no path: ./NAME is one)"
run 1 worker-process --load "$dir/text.so"
says err "raylaunch worker-process: --load $dir/text.so:"
for descriptors in '3<&- 4<&- 5<&-' '3</dev/null 4</dev/null 5</dev/null'; do
    eval '"$raylaunch" worker-process >"$dir/out" 2>"$dir/err"' "$descriptors"
    [ $? -ne 0 ] || fail "descriptors $descriptors: it served"
    says err "this worker process cannot serve its node: descriptor 3 of a worker process is not"
done

[ $failures -eq 0 ]
