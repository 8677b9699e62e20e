/* wake: how other threads call a loop, and how it stays awake for them. Part of the door transport/transport.h.
 *
 * As uv_async_t, but the loop never spins for the caller: libuv's waits, in a loop of pauses, until who has woken it is
 * back from the system, which takes tens of microseconds wherever the two share a CPU.
 *
 * A vigil lets a loop poll for a moment before it sleeps, where the last waits were so short that falling asleep and
 * waking were much of them: calls that go back and forth between nodes. Who sends meanwhile writes nothing to the
 * system. */
#ifndef RAYI_WAKE_H
#define RAYI_WAKE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

typedef struct rayi_vigil rayi_vigil;

typedef struct rayi_wake {
    uv_poll_t poll;
    int fd;
    atomic_bool is_sent; /* and fn was not called since */
    void (*fn)(void *arg);
    void *arg;
    rayi_vigil *vigil;      /* of its loop; NULL: it has none */
    struct rayi_wake *next; /* in the vigil's list */
} rayi_wake;

/* On the loop's thread, or before it runs. fn is called by the loop, once or more often after each send, and sees what
 * was written before it. vigil: of the loop, if it has one. Returns 0, or libuv's error; then there is nothing to
 * close. */
int rayi_wake_open(rayi_wake *wake, uv_loop_t *loop, rayi_vigil *vigil, void (*fn)(void *arg), void *arg);
/* Any thread, from the open on and until the close has begun; does not block, nor fail. */
void rayi_wake_send(rayi_wake *wake);
/* On the loop's thread. closed may be NULL; the data of the handle that it gets is arg. */
void rayi_wake_close(rayi_wake *wake, uv_close_cb closed);

#define RAYI_VIGIL_NS      50000  /* a vigil without news ends after that long */
#define RAYI_SHORT_WAIT_NS 200000 /* two waits of at most that long in succession, and the next begins with a vigil */

struct rayi_vigil {
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    bool (*may)(void *arg);
    void (*tell)(void *arg, bool begins);
    void *arg;
    rayi_wake *wakes;     /* the one that was called last is the last */
    atomic_bool is_awake; /* it looks at its wakes before it sleeps: no descriptor need be written */
    int64_t news_ns;      /* when the last news came */
    bool sleeps;          /* the loop is about to, or has just been woken */
    bool was_in_vain;     /* the last vigil: the next one begins after a sleep */
    unsigned short_waits;
};

/* On the loop's thread, or before it runs. may(arg) says whether a CPU is free for it, as often as it is asked; tell is
 * called when a vigil begins and when it ends. */
void rayi_vigil_open(rayi_vigil *vigil, uv_loop_t *loop, bool (*may)(void *arg), void (*tell)(void *arg, bool begins),
                     void *arg);
/* On the loop's thread: there were news, so more may come. vigil may be NULL. */
void rayi_vigil_heard(rayi_vigil *vigil);
/* On the loop's thread. Its wakes are closed with it, before or after. */
void rayi_vigil_close(rayi_vigil *vigil);

#endif
