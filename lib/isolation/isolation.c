/* The life of the whole, and what the executor asks of it. */
#include "isolation/inside.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TICK_MS     100
#define POLLED_MOST 16 /* guests that one waiting thread looks at again and again */

/* ---- looking for what they send ---- */

/* Of which guests this thread has said that it polls: it must take back exactly that. */
static _Thread_local struct {
    uint32_t count;
    struct {
        uint32_t guest, life;
    } of[POLLED_MOST];
} begun;

static void begin_polling(rayi_isolation *isolation)
{
    unsigned count = atomic_load(&isolation->num_guests);

    begun.count = 0;
    for (unsigned i = 0; i < count && begun.count < POLLED_MOST; i++) {
        rayi_guest *guest = isolation->guests[i];
        if (!guest->channel || atomic_load_explicit(&guest->busy, memory_order_relaxed) == 0)
            continue;
        rayi_channel_poll_begin(guest->channel);
        begun.of[begun.count].guest = i;
        begun.of[begun.count++].life = atomic_load(&guest->life);
    }
}

/* The last look comes behind it, so that what was sent without a bell is seen (ring/bell.c). */
static void end_polling(rayi_isolation *isolation, rayi_thread *thread)
{
    for (uint32_t i = 0; i < begun.count; i++) {
        rayi_guest *guest = isolation->guests[begun.of[i].guest];
        if (!guest->channel || atomic_load(&guest->life) != begun.of[i].life)
            continue;
        rayi_channel_poll_end(guest->channel);
        if (rayi_channel_has_mail(guest->channel))
            rayi_guest_receive(guest, thread, true);
    }
    begun.count = 0;
}

static void look(rayi_isolation *isolation, rayi_thread *thread)
{
    for (uint32_t i = 0; i < begun.count; i++) {
        rayi_guest *guest = isolation->guests[begun.of[i].guest];
        if (guest->channel && rayi_channel_has_mail(guest->channel))
            rayi_guest_receive(guest, thread, false);
    }
}

/* Who polls holds guests_lock (read) from BEGIN to END, 50 µs at most, so that no channel goes meanwhile. */
void rayi_isolation_poll(rayi_isolation *isolation, rayi_thread *thread, enum rayi_poll when)
{
    switch (when) {
    case RAYI_POLL_BEGIN:
        pthread_rwlock_rdlock(&isolation->guests_lock);
        begin_polling(isolation);
        break;
    case RAYI_POLL_AGAIN:
        look(isolation, thread);
        break;
    case RAYI_POLL_END:
        end_polling(isolation, thread);
        pthread_rwlock_unlock(&isolation->guests_lock);
        break;
    }
}

static bool receive_from_all(rayi_isolation *isolation)
{
    unsigned count = atomic_load(&isolation->num_guests);
    bool any = false;

    for (unsigned i = 0; i < count; i++) {
        rayi_guest *guest = isolation->guests[i];
        if (!guest->open || !rayi_guest_has_news(guest))
            continue;
        rayi_guest_receive(guest, isolation->node.thread, true);
        any = true;
    }
    return any;
}

/* Somebody has sent while nobody looked. As long as more comes we look again, giving way to who sends: results come in
 * batches then, and nobody pays for a wake-up each. Then the bells are armed, and a last look is taken: either it sees
 * what was sent before, or the sender sees the bell (ring/bell.c). */
static void on_event(uv_poll_t *poll, int status, int events)
{
    rayi_isolation *isolation = poll->data;
    unsigned count = atomic_load(&isolation->num_guests);
    int64_t quiet_since = rayi_now_ns();
    uint64_t ignored;

    (void)status, (void)events;
    (void)!read(isolation->event_fd, &ignored, sizeof ignored);
    do {
        if (receive_from_all(isolation))
            quiet_since = rayi_now_ns();
        sched_yield();
    } while (isolation->node.num_cpus > 1 && rayi_now_ns() - quiet_since < 50000);
    for (unsigned i = 0; i < count; i++)
        if (isolation->guests[i]->open)
            rayi_channel_arm(isolation->guests[i]->channel);
    (void)receive_from_all(isolation);
}

/* ---- start and end ---- */

