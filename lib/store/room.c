/* Extents of a segment form a list by address, so that neighbours are found at once; free ones are also in the bins of
 * their warmth by size class (good fit: the own class is searched a little, any extent of a higher class does). The
 * last one freed is the first one taken, and the last one evicted: its pages are the likeliest to be in a cache.
 *
 * Warm and cold neighbours stay apart. That wastes addresses, which cost nothing, and keeps the count of touched pages
 * exact: it is what the capacity really limits. */
#include "store/room.h"

enum { SEARCHED = 32, EVICT_AT_LEAST_PAGES = 256 };

static size_t class_of(size_t num_pages)
{
    if (num_pages < 8)
        return num_pages;
    unsigned log = 63 - (unsigned)__builtin_clzll(num_pages);
    return (size_t)(log - 2) * 8 + (num_pages >> (log - 3) & 7);
}

/* The first class from this one on that is not empty; RAYI_ROOM_CLASSES if none is. */
static size_t class_from(const rayi_bins *bins, size_t class)
{
    for (size_t word = class / 64; word < RAYI_ROOM_WORDS; word++) {
        uint64_t bits = bins->nonempty[word];
        if (word == class / 64)
            bits &= ~UINT64_C(0) << class % 64;
        if (bits)
            return word * 64 + (size_t)__builtin_ctzll(bits);
    }
    return RAYI_ROOM_CLASSES;
}

/* Of those that were freed before that look. */
static rayi_extent *largest(const rayi_bins *bins, uint32_t look)
{
    for (size_t word = RAYI_ROOM_WORDS; word-- > 0;)
        for (uint64_t bits = bins->nonempty[word]; bits;) {
            unsigned bit = 63 - (unsigned)__builtin_clzll(bits);
            rayi_extent *oldest = bins->heads[word * 64 + bit]->prev; /* the tail: free for the longest time */
            if (oldest->look < look)
                return oldest;
            bits &= ~(UINT64_C(1) << bit);
        }
    return NULL;
}

static void bin_add(rayi_room *room, rayi_extent *extent)
{
    rayi_bins *bins = &room->bins[extent->state];
    size_t class = class_of(extent->num_pages);
    DL_PREPEND(bins->heads[class], extent);
    bins->nonempty[class / 64] |= UINT64_C(1) << class % 64;
}

static void bin_remove(rayi_room *room, rayi_extent *extent)
{
    rayi_bins *bins = &room->bins[extent->state];
    size_t class = class_of(extent->num_pages);
    DL_DELETE(bins->heads[class], extent);
    if (!bins->heads[class])
        bins->nonempty[class / 64] &= ~(UINT64_C(1) << class % 64);
}

/* A free extent that is large enough; it stays in its bin. */
static rayi_extent *find(const rayi_bins *bins, size_t num_pages)
{
    size_t class = class_of(num_pages);
    rayi_extent *best = NULL;
    int searched = 0;
    for (rayi_extent *extent = bins->heads[class]; extent && searched < SEARCHED; extent = extent->next, searched++) {
        if (extent->num_pages >= num_pages && (!best || extent->num_pages < best->num_pages))
            best = extent;
        if (best && best->num_pages == num_pages)
            break;
    }
    if (best)
        return best;
    class = class_from(bins, class + 1);
    return class < RAYI_ROOM_CLASSES ? bins->heads[class] : NULL;
}

/* Adds to the sums, or takes from them, what this extent stands for. */
static void count_extent(rayi_room *room, const rayi_extent *extent, bool add)
{
    size_t delta = add ? extent->num_pages : -extent->num_pages;
    switch (extent->state) {
    case RAYI_EXTENT_USED:
        room->sums->used_pages += delta;
        extent->segment->used_pages += delta;
        break;
    case RAYI_EXTENT_WARM:
        room->sums->warm_pages += delta;
        room->warm_pages += delta;
        room->least_warm_pages = RAYI_MIN(room->least_warm_pages, room->warm_pages);
        extent->segment->warm_pages += delta;
        break;
    case RAYI_EXTENT_COLD:
        break;
    }
}

static void set_state(rayi_room *room, rayi_extent *extent, rayi_extent_state state)
{
    count_extent(room, extent, false);
    extent->state = state;
    count_extent(room, extent, true);
}

/* The pages from the given one on become an extent of their own, `node`, in the same state. */
static void split(rayi_extent *extent, size_t num_pages, rayi_extent *node)
{
    node->segment = extent->segment;
    node->state = extent->state;
    node->look = extent->look;
    node->first_page = extent->first_page + num_pages;
    node->num_pages = extent->num_pages - num_pages;
    node->left = extent;
    node->right = extent->right;
    if (node->right)
        node->right->left = node;
    extent->right = node;
    extent->num_pages = num_pages;
}

/* Adds the right neighbour of equal state to this one; neither is in a bin. */
static void absorb_right(rayi_room *room, rayi_extent *extent)
{
    rayi_extent *gone = extent->right;
    if (gone->num_pages > extent->num_pages || gone->look < extent->look)
        extent->look = gone->look; /* room is taken from the left, and cooled from the right */
    extent->num_pages += gone->num_pages;
    extent->right = gone->right;
    if (gone->right)
        gone->right->left = extent;
    rayi_memory_free(room->memory, gone);
}

