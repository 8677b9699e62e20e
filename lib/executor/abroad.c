/* Functions that this process does not have, but other nodes of its cluster may. A call of one is packed as it was
 * given, with a ray_value for each argument: what it must be is for the node to say that has the function. It never
 * runs here. Such a function is of a name and a sort (a task's, a class, a method), is made at the first call, and
 * lives as long as the executor. What its signature is shows when a node that has it says so; nodes that have it by
 * another one refuse its calls from then on.
 *
 * functions_lock guards the table and the descriptions. */
#include "executor/inside.h"

#include <string.h>

struct rayi_abroad {
    UT_hash_handle hh; /* by key */
    rayi_function *function;
    ray_function record; /* call is NULL */
    char *description;   /* NULL: nobody has told */
    char key[];          /* the sort, and the name */
};

void rayi_executor_set_abroad(rayi_executor *executor, bool may)
{
    atomic_store_explicit(&executor->may_be_abroad, may, memory_order_relaxed);
}

static char sort_of(uint32_t flags)
{
    return flags & RAY_FUNCTION_ACTOR ? 'c' : flags & RAY_FUNCTION_METHOD ? 'm' : 't';
}

static rayi_function *make_function(rayi_abroad *abroad)
{
    rayi_function *function = rayi_zalloc(sizeof *function + sizeof *function->params);

    if (!function)
        return NULL;
    function->name = rayi_strdup(abroad->record.name);
    if (!function->name) {
        rayi_free(function);
        return NULL;
    }
    function->record = &abroad->record;
    function->abroad = abroad;
    function->result = (rayi_param){.kind = RAY_KIND_NONE, .name = "?"};
    function->num_params = 1;
    function->variadic = true;
    function->params[0] = (rayi_param){.kind = RAY_KIND_VALUE, .size = sizeof(ray_value), .name = "ray_value"};
    return function;
}

static void abroad_free(rayi_abroad *abroad)
{
    if (abroad->function)
        rayi_free(abroad->function->name);
    rayi_free(abroad->function);
    rayi_free(abroad->description);
    rayi_free(abroad);
}

static rayi_abroad *make(rayi_executor *executor, const char *name, uint32_t flags)
{
    const rayi_memory *memory = rayi_heap;
    size_t size = strlen(name) + 1;
    rayi_abroad *abroad = rayi_zalloc(sizeof *abroad + 1 + size);

    if (!abroad)
        return NULL;
    abroad->key[0] = sort_of(flags);
    memcpy(abroad->key + 1, name, size);
    abroad->record = (ray_function){.size = sizeof abroad->record, .name = abroad->key + 1, .flags = flags};
    abroad->function = make_function(abroad);
    if (abroad->function)
        HASH_ADD_STR(executor->abroad, key, abroad);
    if (!abroad->function || !abroad->hh.tbl) {
        abroad_free(abroad);
        return NULL;
    }
    abroad->function->number = executor->num_functions++;
    return abroad;
}

/* record: the stand-in that is called; or NULL. */
static rayi_function *get(rayi_executor *executor, const char *name, uint32_t flags, const ray_function *record)
{
    char key[1 + 255 + 1] = {sort_of(flags)};
    rayi_abroad *abroad;

    if (strlen(name) > 255) {
        (void)rayi_fail(RAY_ERR_LIMIT, "a function's name has at most 255 bytes, got %zu", strlen(name));
        return NULL;
    }
    strcpy(key + 1, name);
    pthread_mutex_lock(&executor->functions_lock);
    HASH_FIND_STR(executor->abroad, key, abroad);
    if (!abroad && (abroad = make(executor, name, flags)) && record)
        (void)rayi_function_apply_settings(abroad->function, record);
    pthread_mutex_unlock(&executor->functions_lock);
    if (!abroad)
        rayi_error_set_last(rayi_error_no_memory("a function's name"));
    return abroad ? abroad->function : NULL;
}

rayi_function *rayi_function_abroad(rayi_executor *executor, const char *name, uint32_t flags)
{
    return get(executor, name, flags, NULL);
}

rayi_function *rayi_function_called(rayi_executor *executor, ray_function *record, uint32_t flags)
{
    rayi_function *function = __atomic_load_n(&record->reserved[0], __ATOMIC_ACQUIRE);

    if (__builtin_expect(function != NULL, 1))
        return function;
    if (record->call || !(executor->outside || atomic_load(&executor->may_be_abroad)))
        return rayi_function_resolve(executor, record);
    if (rayi_function_look(executor, record, &function) < 0 || function)
        return function;
    return get(executor, record->name, flags, record);
}

bool rayi_function_is_abroad(const rayi_function *function)
{
    return function->abroad != NULL;
}

bool rayi_function_agree(rayi_executor *executor, const rayi_function *function, const char *description)
{
    rayi_abroad *abroad = function->abroad;
    bool agrees;

    pthread_mutex_lock(&executor->functions_lock);
    if (!abroad->description)
        abroad->description = rayi_strdup(description);
    agrees = !abroad->description || strcmp(abroad->description, description) == 0;
    pthread_mutex_unlock(&executor->functions_lock);
    return agrees;
}

void rayi_abroad_describe(const rayi_function *function, rayi_text *text)
{
    if (function->abroad->description)
        rayi_text_add(text, function->abroad->description);
}

void rayi_abroad_apply_settings(rayi_executor *executor, const ray_function *record)
{
    for (rayi_abroad *abroad = executor->abroad; abroad; abroad = abroad->hh.next)
        if (strcmp(abroad->record.name, record->name) == 0)
            (void)rayi_function_apply_settings(abroad->function, record);
}

void rayi_abroad_free_all(rayi_executor *executor)
{
    const rayi_memory *memory = rayi_heap;
    rayi_abroad *abroad, *next;

    HASH_ITER (hh, executor->abroad, abroad, next) {
        HASH_DEL(executor->abroad, abroad);
        abroad_free(abroad);
    }
}
