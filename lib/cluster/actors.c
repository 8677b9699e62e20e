/* Actors of this node that live on another one. Their mailboxes, restarts and handles are here (lib/executor); there is
 * an ordinary actor without restarts (residents.c), for one *life* of ours each.
 *
 *   NOWHERE ──begin──▶ PLACING ──go──▶ THERE ──end, gone──▶ NOWHERE
 *
 * Calls go in the order of actor_send. They stand in a list from then on until they have ended: QUEUED (not sent) or
 * SENT. The list is under afar.lock, since the executor takes calls back on any thread, under the actor's lock; the
 * loop writes and sends a call under it, too, so that one that is taken is either not sent, or sent whole. Lock order:
 * actor.lock → afar.lock → names_lock. What is taken while it is SENT leaves its entry behind, without a task, for the
 * result that may still come.
 *
 * Events of a life come to the loop in order; one that is over is ignored. A life ends once: the host says so (GONE),
 * or its node dies. */
#include "cluster/inside.h"

#include <stdio.h>

enum state { NOWHERE, PLACING, THERE };

typedef struct rayi_afar_call {
    struct rayi_afar_call *prev, *next;
    rayi_task *task; /* the lane's count; NULL: it was taken back */
    rayi_afar *of;   /* counted */
    uint32_t life;
    bool is_sent, is_dropped; /* dropped: no result will come */
} rayi_afar_call;

struct rayi_afar {
    ray_actor *actor;
    rayi_cluster *cluster; /* counted */
    void *place;
    bool is_detached; /* it outlives this node, there */
    bool parks;       /* it must not live twice: it has a name, or restarts */
    atomic_uint refs;
    rayi_writer options;
    rayi_finished errand; /* to the loop, while has_errand */

    pthread_mutex_t lock;
    rayi_afar_call *calls;
    rayi_afar *next_calling;
    bool is_calling, has_errand, begins, finis, ends, is_doomed; /* what the loop is to do; doomed: no call is taken */
    uint32_t life;                                               /* the latest that was begun */

    /* the loop's */
    enum state state;
    uint32_t there_life;
    bool is_up;             /* THERE: its constructor has returned */
    rayi_afar_room room;    /* in which it is there */
    rayi_neighbour *there;  /* counted */
    rayi_afar *prev, *next; /* of that neighbour */
};

/* ---- making ---- */

rayi_afar *rayi_afar_new(rayi_cluster *cluster, ray_actor *actor, const ray_actor_options *options, void *place)
{
    rayi_afar *a = rayi_zalloc(sizeof *a);
    ray_actor_options kept = options ? *options : (ray_actor_options){0};
    bool parks = kept.name || kept.max_restarts != 0;

    if (!a) {
        (void)rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: an actor");
        return NULL;
    }
    kept.group = NULL;
    kept.bundle = 0;
    kept.name = kept.labels = kept.node_id = NULL; /* where and under which name are ours to say */
    kept.get_if_exists = false;
    kept.max_restarts = kept.max_task_retries = 0;
    kept.max_pending_calls = 0;
    rayi_writer_init(&a->options);
    rayi_exchange_write_actor_options(NULL, &a->options, &kept);
    if (a->options.failed) {
        rayi_writer_fini(&a->options);
        rayi_free(a);
        (void)rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the options of an actor");
        return NULL;
    }
    a->actor = actor;
    a->is_detached = kept.detached;
    a->parks = parks;
    a->cluster = cluster;
    a->place = place;
    atomic_store(&a->refs, 1);
    pthread_mutex_init(&a->lock, NULL);
    rayi_cluster_ref(cluster);
    return a;
}

void rayi_afar_free(rayi_afar *a)
{
    if (atomic_fetch_sub(&a->refs, 1) > 1)
        return;
    RAYI_ASSERT(!a->calls && !a->there);
    pthread_mutex_destroy(&a->lock);
    rayi_writer_fini(&a->options);
    rayi_cluster_unref(a->cluster);
    rayi_free(a);
}

void *rayi_afar_place(const rayi_afar *a)
{
    return a->place;
}

ray_actor *rayi_afar_actor(const rayi_afar *a)
{
    return a->actor;
}

/* ---- from the executor, on any thread ---- */

static void run_errand(rayi_cluster *cluster, rayi_finished *finished);

/* The lock is held. The actor lives until the errand is run. */
static void go_to_loop(rayi_afar *a)
{
    if (a->has_errand)
        return;
    a->has_errand = true;
    a->errand.tell = run_errand;
    rayi_record_ref(rayi_actor_record(a->actor));
    rayi_cluster_finish(a->cluster, &a->errand);
}

