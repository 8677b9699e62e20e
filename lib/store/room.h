/* room: which pages of which segment of an arena are whose. A segment is cut into extents without gaps; one in use has
 * the bytes of a block. Free neighbours of equal warmth are one extent always. Every call under the store's lock. */
#ifndef RAYI_ROOM_H
#define RAYI_ROOM_H

#include "store/segment.h"
#include "store/store.h"

typedef enum rayi_extent_state {
    RAYI_EXTENT_WARM, /* free, its pages touched */
    RAYI_EXTENT_COLD, /* free, its pages not there */
    RAYI_EXTENT_USED  /* a block's, or on its way back to the system */
} rayi_extent_state;

typedef struct rayi_extent rayi_extent;
struct rayi_extent {
    rayi_segment *segment;
    rayi_extent_state state;
    bool cold;     /* its pages were not there when it was taken */
    uint32_t look; /* the store's before it was freed; of two that became one, that of the larger, or older right one */
    size_t first_page, num_pages;
    rayi_extent *left, *right; /* neighbours in the segment */
    rayi_extent *prev, *next;  /* of the same class, or a list of evicted ones */
};

/* Classes of sizes in pages: 1 to 15 exactly, then eight to each power of two. */
enum { RAYI_ROOM_CLASSES = 320, RAYI_ROOM_WORDS = RAYI_ROOM_CLASSES / 64 };

typedef struct rayi_bins {
    rayi_extent *heads[RAYI_ROOM_CLASSES];
    uint64_t nonempty[RAYI_ROOM_WORDS];
} rayi_bins;

/* Sums over the rooms of a store. */
typedef struct rayi_room_sums {
    size_t num_segments, mapped_pages, used_pages, warm_pages;
    uint32_t look; /* how often the store has looked for room that nobody wants */
} rayi_room_sums;

typedef struct rayi_room {
    const rayi_memory *memory;
    rayi_room_sums *sums;
    unsigned page_shift;
    rayi_segment *segments;
    size_t num_segments, warm_pages;
    size_t least_warm_pages; /* since the last look */
    rayi_bins bins[2];       /* of WARM, of COLD */
} rayi_room;

void rayi_room_init(rayi_room *room, const rayi_memory *memory, size_t page_bytes, rayi_room_sums *sums);

/* Adds a segment that `extent`, not in use yet, describes: all of it cold. */
void rayi_room_add(rayi_room *room, rayi_segment *segment, rayi_extent *extent);

/* An extent of so many pages, USED; NULL: there is none. *spare is the node for what it leaves over, then NULL. */
rayi_extent *rayi_room_take(rayi_room *room, size_t num_pages, rayi_extent **spare);

/* Cuts what lies behind so many pages off a used extent, using *spare, and frees it as WARM. */
void rayi_room_cut(rayi_room *room, rayi_extent *extent, size_t num_pages, rayi_extent **spare);

/* Frees a used extent as WARM or COLD; the node belongs to room from here on. */
void rayi_room_put(rayi_room *room, rayi_extent *extent, rayi_extent_state state);

/* What goes back to the system: the caller lets go of the pages without the lock, then puts the extents, COLD. */
typedef struct rayi_eviction {
    rayi_extent *extents;
    rayi_segment *segments; /* whole ones, no longer room's */
} rayi_eviction;

/* Chooses about so many warm pages, the largest extents first. Returns how many. */
size_t rayi_room_evict(rayi_room *room, size_t num_pages, rayi_eviction *out);
/* The same of extents that were freed before the last look, and no more in all than lay warm all the time since. */
size_t rayi_room_cool(rayi_room *room, size_t num_pages, rayi_eviction *out);
/* Detaches an idle segment. */
void rayi_room_detach(rayi_room *room, rayi_segment *segment, rayi_eviction *out);

#endif
