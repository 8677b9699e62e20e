/* The functions and structs that this process has.
 *
 * Constructors put records on two lists before main, or in dlopen, with a compare-and-swap and no memory. An executor
 * resolves the types of each record once and keeps the result by name; the record's reserved[0] leads there,
 * reserved[1] links the list, reserved[2] says that it is on the list. What is registered later is resolved at once.
 * Stand-ins, which ray_function_get makes for names it does not know, live as long as the process, as the contract
 * promises. */
#include "executor/inside.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static _Atomic(ray_function *) all_records;
static _Atomic(ray_struct *) all_structs;

typedef struct stand_in {
    ray_function record; /* call is NULL */
    struct stand_in *next;
    char name[];
} stand_in;
static pthread_mutex_t stand_ins_lock = PTHREAD_MUTEX_INITIALIZER;
static stand_in *stand_ins;

/* ---- structs ---- */

const ray_struct *rayi_struct_find(const char *name)
{
    const ray_struct *found = atomic_load_explicit(&all_structs, memory_order_acquire);

    while (found && strcmp(found->name, name) != 0)
        found = found->reserved[1];
    return found;
}

static bool same_layout(const ray_struct *a, const ray_struct *b)
{
    if (a->value_size != b->value_size || a->num_fields != b->num_fields)
        return false;
    for (size_t i = 0; i < a->num_fields; i++)
        if (strcmp(a->fields[i].name, b->fields[i].name) != 0 || a->fields[i].kind != b->fields[i].kind ||
            a->fields[i].count != b->fields[i].count || a->fields[i].offset != b->fields[i].offset)
            return false;
    return true;
}

/* A byte that no field covers and no alignment explains belongs to a field that was left out. */
static int check_fields(const ray_struct *description)
{
    size_t at = 0, align = 1;

    for (;;) {
        const ray_field *next = NULL;
        for (size_t i = 0; i < description->num_fields; i++)
            if (description->fields[i].offset >= at && (!next || description->fields[i].offset < next->offset))
                next = &description->fields[i];
        if (!next)
            break;
        if (!rayi_is_number(next->kind))
            return rayi_fail(RAY_ERR_TYPE, "struct %s: field %s is no number", description->name, next->name);
        align = RAYI_MAX(align, rayi_number_size(next->kind));
        if (next->offset - at >= rayi_number_size(next->kind))
            return rayi_fail(RAY_ERR_TYPE, "struct %s: a field of %zu bytes before %s is left out of RAY_STRUCT",
                             description->name, next->offset - at, next->name);
        at = next->offset + next->count * rayi_number_size(next->kind);
    }
    if (at > description->value_size || description->value_size - at >= align)
        return rayi_fail(RAY_ERR_TYPE, "struct %s: its last field is left out of RAY_STRUCT", description->name);
    if (description->value_size > RAYI_STRUCT_MAX)
        return rayi_fail(RAY_ERR_LIMIT, "struct %s has %zu bytes; at most %d can be passed by value, use bytes",
                         description->name, description->value_size, RAYI_STRUCT_MAX);
    return 0;
}

static int check_struct(const ray_struct *description)
{
    int r = check_fields(description);

    for (const ray_struct *other = description->reserved[1]; r == 0 && other; other = other->reserved[1])
        if (strcmp(other->name, description->name) == 0 && !same_layout(other, description))
            r = rayi_fail(RAY_ERR_TYPE, "two structs of the name %s have different fields", description->name);
    return r;
}

int rayi_struct_register(rayi_executor *executor, ray_struct *description)
{
    ray_struct *first = atomic_load(&all_structs);

    if (!description->name || (description->num_fields > 0 && !description->fields))
        return rayi_fail(RAY_ERR_ARGUMENT, "a ray_struct needs a name and its fields");
    if (__atomic_exchange_n(&description->reserved[0], (void *)1, __ATOMIC_ACQ_REL))
        return 0; /* this one again */
    do
        description->reserved[1] = first;
    while (!atomic_compare_exchange_weak(&all_structs, &first, description));
    return executor ? check_struct(description) : 0;
}

/* ---- records ---- */

static rayi_function *from_types(const ray_function *record)
{
    rayi_function *function = rayi_zalloc(sizeof *function + (record->num_params + 1) * sizeof *function->params);

    if (!function) {
        rayi_error_set_last(rayi_error_no_memory("a function's types"));
        return NULL;
    }
    function->num_params = (uint32_t)record->num_params;
    for (size_t i = 0; i <= record->num_params; i++) {
        const ray_type *type = &record->types[i];
        rayi_param *param = i ? &function->params[i - 1] : &function->result;
        *param = (rayi_param){.kind = (uint8_t)type->kind, .size = type->size, .name = type->name};
        if (type->kind == RAY_KIND_STRUCT)
            param->layout = rayi_struct_find(type->name);
    }
    return function;
}

