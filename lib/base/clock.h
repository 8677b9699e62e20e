/* Time, for hands and the body. Brains are told the time. */
#ifndef RAYI_CLOCK_H
#define RAYI_CLOCK_H

#include <stdint.h>

int64_t rayi_now_ns(void);         /* monotonic */
int64_t rayi_now_ms(void);         /* monotonic */
void rayi_nap_ms(int64_t span_ms); /* sleeps, maybe less */
int64_t rayi_wall_ns(void);        /* since 1970, for people */
int64_t rayi_wall_ms(void);        /* likewise */

/* The moment span_ms from now in rayi_now_ms terms, or as far as that goes. */
int64_t rayi_moment_ms(int64_t span_ms);
/* The moment timeout_ms from now in rayi_now_ns terms; INT64_MAX for a negative (endless) timeout. */
int64_t rayi_deadline_ns(int64_t timeout_ms);

/* A moment's rest for the CPU, of who looks at something again and again. */
static inline void rayi_pause(void)
{
#if defined __x86_64__ || defined __i386__
    __builtin_ia32_pause();
#else
    __asm__ volatile("yield" ::: "memory");
#endif
}

#endif
