/* The compiler is told of AVX2 here and not by a flag: this is the only code that needs it. What it leaves in the upper
 * halves of the registers is cleared at the end, or SSE code of this thread would run at half its speed from then on
 * (so it does after the choice that xxHash 0.8.1 itself makes at run time). */
#include "base/sum.h"

#if defined __x86_64__
#include <immintrin.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#if defined __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif

#define XXH_VECTOR 2 /* XXH_AVX2 */
#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t rayi_sum_avx2(const void *data, size_t size_bytes, uint64_t seed)
{
    uint64_t sum = XXH3_64bits_withSeed(data, size_bytes, seed);
    _mm256_zeroupper();
    return sum;
}

#if defined __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
