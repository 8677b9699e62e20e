/* Handles: an actor of one node, known to another that calls it through its owner.
 *
 * Lent: an actor of ours that a neighbour has handles of: we keep one as long as it holds any. Handle: a stand-in for
 * an actor of theirs, not counted, as those of records are (names.c); it goes with its last handle here. A call through
 * one is a TASK whose arguments may be refs that are not done; calls of one thread to one actor go in order, because
 * they go in the order of the list that the loop sends from, over one session.
 *
 * The owner passes a handle on under its own number; who has a handle passes it on as if the actor were its own, so a
 * call goes along the way that the handle came. */
#include "cluster/inside.h"

typedef struct rayi_lent {
    UT_hash_handle hh;
    uint64_t number;
    ray_actor *actor; /* obtained */
    uint64_t holds;
} rayi_lent;

typedef struct rayi_handle {
    UT_hash_handle hh; /* in the neighbour's, by number, while is_current */
    UT_hash_handle ha; /* in the cluster's, by actor */
    uint64_t number;
    ray_actor *actor;
    rayi_neighbour *of; /* counted; the loop's count */
    uint64_t holds;
    bool is_current;
    struct rayi_handle *next_gone;
} rayi_handle;

/* ---- lent ---- */

static rayi_lent *find_lent(rayi_neighbour *n, uint64_t number)
{
    rayi_lent *l;

    HASH_FIND(hh, n->lent, &number, sizeof number, l);
    return l;
}

static rayi_handle *find_handle(rayi_cluster *cluster, const ray_actor *actor)
{
    rayi_handle *h;

    HASH_FIND(ha, cluster->handles, &actor, sizeof actor, h);
    return h;
}

uint64_t rayi_handles_give(rayi_neighbour *n, ray_actor *actor)
{
    const rayi_memory *memory = rayi_heap;
    uint64_t number = rayi_actor_number(actor), theirs = 0;
    rayi_lent *l;

    if (rayi_actor_is_fixed(actor))
        return 0;
    if (rayi_actor_stands_in(actor)) {
        rayi_handle *h;
        pthread_mutex_lock(&n->cluster->names_lock);
        h = find_handle(n->cluster, actor);
        theirs = h && h->of == n ? h->number : 0;
        pthread_mutex_unlock(&n->cluster->names_lock);
    }
    if (theirs)
        return theirs | RAYI_YOURS;
    l = find_lent(n, number);
    if (!l) {
        l = rayi_zalloc(sizeof *l);
        if (!l)
            return 0;
        l->number = number;
        l->actor = actor;
        HASH_ADD(hh, n->lent, number, sizeof l->number, l);
        if (!l->hh.tbl) {
            rayi_free(l);
            return 0;
        }
        rayi_actor_retain(actor);
    }
    l->holds++;
    return number;
}

ray_actor *rayi_handles_given(rayi_neighbour *n, uint64_t number)
{
    rayi_lent *l = find_lent(n, number);

    return l ? l->actor : NULL;
}

static void end_lent(rayi_neighbour *n, rayi_lent *l)
{
    const rayi_memory *memory = rayi_heap;

    HASH_DEL(n->lent, l);
    rayi_actor_release(n->cluster->node.thread, l->actor);
    rayi_free(l);
}

void rayi_handles_take_back(rayi_neighbour *n, uint64_t number, uint64_t holds)
{
    rayi_lent *l = find_lent(n, number);

    if (!l)
        return;
    l->holds -= RAYI_MIN(holds, l->holds);
    if (l->holds == 0)
        end_lent(n, l);
}

/* ---- handles of theirs ---- */

static void give_up_place(rayi_handle *h)
{
    const rayi_memory *memory = rayi_heap;

    if (h->is_current)
        HASH_DEL(h->of->handles, h);
    h->is_current = false;
}

