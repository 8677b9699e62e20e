/* A text is read into a small array on the stack, completed from the defaults, sorted, and copied into one block. */
#include "scheduler/resources.h"

#include <inttypes.h>
#include <stdio.h>

#include "scheduler/scan.h"

static const rayi_resource one_cpu = {"CPU", RAYI_RESOURCE_UNIT};
const rayi_resources rayi_resources_one_cpu = {.text = "CPU=1", .items = &one_cpu, .count = 1};

typedef struct entry {
    rayi_scan_word name;
    int64_t amount;
} entry;

typedef struct entries {
    entry items[RAYI_RESOURCES_MAX];
    uint32_t count;
} entries;

static const struct unit {
    const char *name, *alias;
    int64_t times;
} units[] = {
    {"KiB", "K", INT64_C(1) << 10},
    {"MiB", "M", INT64_C(1) << 20},
    {"GiB", "G", INT64_C(1) << 30},
    {"TiB", "T", INT64_C(1) << 40},
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits, and after a point at most four that are not 0, in RAYI_RESOURCE_UNIT. */
static int read_number(rayi_scan *scan, int64_t *out)
{
    rayi_scan_spaces(scan);
    size_t column = scan->at + 1;
    int64_t amount = 0, step = RAYI_RESOURCE_UNIT;
    bool overflow = false;
    if (!is_digit(scan->text[scan->at]))
        return rayi_scan_unexpected(scan, "a number");
    for (; is_digit(scan->text[scan->at]); scan->at++)
        overflow |= __builtin_mul_overflow(amount, 10, &amount) ||
                    __builtin_add_overflow(amount, scan->text[scan->at] - '0', &amount);
    overflow |= __builtin_mul_overflow(amount, RAYI_RESOURCE_UNIT, &amount);
    if (scan->text[scan->at] == '.') {
        scan->at++;
        if (!is_digit(scan->text[scan->at]))
            return rayi_scan_unexpected(scan, "a digit");
        for (; is_digit(scan->text[scan->at]); scan->at++) {
            int64_t digit = scan->text[scan->at] - '0';
            step /= 10;
            if (step == 0 && digit != 0)
                return rayi_scan_unexpected(scan, "at most four decimals");
            overflow |= __builtin_add_overflow(amount, digit * step, &amount);
        }
    }
    if (overflow || amount > RAYI_RESOURCE_AMOUNT_MAX)
        return rayi_scan_fail(scan, RAY_ERR_LIMIT, "the amount in column %zu is too large", column);
    *out = amount;
    return 0;
}

static int read_unit(rayi_scan *scan, rayi_scan_word name, int64_t *amount)
{
    static const char expected[] = "KiB, MiB, GiB or TiB";
    rayi_scan_spaces(scan);
    char c = scan->text[scan->at];
    if (!c || c == ',')
        return 0;
    if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')))
        return rayi_scan_unexpected(scan, "','");
    if (rayi_scan_word_is(name, "CPU") || rayi_scan_word_is(name, "GPU"))
        return rayi_scan_unexpected(scan, "a plain number of CPU or GPU");
    rayi_scan start = *scan;
    rayi_scan_word word;
    int r = rayi_scan_read_word(scan, expected, RAYI_RESOURCE_NAME_MAX, &word);
    if (r)
        return r;
    for (size_t i = 0; i < RAYI_COUNT_OF(units); i++) {
        if (!rayi_scan_word_is(word, units[i].name) && !rayi_scan_word_is(word, units[i].alias))
            continue;
        if (__builtin_mul_overflow(*amount, units[i].times, amount) || *amount > RAYI_RESOURCE_AMOUNT_MAX)
            return rayi_scan_fail(&start, RAY_ERR_LIMIT, "the amount before column %zu is too large", start.at + 1);
        return 0;
    }
    return rayi_scan_fail(&start, RAY_ERR_ARGUMENT, "expected %s in column %zu, but came \"%.*s\"", expected,
                          start.at + 1, (int)word.size, word.start);
}

static int read_entry(rayi_scan *scan, entry *out)
{
    int r = rayi_scan_read_word(scan, "a resource's name", RAYI_RESOURCE_NAME_MAX, &out->name);
    if (r)
        return r;
    if (!rayi_scan_take(scan, '='))
        return rayi_scan_unexpected(scan, "'='");
    r = read_number(scan, &out->amount);
    if (!r)
        r = read_unit(scan, out->name, &out->amount);
    if (r)
        return r;
    /* Half of a second GPU would be half of somebody else's: nobody can use that. */
    if (rayi_scan_word_is(out->name, "GPU") && out->amount > RAYI_RESOURCE_UNIT && out->amount % RAYI_RESOURCE_UNIT)
        return rayi_scan_fail(scan, RAY_ERR_ARGUMENT, "expected a whole number of GPU, as it is above 1");
    return 0;
}

static bool named(const entries *list, rayi_scan_word name)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (rayi_scan_word_compare(list->items[i].name, name) == 0)
            return true;
    return false;
}

static int add_entry(rayi_scan *scan, entries *list, entry item)
{
    if (list->count == RAYI_RESOURCES_MAX)
        return rayi_scan_fail(scan, RAY_ERR_LIMIT, "more than %d resources", RAYI_RESOURCES_MAX);
    list->items[list->count++] = item;
    return 0;
}

