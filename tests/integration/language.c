/* What a dynamic language needs of worker processes, through the public API alone: language/toy.h says what it is. This
 * program submits; the interpreter is language/worker.c. */
#include "check.h"
#include "language/toy.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the binding's side of the program that submits ---- */

/* [refuse */
static void refuse(ray_frame *frame)
{
    ray_fail("%s runs in worker processes of the toy language only", frame->name);
}
/* refuse] */

static ray_function *everything; /* "toy:*" */

/* [start */
static void start_with(const char *resources, uint32_t max_workers)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = resources, .num_threads = 2, .worker_command = TOY_WORKER,
                               .max_workers = max_workers)));
}

/* Functions of the language run in processes, the program's own in threads. */
static void start(void)
{
    static const char *const names[] = {"toy:*", "toystream:*", "toy.Counter", "toyclass:*"};
    CHECK_OK(toy_register(refuse));
    start_with("CPU=2, GPU=4", 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        CHECK_OK(ray_function_set(ray_function_get(names[i]),
                                  RAY_WITH(ray_function_options, .isolation = RAY_ISOLATION_PROCESS)));
    everything = ray_function_get("toy:*");
}
/* start] */

static void define(const char *name, const char *code)
{
    CHECK_OK(ray_kv_put(name, code, strlen(code), 0));
}

enum { MOST_REFS = 4 };
typedef struct arguments {
    ray_view payload;
    ray_ref *refs[MOST_REFS];
    ray_value values[1 + MOST_REFS];
    size_t count;
} arguments;

static void fill(arguments *args, const char *payload, ray_ref *const *refs, size_t num_refs)
{
    args->payload = ray_view_of(payload, strlen(payload));
    args->values[0] = (ray_value){.kind = RAY_KIND_BYTES, .size = sizeof(ray_view), .data = &args->payload};
    for (size_t i = 0; i < num_refs; i++) {
        args->refs[i] = refs[i];
        args->values[1 + i] = (ray_value){.kind = RAY_KIND_REF, .size = sizeof(ray_ref *), .data = &args->refs[i]};
    }
    args->count = 1 + num_refs;
}

static ray_ref *run_opts(const ray_task_options *options, const char *name, const char *payload, ray_ref *const *refs,
                         size_t num_refs)
{
    arguments args;
    fill(&args, payload, refs, num_refs);
    return ray_submit(ray_function_get(name), args.values, args.count, options);
}
static ray_ref *run(const char *name, const char *payload)
{
    return run_opts(NULL, name, payload, NULL, 0);
}
static int64_t counted(const char *name)
{
    char text[32] = "0";
    ray_view view;
    if (ray_kv_get(name, &view) != 0)
        return 0;
    snprintf(text, sizeof text, "%.*s", (int)view.size, (const char *)view.data);
    ray_view_release(&view);
    return atoll(text);
}
static ray_ref *call_opts(const ray_task_options *options, ray_actor *actor, const char *name, const char *payload)
{
    arguments args;
    fill(&args, payload, NULL, 0);
    return ray_actor_submit(actor, ray_function_get(name), args.values, args.count, options);
}
static ray_ref *call(ray_actor *actor, const char *name, const char *payload)
{
    return call_opts(NULL, actor, name, payload);
}
static ray_actor *create(const ray_actor_options *options, const char *class, const char *payload)
{
    arguments args;
    fill(&args, payload, NULL, 0);
    return ray_actor_create(ray_function_get(class), args.values, args.count, options);
}

/* The bytes of a result, as text; releases the ref. */
static const char *text_of(ray_ref *ref)
{
    static char text[256];
    ray_view view;
    CHECK_OK(ray_get_timeout(ref, 30000 * check_slowness(), &view));
    snprintf(text, sizeof text, "%.*s", (int)view.size, (const char *)view.data);
    ray_view_release(&view);
    ray_release(ref);
    return text;
}
static int64_t number_of(ray_ref *ref)
{
    return atoll(text_of(ref));
}

/* ---- tasks ---- */

static void functions_by_key(void)
{
    ray_ref *refs[3];
    start();
    define("toy:double", "arg 0 push 2 mul");
    define("toy:sum", "arg 0 ref 1 add ref 2 add ref 3 add");
    CHECK_STR(text_of(run("toy:double", "21")), "42");
    for (int i = 0; i < 3; i++) {
        char payload[16];
        snprintf(payload, sizeof payload, "%d", i + 1);
        refs[i] = run("toy:double", payload);
    }
    CHECK_INT(number_of(run_opts(NULL, "toy:sum", "100", refs, 3)), 112);
    ray_ref *put = ray_put("1000", 4); /* an object of the program, twice, and a result */
    CHECK_INT(number_of(run_opts(NULL, "toy:sum", "1", (ray_ref *[]){put, put, refs[0]}, 3)), 2003);
    define("toy:double", "arg 0 push 3 mul"); /* the code is looked up when it runs */
    CHECK_STR(text_of(run("toy:double", "21")), "63");
    for (int i = 0; i < 3; i++)
        ray_release(refs[i]);
    ray_release(put);
    check_stop();
}

static void tasks_submit_tasks(void)
{
    start();
    define("toy:leaf", "arg 0 push 1 add");
    define("toy:tree", "arg 0 submit toy:leaf dup submit toy:leaf add put");
    define("toy:top", "arg 0 submit toy:tree submit toy:tree");
    CHECK_INT(number_of(run("toy:tree", "1")), 5);
    CHECK_INT(number_of(run("toy:top", "1")), 13);
    check_stop();
}

static void the_program_is_not_the_interpreter(void)
{
    start();
    define("toy:double", "arg 0 push 2 mul");
    ray_ref *ref = run_opts(RAY_WITH(ray_task_options, .isolation = RAY_ISOLATION_THREAD), "toy:double", "1", NULL, 0);
    CHECK_REF(ref, RAY_ERR_TASK_FAILED);
    CHECK_HAS(ray_last_error()->message, "toy:double runs in worker processes of the toy language only");
    CHECK_INT(ray_last_error()->pid, getpid());
    check_stop();
}

static RAY_REMOTE(int64_t, native, (int64_t, x))
{
    return x + 1;
}

/* C functions of the program are no business of the interpreter; an error says so. */
static void the_interpreter_is_not_the_program(void)
{
    start();
    CHECK_REF_INT(ray_remote(native, 1), 2);
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .isolation = RAY_ISOLATION_PROCESS), native, 1),
              RAY_ERR_UNKNOWN_FUNCTION);
    CHECK_HAS(ray_last_error()->message, "has no function native");
    check_stop();
}

