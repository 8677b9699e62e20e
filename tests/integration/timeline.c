/* The record of what ran on a node: what is in it, in threads and in worker processes, and how it is read in pieces. */
#include "check.h"
#include "json.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define THREAD  RAY_ISOLATION_THREAD
#define PROCESS RAY_ISOLATION_PROCESS

typedef struct shared {
    atomic_int started, gate, tries;
} shared;

static shared *all(void)
{
    return check_shared();
}

static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}
static RAY_REMOTE(int64_t, fails, (int64_t, x))
{
    return ray_fail("no %lld", (long long)x);
}
static RAY_REMOTE(int64_t, go_on)
{
    atomic_fetch_add(&all()->started, 1);
    while (!ray_cancelled())
        check_sleep_ms(1);
    return 0;
}
static RAY_REMOTE(int64_t, crash_once, (int64_t, x))
{
    if (atomic_fetch_add(&all()->tries, 1) == 0)
        kill(getpid(), SIGKILL);
    return x;
}
static RAY_REMOTE(int64_t, fail_once, (int64_t, x))
{
    return atomic_fetch_add(&all()->tries, 1) == 0 ? ray_fail("once") : x;
}
static RAY_REMOTE(int64_t, outer, (int64_t, x))
{
    ray_ref *inner = ray_remote(twice, x);
    int64_t y = 0;
    CHECK_OK(ray_get(inner, &y));
    ray_release(inner);
    return y;
}
static RAY_REMOTE(const char *, own_id)
{
    return ray_context_get()->task_id;
}
static void *complete(void *arg)
{
    int64_t value = 7;
    CHECK_AWAIT(all()->gate, 1);
    CHECK_OK(ray_complete(arg, &RAY_VALUE(&value)));
    return NULL;
}
static pthread_t completer;
static RAY_REMOTE(int64_t, comes_later)
{
    CHECK(pthread_create(&completer, NULL, complete, ray_complete_later()) == 0);
    return 0;
}

typedef struct tally {
    int64_t n;
} tally;
static RAY_ACTOR(tally, (int64_t, start))
{
    self->n = start;
}
static RAY_METHOD(tally, int64_t, add, (int64_t, x))
{
    return self->n += x;
}
static RAY_METHOD(tally, int64_t, dies)
{
    (void)self;
    kill(getpid(), SIGKILL);
    return 0;
}

/* ---- reading it ---- */

static char *ask(const char *query)
{
    ray_view view;
    CHECK_OK(ray_state(query, &view));
    CHECK(json_is_valid(view.data, view.size));
    char *text = strdup(view.data);
    ray_view_release(&view);
    CHECK(text);
    return text;
}

/* The text of the first event with that in it, without what follows; to free. NULL: there is none. */
static char *event_with(const char *text, const char *part)
{
    const char *at = strstr(text, part), *begin = at, *end = at ? strchr(at, '}') : NULL;
    if (!at)
        return NULL;
    while (*begin != '{')
        begin--;
    return strndup(begin, (size_t)(end - begin));
}

static size_t count_of(const char *text, const char *part)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
        count++;
    return count;
}

static int64_t number_of(const char *event, const char *key)
{
    char pattern[64];
    snprintf(pattern, sizeof pattern, "\"%s\": ", key);
    const char *at = strstr(event, pattern);
    CHECK(at);
    return strtoll(at + strlen(pattern), NULL, 10);
}

static void check_event(const char *text, const char *part, const char *const *wanted)
{
    char *event = event_with(text, part);
    CHECK(event);
    for (; *wanted; wanted++)
        CHECK_HAS(event, *wanted);
    free(event);
}
#define CHECK_EVENT(text, part, ...) check_event(text, part, (const char *const[]){__VA_ARGS__, NULL})

static int64_t wall_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void start(ray_isolation isolation, int64_t tasks)
{
    CHECK_OK(ray_init(
        RAY_WITH(ray_config, .resources = "CPU=2", .num_threads = 2, .isolation = isolation, .timeline_tasks = tasks)));
}

/* ---- what is in it ---- */

