/* Resources, labels and selectors: what is read, what is refused and with which words, and that no bytes crash it. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "counted.h"
#include "scheduler/scheduler.h"

#define WHY 256

static const struct {
    const char *text;
    bool defaults; /* CPU=1 */
    int code;
    const char *want; /* canonical text, or why it failed */
} resources_table[] = {
    {"", false, 0, ""},
    {NULL, true, 0, "CPU=1"},
    {" \t\n", true, 0, "CPU=1"},
    {"CPU=2, GPU=0.5, memory=4GiB, disk=1", false, 0, "CPU=2, GPU=0.5, disk=1, memory=4GiB"},
    {"disk=0.5", true, 0, "CPU=1, disk=0.5"},
    {"disk=0.5,CPU=0", true, 0, "disk=0.5"},
    {"CPU=0", true, 0, ""},
    {" CPU = 1.5 , b=2 ", false, 0, "CPU=1.5, b=2"},
    {"CPU=0.0001", false, 0, "CPU=0.0001"},
    {"CPU=00.50000", false, 0, "CPU=0.5"},
    {"memory=1.5GiB", false, 0, "memory=1536MiB"},
    {"memory=1024MiB", false, 0, "memory=1GiB"},
    {"memory=1000", false, 0, "memory=1000"},
    {"memory=2 K", false, 0, "memory=2KiB"},
    {"object_store_memory=1T", false, 0, "object_store_memory=1TiB"},
    {"scratch=1M", false, 0, "scratch=1048576"},
    {"node:10.0.0.1=1, accelerator_type:H100=0.001", false, 0, "accelerator_type:H100=0.001, node:10.0.0.1=1"},
    {"GPU=4", false, 0, "GPU=4"},
    {"CPU", false, RAY_ERR_ARGUMENT, "resources \"CPU\": expected '=' in column 4, but the text ends"},
    {"CPU=", false, RAY_ERR_ARGUMENT, "resources \"CPU=\": expected a number in column 5, but the text ends"},
    {"CPU=x", false, RAY_ERR_ARGUMENT, "resources \"CPU=x\": expected a number in column 5, but came 'x'"},
    {"CPU=-1", false, RAY_ERR_ARGUMENT, "resources \"CPU=-1\": expected a number in column 5, but came '-'"},
    {"CPU=1.", false, RAY_ERR_ARGUMENT, "resources \"CPU=1.\": expected a digit in column 7, but the text ends"},
    {"CPU=1 2", false, RAY_ERR_ARGUMENT, "resources \"CPU=1 2\": expected ',' in column 7, but came '2'"},
    {"CPU=1,", false, RAY_ERR_ARGUMENT,
     "resources \"CPU=1,\": expected a resource's name in column 7, but the text ends"},
    {"=1", false, RAY_ERR_ARGUMENT, "resources \"=1\": expected a resource's name in column 1, but came '='"},
    {"a=1, a=2", false, RAY_ERR_ARGUMENT, "resources \"a=1, a=2\": a is named twice"},
    {"CPU=0.00001", false, RAY_ERR_ARGUMENT,
     "resources \"CPU=0.00001\": expected at most four decimals in column 11, but came '1'"},
    {"CPU=1K", false, RAY_ERR_ARGUMENT,
     "resources \"CPU=1K\": expected a plain number of CPU or GPU in column 6, but came 'K'"},
    {"memory=1GB", false, RAY_ERR_ARGUMENT,
     "resources \"memory=1GB\": expected KiB, MiB, GiB or TiB in column 9, but came \"GB\""},
    {"GPU=1.5", false, RAY_ERR_ARGUMENT, "resources \"GPU=1.5\": expected a whole number of GPU, as it is above 1"},
    {"memory=99999999TiB", false, RAY_ERR_LIMIT,
     "resources \"memory=99999999TiB\": the amount before column 16 is too large"},
    {"a=99999999999999999999", false, RAY_ERR_LIMIT,
     "resources \"a=99999999999999999999\": the amount in column 3 is too large"},
    {"a=1\x01", false, RAY_ERR_ARGUMENT, "resources \"a=1\x01\": expected ',' in column 4, but came byte 0x01"},
};

