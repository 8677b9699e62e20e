/* Actors that live in worker processes: each has one to itself, from its constructor to its end. */
#include "isolation/inside.h"

#include <signal.h>

static void begin_free(rayi_begin *begin)
{
    rayi_thread *thread = begin->isolation->node.thread;

    rayi_pins_drop(thread, &begin->fetch.pins);
    rayi_record_unref(thread, rayi_actor_record(begin->actor));
    rayi_free(begin);
}

void rayi_begin_fail(rayi_begin *begin, rayi_error *error)
{
    rayi_result result = {.error = error ? error : rayi_error_plain(RAY_ERR_NO_MEMORY)};

    rayi_actor_constructed(begin->isolation->node.thread, begin->actor, begin->life, &result);
    begin_free(begin);
}

/* One that stands ready, else a new process; NULL: waits, or the last error. */
static rayi_guest *find_guest(rayi_isolation *isolation, const rayi_begin *begin, rayi_class **out, bool *waits)
{
    char *const *env = (char *const *)rayi_actor_env(begin->actor);
    const char *gpus = isolation->node.actor_gpus(begin->actor);
    const rayi_function *function = rayi_task_function(rayi_actor_creation(begin->actor));
    rayi_code *code = rayi_function_is_foreign(function) ? rayi_function_code(function) : NULL;
    rayi_class *class;
    rayi_guest *guest = NULL;
    bool may;

    pthread_mutex_lock(&isolation->lock);
    class = *out = rayi_pool_class(isolation, env, gpus, code);
    if (class)
        guest = rayi_pool_spare(isolation, class);
    if (guest) {
        guest->actor = begin->actor;
        guest->actor_life = begin->life;
        rayi_record_ref(rayi_actor_record(begin->actor));
        *rayi_actor_guest(begin->actor) = guest;
    }
    may = rayi_pool_may_start(isolation);
    pthread_mutex_unlock(&isolation->lock);
    if (guest || !class)
        return guest;
    if (!rayi_class_is_open(isolation, class)) {
        *waits = true;
        return NULL;
    }
    if (isolation->start_failures >= RAYI_START_FAILURES) {
        (void)rayi_fail(RAY_ERR_SYSTEM, "%s", isolation->start_words);
        return NULL;
    }
    if (may && rayi_template_awaited(isolation, class)) {
        *waits = true;
        return NULL;
    }
    if (may)
        return rayi_spawn_guest(isolation, class, begin->actor, begin->life);
    (void)rayi_spawn_make_room(isolation, class);
    *waits = true;
    return NULL;
}

static void construct(rayi_begin *begin);

static void after_arguments(rayi_chore *chore)
{
    rayi_begin *begin = rayi_container_of(chore, rayi_begin, fetch.chore);

    if (chore->r == 0 && atomic_load(&begin->guest->life) == begin->of_guest) {
        construct(begin);
        return;
    }
    if (atomic_load(&begin->guest->life) == begin->of_guest)
        rayi_spawn_kill(begin->guest, begin->of_guest, RAYI_WHY_ACTOR);
    if (chore->r < 0)
        rayi_begin_fail(begin, chore->error);
    else
        begin_free(begin); /* the process has died: the actor was told */
}

/* The guest is its own, and counts the constructor as an offer. */
static void construct(rayi_begin *begin)
{
    rayi_isolation *isolation = begin->isolation;
    rayi_thread *thread = isolation->node.thread;
    rayi_task *creation = (rayi_task *)rayi_actor_creation(begin->actor);
    int r;

    rayi_record_ref(&creation->head);
    r = rayi_guest_offer(begin->guest, begin->of_guest, thread, creation, begin->actor, begin->life,
                         RAYI_WORK_CONSTRUCT, false);
    if (r != 0)
        rayi_record_unref(thread, &creation->head);
    if (r == RAYI_LATER) {
        r = begin->fetch.pins.taken ? RAY_ERR_STORE_FULL
                                    : rayi_fetch_begin(isolation, &begin->fetch, creation, after_arguments);
        if (r == 0)
            return;
    }
    if ((r != 0 && r != RAYI_GONE) ||
        !rayi_actor_is_in_life(begin->actor, begin->life)) /* killed by somebody who did not see it */
        rayi_spawn_kill(begin->guest, begin->of_guest, RAYI_WHY_ACTOR);
    if (r < 0)
        rayi_begin_fail(begin, rayi_error_last());
    else
        begin_free(begin);
}

