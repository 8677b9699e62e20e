/* base: what every folder stands on. Owns nothing but the process-wide settings that ray_set_allocator and ray_set_log
 * make before ray_init, and the last error of each thread. Includes nothing of ours but the public headers' types. */
#ifndef RAYI_BASE_H
#define RAYI_BASE_H

#include "base/assert.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/sum.h"
#include "base/text.h"

/* The struct that holds a given member. */
#define rayi_container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))
#define RAYI_COUNT_OF(array)                     (sizeof(array) / sizeof *(array))
#define RAYI_MIN(a, b)                           ((a) < (b) ? (a) : (b))
#define RAYI_MAX(a, b)                           ((a) > (b) ? (a) : (b))

#endif
