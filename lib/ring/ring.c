/* Messages: two rings, each with one producer and one consumer.
 *
 * A ring is an array of cells, counters of which run freely. A message takes consecutive cells, its header first; when
 * what is left before the end is too short a filler takes it, published together with the message behind it.
 *
 * Memory order. The producer writes cells, then stores the tail with release; the consumer loads the tail with acquire,
 * then reads cells. The consumer has read its cells before it stores the head with release; the producer loads the head
 * with acquire before it writes those cells again. Each side keeps its own counter privately and the other's as it last
 * saw it, and looks at the shared one only when the old value will not do: a sender in a ring with room reads no line
 * of the receiver's, and a receiver with several messages before it reads the tail once for all of them.
 *
 * Trust. A counter of the other end may be anything. It is good if it lies between the last good one and what is
 * possible: a tail at most a ring beyond the head, a head at most at the tail. A header is read once, with two loads,
 * and its size is checked against what was published and what is allowed before anything is copied; the payload is
 * copied once, and nobody looks at the ring's bytes again. Rubbish breaks the channel for good. */
#include "ring/inside.h"

#include <string.h>

static uint64_t cells_of(size_t size)
{
    return (sizeof(rayi_ring_header) + size + RAYI_CELL - 1) / RAYI_CELL;
}

/* The cells to skip so that so many more lie before the end. */
static uint64_t cells_to_skip(uint64_t count, uint64_t cells)
{
    uint64_t left = RAYI_CELLS - count % RAYI_CELLS;
    return left < cells ? left : 0;
}

static void break_channel(rayi_channel *channel, const char *why)
{
    const char *none = NULL;
    atomic_compare_exchange_strong_explicit(&channel->broken, &none, why, memory_order_release, memory_order_relaxed);
}

/* ---- sending ---- */

/* Loads the other end's head; false: it is not between the last good one and the tail. */
static bool load_head(rayi_channel *channel, uint64_t tail, uint64_t lowest, uint64_t *out)
{
    uint64_t head = atomic_load_explicit(&channel->out.shared->head, memory_order_acquire);
    if (head - lowest > tail - lowest) {
        break_channel(channel, "the other end's count of what it has received is out of bounds");
        return false;
    }
    *out = head;
    return true;
}

/* Sees to so many cells of room. A node that finds none leaves word, so that the worker rings when it has freed some;
 * the word is out before the head is looked at once more (the pairs of fences: bell.c). The head moves on each turn of
 * the loop and can't pass the tail. */
static bool make_room(rayi_channel *channel, uint64_t cells)
{
    rayi_ring_out *out = &channel->out;
    uint64_t tail = atomic_load_explicit(&out->tail, memory_order_relaxed), head;
    if (tail + cells - out->seen_head <= RAYI_CELLS)
        return true;
    for (bool first = true;; first = false) {
        if (rayi_ring_broken(channel) || !load_head(channel, tail, out->seen_head, &head))
            return false;
        bool moved = head != out->seen_head;
        out->seen_head = head;
        if (tail + cells - head <= RAYI_CELLS)
            return true;
        if (!first && !moved)
            break;
        out->starved_head = head;
        out->starved = true;
        if (!channel->is_node)
            break;
        atomic_store_explicit(&channel->memory->hungry, head + 1, memory_order_relaxed);
        atomic_thread_fence(memory_order_seq_cst);
    }
    return false;
}

static void write_header(rayi_ring_out *out, uint64_t count, uint32_t type, size_t size)
{
    rayi_ring_header header = {.size = (uint32_t)size, .type = type, .ticket = count};
    memcpy(out->cells + count % RAYI_CELLS * RAYI_CELL, &header, sizeof header);
}

static inline bool send_piece(rayi_channel *channel, uint32_t type, uint32_t flags, const void *head, size_t head_size,
                              const void *body, size_t body_size)
{
    rayi_ring_out *out = &channel->out;
    RAYI_ASSERT(type != RAYI_RING_FILLER);
    RAYI_ASSERT(head_size <= RAYI_RING_MESSAGE_MAX && body_size <= RAYI_RING_MESSAGE_MAX - head_size);
    uint64_t tail = atomic_load_explicit(&out->tail, memory_order_relaxed);
    uint64_t cells = cells_of(head_size + body_size), skip = cells_to_skip(tail, cells);
    if (!make_room(channel, skip + cells))
        return false;
    if (skip > 0)
        write_header(out, tail, RAYI_RING_FILLER, skip * RAYI_CELL - sizeof(rayi_ring_header));
    tail += skip;
    write_header(out, tail, type, (head_size + body_size) | flags);
    unsigned char *payload = out->cells + tail % RAYI_CELLS * RAYI_CELL + sizeof(rayi_ring_header);
    if (head_size > 0)
        memcpy(payload, head, head_size);
    if (body_size > 0)
        memcpy(payload + head_size, body, body_size);
    tail += cells;
    atomic_store_explicit(&out->tail, tail, memory_order_relaxed);
    atomic_store_explicit(&out->shared->tail, tail, memory_order_release);
    return true;
}

bool rayi_channel_send(rayi_channel *channel, uint32_t type, const void *head, size_t head_size, const void *body,
                       size_t body_size)
{
    RAYI_ASSERT(!channel->out.in_parts);
    return send_piece(channel, type, 0, head, head_size, body, body_size);
}

bool rayi_ring_send(rayi_channel *channel, uint32_t type, uint32_t flags, const void *head, size_t head_size,
                    const void *body, size_t body_size)
{
    return send_piece(channel, type, flags, head, head_size, body, body_size);
}

