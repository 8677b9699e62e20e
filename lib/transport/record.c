/* What a link carries once both ends know each other.
 *
 * Messages (size and type, 4 bytes each, then the bytes) stand one behind the other in a stream. With a key the stream
 * is cut into records: a length of 2 bytes and so many bytes, the last 16 of them the tag. A record may hold many small
 * messages, or a piece of a long one; where it ends means nothing. An empty one says that the sender's next record has
 * the next key (REKEY of Noise); the count of records goes on. Without a key there is the stream and nothing else, so
 * that the system can read a long message straight into its place.
 *
 * The one length that is read before it is proved is that of a record, at most 65,535; a message's size comes out of
 * records that were proved, and even so memory follows the bytes that arrive.
 *
 * Opening: where a record lies whole in what was read it is opened there, and so are its messages handed out; one that
 * is in the midst of a long message is opened straight into it, be that ours or memory that the user named for it.
 * Sealing: a record of a long message is sealed straight from the caller's bytes. So bulk is touched once each way, by
 * the cipher; and without one not at all, if it is lent: then it goes out from where it lies. */
#include "transport/inside.h"

#include <sodium.h>
#include <string.h>

enum {
    TAG = RAYI_NOISE_TAG,
    FULL = RAYI_RECORD_MAX - TAG, /* bytes in a full record; no more without a tag, so that chunks are alike */
    CHUNK = RAYI_RECORD_LENGTH + RAYI_RECORD_MAX,
    SMALL_CHUNK = 4096 - sizeof(rayi_chunk) - 16, /* with an allocator's own words, a page */
    FIRST_ROOM = 64 << 10,                        /* of a message that comes in pieces */
    KEPT_CHUNKS = 32
};

/* ---- opening ---- */

void rayi_opener_init(rayi_opener *opener, const rayi_cipher *cipher, uint32_t limit)
{
    *opener = (rayi_opener){.sealed = cipher != NULL, .limit = limit};
    if (cipher)
        opener->cipher = *cipher;
}

void rayi_opener_fini(rayi_opener *opener)
{
    rayi_free(opener->part);
    rayi_free(opener->body);
    sodium_memzero(opener, sizeof *opener);
    opener->stopped = true;
}

static void deliver_body(rayi_opener *opener)
{
    opener->in_body = false;
    if (!opener->dropped)
        opener->deliver(opener->arg, opener->type, opener->into, opener->size);
    if (opener->room > RAYI_KEEP_BYTES) {
        rayi_free(opener->body);
        opener->body = NULL;
        opener->room = 0;
    }
}

/* Room for size more bytes of the message. */
static int grow_body(rayi_opener *opener, size_t size)
{
    size_t room = RAYI_MAX(opener->arrived + size, RAYI_MAX(2 * opener->arrived, (size_t)FIRST_ROOM));
    uint8_t *body;
    if (opener->placed)
        return 0;
    opener->into = opener->body;
    if (opener->arrived + size <= opener->room)
        return 0;
    room = RAYI_MIN(room, opener->size);
    body = rayi_memory_realloc(rayi_heap, opener->body, room);
    if (!body)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a message of %u bytes", (unsigned)opener->size);
    opener->body = opener->into = body;
    opener->room = room;
    return 0;
}

static void advance(rayi_opener *opener, size_t size)
{
    opener->arrived += size;
    if (opener->arrived == opener->size)
        deliver_body(opener);
}

static int take_body(rayi_opener *opener, const uint8_t *bytes, size_t size)
{
    int r = opener->dropped ? 0 : grow_body(opener, size);
    if (r < 0)
        return r;
    if (!opener->dropped)
        memcpy(opener->into + opener->arrived, bytes, size);
    advance(opener, size);
    return 0;
}