Test(parse, resources)
{
    for (size_t i = 0; i < RAYI_COUNT_OF(resources_table); i++) {
        counted heap;
        char why[WHY] = "";
        rayi_resources *got = NULL;
        counted_init(&heap);
        int r = rayi_resources_parse(&heap.memory, resources_table[i].text,
                                     resources_table[i].defaults ? &rayi_resources_one_cpu : NULL, &got, why, WHY);
        cr_expect_eq(r, resources_table[i].code, "%s", resources_table[i].text);
        cr_expect_str_eq(r ? why : got->text, resources_table[i].want);
        rayi_resources_free(&heap.memory, got);
        cr_expect_eq(heap.live, 0);
    }
}

Test(parse, canonical_text_reads_back_as_itself)
{
    for (size_t i = 0; i < RAYI_COUNT_OF(resources_table); i++) {
        rayi_resources *first, *second;
        char why[WHY];
        if (resources_table[i].code)
            continue;
        cr_assert_eq(rayi_resources_parse(rayi_heap, resources_table[i].want, NULL, &first, why, WHY), 0);
        cr_assert_eq(rayi_resources_parse(rayi_heap, first->text, NULL, &second, why, WHY), 0);
        cr_expect_str_eq(first->text, second->text);
        cr_assert_eq(first->count, second->count);
        for (uint32_t k = 0; k < first->count; k++)
            cr_expect_eq(first->items[k].amount, second->items[k].amount);
        rayi_resources_free(rayi_heap, first);
        rayi_resources_free(rayi_heap, second);
    }
}

Test(parse, amounts)
{
    rayi_resources *got;
    char why[WHY], text[RAYI_AMOUNT_TEXT];
    cr_assert_eq(rayi_resources_parse(rayi_heap, "CPU=1, disk=0.25, memory=1KiB", NULL, &got, why, WHY), 0);
    cr_expect_eq(rayi_resources_amount(got, "disk"), 2500);
    cr_expect_eq(rayi_resources_amount(got, "memory"), INT64_C(10240000));
    cr_expect_eq(rayi_resources_amount(got, "GPU"), 0);
    cr_assert_not(rayi_resources_are_one_cpu(got));
    rayi_resources_free(rayi_heap, got);
    cr_assert_eq(rayi_resources_parse(rayi_heap, "CPU=1.0", NULL, &got, why, WHY), 0);
    cr_expect(rayi_resources_are_one_cpu(got));
    cr_expect(rayi_resources_are_one_cpu(&rayi_resources_one_cpu));
    rayi_resources_free(rayi_heap, got);
    rayi_amount_format(text, "CPU", -5000);
    cr_expect_str_eq(text, "-0.5");
    rayi_amount_format(text, "memory", 0);
    cr_expect_str_eq(text, "0");
}

Test(parse, limits)
{
    char text[4096] = "", why[WHY], *end = text;
    rayi_resources *got;
    for (int i = 0; i <= RAYI_RESOURCES_MAX; i++)
        end += sprintf(end, "%sr%d=1", i ? "," : "", i);
    cr_expect_eq(rayi_resources_parse(rayi_heap, text, NULL, &got, why, WHY), RAY_ERR_LIMIT);
    cr_expect(strstr(why, "more than 64 resources") != NULL, "%s", why);
    memset(text, 'n', 300);
    strcpy(text + 300, "=1");
    cr_expect_eq(rayi_resources_parse(rayi_heap, text, NULL, &got, why, WHY), RAY_ERR_LIMIT);
    cr_expect(strstr(why, "has 300 bytes, at most 255 are allowed") != NULL, "%s", why);
    cr_expect_eq(rayi_resources_parse(rayi_heap, text, NULL, &got, NULL, 0), RAY_ERR_LIMIT);
    cr_expect_eq(rayi_resources_parse(rayi_heap, text, NULL, &got, why, 1), RAY_ERR_LIMIT);
}