void rayi_afar_begin(rayi_afar *a, rayi_thread *thread, uint32_t life)
{
    (void)thread;
    pthread_mutex_lock(&a->lock);
    a->life = life;
    a->begins = true;
    a->is_doomed = false;
    go_to_loop(a);
    pthread_mutex_unlock(&a->lock);
}

bool rayi_afar_send(rayi_afar *a, rayi_thread *thread, rayi_task *task, uint32_t life)
{
    rayi_afar_call *call = rayi_zalloc(sizeof *call);
    bool taken = false;

    if (!call) {
        rayi_result result = {.error = rayi_error_plain(RAY_ERR_NO_MEMORY)};
        rayi_actor_call_ran(thread, a->actor, task, life, &result);
        return true;
    }
    pthread_mutex_lock(&a->lock);
    if (life == a->life && !a->is_doomed) {
        call->task = task;
        call->of = a;
        call->life = life;
        atomic_fetch_add(&a->refs, 1);
        DL_APPEND(a->calls, call);
        if (!a->is_calling) {
            a->is_calling = true;
            rayi_record_ref(rayi_actor_record(a->actor));
            rayi_cluster_call(a->cluster, &a->next_calling, a);
        }
        taken = true;
    }
    pthread_mutex_unlock(&a->lock);
    if (!taken)
        rayi_free(call); /* its restart, or its end, pokes the mailbox */
    return taken;
}

static void call_free(rayi_afar_call *call)
{
    rayi_afar_free(call->of);
    rayi_free(call);
}

/* Sent ones leave their entry to the result. */
rayi_task *rayi_afar_take(rayi_afar *a, bool started_too)
{
    rayi_task *first = NULL, **end = &first;
    rayi_afar_call *call, *next;
    unsigned unused = 0;

    pthread_mutex_lock(&a->lock);
    a->is_doomed |= started_too;
    DL_FOREACH_SAFE(a->calls, call, next)
    {
        if (call->is_sent && !started_too)
            continue;
        DL_DELETE(a->calls, call);
        if (call->is_sent)
            atomic_fetch_or(&call->task->head.state, RAYI_TAKEN);
        *end = call->task;
        call->task->head.next = NULL;
        end = (rayi_task **)&call->task->head.next;
        call->task = NULL;
        if (!call->is_sent || call->is_dropped) {
            rayi_free(call);
            unused++;
        }
    }
    pthread_mutex_unlock(&a->lock);
    for (; unused > 0; unused--)
        rayi_afar_free(a);
    return first;
}

void rayi_afar_fini(rayi_afar *a, rayi_thread *thread)
{
    (void)thread;
    pthread_mutex_lock(&a->lock);
    a->finis = true;
    go_to_loop(a);
    pthread_mutex_unlock(&a->lock);
}

void rayi_afar_end(rayi_afar *a, rayi_thread *thread)
{
    (void)thread;
    pthread_mutex_lock(&a->lock);
    a->ends = true;
    a->begins = false;
    go_to_loop(a);
    pthread_mutex_unlock(&a->lock);
}

/* ---- the loop: where it lives ---- */

static void come_off(rayi_afar *a)
{
    rayi_neighbour *n = a->there;

    if (!n)
        return;
    DL_DELETE(n->afar, a);
    a->there = NULL;
    rayi_neighbour_unref(n);
}

static void leave(rayi_afar *a)
{
    if (a->state == NOWHERE)
        return;
    come_off(a);
    a->state = NOWHERE;
    a->cluster->node.actor_is_back(a->cluster->node.node, a->place);
}

static void send_end(rayi_afar *a, bool kill)
{
    rayi_writer writer;

    if (a->is_detached && rayi_lane_stopping(rayi_executor_lane(a->cluster->node.executor))) {
        if (!kill)
            rayi_actor_fini_ran(a->cluster->node.thread, a->actor);
        return;
    }
    rayi_between_begin(&writer, RAYI_BETWEEN_ACTOR_END);
    rayi_put_u64(&writer, rayi_actor_number(a->actor));
    rayi_put_u32(&writer, a->there_life);
    rayi_put_u8(&writer, kill);
    rayi_between_say(a->there, &writer);
}

static void begin(rayi_afar *a, uint32_t life)
{
    rayi_error *failed = rayi_task_failed_argument(rayi_actor_creation(a->actor));

    leave(a);
    if (!rayi_actor_is_in_life(a->actor, life)) { /* killed before it had begun */
        rayi_error_unref(failed);
        return;
    }
    a->there_life = life;
    if (failed) {
        rayi_result result = {.error = failed};
        rayi_actor_constructed(a->cluster->node.thread, a->actor, life, &result);
        return;
    }
    a->state = PLACING;
    a->cluster->node.place_actor(a->cluster->node.node, a->place);
}

