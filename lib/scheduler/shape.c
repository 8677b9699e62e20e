/* Shapes and choices: what many requests have in common, kept once. */
#include "scheduler/inside.h"

static uint32_t kind_of(const rayi_scheduler *scheduler, const char *name)
{
    for (uint32_t i = 0; i < scheduler->kind_count; i++)
        if (strcmp(scheduler->kinds[i], name) == 0)
            return i;
    return UINT32_MAX;
}

static void note_shortage(rayi_shape *shape, const char *name, int64_t amount, int64_t total)
{
    if (shape->short_of || amount <= total)
        return;
    shape->short_of = name;
    shape->short_amount = amount;
    shape->short_total = total;
}

static void set_gpu(const rayi_scheduler *scheduler, rayi_shape *shape, int64_t amount)
{
    shape->gpu = amount;
    if (amount <= scheduler->totals[RAYI_GPU]) /* more is never granted, so needs no places */
        shape->gpu_places = (uint32_t)((amount + RAYI_RESOURCE_UNIT - 1) / RAYI_RESOURCE_UNIT);
}

/* name stays valid as long as the shape. */
static void add_item(const rayi_scheduler *scheduler, rayi_shape *shape, const char *name, int64_t amount)
{
    uint32_t kind = kind_of(scheduler, name);
    note_shortage(shape, name, amount, kind == UINT32_MAX ? 0 : scheduler->totals[kind]);
    if (kind == RAYI_CPU)
        shape->cpu = amount;
    else if (kind == RAYI_GPU)
        set_gpu(scheduler, shape, amount);
    else if (kind != UINT32_MAX)
        shape->items[shape->count++] = (rayi_shape_item){kind, amount};
}

/* One block: the shape, its items, what was named, the names, the text. */
static rayi_shape *make(rayi_scheduler *scheduler, const rayi_resources *resources)
{
    size_t names = 0, length = strlen(resources->text), count = resources->count;
    for (uint32_t i = 0; i < count; i++)
        names += strlen(resources->items[i].name) + 1;
    rayi_shape *shape = rayi_memory_zalloc(scheduler->memory, sizeof *shape + count * sizeof(rayi_shape_item) +
                                                                  count * sizeof(rayi_resource) + names + length + 1);
    if (!shape)
        return NULL;
    rayi_resource *named = (rayi_resource *)(shape->items + count);
    char *room = (char *)(named + count);
    for (uint32_t i = 0; i < count; i++) {
        named[i] = (rayi_resource){strcpy(room, resources->items[i].name), resources->items[i].amount};
        room += strlen(room) + 1;
        add_item(scheduler, shape, named[i].name, named[i].amount);
    }
    shape->named = named;
    shape->named_count = resources->count;
    shape->text = strcpy(room, resources->text);
    shape->refs = 1;
    shape->serial = ++scheduler->serial;
    return shape;
}

int rayi_shape_get(rayi_scheduler *scheduler, const rayi_resources *resources, rayi_shape **out)
{
    const rayi_memory *memory = scheduler->memory;
    size_t length = strlen(resources->text);
    rayi_shape *shape;
    HASH_FIND(hh, scheduler->shapes, resources->text, length, shape);
    if (shape) {
        *out = rayi_shape_ref(shape);
        return 0;
    }
    shape = make(scheduler, resources);
    if (!shape)
        return RAY_ERR_NO_MEMORY;
    HASH_ADD_KEYPTR(hh, scheduler->shapes, shape->text, length, shape);
    if (!shape->hh.tbl) {
        rayi_memory_free(memory, shape);
        return RAY_ERR_NO_MEMORY;
    }
    *out = shape;
    return 0;
}

static int64_t named_amount(const rayi_shape *shape, const char *name)
{
    for (uint32_t i = 0; i < shape->named_count; i++)
        if (strcmp(shape->named[i].name, name) == 0)
            return shape->named[i].amount;
    return 0;
}