static const struct {
    const char *text;
    int code;
    const char *want;
} labels_table[] = {
    {"", 0, ""},
    {"zone=eu, disk=ssd", 0, "disk=ssd, zone=eu"},
    {" ray.io/zone = eu ", 0, "ray.io/zone=eu"},
    {"zone", RAY_ERR_ARGUMENT, "labels \"zone\": expected '=' in column 5, but the text ends"},
    {"zone=", RAY_ERR_ARGUMENT, "labels \"zone=\": expected a label's value in column 6, but the text ends"},
    {"zone=eu|us", RAY_ERR_ARGUMENT, "labels \"zone=eu|us\": expected ',' in column 8, but came '|'"},
    {"a=1, a=2", RAY_ERR_ARGUMENT, "labels \"a=1, a=2\": a is named twice"},
};

Test(parse, labels)
{
    for (size_t i = 0; i < RAYI_COUNT_OF(labels_table); i++) {
        char why[WHY] = "";
        rayi_labels *got = NULL;
        int r = rayi_labels_parse(rayi_heap, labels_table[i].text, &got, why, WHY);
        cr_expect_eq(r, labels_table[i].code, "%s", labels_table[i].text);
        cr_expect_str_eq(r ? why : got->text, labels_table[i].want);
        rayi_labels_free(rayi_heap, got);
    }
}

static const struct {
    const char *text;
    int code;
    const char *want;
    const char *unmet; /* by zone=eu, disk=ssd, gpu=h100 */
} selectors_table[] = {
    {"", 0, "", NULL},
    {"zone=eu|us, disk!=hdd, gpu, !slow", 0, "zone=eu|us, disk!=hdd, gpu, !slow", NULL},
    {" zone = us | eu ", 0, "zone=us|eu", NULL},
    {"zone=us", 0, "zone=us", "zone=us"},
    {"zone!=us|eu", 0, "zone!=us|eu", "zone!=us|eu"},
    {"zone ! = us", 0, "zone!=us", NULL},
    {"rack!=1", 0, "rack!=1", NULL},
    {"rack=1", 0, "rack=1", "rack=1"},
    {"rack", 0, "rack", "rack"},
    {"gpu, !disk", 0, "gpu, !disk", "!disk"},
    {"zone=eu, zone!=eu", 0, "zone=eu, zone!=eu", "zone!=eu"},
    {"!", RAY_ERR_ARGUMENT, "labels \"!\": expected a label's key in column 2, but the text ends", NULL},
    {"!a=b", RAY_ERR_ARGUMENT, "labels \"!a=b\": expected ',' in column 3, but came '='", NULL},
    {"a!b", RAY_ERR_ARGUMENT, "labels \"a!b\": expected '=' after '!' in column 3, but came 'b'", NULL},
    {"a=b|", RAY_ERR_ARGUMENT, "labels \"a=b|\": expected a label's value in column 5, but the text ends", NULL},
    {"a,,b", RAY_ERR_ARGUMENT, "labels \"a,,b\": expected a label's key in column 3, but came ','", NULL},
    {"a b", RAY_ERR_ARGUMENT, "labels \"a b\": expected ',' in column 3, but came 'b'", NULL},
};

Test(parse, selectors)
{
    char why[WHY] = "";
    rayi_labels *labels;
    cr_assert_eq(rayi_labels_parse(rayi_heap, "zone=eu, disk=ssd, gpu=h100", &labels, why, WHY), 0);
    for (size_t i = 0; i < RAYI_COUNT_OF(selectors_table); i++) {
        rayi_selector *got = NULL;
        int r = rayi_selector_parse(rayi_heap, selectors_table[i].text, &got, why, WHY);
        cr_expect_eq(r, selectors_table[i].code, "%s", selectors_table[i].text);
        cr_expect_str_eq(r ? why : got->text, selectors_table[i].want);
        if (r)
            continue;
        const rayi_selector_term *unmet = rayi_selector_unmet(got, labels);
        cr_expect_eq(!unmet, !selectors_table[i].unmet, "%s", selectors_table[i].text);
        if (unmet)
            cr_expect_str_eq(unmet->text, selectors_table[i].unmet);
        rayi_selector_free(rayi_heap, got);
    }
    cr_expect(rayi_selector_unmet(NULL, labels) == NULL);
    rayi_labels_free(rayi_heap, labels);
}

