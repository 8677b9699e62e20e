// The plain core from C++17: registration with a signature, submission by name and by record, a name for all.
#include "kinds.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

static void check(bool holds, const char *what)
{
    if (holds)
        return;
    std::fprintf(stderr, "%s: %s\n", what, ray_last_error()->message);
    std::exit(1);
}

static void call_scale(ray_frame *f)
{
    auto x = *static_cast<const double *>(f->args[0].data);
    auto k = *static_cast<const int64_t *>(f->args[1].data);
    if (k == 0)
        ray_fail("scale: k is zero");
    else
        *static_cast<double *>(f->result.data) = x * static_cast<double>(k);
}

// "py:*": the key is in f->name, the payload in the first argument.
static void call_any(ray_frame *f)
{
    const auto *payload = static_cast<const ray_view *>(f->args[0].data);
    std::string text = std::string(f->name) + " got " + std::to_string(payload->size) + " bytes and " +
                       std::to_string(f->num_args - 1) + " more";
    ray_buffer *b = ray_create(text.size());
    if (b)
        std::memcpy(b->data, text.data(), text.size());
    *static_cast<ray_buffer **>(f->result.data) = b;
}

static std::string text_of(ray_ref *r)
{
    ray_view view{};
    ray_value out = {RAY_KIND_BYTES, 0, sizeof view, &view};
    check(ray_get(r, &out) == 0, "ray_get of bytes");
    std::string text(static_cast<const char *>(view.data), view.size);
    ray_view_release(&view);
    return text;
}

static ray_function scale, any;

int main()
{
    scale.size = sizeof scale;
    scale.name = "scale";
    scale.signature = "double(double, int64_t)";
    scale.call = call_scale;
    any.size = sizeof any;
    any.name = "py:*";
    any.signature = "ray_buffer *(ray_view, ray_view...)";
    any.call = call_any;
    check(ray_register(&scale) == 0 && ray_register(&any) == 0 && ray_init(nullptr) == 0, "ray_init");

    double x = 1.5, y = 0;
    int32_t k = 4;
    ray_value args[] = {{RAY_KIND_F64, 0, sizeof x, &x}, {RAY_KIND_I32, 0, sizeof k, &k}};
    ray_value out = {RAY_KIND_F64, 0, sizeof y, &y};
    ray_ref *r = ray_submit(&scale, args, 2, nullptr);
    check(ray_get(r, &out) == 0 && y == 6, "scale");
    ray_release(r);
    k = 0;
    r = ray_submit(ray_function_get("scale"), args, 2, nullptr);
    check(ray_get(r, &out) == RAY_ERR_TASK_FAILED, "scale by zero");
    check(std::strcmp(ray_last_error()->message, "scale: k is zero") == 0, "the reason");
    ray_release(r);

    ray_view payload = ray_view_of("pickle", 6);
    ray_value more[] = {{RAY_KIND_BYTES, 0, sizeof payload, &payload}, {RAY_KIND_REF, 0, sizeof r, &r}};
    ray_task_options once{};
    once.size = sizeof once;
    once.max_retries = RAY_NO_RETRIES;
    r = ray_submit(ray_function_get("py:mod.f#1a2b"), more, 1, &once);
    check(text_of(r) == "py:mod.f#1a2b got 6 bytes and 0 more", "py:mod.f#1a2b");
    ray_ref *second = ray_submit(ray_function_get("py:other"), more, 2, &once);
    check(text_of(second) == "py:other got 6 bytes and 1 more", "py:other");
    ray_release(r);
    ray_release(second);

    int64_t a = 20, b = 22, sum = 0; // a function that C defines, by its declaration
    ray_value both[] = {{RAY_KIND_I64, 0, sizeof a, &a}, {RAY_KIND_I64, 0, sizeof b, &b}};
    ray_value total = {RAY_KIND_I64, 0, sizeof sum, &sum};
    check(add2(a, b) == 42, "add2 called");
    r = ray_submit(&ray_fn_add2, both, 2, nullptr);
    check(ray_get(r, &total) == 0 && sum == 42, "add2 submitted");
    ray_release(r);
    return ray_shutdown();
}
