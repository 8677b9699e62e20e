/* Text that grows: for messages, signatures and JSON. Once an allocation has failed the text stays failed and empty. */
#ifndef RAYI_TEXT_H
#define RAYI_TEXT_H

#include "base/memory.h"

typedef struct rayi_text {
    const rayi_memory *memory;
    char *data; /* ends in NUL, or NULL while empty */
    size_t size, room;
    bool failed;
} rayi_text;

void rayi_text_init(rayi_text *text, const rayi_memory *memory);
void rayi_text_fini(rayi_text *text);
void rayi_text_add(rayi_text *text, const char *words);
void rayi_text_add_bytes(rayi_text *text, const void *bytes, size_t size_bytes);
void rayi_text_printf(rayi_text *text, const char *format, ...) RAY_PRINTF(2, 3);
void rayi_text_add_json(rayi_text *text, const char *words); /* quoted and escaped, what is no UTF-8
                                                                replaced; NULL becomes null */

#endif