static int read_all(rayi_scan *scan, entries *list)
{
    if (rayi_scan_end(scan))
        return 0;
    do {
        entry item;
        int r = read_entry(scan, &item);
        if (r)
            return r;
        if (named(list, item.name))
            return rayi_scan_fail(scan, RAY_ERR_ARGUMENT, "%.*s is named twice", (int)item.name.size, item.name.start);
        r = add_entry(scan, list, item);
        if (r)
            return r;
    } while (rayi_scan_take(scan, ','));
    return rayi_scan_end(scan) ? 0 : rayi_scan_unexpected(scan, "','");
}

static int add_defaults(rayi_scan *scan, entries *list, const rayi_resources *defaults)
{
    for (uint32_t i = 0; defaults && i < defaults->count; i++) {
        const rayi_resource *item = &defaults->items[i];
        rayi_scan_word name = {item->name, strlen(item->name)};
        int r = named(list, name) ? 0 : add_entry(scan, list, (entry){name, item->amount});
        if (r)
            return r;
    }
    return 0;
}

/* Sorted, and without those of amount 0. */
static void tidy(entries *list)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        entry item = list->items[i];
        if (item.amount == 0)
            continue;
        uint32_t k = kept++;
        for (; k > 0 && rayi_scan_word_compare(list->items[k - 1].name, item.name) > 0; k--)
            list->items[k] = list->items[k - 1];
        list->items[k] = item;
    }
    list->count = kept;
}

static int build(const rayi_memory *memory, const entries *list, rayi_resources **out)
{
    size_t size = sizeof(rayi_resources) + list->count * sizeof(rayi_resource) + 1;
    for (uint32_t i = 0; i < list->count; i++) /* the name twice, "=", the amount, ", " */
        size += 2 * list->items[i].name.size + 1 + RAYI_AMOUNT_TEXT + 3;
    rayi_resources *made = rayi_memory_alloc(memory, size);
    if (!made)
        return RAY_ERR_NO_MEMORY;
    rayi_resource *items = (rayi_resource *)(made + 1);
    char *room = (char *)(items + list->count);
    for (uint32_t i = 0; i < list->count; i++)
        items[i] = (rayi_resource){rayi_scan_word_copy(list->items[i].name, &room), list->items[i].amount};
    *made = (rayi_resources){.text = room, .items = items, .count = list->count};
    *room = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        char amount[RAYI_AMOUNT_TEXT];
        rayi_amount_format(amount, items[i].name, items[i].amount);
        room += sprintf(room, "%s%s=%s", i ? ", " : "", items[i].name, amount);
    }
    *out = made;
    return 0;
}

int rayi_resources_parse(const rayi_memory *memory, const char *text, const rayi_resources *defaults,
                         rayi_resources **out, char *why, size_t why_size)
{
    rayi_scan scan = {.what = "resources", .text = text ? text : "", .why = why, .why_size = why_size};
    entries list;
    list.count = 0;
    int r = read_all(&scan, &list);
    if (!r)
        r = add_defaults(&scan, &list, defaults);
    if (r)
        return r;
    tidy(&list);
    r = build(memory, &list, out);
    return r ? rayi_scan_fail(&scan, r, "out of memory") : 0;
}

void rayi_resources_free(const rayi_memory *memory, rayi_resources *resources)
{
    rayi_memory_free(memory, resources);
}

int64_t rayi_resources_amount(const rayi_resources *resources, const char *name)
{
    for (uint32_t i = 0; i < resources->count; i++)
        if (strcmp(resources->items[i].name, name) == 0)
            return resources->items[i].amount;
    return 0;
}

bool rayi_resources_are_one_cpu(const rayi_resources *resources)
{
    return resources->count == 1 && resources->items[0].amount == RAYI_RESOURCE_UNIT &&
           strcmp(resources->items[0].name, "CPU") == 0;
}

/* Memory in the largest unit that leaves no rest, so that "4GiB" comes back as it was written. */
static const struct unit *fitting_unit(const char *name, int64_t amount)
{
    size_t size = strlen(name);
    if (size < 6 || strcmp(name + size - 6, "memory") != 0)
        return NULL;
    for (size_t i = RAYI_COUNT_OF(units); i-- > 0;)
        if (amount % (units[i].times * RAYI_RESOURCE_UNIT) == 0)
            return &units[i];
    return NULL;
}

void rayi_amount_format(char out[RAYI_AMOUNT_TEXT], const char *name, int64_t amount)
{
    const struct unit *unit = amount ? fitting_unit(name, amount) : NULL;
    if (unit) {
        snprintf(out, RAYI_AMOUNT_TEXT, "%" PRId64 "%s", amount / RAYI_RESOURCE_UNIT / unit->times, unit->name);
        return;
    }
    int64_t rest = amount % RAYI_RESOURCE_UNIT;
    int n = snprintf(out, RAYI_AMOUNT_TEXT, "%s%" PRId64, amount < 0 && amount > -RAYI_RESOURCE_UNIT ? "-" : "",
                     amount / RAYI_RESOURCE_UNIT);
    if (rest == 0)
        return;
    snprintf(out + n, (size_t)(RAYI_AMOUNT_TEXT - n), ".%04d", (int)(rest < 0 ? -rest : rest));
    for (char *end = out + strlen(out) - 1; *end == '0'; end--)
        *end = 0;
}
