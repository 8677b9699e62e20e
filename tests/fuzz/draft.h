/* The message that a harness is writing. DRAFT_MOST, its longest, is defined before this is included. */
#ifndef DRAFT_H
#define DRAFT_H

#include "fuzz.h"

static struct {
    unsigned char bytes[DRAFT_MOST];
    size_t size;
} draft;

/* What does not fit is left out. */
static void put(const void *bytes, size_t size)
{
    if (size > DRAFT_MOST - draft.size)
        size = DRAFT_MOST - draft.size;
    if (size > 0)
        memcpy(draft.bytes + draft.size, bytes, size);
    draft.size += size;
}

static void put_u(uint64_t number, size_t width)
{
    put(&number, width); /* the byte order of this machine */
}

static void put_raw(fuzz_bytes *in, size_t size)
{
    if (size > in->left)
        size = in->left;
    put(in->at, size);
    in->at += size;
    in->left -= size;
}

#endif