/* names_lock is held. */
static rayi_handle *enter(rayi_neighbour *n, uint64_t number, ray_actor *actor)
{
    const rayi_memory *memory = rayi_heap;
    rayi_handle *h = rayi_zalloc(sizeof *h), *before;

    if (!h)
        return NULL;
    h->number = number;
    h->actor = actor;
    h->of = n;
    HASH_ADD(ha, n->cluster->handles, actor, sizeof h->actor, h);
    if (!h->ha.tbl) {
        rayi_free(h);
        return NULL;
    }
    HASH_FIND(hh, n->handles, &number, sizeof number, before);
    if (before)
        give_up_place(before);
    HASH_ADD(hh, n->handles, number, sizeof h->number, h);
    if (!h->hh.tbl) {
        HASH_DELETE(ha, n->cluster->handles, h);
        rayi_free(h);
        return NULL;
    }
    h->is_current = true;
    rayi_neighbour_ref(n);
    return h;
}

ray_actor *rayi_handles_find(rayi_neighbour *n, uint64_t number, const char *class, const char *name)
{
    rayi_thread *thread = n->cluster->node.thread;
    ray_actor *actor = NULL;
    rayi_handle *h;

    pthread_mutex_lock(&n->cluster->names_lock);
    HASH_FIND(hh, n->handles, &number, sizeof number, h);
    if (h && rayi_actor_try_retain(h->actor)) {
        actor = h->actor;
        h->holds++;
    }
    pthread_mutex_unlock(&n->cluster->names_lock);
    if (actor)
        return actor;
    actor = rayi_actor_stand_in(thread, 0, class, name);
    if (!actor)
        return NULL;
    pthread_mutex_lock(&n->cluster->names_lock);
    h = enter(n, number, actor);
    if (h)
        h->holds = 1;
    pthread_mutex_unlock(&n->cluster->names_lock);
    if (h)
        return actor;
    rayi_actor_release(thread, actor);
    return NULL;
}

/* ---- asking, from any thread ---- */

typedef struct asking {
    rayi_finished errand;
    ray_actor *actor;    /* obtained, so that it is known until this is sent */
    rayi_task *call;     /* with the count that its completion takes; or */
    rayi_record *record; /* counted: to be done when it is ready; or */
    bool kill, may_restart;
    bool has_options;
    ray_task_options options;
    char *group, *name;
} asking;

static void asking_free(rayi_thread *thread, asking *q)
{
    rayi_actor_release(thread, q->actor);
    rayi_free(q->group);
    rayi_free(q->name);
    rayi_free(q);
}

static void fail_call(rayi_thread *thread, rayi_task *call, rayi_error *error)
{
    rayi_result result = {.error = error};

    rayi_task_complete(thread, call, &result);
}

static bool write_call(rayi_neighbour *n, rayi_between_port *port, rayi_writer *writer, const asking *q,
                       uint64_t number, rayi_away *away)
{
    rayi_between_task head = {.id = away->id,
                              .num_args = q->call->num_args,
                              .left_ms = INT64_MAX,
                              .actor = number,
                              .callee = RAYI_CALLS_HANDLE,
                              .has_options = q->has_options};

    rayi_stream_describe(away, q->call, &head);
    if (!rayi_away_name_function(n, rayi_task_function(q->call), &head.function))
        return false;
    rayi_put_u8(writer, RAYI_BETWEEN_TASK);
    rayi_put_bytes(writer, &head, sizeof head);
    if (q->has_options)
        rayi_exchange_write_task_options(&port->port, writer, &q->options);
    return rayi_exchange_write_args(&port->port, n->cluster->node.thread, writer, q->call, false) == 0;
}

static bool write_ready(rayi_writer *writer, uint64_t number, uint64_t id)
{
    rayi_put_u8(writer, RAYI_BETWEEN_HANDLE_READY);
    rayi_put_u64(writer, number);
    rayi_put_u64(writer, id);
    return true;
}