static void large_values(void)
{
    ray_view view;
    start();
    define("toy:large", "arg 0 bytes");
    define("toy:size", "size 1");
    ray_ref *large = run("toy:large", "3000000");
    CHECK_INT(number_of(run_opts(NULL, "toy:size", "", &large, 1)), 3000000);
    CHECK_OK(ray_get(large, &view));
    CHECK_INT(view.size, 3000000);
    ray_view_release(&view), ray_release(large);
    check_stop();
}

static void streams(void)
{
    ray_view payload = {.data = "7 8 9", .size = 5};
    start();
    define("toystream:three", "arg 0 yield arg 1 yield arg 2 yield fail 5 enough");
    ray_ref *stream =
        ray_submit(ray_function_get("toystream:three"),
                   &(ray_value){.kind = RAY_KIND_BYTES, .size = sizeof payload, .data = &payload}, 1, NULL);
    for (int i = 7; i < 10; i++)
        CHECK_INT(number_of(ray_next(stream)), i);
    CHECK_REF(ray_next(stream), RAY_ERR_TASK_FAILED);
    CHECK_INT(ray_last_error()->user_code, 5);
    ray_release(stream);
    check_stop();
}

/* ---- failures ---- */

static void failures_carry_what_the_language_says(void)
{
    start();
    define("toy:bad", "fail -77 words");
    CHECK_REF(run("toy:bad", ""), RAY_ERR_TASK_FAILED);
    CHECK_INT(ray_last_error()->user_code, -77);
    CHECK_STR(ray_last_error()->message, "words");
    CHECK_STR(ray_last_error()->function, "toy:bad");
    CHECK_INT(ray_last_error()->payload_size, sizeof "toy:bad");
    CHECK_STR(ray_last_error()->payload, "toy:bad");
    CHECK(ray_last_error()->pid > 0 && ray_last_error()->pid != getpid());
    CHECK_REF(run("toy:missing", ""), RAY_ERR_TASK_FAILED);
    CHECK_INT(ray_last_error()->user_code, -3);
    define("toy:calls_bad", "push 1 submit toy:bad"); /* an error that went through two processes */
    CHECK_REF(run("toy:calls_bad", ""), RAY_ERR_TASK_FAILED);
    CHECK_INT(ray_last_error()->user_code, RAY_ERR_TASK_FAILED);
    CHECK_STR(ray_last_error()->message, "words");
    check_stop();
}