/* The head is whole: asks where the message is to go. */
static int begin_message(rayi_opener *opener)
{
    opener->size = rayi_load_u32(opener->head);
    opener->type = rayi_load_u32(opener->head + 4);
    opener->head_size = 0;
    opener->arrived = 0;
    opener->placed = opener->dropped = false;
    if (opener->size > opener->limit)
        return rayi_fail(RAY_ERR_CORRUPT, "it sends a message of %u bytes, at most %u are accepted",
                         (unsigned)opener->size, (unsigned)opener->limit);
    if (opener->place && opener->size > 0) {
        opener->into = opener->place(opener->arg, opener->type, opener->size);
        opener->placed = opener->into != NULL;
    }
    return 0;
}

/* What follows a head: the message, if it lies whole in size bytes and has no other place. Returns its size then. */
static size_t take_whole(rayi_opener *opener, uint8_t *bytes, size_t size)
{
    opener->in_body = opener->placed || opener->size > size;
    if (opener->in_body || opener->stopped)
        return 0;
    opener->deliver(opener->arg, opener->type, bytes, opener->size);
    return opener->size;
}

/* The next bytes of the stream. */
static int take(rayi_opener *opener, uint8_t *bytes, size_t size)
{
    int r = 0;
    while (r == 0 && size > 0 && !opener->stopped) {
        size_t count;
        if (opener->in_body) {
            count = RAYI_MIN(opener->size - opener->arrived, size);
            r = take_body(opener, bytes, count);
        } else {
            count = RAYI_MIN(RAYI_MESSAGE_HEAD - opener->head_size, size);
            memcpy(opener->head + opener->head_size, bytes, count);
            opener->head_size += count;
            if (opener->head_size == RAYI_MESSAGE_HEAD) {
                r = begin_message(opener);
                if (r == 0)
                    count += take_whole(opener, bytes + count, size - count);
            }
        }
        bytes += count;
        size -= count;
    }
    return r;
}

static int not_next(void)
{
    return rayi_fail(RAY_ERR_CORRUPT, "what it sent is not the next record: changed, repeated or left out on the way");
}

/* A record without its length. */
static int open_record(rayi_opener *opener, uint8_t *bytes, size_t size)
{
    size_t inside = size - TAG;
    if (inside > 0 && opener->in_body && !opener->dropped && inside <= opener->size - opener->arrived) {
        int r = grow_body(opener, inside);
        if (r < 0)
            return r;
        if (!rayi_cipher_open(&opener->cipher, NULL, 0, bytes, size, opener->into + opener->arrived))
            return not_next();
        advance(opener, inside);
        return 0;
    }
    if (!rayi_cipher_open(&opener->cipher, NULL, 0, bytes, size, bytes))
        return not_next();
    if (inside == 0)
        rayi_cipher_rekey(&opener->cipher);
    return take(opener, bytes, inside);
}

static int check_length(size_t length)
{
    return length >= TAG ? 0
                         : rayi_fail(RAY_ERR_CORRUPT, "it sends a record of %zu bytes, expected %d to %d", length, TAG,
                                     RAYI_RECORD_MAX);
}

/* A record that does not lie whole in what was read. */
static int join(rayi_opener *opener, const uint8_t *bytes, size_t size, size_t *out_used)
{
    size_t used = 0;
    int r = 0;
    while (opener->part_size < RAYI_RECORD_LENGTH && used < size)
        opener->length[opener->part_size++] = bytes[used++];
    *out_used = used;
    if (opener->part_size < RAYI_RECORD_LENGTH)
        return 0;
    size_t length = rayi_load_u16(opener->length), have = opener->part_size - RAYI_RECORD_LENGTH;
    if (!opener->part) {
        r = check_length(length);
        if (r < 0)
            return r;
        opener->part = rayi_alloc(length);
        if (!opener->part)
            return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a record");
    }
    size_t count = RAYI_MIN(length - have, size - used);
    memcpy(opener->part + have, bytes + used, count);
    opener->part_size += count;
    *out_used = used + count;
    if (have + count == length) {
        opener->part_size = 0;
        r = open_record(opener, opener->part, length);
        rayi_free(opener->part);
        opener->part = NULL;
    }
    return r;
}

