/* The measures of libray, by theme. Those of `start` run before ray_init, the others after it. */
#ifndef THEMES_H
#define THEMES_H
#include "bench.h"

#include <ray/ray.h>

extern const struct bench_measure start_measures[], task_measures[], actor_measures[], object_measures[];

void require(int code);                        /* ends the program with libray's reason unless code is 0 */
int64_t take(ray_ref *ref);                    /* the number in ref, which it waits for and releases */
void take_all(ray_ref *const *refs, size_t n); /* each must hold twice its index */
RAY_REMOTE_DECLARE(int64_t, twice, (int64_t, x));
#endif
