/* Which chunks of an object a fetch lacks, and which of those it has asked for. Pure. */
#ifndef RAYI_BULK_MAP_H
#define RAYI_BULK_MAP_H

#include "base/base.h"

typedef struct rayi_bulk_map {
    const rayi_memory *memory;
    uint64_t size_bytes, num_chunks, num_left, next; /* next: none before it is missing and not asked for */
    uint32_t chunk_bytes;
    uint8_t *asked; /* of each chunk: of how many sources; or that it is there */
} rayi_bulk_map;

int rayi_bulk_map_init(rayi_bulk_map *map, const rayi_memory *memory, uint64_t size_bytes,
                       uint32_t chunk_bytes); /* NO_MEMORY */
void rayi_bulk_map_fini(rayi_bulk_map *map);
/* The first chunk that is missing and not asked for; false: there is none. */
bool rayi_bulk_map_next(rayi_bulk_map *map, uint64_t *out);
void rayi_bulk_map_ask(rayi_bulk_map *map, uint64_t chunk);
unsigned rayi_bulk_map_asked(const rayi_bulk_map *map, uint64_t chunk); /* of so many; 0: none, or it is there */
void rayi_bulk_map_give_back(rayi_bulk_map *map, uint64_t chunk);       /* who was asked will not bring it */
bool rayi_bulk_map_has(const rayi_bulk_map *map, uint64_t chunk);
void rayi_bulk_map_arrive(rayi_bulk_map *map, uint64_t chunk); /* whoever was asked, once */
uint32_t rayi_bulk_map_chunk_bytes(const rayi_bulk_map *map, uint64_t chunk);

#endif
