/* Signatures: "[ray_stream(]R[)](T, T...)", the types in C's words. */
#include "executor/inside.h"

#include <ctype.h>
#include <string.h>

static const struct {
    const char *name;
    uint8_t kind;
} words[] = {
    {"void", RAY_KIND_NONE},
    {"bool", RAY_KIND_BOOL},
    {"_Bool", RAY_KIND_BOOL},
    {"char", (char)-1 < 0 ? RAY_KIND_I8 : RAY_KIND_U8},
    {"signed char", RAY_KIND_I8},
    {"unsigned char", RAY_KIND_U8},
    {"short", RAY_KIND_I16},
    {"unsigned short", RAY_KIND_U16},
    {"int", RAY_KIND_I32},
    {"unsigned", RAY_KIND_U32},
    {"unsigned int", RAY_KIND_U32},
    {"long", RAY_KIND_I64},
    {"unsigned long", RAY_KIND_U64},
    {"long long", RAY_KIND_I64},
    {"unsigned long long", RAY_KIND_U64},
    {"size_t", RAY_KIND_U64},
    {"ssize_t", RAY_KIND_I64},
    {"ptrdiff_t", RAY_KIND_I64},
    {"intptr_t", RAY_KIND_I64},
    {"uintptr_t", RAY_KIND_U64},
    {"int8_t", RAY_KIND_I8},
    {"int16_t", RAY_KIND_I16},
    {"int32_t", RAY_KIND_I32},
    {"int64_t", RAY_KIND_I64},
    {"uint8_t", RAY_KIND_U8},
    {"uint16_t", RAY_KIND_U16},
    {"uint32_t", RAY_KIND_U32},
    {"uint64_t", RAY_KIND_U64},
    {"float", RAY_KIND_F32},
    {"double", RAY_KIND_F64},
    {"const char *", RAY_KIND_STRING},
    {"ray_view", RAY_KIND_BYTES},
    {"ray_ref *", RAY_KIND_REF},
    {"ray_actor *", RAY_KIND_ACTOR},
    {"ray_buffer *", RAY_KIND_BUFFER},
    {"ray_value", RAY_KIND_VALUE},
};

/* Copies a type with its blanks made regular: one between words and before a star. */
static void tidy(char *out, const char *from, size_t size)
{
    char *start = out;

    for (const char *end = from + size; from < end; from++) {
        if (isspace((unsigned char)*from))
            continue;
        if (out > start && (*from == '*' || isspace((unsigned char)from[-1])))
            *out++ = ' ';
        *out++ = *from;
    }
    *out = 0;
}

static bool set_type(rayi_param *param, const char *name)
{
    for (size_t i = 0; i < RAYI_COUNT_OF(words); i++)
        if (strcmp(words[i].name, name) == 0) {
            *param = (rayi_param){.kind = words[i].kind, .name = name};
            param->size = rayi_number_size(param->kind);
            return true;
        }
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '_')
            return false;
    *param = (rayi_param){.kind = RAY_KIND_STRUCT, .name = name, .layout = rayi_struct_find(name)};
    param->size = param->layout ? param->layout->value_size : 0;
    return *name != 0;
}

static rayi_function *refuse(rayi_function *function, const char *signature, const char *name, const char *why,
                             const char *what)
{
    (void)rayi_fail(RAY_ERR_TYPE, "%s: signature \"%s\": %s%s", name, signature, why, what);
    if (function)
        rayi_free(function->types_text);
    rayi_free(function);
    return NULL;
}

rayi_function *rayi_signature_parse(const char *signature, const char *name)
{
    const char *open = strrchr(signature, '('), *close = open ? strchr(open, ')') : NULL, *at;
    size_t result = open ? (size_t)(open - signature) : 0, commas = 0;
    rayi_function *function;
    char *text;

    if (!open || !close || close[1 + strspn(close + 1, " \t")] != 0)
        return refuse(NULL, signature, name, "expected R(T, T, …)", "");
    for (at = open; at < close; at++)
        commas += *at == ',';
    function = rayi_zalloc(sizeof *function + (commas + 1) * sizeof *function->params);
    text = rayi_alloc(2 * strlen(signature) + commas + 3);
    if (!function || !text) {
        rayi_free(function);
        rayi_free(text);
        rayi_error_set_last(rayi_error_no_memory("a function's signature"));
        return NULL;
    }
    function->types_text = text;
    if (strncmp(signature, "ray_stream(", 11) == 0) {
        while (result > 0 && signature[result - 1] != ')')
            result--;
        if (result < 12)
            return refuse(function, signature, name, "expected ray_stream(T)(…)", "");
        tidy(text, signature + 11, result - 12);
    } else {
        tidy(text, signature, result);
    }
    if (!set_type(&function->result, text) || function->result.kind == RAY_KIND_VALUE)
        return refuse(function, signature, name, "this cannot be a result: ", text);
    for (at = open + 1; at <= close; at++) {
        size_t size = strcspn(at, ",)");
        text += strlen(text) + 1;
        tidy(text, at, size);
        at += size;
        if (*text == 0 && function->num_params == 0 && at == close)
            break;
        if (function->variadic)
            return refuse(function, signature, name, "T... must come last, not before ", text);
        if (strlen(text) > 3 && strcmp(text + strlen(text) - 3, "...") == 0) {
            function->variadic = true;
            text[strlen(text) - 3] = 0;
            if (strlen(text) > 0 && text[strlen(text) - 1] == ' ')
                text[strlen(text) - 1] = 0;
        }
        if (!set_type(&function->params[function->num_params], text) ||
            function->params[function->num_params].kind == RAY_KIND_NONE ||
            function->params[function->num_params].kind == RAY_KIND_BUFFER)
            return refuse(function, signature, name, "this cannot be a parameter: ", text);
        function->num_params++;
    }
    return function;
}

void rayi_signature_write(rayi_text *text, const rayi_function *function)
{
    bool stream = function->record->flags & RAY_FUNCTION_STREAM;

    rayi_text_printf(text, stream ? "ray_stream(%s)(" : "%s(", function->result.name);
    for (uint32_t i = 0; i < function->num_params; i++)
        rayi_text_printf(text, "%s%s", i ? ", " : "", function->params[i].name);
    rayi_text_add(text, function->variadic ? "...)" : ")");
}

static void describe_struct(const ray_struct *layout, rayi_text *text)
{
    rayi_text_printf(text, "; %s{%zu", layout->name, layout->value_size);
    for (size_t i = 0; i < layout->num_fields; i++)
        rayi_text_printf(text, ", %s %s[%u] at %zu", rayi_kind_name(layout->fields[i].kind), layout->fields[i].name,
                         layout->fields[i].count, layout->fields[i].offset);
    rayi_text_add(text, "}");
}

void rayi_function_describe(const rayi_function *function, rayi_text *text)
{
    if (function->foreign) { /* in the words of who has it */
        rayi_text_add(text, rayi_foreign_description(function->foreign));
        return;
    }
    if (function->abroad) {
        rayi_abroad_describe(function, text);
        return;
    }
    rayi_signature_write(text, function);
    for (uint32_t i = 0; i <= function->num_params; i++) {
        const rayi_param *param = i ? &function->params[i - 1] : &function->result;
        if (param->layout)
            describe_struct(param->layout, text);
    }
}
