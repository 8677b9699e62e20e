/* A checksum, for bytes on a disk and on a wire: it finds accidents, not malice. */
#ifndef RAYI_SUM_H
#define RAYI_SUM_H

#include <stddef.h>
#include <stdint.h>

/* XXH3-64; seed: 0, or the sum of what comes before. The same on every machine. */
uint64_t rayi_sum(const void *data, size_t size_bytes, uint64_t seed);

/* The same with the vectors of AVX2, where the CPU has them. */
uint64_t rayi_sum_avx2(const void *data, size_t size_bytes, uint64_t seed);

#endif
