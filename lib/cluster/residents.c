/* Actors of other nodes that live here, each an ordinary actor of this node, without restarts, for one life of theirs.
 *
 * The owner hears of a life's beginning (UP) and its end (GONE). What a call comes to because the actor ended is not
 * sent: the owner decides what becomes of the calls that are under way then. GONE goes behind the results of all calls,
 * so that these are not taken for calls that were lost. A resident is freed when its actor has died, which its
 * neighbour's end sees to as well. */
#include "cluster/inside.h"

#define RESIDENTS_MOST 65536 /* of one node */

typedef struct rayi_resident {
    UT_hash_handle hh; /* in the neighbour's, by number, while is_known */
    uint64_t number;
    uint32_t life;
    ray_actor *actor;      /* obtained; NULL: given back */
    rayi_neighbour *whose; /* counted */
    rayi_record *ready;    /* counted, until it is done */
    rayi_waiter waiter;
    rayi_finished up, gone;
    uint32_t num_calls;                  /* that have not ended */
    bool is_known, is_dead, is_detached; /* detached: it stays when its owner goes */
    rayi_error *cause;
} rayi_resident;

static void give_back(rayi_resident *r)
{
    ray_actor *actor = r->actor;

    r->actor = NULL;
    if (actor)
        rayi_actor_release(r->whose->cluster->node.thread, actor);
}

static void forget(rayi_resident *r)
{
    const rayi_memory *memory = rayi_heap;

    if (r->is_known)
        HASH_DEL(r->whose->residents, r);
    r->is_known = false;
}

static void send_gone(rayi_neighbour *n, uint64_t number, uint32_t life, const rayi_error *cause)
{
    rayi_writer writer;

    rayi_between_begin(&writer, RAYI_BETWEEN_ACTOR_GONE);
    rayi_put_u64(&writer, number);
    rayi_put_u32(&writer, life);
    rayi_put_u8(&writer, rayi_error_public(cause)->pid != 0);
    rayi_exchange_write_error(&writer, cause);
    rayi_between_say(n, &writer);
}

/* What is told of a death comes to the loop, too: until then the host is there. */
bool rayi_cluster_is_orphan(const ray_actor *actor)
{
    const rayi_resident *r = rayi_actor_host(actor);

    return r && r->is_detached && !r->is_known;
}

/* It could not even begin. */
static void refuse(rayi_neighbour *n, const rayi_between_actor *head)
{
    rayi_error *cause = rayi_error_plain(RAY_ERR_NO_MEMORY);

    send_gone(n, head->actor, head->life, cause);
    rayi_error_unref(cause);
}

/* Another node may have its class (UNKNOWN_FUNCTION), or another bundle room (LIMIT); the part may be gone, and the
 * group elsewhere (GROUP_REMOVED); and memory may have been short (NO_MEMORY). */
static void send_back(rayi_neighbour *n, const rayi_between_actor *head, int code)
{
    rayi_writer writer;

    rayi_between_begin(&writer, RAYI_BETWEEN_ACTOR_REFUSE);
    rayi_put_u64(&writer, head->actor);
    rayi_put_u32(&writer, head->life);
    rayi_put_i64(&writer, code);
    rayi_between_say(n, &writer);
}

/* Nothing will ask about it any more. */
static void maybe_over(rayi_resident *r)
{
    if (!r->is_dead || r->num_calls > 0 || r->ready)
        return;
    if (r->is_known)
        send_gone(r->whose, r->number, r->life, r->cause);
    forget(r);
    give_back(r);
    rayi_error_unref(r->cause);
    rayi_neighbour_unref(r->whose);
    rayi_free(r);
}

void rayi_resident_count(rayi_resident *r, int calls)
{
    r->num_calls += (uint32_t)calls;
    if (calls < 0)
        maybe_over(r);
}

bool rayi_resident_is_over(const rayi_error *error)
{
    int code = error ? rayi_error_code(error) : 0;

    return code == RAY_ERR_ACTOR_DIED || code == RAY_ERR_ACTOR_UNAVAILABLE;
}

