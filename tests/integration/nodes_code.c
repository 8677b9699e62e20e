/* Code that travels: a driver loads a library for all nodes of a cluster, which do not have it. */
#include "nodes_common.h"

#include <glob.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000 };

static int64_t patience(void)
{
    return (int64_t)PATIENCE_MS * check_slowness();
}

static void load(const char *which)
{
    char path[400];
    snprintf(path, sizeof path, "%s%s.so", TRAVELLER, which);
    CHECK_OK(ray_load(path, RAY_LOAD_EVERYWHERE));
}

static ray_ref *submit(const char *function, int64_t x, const char *where)
{
    return ray_submit(ray_function_get(function), &RAY_VALUE(&x), 1, RAY_WITH(ray_task_options, .node_id = where));
}

/* ---- one on each ---- */

static void one_on_each(void)
{
    node *head = node_head("CPU=1"), *workers[2];
    for (int i = 0; i < 2; i++)
        workers[i] = node_worker(head, "CPU=1");
    nodes_join(head);
    load("");
    CHECK_REF_INT(submit("travel_triple", 5, node_id(head)), 15);
    for (int i = 0; i < 2; i++) {
        CHECK_REF_INT(submit("travel_triple", i, node_id(workers[i])), 3 * i);
        CHECK_REF_STR(ray_submit(ray_function_get("travel_node"), NULL, 0,
                                 RAY_WITH(ray_task_options, .node_id = node_id(workers[i]))),
                      node_id(workers[i]));
        /* in a process of its own, not in the node's */
        ray_ref *ref = ray_submit(ray_function_get("travel_pid"), NULL, 0,
                                  RAY_WITH(ray_task_options, .node_id = node_id(workers[i])));
        pid_t pid = 0;
        CHECK_OK(ray_get_timeout(ref, patience(), &pid));
        CHECK(pid > 0 && pid != node_pid(workers[i]));
        ray_release(ref);
    }
    CHECK_OK(ray_shutdown());
    nodes_stop();
}

/* ---- all that a function can be ---- */

typedef struct point {
    double x, y;
    int32_t weight[3];
} point;

static void use_values(const char *where)
{
    point p = {.x = 1.5, .y = -2, .weight = {1, 2, 3}}, got;
    double by = 2;
    ray_ref *ref = ray_submit(ray_function_get("travel_scale"),
                              (ray_value[]){{.kind = RAY_KIND_STRUCT, .size = sizeof p, .data = &p}, RAY_VALUE(&by)}, 2,
                              RAY_WITH(ray_task_options, .node_id = where, .isolation = RAY_ISOLATION_THREAD));
    CHECK_OK(ray_get_timeout(ref, patience(), &got));
    CHECK(got.x == 3 && got.y == -4 && got.weight[0] == 1 && got.weight[2] == 3);
    ray_release(ref);
    ref = submit("travel_count", 20, where);
    for (int64_t i = 0; i < 20; i++)
        CHECK_REF_INT(ray_next(ref), i);
    CHECK_REF(ray_next(ref), RAY_ERR_STREAM_END);
    ray_release(ref);
}

static void use_actor(const char *where)
{
    int64_t n = 5;
    ray_actor *actor = ray_actor_create(ray_function_get("traveller"), &RAY_VALUE(&n), 1,
                                        RAY_WITH(ray_actor_options, .node_id = where));
    for (int64_t i = 1; i <= 3; i++)
        CHECK_REF_INT(ray_actor_submit(actor, ray_function_get("traveller.add"), &RAY_VALUE(&i), 1, NULL), n += i);
    CHECK_REF_INT(ray_actor_submit(actor, ray_function_get("traveller.ask"), &RAY_VALUE(&n), 1, NULL), 3 * n);
    ray_actor_release(actor);
}

/* Its process dies, it lives again. */
static void restart_actor(node *where)
{
    int64_t n = 5, one = 1;
    ray_actor *actor = ray_actor_create(ray_function_get("traveller"), &RAY_VALUE(&n), 1,
                                        RAY_WITH(ray_actor_options, .node_id = node_id(where), .max_restarts = 1));
    CHECK_REF_INT(ray_actor_submit(actor, ray_function_get("traveller.add"), &RAY_VALUE(&one), 1, NULL), 6);
    CHECK_REF(ray_actor_submit(actor, ray_function_get("traveller.die"), NULL, 0, NULL), RAY_ERR_ACTOR_UNAVAILABLE);
    CHECK_REF_INT(ray_actor_submit(actor, ray_function_get("traveller.add"), &RAY_VALUE(&one), 1, NULL), 6);
    ray_actor_release(actor);
    node_expect_log(where, "worker.died", "SIGABRT", patience());
}

/* A wildcard that both nodes have is called there by the name that was asked for. */
static void say_name(ray_frame *frame)
{
    *(const char **)frame->result.data = frame->name;
}
static ray_function wild = {
    .size = sizeof wild, .name = "home:*", .signature = "const char *(int64_t)", .call = say_name};

