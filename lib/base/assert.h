/* Assertions: what must hold inside, whatever users do. They stay in release builds. */
#ifndef RAYI_ASSERT_H
#define RAYI_ASSERT_H

#include <ray/export.h>

/* Logs the broken rule at level ERROR (event "internal.assert") and aborts. */
_Noreturn void rayi_assert_failed(const char *rule, const char *file, int line);

#define RAYI_ASSERT(rule) (__builtin_expect(!!(rule), 1) ? (void)0 : rayi_assert_failed(#rule, __FILE__, __LINE__))

#endif
