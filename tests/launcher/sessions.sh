#!/bin/sh
# sessions.sh RAYLAUNCH PLAYER: what list, logs and stop do with the nodes of this user on this host. PLAYER plays them.
set -u
raylaunch=$1
player=$2
. "$(dirname "$0")/common.sh"
matches=-F
export RAY_TMPDIR="$dir"
players=
trap 'for pid in $players; do kill -9 "$pid" 2>/dev/null; done; rm -rf "$dir"' EXIT

# play MARKED ROLE ADDRESS [stubborn]: starts a player; $pid and $session are its own.
play()
{
    marked=$1
    shift
    "$player" "$@" >"$dir/player" &
    pid=$!
    players="$players $pid"
    for _ in $(seq 500); do
        [ -s "$dir/player" ] && break
        sleep 0.02
    done
    session=$(cat "$dir/player")
    [ -n "$session" ] || fail "the player does not start"
    [ "$marked" = marked ] && touch "$session/raylaunch"
    : >"$dir/player"
}

# follows TEXT: waits until it was followed.
follows()
{
    for _ in $(seq 300); do
        grep -q -F -e "$1" "$dir/followed" && return
        sleep 0.1
    done
    fail "not followed: $1 (but: $(cat "$dir/followed"))"
}

run 0 list sessions
has out "There are none."
run 0 stop
has out "There is nothing to stop."
run 1 logs
has err "no node of yours on this host is a head or a worker"

play marked head 127.0.0.1:6379
head=$pid head_session=$session
play marked worker 127.0.0.1:7001
worker=$pid
play alone worker 127.0.0.1:7002
other=$pid
play marked driver ""
driver=$pid

run 0 list sessions --format json
has out '"role": "head"'
for word in "\"pid\": $head" "\"pid\": $worker" "\"pid\": $other" "\"pid\": $driver" "$head_session"; do
    has out "$word"
done
run 0 list sessions --filter role=worker --filter pid!="$other"
has out "127.0.0.1:7001"
lacks out "127.0.0.1:7002"
lacks out "6379"
run 0 list sessions --limit 1
has err "1 of 4 are shown; --limit N shows more"
run 0 get sessions "$head"
has out "address: 127.0.0.1:6379"
run 1 get sessions 1
has err "there is no session 1"

# The head's; by pid; two that are meant; a path.
run 0 logs
has out "==> worker-1.out <=="
has out "head was here"
run 0 logs "$worker"
has out "worker was here"
run 0 logs 127.0.0.1:7002
has out "worker was here"
run 1 logs worker
has err "2 nodes of yours on this host are worker"
run 1 logs nobody
has err "no node of yours on this host is nobody"
run 0 logs --session "$head_session"
has out "head was here"
run 1 logs --session "$dir/nowhere"
has err "$dir/nowhere/logs: No such file"

# It follows what is added, renamed and new, until the session has gone.
"$raylaunch" logs head --follow >"$dir/followed" &
follower=$!
follows "head was here"
echo "more" >>"$head_session/logs/worker-1.out"
follows "more"
mv "$head_session/logs/worker-1.out" "$head_session/logs/worker-1.out.1"
echo "again" >"$head_session/logs/worker-1.out"
follows "again"

run 1 stop --session "$dir"
has err "no head or worker that lives has the session $dir"
run 0 stop --session "$head_session/" # only this one
has out "ended: head 127.0.0.1:6379 (pid $head)"
kill -0 "$worker" 2>/dev/null || fail "it has ended more"
rm -rf "$head_session" # logs that were kept
for _ in $(seq 100); do
    kill -0 $follower 2>/dev/null || break
    sleep 0.1
done
kill $follower 2>/dev/null && fail "it follows for ever"
printf '==> worker-1.out <==\nhead was here\nmore\n\n==> worker-1.out <==\nagain\n' | cmp -s - "$dir/followed" ||
    fail "followed: $(cat "$dir/followed")"

run 0 stop # those that raylaunch has started
has out "ended: worker 127.0.0.1:7001 (pid $worker)"
has out "1 other node of yours left alone"
lacks out "7002"
kill -0 "$other" 2>/dev/null || fail "it has ended what it did not start"
kill -0 "$driver" 2>/dev/null || fail "it has ended a driver"
run 0 stop --all
has out "ended: worker 127.0.0.1:7002 (pid $other)"
run 0 stop --all
has out "There is nothing to stop."

play marked worker 127.0.0.1:7003 stubborn
run 1 stop --timeout 0.3
has err "1 of 1 have not ended in 0.3 s; --force kills them"
run 0 stop --force
has out "ended: worker 127.0.0.1:7003 (pid $pid)"

[ $failures -eq 0 ]
