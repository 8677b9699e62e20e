/* Signatures in C's words: those that are understood, in one spelling, and those that are refused. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "executor/inside.h"

static void free_function(rayi_function *function)
{
    rayi_free(function->types_text);
    rayi_free(function);
}

/* "result kind:kinds of parameters" and "..." */
static const char *kinds_of(const char *signature)
{
    static char out[256];
    rayi_function *function = rayi_signature_parse(signature, "f");
    char *at = out;

    if (!function)
        return rayi_error_last_public()->message;
    at += sprintf(at, "%u:", function->result.kind);
    for (uint32_t i = 0; i < function->num_params; i++)
        at += sprintf(at, "%s%u", i ? "," : "", function->params[i].kind);
    strcpy(at, function->variadic ? "..." : "");
    free_function(function);
    return out;
}

Test(signature, good)
{
    static const char *const table[][2] = {
        {"void()", "0:"},
        {"int()", "4:"},
        {"int(int, int)", "4:4,4"},
        {"  int  ( int ,\tint )  ", "4:4,4"},
        {"double(float,double)", "11:10,11"},
        {"bool(_Bool, bool)", "1:1,1"},
        {"int8_t(int16_t, int32_t, int64_t)", "2:3,4,5"},
        {"uint8_t(uint16_t, uint32_t, uint64_t)", "6:7,8,9"},
        {"unsigned long long(unsigned  long\tlong, long long, unsigned, unsigned int)", "9:9,5,8,8"},
        {"size_t(ssize_t, ptrdiff_t, intptr_t, uintptr_t)", "9:5,5,5,9"},
        {"signed char(unsigned char, short, unsigned short, long, unsigned long)", "2:6,3,7,5,9"},
        {"const char *(const char*)", "12:12"},
        {"const  char*(const char  *)", "12:12"},
        {"ray_view(ray_view, ray_ref *, ray_actor*)", "13:13,15,16"},
        {"ray_ref *()", "15:"},
        {"ray_buffer *(int)", "17:4"},
        {"int(ray_value)", "4:18"},
        {"int(int...)", "4:4..."},
        {"int(const char *, ray_ref *...)", "4:12,15..."},
        {"int(int, ray_ref*...)", "4:4,15..."},
        {"ray_stream(int)(double)", "4:11"},
        {"ray_stream(const char *)()", "12:"},
        {"ray_stream(ray_buffer*) (int, int)", "17:4,4"},
        {"some_struct(other_struct)", "14:14"},
    };

    for (size_t i = 0; i < RAYI_COUNT_OF(table); i++)
        cr_expect_str_eq(kinds_of(table[i][0]), table[i][1], "%s", table[i][0]);
}

Test(signature, bad)
{
    static const char *const table[][2] = {
        {"", "expected R(T, T, …)"},
        {"int", "expected R(T, T, …)"},
        {"int(", "expected R(T, T, …)"},
        {"int)", "expected R(T, T, …)"},
        {"int(int) x", "expected R(T, T, …)"},
        {"int(int))", "expected R(T, T, …)"},
        {"ray_stream(int)", "expected ray_stream(T)(…)"},
        {"()", "this cannot be a result: "},
        {"int *()", "this cannot be a result: int *"},
        {"char *()", "this cannot be a result: char *"},
        {"unsigned unsigned()", "this cannot be a result: unsigned unsigned"},
        {"ray_value()", "this cannot be a result: ray_value"},
        {"ray_stream()()", "this cannot be a result: "},
        {"ray_stream(ray_value)()", "this cannot be a result: ray_value"},
        {"int(int,)", "this cannot be a parameter: "},
        {"int(,int)", "this cannot be a parameter: "},
        {"int(,)", "this cannot be a parameter: "},
        {"int(int, void)", "this cannot be a parameter: void"},
        {"int(ray_buffer *)", "this cannot be a parameter: ray_buffer *"},
        {"int(void *)", "this cannot be a parameter: void *"},
        {"int(int*, int)", "this cannot be a parameter: int *"},
        {"int(...)", "this cannot be a parameter: ..."},
        {"int(int..., int)", "T... must come last, not before int"},
        {"int(int..., double...)", "T... must come last, not before double..."},
        {"int(struct point)", "this cannot be a parameter: struct point"},
        {"int(int-8)", "this cannot be a parameter: int-8"},
    };
    char expected[256];

    for (size_t i = 0; i < RAYI_COUNT_OF(table); i++) {
        sprintf(expected, "f: signature \"%s\": %s", table[i][0], table[i][1]);
        cr_expect_null(rayi_signature_parse(table[i][0], "f"), "%s", table[i][0]);
        cr_expect_eq(rayi_error_last_public()->code, RAY_ERR_TYPE);
        cr_expect_str_eq(rayi_error_last_public()->message, expected);
    }
}

Test(signature, sizes_and_names)
{
    rayi_function *function = rayi_signature_parse("double(int8_t, const  char*, point, ray_view...)", "f");

    cr_assert_not_null(function);
    cr_expect_str_eq(function->result.name, "double");
    cr_expect_eq(function->result.size, 8);
    cr_expect_str_eq(function->params[0].name, "int8_t");
    cr_expect_eq(function->params[0].size, 1);
    cr_expect_str_eq(function->params[1].name, "const char *");
    cr_expect_str_eq(function->params[2].name, "point");
    cr_expect_null(function->params[2].layout);
    cr_expect_eq(function->params[2].size, 0);
    cr_expect_str_eq(function->params[3].name, "ray_view");
    cr_expect_eq(rayi_function_param(function, 3), &function->params[3]);
    cr_expect_eq(rayi_function_param(function, 9), &function->params[3]); /* any number of them */
    free_function(function);
}

/* What is written is understood again, and the same. */
Test(signature, written)
{
    static const char *const table[] = {"void()", "int(int, int)", "const char *(ray_ref *, double...)",
                                        "ray_stream(int)(ray_view)"};

    for (size_t i = 0; i < RAYI_COUNT_OF(table); i++) {
        rayi_function *function = rayi_signature_parse(table[i], "f");
        ray_function record = {.flags = strncmp(table[i], "ray_stream", 10) ? 0 : RAY_FUNCTION_STREAM};
        rayi_text text;
        cr_assert_not_null(function);
        function->record = &record;
        rayi_text_init(&text, rayi_heap);
        rayi_signature_write(&text, function);
        cr_expect_str_eq(text.data, table[i]);
        rayi_text_fini(&text);
        free_function(function);
    }
}
