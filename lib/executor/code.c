/* Code that travels: libraries whose functions other nodes run, too.
 *
 * A piece of code is known by the hash of its bytes, so that the same name in another library is another function. A
 * process that has opened the library itself (ray_load) runs its functions as it runs all of its own; the code only
 * says of them where others get them. Any other process of a cluster has foreign functions: it knows their types from
 * what it was told, and has worker processes run them, which open the library; it never does so itself.
 *
 * codes_lock: the table; a piece that is in it stays as long as the executor, as functions do. */
#include "executor/inside.h"

#include <stdlib.h>
#include <string.h>

/* ---- the table ---- */

static rayi_code *find(rayi_executor *executor, const char *hash)
{
    rayi_code *code;

    HASH_FIND_STR(executor->codes, hash, code);
    return code;
}

rayi_code *rayi_code_find(rayi_executor *executor, const char *hash)
{
    rayi_code *code;

    pthread_mutex_lock(&executor->codes_lock);
    code = find(executor, hash);
    pthread_mutex_unlock(&executor->codes_lock);
    return code;
}

static void code_free(rayi_code *code)
{
    pthread_mutex_destroy(&code->file_lock);
    rayi_free(code->name);
    rayi_free(code->file);
    rayi_free(code);
}

static rayi_code *code_new(rayi_executor *executor, const char *hash, const char *name)
{
    const rayi_memory *memory = rayi_heap;
    rayi_code *code = rayi_zalloc(sizeof *code);

    if (!code)
        return NULL;
    pthread_mutex_init(&code->file_lock, NULL);
    memcpy(code->hash, hash, sizeof code->hash);
    code->name = rayi_strdup(name);
    if (code->name)
        HASH_ADD_STR(executor->codes, hash, code);
    if (code->hh.tbl)
        return code;
    code_free(code);
    return NULL;
}

rayi_code *rayi_code_enter(rayi_executor *executor, const char *hash, const char *name)
{
    rayi_code *code;

    pthread_mutex_lock(&executor->codes_lock);
    code = find(executor, hash);
    if (!code)
        code = code_new(executor, hash, name);
    pthread_mutex_unlock(&executor->codes_lock);
    if (!code)
        rayi_error_set_last(rayi_error_no_memory("a library for all nodes"));
    return code;
}

void rayi_codes_for_each(rayi_executor *executor, void (*visit)(void *arg, rayi_code *code), void *arg)
{
    pthread_mutex_lock(&executor->codes_lock);
    for (rayi_code *code = executor->codes; code; code = code->hh.next)
        visit(arg, code);
    pthread_mutex_unlock(&executor->codes_lock);
}

void rayi_codes_free(rayi_executor *executor)
{
    const rayi_memory *memory = rayi_heap;
    rayi_code *code, *next_code;
    rayi_function *function, *next;

    HASH_ITER (hh, executor->codes, code, next_code) {
        RAYI_ASSERT(!code->sources);
        HASH_ITER (hh, code->functions, function, next) {
            HASH_DEL(code->functions, function);
            rayi_function_free(function);
        }
        HASH_DEL(executor->codes, code);
        code_free(code);
    }
}

/* ---- foreign functions ---- */

typedef struct rayi_foreign {
    ray_function record; /* without a call */
    const char *description;
    ray_struct layouts[]; /* of the result, then the parameters: those that are structs have their sizes */
} rayi_foreign;           /* behind them the texts */

const char *rayi_foreign_description(const rayi_foreign *foreign)
{
    return foreign->description;
}

static void put_type(rayi_writer *writer, const rayi_param *type)
{
    rayi_put_u8(writer, type->kind);
    rayi_put_u32(writer, type->kind == RAY_KIND_STRUCT && !type->layout ? 0 : (uint32_t)type->size);
    rayi_put_text(writer, type->name);
}

void rayi_code_put_function(rayi_writer *writer, const rayi_function *function)
{
    rayi_text description;

    rayi_text_init(&description, rayi_heap);
    rayi_function_describe(function, &description);
    rayi_put_text(writer, function->name);
    rayi_put_text(writer, description.data);
    writer->failed |= description.failed;
    rayi_text_fini(&description);
    rayi_put_u32(writer, function->record->flags);
    rayi_put_u32(writer, function->max_calls);
    rayi_put_u8(writer, function->variadic);
    rayi_put_u32(writer, function->num_params + 1);
    put_type(writer, &function->result);
    for (uint32_t i = 0; i < function->num_params; i++)
        put_type(writer, &function->params[i]);
}

