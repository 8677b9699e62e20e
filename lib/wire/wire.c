#include "wire/wire.h"

#define NO_TEXT UINT32_MAX

void rayi_writer_fini(rayi_writer *writer)
{
    if (writer->data != writer->small)
        rayi_free(writer->data);
    rayi_writer_init(writer);
}

void *rayi_writer_grow(rayi_writer *writer, size_t size_bytes)
{
    size_t room = RAYI_MAX(writer->room * 2, writer->size + size_bytes);
    char *data;

    if (writer->failed)
        return NULL;
    if (size_bytes > writer->room - writer->size) {
        data = writer->data == writer->small ? rayi_alloc(room) : rayi_memory_realloc(rayi_heap, writer->data, room);
        if (!data) {
            writer->failed = true;
            return NULL;
        }
        if (writer->data == writer->small)
            memcpy(data, writer->small, writer->size);
        writer->data = data;
        writer->room = room;
    }
    return writer->data + writer->size;
}

void rayi_put_text(rayi_writer *writer, const char *text)
{
    size_t size = text ? strlen(text) : 0;

    rayi_put_u32(writer, text ? (uint32_t)size : NO_TEXT);
    if (text)
        rayi_put_bytes(writer, text, size + 1);
}

uint32_t rayi_take_count(rayi_reader *reader, size_t least_bytes_each)
{
    uint32_t count = rayi_take_u32(reader);

    if (count <= rayi_reader_left(reader) / least_bytes_each)
        return count;
    reader->failed = true;
    return 0;
}

const char *rayi_take_text(rayi_reader *reader)
{
    uint32_t size = rayi_take_u32(reader);
    const char *text;

    if (size == NO_TEXT || reader->failed)
        return NULL;
    text = rayi_take_bytes(reader, (size_t)size + 1);
    if (!text || memchr(text, 0, (size_t)size + 1) != text + size) {
        reader->failed = true;
        return NULL;
    }
    return text;
}
