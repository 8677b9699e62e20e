/* What a harness and its drivers (main.c here, libFuzzer elsewhere) agree on. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Returns 0; aborts when something is wrong. Leaves nothing behind that the next call could depend on. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Takes an input apart; once it is used up all is 0. */
typedef struct fuzz_bytes {
    const uint8_t *at;
    size_t left;
} fuzz_bytes;

static inline uint64_t fuzz_take(fuzz_bytes *from, size_t width)
{
    uint64_t value = 0;
    for (size_t i = 0; i < width && from->left > 0; i++, from->at++, from->left--)
        value |= (uint64_t)*from->at << 8 * i;
    return value;
}

#define FUZZ_CHECK(rule) ((rule) ? (void)0 : fuzz_failed(#rule, __FILE__, __LINE__))

_Noreturn void fuzz_failed(const char *rule, const char *file, int line);

#endif