int rayi_isolation_start(const rayi_isolation_node *node, rayi_isolation **out)
{
    rayi_isolation *isolation = rayi_zalloc(sizeof *isolation);
    pthread_rwlockattr_t writers_first;
    int r;

    if (!isolation)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: worker processes");
    isolation->node = *node;
    isolation->command = node->command ? rayi_strdup(node->command) : NULL;
    pthread_mutex_init(&isolation->lock, NULL);
    pthread_rwlockattr_init(&writers_first);
    pthread_rwlockattr_setkind_np(&writers_first, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&isolation->guests_lock, &writers_first);
    pthread_rwlockattr_destroy(&writers_first);
    isolation->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (isolation->event_fd < 0) {
        r = rayi_fail(RAY_ERR_SYSTEM, "no event descriptor for worker processes: %s", strerror(errno));
        goto free_isolation;
    }
    r = rayi_process_outlet_open(node->loop, rayi_executor_node_id(node->executor), 0, &isolation->outlet);
    if (r < 0)
        goto close_event;
    uv_poll_init(node->loop, &isolation->event, isolation->event_fd);
    uv_timer_init(node->loop, &isolation->timer);
    isolation->event.data = isolation->timer.data = isolation;
    uv_poll_start(&isolation->event, UV_READABLE, on_event);
    uv_timer_start(&isolation->timer, rayi_spawn_on_timer, TICK_MS, TICK_MS);
    isolation->handles = 2;
    isolation->fetches.max = RAYI_FETCHES;
    isolation->brings.max = RAYI_BRINGS;
    isolation->still_since_ms = rayi_now_ms();
    *out = isolation;
    return 0;

close_event:
    close(isolation->event_fd);
free_isolation:
    pthread_mutex_destroy(&isolation->lock);
    pthread_rwlock_destroy(&isolation->guests_lock);
    rayi_free(isolation->command);
    rayi_free(isolation);
    return r;
}

static void closed(uv_handle_t *handle)
{
    rayi_isolation *isolation = handle->data;

    isolation->handles--;
    rayi_isolation_maybe_done(isolation);
}

void rayi_isolation_maybe_done(rayi_isolation *isolation)
{
    void (*done)(void *) = isolation->done;

    bool busy;

    pthread_mutex_lock(&isolation->lock);
    busy = isolation->num_workers > 0 || isolation->num_chores > 0;
    pthread_mutex_unlock(&isolation->lock);
    if (!isolation->stopping || busy)
        return;
    if (isolation->handles == 2 && !uv_is_closing((uv_handle_t *)&isolation->timer)) {
        uv_close((uv_handle_t *)&isolation->timer, closed);
        uv_close((uv_handle_t *)&isolation->event, closed);
        rayi_process_outlet_close(isolation->outlet);
        isolation->outlet = NULL;
    }
    if (isolation->handles == 0 && done) {
        isolation->done = NULL;
        done(isolation->node.node);
    }
}

void rayi_isolation_stop(rayi_isolation *isolation, void (*done)(void *node))
{
    unsigned count = atomic_load(&isolation->num_guests);

    pthread_mutex_lock(&isolation->lock); /* the threads that feed read it, too */
    isolation->stopping = true;
    pthread_mutex_unlock(&isolation->lock);
    isolation->done = done;
    rayi_template_stop(isolation);
    for (unsigned i = 0; i < count; i++)
        if (isolation->guests[i]->process)
            rayi_spawn_exit(isolation->guests[i], atomic_load(&isolation->guests[i]->life), RAYI_WHY_SHUTDOWN);
    rayi_isolation_maybe_done(isolation);
}

void rayi_isolation_free(rayi_isolation *isolation)
{
    for (unsigned i = 0; i < atomic_load(&isolation->num_guests); i++)
        rayi_guest_free(isolation->guests[i]);
    rayi_pool_free_classes(isolation);
    for (size_t i = 0; i < isolation->num_libraries; i++)
        rayi_free(isolation->libraries[i]);
    rayi_free(isolation->libraries);
    rayi_free(isolation->command);
    close(isolation->event_fd);
    pthread_mutex_destroy(&isolation->lock);
    pthread_rwlock_destroy(&isolation->guests_lock);
    rayi_free(isolation);
}

/* What waits ends in feed, which sees `failing`; what runs is asked to stop, and killed with its process at the end. */
void rayi_isolation_fail_all(rayi_isolation *isolation)
{
    unsigned count = atomic_load(&isolation->num_guests);

    atomic_store(&isolation->failing, true);
    rayi_isolation_begin_waiting(isolation);
    rayi_pool_fail_backlog(isolation, isolation->node.thread, NULL, RAY_ERR_SHUTDOWN, NULL);
    for (unsigned i = 0; i < count; i++) {
        rayi_guest *guest = isolation->guests[i];
        pthread_mutex_lock(&guest->lock);
        for (uint32_t slot = guest->oldest; guest->open && slot != RAYI_NO_SLOT; slot = guest->offers[slot].next)
            rayi_offer_flag(guest->channel, slot, RAYI_OFFER_CANCEL);
        if (guest->open)
            rayi_channel_wake_worker(guest->channel);
        pthread_mutex_unlock(&guest->lock);
        (void)rayi_pool_take_back(guest, atomic_load(&guest->life), RAYI_OFFERS);
    }
    rayi_pool_fail_backlog(isolation, isolation->node.thread, NULL, RAY_ERR_SHUTDOWN, NULL);
}

