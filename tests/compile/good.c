/* Uses of the macros that must compile without a word at the strictest warnings. */
#include <ray/ray.h>

typedef struct body {
    double position[3], turn[3][3];
    char name[16];
    bool alive;
    uint8_t flags;
} body;
typedef enum color { RED, GREEN } color;
typedef int64_t my_index;
typedef struct tally {
    int n;
} tally;

RAY_STRUCT(body, position, turn, name, alive, flags);

RAY_REMOTE(void, nothing) {}
RAY_REMOTE(body, shift, (const body, b), (const double, x))
{
    body moved = b;
    moved.position[0] += x;
    return moved;
}
RAY_REMOTE(my_index, pick, (my_index, i), (color, c), (bool, really))
{
    return really ? i + (int)c : 0;
}
RAY_REMOTE(ray_stream(body), bodies, (ray_view, bytes), (const char *, text))
{
    body b = {.alive = bytes.size > 0 && text[0]};
    ray_yield(&b);
}
static RAY_REMOTE(const char *, hidden, (ray_ref *, r), (ray_value, v))
{
    return r && v.kind ? "a" : "b";
}
RAY_ACTOR(tally) {}
RAY_METHOD(tally, void, fini) {}
RAY_METHOD(tally, ray_stream(int), count)
{
    for (int i = 0; i < self->n; i++)
        ray_yield(&i);
}
RAY_METHOD(tally, ray_buffer *, dump, (ray_actor *, other))
{
    return other ? ray_create(8) : NULL;
}

struct bits {
    unsigned b : 3;
};
static int64_t next(int64_t *n)
{
    return ++*n;
}
void use(void);
void use(void)
{
    const body fixed = {.name = "x"};
    body b = fixed;
    volatile int v = 2;
    int64_t n = 0;
    int length = 3;
    double d = 0;
    char text[8] = "abc";
    const char *const constant = "c";
    struct bits s = {5};
    ray_ref *r = ray_remote(nothing), *in_the_middle;
    ray_release(ray_remote(shift, fixed, 1));
    ray_release(ray_remote(shift, ((body){.alive = true}), v));
    ray_release(ray_remote(shift, r, r));
    ray_release(ray_remote(pick, s.b + 0, GREEN, length > 2));
    ray_release(ray_remote(pick, next(&n), RED, 'c'));
    ray_release(ray_remote(pick, n++, v ? RED : GREEN, true));
    ray_release(ray_remote(bodies, ray_view_of(text, 3), text));
    ray_release(ray_remote(bodies, r, n > 0 ? constant : "b"));
    ray_release(ray_remote(hidden, r, RAY_VALUE(&d)));
    ray_release(ray_remote(hidden, r, RAY_VALUE(&fixed)));
    ray_release(ray_remote(pick, (in_the_middle = ray_remote(pick, 1, 0, 0)), 0, 0));
    ray_release(ray_remote_opts(RAY_WITH(ray_task_options, .priority = 5, .spread = true), pick, 1, 1, 1));
    ray_release(ray_remote_opts(NULL, pick, 1, 1, 1));
    ray_actor *t = ray_actor_new(tally), *u = ray_actor_new_opts(RAY_WITH(ray_actor_options, .name = "u"), tally);
    ray_release(ray_call(t, tally_count));
    ray_release(ray_call(t, tally_dump, u));
    ray_release(ray_call(ray_actor_retain(t), tally_dump, r));
    ray_release(ray_call_opts(&(const ray_task_options){.priority = 1}, t, tally_dump, u));
    ray_value what = {0};
    ray_view view;
    color c;
    (void)(ray_get(r, NULL) + ray_get(r, &b) + ray_get(r, &what) + ray_get(r, &view) + ray_get(r, &c) + ray_get(r, &n));
    (void)ray_get_timeout(r, RAY_FOREVER, &in_the_middle);
    ray_release(in_the_middle), ray_release(r), ray_actor_release(t), ray_actor_release(u);
}
