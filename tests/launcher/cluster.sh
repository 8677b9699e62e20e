#!/bin/sh
# cluster.sh RAYLAUNCH GROUPER CALLER FUNCTIONS: a head and two workers, looked at, drained and stopped. CALLER is a
# program that calls a function of the library FUNCTIONS.
set -u
raylaunch=$1 grouper=$2 caller=$3 functions=$4
. "$(dirname "$0")/common.sh"
export RAY_TMPDIR="$dir" HOME="$dir"
unset RAY_KEY_FILE RAY_CLUSTER_KEY
trap '"$raylaunch" stop --all --force >/dev/null 2>&1; rm -rf "$dir"' EXIT

# counts N TEXT: so many lines on standard output have it.
counts()
{
    got=$(grep -cE -e "$2" "$dir/out")
    [ "$got" -eq "$1" ] || fail "$got lines with $2, expected $1: $(cat "$dir/out")"
}

# until TEXT ARG…: what raylaunch ARG… prints has it at last.
until_has()
{
    words=$1
    shift
    for _ in $(seq 300); do
        "$raylaunch" "$@" >"$dir/out" 2>"$dir/err"
        grep -qE -e "$words" "$dir/out" && return
        sleep 0.1
    done
    fail "raylaunch $* never has $words: $(cat "$dir/out" "$dir/err")"
}

# until_counts N TEXT ARG…: what raylaunch ARG… prints has so many lines with it at last. A node that is late to answer
# is left out, and not ALIVE, for a moment.
until_counts()
{
    wanted=$1
    words=$2
    shift 2
    for _ in $(seq 300); do
        "$raylaunch" "$@" >"$dir/out" 2>"$dir/err"
        [ "$(grep -cE -e "$words" "$dir/out")" -eq "$wanted" ] && return
        sleep 0.1
    done
    counts "$wanted" "$words"
}

start()
{
    run 0 "$@" --isolation thread --daemon --address-file "$dir/address"
    address=$(cat "$dir/address")
    rm -f "$dir/address"
}

run 1 status
has err "no cluster is found on this host"
start head --address 127.0.0.1:0 --num-cpus 1 --memory 1GiB --object-store-memory 64MiB
head=$address
start worker --address auto --num-cpus 2 --resources disk=3 --memory 1GiB --object-store-memory 64MiB
first=$address
start worker --address "$head" --num-cpus 1 --labels zone=eu --memory 1GiB --object-store-memory 64MiB
second=$address

# ---- looking at it: the key is found with the head on this host ----

until_has "^Nodes: 3 alive$" status
has out "^ALIVE  head    [0-9a-f]{32}  $head +-$"
has out "^ALIVE  worker  [0-9a-f]{32}  $second +zone=eu$"
has out " 0/4 CPU$"
has out " 0/3 disk$"
has out "0/3.0GiB memory$"
has out "none"
until_has '"warnings": \[\]' status --address "$head" --json
counts 3 '"state": "ALIVE"'
until_counts 3 " ALIVE " list nodes
until_counts 1 " ALIVE " list nodes --filter is_head_node=false --limit 1
has err "1 of 2 are shown"
run 0 list nodes --filter node_ip="$first" --format json
has out "disk=3"
id=$(sed -n 's/.*"node_id": "\(.*\)",/\1/p' "$dir/out")
run 0 get nodes "$id"
has out "^node_ip: $first$"
has out "^resources_total: CPU=2, disk=3, memory=1GiB"
run 1 get nodes "${id}0"
has err "there is no node ${id}0"
until_counts 3 '"store_capacity_bytes": 67108864' list objects --format json
until_has "^nodes: 3$" summary objects
has out "^store_capacity_bytes: 201326592$"
run 0 summary tasks
has out "There are none."
for kind in jobs tasks actors workers published placement-groups; do
    run 0 list $kind
    has out "There are none."
done
run 1 list nodes --filter colour=blue
has err 'nodes have no field "colour"; they have node_id, state, '
export RAY_ADDRESS="$head"
until_has "Nodes: 3 alive" status
unset RAY_ADDRESS

# ---- a placement group whose maker has gone ----