/* ---- its constructor ---- */

static void tell_up(rayi_cluster *cluster, rayi_finished *finished)
{
    rayi_resident *r = rayi_container_of(finished, rayi_resident, up);
    bool failed = rayi_record_failed(r->ready);
    rayi_writer writer;

    rayi_record_unref(cluster->node.thread, r->ready);
    r->ready = NULL;
    if (!failed && r->is_known) { /* else its death is told */
        rayi_between_begin(&writer, RAYI_BETWEEN_ACTOR_UP);
        rayi_put_u64(&writer, r->number);
        rayi_put_u32(&writer, r->life);
        rayi_put_u64(&writer, rayi_actor_number(r->actor));
        rayi_between_say(r->whose, &writer);
    }
    maybe_over(r);
}

static void fire_up(rayi_thread *thread, rayi_waiter *waiter)
{
    rayi_resident *r = rayi_container_of(waiter, rayi_resident, waiter);

    (void)thread;
    rayi_cluster_finish(r->whose->cluster, &r->up);
}

/* ---- its death ---- */

static void tell_gone(rayi_cluster *cluster, rayi_finished *finished)
{
    rayi_resident *r = rayi_container_of(finished, rayi_resident, gone);

    (void)cluster;
    r->is_dead = true;
    r->cause = rayi_actor_cause(r->actor);
    maybe_over(r);
}

/* The actor is there as long as its handle of ours, which goes on the loop behind this. */
void rayi_cluster_hosted_died(rayi_thread *thread, void *host)
{
    rayi_resident *r = host;

    (void)thread;
    rayi_cluster_finish(r->whose->cluster, &r->gone);
}

/* ---- taking it in ---- */

static void settle(rayi_neighbour *n, const rayi_between_actor *head, ray_actor *actor, bool detached)
{
    const rayi_memory *memory = rayi_heap;
    rayi_thread *thread = n->cluster->node.thread;
    rayi_resident *r = rayi_zalloc(sizeof *r);

    if (r) {
        r->number = head->actor;
        HASH_ADD(hh, n->residents, number, sizeof r->number, r);
    }
    if (!r || !r->hh.tbl) {
        rayi_free(r);
        (void)rayi_actor_kill(thread, actor, false);
        rayi_actor_release(thread, actor);
        refuse(n, head);
        return;
    }
    r->life = head->life;
    r->actor = actor;
    r->whose = n;
    r->is_known = true;
    r->is_detached = detached;
    r->up.tell = tell_up;
    r->gone.tell = tell_gone;
    r->waiter.fire = fire_up;
    if (head->parks)
        rayi_actor_set_parks(actor);
    rayi_neighbour_ref(n);
    r->ready = rayi_actor_ready(thread, actor);
    if (r->ready->type == RAYI_FIXED || !rayi_record_watch(r->ready, &r->waiter))
        rayi_cluster_finish(n->cluster, &r->up);
    rayi_actor_set_host(thread, actor, r);
}

static ray_actor *make(rayi_neighbour *n, const rayi_between_actor *head, const rayi_callable *c, const rayi_args *args,
                       const ray_actor_options *options)
{
    rayi_thread *thread = n->cluster->node.thread;

    if (c->error)
        return rayi_actor_failed(thread, rayi_error_ref(c->error));
    return rayi_actor_new_hosted(thread, c->handle, args->values, args->count, options, head->life);
}

/* Where it lives, under which name, and what comes after its death, is not the host's to see to. */
static bool leaves_owner_its_part(const ray_actor_options *options)
{
    return !options->name && !options->get_if_exists && !options->labels && !options->node_id && !options->group &&
           options->max_restarts == 0 && options->max_task_retries == 0 && options->max_pending_calls == 0;
}

/* 0: it may begin here, or fail here. */
static int why_not(rayi_neighbour *n, const rayi_between_actor *head, rayi_callable *c,
                   const ray_actor_options *options)
{
    if (!c)
        return RAY_ERR_NO_MEMORY;
    if (!c->function && !c->error) {
        c->is_missed = true;
        return RAY_ERR_UNKNOWN_FUNCTION;
    }
    if (!head->part)
        return 0;
    if (!options->group)
        return RAY_ERR_GROUP_REMOVED;
    return rayi_parts_admit(n, options->group, head->any_bundle, head->bundle,
                            options->resources ? options->resources : "CPU=0")
               ? 0
               : RAY_ERR_LIMIT;
}

