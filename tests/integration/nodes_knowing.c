/* A node whose program has what plugin.c has, too, a function that nodes_stranger.c has by another signature, and all
 * functions and classes of a "language", which says by which name it was called. */
#include "nodes.h"

RAY_REMOTE(double, known_to_few, (double, x))
{
    return x - 1;
}

static void say_name(ray_frame *frame)
{
    if (frame->result.kind == RAY_KIND_STRING) /* no constructor */
        memcpy(frame->result.data, &frame->name, sizeof frame->name);
}

static ray_function language[] = {
    {.size = sizeof(ray_function), .name = "wild:*", .signature = "const char *(ray_value...)", .call = say_name},
    {.size = sizeof(ray_function),
     .name = "tame:*",
     .signature = "const char *(ray_value...)",
     .flags = RAY_FUNCTION_ACTOR | RAY_FUNCTION_METHOD,
     .call = say_name},
};

__attribute__((constructor)) static void add_language(void)
{
    for (size_t i = 0; i < sizeof language / sizeof *language; i++)
        CHECK_OK(ray_register(&language[i]));
}

CHECK_MAIN({0})
