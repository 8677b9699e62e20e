#!/usr/bin/env python3
"""mutants.py --list | mutants.py NAME SOURCE OUT: writes SOURCE, a file of a brain of lib, with one thing broken.

The simulator must fail with each of them: that is how the checkers are checked. A piece of code that is to be replaced
must stand in the source exactly once, so that a change there is not missed here. The list says of each mutant its name,
the scenario that is to find it, and the source, in lib."""
import sys

SLOPPY = (".received = peer->received,", ".received = peer->received - (size > 0 && peer->received > 3 ? 3 : 0),")

SESSION = {
    # Between honest ends a message comes twice only after a HELLO that says less than it might.
    "no-dedup": ("frame->number <= peer->received", "frame->number == 0", *SLOPPY),
    "harmless-sloppy": SLOPPY,
    "ack-before-delivery": (".received = peer->received,", ".received = peer->received + 1,"),
    "no-resend": ("peer->unsent = peer->messages;", "peer->unsent = NULL;"),
    "loses-quietly": (
        "peer->unsent = peer->messages;",
        "peer->unsent = NULL;",
        "frame->number > peer->received + 1",
        "frame->number == 0"),
    "no-smaller-id": ("return 2 * dial + (mine == smaller);", "return 2 * dial + (smaller && false);"),
    "adopts-all": (
        "return rank_of(peer, hello->number, false) > best;",
        "return rank_of(peer, hello->number, false) + best > 0;"),
    "impatient": ("least = RAYI_MIN(peer->now_ms - peer->began_ms, o->backoff_most_ms);", "least = 0;"),
    "resend-without-the-first": (
        "peer->unsent = peer->messages;",
        "peer->unsent = peer->messages ? peer->messages->next : NULL;"),
    "order": ("DL_APPEND(peer->messages, m);", "DL_PREPEND(peer->messages, m);"),
    "two-links": (
        "    if (is_up(peer) || peer->state == RAYI_PEER_DIALLING)\n"
        "        close_link(peer, peer->link, NULL);\n"
        "    go(peer, RAYI_PEER_ADOPTED);",
        "    go(peer, RAYI_PEER_ADOPTED);"),
    "any-incarnation": (
        "return frame->from == peer->o.peer.incarnation && frame->to == peer->o.self.incarnation;",
        "return true;"),
    "no-give-back": (
        "peer->state != RAYI_PEER_ENDED || !m",
        "peer->state != RAYI_PEER_ENDED || m != peer->unsent || !m"),
    "give-back-twice": (
        "    DL_DELETE(peer->messages, m);\n"
        "    peer->held--;\n"
        "    peer->held_bytes -= m->size;\n"
        "    peer->given_back = m;",
        "    if (peer->held > 0)\n"
        "        peer->held = 0;\n"
        "    else {\n"
        "        DL_DELETE(peer->messages, m);\n"
        "        peer->given_back = m;\n"
        "    }"),
    "forgets-at-death": (
        "peer->has_delivery = peer->hello_due",
        "while (peer->messages)\n        drop_head(peer);\n    peer->has_delivery = peer->hello_due"),
    "talks-after-death": (
        "    if (peer->state == RAYI_PEER_ENDED)\n        return;\n    if (is_up(peer)",
        "    if (peer->state == RAYI_PEER_OPEN) {\n"
        "        peer->ended_due = true;\n"
        "        return;\n"
        "    }\n"
        "    if (is_up(peer)"),
    "no-credit": ("peer->requests_sent >= peer->credit", "peer->requests_sent > RAYI_NUMBER_MAX"),
    "generous": ("return RAYI_MIN(peer->o.window +", "return RAYI_MIN(2 * peer->o.window +"),
    "keeps-credit-to-itself": (
        "if (peer->requests_sent < peer->credit && tell(",
        "if (peer->state == RAYI_PEER_STATES && tell("),
    "credit-overtakes-answers": (
        "return behind ? behind->limit : limit_of(peer);",
        "return behind ? limit_of(peer) : limit_of(peer);"),
    "waits-for-ever": ("until = moment(peer->moved_ms, peer->o.stall_ms);", "until = NEVER;"),
    "no-bare-ack": ("if (peer->ack_due_ms > peer->now_ms)", "if (peer->state != RAYI_PEER_ENDED)"),
    "keeps-for-ever": ("peer->messages->number <= frame->received", "peer->messages->number < frame->received"),
    "fills-the-link": ("peer->unwritten -= size_bytes;", "peer->unwritten -= size_bytes / 2;"),
    "leaks": (
        "    rayi_memory_free(peer->memory, head);",
        "    if (head->size % 2)\n        rayi_memory_free(peer->memory, head);"),
    "acks-late": ("    ack_by(peer, peer->o.ack_ms);\n    if", "    if"),
    "no-redial": ("    back_off(peer);\n", "    back_off(peer);\n    peer->retry_ms = NEVER;\n"),
}