bool rayi_resident_take(rayi_neighbour *n, rayi_reader *reader)
{
    rayi_thread *thread = n->cluster->node.thread;
    const void *bytes = rayi_take_bytes(reader, sizeof(rayi_between_actor));
    const char *env[RAYI_ENV_MAX];
    rayi_between_actor head;
    rayi_between_port port;
    ray_actor_options options;
    rayi_callable *c;
    rayi_resident *there;
    rayi_args args;
    ray_actor *actor;
    bool given, read, detached;
    int code;

    if (!bytes)
        return false;
    memcpy(&head, bytes, sizeof head);
    HASH_FIND(hh, n->residents, &head.actor, sizeof head.actor, there);
    if (there) { /* of an earlier life: it is over for its owner */
        forget(there);
        if (there->actor)
            (void)rayi_actor_kill(thread, there->actor, false);
    }
    c = rayi_hosted_callable(n, head.function);
    if (head.function >= n->functions_told || head.num_args > RAYI_ARGS_MAX || head.life == 0 || head.parks > 1)
        return false;
    rayi_between_port_init(&port, n);
    read = rayi_exchange_read_actor_options(&port.port, reader, &options, &given, env) &&
           (!given || leaves_owner_its_part(&options)) &&
           rayi_exchange_read_args(&port.port, thread, reader, head.num_args, &args);
    rayi_between_port_fini(&port, true);
    if (!read) { /* rubbish, or there was no memory for it: nobody else tells of its end */
        refuse(n, &head);
        return false;
    }
    detached = given && options.detached;
    options.detached = false;
    options.group = head.part ? rayi_parts_find(n, &head.part_owner, head.part) : NULL;
    options.bundle = head.bundle;
    code = why_not(n, &head, c, &options);
    if (code < 0) {
        rayi_args_drop(thread, &args);
        send_back(n, &head, code);
        return true;
    }
    actor = HASH_COUNT(n->residents) < RESIDENTS_MOST ? make(n, &head, c, &args, given || head.part ? &options : NULL)
                                                      : rayi_actor_fixed(RAY_ERR_NO_MEMORY);
    rayi_args_drop(thread, &args);
    if (rayi_actor_is_fixed(actor))
        refuse(n, &head);
    else
        settle(n, &head, actor, detached);
    return true;
}

ray_actor *rayi_resident_find(rayi_neighbour *n, uint64_t number, rayi_resident **out)
{
    rayi_resident *r;

    HASH_FIND(hh, n->residents, &number, sizeof number, r);
    *out = r;
    return r ? r->actor : NULL;
}

bool rayi_resident_take_end(rayi_neighbour *n, rayi_reader *reader)
{
    uint64_t number = rayi_take_u64(reader);
    uint32_t life = rayi_take_u32(reader);
    bool kill = rayi_take_u8(reader) != 0;
    rayi_thread *thread = n->cluster->node.thread;
    rayi_resident *r;

    if (reader->failed)
        return false;
    HASH_FIND(hh, n->residents, &number, sizeof number, r);
    if (!r || r->life != life || !r->actor)
        return true;
    rayi_record_ref(rayi_actor_record(r->actor));
    if (kill)
        (void)rayi_actor_kill(thread, r->actor, false);
    else
        rayi_actor_finish(thread, r->actor);
    rayi_record_unref(thread, rayi_actor_record(r->actor));
    return true;
}

void rayi_residents_end(rayi_neighbour *n)
{
    rayi_resident *r, *next;

    HASH_ITER (hh, n->residents, r, next) {
        forget(r);
        if (r->actor && !(r->is_detached && !n->cluster->is_closing))
            (void)rayi_actor_kill(n->cluster->node.thread, r->actor, false);
    }
}
