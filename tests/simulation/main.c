/* Runs a scenario with seeds: see sim.h.
 *
 *   simulate [--scenario NAME] [--seconds S] [--nodes N] [--seed SEED [--trace]] [--caught] */
#include "sim.h"

#include "base/base.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const sim_scenario *const scenarios[] = {&sim_session, &sim_raylet};

enum { FIXED_SEEDS = 150, TWICE = 10 };
/* Seeds that once found something, and that find the mutants which few seeds find. */
static const uint64_t kept[] = {3209070320, 2887425307, 3926597390, 2173592909, 1990367843, 1413058531};

typedef struct arguments {
    const sim_scenario *scenario;
    int64_t seconds;
    bool one_seed, caught;
    sim_options options;
} arguments;

static int usage(const char *program)
{
    fprintf(stderr, "%s [--scenario NAME] [--seconds S] [--nodes N] [--seed SEED [--trace]] [--caught]\n", program);
    return 2;
}

/* What a broken brain finds wrong by itself is found as well. */
static void on_abort(int signal)
{
    (void)signal;
    _exit(0);
}

static const sim_scenario *scenario_of(const char *name)
{
    for (size_t i = 0; i < RAYI_COUNT_OF(scenarios); i++)
        if (strcmp(scenarios[i]->name, name) == 0)
            return scenarios[i];
    return NULL;
}

static bool parse(arguments *a, int argc, char **argv)
{
    *a = (arguments){.scenario = scenarios[0], .seconds = 20, .options.status_of_failure = 1};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--trace") == 0) {
            a->options.trace = true;
            continue;
        }
        if (strcmp(argv[i], "--caught") == 0) {
            a->caught = true;
            a->options.status_of_failure = 0;
            continue;
        }
        if (!value)
            return false;
        if (strcmp(argv[i], "--seed") == 0) {
            a->one_seed = true;
            a->options.seed = strtoull(value, NULL, 0);
        } else if (strcmp(argv[i], "--seconds") == 0) {
            a->seconds = strtoll(value, NULL, 0);
        } else if (strcmp(argv[i], "--nodes") == 0) {
            a->options.nodes = atoi(value);
        } else if (strcmp(argv[i], "--scenario") == 0) {
            a->scenario = scenario_of(value);
        } else {
            return false;
        }
        i++;
    }
    return a->scenario && a->options.nodes != 1 && a->options.nodes >= 0 && a->options.nodes <= SIM_NODES_MAX;
}

static void run_one(arguments *a, uint64_t seed, bool twice, sim_result *total)
{
    a->options.seed = seed;
    sim_result result = sim_run(a->scenario, &a->options);
    total->events += result.events;
    total->virtual_ms += result.virtual_ms;
    if (!twice)
        return;
    sim_result again = sim_run(a->scenario, &a->options);
    if (again.digest != result.digest || again.events != result.events) {
        fprintf(stderr, "seed %llu does not replay\n", (unsigned long long)seed);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    arguments a;
    sim_result total = {0};
    uint64_t seeds = 0, fresh;
    if (!parse(&a, argc, argv))
        return usage(argv[0]);
    if (a.caught)
        signal(SIGABRT, on_abort);
    if (a.one_seed) {
        run_one(&a, a.options.seed, !a.options.trace, &total);
        printf("seed %llu: %llu events, %lld ms\n", (unsigned long long)a.options.seed,
               (unsigned long long)total.events, (long long)total.virtual_ms);
        return a.caught;
    }
    int64_t until_ms = rayi_now_ms() + 1000 * a.seconds;
    for (size_t i = 0; i < RAYI_COUNT_OF(kept); i++, seeds++)
        run_one(&a, kept[i], false, &total);
    for (uint64_t seed = 1; seed <= FIXED_SEEDS; seed++, seeds++)
        run_one(&a, seed, seed <= TWICE, &total);
    rayi_random_bytes(&fresh, sizeof fresh);
    fresh >>= 32;
    uint64_t first = fresh;
    while (rayi_now_ms() < until_ms && !a.caught)
        run_one(&a, fresh++, false, &total);
    printf("%s: %d fixed seeds and %llu fresh ones from %llu on: %llu events, %lld s of virtual time\n",
           a.scenario->name, (int)seeds, (unsigned long long)(fresh - first), (unsigned long long)first,
           (unsigned long long)total.events, (long long)total.virtual_ms / 1000);
    return a.caught;
}
