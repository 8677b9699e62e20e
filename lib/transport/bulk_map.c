/* A byte for each chunk; chunks are asked for in their order, so who serves what it is still fetching has what is asked
 * for soon. */
#include "transport/bulk_map.h"

enum { THERE = UINT8_MAX };

int rayi_bulk_map_init(rayi_bulk_map *map, const rayi_memory *memory, uint64_t size_bytes, uint32_t chunk_bytes)
{
    uint64_t count = size_bytes / chunk_bytes + (size_bytes % chunk_bytes > 0);
    *map = (rayi_bulk_map){
        .memory = memory, .size_bytes = size_bytes, .num_chunks = count, .num_left = count, .chunk_bytes = chunk_bytes};
    map->asked = rayi_memory_zalloc(memory, RAYI_MAX(count, 1));
    return map->asked
               ? 0
               : rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a fetch of %llu chunks", (unsigned long long)count);
}

void rayi_bulk_map_fini(rayi_bulk_map *map)
{
    rayi_memory_free(map->memory, map->asked);
    map->asked = NULL;
}

bool rayi_bulk_map_next(rayi_bulk_map *map, uint64_t *out)
{
    while (map->next < map->num_chunks && map->asked[map->next] != 0)
        map->next++;
    *out = map->next;
    return map->next < map->num_chunks;
}

void rayi_bulk_map_ask(rayi_bulk_map *map, uint64_t chunk)
{
    RAYI_ASSERT(chunk < map->num_chunks && map->asked[chunk] < THERE - 1);
    map->asked[chunk]++;
}

unsigned rayi_bulk_map_asked(const rayi_bulk_map *map, uint64_t chunk)
{
    return rayi_bulk_map_has(map, chunk) ? 0 : map->asked[chunk];
}

void rayi_bulk_map_give_back(rayi_bulk_map *map, uint64_t chunk)
{
    if (rayi_bulk_map_has(map, chunk))
        return;
    RAYI_ASSERT(map->asked[chunk] > 0);
    map->asked[chunk]--;
    if (map->asked[chunk] == 0)
        map->next = RAYI_MIN(map->next, chunk);
}

bool rayi_bulk_map_has(const rayi_bulk_map *map, uint64_t chunk)
{
    RAYI_ASSERT(chunk < map->num_chunks);
    return map->asked[chunk] == THERE;
}

void rayi_bulk_map_arrive(rayi_bulk_map *map, uint64_t chunk)
{
    RAYI_ASSERT(!rayi_bulk_map_has(map, chunk) && map->num_left > 0);
    map->asked[chunk] = THERE;
    map->num_left--;
}

uint32_t rayi_bulk_map_chunk_bytes(const rayi_bulk_map *map, uint64_t chunk)
{
    RAYI_ASSERT(chunk < map->num_chunks);
    return (uint32_t)RAYI_MIN(map->chunk_bytes, map->size_bytes - chunk * map->chunk_bytes);
}
