/* Who gets what. Tasks wait in the backlog of their class; whoever changes anything (a task more, a guest with less to
 * do, a slot free, a process ready) feeds: matches guests with tasks until nothing fits.
 *
 * Plain tasks go to a guest that has one of the lane's slots, or can get one: to the one with least to do, up to
 * RAYI_GUEST_DEPTH at once, so that neither end waits for the other between short tasks. What such a queue holds back
 * is taken from it again: when another guest has nothing to do, and when the task in front of it blocks. Granted tasks,
 * which the scheduler has given resources, have a guest for themselves while they run. */
#include "isolation/inside.h"

#include <string.h>

/* ---- the backlog; isolation.lock is held ---- */

static void push(rayi_task *list[2], rayi_task *task)
{
    task->head.next = NULL;
    if (list[1])
        list[1]->head.next = &task->head;
    else
        list[0] = task;
    list[1] = task;
}

static void push_front(rayi_task *list[2], rayi_task *task)
{
    task->head.next = list[0] ? &list[0]->head : NULL;
    list[0] = task;
    if (!list[1])
        list[1] = task;
}

static rayi_task *pop(rayi_task *list[2])
{
    rayi_task *task = list[0];

    if (task) {
        list[0] = (rayi_task *)task->head.next;
        if (!list[0])
            list[1] = NULL;
        task->head.next = NULL;
    }
    return task;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_env(char *const *a, char *const *b)
{
    size_t i = 0;

    if (!a || !b)
        return a == b;
    for (; a[i] && b[i]; i++)
        if (strcmp(a[i], b[i]) != 0)
            return false;
    return a[i] == b[i];
}

rayi_class *rayi_pool_class(rayi_isolation *isolation, char *const *env, const char *gpus, rayi_code *code)
{
    rayi_class *class = &isolation->classes, *made;

    for (; class; class = class->next)
        if (class->code == code && same_env(class->env, env) && same_text(class->gpus, gpus))
            return class;
    made = rayi_zalloc(sizeof *made);
    if (!made)
        return NULL;
    made->env = env ? rayi_env_copy((const char *const *)env) : NULL;
    made->gpus = gpus ? rayi_strdup(gpus) : NULL;
    if ((env && !made->env) || (gpus && !made->gpus)) {
        rayi_free(made->env);
        rayi_free(made);
        return NULL;
    }
    made->next = isolation->classes.next;
    made->code = code;
    made->used_ms = rayi_now_ms();
    isolation->classes.next = made;
    return made;
}

/* isolation.lock is held. A process keeps its class from its start to its end. */
static bool in_use(const rayi_isolation *isolation, const rayi_class *class)
{
    unsigned count = atomic_load(&((rayi_isolation *)isolation)->num_guests);

    if (class->plain[0] || class->granted[0] || class->num_starting > 0 || class->is_bringing)
        return true;
    for (unsigned i = 0; i < count; i++)
        if (isolation->guests[i]->class == class)
            return true;
    return false;
}

static void class_free(rayi_class *class)
{
    rayi_free(class->env);
    rayi_free(class->gpus);
    rayi_free(class->path);
    rayi_free(class);
}

void rayi_pool_sweep(rayi_isolation *isolation, int64_t now)
{
    pthread_mutex_lock(&isolation->lock);
    for (rayi_class **at = &isolation->classes.next, *class; (class = *at);) {
        if (in_use(isolation, class))
            class->used_ms = now;
        if (now - class->used_ms <= RAYI_MAX(isolation->node.idle_ms, 1000)) {
            at = &class->next;
            continue;
        }
        *at = class->next;
        class_free(class);
    }
    pthread_mutex_unlock(&isolation->lock);
}

void rayi_pool_free_classes(rayi_isolation *isolation)
{
    for (rayi_class *class = isolation->classes.next, *next; class; class = next) {
        next = class->next;
        class_free(class);
    }
}

static bool is_granted(const rayi_task *task)
{
    return task->head.flags & RAYI_ESCAPED;
}

static rayi_class *class_of(rayi_isolation *isolation, rayi_task *task)
{
    char *const *env = rayi_task_env(task);
    const char *gpus = is_granted(task) ? isolation->node.task_gpus(task) : NULL;
    const rayi_function *function = rayi_task_function(task);
    rayi_code *code = rayi_function_is_foreign(function) ? rayi_function_code(function) : NULL;

    return !env && !gpus && !code ? &isolation->classes : rayi_pool_class(isolation, env, gpus, code);
}

static bool add(rayi_isolation *isolation, rayi_task *task, bool front)
{
    rayi_class *class = class_of(isolation, task);

    if (!class)
        return false;
    (front ? push_front : push)(is_granted(task) ? class->granted : class->plain, task);
    if (is_granted(task))
        class->num_granted++;
    else
        class->num_plain++;
    return true;
}

/* The classes of these may have gone meanwhile, and there may be no memory for new ones. */
static void fail_lost(rayi_task *tasks)
{
    for (rayi_task *next; tasks; tasks = next) {
        next = (rayi_task *)tasks->head.next;
        tasks->head.next = NULL;
        if (rayi_record_claim_queued(&tasks->head))
            rayi_task_ran(rayi_self, tasks, &(rayi_result){.error = rayi_error_plain(RAY_ERR_NO_MEMORY)});
        else
            rayi_record_unref(rayi_self, &tasks->head);
    }
}

uint32_t rayi_pool_put_back(rayi_isolation *isolation, rayi_task *tasks)
{
    rayi_task *next, *backwards = NULL, *lost = NULL;
    uint32_t count = 0;

    for (; tasks; tasks = next) {
        next = (rayi_task *)tasks->head.next;
        tasks->head.next = backwards ? &backwards->head : NULL;
        backwards = tasks;
    }
    pthread_mutex_lock(&isolation->lock);
    for (tasks = backwards; tasks; tasks = next, count++) {
        next = (rayi_task *)tasks->head.next;
        rayi_record_unclaim(&tasks->head);
        if (add(isolation, tasks, true))
            continue;
        tasks->head.next = lost ? &lost->head : NULL;
        lost = tasks;
    }
    pthread_mutex_unlock(&isolation->lock);
    fail_lost(lost);
    return count;
}

void rayi_isolation_dispatch(rayi_isolation *isolation, rayi_thread *thread, rayi_task *task)
{
    bool added;

    pthread_mutex_lock(&isolation->lock);
    added = add(isolation, task, false);
    pthread_mutex_unlock(&isolation->lock);
    if (!added && rayi_record_claim(&task->head)) {
        rayi_result result = {.error = rayi_error_new(RAY_ERR_NO_MEMORY, rayi_task_name(task), NULL,
                                                      "out of memory: the queue for worker processes")};
        rayi_task_ran(thread, task, &result);
    }
    rayi_pool_feed(isolation, thread);
}

/* ---- matching; isolation.lock is held ---- */

/* Nothing to do, and could have something. */
static bool is_spare(const rayi_guest *guest, const rayi_class *class)
{
    return rayi_guest_is_idle(guest) && guest->class == class && !guest->has_slot && !guest->granted &&
           rayi_guest_takes_more(guest);
}

rayi_guest *rayi_pool_spare(rayi_isolation *isolation, rayi_class *class)
{
    unsigned count = atomic_load(&isolation->num_guests);

    for (unsigned i = 0; i < count; i++)
        if (is_spare(isolation->guests[i], class))
            return isolation->guests[i];
    return NULL;
}

/* The one with a slot that has least to do. */
static rayi_guest *least_loaded(rayi_isolation *isolation, const rayi_class *class)
{
    unsigned count = atomic_load(&isolation->num_guests);
    rayi_guest *best = NULL;

    for (unsigned i = 0; i < count; i++) {
        rayi_guest *guest = isolation->guests[i];
        if (guest->state == RAYI_GUEST_READY && guest->class == class && guest->has_slot && guest->num_blocked == 0 &&
            rayi_guest_takes_more(guest) && guest->num_offered < RAYI_GUEST_DEPTH &&
            (!best || guest->num_offered < best->num_offered))
            best = guest;
    }
    return best;
}

static rayi_lane *lane_of(const rayi_isolation *isolation)
{
    return rayi_executor_lane(isolation->node.executor);
}

void rayi_pool_give_slot(rayi_guest *guest)
{
    guest->has_slot = false;
    if (guest->num_blocked == 0)
        rayi_lane_give_slot(lane_of(guest->of));
}

/* alone: behind others its blocks would be pinned for as long as those take. */
static rayi_guest *guest_for_plain(rayi_isolation *isolation, rayi_class *class, bool alone)
{
    rayi_guest *guest = least_loaded(isolation, class), *spare;

    if (guest && guest->num_offered == 0)
        return guest;
    spare = rayi_pool_spare(isolation, class);
    if (spare && rayi_lane_take_slot(lane_of(isolation))) {
        spare->has_slot = true;
        return spare;
    }
    return guest && !alone && !rayi_lane_must_return(lane_of(isolation)) ? guest : NULL;
}

static bool match_class(rayi_isolation *isolation, rayi_class *class, rayi_match *out)
{
    if (class->granted[0] && (out->guest = rayi_pool_spare(isolation, class))) {
        out->guest->granted = true;
        out->task = pop(class->granted);
        class->num_granted--;
        return true;
    }
    if (class->plain[0] &&
        (out->guest = guest_for_plain(isolation, class, rayi_task_has_far_arguments(class->plain[0])))) {
        out->task = pop(class->plain);
        class->num_plain--;
        return true;
    }
    return false;
}

bool rayi_pool_may_start(const rayi_isolation *isolation)
{
    return isolation->num_workers < isolation->node.max_workers && !isolation->stopping;
}

/* A guest with nothing to do takes over half of what the busiest has not started. */
static rayi_guest *overloaded(rayi_isolation *isolation, uint32_t *how_many)
{
    unsigned count = atomic_load(&isolation->num_guests);
    rayi_guest *most = NULL, *spare;

    for (unsigned i = 0; i < count; i++) {
        rayi_guest *guest = isolation->guests[i];
        if (guest->state == RAYI_GUEST_READY && guest->has_slot && !guest->actor && guest->num_offered > 1 &&
            (!most || guest->num_offered > most->num_offered))
            most = guest;
    }
    if (!most || most->class->plain[0])
        return NULL;
    spare = least_loaded(isolation, most->class);
    if (!spare || spare->num_offered > 0) {
        spare = rayi_pool_spare(isolation, most->class);
        if (!spare || !rayi_lane_take_slot(lane_of(isolation)))
            return NULL;
        spare->has_slot = true;
    }
    *how_many = most->num_offered / 2;
    return most;
}

bool rayi_pool_ends_unrun(rayi_isolation *isolation, rayi_thread *thread, rayi_task *task)
{
    rayi_result result = {0};

    if (atomic_load(&isolation->failing))
        result.error = rayi_error_new(RAY_ERR_SHUTDOWN, rayi_task_name(task), NULL,
                                      "the runtime was shut down before %s had run", rayi_task_name(task));
    else if (rayi_task_cancelled(task))
        result.error = rayi_task_cancelled_error(task);
    else
        result.error = rayi_task_failed_argument(task);
    if (result.error)
        rayi_task_ran(thread, task, &result);
    return result.error != NULL;
}

/* It has not been one of its calls after all. */
static void unmatch(const rayi_match *m)
{
    rayi_pool_offers_gone(m->guest, m->life, 1, rayi_function_max_calls(rayi_task_function(m->task)) > 0);
}

/* The guest may have blocked since it was matched, on this very task, say. Whoever told us so took back what stood
 * there then: either it found our offer, or we find it blocked now. */
static void take_back_if_blocked(rayi_isolation *isolation, const rayi_match *m)
{
    bool blocked;

    pthread_mutex_lock(&isolation->lock);
    blocked = m->guest->num_blocked > 0 && atomic_load(&m->guest->life) == m->life;
    pthread_mutex_unlock(&isolation->lock);
    if (blocked)
        (void)rayi_pool_take_back(m->guest, m->life, RAYI_OFFERS);
}

/* Of memory; that of the task before goes with it. Who hands over in this guest's next turn comes after us. */
static void limit_for(rayi_isolation *isolation, const rayi_match *m)
{
    uint64_t bytes = is_granted(m->task) ? isolation->node.task_memory(m->task) : 0;
    bool changes;

    pthread_mutex_lock(&isolation->lock);
    changes = atomic_load(&m->guest->life) == m->life && (bytes > 0 || m->guest->limited);
    if (changes)
        m->guest->limited = bytes > 0;
    pthread_mutex_unlock(&isolation->lock);
    if (changes)
        rayi_spawn_limit(m->guest, m->life, bytes);
}

static void hand_over(rayi_isolation *isolation, rayi_thread *thread, const rayi_match *m)
{
    rayi_result result = {0};
    int r;

    if (!m->nested && !rayi_record_claim_queued(&m->task->head)) { /* cancelled, or run by who waited for it */
        unmatch(m);
        rayi_record_unref(thread, &m->task->head);
        return;
    }
    rayi_record_ref(&m->task->head); /* for unmatch */
    if (rayi_pool_ends_unrun(isolation, thread, m->task)) {
        unmatch(m);
        rayi_record_unref(thread, &m->task->head);
        return;
    }
    rayi_record_unref(thread, &m->task->head);
    if (!m->nested)
        limit_for(isolation, m); /* before it can have ended */
    r = rayi_guest_offer(m->guest, m->life, thread, m->task, NULL, 0, RAYI_WORK_TASK, m->nested);
    if (r == 0) {
        if (!m->nested)
            take_back_if_blocked(isolation, m);
        return;
    }
    unmatch(m);
    if (r == RAYI_STOPPED && rayi_pool_ends_unrun(isolation, thread, m->task))
        return;
    if (r == RAYI_LATER) {
        rayi_isolation_fetch(isolation, m->task);
    } else if (r == RAYI_GONE || r == RAYI_STOPPED) {
        rayi_pool_put_back(isolation, m->task);
    } else {
        rayi_error *error = rayi_error_last();
        result.error = rayi_error_new(r, rayi_task_name(m->task), NULL, "%s cannot be handed to a worker process: %s",
                                      rayi_task_name(m->task),
                                      r == RAY_ERR_LIMIT ? "it has too much to do"
                                      : error            ? rayi_error_public(error)->message
                                                         : "out of memory");
        rayi_error_unref(error);
        rayi_task_ran(thread, m->task, &result);
    }
}

uint32_t rayi_pool_free_slots(const rayi_isolation *isolation)
{
    rayi_lane_counts counts;

    rayi_lane_count(lane_of(isolation), &counts);
    return counts.slots > 0 ? (uint32_t)counts.slots : 0;
}

uint32_t rayi_pool_count_waiting(const rayi_isolation *isolation, const rayi_class *class)
{
    unsigned count = atomic_load(&((rayi_isolation *)isolation)->num_guests);
    uint32_t waiting = class->num_plain;

    for (unsigned i = 0; i < count; i++) {
        const rayi_guest *guest = isolation->guests[i];
        if (guest->class == class && guest->has_slot && !guest->actor && guest->num_offered > 1)
            waiting += guest->num_offered - 1;
    }
    return waiting;
}

/* One that has nothing to do, but of class (NULL: of any): it could make way. */
static bool has_idle(const rayi_isolation *isolation, const rayi_class *but)
{
    unsigned count = atomic_load(&((rayi_isolation *)isolation)->num_guests);

    for (unsigned i = 0; i < count; i++)
        if (rayi_guest_is_idle(isolation->guests[i]) && isolation->guests[i]->class != but)
            return true;
    return false;
}

/* Work waits that more processes could do, or an actor that could have an idle one. */
static bool wants_more(const rayi_isolation *isolation)
{
    bool may = rayi_pool_may_start(isolation);

    if (isolation->num_begins > 0 && (may || has_idle(isolation, NULL)))
        return true;
    for (const rayi_class *class = &isolation->classes; class; class = class->next)
        if (may ? class->num_granted > class->num_starting ||
                      (class->num_starting == 0 && rayi_pool_free_slots(isolation) > 0 &&
                       rayi_pool_count_waiting(isolation, class) > 0)
                : (class->plain[0] || class->granted[0]) && has_idle(isolation, class))
            return true;
    return false;
}

static bool find_match(rayi_isolation *isolation, rayi_match *out)
{
    *out = (rayi_match){0};
    for (rayi_class *class = &isolation->classes; class; class = class->next)
        if (match_class(isolation, class, out))
            return true;
    return false;
}

/* One that has been given as many calls as its function allows gets nothing more, and leaves when they are done. */
static void count_call(rayi_guest *guest, const rayi_task *task)
{
    uint32_t max_calls = rayi_function_max_calls(rayi_task_function(task));

    if (max_calls == 0)
        return;
    guest->num_calls++;
    guest->max_calls = guest->max_calls ? RAYI_MIN(guest->max_calls, max_calls) : max_calls;
    guest->retire |= guest->num_calls >= guest->max_calls;
}

void rayi_pool_feed(rayi_isolation *isolation, rayi_thread *thread)
{
    rayi_guest *busiest;
    uint32_t some, life;
    bool want;
    rayi_match m;

    pthread_mutex_lock(&isolation->lock);
    for (;;) {
        if (find_match(isolation, &m) || rayi_nested_match(isolation, thread, &m)) {
            m.guest->num_offered++;
            m.life = atomic_load(&m.guest->life);
            count_call(m.guest, m.task);
            pthread_mutex_unlock(&isolation->lock);
            hand_over(isolation, thread, &m);
            pthread_mutex_lock(&isolation->lock);
            continue;
        }
        busiest = overloaded(isolation, &some);
        if (!busiest)
            break;
        life = atomic_load(&busiest->life);
        pthread_mutex_unlock(&isolation->lock);
        some = rayi_pool_take_back(busiest, life, some);
        pthread_mutex_lock(&isolation->lock);
        if (some == 0)
            break;
    }
    for (unsigned i = 0; i < atomic_load(&isolation->num_guests); i++) /* slots that were taken for nothing */
        if (isolation->guests[i]->has_slot && isolation->guests[i]->num_offered == 0)
            rayi_pool_give_slot(isolation->guests[i]);
    want = wants_more(isolation);
    pthread_mutex_unlock(&isolation->lock);
    if (want)
        rayi_spawn_want(isolation);
}

/* ---- what changes ---- */

void rayi_isolation_slot_free(rayi_isolation *isolation)
{
    if (rayi_self)
        rayi_pool_feed(isolation, rayi_self);
}

void rayi_pool_offers_gone(rayi_guest *guest, uint32_t life, uint32_t count, uint32_t not_run)
{
    rayi_isolation *isolation = guest->of;
    bool leaves;

    pthread_mutex_lock(&isolation->lock);
    if (atomic_load(&guest->life) !=
        life) { /* it went with its process (clear raises it before the counts are reset) */
        pthread_mutex_unlock(&isolation->lock);
        return;
    }
    guest->num_offered -= count;
    guest->num_calls -= not_run;
    if (not_run > 0 && !guest->makes_way)
        guest->retire = guest->num_calls >= guest->max_calls;
    if (guest->num_offered == 0) {
        guest->granted = false;
        if (guest->has_slot && (guest->retire || !guest->class->plain[0] || rayi_lane_must_return(lane_of(isolation))))
            rayi_pool_give_slot(guest);
        guest->idle_since_ms = rayi_now_ms();
    }
    leaves = guest->retire && guest->num_offered == 0 && guest->state == RAYI_GUEST_READY && !guest->actor;
    if (leaves)
        guest->state = RAYI_GUEST_LEAVING;
    pthread_mutex_unlock(&isolation->lock);
    if (leaves)
        rayi_spawn_exit(guest, life, RAYI_WHY_IDLE);
}

void rayi_pool_offer_ended(rayi_guest *guest, uint32_t life)
{
    rayi_pool_offers_gone(guest, life, 1, 0);
}

void rayi_pool_settle(rayi_guest *guest, uint32_t life, rayi_thread *thread, const rayi_offer *offer)
{
    const rayi_task *task = offer->task;

    if (offer->awaited)
        rayi_record_unref(thread, offer->awaited);
    if (offer->blocked && task && task->head.type == RAYI_TASK && (task->head.flags & RAYI_ESCAPED))
        rayi_task_blocked(thread, offer->task, NULL, false);
    if (offer->blocked)
        rayi_pool_blocked(guest, life, false);
    rayi_pool_offer_ended(guest, life);
}

void rayi_pool_blocked(rayi_guest *guest, uint32_t life, bool blocked)
{
    rayi_isolation *isolation = guest->of;
    bool first = false;

    pthread_mutex_lock(&isolation->lock);
    if (atomic_load(&guest->life) != life) {
        ; /* it went with its process */
    } else if (blocked) {
        first = guest->num_blocked == 0;
        if (first && guest->has_slot)
            rayi_lane_give_slot(lane_of(isolation));
        guest->num_blocked++;
    } else {
        guest->num_blocked--;
        if (guest->num_blocked == 0 && guest->has_slot)
            rayi_lane_resume_slot(lane_of(isolation));
    }
    first = first && !guest->actor;
    pthread_mutex_unlock(&isolation->lock);
    if (first) /* what stands behind it could be what it waits for */
        (void)rayi_pool_take_back(guest, life, RAYI_OFFERS);
}

uint32_t rayi_pool_take_back(rayi_guest *guest, uint32_t life, uint32_t max)
{
    rayi_task *tasks = rayi_guest_take_back(guest, life, max);
    uint32_t count, counted = 0;

    for (const rayi_task *task = tasks; task; task = (const rayi_task *)task->head.next)
        counted += rayi_function_max_calls(rayi_task_function(task)) > 0;
    count = rayi_pool_put_back(guest->of, tasks);
    if (count > 0)
        rayi_pool_offers_gone(guest, life, count, counted);
    return count;
}

void rayi_pool_fail_backlog(rayi_isolation *isolation, rayi_thread *thread, rayi_class *class, int code,
                            const char *why)
{
    for (;;) {
        rayi_result result = {0};
        rayi_task *task = NULL;
        pthread_mutex_lock(&isolation->lock);
        for (rayi_class *at = &isolation->classes; at && !task; at = at->next) {
            if (class && at != class)
                continue;
            if ((task = pop(at->granted)))
                at->num_granted--;
            else if ((task = pop(at->plain)))
                at->num_plain--;
        }
        pthread_mutex_unlock(&isolation->lock);
        if (!task)
            return;
        if (!rayi_record_claim_queued(&task->head)) {
            rayi_record_unref(thread, &task->head);
            continue;
        }
        result.error =
            rayi_error_new(code, rayi_task_name(task), rayi_executor_node_id(isolation->node.executor), "%s: %s",
                           rayi_task_name(task), why ? why : "the runtime was shut down before it had run");
        rayi_task_ran(thread, task, &result);
    }
}
