/* Waitsets: refs that an application's own loop waits for. A member is watched in its record; when that is done it
 * moves to the list of done ones, and the descriptor, if there is one, becomes readable. It stays readable until that
 * list is empty. */
#include "executor/inside.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

typedef struct member {
    rayi_waiter waiter;
    ray_waitset *set;
    struct member *next, *before; /* in open, or (next only) in done */
    rayi_record *record;
    void *tag;
} member;

struct ray_waitset {
    pthread_mutex_t lock;
    member *open;
    member *done, *last_done;
    size_t count;        /* of both lists */
    int fd;              /* -1: nobody asked */
    rayi_thread *waiter; /* in ray_waitset_next */
    atomic_uint wake;
};

ray_waitset *rayi_waitset_new(rayi_thread *thread)
{
    ray_waitset *set = rayi_zalloc(sizeof *set);

    (void)thread;
    if (!set) {
        rayi_error_set_last(rayi_error_no_memory("a waitset"));
        return NULL;
    }
    pthread_mutex_init(&set->lock, NULL);
    set->fd = -1;
    return set;
}

static void signal_fd(const ray_waitset *set)
{
    uint64_t one = 1;

    if (set->fd >= 0 && write(set->fd, &one, sizeof one) < 0)
        return; /* the counter is full: it is readable */
}

static void clear_fd(const ray_waitset *set)
{
    uint64_t count;

    if (set->fd >= 0 && read(set->fd, &count, sizeof count) < 0)
        return; /* it was not readable */
}

/* The lock is held. */
static void add_done(ray_waitset *set, member *m)
{
    m->next = NULL;
    if (set->last_done)
        set->last_done->next = m;
    else
        set->done = m;
    set->last_done = m;
    if (set->done == m)
        signal_fd(set);
    if (set->waiter) {
        rayi_thread *waiter = set->waiter;
        atomic_store_explicit(&set->wake, 1, memory_order_release);
        rayi_thread_wake(waiter);
    }
}

static void leave_open(ray_waitset *set, member *m)
{
    if (m->before)
        m->before->next = m->next;
    else
        set->open = m->next;
    if (m->next)
        m->next->before = m->before;
}

static void fire_member(rayi_thread *thread, rayi_waiter *waiter)
{
    member *m = rayi_container_of(waiter, member, waiter);
    ray_waitset *set = m->set;

    (void)thread;
    pthread_mutex_lock(&set->lock);
    leave_open(set, m);
    add_done(set, m);
    pthread_mutex_unlock(&set->lock);
}

int rayi_waitset_add(rayi_thread *thread, ray_waitset *set, rayi_record *record, void *tag)
{
    member *m = rayi_alloc(sizeof *m);

    (void)thread;
    if (!m)
        return rayi_error_set_last(rayi_error_no_memory("a ref in a waitset"));
    rayi_record_ref(record);
    *m = (member){.waiter.fire = fire_member, .set = set, .record = record, .tag = tag};
    pthread_mutex_lock(&set->lock);
    set->count++;
    m->next = set->open;
    if (set->open)
        set->open->before = m;
    set->open = m;
    if (!rayi_record_watch(record, &m->waiter)) {
        leave_open(set, m);
        add_done(set, m);
    }
    pthread_mutex_unlock(&set->lock);
    return 0;
}

/* Waits until something is done; the lock is held before and after. */
static int wait_for_done(rayi_thread *thread, ray_waitset *set, int64_t timeout_ms)
{
    int64_t deadline = rayi_deadline_ns(timeout_ms);
    bool woken = true;
    int r;

    while (!set->done && woken) {
        if (timeout_ms == 0)
            return rayi_fail(RAY_ERR_TIMEOUT, "no ref of the waitset is done");
        atomic_store_explicit(&set->wake, 0, memory_order_relaxed);
        set->waiter = thread;
        pthread_mutex_unlock(&set->lock);
        thread->has_deadline = rayi_is_soon(deadline);
        r = rayi_lane_block(thread, NULL);
        thread->has_deadline = false;
        if (r == 0) {
            woken = rayi_thread_park(thread, &set->wake, deadline);
            rayi_lane_unblock(thread);
        }
        pthread_mutex_lock(&set->lock);
        set->waiter = NULL;
        if (r < 0)
            return r;
    }
    return set->done ? 0
                     : rayi_fail(RAY_ERR_TIMEOUT, "no ref of the waitset was done in %lld ms", (long long)timeout_ms);
}

rayi_record *rayi_waitset_next(rayi_thread *thread, ray_waitset *set, int64_t timeout_ms, void **tag)
{
    rayi_record *record = NULL;
    member *m = NULL;

    pthread_mutex_lock(&set->lock);
    if (set->count == 0)
        (void)rayi_fail(RAY_ERR_NOT_FOUND, "the waitset is empty");
    else if (wait_for_done(thread, set, timeout_ms) == 0)
        m = set->done;
    if (m) {
        set->done = m->next;
        set->count--;
        if (!set->done) {
            set->last_done = NULL;
            clear_fd(set);
        }
        record = m->record;
        if (tag)
            *tag = m->tag;
    }
    pthread_mutex_unlock(&set->lock);
    rayi_free(m);
    return record;
}

int rayi_waitset_fd(ray_waitset *set)
{
    const rayi_outside *outside = rayi_executor_of(rayi_self)->outside;
    int fd;

    if (outside)
        outside->attend(rayi_self); /* who polls the descriptor receives nothing meanwhile */
    pthread_mutex_lock(&set->lock);
    if (set->fd < 0) {
        set->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (set->fd >= 0 && set->done)
            signal_fd(set);
    }
    fd = set->fd;
    pthread_mutex_unlock(&set->lock);
    return fd >= 0 ? fd : rayi_fail(RAY_ERR_SYSTEM, "the system gives no descriptor (eventfd): %s", strerror(errno));
}

static void unref(rayi_thread *thread, rayi_record *record)
{
    if (record->type == RAYI_FIXED)
        return;
    if (thread && thread->lane == rayi_pool_lane(record))
        rayi_record_unref(thread, record);
    else
        rayi_record_unref_late(record);
}

void rayi_waitset_free(rayi_thread *thread, ray_waitset *set)
{
    member *m;

    /* A member that cannot be taken out of its record is about to move to the done ones. */
    pthread_mutex_lock(&set->lock);
    while ((m = set->open)) {
        rayi_record *record = m->record;
        rayi_record_ref(record);
        pthread_mutex_unlock(&set->lock);
        if (rayi_record_unwatch(record, &m->waiter)) {
            pthread_mutex_lock(&set->lock);
            leave_open(set, m);
            add_done(set, m);
        } else {
            pthread_mutex_lock(&set->lock);
            while (set->open == m) {
                pthread_mutex_unlock(&set->lock);
                sched_yield();
                pthread_mutex_lock(&set->lock);
            }
        }
        unref(thread, record);
    }
    pthread_mutex_unlock(&set->lock);
    while ((m = set->done)) {
        set->done = m->next;
        unref(thread, m->record);
        rayi_free(m);
    }
    if (set->fd >= 0)
        close(set->fd);
    pthread_mutex_destroy(&set->lock);
    rayi_free(set);
}