/* What is alike in threads and in processes: all that ended and was got is there. */
static void run_all(ray_isolation isolation)
{
    const ray_task_options *named =
        RAY_WITH(ray_task_options, .name = "a \"name\" of its own, longer than there is room");
    int64_t before = wall_ns();
    start(isolation, 1000);
    CHECK_REF_INT(ray_remote(twice, 2), 4);
    CHECK_REF(ray_remote(fails, 3), RAY_ERR_TASK_FAILED);
    CHECK_REF_INT(ray_remote_opts(named, outer, 4), 8);
    CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .retry_failures = true), fail_once, 5), 5);
    ray_ref *long_one = ray_remote(go_on);
    CHECK_AWAIT(all()->started, 1);
    CHECK_OK(ray_cancel(long_one, 0));
    CHECK_REF(long_one, RAY_ERR_CANCELLED);
    ray_actor *actor = ray_actor_new(tally, 1);
    CHECK_REF_INT(ray_call(actor, tally_add, 2), 3);
    char *text = ask("timeline");
    CHECK_HAS(text, "\"is_recording\": true");
    CHECK_HAS(text, "\"next\": null, \"recorded\": 9, \"lost\": 0}");
    CHECK_INT(count_of(text, "\"kind\": "), 9);
    CHECK_EVENT(text, "{\"name\": \"twice\"", "\"kind\": \"task\"", "\"outcome\": \"ok\"", "\"attempt\": 0",
                "\"actor_id\": null");
    CHECK_EVENT(text, "{\"name\": \"fails\"", "\"outcome\": \"failed\"");
    CHECK_EVENT(text, "\"function\": \"outer\"", "{\"name\": \"a \\\"name\\\" of its own, longer than there \"");
    CHECK_EVENT(text, "{\"name\": \"go_on\"", "\"outcome\": \"cancelled\"");
    CHECK_EVENT(text, "\"actor_creation\"", "{\"name\": \"tally\"", "\"actor_id\": \"");
    CHECK_EVENT(text, "\"actor_call\"", "add\"", "\"actor_id\": \"", "\"outcome\": \"ok\"");
    CHECK_INT(count_of(text, "\"function\": \"fail_once\""), 2);
    char *first = event_with(text, "\"function\": \"fail_once\", \"kind\": \"task\", \"outcome\": \"failed\""),
         *second = event_with(text, "\"function\": \"fail_once\", \"kind\": \"task\", \"outcome\": \"ok\"");
    CHECK(first && second);
    CHECK_INT(number_of(first, "attempt"), 0);
    CHECK_INT(number_of(second, "attempt"), 1);
    CHECK(number_of(first, "start_ns") + number_of(first, "duration_ns") <= number_of(second, "start_ns"));
    int64_t after = wall_ns();
    for (const char *at = text; (at = strstr(at, "{\"name\"")); at++) {
        CHECK(number_of(at, "start_ns") >= before - 1000000000 && number_of(at, "start_ns") <= after + 1000000000);
        CHECK(number_of(at, "duration_ns") >= 0 && number_of(at, "duration_ns") <= after - before);
        CHECK((number_of(at, "pid") != 0) == (isolation == PROCESS));
        CHECK(number_of(at, "pid") != getpid());
    }
    free(first), free(second), free(text);
    ray_actor_release(actor);
    check_stop();
}

static void in_threads(void)
{
    run_all(THREAD);
}

static void in_processes(void)
{
    run_all(PROCESS);
}

static void what_crashes(void)
{
    start(PROCESS, 1000);
    CHECK_REF_INT(ray_remote(crash_once, 5), 5);
    ray_actor *actor = ray_actor_new(tally, 1);
    CHECK_REF(ray_call(actor, tally_dies), RAY_ERR_ACTOR_DIED);
    check_expect_logs("worker.died", "KILL", 2, 5000);
    char *text = ask("timeline");
    CHECK_INT(count_of(text, "{\"name\": \"crash_once\""), 2);
    CHECK_EVENT(text, "\"function\": \"crash_once\", \"kind\": \"task\", \"outcome\": \"failed\"", "\"attempt\": 0");
    CHECK_EVENT(text, "\"function\": \"crash_once\", \"kind\": \"task\", \"outcome\": \"ok\"", "\"attempt\": 1");
    CHECK_EVENT(text, "dies\"", "\"actor_call\"", "\"outcome\": \"failed\"");
    CHECK_INT(count_of(text, "\"kind\": "), 4);
    free(text);
    ray_actor_release(actor);
    check_stop();
}

