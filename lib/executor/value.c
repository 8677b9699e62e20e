/* Kinds of values and the conversions between them, where they meet at run time. */
#include "executor/inside.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    uint8_t size;
} kinds[] = {
    [RAY_KIND_NONE] = {"nothing", 0},        [RAY_KIND_BOOL] = {"bool", 1},
    [RAY_KIND_I8] = {"int8_t", 1},           [RAY_KIND_I16] = {"int16_t", 2},
    [RAY_KIND_I32] = {"int32_t", 4},         [RAY_KIND_I64] = {"int64_t", 8},
    [RAY_KIND_U8] = {"uint8_t", 1},          [RAY_KIND_U16] = {"uint16_t", 2},
    [RAY_KIND_U32] = {"uint32_t", 4},        [RAY_KIND_U64] = {"uint64_t", 8},
    [RAY_KIND_F32] = {"float", 4},           [RAY_KIND_F64] = {"double", 8},
    [RAY_KIND_STRING] = {"const char *", 8}, [RAY_KIND_BYTES] = {"ray_view", 24},
    [RAY_KIND_STRUCT] = {"struct", 0},       [RAY_KIND_REF] = {"ray_ref *", 8},
    [RAY_KIND_ACTOR] = {"ray_actor *", 8},   [RAY_KIND_BUFFER] = {"ray_buffer *", 8},
    [RAY_KIND_VALUE] = {"ray_value", 24},
};

const char *rayi_kind_name(unsigned kind)
{
    return kind < RAYI_COUNT_OF(kinds) ? kinds[kind].name : "an unknown kind";
}

size_t rayi_number_size(unsigned kind)
{
    return kinds[kind].size;
}

bool rayi_value_has_bytes(unsigned kind)
{
    return kind == RAY_KIND_STRING || kind == RAY_KIND_BYTES || kind == RAY_KIND_STRUCT;
}

ray_view rayi_value_bytes(const ray_value *value)
{
    switch (value->kind) {
    case RAY_KIND_STRING: {
        const char *string = *(const char *const *)value->data;
        return (ray_view){.data = string, .size = strlen(string)};
    }
    case RAY_KIND_BYTES:
        return *(const ray_view *)value->data;
    default:
        return (ray_view){.data = value->data, .size = value->size};
    }
}

/* A number as the widest of its sort. */
typedef struct number {
    bool floating, negative;
    uint64_t bits; /* of a negative one as int64_t */
    double real;
} number;

static number signed_number(int64_t n)
{
    return (number){.negative = n < 0, .bits = (uint64_t)n, .real = (double)n};
}
static number unsigned_number(uint64_t n)
{
    return (number){.bits = n, .real = (double)n};
}

static number load_number(unsigned kind, const void *data)
{
    switch (kind) {
    case RAY_KIND_BOOL:
        return unsigned_number(*(const bool *)data);
    case RAY_KIND_I8:
        return signed_number(*(const int8_t *)data);
    case RAY_KIND_I16:
        return signed_number(*(const int16_t *)data);
    case RAY_KIND_I32:
        return signed_number(*(const int32_t *)data);
    case RAY_KIND_I64:
        return signed_number(*(const int64_t *)data);
    case RAY_KIND_U8:
        return unsigned_number(*(const uint8_t *)data);
    case RAY_KIND_U16:
        return unsigned_number(*(const uint16_t *)data);
    case RAY_KIND_U32:
        return unsigned_number(*(const uint32_t *)data);
    case RAY_KIND_U64:
        return unsigned_number(*(const uint64_t *)data);
    case RAY_KIND_F32:
        return (number){.floating = true, .real = (double)*(const float *)data};
    default:
        return (number){.floating = true, .real = *(const double *)data};
    }
}

static bool fits(number n, unsigned kind)
{
    static const struct {
        int64_t least;
        uint64_t most;
    } range[] = {
        [RAY_KIND_BOOL] = {0, 1},
        [RAY_KIND_I8] = {INT8_MIN, INT8_MAX},
        [RAY_KIND_I16] = {INT16_MIN, INT16_MAX},
        [RAY_KIND_I32] = {INT32_MIN, INT32_MAX},
        [RAY_KIND_I64] = {INT64_MIN, INT64_MAX},
        [RAY_KIND_U8] = {0, UINT8_MAX},
        [RAY_KIND_U16] = {0, UINT16_MAX},
        [RAY_KIND_U32] = {0, UINT32_MAX},
        [RAY_KIND_U64] = {0, UINT64_MAX},
    };

    return n.negative ? (int64_t)n.bits >= range[kind].least : n.bits <= range[kind].most;
}

static void store_number(number n, unsigned kind, void *data)
{
    switch (kind) {
    case RAY_KIND_F32:
        *(float *)data = (float)n.real;
        break;
    case RAY_KIND_F64:
        *(double *)data = n.real;
        break;
    case RAY_KIND_BOOL:
        *(bool *)data = n.bits != 0;
        break;
    default: /* two's complement: the low bytes are the narrower number */
        memcpy(data, &n.bits, rayi_number_size(kind));
        break;
    }
}

static void say_number(char *out, size_t size, unsigned kind, number n)
{
    if (n.floating)
        snprintf(out, size, "%s %g", rayi_kind_name(kind), n.real);
    else if (n.negative)
        snprintf(out, size, "%s %" PRId64, rayi_kind_name(kind), (int64_t)n.bits);
    else
        snprintf(out, size, "%s %" PRIu64, rayi_kind_name(kind), n.bits);
}

static int convert_number(const ray_value *from, const ray_value *to, char *why, size_t why_size)
{
    number n = load_number(from->kind, from->data);
    bool to_floating = to->kind == RAY_KIND_F32 || to->kind == RAY_KIND_F64;
    char came[64];

    if (to_floating || (!n.floating && fits(n, to->kind))) {
        store_number(n, to->kind, to->data);
        return 0;
    }
    say_number(came, sizeof came, from->kind, n);
    snprintf(why, why_size, "expected %s, got %s%s", rayi_kind_name(to->kind), came,
             n.floating ? "" : ", which does not fit");
    return RAY_ERR_TYPE;
}

int rayi_value_convert(const ray_value *from, const ray_value *to, char *why, size_t why_size)
{
    ray_view bytes;

    if (rayi_is_number(from->kind) && rayi_is_number(to->kind)) {
        if (from->kind != to->kind)
            return convert_number(from, to, why, why_size);
        memcpy(to->data, from->data, rayi_number_size(to->kind));
        return 0;
    }
    if ((from->kind == RAY_KIND_BYTES && (rayi_is_number(to->kind) || to->kind == RAY_KIND_STRUCT)) ||
        (from->kind == RAY_KIND_STRUCT && to->kind == RAY_KIND_STRUCT)) {
        bytes = rayi_value_bytes(from);
        if (bytes.size == to->size) {
            memcpy(to->data, bytes.data, bytes.size);
            return 0;
        }
        snprintf(why, why_size, "expected %s of %zu bytes, got %s of %zu bytes", rayi_kind_name(to->kind), to->size,
                 from->kind == RAY_KIND_STRUCT ? "a struct" : "bytes", bytes.size);
        return RAY_ERR_TYPE;
    }
    snprintf(why, why_size, "expected %s, got %s", rayi_kind_name(to->kind), rayi_kind_name(from->kind));
    return RAY_ERR_TYPE;
}