static void crashes_name_the_function(void)
{
    start();
    define("toy:crash", "print famous-last-words crash");
    define("toy:exit", "exit");
    CHECK_REF(run_opts(RAY_WITH(ray_task_options, .max_retries = 1), "toy:crash", "", NULL, 0), RAY_ERR_WORKER_CRASHED);
    CHECK_INT(ray_last_error()->signal, SIGSEGV);
    CHECK_STR(ray_last_error()->function, "toy:crash");
    CHECK_HAS(ray_last_error()->output, "famous-last-words");
    CHECK_REF(run_opts(RAY_WITH(ray_task_options, .max_retries = RAY_NO_RETRIES), "toy:exit", "", NULL, 0),
              RAY_ERR_WORKER_CRASHED);
    CHECK_HAS(ray_last_error()->message, "exited with code 3");
    check_stop();
}

static void the_language_says_what_is_tried_again(void)
{
    start();
    define("toy:again", "count again fail 1 x again");
    define("toy:not", "count not fail 1 x not-again");
    define("toy:plain", "count plain fail 1 x");
    CHECK_REF(run("toy:again", ""), RAY_ERR_TASK_FAILED);
    CHECK_INT(counted("again"), 4);
    CHECK_REF(run_opts(RAY_WITH(ray_task_options, .max_retries = 1), "toy:again", "", NULL, 0), RAY_ERR_TASK_FAILED);
    CHECK_INT(counted("again"), 6);
    CHECK_REF(run_opts(RAY_WITH(ray_task_options, .retry_failures = true), "toy:not", "", NULL, 0),
              RAY_ERR_TASK_FAILED);
    CHECK_INT(counted("not"), 1);
    CHECK_REF(run_opts(RAY_WITH(ray_task_options, .retry_failures = true), "toy:plain", "", NULL, 0),
              RAY_ERR_TASK_FAILED);
    CHECK_INT(counted("plain"), 4);
    check_stop();
}

static void results_that_come_later(void)
{
    ray_ref *refs[50];
    start();
    define("toy:later", "arg 0 later 30");
    define("toy:ahead", "arg 0");
    for (int i = 0; i < 50; i++) {
        char payload[16];
        snprintf(payload, sizeof payload, "%d", i);
        refs[i] = run("toy:later", payload);
    }
    CHECK_INT(number_of(run("toy:ahead", "5")), 5);
    for (int i = 0; i < 50; i++)
        CHECK_INT(number_of(refs[i]), i);
    CHECK_REF(run("toy:later", "-9"), RAY_ERR_TASK_FAILED);
    CHECK_INT(ray_last_error()->user_code, -9);
    check_stop();
}