static void settle_down(rayi_begin *begin, rayi_guest *guest)
{
    rayi_isolation *isolation = begin->isolation;
    uint64_t memory = isolation->node.actor_memory(begin->actor);

    begin->guest = guest;
    begin->of_guest = atomic_load(&guest->life);
    if (guest->process && (memory > 0 || guest->limited))
        (void)rayi_process_limit(guest->process, memory);
    if (guest->process)
        rayi_process_label(guest->process, rayi_actor_class(begin->actor));
    pthread_mutex_lock(&isolation->lock);
    guest->num_offered++;
    pthread_mutex_unlock(&isolation->lock);
    construct(begin);
    rayi_spawn_want(isolation); /* another spare one */
}

/* It comes, or could not even begin to. */
static void wait_for_code(rayi_begin *begin, rayi_class *class)
{
    if (!class->is_bringing) {
        rayi_begin_fail(begin, rayi_code_error(begin->isolation, class, "out of memory"));
        return;
    }
    begin->next = class->begins;
    class->begins = begin;
}

static void do_begin(void *arg)
{
    rayi_begin *begin = arg;
    rayi_isolation *isolation = begin->isolation;
    rayi_error *failed = rayi_task_failed_argument(rayi_actor_creation(begin->actor));
    rayi_class *class = NULL;
    bool waits = false;
    rayi_guest *guest;

    if (!rayi_actor_is_in_life(begin->actor, begin->life)) { /* killed before its process had begun */
        rayi_error_unref(failed);
        begin_free(begin);
        return;
    }
    if (atomic_load(&isolation->failing) && !failed)
        failed = rayi_error_plain(RAY_ERR_SHUTDOWN);
    guest = failed ? NULL : find_guest(isolation, begin, &class, &waits);
    if (guest) {
        settle_down(begin, guest);
    } else if (waits && class->code && !class->path) {
        wait_for_code(begin, class);
    } else if (waits) { /* for a process that ends, or is idle: rayi_isolation_begin_waiting */
        begin->next = isolation->begins;
        isolation->begins = begin;
        pthread_mutex_lock(&isolation->lock);
        isolation->num_begins++;
        pthread_mutex_unlock(&isolation->lock);
    } else {
        rayi_begin_fail(begin, failed ? failed : rayi_error_last());
    }
}

void rayi_begin_all(rayi_begin *all, const rayi_error *error)
{
    rayi_begin *oldest = NULL, *next;

    for (; all; all = next) {
        next = all->next;
        all->next = oldest;
        oldest = all;
    }
    for (; oldest; oldest = next) {
        next = oldest->next;
        if (error)
            rayi_begin_fail(oldest, rayi_error_ref((rayi_error *)error));
        else
            do_begin(oldest);
    }
}

/* On the loop, when a process has ended or is idle, and now and then. */
void rayi_isolation_begin_waiting(rayi_isolation *isolation)
{
    rayi_begin *all = isolation->begins;

    isolation->begins = NULL;
    pthread_mutex_lock(&isolation->lock);
    isolation->num_begins = 0;
    pthread_mutex_unlock(&isolation->lock);
    rayi_begin_all(all, NULL);
}