/* What was told of a function; types: its result, then its parameters. */
typedef struct told {
    const char *name, *description;
    uint32_t flags, max_calls, num_types;
    bool variadic;
    rayi_reader types;
} told;

typedef struct told_type {
    uint8_t kind;
    uint32_t size;
    const char *name;
} told_type;

static bool is_type(const told_type *type, bool is_result)
{
    bool is_kind = type->kind <= RAY_KIND_VALUE && type->kind != (is_result ? RAY_KIND_VALUE : RAY_KIND_NONE) &&
                   (is_result || type->kind != RAY_KIND_BUFFER);

    return is_kind && type->name &&
           (type->kind == RAY_KIND_STRUCT ? type->size <= RAYI_STRUCT_MAX : type->size == rayi_number_size(type->kind));
}

static told_type take_type(rayi_reader *reader)
{
    told_type type = {.kind = rayi_take_u8(reader)};

    type.size = rayi_take_u32(reader);
    type.name = rayi_take_text(reader);
    return type;
}

/* False: no node says that. */
static bool take_told(rayi_reader *reader, told *out)
{
    bool sound = true;

    out->name = rayi_take_text(reader);
    out->description = rayi_take_text(reader);
    out->flags = rayi_take_u32(reader);
    out->max_calls = rayi_take_u32(reader);
    out->variadic = rayi_take_u8(reader);
    out->num_types = rayi_take_count(reader, 1 + 2 * sizeof(uint32_t));
    out->types = *reader;
    for (uint32_t i = 0; i < out->num_types && sound; i++) {
        told_type type = take_type(reader);
        sound = !reader->failed && is_type(&type, i == 0);
    }
    return sound && !reader->failed && out->name && *out->name && strlen(out->name) <= 255 && out->description &&
           !(out->flags & ~(uint32_t)(RAY_FUNCTION_STREAM | RAY_FUNCTION_ACTOR | RAY_FUNCTION_METHOD)) &&
           out->num_types >= (out->variadic ? 2 : 1) && out->num_types <= RAYI_ARGS_MAX;
}

static void set_type(rayi_param *param, ray_struct *layout, const told_type *type, const char *name)
{
    *param = (rayi_param){.kind = type->kind, .size = type->size, .name = name};
    if (type->kind != RAY_KIND_STRUCT || type->size == 0)
        return;
    *layout = (ray_struct){.size = sizeof *layout, .name = name, .value_size = type->size};
    param->layout = layout;
}

/* wildcard: whose name it has asked for; or NULL. NULL: no memory, last error. */
static rayi_function *make(const told *what, const char *name, const ray_function *wildcard)
{
    size_t texts = (size_t)(what->types.end - what->types.at), size = strlen(what->description) + 1;
    rayi_function *function = rayi_zalloc(sizeof *function + what->num_types * sizeof *function->params);
    rayi_foreign *foreign = rayi_zalloc(sizeof *foreign + what->num_types * sizeof(ray_struct) + texts + size);
    rayi_reader types;
    char *at;

    if (!function || !foreign) {
        rayi_free(function);
        rayi_free(foreign);
        rayi_error_set_last(rayi_error_no_memory("a function of another node"));
        return NULL;
    }
    at = (char *)&foreign->layouts[what->num_types];
    foreign->description = memcpy(at, what->description, size);
    types = rayi_reader_of(memcpy(at + size, what->types.at, texts), texts);
    foreign->record = (ray_function){.size = sizeof foreign->record, .flags = what->flags};
    function->foreign = foreign;
    function->num_params = what->num_types - 1;
    function->variadic = what->variadic;
    function->max_calls = what->max_calls;
    for (uint32_t i = 0; i < what->num_types; i++) {
        told_type type = take_type(&types);
        set_type(i ? &function->params[i - 1] : &function->result, &foreign->layouts[i], &type, type.name);
    }
    function = rayi_function_ready(function, &foreign->record, name);
    if (!function)
        return NULL;
    foreign->record.name = wildcard ? wildcard->name : function->name;
    foreign->record.reserved[0] = function; /* whoever calls the record is here */
    foreign->record.reserved[2] = (void *)1;
    function->isolation = RAY_ISOLATION_PROCESS;
    return function;
}