bool rayi_channel_can_send(rayi_channel *channel, size_t size)
{
    RAYI_ASSERT(size <= RAYI_RING_MESSAGE_MAX);
    uint64_t tail = atomic_load_explicit(&channel->out.tail, memory_order_relaxed), cells = cells_of(size);
    return make_room(channel, cells_to_skip(tail, cells) + cells);
}

bool rayi_ring_peek_room(rayi_channel *channel, size_t size)
{
    RAYI_ASSERT(size <= RAYI_RING_MESSAGE_MAX);
    /* A tail read without the lock may be older than the head read behind it: then there is room. */
    uint64_t tail = atomic_load_explicit(&channel->out.tail, memory_order_relaxed), cells = cells_of(size);
    uint64_t head = atomic_load_explicit(&channel->out.shared->head, memory_order_acquire);
    return !rayi_ring_broken(channel) &&
           (int64_t)(tail + cells_to_skip(tail, cells) + cells - head) <= (int64_t)RAYI_CELLS;
}

bool rayi_channel_wants_room(rayi_channel *channel)
{
    rayi_ring_out *out = &channel->out;
    uint64_t head;
    if (!out->starved || rayi_ring_broken(channel) ||
        !load_head(channel, atomic_load_explicit(&out->tail, memory_order_relaxed), out->seen_head, &head))
        return false;
    out->seen_head = head;
    if (head == out->starved_head)
        return false;
    out->starved = false;
    return true;
}

/* ---- receiving ---- */

int rayi_ring_corrupt(rayi_channel *channel, const char *why)
{
    break_channel(channel, why);
    return rayi_fail(RAY_ERR_CORRUPT, "the channel between node and worker is damaged: %s",
                     atomic_load_explicit(&channel->broken, memory_order_acquire));
}

static rayi_ring_header read_header(const rayi_ring_in *in, uint64_t count)
{
    _Static_assert(sizeof(rayi_ring_header) == 2 * sizeof(uint64_t), "");
    const _Atomic(uint64_t) *words = (const _Atomic(uint64_t) *)(in->cells + count % RAYI_CELLS * RAYI_CELL);
    uint64_t copy[2] = {atomic_load_explicit(&words[0], memory_order_relaxed),
                        atomic_load_explicit(&words[1], memory_order_relaxed)};
    rayi_ring_header header;
    memcpy(&header, copy, sizeof header);
    return header;
}

/* Passes a filler at *count, if there is one; NULL, or what is wrong with it. */
static const char *skip_filler(const rayi_ring_in *in, uint64_t *count, rayi_ring_header *header)
{
    uint64_t left = RAYI_CELLS - *count % RAYI_CELLS;
    if (header->type != RAYI_RING_FILLER)
        return NULL;
    if (header->ticket != *count || header->size != left * RAYI_CELL - sizeof *header ||
        left >= cells_of(RAYI_RING_MESSAGE_MAX))
        return "a filler that no sender makes";
    if (in->seen_tail - *count <= left)
        return "a filler with no message behind it";
    *count += left;
    *header = read_header(in, *count);
    return NULL;
}

/* NULL, or what is wrong with the message at this count. */
static const char *fault_of(const rayi_ring_in *in, uint64_t count, const rayi_ring_header *header)
{
    if (header->ticket != count || header->type == RAYI_RING_FILLER)
        return "something that is no message";
    if (header->size > RAYI_RING_MESSAGE_MAX)
        return "a message of more than the most bytes";
    if (cells_of(header->size) > in->seen_tail - count || cells_to_skip(count, cells_of(header->size)) > 0)
        return "a message that is longer than what was sent";
    return NULL;
}

/* The next message or part: its flags in *flags. */
static inline int receive_piece(rayi_channel *channel, rayi_received *out, uint32_t *flags)
{
    rayi_ring_in *in = &channel->in;
    uint64_t count = atomic_load_explicit(&in->head, memory_order_relaxed);
    const char *fault;
    if (rayi_ring_broken(channel))
        return rayi_ring_corrupt(channel, NULL);
    if (in->seen_tail == count) {
        uint64_t tail = atomic_load_explicit(&in->shared->tail, memory_order_acquire);
        if (tail == count)
            return 0;
        if (tail - count > RAYI_CELLS)
            return rayi_ring_corrupt(channel, "the other end's count of what it has sent is out of bounds");
        in->seen_tail = tail;
    }
    rayi_ring_header header = read_header(in, count);
    fault = skip_filler(in, &count, &header);
    *flags = header.size & RAYI_RING_FLAGS;
    header.size &= ~RAYI_RING_FLAGS;
    if (!fault)
        fault = fault_of(in, count, &header);
    if (fault)
        return rayi_ring_corrupt(channel, fault);
    memcpy(in->copy, in->cells + count % RAYI_CELLS * RAYI_CELL + sizeof header, header.size);
    count += cells_of(header.size);
    atomic_store_explicit(&in->head, count, memory_order_relaxed);
    atomic_store_explicit(&in->shared->head, count, memory_order_release);
    *out = (rayi_received){.type = header.type, .size = header.size, .data = in->copy};
    return 1;
}

int rayi_channel_receive(rayi_channel *channel, rayi_received *out)
{
    rayi_ring_in *in = &channel->in;
    uint32_t flags = 0;
    int r;
    if (in->joined && !in->joining)
        rayi_ring_drop_joined(channel);
    while ((r = receive_piece(channel, out, &flags)) == 1 && (flags || in->joining))
        if ((r = rayi_ring_join(channel, flags, out)) != 0)
            break;
    return r;
}

bool rayi_channel_has_mail(const rayi_channel *channel)
{
    return atomic_load_explicit(&channel->in.shared->tail, memory_order_acquire) !=
               atomic_load_explicit(&channel->in.head, memory_order_relaxed) ||
           rayi_ring_broken(channel);
}
