/* Processes for code that travels (executor/executor.h). Tasks of a library that this process has not opened have a
 * class of their own, whose processes open it before they are ready for anything else; so what its constructors do is
 * done to them alone, and whatever needs no such process is not held up.
 *
 * Before the first process of a class is started the library is brought to this node; what waits for it waits in the
 * backlog, as for a process. What cannot be had or cannot be opened ends what waits for it: the next that needs it
 * tries again. */
#include "isolation/inside.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define OPEN_TRIES 3 /* processes in a row that end before they have opened it */

typedef struct bringing {
    rayi_chore chore;
    rayi_class *class; /* which stays as long as it is brought */
    char path[PATH_MAX];
} bringing;

rayi_error *rayi_code_error(const rayi_isolation *isolation, const rayi_class *class, const char *words)
{
    const char *node = rayi_executor_node_id(isolation->node.executor);

    return rayi_error_new(RAY_ERR_LOAD, NULL, node, "the library %s (%.16s) cannot be opened on node %s: %s",
                          class->code->name, class->code->hash, node, words);
}

/* What waits for this class fails. */
static void fail_class(rayi_isolation *isolation, rayi_thread *thread, rayi_class *class, const char *words)
{
    rayi_error *error = rayi_code_error(isolation, class, words);

    rayi_pool_fail_backlog(isolation, thread, class, RAY_ERR_LOAD, rayi_error_public(error)->message);
    rayi_error_unref(error);
}

static int bring(rayi_chore *chore, rayi_thread *thread)
{
    bringing *b = rayi_container_of(chore, bringing, chore);

    return chore->isolation->node.bring(chore->isolation->node.node, thread, b->class->code, b->path, sizeof b->path);
}

/* Its job may have ended meanwhile, and taken the file along. */
static bool is_there(rayi_code *code, const char *path)
{
    bool there;

    pthread_mutex_lock(&code->file_lock);
    there = code->file && strcmp(code->file, path) == 0;
    pthread_mutex_unlock(&code->file_lock);
    return there;
}

/* On the loop. What waits looks again: if the library has come and gone it is brought once more, or cannot be had. */
static void brought(rayi_isolation *isolation, rayi_class *class, const char *path, const char *words)
{
    bool is_here = path && is_there(class->code, path);
    rayi_begin *begins = class->begins;
    rayi_error *error = NULL;

    class->begins = NULL;
    pthread_mutex_lock(&isolation->lock);
    class->is_bringing = false;
    class->path = is_here ? rayi_strdup(path) : NULL;
    if (is_here && !class->path)
        words = "out of memory";
    pthread_mutex_unlock(&isolation->lock);
    if (words)
        error = rayi_code_error(isolation, class, words);
    if (words)
        fail_class(isolation, isolation->node.thread, class, words);
    rayi_begin_all(begins, error);
    rayi_error_unref(error);
    rayi_spawn_want(isolation);
}

static void after_bring(rayi_chore *chore)
{
    bringing *b = rayi_container_of(chore, bringing, chore);
    const char *words = chore->r == 0  ? NULL
                        : chore->error ? rayi_error_public(chore->error)->message
                                       : "out of memory";

    brought(chore->isolation, b->class, chore->r == 0 ? b->path : NULL, words);
    rayi_error_unref(chore->error);
    rayi_free(b);
}

static void begin_bringing(rayi_isolation *isolation, rayi_class *class)
{
    bringing *b = rayi_zalloc(sizeof *b);
    const char *words = "out of memory";

    pthread_mutex_lock(&isolation->lock);
    class->is_bringing = true;
    pthread_mutex_unlock(&isolation->lock);
    if (b) {
        b->chore = (rayi_chore){.isolation = isolation, .work = bring, .after = after_bring};
        b->class = class;
        if (rayi_chore_begin(&isolation->brings, &b->chore))
            return;
        words = rayi_error_last_public()->message;
    }
    rayi_free(b);
    brought(isolation, class, NULL, words);
}

bool rayi_class_is_open(rayi_isolation *isolation, rayi_class *class)
{
    bool is_here, comes;

    if (!class->code)
        return true;
    pthread_mutex_lock(&isolation->lock);
    if (class->is_doubtful) { /* the file is looked for again, and brought if it is gone */
        rayi_free(class->path);
        class->path = NULL;
        class->is_doubtful = false;
    }
    is_here = class->path != NULL;
    comes = class->is_bringing;
    pthread_mutex_unlock(&isolation->lock);
    if (!is_here && !comes)
        begin_bringing(isolation, class);
    return is_here;
}

/* ---- what its processes say ---- */

void rayi_code_opened(rayi_guest *guest, rayi_thread *thread, const char *words)
{
    rayi_isolation *isolation = guest->of;
    rayi_result result = {0};

    if (!words) {
        pthread_mutex_lock(&isolation->lock);
        guest->class->num_failures = 0;
        pthread_mutex_unlock(&isolation->lock);
        return;
    }
    pthread_mutex_lock(&isolation->lock);
    guest->class->is_doubtful = true;
    pthread_mutex_unlock(&isolation->lock);
    if (guest->actor) {
        result.error = rayi_code_error(isolation, guest->class, words);
        rayi_actor_constructed(thread, guest->actor, guest->actor_life, &result);
    } else {
        fail_class(isolation, thread, guest->class, words);
    }
}

void rayi_code_start_failed(rayi_guest *guest, const char *words)
{
    rayi_isolation *isolation = guest->of;
    rayi_class *class = guest->class;
    bool is_enough;

    pthread_mutex_lock(&isolation->lock);
    is_enough = guest->actor || ++class->num_failures >= OPEN_TRIES;
    if (is_enough)
        class->num_failures = 0;
    pthread_mutex_unlock(&isolation->lock);
    if (is_enough)
        rayi_code_opened(guest, isolation->node.thread, words);
}

/* ---- its end ---- */

/* isolation.lock is held. One that an actor has to itself ends with that. */
static bool is_of(const rayi_guest *guest, const rayi_code *code)
{
    return guest->class && guest->class->code == code && !guest->actor && guest->state != RAYI_GUEST_LEAVING;
}

static void let_go(rayi_guest *guest, const rayi_code *code)
{
    rayi_isolation *isolation = guest->of;
    bool idle = false, starts = false;
    uint32_t life;

    pthread_mutex_lock(&isolation->lock);
    life = atomic_load(&guest->life);
    if (is_of(guest, code)) {
        guest->retire = guest->makes_way = true;
        idle = rayi_guest_is_idle(guest);
        starts = guest->starting;
        if (idle || starts)
            guest->state = RAYI_GUEST_LEAVING;
        if (starts)
            guest->why = RAYI_WHY_IDLE; /* it may find the file gone, and that is no failure */
    }
    pthread_mutex_unlock(&isolation->lock);
    if (idle)
        rayi_spawn_exit(guest, life, RAYI_WHY_IDLE);
    if (starts)
        rayi_spawn_kill(guest, life, RAYI_WHY_IDLE);
}

void rayi_isolation_code_gone(rayi_isolation *isolation, const rayi_code *code)
{
    unsigned count = atomic_load(&isolation->num_guests);

    pthread_mutex_lock(&isolation->lock);
    for (rayi_class *class = &isolation->classes; class; class = class->next)
        if (class->code == code) {
            rayi_free(class->path);
            class->path = NULL;
        }
    pthread_mutex_unlock(&isolation->lock);
    for (unsigned i = 0; i < count; i++)
        let_go(isolation->guests[i], code);
}
