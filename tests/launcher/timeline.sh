#!/bin/sh
# timeline.sh RAYLAUNCH DRIVER LIBRARY: what raylaunch timeline writes of the work of DRIVER on a head and two workers,
# which have its functions from LIBRARY.
set -u
raylaunch=$1
driver=$2
library=$3
. "$(dirname "$0")/common.sh"
export RAY_TMPDIR="$dir" HOME="$dir"
unset RAY_KEY_FILE RAY_CLUSTER_KEY RAY_TIMELINE_TASKS
trap '"$raylaunch" stop --all --force >/dev/null 2>&1; rm -rf "$dir"' EXIT

start()
{
    run 0 "$@" --load "$library" --memory 1GiB --object-store-memory 64MiB --daemon
}

# check FILE: the trace of what $dir/ran tells.
check()
{
    python3 - "$1" "$dir/ran" "$dir/nodes" <<'END' || fail "the trace $1"
import collections, json, sys

events = json.load(open(sys.argv[1]))
began, ended, runs = map(int, open(sys.argv[2]).read().split())
addresses = open(sys.argv[3]).read().split()
assert len(addresses) == 3, addresses

processes, threads, seen = {}, {}, collections.Counter()
for e in events:
    if e["ph"] == "M" and e["name"] == "process_name":
        assert e["pid"] not in processes, e
        processes[e["pid"]] = e["args"]["name"]
    elif e["ph"] == "M":
        assert e["name"] == "thread_name" and (e["pid"], e["tid"]) not in threads, e
        threads[e["pid"], e["tid"]] = e["args"]["name"]
assert sorted(processes.values()) == sorted(
    ["head " + addresses[0]] + ["worker " + a for a in addresses[1:]]), (processes, addresses)

spans = [e for e in events if e["ph"] == "X"]
assert len(spans) == runs, (len(spans), runs)
lanes = collections.defaultdict(list)
for e in spans:
    assert set(e) - {"cname"} == {"cat", "name", "pid", "tid", "ts", "dur", "ph", "args"}, e
    assert e["tid"].startswith("worker:"), e
    assert began <= e["ts"] and e["ts"] + e["dur"] <= ended and e["dur"] >= 0, (e, began, ended)
    assert (e["pid"], e["tid"]) in threads, e
    seen[e["name"]] += 1
    number, at, address = e["name"].partition(" at ")
    if at: # on the node that it was to run on, in a thread or in a process as it was to
        assert processes[e["pid"]].split()[1] == address, (e, processes)
        assert ("process" in threads[e["pid"], e["tid"]]) == (int(number) % 3 == 2), e
        assert e["cat"] == "task" and e["args"]["function"] == "triple", e
        assert len(e["args"]["task_id"]) == 32 and e["args"]["actor_id"] is None, e
    good = e["name"] != "give_up"
    assert e["args"]["outcome"] == ("ok" if good else "failed") and ("cname" in e) != good, e
    assert e["args"]["attempt"] == 0, e
    lanes[e["pid"], e["tid"]].append((e["ts"], e["ts"] + e["dur"]))
calls = [e for e in spans if e["cat"] == "actor_call"]
made = [e for e in spans if e["cat"] == "actor_creation"]
assert len(made) == 1 and made[0]["name"] == "sums", made
assert {e["name"] for e in calls} == {"sums.add"}, calls
assert {e["args"]["actor_id"] for e in calls} == {made[0]["args"]["actor_id"]}, calls
assert len(calls) * 3 + len(made) + 1 + len(calls) == runs
assert seen["give_up"] == 1
assert all(n == 1 for name, n in seen.items() if name != "sums.add"), seen
assert sum(1 for name in seen if " at " in name) == 3 * len(calls)
for spans in lanes.values(): # one thread does one thing at a time
    spans.sort()
    for (_, end), (begin, _) in zip(spans, spans[1:]):
        assert end <= begin + 1, spans # a double has quarters of a µs
END
}

start head --address 127.0.0.1:0 --num-cpus 1
start worker --address auto --num-cpus 2
start worker --address auto --num-cpus 1 --isolation thread
RAY_ADDRESS=auto "$driver" 40 >"$dir/ran" 2>"$dir/nodes" || fail "the driver: $(cat "$dir/nodes")"
runs=$(awk '{ print $3 }' "$dir/ran")
run 0 timeline "$dir/trace.json"
has out "^$dir/trace.json: $runs runs of 3 nodes.$"
[ -s "$dir/err" ] && fail "$(cat "$dir/err")"
check "$dir/trace.json"
run 0 timeline - --address auto
has err "^raylaunch timeline: $runs runs of 3 nodes"
cp "$dir/out" "$dir/again.json"
check "$dir/again.json"

run 1 timeline "$dir/nowhere/trace.json"
has err "$dir/nowhere/trace.json: No such file or directory"
run 1 timeline /dev/full
has err "cannot write to /dev/full"
"$raylaunch" timeline - >/dev/full 2>"$dir/err" && fail "a trace that cannot be written"
run 2 timeline
has err "raylaunch timeline: expected one FILE, or -; --help tells more"
run 2 timeline a b
has err 'expected one FILE, or -, got "b"'

# A record that is too small, and none.
run 0 stop
export RAY_TIMELINE_TASKS=64
start head --address 127.0.0.1:0 --num-cpus 1 --isolation thread
export RAY_TIMELINE_TASKS=0
start worker --address auto --num-cpus 1 --isolation thread
RAY_ADDRESS=auto "$driver" 200 >/dev/null 2>"$dir/nodes" || fail "the driver: $(cat "$dir/nodes")"
run 0 timeline "$dir/trace.json"
has out ": [1-9][0-9]* runs of 1 node; [1-9][0-9]* more were lost"
has err "raylaunch timeline: 1 node has no record: RAY_TIMELINE_TASKS=N in the environment makes one"
python3 -c 'import json, sys; assert len(json.load(open(sys.argv[1]))) > 10' "$dir/trace.json" || fail "a lossy trace"
run 0 stop

[ $failures -eq 0 ]
