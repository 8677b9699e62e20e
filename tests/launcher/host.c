/* A node whose workers are `raylaunch worker-process`: functions from libraries, and libraries that are not there, are
 * none, or lack what is called. RAYLAUNCH, FUNCTIONS, OTHER and EMPTY are paths. */
#include "check.h"
#include "functions.h"

#include <stdlib.h>
#include <unistd.h>

static void start(const char *command)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .isolation = RAY_ISOLATION_PROCESS, .worker_command = command,
                               .num_threads = 2, .resources = "CPU=2")));
}

static void functions_come_from_the_library(void)
{
    start(RAYLAUNCH " worker-process --load " FUNCTIONS);
    CHECK_REF_STR(ray_remote(who_runs), "raylaunch");
    CHECK_REF_INT(ray_remote(triple, 14), 42);
    CHECK_REF_INT(ray_remote(triple_twice, 2), 18);
    ray_actor *actor = ray_actor_new(sums, 10);
    ray_release(ray_call(actor, sums_add, 1));
    CHECK_REF_INT(ray_call(actor, sums_add, 2), 13);
    ray_actor_release(actor);
    check_stop();
}

static void the_environment_says_it_too(void)
{
    setenv("RAY_WORKER_COMMAND", RAYLAUNCH " worker-process --load='" FUNCTIONS "'", 1);
    start(NULL);
    CHECK_REF_STR(ray_remote(who_runs), "raylaunch");
    check_stop();
    unsetenv("RAY_WORKER_COMMAND");
}

static void several_libraries(void)
{
    start(RAYLAUNCH " worker-process --load " EMPTY " --load " FUNCTIONS);
    CHECK_REF_INT(ray_remote(triple, 14), 42);
    check_stop();
}

static void what_the_host_loads_its_workers_load(void)
{
    start(RAYLAUNCH " worker-process --load " FUNCTIONS);
    CHECK_REF_INT(ray_remote(triple, 1), 3); /* one is there already; others start later */
    CHECK_OK(ray_load(PLUGIN, 0));
    int64_t x = 5;
    ray_value args[] = {RAY_VALUE(&x)};
    CHECK_REF_INT(ray_submit(ray_function_get("plugin_triple"), args, 1, NULL), 15);
    check_stop();
}

/* ---- what goes wrong ---- */

/* The task fails with that code, and its error and the worker's last words together have that part. */
static void fails(ray_ref *ref, int code, const char *part)
{
    char words[4096];
    CHECK_CODE(ray_get_timeout(ref, 20000, NULL), code);
    const ray_error *error = ray_last_error();
    snprintf(words, sizeof words, "%s\n%s", error->message, error->output ? error->output : "");
    CHECK_HAS(words, part);
    ray_release(ref);
}

static void library_is_missing(void)
{
    start(RAYLAUNCH " worker-process --load /nowhere/functions.so");
    fails(ray_remote(triple, 1), RAY_ERR_SYSTEM, "--load /nowhere/functions.so: /nowhere/functions.so: cannot");
    check_stop();
}

static void library_is_none(void)
{
    start(RAYLAUNCH " worker-process --load " NO_LIBRARY);
    fails(ray_remote(triple, 1), RAY_ERR_SYSTEM, "invalid ELF header");
    check_stop();
}

static void library_lacks_the_function(void)
{
    start(RAYLAUNCH " worker-process --load " EMPTY);
    fails(ray_remote(triple, 1), RAY_ERR_UNKNOWN_FUNCTION, "triple");
    check_stop();
}

static void no_library_at_all(void)
{
    start(RAYLAUNCH " worker-process");
    fails(ray_remote(triple, 1), RAY_ERR_UNKNOWN_FUNCTION, "triple");
    check_stop();
}

static void library_has_another_signature(void)
{
    start(RAYLAUNCH " worker-process --load " OTHER);
    fails(ray_remote(triple, 1), RAY_ERR_SIGNATURE, "double");
    check_stop();
}

static void command_is_wrong(void)
{
    start(RAYLAUNCH " worker-process --lode " FUNCTIONS);
    fails(ray_remote(triple, 1), RAY_ERR_SYSTEM, "there is no option --lode");
    check_stop();
}

CHECK_MAIN(CHECK_TEST(functions_come_from_the_library), CHECK_TEST(the_environment_says_it_too),
           CHECK_TEST(several_libraries), CHECK_TEST_WITH(what_the_host_loads_its_workers_load, CHECK_KEEPS),
           CHECK_TEST_WITH(library_is_missing, CHECK_WARNINGS), CHECK_TEST_WITH(library_is_none, CHECK_WARNINGS),
           CHECK_TEST_WITH(library_lacks_the_function, CHECK_WARNINGS),
           CHECK_TEST_WITH(no_library_at_all, CHECK_WARNINGS),
           CHECK_TEST_WITH(library_has_another_signature, CHECK_WARNINGS),
           CHECK_TEST_WITH(command_is_wrong, CHECK_WARNINGS))
