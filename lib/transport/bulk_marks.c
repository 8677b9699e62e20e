#include "transport/bulk_inside.h"

enum { CHUNK = 1 << 20 };

int rayi_bulk_marks_new(uint64_t size_bytes, uint32_t chunk_bytes, rayi_bulk_marks **out)
{
    uint32_t chunk = chunk_bytes ? chunk_bytes : CHUNK;
    if (chunk > RAYI_BULK_CHUNK_MAX)
        return rayi_fail(RAY_ERR_ARGUMENT, "expected chunks of at most %d bytes, got %u", RAYI_BULK_CHUNK_MAX,
                         (unsigned)chunk);
    size_t num_words = (size_t)(size_bytes / chunk / 64 + 1);
    rayi_bulk_marks *marks = rayi_zalloc(sizeof *marks + num_words * sizeof *marks->words);
    if (!marks)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the marks of %llu bytes", (unsigned long long)size_bytes);
    atomic_init(&marks->count, 1);
    atomic_init(&marks->failed, false);
    for (size_t i = 0; i < num_words; i++)
        atomic_init(&marks->words[i], 0);
    marks->size_bytes = size_bytes;
    marks->chunk_bytes = chunk;
    *out = marks;
    return 0;
}

rayi_bulk_marks *rayi_bulk_marks_ref(rayi_bulk_marks *marks)
{
    atomic_fetch_add_explicit(&marks->count, 1, memory_order_relaxed);
    return marks;
}

void rayi_bulk_marks_unref(rayi_bulk_marks *marks)
{
    if (marks && atomic_fetch_sub_explicit(&marks->count, 1, memory_order_acq_rel) == 1)
        rayi_free(marks);
}

void rayi_bulk_marks_set(rayi_bulk_marks *marks, uint64_t chunk)
{
    RAYI_ASSERT(chunk * marks->chunk_bytes < marks->size_bytes);
    atomic_fetch_or_explicit(&marks->words[chunk / 64], UINT64_C(1) << chunk % 64, memory_order_release);
}

void rayi_bulk_marks_fail(rayi_bulk_marks *marks)
{
    atomic_store_explicit(&marks->failed, true, memory_order_release);
}

bool rayi_bulk_marks_failed(const rayi_bulk_marks *marks)
{
    return atomic_load_explicit(&marks->failed, memory_order_acquire);
}

uint64_t rayi_bulk_marks_count(const rayi_bulk_marks *marks)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i <= marks->size_bytes / marks->chunk_bytes / 64; i++)
        count += (uint64_t)__builtin_popcountll(atomic_load_explicit(&marks->words[i], memory_order_relaxed));
    return count;
}

bool rayi_bulk_marks_has(const rayi_bulk_marks *marks, uint64_t offset, uint64_t size_bytes)
{
    RAYI_ASSERT(offset <= marks->size_bytes && size_bytes <= marks->size_bytes - offset);
    if (size_bytes == 0)
        return true;
    for (uint64_t chunk = offset / marks->chunk_bytes; chunk <= (offset + size_bytes - 1) / marks->chunk_bytes; chunk++)
        if (!(atomic_load_explicit(&marks->words[chunk / 64], memory_order_acquire) >> chunk % 64 & 1))
            return false;
    return true;
}
