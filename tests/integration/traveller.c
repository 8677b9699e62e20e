/* Libraries for ray_load with RAY_LOAD_EVERYWHERE, which the other nodes of a test do not have. One file, several
 * libraries: the macros say what is wrong with them, or what they have besides. */
#include <fcntl.h>
#include <ray/ray.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct point {
    double x, y;
    int32_t weight[3];
} point;
RAY_STRUCT(point, x, y, weight);

#ifdef HOME
int home_sweet_home;
#elif defined(OTHER)
RAY_REMOTE(int64_t, travel_triple, (int64_t, x)) /* the same name, other bytes; it leaves a mark */
{
    char path[300];
    snprintf(path, sizeof path, "%s/other", getenv("TMPDIR"));
    (void)close(open(path, O_WRONLY | O_CREAT, 0600));
    return 3 * x + 1000;
}
#elif defined(CRASHING)
RAY_REMOTE(int64_t, crashing_triple, (int64_t, x))
{
    return 3 * x;
}
#elif defined(HOMESICK)
extern int home_sweet_home; /* of a library that only the process has which has loaded it already */
RAY_REMOTE(int64_t, homesick_triple, (int64_t, x))
{
    return 3 * x + home_sweet_home;
}
#else
#ifdef HEAVY
const char heavy_data[20 << 20] = {1, 2, 3}; /* so that the file has 20 MiB */
#endif

RAY_REMOTE(int64_t, travel_triple, (int64_t, x))
{
    return 3 * x;
}
RAY_REMOTE(const char *, travel_node)
{
    return ray_context_get()->node_id;
}
/* Of a type that is a number by another name. */
RAY_REMOTE(pid_t, travel_pid)
{
    return getpid();
}
RAY_REMOTE(point, travel_scale, (point, p), (double, by))
{
    return (point){.x = p.x * by, .y = p.y * by, .weight = {p.weight[0], p.weight[1], p.weight[2]}};
}
RAY_REMOTE(ray_stream(int64_t), travel_count, (int64_t, n))
{
    for (int64_t i = 0; i < n && ray_yield(&i) == 0; i++)
        ;
}
/* As many again of its own, each on whichever node has room. */
RAY_REMOTE(int64_t, travel_tree, (int64_t, depth))
{
    int64_t left = 0, right = 0;
    if (depth == 0)
        return 1;
    ray_ref *a = ray_remote(travel_tree, depth - 1), *b = ray_remote(travel_tree, depth - 1);
    int r = ray_get(a, &left) == 0 && ray_get(b, &right) == 0;
    ray_release(a);
    ray_release(b);
    return r ? left + right : -1000000;
}
/* Stands for all names of that beginning: which one it is called by. */
static void say_name(ray_frame *frame)
{
    *(const char **)frame->result.data = frame->name;
}
static ray_function wild = {
    .size = sizeof wild, .name = "travel:*", .signature = "const char *(int64_t)", .call = say_name};
__attribute__((constructor)) static void register_wild(void)
{
    (void)ray_register(&wild);
}

/* Whether one on that node says that it is there. */
RAY_REMOTE(bool, travel_via, (const char *, where))
{
    const char *got = NULL;
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .node_id = where), travel_node);
    bool is_there = ray_get(ref, &got) == 0 && strcmp(got, where) == 0;
    ray_release(ref);
    return is_there;
}
/* Dies at its first try, which leaves a mark in that directory. */
RAY_REMOTE(int64_t, travel_die_once, (const char *, mark))
{
    if (access(mark, F_OK) == 0)
        return 7;
    (void)close(open(mark, O_WRONLY | O_CREAT, 0600));
    abort();
}

typedef struct traveller {
    int64_t n;
} traveller;
RAY_ACTOR(traveller, (int64_t, n))
{
    self->n = n;
}
RAY_METHOD(traveller, int64_t, add, (int64_t, n))
{
    return self->n += n;
}
RAY_METHOD(traveller, int64_t, ask, (int64_t, n))
{
    int64_t got = -1;
    ray_ref *ref = ray_remote(travel_triple, n);
    (void)ray_get(ref, &got);
    ray_release(ref);
    return got;
}
RAY_METHOD(traveller, void, die)
{
    abort();
}
RAY_METHOD(traveller, void, fini)
{
    self->n = 0;
}
#endif

#ifdef CRASHING
__attribute__((constructor)) static void crash_abroad(void)
{
    if (getenv("RAY_WORKER_OF")) /* in a worker process that opens it */
        abort();
}
#endif