static void what_comes_later(void)
{
    start(THREAD, 1000);
    ray_ref *ref = ray_remote(comes_later);
    char *text = NULL;
    do {
        free(text);
        text = ask("timeline");
    } while (!strstr(text, "comes_later")); /* it has returned */
    CHECK_EVENT(text, "{\"name\": \"comes_later\"", "\"outcome\": \"later\"");
    atomic_store(&all()->gate, 1);
    CHECK_REF_INT(ref, 7);
    CHECK(pthread_join(completer, NULL) == 0);
    free(text);
    check_stop();
}

/* The id of a task is that which it was told itself; one that nobody has asked for is not made. */
static void ids(void)
{
    start(THREAD, 1000);
    ray_ref *ref = ray_remote(own_id);
    ray_view id;
    char part[96];
    CHECK_OK(ray_get(ref, &id));
    CHECK_REF_INT(ray_remote(twice, 1), 2);
    snprintf(part, sizeof part, "\"task_id\": \"%.*s\"", (int)id.size, (const char *)id.data);
    char *text = ask("timeline");
    CHECK_EVENT(text, "{\"name\": \"own_id\"", part);
    CHECK_EVENT(text, "{\"name\": \"twice\"", "\"task_id\": null");
    free(text);
    ray_view_release(&id);
    ray_release(ref);
    check_stop();
}

/* ---- when it is there ---- */

static void only_if_asked_for(void)
{
    CHECK_OK(unsetenv("RAY_TIMELINE_TASKS"));
    start(THREAD, 0);
    CHECK_REF_INT(ray_remote(twice, 2), 4);
    char *text = ask("timeline");
    CHECK_HAS(text, "\"is_recording\": false, \"events\": [], \"next\": null, \"recorded\": 0, \"lost\": 0");
    free(text);
    check_stop();

    CHECK_OK(setenv("RAY_TIMELINE_TASKS", "100", 1));
    start(THREAD, 0);
    CHECK_REF_INT(ray_remote(twice, 2), 4);
    text = ask("timeline");
    CHECK_HAS(text, "\"recorded\": 1");
    free(text);
    check_stop();
    start(THREAD, -1); /* the config wins */
    text = ask("timeline");
    CHECK_HAS(text, "\"is_recording\": false");
    free(text);
    check_stop();

    CHECK_OK(unsetenv("RAY_TIMELINE_TASKS")); /* one without a size may end before the field */
    CHECK_OK(ray_init(&(ray_config){.resources = "CPU=2", .num_threads = 2, .timeline_tasks = 100}));
    text = ask("timeline");
    CHECK_HAS(text, "\"is_recording\": false");
    free(text);
    check_stop();

    CHECK_OK(setenv("RAY_TIMELINE_TASKS", "many", 1));
    CHECK_CODE(ray_init(NULL), RAY_ERR_ARGUMENT);
    CHECK_HAS(ray_last_error()->message, "RAY_TIMELINE_TASKS: expected a number of tasks, got \"many\"");
    CHECK_OK(unsetenv("RAY_TIMELINE_TASKS"));
}

/* ---- pieces ---- */

static void submit_numbered(int count)
{
    for (int i = 0; i < count; i++) {
        char name[16];
        snprintf(name, sizeof name, "task %d.", i);
        CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .name = name), twice, i), 2 * i);
    }
}

/* To free; NULL: there is no next page. */
static char *next_page(const char *page, int limit)
{
    char query[160], cursor[100];
    const char *at = strstr(page, "\"next\": \"");
    if (!at)
        return NULL;
    snprintf(cursor, sizeof cursor, "%.*s", (int)strcspn(at + 9, "\""), at + 9);
    snprintf(query, sizeof query, "timeline?limit=%d&cursor=%s", limit, cursor);
    return ask(query);
}

