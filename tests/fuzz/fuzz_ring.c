/* A worker's side of a channel, played by the input: it writes into the shared memory as the input says, and the node
 * receives, sends and looks.
 *
 * The first byte chooses:
 *   0  the rest is laid over the cells of the ring up, from the cell that the next two bytes name, all is published,
 *      and received
 *   1  the rest is a list of steps (a byte that says which, then its operands): writes of single fields, and calls
 *   2  the rest is laid over the page of counters and bells
 *   3  the rest is laid over the stamp, and somebody opens the channel */
#include "fuzz.h"

#include "ring/inside.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static rayi_channel *node;
static rayi_ring_memory *memory; /* as the worker has it */
static rayi_ring_stamp stamp;

static void start(void)
{
    if (rayi_channel_new(rayi_heap, &node))
        fuzz_failed("a channel", __FILE__, __LINE__);
    memory = mmap(NULL, sizeof *memory, PROT_READ | PROT_WRITE, MAP_SHARED, rayi_channel_fd(node), 0);
    FUZZ_CHECK(memory != MAP_FAILED);
    stamp = memory->stamp;
}

/* A new channel whose counters stand at `first`, cheaper than making one. */
static void reset(uint64_t first)
{
    memset(memory, 0, sizeof *memory);
    memory->stamp = stamp;
    atomic_store(&memory->up.tail, first);
    atomic_store(&memory->up.head, first);
    atomic_store(&memory->down.tail, first);
    atomic_store(&memory->down.head, first);
    atomic_store(&node->in.head, first);
    node->in.seen_tail = first;
    atomic_store(&node->out.tail, first);
    node->out.seen_head = first;
    node->out.starved = node->out.in_parts = false;
    rayi_ring_drop_joined(node);
    atomic_store(&node->broken, NULL);
}

/* A short message lay within what was published, in cells that do not go over the ring's end. */
static void check_place(const rayi_received *got, uint64_t before, uint64_t last)
{
    uint64_t cells = (got->size + sizeof(rayi_ring_header) + RAYI_CELL - 1) / RAYI_CELL, moved = last - before;
    FUZZ_CHECK(got->size <= RAYI_RING_MESSAGE_MAX && (uintptr_t)got->data % 64 == 0);
    FUZZ_CHECK(moved >= cells && node->in.seen_tail - last <= RAYI_CELLS && node->in.seen_tail - before <= RAYI_CELLS);
    FUZZ_CHECK((last - cells) % RAYI_CELLS + cells <= RAYI_CELLS);
}

static int receive_one(void)
{
    uint64_t sum = 0;
    rayi_received got = {0};
    uint64_t before = atomic_load(&node->in.head);
    bool mail = rayi_channel_has_mail(node);
    int r = rayi_channel_receive(node, &got);
    FUZZ_CHECK(r == 0 || r == 1 || r == RAY_ERR_CORRUPT);
    uint64_t moved = atomic_load(&node->in.head) - before;
    /* The other way round a tail that was taken back is not missed; a part alone is no message. */
    FUZZ_CHECK(r != 0 || !mail || (moved > 0 && node->in.joining));
    FUZZ_CHECK(node->in.joined_size <= RAYI_RING_LONG_MAX && node->in.joined_room <= 2 * node->in.joined_size);
    if (r != 1) {
        FUZZ_CHECK(moved == 0 || node->in.joining || r == RAY_ERR_CORRUPT);
        FUZZ_CHECK(r == 0 || (rayi_channel_has_mail(node) && rayi_channel_receive(node, &got) == RAY_ERR_CORRUPT));
        return r;
    }
    FUZZ_CHECK(got.type != RAYI_RING_FILLER && !node->in.joining);
    if (got.data == node->in.joined)
        FUZZ_CHECK(got.size == node->in.joined_size && got.size > RAYI_RING_MESSAGE_MAX);
    else
        check_place(&got, before, before + moved);
    for (size_t i = 0; i < got.size; i++) /* a sanitizer looks at every byte */
        sum += ((const unsigned char *)got.data)[i];
    FUZZ_CHECK(sum <= 255 * got.size);
    return r;
}