static void names_of_a_wildcard(void)
{
    CHECK(setenv("NODES_CODE", "-", 1) == 0);
    nodes_may_keep(); /* names */
    node *head = node_head("CPU=0"), *worker = node_worker(head, "CPU=1");
    nodes_join(head);
    CHECK_OK(ray_register(&wild));
    CHECK_REF_STR(submit("home:a", 1, node_id(worker)), "home:a");
    CHECK_REF_STR(submit("home:b", 1, node_id(worker)), "home:b");
    CHECK_OK(ray_shutdown());
    nodes_stop();
}

/* What a node was told it tells on. */
static void told_on(void)
{
    node *head = node_head("CPU=0"), *first = node_worker(head, "CPU=1"), *second = node_worker(head, "CPU=1");
    const char *there = node_id(second);
    bool is_there = false;
    nodes_join(head);
    load("");
    ray_ref *ref = ray_submit(ray_function_get("travel_via"), &RAY_VALUE(&there), 1,
                              RAY_WITH(ray_task_options, .node_id = node_id(first)));
    CHECK_OK(ray_get_timeout(ref, patience(), &is_there));
    CHECK(is_there);
    ray_release(ref);
    CHECK_OK(ray_shutdown());
    nodes_stop();
}

static void all_kinds(void)
{
    nodes_may_keep();
    node *head = node_head("CPU=1"), *worker = node_worker(head, "CPU=2");
    nodes_join(head);
    load("");
    CHECK_REF_STR(submit("travel:abc", 1, node_id(worker)), "travel:abc"); /* by a wildcard of the library */
    restart_actor(worker);
    use_values(node_id(worker));
    use_actor(node_id(worker));
    use_actor(node_id(head));
    CHECK_REF_INT(submit("travel_tree", 4, node_id(worker)), 16); /* which is told on by who was told */
    for (int i = 0; i < 10; i++) {
        load(""); /* once more is nothing */
        CHECK_REF_INT(submit("travel_triple", i, NULL), 3 * i);
    }
    CHECK_OK(ray_shutdown());
    nodes_stop();
}

/* ---- how it comes ---- */

/* The files of that node's session with code: how many; path: one of them. */
static size_t count_files(const node *n, char *path, size_t size)
{
    char pattern[300];
    glob_t found = {0};
    size_t count;
    snprintf(pattern, sizeof pattern, "%s/ray-*/s-%lld-*/code/*", getenv("TMPDIR"), (long long)node_pid(n));
    (void)glob(pattern, 0, NULL, &found);
    count = found.gl_pathc;
    if (path && count > 0)
        snprintf(path, size, "%s", found.gl_pathv[0]);
    globfree(&found);
    return count;
}

/* One fetch for all that wait, which neither fail nor hold up what does not need it. */
static void fetch_once(void)
{
    enum { N = 100 };
    ray_ref *refs[N];
    char path[300];
    struct stat status;
    node *head = node_head("CPU=1"), *worker = node_worker(head, "CPU=2");
    nodes_join(head);
    load("_heavy");
    for (int i = 0; i < N; i++)
        refs[i] = submit("travel_triple", i, node_id(worker));
    CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .node_id = node_id(head)), twice, 4), 8);
    for (int i = 0; i < N; i++)
        CHECK_REF_INT(refs[i], 3 * i);
    CHECK_INT(count_files(worker, path, sizeof path), 1);
    CHECK(stat(path, &status) == 0 && status.st_size > 20 << 20 && (status.st_mode & 07777) == 0700);
    CHECK_INT(count_files(head, NULL, 0), 0); /* nobody has asked for it there */
    node *late = node_worker(head, "CPU=1");
    CHECK_REF_INT(submit("travel_triple", 8, node_id(late)), 24);
    CHECK_INT(count_files(late, NULL, 0), 1);
    CHECK_OK(ray_shutdown());
    for (int64_t end = check_now_ms() + patience(); count_files(worker, NULL, 0) > 0; check_sleep_ms(5))
        CHECK(check_now_ms() < end); /* it went with its job */
    nodes_stop();
}

static void once_a_node(void)
{
    fetch_once();
}
static void once_over_the_net(void)
{
    CHECK(setenv("RAY_MAP_NEIGHBOURS", "0", 1) == 0);
    fetch_once();
}

/* Its process dies: another one is started, and opens it too. */
static void process_dies(void)
{
    char mark[300];
    const char *text = mark;
    node *head = node_head("CPU=0"), *worker = node_worker(head, "CPU=1");
    snprintf(mark, sizeof mark, "%s/mark", getenv("TMPDIR"));
    nodes_join(head);
    load("");
    CHECK_REF_INT(ray_submit(ray_function_get("travel_die_once"), &RAY_VALUE(&text), 1, NULL), 7);
    CHECK_REF_INT(submit("travel_triple", 2, NULL), 6);
    node_expect_log(worker, "worker.died", "SIGABRT", patience());
    CHECK_OK(ray_shutdown());
    CHECK(unlink(mark) == 0);
    nodes_stop();
}

/* ---- what cannot be opened ---- */

/* A node keeps what its worker processes have written, for people. */
static void drop_kept_logs(void)
{
    CHECK(system("rm -rf \"$TMPDIR\"/ray-*/s-*") == 0);
}

