/* Is this text one JSON value? */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>

bool json_is_valid(const char *text, size_t size_bytes);

#endif