static void run_errand(rayi_cluster *cluster, rayi_finished *finished)
{
    rayi_afar *a = rayi_container_of(finished, rayi_afar, errand);
    ray_actor *actor = a->actor;
    bool begins, finis, ends;
    uint32_t life;

    pthread_mutex_lock(&a->lock);
    begins = a->begins;
    finis = a->finis;
    ends = a->ends;
    life = a->life;
    a->begins = a->finis = a->ends = a->has_errand = false;
    pthread_mutex_unlock(&a->lock);
    if (ends && a->state == THERE)
        send_end(a, true);
    if (ends)
        leave(a);
    if (begins)
        begin(a, life);
    if (finis && a->state == THERE)
        send_end(a, false);
    else if (finis)
        rayi_actor_fini_ran(cluster->node.thread, actor);
    rayi_record_unref(cluster->node.thread, rayi_actor_record(actor));
}

static bool write_actor(rayi_afar *a, rayi_neighbour *n, rayi_between_port *port, rayi_writer *writer)
{
    const rayi_task *creation = rayi_actor_creation(a->actor);
    rayi_between_actor head = {.actor = rayi_actor_number(a->actor),
                               .life = a->there_life,
                               .num_args = creation->num_args,
                               .part = a->room.part,
                               .part_owner = a->room.owner,
                               .any_bundle = a->room.any_bundle,
                               .bundle = a->room.bundle,
                               .parks = a->parks};

    if (!rayi_away_name_function(n, rayi_task_function(creation), &head.function))
        return false;
    rayi_put_u8(writer, RAYI_BETWEEN_ACTOR);
    rayi_put_bytes(writer, &head, sizeof head);
    rayi_put_bytes(writer, a->options.data, a->options.size);
    return rayi_exchange_write_args(&port->port, a->cluster->node.thread, writer, creation, true) == 0;
}

void rayi_afar_go(rayi_afar *a, const rayi_node_id *there, const rayi_afar_room *room)
{
    rayi_neighbour *n = rayi_neighbour_or_own(a->cluster, there);
    rayi_between_port port;
    rayi_writer writer;
    bool sent;

    if (a->state != PLACING) {
        a->cluster->node.actor_is_back(a->cluster->node.node, a->place);
        return;
    }
    if (!n || (!n->peer && !n->is_own)) { /* nothing has begun: no life is over */
        a->cluster->node.actor_refused(a->cluster->node.node, a->place, RAY_ERR_NODE_DIED);
        return;
    }
    a->room = *room;
    rayi_between_port_init(&port, n);
    rayi_writer_init(&writer);
    sent = write_actor(a, n, &port, &writer) && rayi_neighbour_send(n, RAYI_FRAME_MESSAGE, &writer) == 0;
    rayi_between_port_fini(&port, sent);
    rayi_writer_fini(&writer);
    if (!sent) {
        leave(a);
        rayi_actor_crashed(a->cluster->node.thread, a->actor, a->there_life,
                           rayi_error_new(RAY_ERR_NODE_DIED, rayi_actor_class(a->actor), NULL,
                                          "actor %s could not be sent to another node", rayi_actor_class(a->actor)));
        return;
    }
    a->state = THERE;
    a->is_up = false;
    a->there = n;
    rayi_neighbour_ref(n);
    DL_APPEND(n->afar, a);
}

void rayi_afar_refused(rayi_afar *a, rayi_error *error)
{
    if (a->state == PLACING)
        a->state = NOWHERE;
    rayi_actor_lost(a->cluster->node.thread, a->actor, error);
}

/* ---- the loop: calls ---- */

static bool write_call(rayi_afar *a, rayi_between_port *port, rayi_writer *writer, const rayi_afar_call *call,
                       rayi_away *away)
{
    rayi_neighbour *n = a->there;
    rayi_task *task = call->task;
    const char *name = rayi_task_name(task);
    uint32_t group = rayi_call_group(task);
    ray_task_options options = {.size = sizeof options,
                                .name = name == rayi_function_name(rayi_task_function(task)) ? NULL : name,
                                .concurrency_group = group ? rayi_actor_group_name(a->actor, group - 1) : NULL};
    rayi_between_task head = {.id = away->id,
                              .num_args = task->num_args,
                              .left_ms = INT64_MAX,
                              .actor = rayi_actor_number(a->actor),
                              .callee = RAYI_CALLS_HOSTED,
                              .has_options = group != 0 || options.name};

    rayi_stream_describe(away, task, &head);
    if (!rayi_away_name_function(n, rayi_task_function(task), &head.function))
        return false;
    rayi_put_u8(writer, RAYI_BETWEEN_TASK);
    rayi_put_bytes(writer, &head, sizeof head);
    if (head.has_options)
        rayi_exchange_write_task_options(&port->port, writer, &options);
    return rayi_exchange_write_args(&port->port, n->cluster->node.thread, writer, task, true) == 0;
}