void rayi_isolation_actor_begin(rayi_isolation *isolation, rayi_thread *thread, ray_actor *actor, uint32_t life)
{
    rayi_begin *begin = rayi_zalloc(sizeof *begin);

    rayi_record_ref(rayi_actor_record(actor));
    if (begin) {
        begin->isolation = isolation;
        begin->actor = actor;
        begin->life = life;
    }
    if (!begin || !isolation->node.post(isolation->node.node, do_begin, begin)) {
        rayi_result result = {.error = rayi_isolation_no_post(isolation)};
        rayi_actor_constructed(thread, actor, life, &result);
        rayi_record_unref(thread, rayi_actor_record(actor));
        rayi_free(begin);
    }
}

/* The guest of this life of the actor (0: of any), if it is there, and its own life. Guests are never freed, so what it
 * turns out to be can be checked later. */
static rayi_guest *guest_of(rayi_isolation *isolation, ray_actor *actor, uint32_t of_actor, uint32_t *life)
{
    rayi_guest *guest;

    pthread_mutex_lock(&isolation->lock);
    guest = *rayi_actor_guest(actor);
    if (guest && (guest->actor != actor || (of_actor && guest->actor_life != of_actor)))
        guest = NULL;
    if (guest)
        *life = atomic_load(&guest->life);
    pthread_mutex_unlock(&isolation->lock);
    return guest;
}

static bool count_offer(rayi_guest *guest, uint32_t life)
{
    bool there;

    pthread_mutex_lock(&guest->of->lock);
    there = atomic_load(&guest->life) == life;
    guest->num_offered += there;
    pthread_mutex_unlock(&guest->of->lock);
    return there;
}

/* The blocks of a call are not in memory: they are fetched, then the mailbox goes on; the order of calls waits. */
typedef struct call_fetch {
    rayi_fetch fetch; /* first */
    ray_actor *actor; /* its record is counted */
    rayi_task *call;  /* counted; it stands in the mailbox, where it may be ended meanwhile */
    rayi_guest *guest;
    uint32_t life;
} call_fetch;

static void call_fetch_free(call_fetch *f, rayi_thread *thread)
{
    rayi_pins_drop(thread, &f->fetch.pins);
    rayi_record_unref(thread, &f->call->head);
    rayi_record_unref(thread, rayi_actor_record(f->actor));
    rayi_free(f);
}

static void after_call_fetch(rayi_chore *chore)
{
    call_fetch *f = rayi_container_of(chore, call_fetch, fetch.chore);
    rayi_thread *thread = chore->isolation->node.thread;

    pthread_mutex_lock(&f->guest->lock);
    if (atomic_load(&f->guest->life) == f->life)
        f->guest->fetching = false;
    pthread_mutex_unlock(&f->guest->lock);
    if (chore->r < 0)
        (void)rayi_task_end_unstarted(thread, f->call, chore->error ? chore->error : rayi_error_plain(chore->r));
    rayi_actor_has_room(thread, f->actor);
    call_fetch_free(f, thread);
}

/* 0: has_room will follow. guest->fetching is set. */
static int fetch_call(rayi_guest *guest, uint32_t life, rayi_thread *thread, ray_actor *actor, rayi_task *call)
{
    call_fetch *f = rayi_alloc(sizeof *f);
    int r;

    if (!f)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: %s", rayi_task_name(call));
    *f = (call_fetch){.actor = actor, .call = call, .guest = guest, .life = life};
    rayi_record_ref(&call->head);
    rayi_record_ref(rayi_actor_record(actor));
    r = rayi_fetch_begin(guest->of, &f->fetch, call, after_call_fetch);
    if (r < 0)
        call_fetch_free(f, thread);
    return r;
}

/* It is not fetching yet, or somebody else is: then has_room will follow, too. */
static bool may_fetch(rayi_guest *guest, uint32_t life)
{
    bool may;

    pthread_mutex_lock(&guest->lock);
    may = atomic_load(&guest->life) == life && !guest->fetching;
    guest->fetching |= may;
    pthread_mutex_unlock(&guest->lock);
    return may;
}