RAY_ADDRESS=$head "$grouper" make >"$dir/out" 2>"$dir/err" || fail "grouper make: $(cat "$dir/err")"
run 0 list placement-groups
counts 1 " all/crew +CREATED "
run 0 list placement-groups --filter is_detached=true --format json
counts 1 '"name": "all/crew"'
group=$(sed -n 's/.*"placement_group_id": "\(.*\)",/\1/p' "$dir/out")
run 0 get placement-groups "$group"
has out "^state: CREATED$"
has out "^bundles: 2$"
has out "^is_detached: true$"
run 0 summary placement-groups
has out "STRICT_SPREAD +1 +CREATED: 1"
RAY_ADDRESS=$head "$grouper" remove >"$dir/out" 2>"$dir/err" || fail "grouper remove: $(cat "$dir/err")"
run 0 list placement-groups
has out "There are none."

# ---- what cannot be asked ----

run 1 status --address "$first"
has err "cannot reach head at $first: it wants a cluster key, and there is none here"
run 1 status --address "$first" --key-file "$(ls "$dir"/ray-*/s-*/cluster-key)"
has err "this node is not the head of its cluster, which is at $head"
RAY_CLUSTER_KEY=ray-cluster-key-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= \
    "$raylaunch" status >"$dir/out" 2>"$dir/err" && fail "another key is accepted"
has err "raylaunch status: .*key"
run 1 list nodes --key-file "$dir/nowhere"
has err "$dir/nowhere"
run 1 list nodes --address nowhere
has err 'expected an address HOST:PORT .*, got "nowhere"'

# ---- draining ----

run 2 drain
has err "raylaunch drain: expected one NODE"
run 1 drain nobody
has err "raylaunch drain: there is no node nobody"
run 1 drain "$head"
has err "is the head: only workers can be drained"
run 1 drain ""
has err "3 nodes are "
run 0 drain "$first"
has out "^Node $id is being drained: it leaves when it is done.$"
until_has "^DEAD   worker  $id " status
until_has "^Nodes: 2 alive, 3 dead$" status # two drivers have been here
until_has " 0/2 CPU$" status # what a node has free is told a few times a second: a group has just ended
run 1 drain "$id"
has err "there is no node $id"
until_has "^state_message: it left$" get nodes "$id"
for _ in $(seq 100); do
    run 0 list sessions --filter address="$first"
    grep -q "There are none" "$dir/out" && break
    sleep 0.1
done
has out "There are none"

# ---- a function that a node gets when it is waited for ----

RAY_ADDRESS=auto "$caller" >"$dir/called" 2>&1 &
called=$!
until_has "^  1 x .CPU=1. and the function triple, waiting for .* s: no node has that$" status
has out "^  1 waiting for the function triple: no node with CPU=1 has it \(start workers with --load, or ray_load it\)$"
start worker --address auto --num-cpus 1 --load "$functions"
third=$address
wait "$called" || fail "the caller: $(cat "$dir/called")"
has called "^triple of 7 is 21$"
until_has "^  none$" status

# ---- the end ----

run 0 stop
counts 3 "^ended: "
has out "^ended: head $head "
has out "^ended: worker $second "
has out "^ended: worker $third "

# a head that ends alone takes its workers with it, and they have failed at nothing
start head --address 127.0.0.1:0 --num-cpus 1 --memory 1GiB --object-store-memory 64MiB
head=$address
"$raylaunch" worker --address "$head" --num-cpus 1 --isolation thread --memory 1GiB --object-store-memory 64MiB \
    --address-file "$dir/address" >"$dir/worker" 2>&1 &
worker=$!
until_has "^Nodes: 2 alive$" status
run 0 list sessions --filter role=head --format json
run 0 stop --session "$(sed -n 's/.*"path": "\(.*\)",*/\1/p' "$dir/out")"
counts 1 "^ended: head $head "
wait $worker || fail "a worker whose head has ended: exit status $?: $(cat "$dir/worker")"
grep -q "^raylaunch: the head at $head has ended, and the cluster with it$" "$dir/worker" ||
    fail "a worker whose head has ended says: $(cat "$dir/worker")"
run 0 list sessions
has out "There are none."
run 1 status
has err "no cluster is found on this host"
run 1 status --address "$head"
has err "cannot reach head at $head: connection refused: nobody listens there \(tried for 1[0-9] s\)"

[ $failures -eq 0 ]
