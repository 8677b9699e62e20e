/* The records that both programs have: the same names and signatures, another `call`. */
#include "toy.h"

/* [records */
static ray_function records[] = {
    {.name = "toy:*", .signature = "ray_view(ray_view, ray_value...)"},
    {.name = "toystream:*", .signature = "ray_stream(ray_view)(ray_view)", .flags = RAY_FUNCTION_STREAM},
    {.name = "toy.Counter",
     .signature = "void(ray_view)",
     .flags = RAY_FUNCTION_ACTOR,
     .state_size = sizeof(toy_object *)},
    {.name = "toy.Counter.*", .signature = "ray_view(ray_view, ray_value...)", .flags = RAY_FUNCTION_METHOD},
    {.name = "toyclass:*",
     .signature = "ray_view(ray_value...)",
     .flags = RAY_FUNCTION_ACTOR | RAY_FUNCTION_METHOD,
     .state_size = sizeof(toy_object *)},
};
/* records] */

int toy_register(ray_trampoline call)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < sizeof records / sizeof *records; i++) {
        records[i].size = sizeof records[i];
        records[i].call = call;
        r = ray_register(&records[i]);
    }
    return r;
}