static void cancelling(void)
{
    start();
    define("toy:wait", "wait");
    define("toy:spin", "sleep 600000");
    ray_ref *waits = run("toy:wait", ""), *spins = run("toy:spin", "");
    check_sleep_ms(100 * check_slowness());
    CHECK_OK(ray_cancel(waits, 0));
    CHECK_REF(waits, RAY_ERR_CANCELLED);
    CHECK_OK(ray_cancel(spins, RAY_CANCEL_FORCE));
    CHECK_REF(spins, RAY_ERR_CANCELLED);
    check_stop();
}

/* ---- the processes ---- */

/* An interpreter that leaks, or holds memory of a device, ends after so many calls of a function. */
static void max_calls(void)
{
    start();
    define("toy:leaks", "pid");
    define("toy:calls", "calls");
    define("toy:other", "pid");
    CHECK_OK(ray_function_set(ray_function_get("toy:leaks"),
                              RAY_WITH(ray_function_options, .isolation = RAY_ISOLATION_PROCESS, .max_calls = 1)));
    int64_t first = number_of(run("toy:leaks", "")), second = number_of(run("toy:leaks", ""));
    CHECK(first != second && number_of(run("toy:leaks", "")) != second);
    CHECK_OK(ray_function_set(everything,
                              RAY_WITH(ray_function_options, .isolation = RAY_ISOLATION_PROCESS, .max_calls = 2)));
    for (int i = 0; i < 8; i++)
        CHECK(number_of(run("toy:calls", "")) <= 2); /* the wildcard's setting is that of every other name */
    CHECK(number_of(run("toy:leaks", "")) != number_of(run("toy:leaks", "")));
    check_stop();
}

/* However deep the nesting, there are no more processes than that. */
static void no_more_processes_than_max_workers(void)
{
    CHECK_OK(toy_register(refuse));
    start_with("CPU=4", 2);
    CHECK_OK(ray_function_set(ray_function_get("toy:*"),
                              RAY_WITH(ray_function_options, .isolation = RAY_ISOLATION_PROCESS)));
    ray_ref *refs[6];
    int64_t pids[3] = {0};
    define("toy:0", "arg 0");
    for (int i = 1; i < 6; i++) {
        char name[16], code[64];
        snprintf(name, sizeof name, "toy:%d", i);
        snprintf(code, sizeof code, "arg 0 submit toy:%d arg 0 submit toy:%d add", i - 1, i - 1);
        define(name, code);
    }
    for (int i = 0; i < 6; i++)
        refs[i] = run("toy:5", "1");
    CHECK(check_children(pids, 3) <= 2);
    for (int i = 0; i < 6; i++)
        CHECK_INT(number_of(refs[i]), 32);
    CHECK(check_children(pids, 3) <= 2);
    check_stop();
}

static void environment_and_devices(void)
{
    static const char *const env[] = {"TOY_FLAVOUR=sweet", NULL}, *const other[] = {"TOY_FLAVOUR=sour", NULL};
    start();
    define("toy:flavour", "env TOY_FLAVOUR");
    define("toy:gpus", "gpus");
    CHECK_STR(text_of(run("toy:flavour", "")), "(none)");
    CHECK_STR(text_of(run_opts(RAY_WITH(ray_task_options, .env = env), "toy:flavour", "", NULL, 0)), "sweet");
    CHECK_STR(text_of(run_opts(RAY_WITH(ray_task_options, .env = other), "toy:flavour", "", NULL, 0)), "sour");
    CHECK_STR(text_of(run("toy:flavour", "")), "(none)");
    CHECK_STR(text_of(run_opts(RAY_WITH(ray_task_options, .resources = "GPU=1"), "toy:gpus", "", NULL, 0)), "0");
    CHECK_STR(text_of(run_opts(RAY_WITH(ray_task_options, .resources = "GPU=2"), "toy:gpus", "", NULL, 0)), "0,1");
    CHECK_STR(text_of(run("toy:gpus", "")), "(none)");
    ray_actor *actor = create(RAY_WITH(ray_actor_options, .resources = "GPU=2", .env = env), "toy.Counter", "0");
    define("toy.Counter.gpus", "gpus");
    define("toy.Counter.flavour", "env TOY_FLAVOUR");
    CHECK_STR(text_of(call(actor, "toy.Counter.gpus", "")), "0,1");
    CHECK_STR(text_of(call(actor, "toy.Counter.flavour", "")), "sweet");
    CHECK_STR(text_of(run_opts(RAY_WITH(ray_task_options, .resources = "GPU=1"), "toy:gpus", "", NULL, 0)), "2");
    ray_actor_release(actor);
    check_stop();
}

