/* Messages that are longer than a ring takes at once: sent as parts, put together by the receiver.
 *
 * All parts are full but the last, and nothing stands between them, so what is under way needs no name and no table:
 * one buffer for each end, which grows with what has come. A part says whether one came before and whether one follows;
 * what does not fit together is rubbish. The cells of a part are freed when it is received, so a message may be longer
 * than the ring: its sender waits for room between two parts, as between two messages.
 *
 * A worker's message has an end at RAYI_RING_LONG_MAX: no worker makes its node keep more than that, and the growing.
 * What the node sends is as long as it likes; a worker that cannot keep it ends. */
#include "ring/inside.h"

#include <string.h>

bool rayi_channel_send_long(rayi_channel *channel, uint32_t type, const void *head, size_t head_size, const void *body,
                            size_t body_size, size_t *sent)
{
    RAYI_ASSERT(body_size <= SIZE_MAX - head_size);
    size_t size = head_size + body_size;
    RAYI_ASSERT(channel->is_node || size <= RAYI_RING_LONG_MAX);
    RAYI_ASSERT(channel->out.in_parts == (*sent > 0));
    do {
        size_t part = RAYI_MIN(size - *sent, (size_t)RAYI_RING_MESSAGE_MAX);
        size_t of_head = *sent < head_size ? RAYI_MIN(head_size - *sent, part) : 0;
        size_t in_body = *sent + of_head - head_size;
        uint32_t flags = (*sent > 0 ? RAYI_RING_REST : 0) | (*sent + part < size ? RAYI_RING_MORE : 0);
        if (!rayi_ring_send(channel, type, flags, of_head > 0 ? (const char *)head + *sent : NULL, of_head,
                            part > of_head ? (const char *)body + in_body : NULL, part - of_head))
            return false;
        *sent += part;
        channel->out.in_parts = *sent < size;
    } while (*sent < size);
    return true;
}

void rayi_ring_drop_joined(rayi_channel *channel)
{
    rayi_ring_in *in = &channel->in;
    rayi_memory_free(channel->allocator, in->joined);
    in->joined = NULL;
    in->joined_size = in->joined_room = 0;
    in->joining = false;
}

/* NULL, or what is wrong with the part. */
static const char *fault_of(const rayi_channel *channel, uint32_t flags, const rayi_received *part)
{
    const rayi_ring_in *in = &channel->in;
    if (!(flags & RAYI_RING_REST) != !in->joining || (in->joining && part->type != in->joined_type))
        return "a part of a message that does not belong where it stands";
    if (part->size == 0 || ((flags & RAYI_RING_MORE) && part->size < RAYI_RING_MESSAGE_MAX))
        return "a part of a message that is not full";
    if (channel->is_node && part->size > RAYI_RING_LONG_MAX - in->joined_size)
        return "a long message of more than the most bytes";
    return NULL;
}

static bool append(rayi_channel *channel, const rayi_received *part)
{
    rayi_ring_in *in = &channel->in;
    if (part->size > SIZE_MAX / 2 - in->joined_size)
        return false;
    size_t size = in->joined_size + part->size;
    if (size > in->joined_room) {
        size_t room = RAYI_MAX(2 * in->joined_room, size);
        unsigned char *more = in->joined ? rayi_memory_realloc(channel->allocator, in->joined, room)
                                         : rayi_memory_alloc(channel->allocator, room);
        if (!more)
            return false;
        in->joined = more;
        in->joined_room = room;
    }
    memcpy(in->joined + in->joined_size, part->data, part->size);
    in->joined_size = size;
    return true;
}

int rayi_ring_join(rayi_channel *channel, uint32_t flags, rayi_received *part)
{
    rayi_ring_in *in = &channel->in;
    const char *fault = fault_of(channel, flags, part);
    if (fault)
        return rayi_ring_corrupt(channel, fault);
    if (!append(channel, part)) {
        (void)rayi_ring_corrupt(channel, "there was no memory for a long message");
        rayi_ring_drop_joined(channel);
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a long message between node and worker");
    }
    in->joined_type = part->type;
    in->joining = flags & RAYI_RING_MORE;
    if (in->joining)
        return 0;
    *part = (rayi_received){.type = in->joined_type, .size = in->joined_size, .data = in->joined};
    return 1;
}