static rayi_function *find_foreign(const rayi_code *code, const char *name)
{
    rayi_function *function;

    HASH_FIND_STR(code->functions, name, function);
    return function;
}

/* functions_lock is held. */
static int add(rayi_executor *executor, rayi_code *code, rayi_function *function)
{
    const rayi_memory *memory = rayi_heap;

    if (!function)
        return rayi_error_last_public()->code;
    HASH_ADD_KEYPTR(hh, code->functions, function->name, strlen(function->name), function);
    if (!function->hh.tbl) {
        rayi_function_free(function);
        return rayi_error_set_last(rayi_error_no_memory("the table of functions"));
    }
    function->number = executor->num_functions++;
    atomic_store(&function->code, code);
    return 0;
}

bool rayi_code_take_function(rayi_executor *executor, rayi_code *code, rayi_reader *reader)
{
    told what;

    if (!take_told(reader, &what))
        return false;
    what.types.end = reader->at;
    if (!code)
        return true;
    pthread_mutex_lock(&executor->functions_lock);
    if (!find_foreign(code, what.name))
        (void)add(executor, code, make(&what, what.name, NULL));
    pthread_mutex_unlock(&executor->functions_lock);
    return true;
}

/* functions_lock is held. */
static rayi_function *find_or_match(rayi_executor *executor, rayi_code *code, const char *name)
{
    rayi_function *function = find_foreign(code, name), *any;
    rayi_writer writer;
    rayi_reader reader;
    told what;

    if (function || !(any = rayi_function_wildcard(code->functions, name)))
        return function;
    rayi_writer_init(&writer);
    rayi_code_put_function(&writer, any);
    reader = rayi_reader_of(writer.data, writer.size);
    if (!writer.failed && take_told(&reader, &what))
        (void)add(executor, code, make(&what, name, any->record));
    rayi_writer_fini(&writer);
    return find_foreign(code, name);
}

/* A name that a library spells out goes before one that a wildcard of this process would take. */
rayi_function *rayi_code_function(rayi_executor *executor, rayi_code *code, const char *name)
{
    rayi_function *function;
    bool any;

    if (!code || strlen(name) > 255)
        return rayi_function_find(executor, name);
    pthread_mutex_lock(&executor->functions_lock);
    HASH_FIND_STR(executor->functions, name, function);
    if (!function)
        function = find_foreign(code, name);
    any = !function && rayi_function_wildcard(executor->functions, name);
    if (!function && !any)
        function = find_or_match(executor, code, name);
    pthread_mutex_unlock(&executor->functions_lock);
    return any ? rayi_function_find(executor, name) : function;
}

rayi_code *rayi_function_code(const rayi_function *function)
{
    return atomic_load_explicit(&((rayi_function *)function)->code, memory_order_acquire);
}

bool rayi_function_is_foreign(const rayi_function *function)
{
    return function->foreign != NULL;
}

/* ---- this process's own ---- */

/* functions_lock is held. */
static bool is_from(const rayi_function *function, const char *path)
{
    const char *library = rayi_library_of(function->record);

    return library && strcmp(library, path) == 0;
}

int rayi_code_claim(rayi_executor *executor, rayi_code *code, const char *path)
{
    const rayi_code *other = NULL;

    pthread_mutex_lock(&executor->functions_lock);
    for (rayi_function *f = executor->functions; f; f = f->hh.next)
        if (is_from(f, path)) {
            rayi_code *had = NULL;
            if (!atomic_compare_exchange_strong(&f->code, &had, code) && had != code)
                other = had;
        }
    pthread_mutex_unlock(&executor->functions_lock);
    if (other)
        return rayi_fail(RAY_ERR_LOAD, "%s has changed since it was loaded: a new version needs a name of its own",
                         path);
    return 0;
}

void rayi_code_functions(rayi_executor *executor, const rayi_code *code,
                         void (*visit)(void *arg, const rayi_function *function), void *arg)
{
    pthread_mutex_lock(&executor->functions_lock);
    for (int own = 1; own >= 0; own--)
        for (rayi_function *f = own ? executor->functions : code->functions; f; f = f->hh.next)
            if (rayi_function_code(f) == code && strcmp(f->name, f->record->name) == 0)
                visit(arg, f);
    pthread_mutex_unlock(&executor->functions_lock);
}