/* The lock is held. False: it cannot be sent, and is out of the list, its task for the caller to fail. */
static bool send_call(rayi_afar *a, rayi_afar_call *call)
{
    rayi_neighbour *n = a->there;
    rayi_away *away = rayi_zalloc(sizeof *away);
    rayi_between_port port;
    rayi_writer writer;
    bool sent;

    rayi_between_port_init(&port, n);
    rayi_writer_init(&writer);
    if (away) {
        away->id = rayi_executor_number(a->cluster->node.executor);
        away->kind = RAYI_AWAY_CALL;
        away->call = call;
        away->what = &call->task->head;
    }
    sent = away && write_call(a, &port, &writer, call, away) && rayi_away_put(n, away, &writer);
    rayi_between_port_fini(&port, sent);
    rayi_writer_fini(&writer);
    if (sent) {
        call->is_sent = true;
        return true;
    }
    rayi_free(away);
    DL_DELETE(a->calls, call);
    return false;
}

static void fail_call(rayi_afar *a, rayi_afar_call *call)
{
    rayi_result result = {.error = rayi_error_last()};

    if (!result.error)
        result.error = rayi_error_plain(RAY_ERR_NO_MEMORY);
    rayi_actor_call_ran(a->cluster->node.thread, a->actor, call->task, call->life, &result);
    call_free(call);
}

static void end_stopped(rayi_afar *a, rayi_afar_call *call)
{
    rayi_result result = {.error = rayi_task_cancelled_error(call->task)};

    rayi_actor_call_ran(a->cluster->node.thread, a->actor, call->task, call->life, &result);
    call_free(call);
}

/* Of the life that is there. */
static void send_calls(rayi_afar *a)
{
    rayi_afar_call *call, *failed, *stopped;

    do {
        failed = stopped = NULL;
        pthread_mutex_lock(&a->lock);
        a->is_calling = false;
        DL_FOREACH (a->calls, call) {
            if (call->is_sent || call->life != a->there_life || a->state != THERE)
                continue;
            if (rayi_task_cancelled(call->task)) {
                DL_DELETE(a->calls, call);
                stopped = call;
                break;
            }
            if (!send_call(a, call)) {
                failed = call;
                break;
            }
        }
        pthread_mutex_unlock(&a->lock);
        if (failed)
            fail_call(a, failed);
        else if (stopped)
            end_stopped(a, stopped);
    } while (failed || stopped);
}

rayi_task *rayi_afar_call_task(rayi_afar_call *call)
{
    rayi_task *task;

    pthread_mutex_lock(&call->of->lock);
    task = call->task;
    if (task)
        rayi_record_ref(&task->head);
    pthread_mutex_unlock(&call->of->lock);
    return task;
}

void rayi_afar_pump(rayi_cluster *cluster)
{
    rayi_afar *all, *first = NULL, *next;

    pthread_mutex_lock(&cluster->names_lock);
    all = cluster->calling;
    cluster->calling = NULL;
    pthread_mutex_unlock(&cluster->names_lock);
    for (; all; all = next) {
        next = all->next_calling;
        all->next_calling = first;
        first = all;
    }
    for (; first; first = next) {
        ray_actor *actor = first->actor;
        next = first->next_calling;
        send_calls(first);
        rayi_record_unref(cluster->node.thread, rayi_actor_record(actor));
    }
}

void rayi_afar_result(rayi_cluster *cluster, rayi_afar_call *call, rayi_result *result)
{
    rayi_afar *a = call->of;
    rayi_task *task;

    pthread_mutex_lock(&a->lock);
    task = call->task;
    if (task)
        DL_DELETE(a->calls, call);
    pthread_mutex_unlock(&a->lock);
    if (task)
        rayi_actor_call_ran(cluster->node.thread, a->actor, task, call->life, result);
    else
        rayi_result_drop(cluster->node.thread, result);
    call_free(call);
}

