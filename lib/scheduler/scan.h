/* Reads the small texts that users write, and says where one went wrong. Inside scheduler only. */
#ifndef RAYI_SCHEDULER_SCAN_H
#define RAYI_SCHEDULER_SCAN_H

#include "base/base.h"

typedef struct rayi_scan {
    const char *what; /* "resources" */
    const char *text;
    size_t at;
    char *why;
    size_t why_size;
} rayi_scan;

typedef struct rayi_scan_word {
    const char *start;
    size_t size;
} rayi_scan_word;

void rayi_scan_spaces(rayi_scan *scan);
bool rayi_scan_end(rayi_scan *scan); /* spaces, then the end */
/* The character, if it comes next after spaces. */
bool rayi_scan_take(rayi_scan *scan, char wanted);
/* A name, key or value: anything but spaces, control characters and , = | ! " '. Else ARGUMENT; LIMIT above size_max.
 */
int rayi_scan_read_word(rayi_scan *scan, const char *expected, size_t size_max, rayi_scan_word *out);
/* Says: WHAT "TEXT": expected EXPECTED in column N, but came …. Returns ARGUMENT. */
int rayi_scan_unexpected(rayi_scan *scan, const char *expected);
/* Says: WHAT "TEXT": words. Returns code. */
int rayi_scan_fail(rayi_scan *scan, int code, const char *format, ...) RAY_PRINTF(3, 4);

bool rayi_scan_word_is(rayi_scan_word word, const char *text);
int rayi_scan_word_compare(rayi_scan_word a, rayi_scan_word b);
/* Copies word and a NUL to *room, which moves on; returns the copy. */
const char *rayi_scan_word_copy(rayi_scan_word word, char **room);

#endif
