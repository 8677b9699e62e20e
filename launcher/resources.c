#include "resources.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* No name, and no label's value, has any of these; nor a control character. */
#define SPECIAL " ,=|!\"'"

enum { WORD_MAX = 255 };

static const struct {
    const char *name, *option;
} taken[] = {
    {"CPU", "num-cpus"}, {"GPU", "num-gpus"}, {"memory", "memory"}, {"object_store_memory", "object-store-memory"}};

static size_t word_size(const char *text)
{
    size_t size = 0;
    while ((unsigned char)text[size] >= ' ' && text[size] != 0x7f && !strchr(SPECIAL, text[size]))
        size++;
    return size;
}

typedef struct reason {
    char *words;
    size_t size;
} reason;

static bool check_name(const char *name, size_t size, reason why)
{
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        if (strlen(taken[i].name) != size || strncmp(taken[i].name, name, size) != 0)
            continue;
        snprintf(why.words, why.size, "%s has an option of its own, --%s", taken[i].name, taken[i].option);
        return false;
    }
    if (size > 0 && size <= WORD_MAX && word_size(name) >= size)
        return true;
    snprintf(why.words, why.size, "expected a name of 1 to %d bytes without blanks and , = | ! \" ', got \"%.*s\"",
             WORD_MAX, (int)(size < 60 ? size : 60), name);
    return false;
}

/* ---- NAME=VALUE, … ---- */

typedef struct grammar {
    const char *(*value_end)(const char *at); /* of the value that begins there; NULL: it is none */
    const char *value;                        /* "an amount" */
    bool (*check_name)(const char *name, size_t size, reason why);
} grammar;

typedef struct item {
    const char *name;
    size_t size;
} item;

static const char *skip_blanks(const char *at)
{
    return at + strspn(at, " ");
}

static bool say_expected(const char *what, const char *text, const char *at, reason why)
{
    size_t column = (size_t)(at - text) + 1;
    if (*at)
        snprintf(why.words, why.size, "expected %s in column %zu, got \"%.40s\"", what, column, at);
    else
        snprintf(why.words, why.size, "expected %s in column %zu, got nothing more", what, column);
    return false;
}

/* The item at *at, which moves behind its comma; NULL behind the last one. */
static bool next_item(const char *text, const char **at, const grammar *g, item *out, reason why)
{
    const char *p = skip_blanks(*at);
    *out = (item){.name = p, .size = word_size(p)};
    if (out->size == 0)
        return say_expected("a name", text, p, why);
    p = skip_blanks(p + out->size);
    if (*p != '=')
        return say_expected("'='", text, p, why);
    p = skip_blanks(p + 1);
    const char *end = g->value_end(p);
    if (!end)
        return say_expected(g->value, text, p, why);
    p = skip_blanks(end);
    if (*p && *p != ',')
        return say_expected("',' or the end", text, p, why);
    *at = *p ? p + 1 : NULL;
    return g->check_name(out->name, out->size, why);
}

static bool check_list(const char *text, const grammar *g, reason why)
{
    item one, other;
    for (const char *at = text; at;) {
        if (!next_item(text, &at, g, &one, why))
            return false;
        for (const char *before = text; next_item(text, &before, g, &other, why) && other.name != one.name;) {
            if (other.size != one.size || strncmp(other.name, one.name, one.size) != 0)
                continue;
            snprintf(why.words, why.size, "%.*s is named twice", (int)one.size, one.name);
            return false;
        }
    }
    return true;
}

/* "2", "0.5", "2GiB", "2 GiB" */
static const char *amount_end(const char *at)
{
    size_t whole = strspn(at, "0123456789");
    const char *p = at + whole;
    if (*p == '.') {
        size_t part = strspn(p + 1, "0123456789");
        if (part == 0 || part > 4)
            return NULL;
        p += 1 + part;
    }
    if (whole == 0 || whole > 15)
        return NULL;
    const char *unit = skip_blanks(p);
    if (*unit && strchr("KMGT", *unit))
        return strncmp(unit + 1, "iB", 2) == 0 ? unit + 3 : unit + 1;
    return p;
}

static const char *label_end(const char *at)
{
    size_t size = word_size(at);
    return size > 0 && size <= WORD_MAX ? at + size : NULL;
}

static bool any_name(const char *name, size_t size, reason why)
{
    snprintf(why.words, why.size, "expected a name of at most %d bytes, got \"%.60s\"", WORD_MAX, name);
    return size <= WORD_MAX;
}

bool check_labels(const char *text, char *why, size_t why_size)
{
    static const grammar labels = {label_end, "a label's value", any_name};
    return check_list(text, &labels, (reason){why, why_size});
}

/* ---- JSON ---- */

/* "0.5" of 0.5, without needless zeros. */
static void print_amount(double amount, char out[40])
{
    snprintf(out, 40, "%.4f", amount);
    char *end = out + strlen(out);
    while (end[-1] == '0')
        *--end = 0;
    if (end[-1] == '.')
        end[-1] = 0;
}

static char *print_list(json_t *object, reason why)
{
    const char *name;
    json_t *value;
    size_t size = 1;
    json_object_foreach(object, name, value) size += strlen(name) + sizeof ", =" + 40;
    char *out = calloc(1, size), *at = out;
    if (!out) {
        snprintf(why.words, why.size, "out of memory");
        return NULL;
    }
    json_object_foreach(object, name, value)
    {
        char amount[40];
        double number = json_number_value(value);
        if (!check_name(name, strlen(name), why))
            goto undo_out;
        if (!json_is_number(value) || !(number >= 0 && number < 1e15)) {
            char *dumped = json_dumps(value, JSON_ENCODE_ANY);
            snprintf(why.words, why.size, "expected a number from 0 on for \"%s\", got %.60s", name,
                     dumped ? dumped : "it");
            free(dumped);
            goto undo_out;
        }
        print_amount(number, amount);
        at += sprintf(at, "%s%s=%s", at == out ? "" : ", ", name, amount);
    }
    return out;

undo_out:
    free(out);
    return NULL;
}

static char *read_json(const char *text, reason why)
{
    json_error_t error;
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (!object) {
        snprintf(why.words, why.size, "expected JSON, as in {\"disk\": 2}: %s, in line %d, column %d", error.text,
                 error.line, error.column);
        return NULL;
    }
    char *out = print_list(object, why); /* it began with a brace */
    json_decref(object);
    return out;
}

char *read_resources(const char *text, char *why, size_t why_size)
{
    static const grammar resources = {amount_end, "an amount (2, 0.5 or 2GiB)", check_name};
    if (*skip_blanks(text) == '{')
        return read_json(text, (reason){why, why_size});
    if (!check_list(text, &resources, (reason){why, why_size}))
        return NULL;
    char *copy = strdup(text);
    if (!copy)
        snprintf(why, why_size, "out of memory");
    return copy;
}