/* Calls of a function with a struct that nobody described fail with this; so does one whose size is another. */
static void find_broken(rayi_function *function)
{
    bool numbers = !function->variadic && function->num_params <= 2;

    for (uint32_t i = 0; i <= function->num_params; i++) {
        const rayi_param *param = i ? &function->params[i - 1] : &function->result;
        if (i && !rayi_is_number(param->kind))
            numbers = false;
        if (param->kind != RAY_KIND_STRUCT || function->broken)
            continue;
        if (!param->layout)
            function->broken =
                rayi_error_new(RAY_ERR_TYPE, function->record->name, NULL, "%s: no RAY_STRUCT describes the type %s",
                               function->record->name, param->name);
        else if (param->layout->value_size != param->size)
            function->broken =
                rayi_error_new(RAY_ERR_TYPE, function->record->name, NULL,
                               "%s: the type %s has %zu bytes here and %zu in its RAY_STRUCT", function->record->name,
                               param->name, param->size, param->layout->value_size);
    }
    function->simple = numbers;
}

static void function_free(rayi_function *function)
{
    if (!function)
        return;
    rayi_error_unref(function->broken);
    rayi_free(function->types_text);
    rayi_free(function->name);
    rayi_free(function);
}

static rayi_function *function_new(const ray_function *record, const char *name)
{
    rayi_function *function =
        record->types ? from_types(record) : rayi_signature_parse(record->signature, record->name);

    if (!function)
        return NULL;
    function->record = record;
    function->name = rayi_strdup(name);
    if (!function->name) {
        function_free(function);
        rayi_error_set_last(rayi_error_no_memory("a function's name"));
        return NULL;
    }
    find_broken(function);
    return function;
}

static bool same_signature(const rayi_function *a, const rayi_function *b)
{
    if (a->num_params != b->num_params || a->variadic != b->variadic || a->record->flags != b->record->flags)
        return false;
    for (uint32_t i = 0; i <= a->num_params; i++) {
        const rayi_param *p = i ? &a->params[i - 1] : &a->result, *q = i ? &b->params[i - 1] : &b->result;
        if (p->kind != q->kind || p->size != q->size)
            return false;
    }
    return true;
}

static int refuse_second(const rayi_function *had, const rayi_function *got)
{
    rayi_text text;
    int r;

    rayi_text_init(&text, rayi_heap);
    rayi_signature_write(&text, had);
    rayi_text_add(&text, same_signature(had, got) ? " and another " : " and ");
    rayi_signature_write(&text, got);
    r = rayi_fail(RAY_ERR_EXISTS, "two functions have the name %s: %s", got->name, text.failed ? "?" : text.data);
    rayi_text_fini(&text);
    return r;
}

/* functions_lock is held. */
static rayi_function *find(rayi_executor *executor, const char *name)
{
    rayi_function *function;

    HASH_FIND_STR(executor->functions, name, function);
    return function;
}

static int add(rayi_executor *executor, rayi_function *function)
{
    const rayi_memory *memory = rayi_heap;
    rayi_function *had = find(executor, function->name);

    if (had && had->record != function->record)
        return refuse_second(had, function);
    HASH_ADD_KEYPTR(hh, executor->functions, function->name, strlen(function->name), function);
    if (!function->hh.tbl)
        return rayi_error_set_last(rayi_error_no_memory("the table of functions"));
    return 0;
}

static int check_record(const ray_function *record)
{
    if (!record->name || !*record->name || !record->call || (!record->types && !record->signature))
        return rayi_fail(RAY_ERR_ARGUMENT, "a ray_function needs a name, a call, and a signature or types; got %s",
                         record->name ? record->name : "one without a name");
    if (strlen(record->name) > 255)
        return rayi_fail(RAY_ERR_LIMIT, "a function's name has at most 255 bytes, got %zu", strlen(record->name));
    return 0;
}

/* Resolves a record and adds it; functions_lock is held. */
static int take_up(rayi_executor *executor, ray_function *record)
{
    rayi_function *function;
    int r = check_record(record);

    if (r < 0)
        return r;
    function = function_new(record, record->name);
    if (!function)
        return rayi_error_last_public()->code;
    r = add(executor, function);
    if (r < 0)
        function_free(function);
    else
        __atomic_store_n(&record->reserved[0], function, __ATOMIC_RELEASE);
    return r;
}

/* What the constructors of a library that is being loaded could not tell; of this thread. */
static _Thread_local int load_failure;

static void link_record(ray_function *record)
{
    ray_function *first = atomic_load(&all_records);

    if (__atomic_exchange_n(&record->reserved[2], (void *)1, __ATOMIC_ACQ_REL))
        return; /* it is on the list */
    do
        record->reserved[1] = first;
    while (!atomic_compare_exchange_weak(&all_records, &first, record));
}

int rayi_function_register(rayi_executor *executor, ray_function *record)
{
    int r = 0;

    if (executor && !__atomic_load_n(&record->reserved[0], __ATOMIC_ACQUIRE)) {
        pthread_mutex_lock(&executor->functions_lock);
        if (!__atomic_load_n(&record->reserved[0], __ATOMIC_ACQUIRE))
            r = take_up(executor, record);
        pthread_mutex_unlock(&executor->functions_lock);
    }
    if (r == 0 || r == RAY_ERR_NO_MEMORY) /* which may be better later */
        link_record(record);
    load_failure = r;
    return r;
}

