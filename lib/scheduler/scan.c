#include "scheduler/scan.h"

#include <stdarg.h>
#include <stdio.h>

void rayi_scan_spaces(rayi_scan *scan)
{
    while (scan->text[scan->at] == ' ' || scan->text[scan->at] == '\t' || scan->text[scan->at] == '\n')
        scan->at++;
}

bool rayi_scan_end(rayi_scan *scan)
{
    rayi_scan_spaces(scan);
    return !scan->text[scan->at];
}

bool rayi_scan_take(rayi_scan *scan, char wanted)
{
    rayi_scan_spaces(scan);
    if (scan->text[scan->at] != wanted)
        return false;
    scan->at++;
    return true;
}

static bool in_word(char c)
{
    return (unsigned char)c > ' ' && c != 127 && !strchr(",=|!\"'", c);
}

int rayi_scan_read_word(rayi_scan *scan, const char *expected, size_t size_max, rayi_scan_word *out)
{
    rayi_scan_spaces(scan);
    rayi_scan_word word = {scan->text + scan->at, 0};
    while (in_word(word.start[word.size]))
        word.size++;
    if (word.size == 0)
        return rayi_scan_unexpected(scan, expected);
    if (word.size > size_max)
        return rayi_scan_fail(scan, RAY_ERR_LIMIT, "%s in column %zu has %zu bytes, at most %zu are allowed", expected,
                              scan->at + 1, word.size, size_max);
    scan->at += word.size;
    *out = word;
    return 0;
}

int rayi_scan_unexpected(rayi_scan *scan, const char *expected)
{
    unsigned char c = (unsigned char)scan->text[scan->at];
    size_t column = scan->at + 1;
    if (!c)
        return rayi_scan_fail(scan, RAY_ERR_ARGUMENT, "expected %s in column %zu, but the text ends", expected, column);
    if (c < ' ' || c >= 127)
        return rayi_scan_fail(scan, RAY_ERR_ARGUMENT, "expected %s in column %zu, but came byte 0x%02X", expected,
                              column, c);
    return rayi_scan_fail(scan, RAY_ERR_ARGUMENT, "expected %s in column %zu, but came '%c'", expected, column, c);
}

int rayi_scan_fail(rayi_scan *scan, int code, const char *format, ...)
{
    enum { SHOWN = 80 }; /* of a long text its beginning is enough: the column tells the rest */
    if (!scan->why_size)
        return code;
    int n = snprintf(scan->why, scan->why_size, "%s \"%.*s%s\": ", scan->what, SHOWN, scan->text,
                     strlen(scan->text) > SHOWN ? "…" : "");
    if (n < 0 || (size_t)n >= scan->why_size)
        return code;
    va_list args;
    va_start(args, format);
    vsnprintf(scan->why + n, scan->why_size - (size_t)n, format, args);
    va_end(args);
    return code;
}

bool rayi_scan_word_is(rayi_scan_word word, const char *text)
{
    return strlen(text) == word.size && memcmp(word.start, text, word.size) == 0;
}

int rayi_scan_word_compare(rayi_scan_word a, rayi_scan_word b)
{
    int r = memcmp(a.start, b.start, RAYI_MIN(a.size, b.size));
    return r ? r : (a.size > b.size) - (a.size < b.size);
}

const char *rayi_scan_word_copy(rayi_scan_word word, char **room)
{
    char *copy = *room;
    memcpy(copy, word.start, word.size);
    copy[word.size] = 0;
    *room += word.size + 1;
    return copy;
}