LEDGER = {
    "tries-for-ever": ("    if (*retries > 0)\n        --*retries;\n", ""),
    "a-return-is-a-try": (
        "    go(ledger, e, TRY_AGAIN);\n    set_todo(",
        "    go(ledger, e, TRY_AGAIN);\n    e->retries_left -= e->retries_left > 0;\n    set_todo("),
    "gives-nothing-back": (
        "        end(ledger, e, outcome, BIT(RAYI_LEDGER_GIVE_BACK));\n        return;\n    }\n"
        "    go(ledger, e, TRY_AGAIN);\n    e->attempt++;",
        "        end(ledger, e, outcome, 0);\n        return;\n    }\n"
        "    go(ledger, e, TRY_AGAIN);\n    e->attempt++;"),
    "withdraws-nothing": ("submitted ? BIT(RAYI_LEDGER_WITHDRAW) : 0", "submitted && false ? 1 : 0"),
    "never-late": ("ledger->heap[0]->deadline_ms <= now_ms", "ledger->heap[0]->deadline_ms < INT64_MIN + now_ms"),
    "early": ("ledger->heap[0]->deadline_ms <= now_ms", "ledger->heap[0]->deadline_ms <= now_ms + 200"),
    "ignores-cancels": ("        e->cancelled = true;\n    else", "        (void)e;\n    else if (e->id % 2)"),
}