/* Its life ends, which takes what is in the list; from here on the entry is not known to the neighbour. */
void rayi_afar_call_drop(rayi_cluster *cluster, rayi_afar_call *call)
{
    rayi_afar *a = call->of;
    bool is_taken;

    (void)cluster;
    pthread_mutex_lock(&a->lock);
    is_taken = !call->task;
    call->is_dropped = true;
    pthread_mutex_unlock(&a->lock);
    if (is_taken)
        call_free(call);
}

/* ---- the loop: what becomes of it ---- */

static rayi_afar *find(rayi_neighbour *n, uint64_t number, uint32_t life)
{
    rayi_afar *a;

    DL_FOREACH (n->afar, a) {
        if (rayi_actor_number(a->actor) == number && a->there_life == life)
            return a;
    }
    return NULL;
}

bool rayi_afar_take_up(rayi_neighbour *n, rayi_reader *reader)
{
    uint64_t number = rayi_take_u64(reader);
    uint32_t life = rayi_take_u32(reader);
    uint64_t there = rayi_take_u64(reader);
    rayi_afar *a = reader->failed ? NULL : find(n, number, life);
    rayi_result result = {0};

    if (reader->failed || (a && a->is_up))
        return false;
    if (!a) /* of a life that is over here */
        return true;
    a->is_up = true;
    if (a->is_detached)
        n->cluster->node.actor_moved(n->cluster->node.node, a->actor, &n->id, there);
    rayi_actor_constructed(n->cluster->node.thread, a->actor, life, &result);
    return true;
}

/* Ends this life; takes the count of why. */
static void end_life(rayi_afar *a, bool crashed, rayi_error *why)
{
    rayi_thread *thread = a->cluster->node.thread;
    uint32_t life = a->there_life;
    ray_actor *actor = a->actor;

    rayi_record_ref(rayi_actor_record(actor));
    leave(a);
    if (crashed || rayi_actor_is_ending(actor))
        rayi_actor_crashed(thread, actor, life, why);
    else if (rayi_actor_is_in_life(actor, life))
        rayi_actor_lost(thread, actor, why);
    else
        rayi_error_unref(why);
    rayi_record_unref(thread, rayi_actor_record(actor));
}

bool rayi_afar_take_gone(rayi_neighbour *n, rayi_reader *reader)
{
    uint64_t number = rayi_take_u64(reader);
    uint32_t life = rayi_take_u32(reader);
    bool crashed = rayi_take_u8(reader) != 0;
    rayi_between_port port;
    rayi_result result;
    rayi_afar *a;
    bool read;

    rayi_between_port_init(&port, n);
    read = rayi_exchange_read(&port.port, n->cluster->node.thread, reader, &result);
    rayi_between_port_fini(&port, true);
    if (!read || !result.error) {
        if (read)
            rayi_result_drop(n->cluster->node.thread, &result);
        return false;
    }
    a = find(n, number, life);
    if (a)
        end_life(a, crashed, result.error);
    else
        rayi_error_unref(result.error);
    return true;
}

/* It goes to where its class or room is, or waits until there is such a node; no life is over for that, unless it has
 * been ended meanwhile. */
bool rayi_afar_take_refused(rayi_neighbour *n, rayi_reader *reader)
{
    uint64_t number = rayi_take_u64(reader);
    uint32_t life = rayi_take_u32(reader);
    int code = (int)rayi_take_i64(reader);
    rayi_afar *a = reader->failed ? NULL : find(n, number, life);

    if (reader->failed || code >= 0 || (a && (a->is_up || (code == RAY_ERR_LIMIT && !a->room.any_bundle))))
        return false;
    if (!a)
        return true;
    if (rayi_actor_is_ending(a->actor) || !rayi_actor_is_in_life(a->actor, life)) {
        end_life(a, false, rayi_error_plain(code));
        return true;
    }
    come_off(a);
    a->state = PLACING;
    a->cluster->node.actor_refused(a->cluster->node.node, a->place, code);
    return true;
}

void rayi_afar_end_all(rayi_neighbour *n)
{
    for (rayi_afar *a; (a = n->afar);) {
        ray_error about = {.size = sizeof about,
                           .code = RAY_ERR_NODE_DIED,
                           .function = rayi_actor_class(a->actor),
                           .node_id = n->name,
                           .pid = n->pid};
        char words[224];
        snprintf(words, sizeof words, "actor %.60s: its node %s %s", rayi_actor_class(a->actor), n->name,
                 rayi_neighbour_fate(n));
        about.message = words;
        end_life(a, true, rayi_error_copy(&about));
    }
}