bool rayi_shape_holds(const rayi_shape *bundle, const rayi_shape *shape)
{
    for (uint32_t i = 0; i < shape->named_count; i++)
        if (named_amount(bundle, shape->named[i].name) < shape->named[i].amount)
            return false;
    return true;
}

rayi_shape *rayi_shape_ref(rayi_shape *shape)
{
    shape->refs++;
    return shape;
}

void rayi_shape_unref(rayi_scheduler *scheduler, rayi_shape *shape)
{
    if (!shape || --shape->refs)
        return;
    const rayi_memory *memory = scheduler->memory;
    HASH_DELETE(hh, scheduler->shapes, shape);
    rayi_memory_free(memory, shape);
}

static int64_t amount_of(const rayi_shape *shape, uint32_t kind)
{
    if (kind < RAYI_FIRST_OTHER)
        return kind == RAYI_CPU ? shape->cpu : shape->gpu;
    for (uint32_t i = 0; i < shape->count; i++)
        if (shape->items[i].kind == kind)
            return shape->items[i].amount;
    return 0;
}

/* Stays at RAYI_RESOURCE_AMOUNT_MAX: that much nobody has. */
static int64_t sum_of(rayi_shape *const *shapes, uint32_t count, uint32_t kind)
{
    int64_t sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum = RAYI_MIN(sum + amount_of(shapes[i], kind), RAYI_RESOURCE_AMOUNT_MAX);
    return sum;
}

int rayi_shape_sum(rayi_scheduler *scheduler, rayi_shape *const *shapes, uint32_t count, rayi_shape **out)
{
    rayi_shape *sum =
        rayi_memory_zalloc(scheduler->memory, sizeof *sum + scheduler->kind_count * sizeof(rayi_shape_item));
    if (!sum)
        return RAY_ERR_NO_MEMORY;
    for (uint32_t i = 0; i < count; i++) /* also names that the node does not have, which are in no sum */
        if (shapes[i]->short_of)
            note_shortage(sum, shapes[i]->short_of, shapes[i]->short_amount, shapes[i]->short_total);
    for (uint32_t kind = 0; kind < scheduler->kind_count; kind++) {
        int64_t amount = sum_of(shapes, count, kind);
        if (amount)
            add_item(scheduler, sum, scheduler->kinds[kind], amount);
    }
    *out = sum;
    return 0;
}

int rayi_choice_get(rayi_scheduler *scheduler, const rayi_selector *selector, rayi_choice **out)
{
    const rayi_memory *memory = scheduler->memory;
    *out = NULL;
    if (!selector || selector->count == 0)
        return 0;
    size_t length = strlen(selector->text);
    rayi_choice *choice;
    HASH_FIND(hh, scheduler->choices, selector->text, length, choice);
    if (choice) {
        choice->refs++;
        *out = choice;
        return 0;
    }
    const rayi_selector_term *unmet = rayi_selector_unmet(selector, scheduler->labels);
    choice = rayi_memory_zalloc(memory, sizeof *choice + length + 1 + (unmet ? strlen(unmet->text) + 1 : 0));
    if (!choice)
        return RAY_ERR_NO_MEMORY;
    strcpy(choice->text, selector->text);
    if (unmet)
        choice->unmet = strcpy(choice->text + length + 1, unmet->text);
    choice->refs = 1;
    choice->serial = ++scheduler->serial;
    HASH_ADD_KEYPTR(hh, scheduler->choices, choice->text, length, choice);
    if (!choice->hh.tbl) {
        rayi_memory_free(memory, choice);
        return RAY_ERR_NO_MEMORY;
    }
    *out = choice;
    return 0;
}

void rayi_choice_unref(rayi_scheduler *scheduler, rayi_choice *choice)
{
    if (!choice || --choice->refs)
        return;
    const rayi_memory *memory = scheduler->memory;
    HASH_DELETE(hh, scheduler->choices, choice);
    rayi_memory_free(memory, choice);
}
