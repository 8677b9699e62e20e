/* Tasks of the nodes that these tests start. */
#ifndef CLUSTER_FUNCTIONS_H
#define CLUSTER_FUNCTIONS_H

#include <ray/ray.h>

enum { SIZE = 9 << 20 };

bool is_filled(ray_view v, int64_t seed); /* as make does */
RAY_REMOTE_DECLARE(int64_t, own_pid);
RAY_REMOTE_DECLARE(int64_t, ask_pid, (const char *, resources)); /* own_pid of where those are, asked from here */
RAY_REMOTE_DECLARE(bool, stay, (const char *, path));            /* as long as there is such a file */
RAY_REMOTE_DECLARE(ray_ref *, make, (int64_t, seed));
/* Reads it once that process has ended. */
RAY_REMOTE_DECLARE(bool, read_after, (ray_ref *, ref), (int64_t, pid), (int64_t, seed));
/* How many of its node's objects could not be moved; -1: not in time. */
RAY_REMOTE_DECLARE(int64_t, move_all);
RAY_REMOTE_DECLARE(int64_t, where, (ray_view, first), (ray_view, second)); /* its process */
/* Sends a node what no node sends, so often. */
RAY_REMOTE_DECLARE(int64_t, say_rubbish, (const char *, to), (int64_t, times));
/* Waits a while until the node with an a has no session with this one: whether it has none. */
RAY_REMOTE_DECLARE(int64_t, ask_apart, (const char *, from));

#endif
