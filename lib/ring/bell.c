/* Bells: who sleeps, and who wakes whom.
 *
 * Memory order. Each pair is the same argument: the one who sleeps writes "I sleep", passes a sequentially consistent
 * fence and looks once more; the one who has something to tell publishes it, passes such a fence and looks for
 * sleepers. Whichever fence comes second in the order of all fences, its thread sees what stands before the other's, so
 * at least one of them notices. The pairs:
 *   down's tail / sleepers    send, wake_worker           against sleep
 *   up's tail / armed         send, announce              against arm and a look after it
 *   up's tail / polling       send, announce              against poll_end and a look after it
 *   down's head / hungry      receive, announce           against a send that finds no room (ring.c)
 * The bell moves only for sleepers, so it costs nothing while nobody sleeps: a thread that read it before its last
 * look, and registers after the sender looked for sleepers, finds the mail itself. */
#include "ring/inside.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NAP_NS 1000000

/* Shared, unlike the lane's: the two ends map the word at different addresses. */
static void futex_wake_all(atomic_uint *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void futex_wait(atomic_uint *word, uint32_t seen, int64_t deadline_ns)
{
    struct timespec until = {deadline_ns / 1000000000, deadline_ns % 1000000000};
    syscall(SYS_futex, word, FUTEX_WAIT_BITSET, seen, deadline_ns == INT64_MAX ? NULL : &until, NULL,
            FUTEX_BITSET_MATCH_ANY);
}

/* EAGAIN: the count is as high as it gets, so whoever waits there wakes anyway. False: it is no event descriptor. */
static bool write_event(int event_fd)
{
    uint64_t one = 1;
    ssize_t written;
    do
        written = write(event_fd, &one, sizeof one);
    while (written < 0 && errno == EINTR);
    return written == (ssize_t)sizeof one || (written < 0 && errno == EAGAIN);
}

/* ---- down ---- */

uint32_t rayi_channel_bell(const rayi_channel *channel)
{
    return atomic_load_explicit(&channel->memory->bell, memory_order_acquire);
}

bool rayi_channel_sleep(rayi_channel *channel, uint32_t seen, int64_t deadline_ns)
{
    rayi_ring_memory *memory = channel->memory;
    bool woken = true;
    atomic_fetch_add_explicit(&memory->sleepers, 1, memory_order_seq_cst);
    atomic_thread_fence(memory_order_seq_cst);
    if (rayi_channel_bell(channel) == seen && !rayi_channel_has_mail(channel)) {
        futex_wait(&memory->bell, seen, deadline_ns < 0 ? 0 : deadline_ns);
        woken = rayi_channel_bell(channel) != seen || rayi_channel_has_mail(channel) || rayi_now_ns() < deadline_ns;
    }
    atomic_fetch_sub_explicit(&memory->sleepers, 1, memory_order_relaxed);
    return woken;
}

static void ring_bell(rayi_ring_memory *memory)
{
    atomic_fetch_add_explicit(&memory->bell, 1, memory_order_release);
    futex_wake_all(&memory->bell);
}

void rayi_channel_wake_worker(rayi_channel *channel)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&channel->memory->sleepers, memory_order_relaxed) != 0)
        ring_bell(channel->memory);
}

/* The bell moves first here: what is told is no mail, so a thread that is about to sleep has nothing else to see it by.
 * It registers before it reads the bell, so either it sees the bell moved or it is seen. */
void rayi_channel_stir(rayi_channel *channel)
{
    rayi_ring_memory *memory = channel->memory;
    atomic_fetch_add_explicit(&memory->bell, 1, memory_order_seq_cst);
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&memory->sleepers, memory_order_relaxed) != 0)
        futex_wake_all(&memory->bell);
}

/* ---- up ---- */

void rayi_channel_poll_begin(rayi_channel *channel)
{
    atomic_fetch_add_explicit(&channel->memory->polling, 1, memory_order_relaxed);
}

void rayi_channel_poll_end(rayi_channel *channel)
{
    atomic_fetch_sub_explicit(&channel->memory->polling, 1, memory_order_seq_cst);
    atomic_thread_fence(memory_order_seq_cst);
}

/* The word is left alone if it is set: who clears it writes to the eventfd afterwards, so an old 1 seen here only means
 * that the event is still to come. */
void rayi_channel_arm(rayi_channel *channel)
{
    atomic_uint *armed = &channel->memory->armed;
    if (atomic_load_explicit(armed, memory_order_acquire) != 1)
        atomic_store_explicit(armed, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
}

/* Cells were freed since the node found no room. The word is cleared only with the very value that was looked at: a
 * newer one speaks of a head that nothing may have been freed behind. A head that is old news to this thread leaves the
 * word to the thread that moved it. */
static bool node_is_hungry(rayi_channel *channel)
{
    rayi_ring_memory *memory = channel->memory;
    uint64_t hungry = atomic_load_explicit(&memory->hungry, memory_order_relaxed);
    if (hungry == 0)
        return false;
    uint64_t freed = atomic_load_explicit(&channel->in.head, memory_order_relaxed) - (hungry - 1);
    return (int64_t)freed > 0 && atomic_compare_exchange_strong_explicit(&memory->hungry, &hungry, 0,
                                                                         memory_order_acq_rel, memory_order_relaxed);
}

/* The node sleeps, nobody polls, and it has not received all that this end has sent. */
static bool node_sleeps(rayi_channel *channel)
{
    rayi_ring_memory *memory = channel->memory;
    return atomic_load_explicit(&memory->armed, memory_order_relaxed) != 0 &&
           atomic_load_explicit(&memory->polling, memory_order_relaxed) == 0 &&
           atomic_load_explicit(&memory->up.head, memory_order_relaxed) !=
               atomic_load_explicit(&channel->out.tail, memory_order_relaxed) &&
           atomic_exchange_explicit(&memory->armed, 0, memory_order_acq_rel) != 0;
}

bool rayi_channel_announce(rayi_channel *channel, int event_fd)
{
    atomic_thread_fence(memory_order_seq_cst);
    bool hungry = node_is_hungry(channel);
    return !(node_sleeps(channel) || hungry) || write_event(event_fd);
}

/* ---- room ---- */

/* It rings anew for each nap: the node may have been woken and gone to sleep again between two of another thread's
 * messages, and a write a millisecond is nothing beside a full ring. */
bool rayi_channel_wait_for_room(rayi_channel *channel, size_t size, int event_fd, int64_t deadline_ns)
{
    rayi_ring_memory *memory = channel->memory;
    for (;;) {
        uint32_t seen = rayi_channel_bell(channel);
        if (rayi_ring_peek_room(channel, size))
            return true;
        int64_t now = rayi_now_ns();
        if (rayi_ring_broken(channel) || now >= deadline_ns)
            return false;
        if (!write_event(event_fd))
            return false;
        atomic_fetch_add_explicit(&memory->sleepers, 1, memory_order_seq_cst);
        atomic_thread_fence(memory_order_seq_cst);
        if (!rayi_ring_peek_room(channel, size))
            futex_wait(&memory->bell, seen, RAYI_MIN(deadline_ns, now + NAP_NS));
        atomic_fetch_sub_explicit(&memory->sleepers, 1, memory_order_relaxed);
    }
}
