/* Random bytes, for names that must not collide. Brains are given theirs. */
#ifndef RAYI_RANDOM_H
#define RAYI_RANDOM_H

#include <stddef.h>

void rayi_random_bytes(void *out, size_t size_bytes);
/* 2 * size_bytes hex digits and a NUL. */
void rayi_hex(char *out, const void *bytes, size_t size_bytes);

#endif