int rayi_opener_feed(rayi_opener *opener, uint8_t *bytes, size_t size_bytes)
{
    int r = 0;
    if (!opener->sealed)
        return take(opener, bytes, size_bytes);
    while (r == 0 && size_bytes > 0 && !opener->stopped) {
        size_t length = size_bytes < RAYI_RECORD_LENGTH ? 0 : rayi_load_u16(bytes), used = RAYI_RECORD_LENGTH + length;
        if (opener->part_size > 0 || size_bytes < used) {
            r = join(opener, bytes, size_bytes, &used);
        } else {
            r = check_length(length);
            if (r == 0)
                r = open_record(opener, bytes + RAYI_RECORD_LENGTH, length);
        }
        bytes += used;
        size_bytes -= used;
    }
    return r;
}

size_t rayi_opener_place(rayi_opener *opener, uint8_t **out)
{
    if (opener->sealed || opener->stopped || !opener->in_body || opener->dropped || grow_body(opener, 1) < 0)
        return 0;
    *out = opener->into + opener->arrived;
    return (opener->placed ? opener->size : RAYI_MIN(opener->size, opener->room)) - opener->arrived;
}

void rayi_opener_placed(rayi_opener *opener, size_t size_bytes)
{
    advance(opener, size_bytes);
}

void rayi_opener_drop(rayi_opener *opener)
{
    RAYI_ASSERT(opener->in_body && opener->placed);
    opener->dropped = true;
    opener->into = NULL;
}

void *rayi_opener_take(rayi_opener *opener, const void *bytes, size_t size_bytes)
{
    void *block = opener->body;
    if (bytes == block && block) {
        opener->body = NULL;
        opener->room = 0;
        return block;
    }
    block = rayi_alloc(RAYI_MAX(size_bytes, 1));
    if (block && size_bytes > 0)
        memcpy(block, bytes, size_bytes);
    return block;
}

/* ---- chunks ---- */

static rayi_chunk *new_chunk(rayi_chunks *chunks, size_t room)
{
    rayi_chunk *chunk = chunks->first;
    if (room == CHUNK && chunk) {
        chunks->first = chunk->next;
        chunks->count--;
    } else {
        chunk = rayi_alloc(sizeof *chunk + room);
    }
    if (chunk)
        *chunk = (rayi_chunk){.room = (uint32_t)room};
    return chunk;
}

static void free_chunk(rayi_chunks *chunks, rayi_chunk *chunk)
{
    if (chunk->room == CHUNK && chunks->count < KEPT_CHUNKS) {
        chunk->next = chunks->first;
        chunks->first = chunk;
        chunks->count++;
    } else {
        rayi_free(chunk);
    }
}

static void free_list(rayi_chunks *chunks, rayi_chunk **list)
{
    while (*list) {
        rayi_chunk *chunk = *list;
        *list = chunk->next;
        free_chunk(chunks, chunk);
    }
}

void rayi_chunks_fini(rayi_chunks *chunks)
{
    while (chunks->first) {
        rayi_chunk *chunk = chunks->first;
        chunks->first = chunk->next;
        rayi_free(chunk);
    }
    chunks->count = 0;
}

/* ---- sealing ---- */

void rayi_sealer_init(rayi_sealer *sealer, const rayi_cipher *cipher, rayi_chunks *chunks, int64_t now_ms)
{
    *sealer = (rayi_sealer){.sealed = cipher != NULL,
                            .chunks = chunks,
                            .rekeyed_ms = now_ms,
                            .rekey_ms = INT64_MAX,
                            .rekey_records = UINT64_MAX};
    if (cipher)
        sealer->cipher = *cipher;
}

void rayi_sealer_fini(rayi_sealer *sealer)
{
    if (!sealer->chunks)
        return; /* never begun */
    free_list(sealer->chunks, &sealer->first);
    free_list(sealer->chunks, &sealer->spare);
    free_list(sealer->chunks, &sealer->returned);
    sodium_memzero(sealer, sizeof *sealer);
}

