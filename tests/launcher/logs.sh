#!/bin/sh
# logs.sh RAYLAUNCH DRIVER LIBRARY: the logs of nodes that are asked for them, as if they were on other hosts.
set -u
raylaunch=$1
driver=$2
library=$3
. "$(dirname "$0")/common.sh"
export RAY_TMPDIR="$dir" HOME="$dir"
unset RAY_KEY_FILE RAY_CLUSTER_KEY
follower=
trap '[ -n "$follower" ] && kill $follower 2>/dev/null; "$raylaunch" stop --all --force >/dev/null 2>&1
rm -rf "$dir"' EXIT

start()
{
    run 0 "$@" --load "$library" --memory 1GiB --object-store-memory 64MiB --num-cpus 1 --daemon \
        --address-file "$dir/address"
    address=$(cat "$dir/address")
    rm -f "$dir/address"
}

# until FILE WORDS: they are there at last.
until_has()
{
    for _ in $(seq 300); do
        grep -qE -e "$2" "$1" && return
        sleep 0.1
    done
    fail "$1 never has $2: $(cat "$1")"
}

start head --address 127.0.0.1:0
head=$address
start worker --address auto
worker=$address
export RAY_ADDRESS="$head"
"$driver" say hello 2>"$dir/nodes" || fail "the driver: $(cat "$dir/nodes")"
id=$("$raylaunch" list nodes --filter node_ip="$worker" --format json | sed -n 's/.*"node_id": "\(.*\)",/\1/p')
session=$("$raylaunch" list sessions --filter address="$worker" --format json | sed -n 's/.*"path": "\([^"]*\)".*/\1/p')
until_has "$session/logs/raylaunch.log" "hello $worker"

# By its id, the beginning of it, its address; the same as from its files. The head's without a name.
run 0 logs "$worker"
cp "$dir/out" "$dir/near"
has out "^==> raylaunch.log <==$"
has out "^==> worker-[0-9]+.out <==$"
has out "^hello $worker$"
lacks out "hello $head"
for name in "$id" "$(echo "$id" | cut -c 1-8)" "$worker --address $head"; do
    run 0 logs $name
    cmp -s "$dir/out" "$dir/near" || fail "logs $name: $(cat "$dir/out" "$dir/err")"
done
for name in "" head "$head"; do
    run 0 logs $name --address "$head"
    has out "^hello $head$"
    lacks out "^hello $worker$"
done
run 1 logs 00112233
has err "raylaunch logs: there is no node 00112233"
run 1 logs nobody
has err "raylaunch logs: no node of yours on this host is nobody"
run 2 logs --address "$head" --session "$session"
has err "expected --address or --session, got both"
"$raylaunch" logs "$id" >/dev/full 2>"$dir/err" && fail "logs that cannot be written"

# A long one comes in pieces, whole.
seq 100000 >"$session/logs/worker-1.out"
run 0 logs "$id"
sed -n '/^==> worker-1.out <==$/,/^$/p' "$dir/out" | grep -E '^[0-9]+$' | cmp -s - "$session/logs/worker-1.out" ||
    fail "a long log is another one: $(wc -l <"$dir/out") lines"
rm "$session/logs/worker-1.out"

# It follows what is added, renamed and new, until the node ends.
"$raylaunch" logs "$id" --follow >"$dir/followed" 2>"$dir/follower" &
follower=$!
until_has "$dir/followed" "^hello $worker$"
echo "more" >"$session/logs/worker-2.out"
until_has "$dir/followed" "^more$"
mv "$session/logs/worker-2.out" "$session/logs/worker-2.out.1"
echo "again" >"$session/logs/worker-2.out"
until_has "$dir/followed" "^again$"
run 0 stop --session "$session"
for _ in $(seq 150); do
    kill -0 $follower 2>/dev/null || break
    sleep 0.1
done
kill $follower 2>/dev/null && fail "it follows for ever"
wait $follower || fail "who follows has failed: $(cat "$dir/follower")"
follower=
[ "$(grep -c "^more$" "$dir/followed")" -eq 1 ] || fail "followed: $(cat "$dir/followed")"
[ "$(grep -c "^==> worker-2.out <==$" "$dir/followed")" -eq 2 ] || fail "followed: $(cat "$dir/followed")"
run 0 stop

[ $failures -eq 0 ]