/* ---- actors ---- */

static void define_counter(void)
{
    define("toy.Counter", "arg 0 set");
    define("toy.Counter.add", "load arg 0 add dup set");
    define("toy.Counter.get", "load");
    define("toy.Counter.pid", "pid");
    define("toy.Counter.restarts", "restarts");
    define("toy.Counter.crash", "crash");
    define("toy.Counter.bad", "fail 4 counted");
    define("toy.Counter.later", "arg 0 later 50");
    define("toy.Counter.sleep", "sleep 50 load");
    define("toy.Counter.ask", "arg 0 self get");
    define("toy.Counter.quit", "leave load");
}

static void actors_have_state(void)
{
    ray_ref *refs[100];
    start();
    define_counter();
    ray_actor *actor = create(NULL, "toy.Counter", "1000"), *other = create(NULL, "toy.Counter", "1");
    for (int i = 0; i < 100; i++)
        refs[i] = call(actor, "toy.Counter.add", "1");
    for (int i = 0; i < 100; i++)
        CHECK_INT(number_of(refs[i]), 1001 + i);
    CHECK_INT(number_of(call(other, "toy.Counter.get", "")), 1);
    CHECK(number_of(call(actor, "toy.Counter.pid", "")) != number_of(call(other, "toy.Counter.pid", "")));
    CHECK_REF(call(actor, "toy.Counter.bad", ""), RAY_ERR_TASK_FAILED);
    CHECK_INT(ray_last_error()->user_code, 4);
    CHECK_STR(ray_last_error()->payload, "toy.Counter.bad");
    CHECK_REF(call(actor, "toy:double", ""), RAY_ERR_ARGUMENT); /* no method of its class */
    CHECK_REF(run("toy.Counter.get", ""), RAY_ERR_ARGUMENT);
    CHECK_INT(number_of(call(actor, "toy.Counter.quit", "")), 1100);
    CHECK_REF(call(actor, "toy.Counter.get", ""), RAY_ERR_ACTOR_DIED);
    ray_actor_release(actor), ray_actor_release(other);
    check_stop();
}

static void actors_restart(void)
{
    start();
    define_counter();
    ray_actor *actor = create(RAY_WITH(ray_actor_options, .max_restarts = 1), "toy.Counter", "7");
    CHECK_INT(number_of(call(actor, "toy.Counter.add", "1")), 8);
    ray_ref *crash = call(actor, "toy.Counter.crash", ""), *behind = call(actor, "toy.Counter.get", "");
    CHECK_REF(crash, RAY_ERR_ACTOR_UNAVAILABLE);
    CHECK_INT(ray_last_error()->signal, SIGSEGV);
    CHECK_INT(number_of(behind), 7);
    CHECK_INT(number_of(call(actor, "toy.Counter.restarts", "")), 1);
    CHECK_REF(call(actor, "toy.Counter.crash", ""), RAY_ERR_ACTOR_DIED);
    CHECK_REF(call(actor, "toy.Counter.get", ""), RAY_ERR_ACTOR_DIED);
    ray_actor_release(actor);
    check_stop();
}

