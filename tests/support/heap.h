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

#endif
