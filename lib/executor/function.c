/* The functions and structs that this process has.
 *
 * Constructors put records on two lists before main, or in dlopen, with a compare-and-swap and no memory. An executor
 * resolves the types of each record once and keeps the result by name; the record's reserved[0] leads there,
 * reserved[1] links the list, reserved[2] says that it is on the list, reserved[3] has its settings, reserved0 says
 * that its library is for all nodes. What is registered later is resolved at once. Stand-ins, which ray_function_get
 * makes for names it does not know, live as long as the process, as the contract promises. */
#include "executor/inside.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>

#define NAME_MOST 255

static _Atomic(ray_function *) all_records;
static _Atomic(ray_struct *) all_structs;

typedef struct stand_in {
    ray_function record; /* call is NULL */
    UT_hash_handle hh;
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

void rayi_function_free(rayi_function *function)
{
    if (!function)
        return;
    rayi_error_unref(function->broken);
    rayi_free(function->foreign);
    rayi_free(function->types_text);
    rayi_free(function->name);
    rayi_free(function);
}

bool rayi_function_apply_settings(rayi_function *function, const ray_function *record)
{
    const ray_function_options *settings = __atomic_load_n(&record->reserved[3], __ATOMIC_ACQUIRE);

    if (!settings)
        return false;
    function->isolation = settings->isolation;
    function->max_calls = settings->max_calls;
    return true;
}

rayi_function *rayi_function_ready(rayi_function *function, const ray_function *record, const char *name)
{
    function->record = record;
    (void)rayi_function_apply_settings(function, record);
    function->name = rayi_strdup(name);
    if (!function->name) {
        rayi_function_free(function);
        rayi_error_set_last(rayi_error_no_memory("a function's name"));
        return NULL;
    }
    find_broken(function);
    return function;
}

static rayi_function *function_new(const ray_function *record, const char *name)
{
    rayi_function *function =
        record->types ? from_types(record) : rayi_signature_parse(record->signature, record->name);

    return function ? rayi_function_ready(function, record, name) : NULL;
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
    function->number = executor->num_functions++;
    return 0;
}

static int check_name(const char *name)
{
    if (strlen(name) <= NAME_MOST)
        return 0;
    return rayi_fail(RAY_ERR_LIMIT, "a function's name has at most %d bytes, got %zu", NAME_MOST, strlen(name));
}

static int check_record(const ray_function *record)
{
    if (!record->name || !*record->name || !record->call || (!record->types && !record->signature))
        return rayi_fail(RAY_ERR_ARGUMENT, "a ray_function needs a name, a call, and a signature or types; got %s",
                         record->name ? record->name : "one without a name");
    return check_name(record->name);
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
        rayi_function_free(function);
    else
        __atomic_store_n(&record->reserved[0], function, __ATOMIC_RELEASE);
    return r;
}

/* Others may be waiting for what is new here; what is found while the runtime is made nobody knows yet. */
static void tell_grown(rayi_executor *executor)
{
    if (executor->hooks->functions_grew)
        executor->hooks->functions_grew(executor->node);
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
    bool is_new = executor && !__atomic_load_n(&record->reserved[0], __ATOMIC_ACQUIRE);
    int r = 0;

    if (is_new) {
        pthread_mutex_lock(&executor->functions_lock);
        if (!__atomic_load_n(&record->reserved[0], __ATOMIC_ACQUIRE))
            r = take_up(executor, record);
        pthread_mutex_unlock(&executor->functions_lock);
    }
    if (r == 0 || r == RAY_ERR_NO_MEMORY) /* which may be better later */
        link_record(record);
    if (is_new && r == 0)
        tell_grown(executor);
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

    rayi_abroad_free_all(executor);
    HASH_ITER (hh, executor->functions, function, next) {
        ray_function *record = (ray_function *)function->record;
        void *ours = function;
        HASH_DEL(executor->functions, function);
        __atomic_compare_exchange_n(&record->reserved[0], &ours, NULL, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
        rayi_function_free(function);
    }
}

/* "py:*" takes every name with that beginning. */
rayi_function *rayi_function_wildcard(rayi_function *functions, const char *name)
{
    rayi_function *function, *next, *best = NULL;
    size_t longest = 0;

    HASH_ITER (hh, functions, function, next) {
        size_t size = strlen(function->name);
        if (size > longest && function->name[size - 1] == '*' && strncmp(name, function->name, size - 1) == 0) {
            best = function;
            longest = size;
        }
    }
    return best;
}

/* functions_lock is held. *out NULL: there is none. */
static int match_wildcard(rayi_executor *executor, const char *name, rayi_function **out)
{
    rayi_function *function, *best = rayi_function_wildcard(executor->functions, name);
    int r;

    if (!best)
        return 0;
    function = function_new(best->record, name);
    if (!function)
        return rayi_error_last_public()->code;
    r = add(executor, function);
    if (r < 0) {
        rayi_function_free(function);
        return r;
    }
    atomic_store(&function->code, rayi_function_code(best));
    *out = function;
    return 0;
}

int rayi_function_look(rayi_executor *executor, ray_function *record, rayi_function **out)
{
    int r = 0;

    *out = __atomic_load_n(&record->reserved[0], __ATOMIC_ACQUIRE);
    if (*out)
        return 0;
    pthread_mutex_lock(&executor->functions_lock);
    *out = find(executor, record->name);
    if (!*out) {
        r = match_wildcard(executor, record->name, out);
        if (*out)
            (*out)->has_own_settings = rayi_function_apply_settings(*out, record); /* of this name: it is a stand-in */
    }
    pthread_mutex_unlock(&executor->functions_lock);
    return r;
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
    if (rayi_function_look(executor, record, &function) == 0 && !function)
        (void)rayi_fail(
            RAY_ERR_UNKNOWN_FUNCTION,
            "no function of the name %s: define it with RAY_REMOTE, ray_register it or ray_load its library",
            record->name);
    return function;
}

int rayi_function_set(rayi_executor *executor, ray_function *record, const ray_function_options *options)
{
    ray_function_options *kept = rayi_zalloc(sizeof *kept), *before;

    if (!kept)
        return rayi_error_set_last(rayi_error_no_memory("a function's settings"));
    *kept = *options;
    if (executor)
        pthread_mutex_lock(&executor->functions_lock); /* somebody may be reading what was before */
    before = __atomic_exchange_n(&record->reserved[3], kept, __ATOMIC_ACQ_REL);
    for (rayi_function *f = executor ? executor->functions : NULL; f; f = f->hh.next) {
        bool own = strcmp(f->name, record->name) == 0;
        if (own || (f->record == record && !f->has_own_settings))
            (void)rayi_function_apply_settings(f, record);
        f->has_own_settings |= own && f->record != record;
    }
    if (executor)
        rayi_abroad_apply_settings(executor, record);
    if (executor)
        pthread_mutex_unlock(&executor->functions_lock);
    rayi_free(before);
    return 0;
}

const char *rayi_function_name(const rayi_function *function)
{
    return function->name;
}
uint32_t rayi_function_number(const rayi_function *function)
{
    return function->number;
}
ray_isolation rayi_function_isolation(const rayi_function *function)
{
    return function->isolation;
}

uint32_t rayi_function_max_calls(const rayi_function *function)
{
    return function->max_calls;
}
const ray_function *rayi_function_record(const rayi_function *function)
{
    return function->record;
}

/* make false: only one that is there already; else NULL: no memory, last error. */
static ray_function *stand_in_for(const char *name, bool make)
{
    const rayi_memory *memory = rayi_heap;
    size_t size = strlen(name);
    stand_in *made;

    pthread_mutex_lock(&stand_ins_lock);
    HASH_FIND(hh, stand_ins, name, size, made);
    if (make && !made && (made = rayi_zalloc(sizeof *made + size + 1))) {
        memcpy(made->name, name, size + 1);
        made->record.size = sizeof made->record;
        made->record.name = made->name;
        HASH_ADD_KEYPTR(hh, stand_ins, made->name, size, made);
        if (!made->hh.tbl) {
            rayi_free(made);
            made = NULL;
        }
    }
    pthread_mutex_unlock(&stand_ins_lock);
    if (make && !made)
        rayi_error_set_last(rayi_error_no_memory("a function's name"));
    return made ? &made->record : NULL;
}

ray_function *rayi_function_handle(const rayi_function *function)
{
    if (function->foreign || strcmp(function->record->name, function->name) == 0)
        return (ray_function *)function->record;
    return stand_in_for(function->name, true);
}

ray_function *rayi_function_get(rayi_executor *executor, const char *name)
{
    rayi_function *function;

    if (check_name(name) < 0)
        return NULL;
    pthread_mutex_lock(&executor->functions_lock);
    function = find(executor, name);
    pthread_mutex_unlock(&executor->functions_lock);
    if (function && strcmp(function->record->name, name) == 0)
        return (ray_function *)function->record;
    return stand_in_for(name, true);
}

/* For others, who may ask for any name: nothing is kept of one that is not known. */
rayi_function *rayi_function_find(rayi_executor *executor, const char *name)
{
    ray_function passing = {.size = sizeof passing, .name = name}, *record;

    if (check_name(name) < 0)
        return NULL;
    record = stand_in_for(name, false);
    return rayi_function_resolve(executor, record ? record : &passing);
}

const char *rayi_library_of(const ray_function *record)
{
    Dl_info info, program;

    if (!dladdr(record, &info) || !info.dli_fname)
        return NULL;
    if (dladdr((const void *)getauxval(AT_PHDR), &program) && program.dli_fbase == info.dli_fbase)
        return NULL;
    return info.dli_fname; /* as long as the library is open */
}

void rayi_libraries_for_each(void (*visit)(void *arg, const char *path), void *arg)
{
    for (ray_function *f = atomic_load(&all_records); f; f = f->reserved[1]) {
        const char *path = rayi_library_of(f);
        if (path)
            visit(arg, path);
    }
}

/* What a library that was just opened has brought, and what was to be told before there was memory. */
static int take_up_new(rayi_executor *executor)
{
    int r = 0;

    pthread_mutex_lock(&executor->functions_lock);
    for (ray_function *f = atomic_load(&all_records); r == 0 && f; f = f->reserved[1])
        if (!__atomic_load_n(&f->reserved[0], __ATOMIC_ACQUIRE))
            r = take_up(executor, f);
    pthread_mutex_unlock(&executor->functions_lock);
    return r;
}

/* ---- libraries for all nodes ---- */

/* As the loader knows it, and dladdr. */
static const char *path_of(void *library)
{
    const struct link_map *map = NULL;

    return dlinfo(library, RTLD_DI_LINKMAP, (void *)&map) == 0 ? map->l_name : "";
}

static void mark_all(const char *path)
{
    for (ray_function *f = atomic_load(&all_records); f; f = f->reserved[1]) {
        const char *library = rayi_library_of(f);
        if (library && strcmp(library, path) == 0)
            __atomic_store_n(&f->reserved0, 1, __ATOMIC_RELEASE);
    }
}

int rayi_codes_share(rayi_thread *thread)
{
    rayi_executor *executor = rayi_executor_of(thread);
    int r = 0;

    for (ray_function *f = atomic_load(&all_records); r == 0 && f; f = f->reserved[1]) {
        const rayi_function *function = __atomic_load_n(&f->reserved[0], __ATOMIC_ACQUIRE);
        if (__atomic_load_n(&f->reserved0, __ATOMIC_ACQUIRE) && function && !rayi_function_code(function))
            r = executor->hooks->everywhere(thread, rayi_library_of(f));
    }
    return r;
}

int rayi_function_load(rayi_executor *executor, const char *path, unsigned flags)
{
    void *library;
    int r = 0;

    if (executor && executor->outside && !(flags & RAYI_LOAD_TOLD)) {
        r = executor->outside->load(rayi_self, path, flags);
        if (r < 0)
            return r;
    }
    load_failure = 0;
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return rayi_fail(RAY_ERR_LOAD, "%s", dlerror());
    if (load_failure < 0)
        return load_failure;
    if (flags & RAY_LOAD_EVERYWHERE)
        mark_all(path_of(library));
    if (!executor)
        return 0;
    r = take_up_new(executor);
    if (r == 0 && executor->hooks->loaded)
        executor->hooks->loaded(executor->node, path);
    if (r == 0 && (flags & RAY_LOAD_EVERYWHERE) && executor->hooks->everywhere)
        r = executor->hooks->everywhere(rayi_self, path_of(library));
    tell_grown(executor);
    return r;
}