/* Calls that complete later, four at once, and a method that waits for one of another group of its own actor. */
static void actors_at_once(void)
{
    ray_ref *refs[8];
    start();
    define_counter();
    ray_actor *actor =
        create(RAY_WITH(ray_actor_options, .max_concurrency = 4, .concurrency_groups = "inner=1"), "toy.Counter", "5");
    CHECK_INT(number_of(call(actor, "toy.Counter.get", "")), 5);
    int64_t begin = check_now_ms();
    for (int i = 0; i < 8; i++)
        refs[i] = call(actor, "toy.Counter.later", "3");
    for (int i = 0; i < 8; i++)
        CHECK_INT(number_of(refs[i]), 3);
    CHECK(check_now_ms() - begin >= 100); /* two rounds of four */
    for (int i = 0; i < 8; i++)
        refs[i] = call(actor, "toy.Counter.ask", "1");
    for (int i = 0; i < 8; i++)
        CHECK_INT(number_of(refs[i]), 5);
    CHECK_REF(call_opts(RAY_WITH(ray_task_options, .concurrency_group = "outer"), actor, "toy.Counter.get", ""),
              RAY_ERR_ARGUMENT);
    ray_actor_release(actor);
    check_stop();
}

/* One record for all classes of the language: the frame's name says which class, which method, and when it ends. */
static void classes_by_name(void)
{
    start();
    define("toyclass:Bag", "arg 0 set");
    define("toyclass:Bag.add", "load arg 0 add dup set");
    define("toyclass:Bag.fini", "count bags");
    define("toyclass:Box.get", "load");
    ray_actor *bag = create(NULL, "toyclass:Bag", "10"), *box = create(NULL, "toyclass:Box", "");
    CHECK_INT(number_of(call(bag, "toyclass:Bag.add", "5")), 15);
    CHECK_INT(number_of(call(box, "toyclass:Box.get", "")), 0);
    CHECK_REF(call(bag, "toyclass:Box.get", ""), RAY_ERR_ARGUMENT);
    CHECK_REF(call(bag, "toyclass:Bag.missing", ""), RAY_ERR_TASK_FAILED);
    CHECK_INT(ray_last_error()->user_code, -3);
    ray_actor_release(bag), ray_actor_release(box);
    int64_t end = check_now_ms() + 10000 * check_slowness();
    while (counted("bags") == 0 && check_now_ms() < end)
        check_sleep_ms(1);
    CHECK_INT(counted("bags"), 1);
    check_stop();
}

/* ---- a language whose interpreter is in the program, in threads ---- */

static atomic_int ends;

static void native_object(ray_frame *frame)
{
    int64_t *state = frame->self;
    if (strcmp(frame->name, "object:Pile.fini") == 0)
        atomic_fetch_add(&ends, frame->num_args == 0 && *state == 12 ? 1 : 100);
    else if (frame->num_args > 0)
        *state += *(int64_t *)((ray_value *)frame->args[0].data)->data;
    *(ray_buffer **)frame->result.data = ray_create((size_t)*state); /* fini's, too, has room for a result */
}
static ray_function objects = {.size = sizeof objects,
                               .name = "object:*",
                               .signature = "ray_buffer *(ray_value...)",
                               .flags = RAY_FUNCTION_ACTOR | RAY_FUNCTION_METHOD,
                               .state_size = sizeof(int64_t),
                               .call = native_object};

static void classes_by_name_in_threads(void)
{
    int64_t five = 5, seven = 7;
    ray_view view;
    CHECK_OK(ray_register(&objects));
    check_start(1);
    ray_actor *actor = ray_actor_create(ray_function_get("object:Pile"), &RAY_VALUE(&five), 1, NULL);
    ray_ref *ref = ray_actor_submit(actor, ray_function_get("object:Pile.add"), &RAY_VALUE(&seven), 1, NULL);
    CHECK_OK(ray_get(ref, &view));
    CHECK_INT(view.size, 12);
    ray_view_release(&view), ray_release(ref);
    CHECK_REF(ray_actor_submit(actor, ray_function_get("object:Heap.add"), &RAY_VALUE(&seven), 1, NULL),
              RAY_ERR_ARGUMENT);
    ray_actor_release(actor);
    check_stop();
    CHECK_INT(atomic_load(&ends), 1);
}

