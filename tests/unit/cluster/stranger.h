/* A real head, and a node that has joined it, whose part the test plays: what it says comes as if from its link, and
 * what is said to it goes nowhere. It has the resource `far` (8), so that what asks for it is sent there. */
#ifndef TESTS_STRANGER_H
#define TESTS_STRANGER_H

#include "api/api.h"
#include "cluster/inside.h"
#include "raylet/inside.h"

/* Once, before all else: the library's memory, and what it says of rubbish, are counted from here on. */
void stranger_watch(void);
/* Blocks of the library's heap that were not there at the last stranger_start; waits a while for there to be none. */
long stranger_left_over(void);

/* The nth block from now that the loop wants is not given (1: the next one); 0: all are. */
void stranger_starve(long nth);

bool stranger_start(void); /* a runtime that is a head; false: last error */
int stranger_stop(void);   /* what ray_shutdown says */
rayi_node *stranger_node(void);
void stranger_on_loop(void (*fn)(void *arg), void *arg);
/* Until the expression holds, which may be long on a busy machine. */
#define STRANGER_AWAIT(expression)                                                                                     \
    do {                                                                                                               \
        int64_t until_ = rayi_now_ms() + 30000;                                                                        \
        while (!(expression) && rayi_now_ms() < until_)                                                                \
            rayi_nap_ms(1);                                                                                            \
    } while (0)
void stranger_settle(void); /* returns when the loop has done what was under way there */

/* It joins; anew, if it was declared dead. is_near: its process is this one. False: it was refused. */
bool stranger_join(bool is_near);
void stranger_leave(void);          /* it says so, and is declared dead */
rayi_neighbour *stranger(void);     /* as the head has it; NULL: it is not there. The loop's */
long stranger_rubbish(void);        /* events so far that a message could not be */
void stranger_is_judged(void);      /* rubbish counts from here on, as it does for others: it may be broken */
void stranger_grant(uint64_t most); /* so many requests may have been sent to it, in all */
/* A message of the session, and all that follows from it. */
void stranger_say(rayi_frame_kind kind, const void *bytes, size_t size);

unsigned stranger_heard(enum rayi_between what); /* how many such messages have come to it */

/* An observer, which has a link of its own that leads nowhere. */
void stranger_asks(const void *bytes, size_t size);

#endif