Test(parse, too_many_labels)
{
    char text[4096] = "", why[WHY], *end = text;
    for (int i = 0; i <= RAYI_LABELS_MAX; i++)
        end += sprintf(end, "%sk%d=1", i ? "," : "", i);
    rayi_labels *labels;
    rayi_selector *selector;
    cr_expect_eq(rayi_labels_parse(rayi_heap, text, &labels, why, WHY), RAY_ERR_LIMIT);
    cr_expect_eq(rayi_selector_parse(rayi_heap, text, &selector, why, WHY), RAY_ERR_LIMIT);
    strcpy(text, "k=0");
    for (int i = 1; i <= RAYI_LABELS_MAX; i++)
        sprintf(text + strlen(text), "|%d", i);
    cr_expect_eq(rayi_selector_parse(rayi_heap, text, &selector, why, WHY), RAY_ERR_LIMIT);
}

Test(parse, without_memory)
{
    counted heap;
    char why[WHY] = "";
    rayi_resources *resources;
    rayi_labels *labels;
    rayi_selector *selector;
    counted_init(&heap);
    counted_fail(&heap, 1);
    cr_expect_eq(rayi_resources_parse(&heap.memory, "CPU=1", NULL, &resources, why, WHY), RAY_ERR_NO_MEMORY);
    cr_expect_str_eq(why, "resources \"CPU=1\": out of memory");
    counted_fail(&heap, 1);
    cr_expect_eq(rayi_labels_parse(&heap.memory, "a=b", &labels, why, WHY), RAY_ERR_NO_MEMORY);
    counted_fail(&heap, 1);
    cr_expect_eq(rayi_selector_parse(&heap.memory, "a=b", &selector, why, WHY), RAY_ERR_NO_MEMORY);
    cr_expect_eq(heap.live, 0);
}

/* Texts of the alphabet's pieces, then any bytes: nothing may crash, and what is read must read back as itself. */
static void make_text(uint64_t *seed, char *text, size_t size)
{
    static const char *const pieces[] = {"CPU", "GPU",  "memory",   "a",    "=",   "=", ",", ",",
                                         "!",   "|",    " ",        "1",    "0.5", ".", "9", "KiB",
                                         "T",   "zone", "\xc3\xa9", "\x01", "\"",  "-"};
    size_t n = 0;
    bool wild = roll(seed, 4) == 0;
    for (uint32_t i = roll(seed, 30); i > 0 && n + 8 < size; i--) {
        if (wild)
            text[n++] = (char)roll(seed, 256);
        else
            n += (size_t)sprintf(text + n, "%s", pieces[roll(seed, RAYI_COUNT_OF(pieces))]);
    }
    text[n] = 0;
}

Test(parse, fuzz)
{
    const uint64_t first = 1;
    uint64_t seed = first, read = 0;
    for (int i = 0; i < 200000; i++) {
        char text[256], why[64];
        rayi_resources *resources, *again;
        rayi_labels *labels;
        rayi_selector *selector, *selector_again;
        make_text(&seed, text, sizeof text);
        if (rayi_resources_parse(rayi_heap, text, &rayi_resources_one_cpu, &resources, why, sizeof why) == 0) {
            read++;
            cr_assert_eq(rayi_resources_parse(rayi_heap, resources->text, NULL, &again, why, sizeof why), 0,
                         "\"%s\" of seed %llu", text, (unsigned long long)first);
            cr_assert_str_eq(resources->text, again->text);
            rayi_resources_free(rayi_heap, again);
            rayi_resources_free(rayi_heap, resources);
        }
        int r = rayi_labels_parse(rayi_heap, text, &labels, why, sizeof why);
        if (rayi_selector_parse(rayi_heap, text, &selector, why, sizeof why) == 0) {
            cr_assert_eq(rayi_selector_parse(rayi_heap, selector->text, &selector_again, why, sizeof why), 0);
            cr_assert_str_eq(selector->text, selector_again->text);
            if (r == 0)
                cr_assert(rayi_selector_unmet(selector, labels) == NULL); /* labels select themselves */
            rayi_selector_free(rayi_heap, selector_again);
            rayi_selector_free(rayi_heap, selector);
        }
        if (r == 0)
            rayi_labels_free(rayi_heap, labels);
    }
    cr_assert_gt(read, 100);
}