/* Why something could not be left to the loop. */
rayi_error *rayi_isolation_no_post(const rayi_isolation *isolation)
{
    return rayi_error_plain(atomic_load(&isolation->failing) ? RAY_ERR_SHUTDOWN : RAY_ERR_NO_MEMORY);
}

/* A process of this class ended before it was ready, or could not be started. After a few in a row what waits for one
 * fails: waiting would not help. */
void rayi_isolation_start_failed(rayi_isolation *isolation, rayi_class *class, const char *words)
{
    isolation->start_failures += 2; /* the timer forgets one every tick */
    if (!words)
        return;
    snprintf(
        isolation->start_words, sizeof isolation->start_words, "no worker process can be started: %s",
        *words ? words
        : isolation->command
            ? "the command's process ends before it is ready; it must get to ray_init, or be raylaunch worker-process"
            : "it ends before it is ready; ray_init must be called early in main");
    if (isolation->start_failures >= RAYI_START_FAILURES)
        rayi_pool_fail_backlog(isolation, isolation->node.thread, class, RAY_ERR_SYSTEM, isolation->start_words);
}

/* ---- cancel ---- */

/* Asks what runs there to stop; what has not started is taken back, and ended. guests_lock is not needed: offers
 * are under guest.lock. */
static bool stop_offer(rayi_guest *guest, rayi_thread *thread, uint32_t slot, rayi_task *task, bool force)
{
    rayi_offer *offer = &guest->offers[slot];
    unsigned state = atomic_load(&task->head.state);
    uint32_t of_guest = atomic_load(&guest->life), generation = offer->generation;
    rayi_result result = {0};
    bool revoked;

    revoked = guest->open && (state & RAYI_CANCEL) && rayi_offer_revoke(guest->channel, slot);
    if (revoked) {
        ray_actor *actor = offer->work == RAYI_WORK_CALL ? guest->actor : NULL; /* there as long as its calls are */
        rayi_offer out = rayi_guest_take_out(guest, slot);
        if (actor)
            rayi_record_ref(rayi_actor_record(actor));
        pthread_mutex_unlock(&guest->lock);
        rayi_pool_settle(guest, of_guest, thread, &out);
        result.error = rayi_task_cancelled_error(task);
        if (actor) {
            rayi_actor_call_ran(thread, actor, task, out.life, &result);
            rayi_record_unref(thread, rayi_actor_record(actor));
        } else {
            rayi_task_ran(thread, task, &result);
        }
        return true;
    }
    offer->asked_to_stop = true;
    if (guest->open) {
        rayi_offer_flag(guest->channel, slot, state & RAYI_LATE ? RAYI_OFFER_LATE : RAYI_OFFER_CANCEL);
        rayi_channel_wake_worker(guest->channel);
    }
    pthread_mutex_unlock(&guest->lock);
    if (force)
        rayi_spawn_kill_offer(guest, of_guest, slot, generation);
    return false;
}

static uint32_t find_stopped(const rayi_guest *guest, const rayi_task *task, bool children)
{
    uint32_t slot = guest->oldest;

    for (; slot != RAYI_NO_SLOT; slot = guest->offers[slot].next) {
        const rayi_offer *offer = &guest->offers[slot];
        if ((offer->work != RAYI_WORK_TASK && offer->work != RAYI_WORK_CALL) || offer->asked_to_stop)
            continue;
        if (offer->task == task || (children && rayi_task_cancelled(offer->task)))
            break;
    }
    return slot;
}

void rayi_isolation_tell(rayi_isolation *isolation, rayi_thread *thread, rayi_task *task, bool force)
{
    bool children = atomic_load(&task->head.state) & RAYI_CANCEL_CHILDREN;
    unsigned count = atomic_load(&isolation->num_guests);

    for (unsigned i = 0; i < count; i++) {
        rayi_guest *guest = isolation->guests[i];
        for (;;) {
            uint32_t slot;
            rayi_task *found;
            pthread_mutex_lock(&guest->lock);
            slot = find_stopped(guest, task, children);
            if (slot == RAYI_NO_SLOT && force)
                slot = rayi_guest_slot_of(guest, task); /* asked before, and now by force */
            if (slot == RAYI_NO_SLOT) {
                pthread_mutex_unlock(&guest->lock);
                break;
            }
            found = guest->offers[slot].task;
            rayi_record_ref(&found->head);
            (void)stop_offer(guest, thread, slot, found, force && found == task);
            if (found == task)
                force = false;
            rayi_record_unref(thread, &found->head);
        }
    }
}