/* What stands before a record's bytes. */
static uint32_t length_of(const rayi_sealer *sealer)
{
    return sealer->sealed ? RAYI_RECORD_LENGTH : 0;
}

/* For bytes of the stream: as many whether they are sealed or not, so that chunks are alike. */
static size_t room_in(const rayi_sealer *sealer, const rayi_chunk *chunk)
{
    return chunk->room - TAG - RAYI_RECORD_LENGTH - (chunk->size - length_of(sealer));
}

static rayi_chunk *append(rayi_sealer *sealer, rayi_chunk *chunk)
{
    if (sealer->first)
        sealer->last->next = chunk;
    else
        sealer->first = chunk;
    sealer->last = chunk;
    sealer->bytes += chunk->size;
    return chunk;
}

static rayi_chunk *append_spare(rayi_sealer *sealer)
{
    rayi_chunk *chunk = sealer->spare;
    sealer->spare = chunk->next;
    chunk->next = NULL;
    chunk->size = length_of(sealer);
    return append(sealer, chunk);
}

/* Makes the last chunk a record of size bytes from `from`, which may stand there already. */
static void seal_last(rayi_sealer *sealer, const void *from, size_t size)
{
    rayi_chunk *chunk = sealer->last;
    uint8_t *to = chunk->bytes + length_of(sealer);
    size_t before = chunk->size;
    if (sealer->sealed) {
        rayi_cipher_seal(&sealer->cipher, NULL, 0, from, size, to);
        size += TAG;
        rayi_store_u16(chunk->bytes, (uint16_t)size);
    } else if (from != to) {
        memcpy(to, from, size);
    }
    chunk->size = (uint32_t)(length_of(sealer) + size);
    sealer->bytes += chunk->size - before;
    sealer->records++;
    sealer->open = false;
}

static void seal_open(rayi_sealer *sealer)
{
    if (sealer->open)
        seal_last(sealer, sealer->last->bytes + length_of(sealer), sealer->last->size - length_of(sealer));
}

static void put(rayi_sealer *sealer, const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        size_t count;
        if (!sealer->open && size >= FULL) {
            count = FULL;
            append_spare(sealer);
            seal_last(sealer, bytes, count);
        } else {
            rayi_chunk *chunk = sealer->open ? sealer->last : append_spare(sealer);
            sealer->open = true;
            count = RAYI_MIN(room_in(sealer, chunk), size);
            memcpy(chunk->bytes + chunk->size, bytes, count);
            chunk->size += (uint32_t)count;
            sealer->bytes += count;
            if (room_in(sealer, chunk) == 0)
                seal_open(sealer);
        }
        bytes += count;
        size -= count;
    }
}

/* Spare chunks for so many bytes more: after that nothing can fail. The first after a pause is small. */
static int reserve(rayi_sealer *sealer, size_t size)
{
    size_t there = sealer->open ? room_in(sealer, sealer->last) : 0, missing = size > there ? size - there : 0;
    bool small = !sealer->first && size <= SMALL_CHUNK - RAYI_RECORD_LENGTH - TAG;
    for (size_t covered = 0; covered < missing; covered += FULL) {
        rayi_chunk *chunk = new_chunk(sealer->chunks, small ? SMALL_CHUNK : CHUNK);
        if (!chunk) {
            free_list(sealer->chunks, &sealer->spare);
            return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a message of %zu bytes to be sent", size);
        }
        chunk->next = sealer->spare;
        sealer->spare = chunk;
    }
    return 0;
}

/* Once it is due. Without memory for the record that says so it is due still. */
static void rekey(rayi_sealer *sealer, int64_t now_ms)
{
    rayi_chunk *chunk;
    if (!sealer->sealed || (sealer->records < sealer->rekey_records && now_ms - sealer->rekeyed_ms < sealer->rekey_ms))
        return;
    chunk = new_chunk(sealer->chunks, RAYI_RECORD_LENGTH + TAG);
    if (!chunk)
        return;
    seal_open(sealer);
    chunk->size = RAYI_RECORD_LENGTH;
    append(sealer, chunk);
    seal_last(sealer, chunk->bytes + RAYI_RECORD_LENGTH, 0);
    rayi_cipher_rekey(&sealer->cipher);
    sealer->records = 0;
    sealer->rekeyed_ms = now_ms;
}

