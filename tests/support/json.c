/* A recursive descent over RFC 8259, without building anything. Each function returns the end of what it read or NULL.
 */
#include "json.h"

#include <string.h>

enum { MAX_DEPTH = 64 };

static const char *read_value(const char *s, const char *end, int depth);

static const char *skip_blanks(const char *s, const char *end)
{
    while (s < end && (*s == ' ' || *s == '\t' || *s == '\n' || *s == '\r'))
        s++;
    return s;
}

static bool is_digit(const char *s, const char *end)
{
    return s < end && *s >= '0' && *s <= '9';
}

static bool is_hex(const char *s, const char *end)
{
    return is_digit(s, end) || (s < end && ((*s >= 'a' && *s <= 'f') || (*s >= 'A' && *s <= 'F')));
}

static const char *read_string(const char *s, const char *end)
{
    if (s == end || *s++ != '"')
        return NULL;
    for (; s < end && *s != '"'; s++) {
        if ((unsigned char)*s < 0x20)
            return NULL;
        if (*s != '\\')
            continue;
        if (++s == end || !strchr("\"\\/bfnrtu", *s))
            return NULL;
        for (int i = 0; *s == 'u' && i < 4; i++)
            if (!is_hex(s + 1 + i, end))
                return NULL;
    }
    return s < end ? s + 1 : NULL;
}

static const char *read_digits(const char *s, const char *end)
{
    if (!is_digit(s, end))
        return NULL;
    while (is_digit(s, end))
        s++;
    return s;
}

static const char *read_number(const char *s, const char *end)
{
    if (s < end && *s == '-')
        s++;
    s = s < end && *s == '0' ? s + 1 : read_digits(s, end);
    if (s && s < end && *s == '.')
        s = read_digits(s + 1, end);
    if (s && s < end && (*s == 'e' || *s == 'E')) {
        s++;
        if (s < end && (*s == '+' || *s == '-'))
            s++;
        s = read_digits(s, end);
    }
    return s;
}

static const char *read_word(const char *s, const char *end, const char *word)
{
    size_t size = strlen(word);
    return (size_t)(end - s) >= size && memcmp(s, word, size) == 0 ? s + size : NULL;
}

/* The members of an object or array up to its closing bracket. */
static const char *read_members(const char *s, const char *end, char close, int depth)
{
    s = skip_blanks(s + 1, end);
    if (s < end && *s == close)
        return s + 1;
    while (s < end) {
        if (close == '}') {
            s = read_string(skip_blanks(s, end), end);
            s = s ? skip_blanks(s, end) : NULL;
            if (!s || s == end || *s++ != ':')
                return NULL;
        }
        s = read_value(s, end, depth + 1);
        if (!s || s == end)
            return NULL;
        if (*s == close)
            return s + 1;
        if (*s++ != ',')
            return NULL;
    }
    return NULL;
}

/* With the blanks around it. */
static const char *read_value(const char *s, const char *end, int depth)
{
    s = skip_blanks(s, end);
    if (s == end || depth > MAX_DEPTH)
        return NULL;
    switch (*s) {
    case '{':
        s = read_members(s, end, '}', depth);
        break;
    case '[':
        s = read_members(s, end, ']', depth);
        break;
    case '"':
        s = read_string(s, end);
        break;
    case 't':
        s = read_word(s, end, "true");
        break;
    case 'f':
        s = read_word(s, end, "false");
        break;
    case 'n':
        s = read_word(s, end, "null");
        break;
    default:
        s = read_number(s, end);
    }
    return s ? skip_blanks(s, end) : NULL;
}

bool json_is_valid(const char *text, size_t size_bytes)
{
    return read_value(text, text + size_bytes, 0) == text + size_bytes;
}