/* ---- the command ---- */

static void the_command_may_come_from_the_environment(void)
{
    CHECK_OK(toy_register(refuse));
    CHECK(setenv("RAY_WORKER_COMMAND", TOY_WORKER " with 'some arguments'", 1) == 0);
    CHECK_OK(ray_init(RAY_WITH(ray_config, .isolation = RAY_ISOLATION_PROCESS)));
    define("toy:double", "arg 0 push 2 mul");
    CHECK_INT(number_of(run("toy:double", "4")), 8);
    check_stop();
}

static void expect_start_failure(const char *command, const char *words)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .isolation = RAY_ISOLATION_PROCESS, .worker_command = command)));
    ray_ref *ref = run("toy:double", "4");
    CHECK(ray_get_timeout(ref, 30000 * check_slowness(), NULL) < 0);
    CHECK_HAS(ray_last_error()->message, words);
    ray_release(ref);
    check_stop();
}

static void commands_that_do_not_work(void)
{
    CHECK_OK(toy_register(refuse));
    expect_start_failure("/no/such/interpreter", "/no/such/interpreter");
    expect_start_failure("/bin/sh -c 'echo it lacks a module >&2; exit 4'", "it lacks a module");
    expect_start_failure("/etc/passwd", "/etc/passwd");
}

/* Started by hand it is no worker, and says what it is. */
static void by_hand(void)
{
    FILE *pipe = popen(TOY_WORKER " 2>&1", "r");
    char words[256] = "";
    CHECK(pipe && fgets(words, sizeof words, pipe));
    CHECK_INT(WEXITSTATUS(pclose(pipe)), 2);
    CHECK_HAS(words, "a worker process of the toy language");
}

CHECK_MAIN(CHECK_TEST_WITH(functions_by_key, CHECK_KEEPS), CHECK_TEST_WITH(tasks_submit_tasks, CHECK_KEEPS),
           CHECK_TEST_WITH(the_program_is_not_the_interpreter, CHECK_KEEPS),
           CHECK_TEST_WITH(the_interpreter_is_not_the_program, CHECK_KEEPS), CHECK_TEST_WITH(large_values, CHECK_KEEPS),
           CHECK_TEST_WITH(streams, CHECK_KEEPS), CHECK_TEST_WITH(failures_carry_what_the_language_says, CHECK_KEEPS),
           CHECK_TEST_WITH(crashes_name_the_function, CHECK_KEEPS | CHECK_WARNINGS),
           CHECK_TEST_WITH(the_language_says_what_is_tried_again, CHECK_KEEPS),
           CHECK_TEST_WITH(results_that_come_later, CHECK_KEEPS), CHECK_TEST_WITH(cancelling, CHECK_KEEPS),
           CHECK_TEST_WITH(max_calls, CHECK_KEEPS), CHECK_TEST_WITH(no_more_processes_than_max_workers, CHECK_KEEPS),
           CHECK_TEST_WITH(environment_and_devices, CHECK_KEEPS), CHECK_TEST_WITH(actors_have_state, CHECK_KEEPS),
           CHECK_TEST_WITH(actors_restart, CHECK_KEEPS | CHECK_WARNINGS), CHECK_TEST_WITH(actors_at_once, CHECK_KEEPS),
           CHECK_TEST_WITH(classes_by_name, CHECK_KEEPS), CHECK_TEST_WITH(classes_by_name_in_threads, CHECK_KEEPS),
           CHECK_TEST_WITH(the_command_may_come_from_the_environment, CHECK_KEEPS),
           CHECK_TEST_WITH(commands_that_do_not_work, CHECK_KEEPS | CHECK_WARNINGS), CHECK_TEST(by_hand))
