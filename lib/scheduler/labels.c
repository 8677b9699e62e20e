/* As resources.c: read into arrays on the stack, then copied into one block. */
#include "scheduler/labels.h"

#include "scheduler/scan.h"

typedef struct pair {
    rayi_scan_word key, value;
} pair;

typedef struct pairs {
    pair items[RAYI_LABELS_MAX];
    uint32_t count;
} pairs;

/* ---- labels of a node ---- */

static int read_label(rayi_scan *scan, pair *out)
{
    int r = rayi_scan_read_word(scan, "a label's key", RAYI_LABEL_WORD_MAX, &out->key);
    if (r)
        return r;
    if (!rayi_scan_take(scan, '='))
        return rayi_scan_unexpected(scan, "'='");
    return rayi_scan_read_word(scan, "a label's value", RAYI_LABEL_WORD_MAX, &out->value);
}

static int insert_label(rayi_scan *scan, pairs *list, pair item)
{
    if (list->count == RAYI_LABELS_MAX)
        return rayi_scan_fail(scan, RAY_ERR_LIMIT, "more than %d labels", RAYI_LABELS_MAX);
    uint32_t at = list->count;
    for (; at > 0; at--) {
        int order = rayi_scan_word_compare(list->items[at - 1].key, item.key);
        if (order == 0)
            return rayi_scan_fail(scan, RAY_ERR_ARGUMENT, "%.*s is named twice", (int)item.key.size, item.key.start);
        if (order < 0)
            break;
    }
    memmove(&list->items[at + 1], &list->items[at], (list->count - at) * sizeof(pair));
    list->items[at] = item;
    list->count++;
    return 0;
}

static int read_labels(rayi_scan *scan, pairs *list)
{
    if (rayi_scan_end(scan))
        return 0;
    do {
        pair item;
        int r = read_label(scan, &item);
        if (!r)
            r = insert_label(scan, list, item);
        if (r)
            return r;
    } while (rayi_scan_take(scan, ','));
    return rayi_scan_end(scan) ? 0 : rayi_scan_unexpected(scan, "','");
}

static void append(char **room, const char *text)
{
    size_t size = strlen(text);
    memcpy(*room, text, size + 1);
    *room += size;
}

static int build_labels(const rayi_memory *memory, const pairs *list, rayi_labels **out)
{
    size_t size = sizeof(rayi_labels) + list->count * sizeof(rayi_label) + 1;
    for (uint32_t i = 0; i < list->count; i++) /* both words twice, with "=" and ", " or a NUL each */
        size += 2 * (list->items[i].key.size + list->items[i].value.size) + 6;
    rayi_labels *made = rayi_memory_alloc(memory, size);
    if (!made)
        return RAY_ERR_NO_MEMORY;
    rayi_label *items = (rayi_label *)(made + 1);
    char *room = (char *)(items + list->count);
    for (uint32_t i = 0; i < list->count; i++) {
        items[i].key = rayi_scan_word_copy(list->items[i].key, &room);
        items[i].value = rayi_scan_word_copy(list->items[i].value, &room);
    }
    *made = (rayi_labels){.text = room, .items = items, .count = list->count};
    *room = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        append(&room, i ? ", " : "");
        append(&room, items[i].key);
        append(&room, "=");
        append(&room, items[i].value);
    }
    *out = made;
    return 0;
}

int rayi_labels_parse(const rayi_memory *memory, const char *text, rayi_labels **out, char *why, size_t why_size)
{
    rayi_scan scan = {.what = "labels", .text = text ? text : "", .why = why, .why_size = why_size};
    pairs list;
    list.count = 0;
    int r = read_labels(&scan, &list);
    if (r)
        return r;
    r = build_labels(memory, &list, out);
    return r ? rayi_scan_fail(&scan, r, "out of memory") : 0;
}

void rayi_labels_free(const rayi_memory *memory, rayi_labels *labels)
{
    rayi_memory_free(memory, labels);
}

/* ---- selectors ---- */

typedef struct raw_term {
    rayi_selector_test test;
    rayi_scan_word key;
    uint32_t first_value, value_count;
} raw_term;

typedef struct raw_selector {
    raw_term terms[RAYI_LABELS_MAX];
    rayi_scan_word values[RAYI_LABELS_MAX];
    uint32_t term_count, value_count;
} raw_selector;

static int read_values(rayi_scan *scan, raw_selector *raw, raw_term *term)
{
    term->first_value = raw->value_count;
    do {
        if (raw->value_count == RAYI_LABELS_MAX)
            return rayi_scan_fail(scan, RAY_ERR_LIMIT, "more than %d values", RAYI_LABELS_MAX);
        int r = rayi_scan_read_word(scan, "a label's value", RAYI_LABEL_WORD_MAX, &raw->values[raw->value_count]);
        if (r)
            return r;
        raw->value_count++;
        term->value_count++;
    } while (rayi_scan_take(scan, '|'));
    return 0;
}

static int read_term(rayi_scan *scan, raw_selector *raw, raw_term *term)
{
    *term = (raw_term){.test = rayi_scan_take(scan, '!') ? RAYI_SELECTOR_NOT_EXISTS : RAYI_SELECTOR_EXISTS};
    int r = rayi_scan_read_word(scan, "a label's key", RAYI_LABEL_WORD_MAX, &term->key);
    if (r || term->test == RAYI_SELECTOR_NOT_EXISTS)
        return r;
    if (rayi_scan_take(scan, '=')) {
        term->test = RAYI_SELECTOR_IN;
        return read_values(scan, raw, term);
    }
    if (!rayi_scan_take(scan, '!'))
        return 0;
    if (!rayi_scan_take(scan, '='))
        return rayi_scan_unexpected(scan, "'=' after '!'");
    term->test = RAYI_SELECTOR_NOT_IN;
    return read_values(scan, raw, term);
}

