/* At the cap of processes (ray_config.max_workers). What waits for a process there gets one when another ends or is
 * idle, and tasks that wait run what they wait for (nested.c). Where neither helps, since what they wait
 * for needs another environment, a limit of memory or is an actor, nothing would ever go on: then what is waited for
 * fails, with a word of the cap. That takes proof: each process is an actor's that has nothing to do, or all that runs
 * in it waits for what waits for a process; twice in a row, since what is looked at changes meanwhile.
 *
 * Tasks that wait for several things at once, or for the items of a stream, do not say what they wait for. If they have
 * a child that waits for a process, and nothing at all has gone on for a while, that is taken for proof.
 *
 * Where there is none, the processes being those of idle actors, say, a warning tells after a while. */
#include "isolation/inside.h"

#include <stdio.h>

enum { STUCK_TICKS = 2, UNSURE_MS = 2000, WARN_MS = 10000 };

static rayi_begin **find_begin(rayi_isolation *isolation, rayi_record *record)
{
    rayi_begin **at = &isolation->begins;

    while (*at && !rayi_actor_is_awaited((*at)->actor, record))
        at = &(*at)->next;
    return *at ? at : NULL;
}

static bool is_blocked_elsewhere(rayi_isolation *isolation, const rayi_record *record)
{
    unsigned count = atomic_load(&isolation->num_guests);
    bool found = false;

    for (unsigned i = 0; i < count && !found; i++) {
        rayi_guest *guest = isolation->guests[i];
        uint32_t slot;
        pthread_mutex_lock(&guest->lock);
        slot = rayi_guest_slot_of(guest, (const rayi_task *)record);
        found = slot != RAYI_NO_SLOT && guest->offers[slot].blocked;
        pthread_mutex_unlock(&guest->lock);
    }
    return found;
}

typedef struct victim {
    rayi_record *task;  /* counted, or NULL: */
    rayi_begin **begin; /* where it stands in the list */
} victim;

/* Whether the record waits for a process, by itself, by an argument, or by what runs it; takes its count. */
static bool waits_for_process(rayi_isolation *isolation, rayi_record *record, victim *out)
{
    bool waits = false;

    while (record && !waits && !rayi_record_done(record)) {
        rayi_begin **begin = find_begin(isolation, record);
        rayi_record *next = NULL;
        if (begin || rayi_is_in_backlog(record)) {
            waits = true;
            if (!out->task && !out->begin) {
                out->begin = begin;
                out->task = begin ? NULL : record;
                if (out->task)
                    rayi_record_ref(record);
            }
        } else if (is_blocked_elsewhere(isolation, record)) {
            waits = true;
        } else if (record->type == RAYI_TASK || record->type == RAYI_CALL) {
            next = rayi_task_next_argument((rayi_task *)record);
        }
        rayi_record_unref(isolation->node.thread, record);
        record = next;
    }
    if (record)
        rayi_record_unref(isolation->node.thread, record);
    return waits;
}

/* Nothing runs there, and nobody can have it; isolation.lock is held. */
static bool is_still(rayi_guest *guest)
{
    if (guest->state != RAYI_GUEST_READY)
        return guest->state == RAYI_GUEST_NONE;
    if (guest->num_offered == 0)
        return guest->actor != NULL;
    return guest->num_blocked > 0 && guest->num_blocked == rayi_guest_count_started(guest);
}

/* There is work, no process may be started, and none does anything. */
static bool stands_still(rayi_isolation *isolation, uint32_t *tasks, uint32_t *num_blocked)
{
    unsigned count = atomic_load(&isolation->num_guests);
    bool still;

    *tasks = *num_blocked = 0;
    pthread_mutex_lock(&isolation->lock);
    still = !rayi_pool_may_start(isolation) && !isolation->stopping;
    for (const rayi_class *class = &isolation->classes; class; class = class->next)
        *tasks += class->num_plain + class->num_granted;
    still = still && *tasks + isolation->num_begins > 0;
    for (unsigned i = 0; i < count && still; i++) {
        still = is_still(isolation->guests[i]);
        *num_blocked += isolation->guests[i]->num_blocked;
    }
    pthread_mutex_unlock(&isolation->lock);
    return still;
}

