/* segment: one memfd and its mapping. No locks, no bookkeeping: that is room's. */
#ifndef RAYI_SEGMENT_H
#define RAYI_SEGMENT_H

#include "base/base.h"

#include <stdatomic.h>

typedef struct rayi_segment {
    struct rayi_segment *prev, *next; /* room's list, then the list of those that go */
    struct rayi_extent *first;        /* leftmost */
    struct rayi_room *room;           /* that it belongs to */
    uint64_t number;                  /* of its own in the store */
    size_t num_pages, used_pages, warm_pages;
    size_t spoiled_pages; /* of used_pages: of no block any more, but perhaps read by another process */
    size_t num_guests;    /* calls that use its descriptor: it stays meanwhile */
    char *base;
    size_t size_bytes;
    uint64_t device, inode;
    int fd;
    atomic_flag written; /* somebody writes through fd: a second one would only wait for the file's lock */
} rayi_segment;

/* 0, or the errno of the system's refusal (ENOMEM for ours). */
int rayi_segment_new(const rayi_memory *memory, size_t size_bytes, rayi_segment **out);
void rayi_segment_free(const rayi_memory *memory, rayi_segment *segment);

/* Nothing in it is in use: it may go, whole. Whoever else has it mapped keeps the pages. */
static inline bool rayi_segment_is_idle(const rayi_segment *segment)
{
    return segment->used_pages == segment->spoiled_pages && segment->num_guests == 0;
}

/* Gives the pages of a range back to the system; the next touch finds zeros. False: they stay. */
bool rayi_segment_forget(rayi_segment *segment, size_t offset, size_t size_bytes);

/* Writes to pages that were never touched and maps them. How much of it was written: less than size_bytes if the
 * descriptor is busy or the system had no wish to go on. */
size_t rayi_segment_write(rayi_segment *segment, size_t offset, const char *source, size_t size_bytes);

/* A new descriptor of it, which may only read unless writable. 0 or an errno. */
int rayi_segment_open(const rayi_segment *segment, bool writable, int *fd);

#endif
