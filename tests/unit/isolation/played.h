/* A real node whose worker processes are played: what lib/process starts is a seat in this process, at the worker's end
 * of the channel, from which the test sends and takes. It defines the door of lib/process itself, so that a program
 * with it in front of the library starts no process. */
#ifndef TESTS_PLAYED_H
#define TESTS_PLAYED_H

#include "isolation/inside.h"
#include "raylet/inside.h"
#include "ring/inside.h"

/* The test's side of a process. It ends when the node kills it, or the test does; EXIT is the test's to follow. */
struct rayi_process {
    rayi_channel *worker;
    int socket, event;
    int64_t pid;
    bool condemned, dying, ended;
    rayi_process_end end;
    uv_timer_t timer;
    void (*on_end)(rayi_process *process, void *arg, const rayi_process_end *end);
    void *arg;
    void (*closed)(void *arg);
    void *closed_arg;
    rayi_process *next;
};

/* Once, before all else: the library's memory is counted from here on, and "worker.rubbish" events are. */
void played_watch(void);
long played_rubbish(void); /* events so far */
/* Blocks of the library's heap that were not there at the last played_start; waits a while for there to be none. */
long played_left_over(void);

/* Starts a runtime whose functions run in worker processes; played_node and played_isolation are then there. A spare
 * process is there, too, and has said nothing yet. False: last error. */
bool played_start(uint32_t max_workers, uint64_t store_bytes, bool spills);
/* All processes end, those that start from now on at once; then the runtime. What ray_shutdown says. */
int played_stop(void);
rayi_node *played_node(void);
rayi_isolation *played_isolation(void);

/* Returns when the node has taken all that was sent and done all that follows from it on its loop. */
void played_settle(void);
/* Runs fn(arg) on the loop. */
void played_on_loop(void (*fn)(void *arg), void *arg);

rayi_guest *played_guest(uint32_t index);        /* NULL: there is none */
rayi_process *played_process(rayi_guest *guest); /* at its other end; NULL: none that could say something */
/* What a worker sends; the node is woken. False: no room, or it has ended. */
bool played_send(rayi_guest *guest, uint32_t type, const void *bytes, size_t size);
void played_drain(rayi_guest *guest);           /* takes what the node has sent, and the segments, and forgets it */
void played_die(rayi_guest *guest, int signal); /* 0: it exits with 0; settled */
void played_hold_deaths(bool hold);             /* while it holds, who is killed lives on; then they end */

#endif
