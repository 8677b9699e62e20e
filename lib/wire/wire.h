/* wire: what messages look like. A writer that grows, a reader that never reads past its end, and the messages between
 * a node and its worker processes.
 *
 * The reader works on bytes that nobody else can write meanwhile (the channel copies a message before it hands it out).
 * Numbers are in the byte order of the machine: both ends are processes of one machine, of one version of the library,
 * which the worker's first message proves. Whatever is taken from a reader that has failed is 0, empty or NULL, so a
 * parser may read a whole message and look at `failed` once; counts are compared with the bytes that are left before
 * anything is allocated for them. */
#ifndef RAYI_WIRE_H
#define RAYI_WIRE_H

#include "base/base.h"
#include "wire/worker.h"

#include <ray/ray.h>
#include <string.h>

/* ---- writing ---- */

typedef struct rayi_writer {
    char *data; /* small, or the heap's */
    size_t size, room;
    bool failed; /* out of memory: the bytes are not whole */
    char small[1024];
} rayi_writer;

static inline void rayi_writer_init(rayi_writer *writer)
{
    writer->data = writer->small;
    writer->size = 0;
    writer->room = sizeof writer->small;
    writer->failed = false;
}
void rayi_writer_fini(rayi_writer *writer);
void *rayi_writer_grow(rayi_writer *writer, size_t size_bytes); /* where so many bytes more go; NULL: failed */

static inline void rayi_put_bytes(rayi_writer *writer, const void *bytes, size_t size_bytes)
{
    void *at =
        size_bytes <= writer->room - writer->size ? writer->data + writer->size : rayi_writer_grow(writer, size_bytes);

    if (at && size_bytes > 0)
        memcpy(at, bytes, size_bytes);
    writer->size += at ? size_bytes : 0;
}
static inline void rayi_put_u8(rayi_writer *writer, uint8_t number)
{
    rayi_put_bytes(writer, &number, sizeof number);
}
static inline void rayi_put_u32(rayi_writer *writer, uint32_t number)
{
    rayi_put_bytes(writer, &number, sizeof number);
}
static inline void rayi_put_u64(rayi_writer *writer, uint64_t number)
{
    rayi_put_bytes(writer, &number, sizeof number);
}
static inline void rayi_put_i64(rayi_writer *writer, int64_t number)
{
    rayi_put_bytes(writer, &number, sizeof number);
}
void rayi_put_text(rayi_writer *writer, const char *text); /* NULL is kept apart from "" */

/* ---- reading ---- */

typedef struct rayi_reader {
    const char *at, *end;
    bool failed;
} rayi_reader;

static inline rayi_reader rayi_reader_of(const void *bytes, size_t size_bytes)
{
    return (rayi_reader){.at = bytes, .end = (const char *)bytes + size_bytes};
}
static inline size_t rayi_reader_left(const rayi_reader *reader)
{
    return (size_t)(reader->end - reader->at);
}
/* The next size_bytes bytes; NULL: there are not so many, the reader has failed. */
static inline const void *rayi_take_bytes(rayi_reader *reader, size_t size_bytes)
{
    const void *bytes = reader->at;

    if (reader->failed || size_bytes > rayi_reader_left(reader)) {
        reader->failed = true;
        return NULL;
    }
    reader->at += size_bytes;
    return bytes;
}
static inline uint8_t rayi_take_u8(rayi_reader *reader)
{
    const void *bytes = rayi_take_bytes(reader, 1);

    return bytes ? *(const uint8_t *)bytes : 0;
}
static inline uint32_t rayi_take_u32(rayi_reader *reader)
{
    const void *bytes = rayi_take_bytes(reader, sizeof(uint32_t));
    uint32_t number = 0;

    if (bytes)
        memcpy(&number, bytes, sizeof number);
    return number;
}
static inline uint64_t rayi_take_u64(rayi_reader *reader)
{
    const void *bytes = rayi_take_bytes(reader, sizeof(uint64_t));
    uint64_t number = 0;

    if (bytes)
        memcpy(&number, bytes, sizeof number);
    return number;
}
static inline int64_t rayi_take_i64(rayi_reader *reader)
{
    return (int64_t)rayi_take_u64(reader);
}
/* A number of things of at least so many bytes each: fails if they cannot be there. */
uint32_t rayi_take_count(rayi_reader *reader, size_t least_bytes_each);
/* A text with its NUL inside the message; NULL: it was NULL, or the reader has failed. */
const char *rayi_take_text(rayi_reader *reader);

/* ---- what ray_cluster_get gives: u32 count of nodes, each texts id, address, labels, u8 state, u8 is head, u8 is
 * driver, resources; then the sums, resources. resources: u32 count, each text name, 8 bytes double total, 8 available
 * ---- */

void rayi_put_cluster(rayi_writer *writer, const ray_cluster *cluster);
/* Its pieces, for who has no ray_cluster. */
void rayi_put_node(rayi_writer *writer, const ray_node *node);
void rayi_put_resource(rayi_writer *writer, const ray_resource *resource);
/* All of the reader's bytes; one allocation, for rayi_free. NULL: CORRUPT, NO_MEMORY. */
ray_cluster *rayi_take_cluster(rayi_reader *reader);

#endif