static void fail_call(rayi_thread *thread, ray_actor *actor, rayi_task *call, uint32_t life, int r)
{
    rayi_result result = {.error = rayi_error_last()};

    if (!result.error || r == RAY_ERR_LIMIT) {
        rayi_error_unref(result.error);
        result.error = rayi_error_new(r, rayi_task_name(call), NULL, "%s cannot be handed to a worker process",
                                      rayi_task_name(call));
    }
    rayi_actor_call_ran(thread, actor, call, life, &result);
}

bool rayi_isolation_actor_send(rayi_isolation *isolation, rayi_thread *thread, ray_actor *actor, rayi_task *call,
                               uint32_t life)
{
    uint32_t of_guest = 0;
    rayi_guest *guest = guest_of(isolation, actor, life, &of_guest);
    bool room;
    int r;

    if (!guest)
        return false; /* it has died: its restart, or its end, pokes the mailbox */
    pthread_mutex_lock(&guest->lock);
    room = rayi_guest_has_room(guest, actor);
    guest->actor_waits |= !room && guest->open;
    pthread_mutex_unlock(&guest->lock);
    if (!room)
        return false;
    if (!count_offer(guest, of_guest))
        return false;
    r = rayi_guest_offer(guest, of_guest, thread, call, actor, life, RAYI_WORK_CALL, false);
    if (r == 0)
        return true;
    rayi_pool_offer_ended(guest, of_guest);
    if (r == RAYI_GONE || r == RAYI_HELD)
        return false; /* its restart, its end, or who lets it go on, pokes the mailbox */
    if (r == RAYI_STOPPED)
        r = rayi_error_set_last(rayi_task_cancelled_error(call));
    if (r == RAYI_LATER) {
        if (!may_fetch(guest, of_guest))
            return false;
        r = fetch_call(guest, of_guest, thread, actor, call);
        if (r == 0)
            return false;
        pthread_mutex_lock(&guest->lock);
        guest->fetching = false;
        pthread_mutex_unlock(&guest->lock);
    }
    fail_call(thread, actor, call, life, r);
    return true;
}

void rayi_isolation_actor_fini(rayi_isolation *isolation, rayi_thread *thread, ray_actor *actor)
{
    uint32_t of_guest = 0;
    rayi_guest *guest = guest_of(isolation, actor, 0, &of_guest);

    if (guest && count_offer(guest, of_guest)) {
        if (rayi_guest_offer(guest, of_guest, thread, NULL, actor, 0, RAYI_WORK_FINI, false) == 0)
            return;
        rayi_pool_offer_ended(guest, of_guest);
    }
    rayi_actor_fini_ran(thread, actor);
}

/* What the offers of calls counted that were taken out together. */
typedef struct calls_out {
    rayi_task *first, **end;
    uint32_t count, num_started, num_blocked, num_awaited;
    rayi_record *awaited[RAYI_OFFERS];
    struct {
        rayi_task *call;
        int64_t offered_ns;
    } started[RAYI_OFFERS];
    int64_t pid;
} calls_out;

static void take_call(rayi_guest *guest, uint32_t slot, calls_out *out)
{
    rayi_offer offer = rayi_guest_take_out(guest, slot);

    *out->end = offer.task;
    offer.task->head.next = NULL;
    out->end = (rayi_task **)&offer.task->head.next;
    out->count++;
    out->num_blocked += offer.blocked;
    if (offer.awaited)
        out->awaited[out->num_awaited++] = offer.awaited;
}