int rayi_functions_gather(rayi_executor *executor)
{
    int r = 0;

    for (ray_struct *s = atomic_load(&all_structs); r == 0 && s; s = s->reserved[1])
        r = check_struct(s);
    pthread_mutex_lock(&executor->functions_lock);
    for (ray_function *f = atomic_load(&all_records); r == 0 && f; f = f->reserved[1])
        r = take_up(executor, f);
    pthread_mutex_unlock(&executor->functions_lock);
    return r;
}

void rayi_functions_free(rayi_executor *executor)
{
    const rayi_memory *memory = rayi_heap;
    rayi_function *function, *next;

    HASH_ITER (hh, executor->functions, function, next) {
        ray_function *record = (ray_function *)function->record;
        void *ours = function;
        HASH_DEL(executor->functions, function);
        __atomic_compare_exchange_n(&record->reserved[0], &ours, NULL, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
        function_free(function);
    }
}

/* "py:*" takes every name with that beginning; functions_lock is held. */
static rayi_function *match_wildcard(rayi_executor *executor, const char *name)
{
    rayi_function *function, *next, *best = NULL;
    size_t longest = 0;

    HASH_ITER (hh, executor->functions, function, next) {
        size_t size = strlen(function->name);
        if (size > longest && function->name[size - 1] == '*' && strncmp(name, function->name, size - 1) == 0) {
            best = function;
            longest = size;
        }
    }
    if (!best)
        return NULL;
    function = function_new(best->record, name);
    if (function && add(executor, function) < 0) {
        function_free(function);
        function = NULL;
    }
    return function;
}

rayi_function *rayi_function_resolve(rayi_executor *executor, ray_function *record)
{
    rayi_function *function = __atomic_load_n(&record->reserved[0], __ATOMIC_ACQUIRE);

    if (__builtin_expect(function != NULL, 1))
        return function;
    if (record->call && !__atomic_load_n(&record->reserved[2], __ATOMIC_ACQUIRE)) {
        (void)rayi_fail(RAY_ERR_UNKNOWN_FUNCTION, "%s was not registered: call ray_register first",
                        record->name ? record->name : "a function without a name");
        return NULL;
    }
    pthread_mutex_lock(&executor->functions_lock);
    function = find(executor, record->name);
    if (!function) {
        (void)rayi_fail(
            RAY_ERR_UNKNOWN_FUNCTION,
            "no function of the name %s: define it with RAY_REMOTE, ray_register it or ray_load its library",
            record->name);
        function = match_wildcard(executor, record->name);
    }
    pthread_mutex_unlock(&executor->functions_lock);
    return function;
}

static ray_function *stand_in_for(const char *name)
{
    stand_in *made;
    size_t size = strlen(name) + 1;

    pthread_mutex_lock(&stand_ins_lock);
    for (made = stand_ins; made && strcmp(made->name, name) != 0;)
        made = made->next;
    if (!made && (made = rayi_zalloc(sizeof *made + size))) {
        memcpy(made->name, name, size);
        made->record.size = sizeof made->record;
        made->record.name = made->name;
        made->next = stand_ins;
        stand_ins = made;
    }
    pthread_mutex_unlock(&stand_ins_lock);
    if (!made)
        rayi_error_set_last(rayi_error_no_memory("a function's name"));
    return made ? &made->record : NULL;
}

ray_function *rayi_function_get(rayi_executor *executor, const char *name)
{
    rayi_function *function;

    if (strlen(name) > 255) {
        (void)rayi_fail(RAY_ERR_LIMIT, "a function's name has at most 255 bytes, got %zu", strlen(name));
        return NULL;
    }
    pthread_mutex_lock(&executor->functions_lock);
    function = find(executor, name);
    pthread_mutex_unlock(&executor->functions_lock);
    if (function && strcmp(function->record->name, name) == 0)
        return (ray_function *)function->record;
    return stand_in_for(name);
}

int rayi_function_load(rayi_executor *executor, const char *path, unsigned flags)
{
    int r = 0;

    load_failure = 0;
    (void)flags; /* this node is all there is */
    if (!dlopen(path, RTLD_NOW | RTLD_LOCAL))
        return rayi_fail(RAY_ERR_LOAD, "%s", dlerror());
    if (load_failure < 0)
        return load_failure;
    if (!executor)
        return 0;
    pthread_mutex_lock(&executor->functions_lock);
    for (ray_function *f = atomic_load(&all_records); r == 0 && f; f = f->reserved[1])
        if (!__atomic_load_n(&f->reserved[0], __ATOMIC_ACQUIRE))
            r = take_up(executor, f);
    pthread_mutex_unlock(&executor->functions_lock);
    return r;
}