static void expect_failure(ray_ref *ref, int code, const char *where, const char *words, const char *more)
{
    CHECK_CODE(ray_get_timeout(ref, patience(), NULL), code);
    CHECK_HAS(ray_last_error()->message, where);
    CHECK_HAS(ray_last_error()->message, words);
    CHECK_HAS(ray_last_error()->message, more);
    ray_release(ref);
}

static void needs_what_is_not_there(void)
{
    node *head = node_head("CPU=0"), *worker = node_worker(head, "CPU=1");
    nodes_join(head);
    CHECK_OK(ray_load(TRAVELLER "_home.so", 0));
    load("_homesick");
    for (int i = 0; i < 3; i++)
        expect_failure(submit("homesick_triple", i, NULL), RAY_ERR_LOAD, node_id(worker), "nowhere-but-home.so",
                       "traveller_homesick.so");
    CHECK_REF_INT(ray_remote(twice, 3), 6);
    node_expect_log(worker, "worker.start_failed", "nowhere-but-home.so", patience());
    CHECK_OK(ray_shutdown());
    nodes_stop();
    drop_kept_logs();
}

static void crashes_when_opened(void)
{
    node *head = node_head("CPU=0"), *worker = node_worker(head, "CPU=1");
    nodes_join(head);
    load("_crashing");
    expect_failure(submit("crashing_triple", 1, NULL), RAY_ERR_LOAD, node_id(worker), "SIGABRT",
                   "traveller_crashing.so");
    CHECK_REF_INT(ray_remote(twice, 3), 6);
    node_expect_log(worker, "worker.start_failed", "SIGABRT", patience());
    CHECK_OK(ray_shutdown());
    nodes_stop();
}

/* ---- ends ---- */

static void owner_is_killed(void)
{
    node *head = node_head("CPU=0"), *worker = node_worker(head, "CPU=1");
    setenv("NODES_CODE", TRAVELLER ".so", 1);
    node *driver = node_driver(head, "travel_triple", 3);
    unsetenv("NODES_CODE");
    for (int64_t end = check_now_ms() + patience(); count_files(worker, NULL, 0) == 0; check_sleep_ms(5))
        CHECK(check_now_ms() < end);
    node_kill(driver);
    for (int64_t end = check_now_ms() + patience(); count_files(worker, NULL, 0) > 0; check_sleep_ms(5))
        CHECK(check_now_ms() < end);
    nodes_join(head);
    CHECK_REF_INT(ray_remote(twice, 3), 6);
    load("");
    CHECK_REF_INT(submit("travel_triple", 2, NULL), 6); /* it is another job's now */
    CHECK_OK(ray_shutdown());
    node_expect_log(head, "node.died", "", patience());
    nodes_stop();
}

/* The same name in other bytes is another function. */
static void other_bytes(void)
{
    char mark[300];
    node *head = node_head("CPU=0"), *worker = node_worker(head, "CPU=1");
    snprintf(mark, sizeof mark, "%s/other", getenv("TMPDIR"));
    nodes_join(head);
    load("");
    CHECK_REF_INT(submit("travel_triple", 2, NULL), 6);
    setenv("NODES_CODE", TRAVELLER "_other.so", 1);
    node *driver = node_driver(head, "travel_triple", 3);
    unsetenv("NODES_CODE");
    for (int64_t end = check_now_ms() + patience(); access(mark, F_OK) != 0; check_sleep_ms(5))
        CHECK(check_now_ms() < end);
    CHECK_REF_INT(submit("travel_triple", 3, NULL), 9);
    CHECK_INT(count_files(worker, NULL, 0), 2);
    node_stop(driver);
    for (int64_t end = check_now_ms() + patience(); count_files(worker, NULL, 0) > 1; check_sleep_ms(5))
        CHECK(check_now_ms() < end);
    CHECK_REF_INT(submit("travel_triple", 4, NULL), 12);
    CHECK_OK(ray_shutdown());
    CHECK(unlink(mark) == 0);
    nodes_stop();
}

/* A process that is told to knows the wildcard, or loads a library, before anything else. */
__attribute__((constructor)) static void load_early(void)
{
    if (getenv("NODES_CODE") && strcmp(getenv("NODES_CODE"), "-") == 0)
        CHECK_OK(ray_register(&wild));
    else if (getenv("NODES_CODE"))
        CHECK_OK(ray_load(getenv("NODES_CODE"), RAY_LOAD_EVERYWHERE));
}

CHECK_MAIN(CHECK_TEST(one_on_each), CHECK_TEST_WITH(all_kinds, CHECK_KEEPS),
           CHECK_TEST_WITH(names_of_a_wildcard, CHECK_KEEPS), CHECK_TEST(told_on), CHECK_TEST(once_a_node),
           CHECK_TEST(once_over_the_net), CHECK_TEST(other_bytes), CHECK_TEST(process_dies),
           CHECK_TEST(needs_what_is_not_there), CHECK_TEST(crashes_when_opened), CHECK_TEST(owner_is_killed))