/* guest.lock is held all the while: of two that take, one gets them all, in their order. */
static void take_calls(rayi_guest *guest, bool started_too, calls_out *out)
{
    uint32_t next;

    for (uint32_t slot = guest->oldest; slot != RAYI_NO_SLOT; slot = next) {
        rayi_offer *offer = &guest->offers[slot];
        bool unstarted;
        next = offer->next;
        if (offer->work != RAYI_WORK_CALL)
            continue;
        unstarted =
            guest->channel && !guest->lied && rayi_offer_revoke(guest->channel, slot); /* also of one that has died */
        if (!unstarted && !started_too)
            continue;
        if (!unstarted) {
            atomic_fetch_or(&offer->task->head.state, RAYI_TAKEN);
            out->started[out->num_started].call = offer->task;
            out->started[out->num_started++].offered_ns = offer->offered_ns;
        }
        take_call(guest, slot, out);
    }
}

rayi_task *rayi_isolation_actor_take(rayi_isolation *isolation, rayi_thread *thread, ray_actor *actor, bool started_too)
{
    uint32_t of_guest = 0;
    rayi_guest *guest = guest_of(isolation, actor, 0, &of_guest);
    calls_out out;

    out.first = NULL;
    out.end = &out.first;
    out.pid = 0;
    out.count = out.num_started = out.num_blocked = out.num_awaited = 0;
    if (!guest)
        return NULL;
    pthread_mutex_lock(&guest->lock);
    if (atomic_load(&guest->life) == of_guest) {
        take_calls(guest, started_too, &out);
        out.pid = guest->pid;
        guest->doomed |=
            started_too; /* this life of the actor is over: a call that is just being sent comes too late */
    }
    pthread_mutex_unlock(&guest->lock);
    pthread_mutex_lock(&isolation->lock);
    if (atomic_load(&guest->life) == of_guest) {
        guest->num_offered -= out.count;
        guest->num_blocked -= out.num_blocked;
    }
    pthread_mutex_unlock(&isolation->lock);
    for (uint32_t i = 0; i < out.num_started; i++)
        rayi_offer_crashed(thread, out.started[i].call, out.started[i].offered_ns, out.pid, actor);
    for (uint32_t i = 0; i < out.num_awaited; i++)
        rayi_record_unref(thread, out.awaited[i]);
    return out.first;
}

/* A call that is just being sent is either among those that are taken, or finds it parked. */
rayi_task *rayi_isolation_actor_park(rayi_isolation *isolation, rayi_thread *thread, ray_actor *actor, bool parks)
{
    uint32_t of_guest = 0;
    rayi_guest *guest = guest_of(isolation, actor, 0, &of_guest);

    if (!guest)
        return NULL;
    pthread_mutex_lock(&guest->lock);
    if (atomic_load(&guest->life) == of_guest)
        guest->parked = parks;
    pthread_mutex_unlock(&guest->lock);
    return parks ? rayi_isolation_actor_take(isolation, thread, actor, false) : NULL;
}

/* In order if it has run its fini, else at once: who ends a life in the middle of calls does not wait for them. */
void rayi_isolation_actor_end(rayi_isolation *isolation, ray_actor *actor)
{
    rayi_guest *guest;
    uint32_t life = 0;
    bool busy;

    pthread_mutex_lock(&isolation->lock);
    guest = *rayi_actor_guest(actor);
    if (guest && guest->actor == actor) {
        life = atomic_load(&guest->life);
        guest->why = guest->why == RAYI_WHY_NONE ? RAYI_WHY_ACTOR : guest->why;
        guest->state = RAYI_GUEST_LEAVING;
    } else {
        guest = NULL;
    }
    *rayi_actor_guest(actor) = NULL;
    pthread_mutex_unlock(&isolation->lock);
    if (!guest)
        return;
    pthread_mutex_lock(&guest->lock);
    busy = guest->oldest != RAYI_NO_SLOT || rayi_actor_was_killed(actor);
    pthread_mutex_unlock(&guest->lock);
    if (busy)
        rayi_spawn_kill(guest, life, RAYI_WHY_ACTOR);
    else
        rayi_spawn_exit(guest, life, RAYI_WHY_ACTOR);
}
