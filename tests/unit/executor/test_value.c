/* Conversions: every kind to every kind, at the limits, and what is said of those that cannot be. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "executor/inside.h"

__extension__ typedef __int128 wide;

static const wide least[] = {[RAY_KIND_BOOL] = 0,        [RAY_KIND_I8] = INT8_MIN,   [RAY_KIND_I16] = INT16_MIN,
                             [RAY_KIND_I32] = INT32_MIN, [RAY_KIND_I64] = INT64_MIN, [RAY_KIND_U64] = 0};
static const wide most[] = {[RAY_KIND_BOOL] = 1,         [RAY_KIND_I8] = INT8_MAX,    [RAY_KIND_I16] = INT16_MAX,
                            [RAY_KIND_I32] = INT32_MAX,  [RAY_KIND_I64] = INT64_MAX,  [RAY_KIND_U8] = UINT8_MAX,
                            [RAY_KIND_U16] = UINT16_MAX, [RAY_KIND_U32] = UINT32_MAX, [RAY_KIND_U64] = UINT64_MAX};

typedef union room {
    bool truth;
    int8_t i8;
    int16_t i16;
    int32_t i32;
    int64_t i64;
    uint64_t bits;
    float f32;
    double f64;
    unsigned char bytes[32];
} room;

/* Little-endian: the low bytes are the narrower number. */
static void store(unsigned kind, room *data, wide n)
{
    uint64_t bits = (uint64_t)n;
    memset(data, 0xee, sizeof *data);
    memcpy(data, &bits, rayi_number_size(kind));
}

static wide load(unsigned kind, const room *data)
{
    uint64_t bits = 0;
    memcpy(&bits, data, rayi_number_size(kind));
    switch (kind) {
    case RAY_KIND_I8:
        return (int8_t)bits;
    case RAY_KIND_I16:
        return (int16_t)bits;
    case RAY_KIND_I32:
        return (int32_t)bits;
    case RAY_KIND_I64:
        return (int64_t)bits;
    default:
        return bits;
    }
}

static char why[256];

static int convert(unsigned from, size_t from_size, void *from_data, unsigned to, size_t to_size, room *out)
{
    memset(out, 0xdd, sizeof *out);
    why[0] = 0;
    return rayi_value_convert(&(ray_value){.kind = from, .size = from_size, .data = from_data},
                              &(ray_value){.kind = to, .size = to_size, .data = out}, why, sizeof why);
}

static int convert_number(unsigned from, room *data, unsigned to, room *out)
{
    return convert(from, rayi_number_size(from), data, to, rayi_number_size(to), out);
}

static void say(char *out, unsigned from, unsigned to, wide n)
{
    if (n < 0)
        sprintf(out, "expected %s, got %s %lld, which does not fit", rayi_kind_name(to), rayi_kind_name(from),
                (long long)n);
    else
        sprintf(out, "expected %s, got %s %llu, which does not fit", rayi_kind_name(to), rayi_kind_name(from),
                (unsigned long long)n);
}

/* Each limit of each integer, and its neighbours, from every kind that can hold it to every kind. */
Test(value, integers)
{
    unsigned converted = 0, refused = 0;

    for (unsigned from = RAY_KIND_BOOL; from <= RAY_KIND_U64; from++)
        for (unsigned to = RAY_KIND_BOOL; to <= RAY_KIND_U64; to++)
            for (unsigned of = RAY_KIND_BOOL; of <= RAY_KIND_U64; of++)
                for (int at = 0; at < 6; at++) {
                    wide n = (at < 3 ? least[of] : most[of]) + at % 3 - 1;
                    char expected[256];
                    room in, out, untouched;
                    int code;
                    if (n < least[from] || n > most[from])
                        continue;
                    store(from, &in, n);
                    memset(&untouched, 0xdd, sizeof untouched);
                    code = convert_number(from, &in, to, &out);
                    say(expected, from, to, n);
                    if (n >= least[to] && n <= most[to]) {
                        cr_assert_eq(code, 0, "%s", expected);
                        cr_assert(load(to, &out) == n, "%s", expected);
                        memcpy(&untouched, &out, rayi_number_size(to));
                        converted++;
                    } else {
                        cr_assert_eq(code, RAY_ERR_TYPE, "%s", expected);
                        cr_assert_str_eq(why, expected);
                        refused++;
                    }
                    cr_assert_arr_eq(&out, &untouched, sizeof out); /* not a byte beside it */
                }
    cr_assert_gt(converted, 500);
    cr_assert_gt(refused, 500);
}

Test(value, floating)
{
    for (unsigned kind = RAY_KIND_BOOL; kind <= RAY_KIND_U64; kind++) {
        const wide values[] = {least[kind], 0, 1, most[kind]};
        char expected[256];
        room in, out;
        for (size_t i = 0; i < RAYI_COUNT_OF(values); i++) {
            store(kind, &in, values[i]);
            cr_assert_eq(convert_number(kind, &in, RAY_KIND_F64, &out), 0);
            cr_assert(out.f64 == (double)values[i]);
            cr_assert_eq(convert_number(kind, &in, RAY_KIND_F32, &out), 0);
            cr_assert(out.f32 == (float)(double)values[i]);
        }
        /* Never back, not even a whole number. */
        in.f64 = 1;
        cr_assert_eq(convert_number(RAY_KIND_F64, &in, kind, &out), RAY_ERR_TYPE);
        sprintf(expected, "expected %s, got double 1", rayi_kind_name(kind));
        cr_assert_str_eq(why, expected);
        in.f32 = -2.5f;
        cr_assert_eq(convert_number(RAY_KIND_F32, &in, kind, &out), RAY_ERR_TYPE);
        sprintf(expected, "expected %s, got float -2.5", rayi_kind_name(kind));
        cr_assert_str_eq(why, expected);
    }
}

