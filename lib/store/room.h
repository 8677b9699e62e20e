/* room: which pages of which segment are whose. A segment is cut into extents without gaps; an extent in use is a
 * block. Free neighbours of equal warmth are one extent always. Every call under the store's lock. */
#ifndef RAYI_ROOM_H
#define RAYI_ROOM_H

#include "store/segment.h"
#include "store/store.h"

typedef enum rayi_extent_state {
    RAYI_EXTENT_WARM, /* free, its pages touched */
    RAYI_EXTENT_COLD, /* free, its pages not there */
    RAYI_EXTENT_USED  /* a block, or on its way back to the system */
} rayi_extent_state;

struct rayi_block {
    rayi_store *store;
    rayi_segment *segment;
    char *data;
    size_t size_bytes;
    size_t charged_pages;
    _Atomic uint32_t refs;
    rayi_extent_state state;
    bool cold; /* its pages were not there when it was taken */
    _Atomic bool sealed;
    size_t first_page, num_pages;
    rayi_block *left, *right; /* neighbours in the segment */
    rayi_block *prev, *next;  /* of the same class, or a list of evicted ones */
};

/* Classes of sizes in pages: 1 to 15 exactly, then eight to each power of two. */
enum { RAYI_ROOM_CLASSES = 320, RAYI_ROOM_WORDS = RAYI_ROOM_CLASSES / 64 };

typedef struct rayi_bins {
    rayi_block *heads[RAYI_ROOM_CLASSES];
    uint64_t nonempty[RAYI_ROOM_WORDS];
} rayi_bins;

typedef struct rayi_room {
    const rayi_memory *memory;
    unsigned page_shift;
    rayi_segment *segments;
    size_t num_segments, mapped_pages, used_pages, warm_pages;
    rayi_bins bins[2]; /* of WARM, of COLD */
} rayi_room;

void rayi_room_init(rayi_room *room, const rayi_memory *memory, size_t page_bytes);

/* Adds a segment that `extent`, not in use yet, describes: all of it cold. */
void rayi_room_add(rayi_room *room, rayi_segment *segment, rayi_block *extent);

/* An extent of so many pages, USED; NULL: there is none. *spare is the node for what it leaves over, then NULL. */
rayi_block *rayi_room_take(rayi_room *room, size_t num_pages, rayi_block **spare);

/* Cuts what lies behind so many pages off a used extent, using *spare, and frees it as WARM. */
void rayi_room_cut(rayi_room *room, rayi_block *extent, size_t num_pages, rayi_block **spare);

/* Frees a used extent as WARM or COLD; the node belongs to room from here on. */
void rayi_room_put(rayi_room *room, rayi_block *extent, rayi_extent_state state);

/* What goes back to the system: the caller lets go of the pages without the lock, then puts the extents, COLD. */
typedef struct rayi_eviction {
    rayi_block *extents;
    rayi_segment *segments; /* whole ones, no longer room's */
} rayi_eviction;

/* Chooses about so many warm pages, the largest extents first. Returns how many. */
size_t rayi_room_evict(rayi_room *room, size_t num_pages, rayi_eviction *out);
/* Detaches a segment in which nothing is used. */
void rayi_room_detach(rayi_room *room, rayi_segment *segment, rayi_eviction *out);

#endif
