/* Labels of nodes ("zone=eu, disk=ssd") and selectors over them ("zone=eu|us, disk!=hdd, gpu, !slow": in, not in,
 * exists, does not exist; all must hold; a node without the label passes "not in"). Part of the door
 * scheduler/scheduler.h. Pure functions, for any thread; what they return is immutable. */
#ifndef RAYI_SCHEDULER_LABELS_H
#define RAYI_SCHEDULER_LABELS_H

#include "base/base.h"

#define RAYI_LABELS_MAX     64  /* labels of a node, or terms and values of a selector */
#define RAYI_LABEL_WORD_MAX 255 /* bytes of a key or value */

typedef struct rayi_label {
    const char *key, *value;
} rayi_label;

typedef struct rayi_labels {
    const char *text;        /* canonical, "" for none */
    const rayi_label *items; /* sorted by key */
    uint32_t count;
} rayi_labels;

typedef enum rayi_selector_test {
    RAYI_SELECTOR_IN,
    RAYI_SELECTOR_NOT_IN,
    RAYI_SELECTOR_EXISTS,
    RAYI_SELECTOR_NOT_EXISTS,
} rayi_selector_test;

typedef struct rayi_selector_term {
    rayi_selector_test test;
    uint32_t value_count;
    const char *key;
    const char *const *values;
    const char *text; /* "zone=eu|us" */
} rayi_selector_term;

typedef struct rayi_selector {
    const char *text; /* without needless spaces, in the order given; "" for none */
    const rayi_selector_term *terms;
    uint32_t count;
} rayi_selector;

/* text NULL is "". RAY_ERR_ARGUMENT, _LIMIT, _NO_MEMORY with why as for rayi_resources_parse. */
int rayi_labels_parse(const rayi_memory *memory, const char *text, rayi_labels **out, char *why, size_t why_size);
void rayi_labels_free(const rayi_memory *memory, rayi_labels *labels);
int rayi_selector_parse(const rayi_memory *memory, const char *text, rayi_selector **out, char *why, size_t why_size);
void rayi_selector_free(const rayi_memory *memory, rayi_selector *selector);

/* The first term that does not hold, NULL if all do. Either may be NULL, meaning none. */
const rayi_selector_term *rayi_selector_unmet(const rayi_selector *selector, const rayi_labels *labels);

#endif