static void receive_all(void)
{
    int messages = 0;
    while (receive_one() == 1)
        FUZZ_CHECK(++messages <= RAYI_CELLS);
}

/* What a node does besides. */
static void use_all(uint32_t slot, size_t size)
{
    static const unsigned char bytes[RAYI_RING_MESSAGE_MAX];
    uint64_t tail = atomic_load(&node->out.tail);
    bool can = rayi_channel_can_send(node, size);
    bool sent = rayi_channel_send(node, 1, bytes, size / 2, bytes, size - size / 2);
    FUZZ_CHECK(can == sent);
    FUZZ_CHECK(sent == (atomic_load(&node->out.tail) != tail));
    FUZZ_CHECK(atomic_load(&node->out.tail) - node->out.seen_head <= RAYI_CELLS);
    (void)rayi_channel_wants_room(node);
    FUZZ_CHECK(!rayi_channel_wants_room(node));
    rayi_channel_wake_worker(node);
    rayi_channel_arm(node);
    rayi_channel_poll_begin(node);
    rayi_channel_poll_end(node);
    rayi_offer_flag(node, slot, RAYI_OFFER_CANCEL);
    if (rayi_offer_revoke(node, slot))
        FUZZ_CHECK((rayi_offer_look(node, slot) & RAYI_OFFER_STATE) == RAYI_OFFER_REVOKED);
    rayi_offer_credit(node, slot, size);
    FUZZ_CHECK(rayi_offer_credit_of(node, slot) >= size);
}

static void lay_over_cells(fuzz_bytes *in)
{
    uint64_t first = fuzz_take(in, 2) % RAYI_CELLS;
    reset(first);
    size_t at = first * RAYI_CELL, size = in->left < RAYI_RING_BYTES ? in->left : RAYI_RING_BYTES;
    for (size_t i = 0; i < size; i++)
        memory->up_cells[(at + i) % RAYI_RING_BYTES] = in->at[i];
    atomic_store(&memory->up.tail, first + (size + RAYI_CELL - 1) / RAYI_CELL);
    receive_all();
}

static void write_message(fuzz_bytes *in)
{
    uint64_t count = atomic_load(&node->in.head) + fuzz_take(in, 1);
    uint64_t size = fuzz_take(in, 4), type = fuzz_take(in, 4), off = fuzz_take(in, 1);
    rayi_ring_header header = {(uint32_t)size, (uint32_t)type, count + (uint64_t)(int8_t)off};
    memcpy(memory->up_cells + count % RAYI_CELLS * RAYI_CELL, &header, sizeof header);
}

/* Fills up to the ring's end, as a sender would. */
static void write_filler(void)
{
    uint64_t count = atomic_load(&node->in.head), left = RAYI_CELLS - count % RAYI_CELLS;
    rayi_ring_header header = {(uint32_t)(left * RAYI_CELL - sizeof header), RAYI_RING_FILLER, count};
    memcpy(memory->up_cells + count % RAYI_CELLS * RAYI_CELL, &header, sizeof header);
}

/* A part of a long message, where the node reads next, as a sender writes and publishes it; or almost. */
static void write_part(fuzz_bytes *in)
{
    uint64_t how = fuzz_take(in, 1),
             size = how & 1 ? fuzz_take(in, 3) % (RAYI_RING_MESSAGE_MAX + 2) : RAYI_RING_MESSAGE_MAX;
    uint64_t count = atomic_load(&node->in.head), cells = (size + sizeof(rayi_ring_header) + RAYI_CELL - 1) / RAYI_CELL;
    uint32_t flags = (how & 2 ? RAYI_RING_MORE : 0) | (how & 4 ? RAYI_RING_REST : 0);
    if (RAYI_CELLS - count % RAYI_CELLS < cells) {
        write_filler();
        count += RAYI_CELLS - count % RAYI_CELLS;
    }
    rayi_ring_header header = {(uint32_t)size | flags, how & 8 ? (uint32_t)fuzz_take(in, 1) : 1, count};
    memcpy(memory->up_cells + count % RAYI_CELLS * RAYI_CELL, &header, sizeof header);
    atomic_store(&memory->up.tail, count + cells);
    if (how & 16)
        (void)receive_one();
}

