/* The measures of libray, by theme. Those of `start`, `spill`, `process`, `remote` and `fault` call ray_init
   themselves, the others run after it. */
#ifndef THEMES_H
#define THEMES_H
#include "bench.h"

#include <ray/ray.h>

extern const struct bench_measure start_measures[], task_measures[], actor_measures[], object_measures[],
    spill_measures[], process_measures[], remote_measures[], fault_measures[];

int bench_node(int argc, char **argv); /* main() of a node of theirs */
int bench_soak(int argc, char **argv); /* main() of soak.sh */

void require(int code);                        /* ends the program with libray's reason unless code is 0 */
int64_t take(ray_ref *ref);                    /* the number in ref, which it waits for and releases */
void take_all(ray_ref *const *refs, size_t n); /* each must hold twice its index */

RAY_REMOTE_DECLARE(int64_t, twice, (int64_t, x));
typedef struct tally {
    int64_t calls;
} tally;
RAY_ACTOR_DECLARE(tally, (int64_t, start));
RAY_METHOD_DECLARE(tally, int64_t, twice, (int64_t, x));

/* For bench_rate: n tasks or calls, each awaited before the next; n times BENCH_BATCH of them. arg of calls: a tally */
void task_by_task(size_t n, void *arg);
void tasks_at_once(size_t n, void *arg);
void call_by_call(size_t n, void *arg);
void calls_at_once(size_t n, void *arg);
#endif