ACTOR = {
    "lives-for-ever": ("restarts_left < 0 ? restarts_left : restarts_left - 1", "restarts_left"),
    "lives-once-less": ("    if (restarts_left == 0)\n", "    if (restarts_left == 0 || restarts_left == 1)\n"),
    "keeps-its-place": (
        "    const unsigned lost = RAYI_ACTOR_FAIL_RUNNING | RAYI_ACTOR_GIVE_BACK;",
        "    const unsigned lost = RAYI_ACTOR_FAIL_RUNNING;"),
    "keeps-what-runs": (
        "    const unsigned lost = RAYI_ACTOR_FAIL_RUNNING | RAYI_ACTOR_GIVE_BACK;",
        "    const unsigned lost = RAYI_ACTOR_GIVE_BACK;"),
    "keeps-calls": (
        "return step(RAYI_ACTOR_DEAD, lost | RAYI_ACTOR_FAIL_CALLS, 0);",
        "return step(RAYI_ACTOR_DEAD, lost, 0);"),
    "withdraws-nothing": ("RAYI_ACTOR_WITHDRAW | RAYI_ACTOR_FAIL_CALLS", "RAYI_ACTOR_FAIL_CALLS"),
    "submits-nothing": ("lost | RAYI_ACTOR_SUBMIT", "lost"),
    "calls-too-early": (
        "step(RAYI_ACTOR_STARTING, RAYI_ACTOR_RUN_CONSTRUCTOR, left)",
        "step(RAYI_ACTOR_STARTING, RAYI_ACTOR_RUN_CONSTRUCTOR | RAYI_ACTOR_RUN_CALLS, left)"),
    "runs-no-calls": ("step(RAYI_ACTOR_ALIVE, RAYI_ACTOR_RUN_CALLS, left)", "step(RAYI_ACTOR_ALIVE, 0, left)"),
    "forgets-fini": ("RAYI_ACTOR_FAIL_CALLS | RAYI_ACTOR_RUN_FINI", "RAYI_ACTOR_FAIL_CALLS"),
    "ends-with-calls": ("RAYI_ACTOR_FAIL_CALLS | RAYI_ACTOR_RUN_FINI", "RAYI_ACTOR_RUN_FINI"),
    "crashes-for-good": (
        "        return restart_or_die(left);\n    case RAYI_ACTOR_EXIT:\n    case",
        "        return restart_or_die(0);\n    case RAYI_ACTOR_EXIT:\n    case"),
    "survives-a-kill": (
        "    case RAYI_ACTOR_KILL:\n        return step(RAYI_ACTOR_DEAD, RAYI_ACTOR_FAIL_RUNNING |",
        "    case RAYI_ACTOR_KILL:\n        return step(RAYI_ACTOR_ALIVE, RAYI_ACTOR_FAIL_RUNNING |"),
    "constructs-again": (
        "    case RAYI_ACTOR_CONSTRUCTOR_FAILED: /* it would fail again */\n",
        "    case RAYI_ACTOR_CONSTRUCTOR_FAILED:\n        return restart_or_die(left < 0 ? left : left + 1);\n"),
    "revives": (
        "        return step(RAYI_ACTOR_DEAD, 0, restarts_left);",
        "        if (event == RAYI_ACTOR_KILL_MAY_RESTART)\n            return restart_or_die(-1);\n"
        "        return step(RAYI_ACTOR_DEAD, 0, restarts_left);"),
}

LINEAGE = {
    "for-ever": ("    if (e->retries_left == 0)\n        return RAYI_LINEAGE_NO_RETRIES;\n", ""),
    "runs-for-nothing": ("    if (e->retries_left > 0)\n        e->retries_left--;\n", ""),
    "forgets-tries": (
        "        e->retries_left -= RAYI_MIN((int32_t)RAYI_MIN(tries, (uint32_t)INT32_MAX), e->retries_left);\n",
        "        (void)tries;\n"),
    "keeps-all": ("while (lineage->size_bytes > lineage->limit_bytes && lineage->kept)", "while (false)"),
    "keeps-little": (
        "while (lineage->size_bytes > lineage->limit_bytes && lineage->kept)",
        "while (lineage->size_bytes > lineage->limit_bytes / 2 && lineage->kept)"),
    "drops-the-latest": ("    DL_APPEND(*list, e);", "    DL_PREPEND(*list, e);"),
    "drops-what-runs": ("    if (to != RAYI_LINEAGE_RUNNING)\n        enter_list", "    enter_list"),
    "tells-of-no-drop": ("    entry *e = lineage->dropped;", "    entry *e = false ? lineage->dropped : NULL;"),
    "stingy": ("    *retries = e->retries_left;\n    go(", "    *retries = 0;\n    go("),
    "removes-nothing": ("    if (e)\n        free_entry(lineage, e);", "    (void)e;"),
    "ends-nothing": (
        "    if (!e)\n        return;\n    if (e->retries_left > 0)",
        "    return;\n    if (e->retries_left > 0)"),
    "shallow": ("if (depth >= RAYI_LINEAGE_DEPTH)", "if (depth >= 1)"),
}

PLANNER = {
    "keeps-what-ended": (
        "    note_end(planner, task);\n    rayi_planner_peer_give(planner, task->peer, task->queue->need);\n",
        "    note_end(planner, task);\n"),
    "sleeps": (
        "return queue->blocked && queue->blocked_version == version_for(planner, queue) && !limits_others(queue) &&\n"
        "           queue->blocked_late == rayi_planner_queue_is_late(planner, queue);",
        "return queue->blocked;"),
    "takes-twice": (
        "    rayi_planner_queue_pull(planner, task);\n    rayi_planner_peer_take(planner, peer, queue->need);\n",
        "    rayi_planner_queue_pull(planner, task);\n    rayi_planner_peer_take(planner, peer, queue->need);\n"
        "    peer->outstanding++;\n"),
}

