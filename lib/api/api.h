/* api: the public calls. They check arguments, find the runtime of this process and hand over; nothing else.
 *
 * The one global is the current runtime. Its pointer stands in a page that a fork wipes, so that a forked child finds
 * nothing there without asking for its process id at every call. */
#ifndef RAYI_API_H
#define RAYI_API_H

#include "raylet/raylet.h"
#include "worker/worker.h"

/* This thread's context in the current runtime; NULL: there is none (last error: NOT_INITIALIZED, SHUTDOWN, FORKED, …).
 */
rayi_thread *rayi_enter(void);
bool rayi_in_forked_child(void);
const rayi_body *rayi_body_now(void);       /* of a thread that has entered: who answers */
rayi_executor *rayi_current_executor(void); /* attached to; NULL: none */

/* A failed ref with this thread's last error, also when there is no runtime. */
ray_ref *rayi_failed_ref(void);
/* The ref may be used here: not NULL, not released, of this runtime. Else false and the last error. */
bool rayi_check_ref(rayi_thread *thread, const ray_ref *ref, const char *call);
/* A block with counts to raise or drop: not NULL, not a fixed one, not of a process that this one was forked from; of a
 * released one a debug build aborts. */
bool rayi_is_held(rayi_record *record);
/* Drops a count of a block, whichever runtime it belongs to. */
void rayi_drop(rayi_record *record);

/* Options of an older caller, whose struct ends earlier than ours of size bytes: what is missing is 0 in room. */
const void *rayi_full_options(const void *given, void *room, size_t size);

/* False and the last error when a pointer is NULL. */
bool rayi_check_pointer(const void *pointer, const char *call, const char *what);

#endif
