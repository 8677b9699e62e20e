/* The library's memory and its log, watched by what plays another process to it (isolation/played.c,
 * cluster/stranger.c). */
#ifndef TESTS_WATCHED_H
#define TESTS_WATCHED_H

#include <stdbool.h>

/* Once, before all else: blocks of the library's heap are counted from here on, and events of that name. must_fail: is
 * this block not to be given? NULL: all are. */
void watched_begin(const char *event, bool (*must_fail)(void));
void watched_mark(void); /* what is there now belongs there */
/* Blocks that were not there at the mark; waits a while for there to be none: the lane goes with its last thread, which
 * may be a little behind. */
long watched_left_over(void);
long watched_events(void);

#endif