/* What one process waits for, if that is a process; how many of its tasks do. unsure: those that do not say what they
 * wait for, but have a child that waits for a process, do as well. */
static uint32_t count_waiting(rayi_isolation *isolation, rayi_guest *guest, bool unsure, victim *out)
{
    uint32_t count = 0, silent = 0;
    rayi_task *child;
    rayi_record *record;

    for (uint32_t n = 0; (record = rayi_guest_awaited(guest, n)); n++)
        count += waits_for_process(isolation, record, out);
    pthread_mutex_lock(&isolation->lock);
    child = rayi_nested_child(guest, false, &silent);
    if (child && unsure && !out->task && !out->begin) {
        out->task = &child->head;
        rayi_record_ref(out->task);
    }
    pthread_mutex_unlock(&isolation->lock);
    return child && unsure ? count + silent : count;
}

/* Everything that is blocked waits for a process. */
static bool is_stuck(rayi_isolation *isolation, bool unsure, victim *out)
{
    unsigned count = atomic_load(&isolation->num_guests);
    uint32_t num_waiting = 0, num_blocked = 0;

    for (unsigned i = 0; i < count; i++) {
        rayi_guest *guest = isolation->guests[i];
        pthread_mutex_lock(&isolation->lock);
        num_blocked += guest->state == RAYI_GUEST_READY ? guest->num_blocked : 0;
        pthread_mutex_unlock(&isolation->lock);
        num_waiting += count_waiting(isolation, guest, unsure, out);
    }
    return num_waiting > 0 && num_waiting >= num_blocked && (out->task || out->begin);
}

static rayi_error *stuck_error(const rayi_isolation *isolation, const char *name)
{
    return rayi_error_new(RAY_ERR_LIMIT, name, NULL,
                          "%s: all %u worker processes that there may be (ray_config.max_workers) wait, for it or for "
                          "others that need a process of their own",
                          name, isolation->node.max_workers);
}

static void fail_victim(rayi_isolation *isolation, const victim *v)
{
    if (v->begin) {
        rayi_begin *begin = *v->begin;
        *v->begin = begin->next;
        pthread_mutex_lock(&isolation->lock);
        isolation->num_begins--;
        pthread_mutex_unlock(&isolation->lock);
        rayi_begin_fail(begin, stuck_error(isolation, rayi_actor_class(begin->actor)));
    } else {
        rayi_task *task = (rayi_task *)v->task;
        (void)rayi_task_end_unstarted(isolation->node.thread, task, stuck_error(isolation, rayi_task_name(task)));
    }
}

static void warn(rayi_isolation *isolation, uint32_t tasks)
{
    isolation->cap_told = true;
    rayi_log(
        RAY_LOG_WARNING, "worker.cap", rayi_executor_node_id(isolation->node.executor),
        "%u tasks and %u actors wait for a worker process, and none of the %u that there may be does anything: they "
        "are those of idle actors, or wait themselves; raise ray_config.max_workers, or release actors",
        tasks, isolation->num_begins, isolation->node.max_workers);
}

void rayi_cap_look(rayi_isolation *isolation, int64_t now)
{
    uint32_t tasks, num_blocked;
    victim v = {0};

    if (!stands_still(isolation, &tasks, &num_blocked)) {
        isolation->stuck_ticks = 0;
        isolation->still_since_ms = now;
        isolation->cap_told = false;
        return;
    }
    if (!isolation->cap_told && now - isolation->still_since_ms >= WARN_MS)
        warn(isolation, tasks);
    isolation->stuck_ticks = num_blocked > 0 && is_stuck(isolation, now - isolation->still_since_ms >= UNSURE_MS, &v)
                                 ? isolation->stuck_ticks + 1
                                 : 0;
    if (isolation->stuck_ticks >= STUCK_TICKS)
        fail_victim(isolation, &v);
    if (v.task)
        rayi_record_unref(isolation->node.thread, v.task);
}