static void put_head(rayi_sealer *sealer, uint32_t type, uint32_t size_bytes)
{
    uint8_t head[RAYI_MESSAGE_HEAD];
    rayi_store_u32(head, size_bytes);
    rayi_store_u32(head + 4, type);
    put(sealer, head, sizeof head);
}

int rayi_sealer_put(rayi_sealer *sealer, int64_t now_ms, uint32_t type, const struct iovec *parts, size_t num_parts,
                    uint32_t size_bytes)
{
    rekey(sealer, now_ms);
    int r = reserve(sealer, RAYI_MESSAGE_HEAD + (size_t)size_bytes);
    if (r < 0)
        return r;
    put_head(sealer, type, size_bytes);
    for (size_t i = 0; i < num_parts; i++)
        put(sealer, parts[i].iov_base, parts[i].iov_len);
    RAYI_ASSERT(!sealer->spare);
    return 0;
}

/* The chunk that stands for lent bytes comes behind the records they were sealed in, or has them. */
int rayi_sealer_lend(rayi_sealer *sealer, int64_t now_ms, uint32_t type, const void *bytes, uint32_t size_bytes)
{
    rekey(sealer, now_ms);
    int r = reserve(sealer, RAYI_MESSAGE_HEAD + (sealer->sealed ? (size_t)size_bytes : 0));
    if (r < 0)
        return r;
    rayi_chunk *chunk = new_chunk(sealer->chunks, 0);
    if (!chunk) {
        free_list(sealer->chunks, &sealer->spare);
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a message of %u bytes to be sent", (unsigned)size_bytes);
    }
    put_head(sealer, type, size_bytes);
    if (sealer->sealed)
        put(sealer, bytes, size_bytes);
    seal_open(sealer);
    chunk->is_lent = true;
    chunk->lent = bytes;
    chunk->size = sealer->sealed ? 0 : size_bytes;
    append(sealer, chunk);
    RAYI_ASSERT(!sealer->spare);
    return 0;
}

bool rayi_sealer_take_back(rayi_sealer *sealer, const void **out)
{
    rayi_chunk *chunk = sealer->returned;
    if (!chunk)
        return false;
    sealer->returned = chunk->next;
    *out = chunk->lent;
    rayi_free(chunk);
    return true;
}

size_t rayi_sealer_look(rayi_sealer *sealer, struct iovec *out, size_t room)
{
    size_t count = 0;
    seal_open(sealer);
    for (rayi_chunk *chunk = sealer->first; chunk && count < room; chunk = chunk->next) {
        const uint8_t *bytes = chunk->is_lent ? chunk->lent : chunk->bytes;
        if (chunk->size > chunk->sent)
            out[count++] = (struct iovec){(void *)(uintptr_t)(bytes + chunk->sent), chunk->size - chunk->sent};
    }
    return count;
}

static void give_back(rayi_sealer *sealer, rayi_chunk *chunk)
{
    rayi_chunk **end = sealer->returned ? &sealer->last_returned->next : &sealer->returned;
    chunk->next = NULL;
    *end = sealer->last_returned = chunk;
}

void rayi_sealer_sent(rayi_sealer *sealer, size_t size_bytes)
{
    sealer->bytes -= size_bytes;
    for (rayi_chunk *chunk = sealer->first; chunk; chunk = sealer->first) {
        size_t count = RAYI_MIN(chunk->size - chunk->sent, size_bytes);
        chunk->sent += (uint32_t)count;
        size_bytes -= count;
        if (chunk->sent < chunk->size)
            break;
        sealer->first = chunk->next;
        if (chunk->is_lent)
            give_back(sealer, chunk);
        else
            free_chunk(sealer->chunks, chunk);
    }
    RAYI_ASSERT(size_bytes == 0);
}
