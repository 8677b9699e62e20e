/* What may have to wait for room in the store or for the disk: a thread each, for as long as it takes. There are seldom
 * any, and each holds up a worker process that does nothing else meanwhile. So that nobody can have threads without
 * end, they stand in queues: of each some run at a time, the others wait for their turn. The end waits for all. */
#include "isolation/inside.h"

#include <signal.h>

static bool start(rayi_chore *chore);

static rayi_chore *pop(rayi_chores *chores)
{
    rayi_chore *chore = chores->first;

    if (chore) {
        chores->first = chore->next;
        if (!chores->first)
            chores->last = NULL;
    }
    return chore;
}

/* The next of a queue that may run, counted as running; NULL: none. */
static rayi_chore *next_of(rayi_isolation *isolation, rayi_chores *chores)
{
    rayi_chore *next = NULL;

    pthread_mutex_lock(&isolation->lock);
    if (chores->running < chores->max && (next = pop(chores)))
        chores->running++;
    pthread_mutex_unlock(&isolation->lock);
    return next;
}

/* On the loop; the chore's thread is no more. */
static void end(rayi_chore *chore)
{
    rayi_isolation *isolation = chore->isolation;

    pthread_mutex_lock(&isolation->lock);
    chore->chores->running--;
    pthread_mutex_unlock(&isolation->lock);
    chore->after(chore); /* which frees it */
    pthread_mutex_lock(&isolation->lock);
    isolation->num_chores--;
    pthread_mutex_unlock(&isolation->lock);
}

void rayi_chores_go_on(rayi_isolation *isolation, rayi_chores *chores)
{
    rayi_chore *next;

    while ((next = next_of(isolation, chores)))
        if (!start(next)) {
            next->r = RAY_ERR_SYSTEM;
            next->error = rayi_error_last();
            end(next);
        }
}

static void finish(void *arg)
{
    rayi_chore *chore = arg;
    rayi_isolation *isolation = chore->isolation;
    rayi_chores *chores = chore->chores;

    pthread_join(chore->thread, NULL);
    end(chore);
    rayi_chores_go_on(isolation, chores);
    rayi_isolation_maybe_done(isolation);
}

static void *chore_main(void *arg)
{
    rayi_chore *chore = arg;
    rayi_isolation *isolation = chore->isolation;
    rayi_thread *thread = rayi_lane_attach(rayi_executor_lane(isolation->node.executor));

    chore->thread = pthread_self();
    chore->r = thread ? chore->work(chore, thread) : RAY_ERR_NO_MEMORY;
    if (chore->r < 0)
        chore->error = rayi_error_last();
    rayi_lane_detach();
    /* The loop waits for chores before it ends, so it takes this. Without memory for the message there is nobody to
     * tell: try until there is. */
    while (!isolation->node.post(isolation->node.node, finish, chore))
        rayi_nap_ms(1);
    return NULL;
}

static bool start(rayi_chore *chore)
{
    sigset_t all, old;
    pthread_t thread;
    int failed;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    failed = pthread_create(&thread, NULL, chore_main, chore); /* which may have ended, and been joined, already */
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed)
        (void)rayi_fail(RAY_ERR_SYSTEM, "the system gives no thread that could wait for the object store");
    return !failed;
}

static void append(rayi_chores *chores, rayi_chore *chore)
{
    if (chores->last)
        chores->last->next = chore;
    else
        chores->first = chore;
    chores->last = chore;
}

bool rayi_chore_begin(rayi_chores *chores, rayi_chore *chore)
{
    rayi_isolation *isolation = chore->isolation;
    bool now;

    chore->chores = chores;
    chore->next = NULL;
    pthread_mutex_lock(&isolation->lock);
    isolation->num_chores++;
    now = chores->running < chores->max;
    if (now)
        chores->running++;
    else
        append(chores, chore);
    pthread_mutex_unlock(&isolation->lock);
    if (!now || start(chore))
        return true;
    pthread_mutex_lock(&isolation->lock);
    chores->running--; /* if others have come to wait, and none runs, the timer goes on with them */
    isolation->num_chores--;
    pthread_mutex_unlock(&isolation->lock);
    return false;
}

static int take_pins(rayi_chore *chore, rayi_thread *thread)
{
    return rayi_pins_take(thread, &rayi_container_of(chore, rayi_fetch, chore)->pins);
}

int rayi_fetch_begin(rayi_isolation *isolation, rayi_fetch *fetch, rayi_task *task, void (*after)(rayi_chore *chore))
{
    int r = rayi_pins_of(task, &fetch->pins);

    if (r < 0)
        return r;
    fetch->chore = (rayi_chore){.isolation = isolation, .work = take_pins, .after = after};
    if (rayi_chore_begin(&isolation->fetches, &fetch->chore))
        return 0;
    rayi_pins_drop(rayi_self, &fetch->pins);
    return rayi_error_last_public()->code;
}