static void pages(void)
{
    enum { COUNT = 300, LIMIT = 7 };
    static bool seen[COUNT];
    start(THREAD, 4096);
    submit_numbered(COUNT);
    size_t total = 0, num_pages = 0;
    char *page = ask("timeline?limit=7"), *next;
    for (; page; page = next) {
        size_t here = count_of(page, "\"kind\": ");
        for (const char *at = page; (at = strstr(at, "{\"name\": \"task ")); at++) {
            int nth = atoi(at + strlen("{\"name\": \"task "));
            CHECK(nth >= 0 && nth < COUNT && !seen[nth]);
            seen[nth] = true;
        }
        submit_numbered(1); /* what runs meanwhile is not told, or it would never end */
        total += here;
        num_pages++;
        next = next_page(page, LIMIT);
        CHECK(here == LIMIT || !next);
        free(page);
    }
    CHECK_INT(total, COUNT);
    CHECK(num_pages >= COUNT / LIMIT);
    check_stop();
}

static void the_oldest_are_lost(void)
{
    start(THREAD, 64);
    submit_numbered(500);
    char *text = ask("timeline?limit=10000");
    size_t kept = count_of(text, "\"kind\": ");
    CHECK_INT(number_of(text, "recorded"), 500);
    CHECK_INT(number_of(text, "lost"), 500 - (int64_t)kept);
    CHECK(kept >= 16 && kept <= 64); /* each thread has a share */
    CHECK_HAS(text, "task 499.");
    free(text);
    check_stop();
}

static void what_cannot_be_asked(void)
{
    static const struct {
        const char *query, *words;
        int code;
    } table[] = {
        {"timeline?cursor=x", "expected a cursor that an answer has named, got \"x\"", RAY_ERR_ARGUMENT},
        {"timeline?cursor=1_2", "expected a cursor", RAY_ERR_ARGUMENT},
        {"timeline?cursor=1_2_3x", "expected a cursor", RAY_ERR_ARGUMENT},
        {"timeline?cursor=1_-2_3", "expected a cursor", RAY_ERR_ARGUMENT},
        {"timeline?cursor=1_2_9223372036854775807", "expected a cursor", RAY_ERR_ARGUMENT},
        {"timeline?limit=0", "expected a limit from 1 to 10000, got 0", RAY_ERR_ARGUMENT},
        {"timeline?filter_keys=a&filter_predicates==&filter_values=b", "expected no filter", RAY_ERR_ARGUMENT},
        {"timeline?node_id=0123", "no node that lives has the id \"0123\"", RAY_ERR_NOT_FOUND},
        {"tasks?node_id=0123", "no node that lives has the id \"0123\"", RAY_ERR_NOT_FOUND},
        {"nodes?node_id=0123", "nodes are not a node's own: expected no node_id", RAY_ERR_ARGUMENT},
        {"status?node_id=0123", "status is of all nodes: expected no node_id", RAY_ERR_ARGUMENT},
        {"tasks?cursor=1_2_3", "expected limit, node_id, filter_keys", RAY_ERR_ARGUMENT},
    };
    ray_view view = {0};
    char query[80];
    start(THREAD, 100);
    CHECK_REF_INT(ray_remote(twice, 2), 4);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        CHECK_CODE(ray_state(table[i].query, &view), table[i].code);
        CHECK_HAS(ray_last_error()->message, table[i].words);
    }
    snprintf(query, sizeof query, "timeline?node_id=%s", ray_context_get()->node_id);
    char *text = ask(query), *rest = ask("timeline?cursor=ffffffffffffffff_9223372036854775807_0");
    CHECK_HAS(text, "twice");
    CHECK_HAS(rest, "\"events\": [], \"next\": null");
    free(text), free(rest);
    check_stop();
}

CHECK_MAIN(CHECK_TEST(in_threads), CHECK_TEST(in_processes), CHECK_TEST(what_crashes), CHECK_TEST(what_comes_later),
           CHECK_TEST(ids), CHECK_TEST(only_if_asked_for), CHECK_TEST(pages), CHECK_TEST(the_oldest_are_lost),
           CHECK_TEST(what_cannot_be_asked))
