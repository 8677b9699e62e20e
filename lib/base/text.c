#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void rayi_text_init(rayi_text *text, const rayi_memory *memory)
{
    *text = (rayi_text){.memory = memory};
}

void rayi_text_fini(rayi_text *text)
{
    rayi_memory_free(text->memory, text->data);
    *text = (rayi_text){.memory = text->memory};
}

static void fail(rayi_text *text)
{
    rayi_text_fini(text);
    text->failed = true;
}

/* Room for size_bytes more and a NUL. */
static bool reserve(rayi_text *text, size_t size_bytes)
{
    size_t room = text->room ? text->room : 64;
    char *data;

    if (text->failed)
        return false;
    if (text->data && text->size + size_bytes < text->room)
        return true;
    while (room <= text->size + size_bytes)
        room *= 2;
    data = rayi_memory_realloc(text->memory, text->data, room);
    if (!data) {
        fail(text);
        return false;
    }
    text->data = data;
    text->room = room;
    return true;
}

void rayi_text_add_bytes(rayi_text *text, const void *bytes, size_t size_bytes)
{
    if (!reserve(text, size_bytes))
        return;
    if (size_bytes > 0)
        memcpy(text->data + text->size, bytes, size_bytes);
    text->size += size_bytes;
    text->data[text->size] = 0;
}

void rayi_text_add(rayi_text *text, const char *words)
{
    rayi_text_add_bytes(text, words, strlen(words));
}

void rayi_text_printf(rayi_text *text, const char *format, ...)
{
    va_list args, again;
    int size;

    va_start(args, format);
    va_copy(again, args);
    size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (size >= 0 && reserve(text, (size_t)size)) {
        vsnprintf(text->data + text->size, (size_t)size + 1, format, again);
        text->size += (size_t)size;
    }
    va_end(again);
}

/* Bytes of the character that begins there, 0: it is no valid UTF-8. */
static size_t character(const char *at)
{
    const unsigned char *c = (const unsigned char *)at;
    size_t size = c[0] < 0x80 ? 1 : c[0] < 0xc2 ? 0 : c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : c[0] < 0xf5 ? 4 : 0;

    for (size_t i = 1; i < size; i++)
        if ((c[i] & 0xc0) != 0x80)
            return 0;
    if ((c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] >= 0xa0) || (c[0] == 0xf0 && c[1] < 0x90) ||
        (c[0] == 0xf4 && c[1] >= 0x90))
        return 0;
    return size;
}

void rayi_text_add_json(rayi_text *text, const char *words)
{
    size_t size;

    if (!words) {
        rayi_text_add(text, "null");
        return;
    }
    rayi_text_add(text, "\"");
    for (const char *c = words; *c; c += size ? size : 1) {
        size = character(c);
        if (*c == '"' || *c == '\\')
            rayi_text_printf(text, "\\%c", *c);
        else if ((unsigned char)*c < 0x20)
            rayi_text_printf(text, "\\u%04x", (unsigned)(unsigned char)*c);
        else if (size > 0)
            rayi_text_add_bytes(text, c, size);
        else
            rayi_text_add(text, "\xef\xbf\xbd"); /* U+FFFD */
    }
    rayi_text_add(text, "\"");
}