/* The node's long message, as far as there is room: all of it is gone in the end, or the channel is broken. */
static void send_long(size_t size)
{
    static const unsigned char bytes[5 * RAYI_RING_MESSAGE_MAX];
    size_t sent = 0;
    while (!rayi_ring_broken(node) && !rayi_channel_send_long(node, 2, bytes, size, NULL, 0, &sent))
        atomic_store(&memory->down.head, atomic_load(&node->out.tail)); /* the worker takes all that is there */
    FUZZ_CHECK(sent == size || rayi_ring_broken(node));
    node->out.in_parts = false;
}

static void take_steps(fuzz_bytes *in)
{
    uint64_t value;
    reset(fuzz_take(in, 8));
    while (in->left > 0)
        switch (fuzz_take(in, 1) % 12) {
        case 0:
            write_message(in);
            break;
        case 1:
            write_filler();
            break;
        case 2: /* publish so many cells, or take some back */
            value = (uint64_t)(int16_t)fuzz_take(in, 2);
            atomic_store(&memory->up.tail, atomic_load(&memory->up.tail) + value);
            break;
        case 3:
            (void)receive_one();
            break;
        case 4:
            receive_all();
            break;
        case 5:
            value = fuzz_take(in, 2);
            use_all((uint32_t)value % RAYI_OFFERS, fuzz_take(in, 3) % (RAYI_RING_MESSAGE_MAX + 1));
            break;
        case 6: /* free so many cells of the ring down, or more */
            value = (uint64_t)(int16_t)fuzz_take(in, 2);
            atomic_store(&memory->down.head, atomic_load(&memory->down.head) + value);
            break;
        case 7:
            value = fuzz_take(in, 2);
            atomic_store(&memory->claim[value % RAYI_OFFERS], (uint32_t)fuzz_take(in, 4));
            break;
        case 8:
            value = fuzz_take(in, 2);
            memory->up_cells[value * 8 % RAYI_RING_BYTES] = (unsigned char)fuzz_take(in, 1);
            break;
        case 10:
            write_part(in);
            break;
        case 11:
            send_long(fuzz_take(in, 3) % (5 * RAYI_RING_MESSAGE_MAX));
            break;
        default:
            value = fuzz_take(in, 1);
            atomic_store(value % 2 ? &memory->up.tail : &memory->down.head, fuzz_take(in, 8));
        }
    receive_all();
    use_all(0, 100);
}

static void lay_over_counters(fuzz_bytes *in)
{
    reset(0);
    size_t offset = offsetof(rayi_ring_memory, bell), most = offsetof(rayi_ring_memory, down_cells) - offset;
    memcpy((unsigned char *)memory + offset, in->at, in->left < most ? in->left : most);
    receive_all();
    for (uint32_t slot = 0; slot < RAYI_OFFERS; slot += 93)
        use_all(slot, slot);
    receive_all();
}

static void lay_over_stamp(fuzz_bytes *in)
{
    rayi_channel *worker = NULL;
    reset(0);
    if (in->left > 0)
        memcpy(memory, in->at, in->left < sizeof stamp ? in->left : sizeof stamp);
    int fd = dup(rayi_channel_fd(node));
    int r = rayi_channel_open(rayi_heap, fd, &worker);
    FUZZ_CHECK(r == (memcmp(&memory->stamp, &stamp, sizeof stamp) ? RAY_ERR_CORRUPT : 0));
    if (r)
        close(fd);
    rayi_channel_free(worker);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const ways[])(fuzz_bytes *) = {lay_over_cells, take_steps, lay_over_counters, lay_over_stamp};
    fuzz_bytes in = {data, size};
    if (!node)
        start();
    ways[fuzz_take(&in, 1) % 4](&in);
    return 0;
}
