/* At the cap of processes those who wait run what they wait for: in a process all of whose tasks wait, a thread that
 * does so, and not just for a moment, takes a task of the same class from the backlog: what a blocked task has said
 * that it waits for, or what that depends on; or, if it waits for several things at once, a child of it.
 *
 * What is never run there: what has a limit of memory, which would be its parent's; own_thread; and functions that
 * yield, since their reader may be the very one that waits below them. If such a task is all that could go on, cap.c
 * ends the wait. */
#include "isolation/inside.h"

rayi_record *rayi_guest_awaited(rayi_guest *guest, uint32_t n)
{
    rayi_record *record = NULL;

    pthread_mutex_lock(&guest->lock);
    for (uint32_t slot = guest->newest; slot != RAYI_NO_SLOT && !record; slot = guest->offers[slot].prev)
        if (guest->offers[slot].awaited && guest->offers[slot].patient && n-- == 0) {
            record = guest->offers[slot].awaited;
            rayi_record_ref(record);
        }
    pthread_mutex_unlock(&guest->lock);
    return record;
}

uint32_t rayi_guest_count_started(rayi_guest *guest)
{
    uint32_t count = 0;

    pthread_mutex_lock(&guest->lock);
    for (uint32_t slot = guest->oldest; guest->open && slot != RAYI_NO_SLOT; slot = guest->offers[slot].next)
        count += (rayi_offer_look(guest->channel, slot) & RAYI_OFFER_STATE) == RAYI_OFFER_TAKEN;
    pthread_mutex_unlock(&guest->lock);
    return count;
}

static bool may_nest(const rayi_isolation *isolation, rayi_task *task)
{
    uint32_t flags = task->head.flags;

    return !(flags & (RAYI_STREAMS | RAYI_OWN_THREAD)) &&
           !((flags & RAYI_ESCAPED) && isolation->node.task_memory(task) > 0);
}

/* The record, or the first that it depends on, if that may stand in the backlog: counted. Takes the record's count. No
 * lock is held. */
static rayi_task *walk_toward(rayi_record *record, rayi_thread *thread)
{
    while (record && !rayi_is_in_backlog(record)) {
        rayi_record *next = NULL;
        if ((record->type == RAYI_TASK || record->type == RAYI_CALL) && !rayi_record_done(record))
            next = rayi_task_next_argument((rayi_task *)record);
        rayi_record_unref(thread, record);
        record = next;
    }
    return (rayi_task *)record;
}

/* Out of the list; claimed, its count there is the caller's. */
static bool take_out(rayi_task *list[2], rayi_task *task)
{
    rayi_task *before = NULL, *at = list[0];

    for (; at && at != task; at = (rayi_task *)at->head.next)
        before = at;
    if (!at || !rayi_record_claim_queued(&task->head))
        return false;
    if (before)
        before->head.next = at->head.next;
    else
        list[0] = (rayi_task *)at->head.next;
    if (list[1] == at)
        list[1] = before;
    at->head.next = NULL;
    return true;
}

/* Out of the backlog of a class. isolation.lock is held. */
static bool take_from(rayi_isolation *isolation, rayi_class *class, rayi_task *task)
{
    bool plain = may_nest(isolation, task) && take_out(class->plain, task);
    bool granted = !plain && may_nest(isolation, task) && take_out(class->granted, task);

    class->num_plain -= plain;
    class->num_granted -= granted;
    return plain || granted;
}

/* ---- children of those that do not say what they wait for ---- */

enum { PARENTS_MOST = 64 };

/* Compared with pointers only: they are not counted. */
static uint32_t list_parents(rayi_guest *guest, const rayi_task *parents[PARENTS_MOST])
{
    uint32_t count = 0;

    pthread_mutex_lock(&guest->lock);
    for (uint32_t slot = guest->newest; slot != RAYI_NO_SLOT && count < PARENTS_MOST; slot = guest->offers[slot].prev) {
        const rayi_offer *offer = &guest->offers[slot];
        if (offer->blocked && offer->patient && (!offer->awaited || offer->awaited->type == RAYI_ITEM) && offer->task)
            parents[count++] = offer->task;
    }
    pthread_mutex_unlock(&guest->lock);
    return count;
}

static bool is_child(const rayi_task *task, const rayi_task *const *parents, uint32_t count)
{
    const rayi_task *parent = atomic_load_explicit(&task->parent, memory_order_relaxed);

    for (uint32_t i = 0; i < count; i++)
        if (parent == parents[i])
            return true;
    return false;
}

rayi_task *rayi_nested_child(rayi_guest *guest, bool nests, uint32_t *num_silent)
{
    const rayi_task *parents[PARENTS_MOST];
    uint32_t count = list_parents(guest, parents);

    *num_silent = count;
    for (rayi_class *class = nests ? guest->class : &guest->of->classes; class && count > 0;
         class = nests ? NULL : class->next)
        for (int granted = 0; granted < 2; granted++)
            for (rayi_task *task = granted ? class->granted[0] : class->plain[0]; task;
                 task = (rayi_task *)task->head.next)
                if (is_child(task, parents, count) && (!nests || may_nest(guest->of, task)))
                    return task;
    return NULL;
}

/* ---- matching ---- */

/* isolation.lock is held. */
static bool only_waits(rayi_guest *guest)
{
    return guest->state == RAYI_GUEST_READY && guest->num_blocked > 0 &&
           guest->num_blocked == rayi_guest_count_started(guest);
}

/* What one of its tasks says that it waits for; the lock is given up meanwhile. */
static rayi_task *take_awaited(rayi_isolation *isolation, rayi_guest *guest, rayi_thread *thread)
{
    uint32_t life = atomic_load(&guest->life);
    rayi_task *task, *taken = NULL;
    rayi_record *record;

    pthread_mutex_unlock(&isolation->lock);
    for (uint32_t n = 0; !taken && (record = rayi_guest_awaited(guest, n)); n++) {
        task = walk_toward(record, thread);
        if (!task)
            continue;
        pthread_mutex_lock(&isolation->lock);
        if (atomic_load(&guest->life) == life && only_waits(guest) && take_from(isolation, guest->class, task))
            taken = task;
        pthread_mutex_unlock(&isolation->lock);
        rayi_record_unref(thread, &task->head);
    }
    pthread_mutex_lock(&isolation->lock);
    return taken;
}

static rayi_task *take_child(rayi_isolation *isolation, rayi_guest *guest)
{
    uint32_t silent;
    rayi_task *task = rayi_nested_child(guest, true, &silent);

    return task && take_from(isolation, guest->class, task) ? task : NULL;
}

static bool has_backlog(const rayi_isolation *isolation)
{
    for (const rayi_class *class = &isolation->classes; class; class = class->next)
        if (class->plain[0] || class->granted[0])
            return true;
    return false;
}

bool rayi_nested_match(rayi_isolation *isolation, rayi_thread *thread, rayi_match *out)
{
    unsigned count = atomic_load(&isolation->num_guests);

    for (unsigned i = 0; i < count && !rayi_pool_may_start(isolation) && has_backlog(isolation); i++) {
        rayi_guest *guest = isolation->guests[i];
        rayi_task *task = NULL;
        if (!only_waits(guest))
            continue;
        task = take_awaited(isolation, guest, thread);
        if (!task && only_waits(guest))
            task = take_child(isolation, guest);
        if (task) {
            *out = (rayi_match){.guest = guest, .task = task, .nested = true};
            return true;
        }
    }
    return false;
}
