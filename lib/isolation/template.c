/* The template that worker processes are copied from, where the node's command can be one (a fork instead of a start).
 * Processes of the ordinary class alone: what is special about the others is in the environment that they start with.
 *
 * It is started when the first process is wanted, and those that are wanted wait for it, since starting them beside it
 * would take longer. It may die, and is started again; where it cannot be had, or does not do what it should, processes
 * are started as if there were none. On the loop. */
#include "isolation/inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENDS_MOST 3 /* ends, or refusals, without a copy in between */

static void closed(void *arg)
{
    rayi_isolation *isolation = arg;

    isolation->handles--;
    rayi_isolation_maybe_done(isolation);
}

static void let_go(rayi_isolation *isolation)
{
    rayi_template *template = isolation->template;

    isolation->template = NULL;
    rayi_template_close(template, closed, isolation);
}

static void do_without(rayi_isolation *isolation, const char *why)
{
    isolation->template_off = true;
    rayi_log(RAY_LOG_WARNING, "worker.template", rayi_executor_node_id(isolation->node.executor),
             "worker processes are started, which takes longer than copying a template: %s", why);
    if (isolation->template)
        let_go(isolation);
}

/* One that was never ready says why by its own end; later ones may be unlucky. */
static void note_end(rayi_isolation *isolation, const char *why)
{
    if (!isolation->template_ready)
        do_without(isolation, why);
    else if (++isolation->template_ends >= ENDS_MOST)
        do_without(isolation, "it ends again and again");
    else
        let_go(isolation);
}

static void changed(void *arg)
{
    rayi_isolation *isolation = arg;

    if (rayi_template_look(isolation->template) == RAYI_TEMPLATE_READY)
        isolation->template_ready = true;
    else
        note_end(isolation, "it ended before it had called ray_template_fork");
    rayi_spawn_want(isolation); /* and actors that wait */
}

static int start(rayi_isolation *isolation)
{
    char **own, of[64];
    const char *environment[] = {of, NULL};
    int r = rayi_spawn_command(isolation, &own);

    if (r < 0)
        return r;
    snprintf(of, sizeof of, "%s=%lld 0%s", RAYI_WORKER_ENV, (long long)getpid(), RAYI_WORKER_TEMPLATE);
    rayi_process_options options = {.command = (const char *const *)own,
                                    .environment = environment,
                                    .outlet = isolation->outlet,
                                    .label = "template",
                                    .log_path = isolation->node.session_logs(isolation->node.node),
                                    .node_id = rayi_executor_node_id(isolation->node.executor)};
    r = rayi_template_start(isolation->node.loop, &options, changed, isolation, &isolation->template);
    rayi_free(own);
    if (r < 0)
        return r;
    isolation->handles++;
    isolation->template_since_ms = rayi_now_ms();
    return 0;
}

/* Who wraps the command wants to see each process start. */
static bool is_for(const rayi_isolation *isolation, const rayi_class *class)
{
    const char *wrapper = getenv("RAY_WORKER_WRAPPER");

    return isolation->node.has_template && !isolation->template_off && class == &isolation->classes &&
           !isolation->stopping && !(wrapper && *wrapper);
}

bool rayi_template_starts(const rayi_isolation *isolation)
{
    return isolation->template && rayi_template_look(isolation->template) == RAYI_TEMPLATE_STARTING;
}

bool rayi_template_awaited(rayi_isolation *isolation, const rayi_class *class)
{
    if (!is_for(isolation, class))
        return false;
    if (!isolation->template && start(isolation) < 0) {
        do_without(isolation, rayi_error_last_public()->message);
        return false;
    }
    return rayi_template_starts(isolation);
}

int rayi_template_try(rayi_isolation *isolation, const rayi_class *class, rayi_process_options *options,
                      rayi_process **out)
{
    int r;

    if (!is_for(isolation, class) || !isolation->template)
        return RAY_ERR_NOT_FOUND;
    options->from = isolation->template;
    r = rayi_process_start(isolation->node.loop, options, out);
    options->from = NULL;
    if (r == 0)
        isolation->template_ends = 0;
    else if (r == RAY_ERR_UNSUPPORTED || (rayi_template_look(isolation->template) == RAYI_TEMPLATE_READY &&
                                          ++isolation->template_ends >= ENDS_MOST))
        do_without(isolation, rayi_error_last_public()->message);
    return r;
}

void rayi_template_on_timer(rayi_isolation *isolation, int64_t now)
{
    char why[80];

    if (!rayi_template_starts(isolation) || now - isolation->template_since_ms <= RAYI_START_MS)
        return;
    snprintf(why, sizeof why, "it had not called ray_template_fork in %d s", RAYI_START_MS / 1000);
    note_end(isolation, why);
}

void rayi_template_stop(rayi_isolation *isolation)
{
    if (isolation->template)
        let_go(isolation);
}