/* The entry takes what is asked for. */
static bool send_asking(rayi_neighbour *n, asking *q, uint64_t number)
{
    rayi_away *away = rayi_zalloc(sizeof *away);
    rayi_between_port port;
    rayi_writer writer;
    bool sent;

    if (!away)
        return false;
    away->kind = RAYI_AWAY_HANDLE;
    away->id = rayi_executor_number(n->cluster->node.executor);
    away->task = q->call;
    away->record = q->record;
    away->what = q->call ? &q->call->head : NULL;
    rayi_between_port_init(&port, n);
    rayi_writer_init(&writer);
    sent = (q->call ? write_call(n, &port, &writer, q, number, away) : write_ready(&writer, number, away->id)) &&
           rayi_away_put(n, away, &writer);
    rayi_between_port_fini(&port, sent);
    rayi_writer_fini(&writer);
    if (!sent)
        rayi_free(away);
    else if (q->call)
        rayi_task_drop_arguments(n->cluster->node.thread, q->call);
    return sent;
}

static void send_kill(rayi_neighbour *n, uint64_t number, bool may_restart)
{
    rayi_writer writer;

    rayi_between_begin(&writer, RAYI_BETWEEN_HANDLE_KILL);
    rayi_put_u64(&writer, number);
    rayi_put_u8(&writer, may_restart);
    rayi_between_say(n, &writer);
}

static rayi_error *owner_died(const ray_actor *actor)
{
    return rayi_error_new(RAY_ERR_ACTOR_DIED, rayi_actor_class(actor), NULL, "actor %s: the node that owned it died",
                          rayi_actor_class(actor));
}

static void ask(rayi_cluster *cluster, rayi_finished *errand)
{
    asking *q = rayi_container_of(errand, asking, errand);
    rayi_thread *thread = cluster->node.thread;
    rayi_neighbour *n = NULL;
    uint64_t number = 0;
    rayi_handle *h;

    pthread_mutex_lock(&cluster->names_lock);
    h = find_handle(cluster, q->actor);
    if (h && h->of) {
        n = h->of;
        number = h->number;
    }
    pthread_mutex_unlock(&cluster->names_lock);
    if (n && n->peer && q->kill) {
        send_kill(n, number, q->may_restart);
    } else if (q->call && rayi_task_cancelled(q->call)) {
        fail_call(thread, q->call, rayi_task_cancelled_error(q->call));
    } else if (!q->kill && (!n || !n->peer || !send_asking(n, q, number))) {
        if (q->call) {
            fail_call(thread, q->call, owner_died(q->actor));
        } else {
            rayi_record_fail(thread, q->record, owner_died(q->actor));
            rayi_record_unref(thread, q->record);
        }
    }
    asking_free(thread, q);
}

static asking *new_asking(ray_actor *actor)
{
    asking *q = rayi_zalloc(sizeof *q);

    if (!q) {
        (void)rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a message to the owner of an actor");
        return NULL;
    }
    q->actor = actor;
    q->errand.tell = ask;
    rayi_actor_retain(actor);
    return q;
}

static int keep_options(asking *q, const ray_task_options *options)
{
    if (!options)
        return 0;
    q->has_options = true;
    q->options = (ray_task_options){.size = sizeof q->options,
                                    .retry_failures = options->retry_failures,
                                    .max_retries = options->max_retries,
                                    .deadline_ms = options->deadline_ms};
    if (options->concurrency_group)
        q->options.concurrency_group = q->group = rayi_strdup(options->concurrency_group);
    if (options->name)
        q->options.name = q->name = rayi_strdup(options->name);
    if ((options->concurrency_group && !q->group) || (options->name && !q->name))
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the options of a call");
    return 0;
}

int rayi_handles_submit(rayi_cluster *cluster, rayi_thread *thread, rayi_task *task, ray_actor *actor,
                        const ray_task_options *options)
{
    asking *q = new_asking(actor);
    int r;

    if (!q)
        return RAY_ERR_NO_MEMORY;
    r = keep_options(q, options);
    if (r < 0) {
        asking_free(thread, q);
        return r;
    }
    q->call = task; /* the lane's count of it */
    rayi_cluster_finish(cluster, &q->errand);
    return 0;
}

int rayi_handles_kill(rayi_cluster *cluster, ray_actor *actor, bool may_restart)
{
    asking *q = new_asking(actor);

    if (!q)
        return RAY_ERR_NO_MEMORY;
    q->kill = true;
    q->may_restart = may_restart;
    rayi_cluster_finish(cluster, &q->errand);
    return 0;
}