PLANNER_CHOOSE = {
    "ties-are-hints": ("    return queue->key.tie == RAYI_PLANNER_HARD;\n}", "    return false;\n}"),
}

PLAN = {
    "over-grants": ("    if (idle_cpu(scheduler) >= shape->cpu)", "    if (idle_cpu(scheduler) > 0)"),
    "drains-for-ever": (
        "    if (scheduler->stock.draining)\n        rayi_stock_unreserve(scheduler, &scheduler->stock);\n",
        "    scheduler->stock.draining = false;\n"),
}

STOCK = {
    "loses-gpus": ("    stock->available[RAYI_GPU] += shape->gpu;\n", ""),
    "doubles-disks": (
        "        stock->available[shape->items[i].kind] += shape->items[i].amount;",
        "        stock->available[shape->items[i].kind] += 2 * shape->items[i].amount;"),
}

SCHEDULER = {
    "resumes-for-nothing": ("    move_cpu(scheduler, request, -1);", "    move_cpu(scheduler, request, 0);"),
    "forgets-slots": ("    scheduler->stock.available[RAYI_CPU] += (int64_t)slots * RAYI_RESOURCE_UNIT;\n", ""),
    "grants-what-was-removed": (
        "        rayi_demand_pull(scheduler, request);\n    else",
        "        return true;\n    else"),
}

BUNDLES = {
    "releases-nothing": ("bool is_told = p->is_asked && p->node;", "bool is_told = p->is_asked && false;"),
    "has-some": (
        "        if (!other->is_reserved)\n            return;\n",
        "        if (!other->is_reserved && other->count > 1)\n            return;\n"),
    "holds-for-ever": (
        "    if (g->state == RAYI_BUNDLES_IS_TRYING && b->now_ms >= g->due_ms)\n        fail(b, g);\n", ""),
    "keeps-the-dead": (
        "    give_back(b, p);\n    g->is_lost = b->is_stirred = true;\n",
        "    return;\n    g->is_lost = b->is_stirred = true;\n"),
}

# Which scenario, which source, and what names begin with.
ALL = [
    ("session", "transport/session.c", "", SESSION),
    ("raylet", "core/ledger.c", "ledger-", LEDGER),
    ("raylet", "core/actor.c", "actor-", ACTOR),
    ("raylet", "core/lineage.c", "lineage-", LINEAGE),
    ("raylet", "scheduler/planner.c", "planner-", PLANNER),
    ("raylet", "scheduler/planner_choose.c", "planner-", PLANNER_CHOOSE),
    ("raylet", "scheduler/bundles.c", "bundles-", BUNDLES),
    ("raylet", "scheduler/plan.c", "scheduler-", PLAN),
    ("raylet", "scheduler/stock.c", "scheduler-", STOCK),
    ("raylet", "scheduler/scheduler.c", "scheduler-", SCHEDULER),
]
MUTANTS = {prefix + name: changes for _, _, prefix, some in ALL for name, changes in some.items()}


def main():
    if sys.argv[1] == "--list":
        for scenario, source, prefix, some in ALL:
            for name in some:
                print(prefix + name, scenario, source)
        return 0
    name, source, out = sys.argv[1:]
    changes = MUTANTS[name]
    with open(source, encoding="utf-8") as file:
        text = file.read()
    for old, new in zip(changes[::2], changes[1::2]):
        if text.count(old) != 1:
            print(f"{name}: what it replaces is in {source} {text.count(old)} times", file=sys.stderr)
            return 1
        text = text.replace(old, new)
    with open(out, "w", encoding="utf-8") as file:
        file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