Test(value, floating_to_floating)
{
    room in, out;

    in.f32 = 1.5f;
    cr_expect_eq(convert_number(RAY_KIND_F32, &in, RAY_KIND_F64, &out), 0);
    cr_expect(out.f64 == 1.5);
    in.f64 = 0.1;
    cr_expect_eq(convert_number(RAY_KIND_F64, &in, RAY_KIND_F32, &out), 0);
    cr_expect(out.f32 == 0.1f);
    cr_expect_eq(convert_number(RAY_KIND_F64, &in, RAY_KIND_F64, &out), 0);
    cr_expect(out.f64 == 0.1);
}

/* Whatever is neither a number nor made of bytes goes nowhere here, and nothing comes from it. */
Test(value, others)
{
    for (unsigned from = RAY_KIND_NONE; from <= RAY_KIND_VALUE; from++)
        for (unsigned to = RAY_KIND_NONE; to <= RAY_KIND_VALUE; to++) {
            room in = {.bits = 0}, out, untouched;
            char expected[256];
            bool to_packed = rayi_is_number(to) || to == RAY_KIND_STRUCT;
            if ((rayi_is_number(from) && rayi_is_number(to)) || (from == RAY_KIND_BYTES && to_packed) ||
                (from == RAY_KIND_STRUCT && to == RAY_KIND_STRUCT))
                continue;
            cr_assert_eq(convert(from, 8, &in, to, 8, &out), RAY_ERR_TYPE, "%u %u", from, to);
            sprintf(expected, "expected %s, got %s", rayi_kind_name(to), rayi_kind_name(from));
            cr_assert_str_eq(why, expected);
            memset(&untouched, 0xdd, sizeof untouched);
            cr_assert_arr_eq(&out, &untouched, sizeof out);
        }
}

Test(value, bytes)
{
    unsigned char data[9] = {1, 0, 0, 0, 0, 0, 0, 0, 0};
    char expected[256];
    room out;

    for (unsigned kind = RAY_KIND_BOOL; kind <= RAY_KIND_F64; kind++)
        for (size_t size = 0; size <= sizeof data; size++) {
            ray_view view = {.data = data, .size = size};
            int code = convert(RAY_KIND_BYTES, sizeof view, &view, kind, rayi_number_size(kind), &out);
            if (size == rayi_number_size(kind)) {
                cr_assert_eq(code, 0);
                cr_assert_arr_eq(&out, data, size);
                cr_assert_eq(out.bytes[size], 0xdd);
                continue;
            }
            cr_assert_eq(code, RAY_ERR_TYPE);
            sprintf(expected, "expected %s of %zu bytes, got bytes of %zu bytes", rayi_kind_name(kind),
                    rayi_number_size(kind), size);
            cr_assert_str_eq(why, expected);
        }
}

Test(value, structs)
{
    unsigned char data[24] = "0123456789012345";
    ray_view view = {.data = data, .size = 16};
    room out;

    cr_expect_eq(convert(RAY_KIND_STRUCT, 16, data, RAY_KIND_STRUCT, 16, &out), 0);
    cr_assert_arr_eq(&out, data, 16);
    cr_expect_eq(convert(RAY_KIND_BYTES, sizeof view, &view, RAY_KIND_STRUCT, 16, &out), 0);
    cr_assert_arr_eq(&out, data, 16);
    cr_expect_eq(convert(RAY_KIND_STRUCT, 16, data, RAY_KIND_STRUCT, 24, &out), RAY_ERR_TYPE);
    cr_expect_str_eq(why, "expected struct of 24 bytes, got a struct of 16 bytes");
    cr_expect_eq(convert(RAY_KIND_BYTES, sizeof view, &view, RAY_KIND_STRUCT, 8, &out), RAY_ERR_TYPE);
    cr_expect_str_eq(why, "expected struct of 8 bytes, got bytes of 16 bytes");
}

/* Little room for the words: they are cut. */
Test(value, little_room)
{
    room in = {.i64 = 300}, out;
    char few[10];

    memset(few, 'x', sizeof few);
    cr_expect_eq(rayi_value_convert(&(ray_value){.kind = RAY_KIND_I64, .size = 8, .data = &in},
                                    &(ray_value){.kind = RAY_KIND_U8, .size = 1, .data = &out}, few, 9),
                 RAY_ERR_TYPE);
    cr_expect_str_eq(few, "expected");
    cr_expect_eq(few[9], 'x');
}

Test(value, bytes_of)
{
    const char *string = "word";
    ray_view view = {.data = string, .size = 2}, got;
    int64_t number = 1;

    got = rayi_value_bytes(&(ray_value){.kind = RAY_KIND_STRING, .size = sizeof string, .data = &string});
    cr_expect(got.data == string && got.size == 4);
    got = rayi_value_bytes(&(ray_value){.kind = RAY_KIND_BYTES, .size = sizeof view, .data = &view});
    cr_expect(got.data == string && got.size == 2);
    got = rayi_value_bytes(&(ray_value){.kind = RAY_KIND_STRUCT, .size = sizeof number, .data = &number});
    cr_expect(got.data == &number && got.size == 8);
    for (unsigned kind = RAY_KIND_NONE; kind <= RAY_KIND_VALUE; kind++)
        cr_expect_eq(rayi_value_has_bytes(kind), kind >= RAY_KIND_STRING && kind <= RAY_KIND_STRUCT);
    cr_expect_str_eq(rayi_kind_name(19), "an unknown kind");
}