static int read_selector(rayi_scan *scan, raw_selector *raw)
{
    if (rayi_scan_end(scan))
        return 0;
    do {
        if (raw->term_count == RAYI_LABELS_MAX)
            return rayi_scan_fail(scan, RAY_ERR_LIMIT, "more than %d terms", RAYI_LABELS_MAX);
        int r = read_term(scan, raw, &raw->terms[raw->term_count]);
        if (r)
            return r;
        raw->term_count++;
    } while (rayi_scan_take(scan, ','));
    return rayi_scan_end(scan) ? 0 : rayi_scan_unexpected(scan, "','");
}

/* "zone=eu|us" */
static void append_term(char **room, const rayi_selector_term *term)
{
    static const char *const between[] = {[RAYI_SELECTOR_IN] = "=",
                                          [RAYI_SELECTOR_NOT_IN] = "!=",
                                          [RAYI_SELECTOR_EXISTS] = "",
                                          [RAYI_SELECTOR_NOT_EXISTS] = ""};
    append(room, term->test == RAYI_SELECTOR_NOT_EXISTS ? "!" : "");
    append(room, term->key);
    append(room, between[term->test]);
    for (uint32_t i = 0; i < term->value_count; i++) {
        append(room, i ? "|" : "");
        append(room, term->values[i]);
    }
}

static size_t selector_size(const raw_selector *raw)
{
    size_t size =
        sizeof(rayi_selector) + raw->term_count * sizeof(rayi_selector_term) + raw->value_count * sizeof(char *) + 1;
    for (uint32_t i = 0; i < raw->term_count; i++) /* the word itself, in its term's text and in the whole text */
        size += 3 * raw->terms[i].key.size + 1 + 3 + 5;
    for (uint32_t i = 0; i < raw->value_count; i++)
        size += 3 * raw->values[i].size + 1 + 1 + 1;
    return size;
}

static void build_terms(const raw_selector *raw, rayi_selector_term *terms, const char **values, char **room)
{
    for (uint32_t i = 0; i < raw->value_count; i++)
        values[i] = rayi_scan_word_copy(raw->values[i], room);
    for (uint32_t i = 0; i < raw->term_count; i++) {
        const raw_term *from = &raw->terms[i];
        terms[i] = (rayi_selector_term){.test = from->test,
                                        .key = rayi_scan_word_copy(from->key, room),
                                        .values = values + from->first_value,
                                        .value_count = from->value_count};
        terms[i].text = *room;
        append_term(room, &terms[i]);
        (*room)++; /* its NUL */
    }
}

static int build_selector(const rayi_memory *memory, const raw_selector *raw, rayi_selector **out)
{
    rayi_selector *made = rayi_memory_alloc(memory, selector_size(raw));
    if (!made)
        return RAY_ERR_NO_MEMORY;
    rayi_selector_term *terms = (rayi_selector_term *)(made + 1);
    const char **values = (const char **)(terms + raw->term_count);
    char *room = (char *)(values + raw->value_count);
    build_terms(raw, terms, values, &room);
    *made = (rayi_selector){.text = room, .terms = terms, .count = raw->term_count};
    *room = 0;
    for (uint32_t i = 0; i < raw->term_count; i++) {
        append(&room, i ? ", " : "");
        append(&room, terms[i].text);
    }
    *out = made;
    return 0;
}

int rayi_selector_parse(const rayi_memory *memory, const char *text, rayi_selector **out, char *why, size_t why_size)
{
    rayi_scan scan = {.what = "labels", .text = text ? text : "", .why = why, .why_size = why_size};
    raw_selector raw;
    raw.term_count = raw.value_count = 0;
    int r = read_selector(&scan, &raw);
    if (r)
        return r;
    r = build_selector(memory, &raw, out);
    return r ? rayi_scan_fail(&scan, r, "out of memory") : 0;
}

void rayi_selector_free(const rayi_memory *memory, rayi_selector *selector)
{
    rayi_memory_free(memory, selector);
}

/* ---- matching ---- */

static const char *value_of(const rayi_labels *labels, const char *key)
{
    for (uint32_t i = 0; labels && i < labels->count; i++)
        if (strcmp(labels->items[i].key, key) == 0)
            return labels->items[i].value;
    return NULL;
}

static bool among(const rayi_selector_term *term, const char *value)
{
    for (uint32_t i = 0; value && i < term->value_count; i++)
        if (strcmp(term->values[i], value) == 0)
            return true;
    return false;
}

static bool holds(const rayi_selector_term *term, const char *value)
{
    switch (term->test) {
    case RAYI_SELECTOR_IN:
        return among(term, value);
    case RAYI_SELECTOR_NOT_IN:
        return !among(term, value);
    case RAYI_SELECTOR_EXISTS:
        return value != NULL;
    case RAYI_SELECTOR_NOT_EXISTS:
        return value == NULL;
    }
    RAYI_ASSERT(!"a selector has one of four tests");
}

const rayi_selector_term *rayi_selector_unmet(const rayi_selector *selector, const rayi_labels *labels)
{
    for (uint32_t i = 0; selector && i < selector->count; i++)
        if (!holds(&selector->terms[i], value_of(labels, selector->terms[i].key)))
            return &selector->terms[i];
    return NULL;
}