void rayi_isolation_credit(rayi_isolation *isolation, rayi_task *task)
{
    unsigned count = atomic_load(&isolation->num_guests);
    bool abandoned;

    for (unsigned i = 0; i < count; i++) {
        rayi_guest *guest = isolation->guests[i];
        uint32_t slot;
        pthread_mutex_lock(&guest->lock);
        slot = guest->open ? rayi_guest_slot_of(guest, task) : RAYI_NO_SLOT;
        if (slot != RAYI_NO_SLOT) {
            rayi_offer_credit(guest->channel, slot, rayi_stream_credit(task, &abandoned));
            if (abandoned)
                rayi_offer_flag(guest->channel, slot, RAYI_OFFER_ABANDONED);
            rayi_channel_wake_worker(guest->channel);
        }
        pthread_mutex_unlock(&guest->lock);
        if (slot != RAYI_NO_SLOT)
            return;
    }
}

/* ---- blocks that are on disk or on another node ---- */

typedef struct fetch {
    rayi_fetch fetch; /* first */
    rayi_task *task;  /* claimed: nobody else ends it */
} fetch;

static void after_fetch(rayi_chore *chore)
{
    fetch *f = rayi_container_of(chore, fetch, fetch.chore);
    rayi_isolation *isolation = chore->isolation;
    rayi_thread *thread = isolation->node.thread;
    rayi_result result = {.error = chore->error};

    if (chore->r < 0) {
        if (!result.error)
            result.error = rayi_error_plain(chore->r);
        rayi_task_ran(thread, f->task, &result);
    } else if (!rayi_pool_ends_unrun(isolation, thread, f->task)) { /* at the end nobody looks at what waits any more */
        (void)rayi_pool_put_back(isolation, f->task);
        rayi_pool_feed(isolation, thread); /* if nobody is free now, it may have to be fetched again */
    }
    rayi_pins_drop(thread, &f->fetch.pins);
    rayi_free(f);
}

void rayi_isolation_fetch(rayi_isolation *isolation, rayi_task *task)
{
    fetch *f = rayi_alloc(sizeof *f);
    int r = f ? 0 : rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: %s", rayi_task_name(task));

    task->head.next = NULL;
    if (r == 0) {
        f->task = task;
        r = rayi_fetch_begin(isolation, &f->fetch, task, after_fetch);
    }
    if (r == 0)
        return;
    rayi_free(f);
    rayi_task_ran(rayi_self, task, &(rayi_result){.error = rayi_error_last()});
}

/* ---- libraries ---- */

void rayi_isolation_load(rayi_isolation *isolation, const char *path)
{
    unsigned count = atomic_load(&isolation->num_guests);
    char *kept = rayi_strdup(path), **more;
    rayi_writer writer;

    for (size_t i = 0; i < isolation->num_libraries; i++)
        if (strcmp(isolation->libraries[i], path) == 0) {
            rayi_free(kept);
            return;
        }
    more = kept ? rayi_memory_realloc(rayi_heap, isolation->libraries, (isolation->num_libraries + 1) * sizeof *more)
                : NULL;
    if (!more) {
        rayi_free(kept);
        return;
    }
    isolation->libraries = more;
    more[isolation->num_libraries++] = kept;
    rayi_writer_init(&writer);
    rayi_put_text(&writer, path);
    for (unsigned i = 0; i < count; i++)
        if (isolation->guests[i]->process)
            (void)rayi_guest_send_now(isolation->guests[i], RAYI_DOWN_LOAD, &writer);
    rayi_writer_fini(&writer);
}

/* ---- what there is ---- */

void rayi_isolation_for_each(rayi_isolation *isolation,
                             void (*visit)(void *arg, int64_t pid, const char *state, const char *runs), void *arg)
{
    static const char *const states[] = {"NONE", "STARTING", "ALIVE", "ENDING"};
    unsigned count = atomic_load(&isolation->num_guests);

    for (unsigned i = 0; i < count; i++) {
        rayi_guest *guest = isolation->guests[i];
        const char *runs = NULL, *state;
        pthread_mutex_lock(&isolation->lock);
        state = states[guest->state];
        if (guest->state != RAYI_GUEST_NONE && guest->actor)
            runs = rayi_actor_class(guest->actor);
        pthread_mutex_unlock(&isolation->lock);
        pthread_mutex_lock(&guest->lock);
        if (!runs && guest->oldest != RAYI_NO_SLOT && guest->offers[guest->oldest].task)
            runs = rayi_function_name(rayi_task_function(guest->offers[guest->oldest].task));
        pthread_mutex_unlock(&guest->lock);
        if (guest->process)
            visit(arg, guest->pid, state, runs);
    }
}

void rayi_isolation_prestart(rayi_isolation *isolation)
{
    rayi_spawn_want(isolation);
}
