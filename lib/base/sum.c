/* XXH3 is taken from its header, so there is nothing to link: once as every CPU of the architecture can run it, once
 * for AVX2 (sum_avx2.c). Measured (Zen 4 VM) on a MiB that a cache has: 11 to 17 against 36 GiB/s; since a page cache
 * takes 4 GiB/s, the sum costs a spill a third of its time or a tenth. */
#include "base/sum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t rayi_sum(const void *data, size_t size_bytes, uint64_t seed)
{
#if defined __x86_64__
    if (__builtin_cpu_supports("avx2"))
        return rayi_sum_avx2(data, size_bytes, seed);
#endif
    return XXH3_64bits_withSeed(data, size_bytes, seed);
}