rayi_record *rayi_handles_ready(rayi_cluster *cluster, rayi_thread *thread, ray_actor *actor)
{
    asking *q = new_asking(actor);
    rayi_record *record = q ? rayi_record_new(thread) : NULL;

    if (!record) {
        if (q)
            asking_free(thread, q);
        return rayi_object_failed_last(thread);
    }
    q->record = record;
    rayi_record_ref(record);
    rayi_cluster_finish(cluster, &q->errand);
    return record;
}

/* The last handle here is gone. */
void rayi_handles_release(rayi_cluster *cluster, ray_actor *actor)
{
    rayi_handle *h;

    pthread_mutex_lock(&cluster->names_lock);
    h = find_handle(cluster, actor);
    if (h) {
        const rayi_memory *memory = rayi_heap;
        HASH_DELETE(ha, cluster->handles, h);
        give_up_place(h);
        h->actor = NULL;
        h->next_gone = cluster->handles_gone;
        cluster->handles_gone = h;
        rayi_cluster_stir(cluster);
    }
    pthread_mutex_unlock(&cluster->names_lock);
}

void rayi_handles_give_back(rayi_cluster *cluster)
{
    rayi_handle *h, *next;
    rayi_writer writer;

    pthread_mutex_lock(&cluster->names_lock);
    h = cluster->handles_gone;
    cluster->handles_gone = NULL;
    pthread_mutex_unlock(&cluster->names_lock);
    for (; h; h = next) {
        next = h->next_gone;
        rayi_between_begin(&writer, RAYI_BETWEEN_HANDLE_RELEASE);
        rayi_put_u64(&writer, h->number);
        rayi_put_u64(&writer, h->holds);
        rayi_between_say(h->of, &writer);
        rayi_neighbour_unref(h->of);
        rayi_free(h);
    }
}

/* ---- being asked ---- */

static bool take_ready(rayi_neighbour *n, ray_actor *actor, rayi_reader *reader)
{
    uint64_t id = rayi_take_u64(reader);

    if (reader->failed)
        return false;
    if (rayi_hosted_find(n, id))
        return false;
    rayi_hosted_host(n, &(rayi_between_task){.id = id, .callee = RAYI_CALLS_HANDLE},
                     rayi_actor_ready(n->cluster->node.thread, actor), NULL);
    return true;
}

bool rayi_handles_take(rayi_neighbour *n, enum rayi_between what, rayi_reader *reader)
{
    uint64_t number = rayi_take_u64(reader);
    ray_actor *actor = reader->failed ? NULL : rayi_handles_given(n, number);

    if (what == RAYI_BETWEEN_HANDLE_RELEASE) {
        rayi_handles_take_back(n, number, rayi_take_u64(reader));
        return !reader->failed;
    }
    if (!actor)
        return false;
    if (what == RAYI_BETWEEN_HANDLE_READY)
        return take_ready(n, actor, reader);
    (void)rayi_actor_kill(n->cluster->node.thread, actor, rayi_take_u8(reader) != 0);
    return !reader->failed;
}

/* Stand-ins stay for whoever has them: what is asked of them fails. */
void rayi_handles_end(rayi_neighbour *n)
{
    rayi_lent *l, *next;
    rayi_handle *h, *after;

    HASH_ITER (hh, n->lent, l, next)
        end_lent(n, l);
    pthread_mutex_lock(&n->cluster->names_lock);
    HASH_ITER (hh, n->handles, h, after)
        give_up_place(h);
    pthread_mutex_unlock(&n->cluster->names_lock);
}

/* What users still hold has nobody to ask. */
void rayi_handles_fini(rayi_cluster *cluster)
{
    rayi_handle *h, *next;

    HASH_ITER (ha, cluster->handles, h, next) {
        const rayi_memory *memory = rayi_heap;
        HASH_DELETE(ha, cluster->handles, h);
        rayi_neighbour_unref(h->of);
        rayi_free(h);
    }
}
