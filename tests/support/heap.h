/* An allocator for ray_set_allocator that counts its live blocks and fails when told to. */
#ifndef HEAP_H
#define HEAP_H

#include <stdbool.h>

void heap_install(void);
long heap_live(void); /* blocks that are not freed */
/* The same, once it has stayed above 0 for a second. */
long heap_left(void);
/* The nth allocation from now fails (1: the next one), and if `ever` all after it too. 0: none fails. */
void heap_fail(long nth, bool ever);
long heap_failures(void); /* since the last heap_fail */
/* Replaces this thread's last error, which lives on the heap, by the shared one that needs none. */
void heap_forget_last_error(void);

/* Each allocation of a scenario fails, the 1st, 2nd, ... Nth, once and then with all after it. Every time it comes to
 * an error that is fair, or to 0 where nobody needed the block, the same scenario works right after, and nothing is
 * left at the end of that life of the runtime. */
typedef struct heap_scenario {
    int (*run)(void);
    void (*begin)(void); /* the runtime; NULL: the scenario does it */
    bool (*is_fair)(int code);
    int again; /* a code after which the scenario may need some more tries, for something else has to end first */
} heap_scenario;
void heap_fail_each(const heap_scenario *scenario);

#endif