void rayi_room_init(rayi_room *room, const rayi_memory *memory, size_t page_bytes, rayi_room_sums *sums)
{
    *room = (rayi_room){.memory = memory, .sums = sums, .page_shift = (unsigned)__builtin_ctzll(page_bytes)};
}

void rayi_room_add(rayi_room *room, rayi_segment *segment, rayi_extent *extent)
{
    segment->num_pages = segment->size_bytes >> room->page_shift;
    segment->first = extent;
    extent->segment = segment;
    extent->num_pages = segment->num_pages;
    extent->state = RAYI_EXTENT_COLD;
    bin_add(room, extent);
    DL_APPEND(room->segments, segment);
    segment->room = room;
    room->num_segments++;
    room->sums->num_segments++;
    room->sums->mapped_pages += segment->num_pages;
}

rayi_extent *rayi_room_take(rayi_room *room, size_t num_pages, rayi_extent **spare)
{
    rayi_extent *extent = find(&room->bins[RAYI_EXTENT_WARM], num_pages);
    if (!extent)
        extent = find(&room->bins[RAYI_EXTENT_COLD], num_pages);
    if (!extent)
        return NULL;
    bin_remove(room, extent);
    if (extent->num_pages > num_pages) {
        split(extent, num_pages, *spare);
        bin_add(room, *spare);
        *spare = NULL;
    }
    extent->cold = extent->state == RAYI_EXTENT_COLD;
    set_state(room, extent, RAYI_EXTENT_USED);
    return extent;
}

void rayi_room_cut(rayi_room *room, rayi_extent *extent, size_t num_pages, rayi_extent **spare)
{
    RAYI_ASSERT(extent->state == RAYI_EXTENT_USED && num_pages > 0 && num_pages < extent->num_pages);
    rayi_extent *tail = *spare;
    *spare = NULL;
    split(extent, num_pages, tail);
    rayi_room_put(room, tail, RAYI_EXTENT_WARM);
}

void rayi_room_put(rayi_room *room, rayi_extent *extent, rayi_extent_state state)
{
    RAYI_ASSERT(extent->state == RAYI_EXTENT_USED && state != RAYI_EXTENT_USED);
    set_state(room, extent, state);
    extent->look = room->sums->look;
    if (extent->right && extent->right->state == state) {
        bin_remove(room, extent->right);
        absorb_right(room, extent);
    }
    if (extent->left && extent->left->state == state) {
        extent = extent->left;
        bin_remove(room, extent);
        absorb_right(room, extent);
    }
    bin_add(room, extent);
}

void rayi_room_detach(rayi_room *room, rayi_segment *segment, rayi_eviction *out)
{
    RAYI_ASSERT(rayi_segment_is_idle(segment));
    while (segment->first) {
        rayi_extent *extent = segment->first;
        segment->first = extent->right;
        if (extent->state != RAYI_EXTENT_USED) /* else it is spoiled */
            bin_remove(room, extent);
        count_extent(room, extent, false);
        rayi_memory_free(room->memory, extent);
    }
    DL_DELETE(room->segments, segment);
    room->num_segments--;
    room->sums->num_segments--;
    room->sums->mapped_pages -= segment->num_pages;
    LL_PREPEND(out->segments, segment);
}

/* The tail of a warm extent, or all of it if it is not much longer or there is no memory for a cut. */
static rayi_extent *take_tail(rayi_room *room, rayi_extent *extent, size_t num_pages)
{
    rayi_extent *node = NULL;
    bin_remove(room, extent);
    if (extent->num_pages > num_pages)
        node = rayi_memory_zalloc(room->memory, sizeof *node);
    if (node) {
        split(extent, extent->num_pages - num_pages, node);
        bin_add(room, extent);
        extent = node;
    }
    set_state(room, extent, RAYI_EXTENT_USED);
    return extent;
}

static size_t evict(rayi_room *room, size_t num_pages, uint32_t look, rayi_eviction *out)
{
    size_t gone = 0;
    while (gone < num_pages) {
        rayi_extent *extent = largest(&room->bins[RAYI_EXTENT_WARM], look);
        if (!extent)
            break;
        rayi_segment *segment = extent->segment;
        size_t wanted = RAYI_MAX(num_pages - gone, EVICT_AT_LEAST_PAGES); /* a system call is worth some pages */
        if (rayi_segment_is_idle(segment) && segment->warm_pages <= wanted) {
            gone += segment->warm_pages;
            rayi_room_detach(room, segment, out);
        } else {
            extent = take_tail(room, extent, wanted);
            gone += extent->num_pages;
            LL_PREPEND(out->extents, extent);
        }
    }
    return gone;
}

size_t rayi_room_evict(rayi_room *room, size_t num_pages, rayi_eviction *out)
{
    return evict(room, num_pages, UINT32_MAX, out);
}

/* Which extents go matters as much as how many: a loop's own, free at the moment, would have to be touched anew. */
size_t rayi_room_cool(rayi_room *room, size_t num_pages, rayi_eviction *out)
{
    size_t least = room->least_warm_pages, gone = evict(room, RAYI_MIN(num_pages, least), room->sums->look, out);
    room->least_warm_pages = gone > 0 ? least - RAYI_MIN(gone, least) : 0; /* what we take was nobody's wish */
    return gone;
}
