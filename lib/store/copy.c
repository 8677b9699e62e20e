/* Copies into the store. Bytes put into the store are mostly read later and elsewhere: writing them around the caches
 * saves reading the lines that are about to be overwritten. Measured (EPYC Zen 4 VM, 32 MiB L3): 24 against 15 GiB/s
 * for 4 MiB, 15 to 20 against 10 to 12 for 16 to 64 MiB. Below 4 MiB the reader is likely to find them in a cache
 * still, so plain memcpy keeps those. */
#include "store/store.h"

#include <string.h>

#if defined __SSE2__
#include <emmintrin.h>

enum { STREAM_FROM_BYTES = 4 << 20, LINE_BYTES = 64, AHEAD_BYTES = 1024 };

static void stream_lines(char *to, const char *from, size_t num_lines)
{
    for (; num_lines > 0; num_lines--, to += LINE_BYTES, from += LINE_BYTES) {
        _mm_prefetch(from + AHEAD_BYTES, _MM_HINT_NTA); /* beyond the end it is ignored */
        __m128i a = _mm_loadu_si128((const __m128i *)(const void *)from);
        __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(from + 16));
        __m128i c = _mm_loadu_si128((const __m128i *)(const void *)(from + 32));
        __m128i d = _mm_loadu_si128((const __m128i *)(const void *)(from + 48));
        _mm_stream_si128((__m128i *)(void *)to, a);
        _mm_stream_si128((__m128i *)(void *)(to + 16), b);
        _mm_stream_si128((__m128i *)(void *)(to + 32), c);
        _mm_stream_si128((__m128i *)(void *)(to + 48), d);
    }
    _mm_sfence(); /* before whatever publishes them */
}

static void copy_large(char *to, const char *from, size_t size_bytes)
{
    size_t head = -(uintptr_t)to % LINE_BYTES;
    memcpy(to, from, head);
    size_t num_lines = (size_bytes - head) / LINE_BYTES;
    stream_lines(to + head, from + head, num_lines);
    size_t done = head + num_lines * LINE_BYTES;
    memcpy(to + done, from + done, size_bytes - done);
}
#else
enum { STREAM_FROM_BYTES = 4 << 20 };

static void copy_large(char *to, const char *from, size_t size_bytes)
{
    memcpy(to, from, size_bytes);
}
#endif

void rayi_store_copy_in(void *restrict to, const void *restrict from, size_t size_bytes)
{
    if (size_bytes >= STREAM_FROM_BYTES)
        copy_large(to, from, size_bytes);
    else if (size_bytes > 0)
        memcpy(to, from, size_bytes);
}
