/* A worker's side of a node, played by the input: a real node, whose worker processes are seats in this process
 * (tests/unit/isolation/played.h), has work for them, and hears from them what the input says. Whatever that is, the
 * node lives, ends in order, and has freed all its memory then; who has sent rubbish is ended.
 *
 * The first byte chooses the scene: what the node has for its workers (bits 0 and 1), whether they have said READY (bit
 * 2 unset), how small the store is (3) and whether it spills (4). Then steps, each a byte that says which and its
 * operands: most append to a draft, a message in the making; some send it; others take offers, or do what the node's
 * own program may do meanwhile. */
#include "../unit/isolation/played.h"
#include "api/api.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define DRAFT_MOST RAYI_RING_MESSAGE_MAX
#include "draft.h"

enum { MAX_REFS = 32, MAX_STEPS = 400 };

/* ---- the node's program ---- */

typedef struct point {
    double x, y;
} point;

static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}
static RAY_REMOTE(ray_view, pass_on, (ray_view, bytes))
{
    return bytes;
}
static RAY_REMOTE(int64_t, name_of, (const char *, name), (ray_ref *, ref))
{
    return name && ref;
}
static RAY_REMOTE(point, turn, (point, p))
{
    return (point){p.y, -p.x};
}
static RAY_REMOTE(ray_stream(int64_t), count_to, (int64_t, n))
{
    for (int64_t i = 0; i < n && ray_yield(&i) == 0; i++)
        ;
}

typedef struct cell {
    int64_t n;
} cell;
static RAY_ACTOR(cell, (int64_t, n))
{
    self->n = n;
}
static RAY_METHOD(cell, int64_t, add, (int64_t, n))
{
    return self->n += n;
}
static RAY_METHOD(cell, void, fini)
{
    self->n = 0;
}

static const char *const names[] = {"twice",    "pass_on",   "name_of", "turn", "count_to", "cell",
                                    "cell.add", "cell.fini", "nowhere", "py:*", ""};

/* ---- one run ---- */

static struct {
    ray_ref *refs[MAX_REFS];
    size_t num_refs;
    ray_actor *actor;
    rayi_guest *guest; /* who speaks */
} run;

static void keep(ray_ref *ref)
{
    if (run.num_refs < MAX_REFS)
        run.refs[run.num_refs++] = ref;
    else
        ray_release(ref);
}

static ray_ref *ref_of(uint64_t which)
{
    return run.num_refs > 0 ? run.refs[which % run.num_refs] : NULL;
}

static void submit(uint64_t which)
{
    static const ray_task_options granted = {
        .size = sizeof granted, .resources = "thing=1", .max_retries = RAY_NO_RETRIES};
    static const ray_task_options plain = {.size = sizeof plain, .max_retries = 1};
    static const char bytes[200000];
    const ray_task_options *options = which & 8 ? &granted : &plain;
    ray_ref *object;
    switch (which % 8) {
    case 0:
        keep(ray_remote_opts(options, twice, 21));
        break;
    case 1:
        keep(ray_remote_opts(options, count_to, 3));
        break;
    case 2:
        object = ray_put(bytes, 3000);
        keep(ray_remote_opts(options, pass_on, object));
        ray_release(object);
        break;
    case 3:
        object = ray_put(bytes, sizeof bytes);
        keep(ray_remote_opts(options, pass_on, object));
        keep(object);
        break;
    case 4:
        if (run.num_refs > 0)
            keep(ray_remote_opts(options, name_of, "name", ref_of(which >> 4)));
        break;
    case 5:
        if (run.actor)
            keep(ray_call(run.actor, cell_add, 1));
        break;
    case 6:
        if (!run.actor)
            run.actor = ray_actor_new(cell, 5);
        break;
    default:
        keep(ray_remote_opts(options, turn, ((point){1, 2})));
    }
}

/* What the program of the node may do meanwhile. Nothing in here waits for a worker. */
static void meanwhile(uint64_t what, uint64_t which)
{
    ray_ref *ref = ref_of(which);
    switch (what % 8) {
    case 0:
        submit(which);
        break;
    case 1:
        (void)ray_cancel(ref, which & 128 ? RAY_CANCEL_FORCE : 0);
        break;
    case 2:
        if (ref) {
            ray_release(ref);
            run.refs[which % run.num_refs] = run.refs[run.num_refs - 1];
            run.num_refs--;
        }
        break;
    case 3:
        (void)ray_get_timeout(ref, 0, NULL);
        break;
    case 4:
        if (ref)
            keep(ray_next(ref));
        break;
    case 5:
        if (run.actor)
            (void)ray_kill(run.actor, which & 1);
        break;
    case 6:
        ray_actor_release(run.actor);
        run.actor = NULL;
        break;
    default:
        played_die(run.guest, which & 1 ? SIGSEGV : 0);
    }
}

/* ---- what the worker has been told, as it stands in the node ---- */

/* Of its own range, or of what it holds. */
static uint64_t number_of(uint64_t which)
{
    const rayi_entry *entry;
    uint64_t number;
    pthread_mutex_lock(&run.guest->of->lock); /* another process may be taking its place */
    number = run.guest->first_number + which % 64;
    pthread_mutex_unlock(&run.guest->of->lock);
    if (which < 64)
        return number;
    pthread_mutex_lock(&run.guest->lock);
    entry = run.guest->entries;
    for (uint64_t i = which % 64; entry && i > 0 && entry->hh.next; i--)
        entry = entry->hh.next;
    number = entry ? entry->number : 0;
    pthread_mutex_unlock(&run.guest->lock);
    return number;
}

static rayi_offer offer_of(uint64_t which, uint32_t *slot)
{
    rayi_offer offer = {0};
    pthread_mutex_lock(&run.guest->lock);
    *slot = run.guest->oldest;
    for (uint64_t i = which; i > 0 && *slot != RAYI_NO_SLOT && run.guest->offers[*slot].next != RAYI_NO_SLOT; i--)
        *slot = run.guest->offers[*slot].next;
    if (*slot != RAYI_NO_SLOT)
        offer = run.guest->offers[*slot];
    pthread_mutex_unlock(&run.guest->lock);
    return offer;
}

/* ---- the draft ---- */

static void put_text(fuzz_bytes *in)
{
    uint64_t size = fuzz_take(in, 1);
    if (size == 255) {
        put_u(UINT32_MAX, 4);
        return;
    }
    if (size > in->left)
        size = in->left;
    put_u(size, 4);
    put_raw(in, size);
    put_u(0, 1);
}

/* What a worker may say of its clock. */
static int64_t clock_of(uint64_t nth)
{
    const int64_t now = rayi_now_ns(), all[] = {0, now, now - 1000, now + 1000000000, 1, -1, INT64_MAX, INT64_MIN};
    return all[nth % RAYI_COUNT_OF(all)];
}

static void put_result(fuzz_bytes *in)
{
    uint32_t slot;
    rayi_offer offer = offer_of(fuzz_take(in, 1), &slot);
    rayi_wire_result head = {.slot = slot, .generation = offer.generation};
    uint64_t exits = fuzz_take(in, 1);
    head.exits = exits & 1;
    head.again = (uint8_t)fuzz_take(in, 1);
    head.started_ns = clock_of(exits >> 1 & 7);
    head.ended_ns = clock_of(exits >> 4 & 7);
    put(&head, sizeof head);
}

static void put_submit(fuzz_bytes *in)
{
    rayi_wire_submit head = {.number = number_of(fuzz_take(in, 1))};
    uint64_t actor = fuzz_take(in, 1), parent = fuzz_take(in, 1);
    head.actor = actor ? number_of(actor) : 0;
    head.parent = RAYI_NO_SLOT;
    if (parent)
        (void)offer_of(parent - 1, &head.parent);
    head.function = (uint32_t)fuzz_take(in, 1);
    head.num_args = (uint32_t)fuzz_take(in, 1);
    put(&head, sizeof head);
}

static void put_value(fuzz_bytes *in)
{
    uint64_t form = fuzz_take(in, 1), kind = fuzz_take(in, 1), size;
    put_u(form, 1);
    switch (form % 8) {
    case RAYI_FORM_NUMBER:
        put_u(kind, 1);
        put_u(fuzz_take(in, 1), 8);
        break;
    case RAYI_FORM_BYTES:
        size = fuzz_take(in, 1);
        size = size < in->left ? size : in->left;
        put_u(kind, 1);
        put_u(0, 4);
        put_u(size, 4);
        put_raw(in, size);
        put_u(0, 1);
        break;
    case RAYI_FORM_BLOCK:
        put_u(kind, 1);
        put_u(number_of(fuzz_take(in, 1)), 8);
        put_u(fuzz_take(in, 4), 8);
        put_u(0, 5);
        break;
    case RAYI_FORM_REF:
    case RAYI_FORM_AWAITED:
        put_u(number_of(kind), 8);
        break;
    case RAYI_FORM_ACTOR:
        put_u(number_of(kind), 8);
        put_text(in);
        put_text(in);
        break;
    case RAYI_FORM_ERROR:
        put_u(0 - kind, 8);
        put_u(7, 8);
        put_text(in);
        put_u(UINT32_MAX, 4);
        put_u(UINT32_MAX, 4);
        put_u(0, 8);
        put_u(0, 8);
        put_u(UINT32_MAX, 4);
        put_u(0, 4);
        break;
    default: /* NONE */
        break;
    }
}

/* ---- steps ---- */

/* As a thread of the node does that waits for something: it looks before the loop does. */
static bool send_and_receive(uint32_t type)
{
    rayi_process *process = played_process(run.guest);
    bool sent = process && rayi_channel_send(process->worker, type, draft.bytes, draft.size, NULL, 0);
    pthread_rwlock_rdlock(&played_isolation()->guests_lock);
    rayi_guest_receive(run.guest, rayi_self, true);
    pthread_rwlock_unlock(&played_isolation()->guests_lock);
    return sent;
}

static void send_draft(fuzz_bytes *in)
{
    uint32_t type = (uint32_t)fuzz_take(in, 1), life = atomic_load(&run.guest->life);
    uint64_t how = fuzz_take(in, 1);
    if (type == RAYI_UP_BLOCKED && draft.size == 12) /* the last field, which inputs need not draft */
        put_u(!(how & 4), 1);
    bool sent = how & 2 ? send_and_receive(type) : played_send(run.guest, type, draft.bytes, draft.size);
    draft.size = 0;
    if (how & 1)
        return; /* in one go with the next */
    played_settle();
    if (sent && (type == 0 || type > RAYI_UP_OPENED))
        FUZZ_CHECK(atomic_load(&run.guest->life) != life);
}

/* The next number that a function gets, as an honest worker does. */
static void tell_function(fuzz_bytes *in)
{
    const char *name = names[fuzz_take(in, 1) % (sizeof names / sizeof *names)];
    draft.size = 0;
    put_u(run.guest->num_functions, 4);
    put_u(strlen(name), 4);
    put(name, strlen(name) + 1);
    (void)played_send(run.guest, RAYI_UP_FUNCTION, draft.bytes, draft.size);
    draft.size = 0;
    played_settle();
}

static void say_ready(void)
{
    struct __attribute__((packed)) {
        uint32_t protocol;
        int64_t pid;
    } ready = {RAYI_WORKER_PROTOCOL, 1};
    (void)played_send(run.guest, RAYI_UP_READY, &ready, sizeof ready);
    played_settle();
}

static void touch_offer(fuzz_bytes *in)
{
    rayi_process *process = played_process(run.guest);
    uint64_t how = fuzz_take(in, 1);
    uint32_t slot;
    rayi_offer offer = offer_of(fuzz_take(in, 1), &slot);
    if (!process || slot == RAYI_NO_SLOT)
        return;
    if (how < 128)
        (void)rayi_offer_take(process->worker, slot, offer.generation);
    else
        atomic_store(&process->worker->memory->claim[slot], (uint32_t)fuzz_take(in, 4));
}

/* Over the counters of the ring up, or over its cells: what lib/ring finds wrong is rubbish, too. */
static void scribble(fuzz_bytes *in)
{
    rayi_process *process = played_process(run.guest);
    uint64_t where = fuzz_take(in, 2), what = fuzz_take(in, 8), one = 1;
    if (!process)
        return;
    if (where == 0)
        atomic_store(&process->worker->memory->up.tail, what);
    else
        memcpy(process->worker->memory->up_cells + where % (RAYI_RING_BYTES / 8) * 8, &what, sizeof what);
    FUZZ_CHECK(write(process->event, &one, sizeof one) == sizeof one); /* our own end knows nothing of it */
    played_settle();
}

static void choose_guest(uint64_t which)
{
    rayi_guest *guest = played_guest((uint32_t)which % 4);
    if (guest)
        run.guest = guest;
}

static void cut(uint64_t size)
{
    if (size < draft.size)
        draft.size = size;
}

static void step(fuzz_bytes *in)
{
    switch (fuzz_take(in, 1) % 21) {
    case 0:
        send_draft(in);
        break;
    case 1:
        put_raw(in, fuzz_take(in, 1));
        break;
    case 2:
        put_u(fuzz_take(in, 4), 4);
        break;
    case 3:
        put_u(fuzz_take(in, 8), 8);
        break;
    case 4:
        put_u(fuzz_take(in, 1), 1);
        break;
    case 5:
        put_u(fuzz_take(in, 1), 4);
        break;
    case 6:
        put_u(fuzz_take(in, 1), 8);
        break;
    case 7:
        put_u(number_of(fuzz_take(in, 1)), 8);
        break;
    case 8:
        put_text(in);
        break;
    case 9: {
        uint32_t slot;
        (void)offer_of(fuzz_take(in, 1), &slot);
        put_u(slot, 4);
        break;
    }
    case 10:
        put_result(in);
        break;
    case 11:
        put_submit(in);
        break;
    case 12:
        put_value(in);
        break;
    case 13: {
        uint64_t what = fuzz_take(in, 1);
        meanwhile(what, fuzz_take(in, 1));
        played_settle();
        break;
    }
    case 14:
        touch_offer(in);
        break;
    case 15:
        put_u(fuzz_take(in, 1), 8); /* a request */
        put_u(fuzz_take(in, 1), 4);
        break;
    case 16:
        cut(fuzz_take(in, 1));
        break;
    case 17:
        choose_guest(fuzz_take(in, 1));
        break;
    case 18:
        tell_function(in);
        break;
    case 20:
        scribble(in);
        break;
    default:
        say_ready();
    }
}

/* ---- the whole ---- */

static void set_scene(uint64_t scene)
{
    static const unsigned char work[4][4] = {{0, 2, 1, 4}, {6, 5, 5, 0}, {8, 9, 11, 3}, {6, 3, 15, 8}};
    FUZZ_CHECK(played_start(2, scene & 8 ? 1 << 20 : 64 << 20, scene & 16));
    played_settle();
    run.guest = played_guest(0);
    FUZZ_CHECK(run.guest);
    if (!(scene & 4))
        say_ready();
    for (int i = 0; i < 4; i++) {
        submit(work[scene % 4][i]);
        played_settle(); /* who gets what is not to be a matter of time */
    }
    for (uint32_t i = 1; !(scene & 4) && (run.guest = played_guest(i)); i++)
        say_ready();
    run.guest = played_guest(0);
}

/* Offers are counted in three places. */
static void check_counts(rayi_guest *guest)
{
    rayi_isolation *isolation = played_isolation();
    uint32_t offers = 0, blocked = 0;
    pthread_mutex_lock(&isolation->lock);
    pthread_mutex_lock(&guest->lock);
    for (uint32_t slot = guest->oldest; slot != RAYI_NO_SLOT; slot = guest->offers[slot].next) {
        FUZZ_CHECK(guest->offers[slot].used && ++offers <= RAYI_OFFERS);
        blocked += guest->offers[slot].blocked;
    }
    FUZZ_CHECK(offers == atomic_load(&guest->busy));
    FUZZ_CHECK(offers == guest->num_offered);
    FUZZ_CHECK(blocked == guest->num_blocked);
    pthread_mutex_unlock(&guest->lock);
    pthread_mutex_unlock(&isolation->lock);
}

/* What is on record can have been. */
static void check_events(void)
{
    rayi_events *events = rayi_executor_events(played_isolation()->node.executor);
    rayi_event e;
    for (uint64_t position = 0; rayi_events_next(events, &position, &e);)
        FUZZ_CHECK(e.name && e.started_ns > 0 && e.started_ns <= e.ended_ns && e.ended_ns <= rayi_now_ns());
}

static void end_scene(void)
{
    rayi_guest *guest;
    played_settle();
    check_events();
    for (uint32_t i = 0; (guest = played_guest(i)); i++)
        check_counts(guest);
    while (run.num_refs > 0)
        ray_release(run.refs[--run.num_refs]);
    ray_actor_release(run.actor);
    run.actor = NULL;
    draft.size = 0;
    FUZZ_CHECK(played_stop() == 0);
}

static void play(fuzz_bytes in)
{
    rayi_guest *guest;
    set_scene(fuzz_take(&in, 1));
    for (int steps = 0; in.left > 0 && steps < MAX_STEPS; steps++) {
        step(&in);
        for (uint32_t i = 0; (guest = played_guest(i)); i++)
            played_drain(guest);
    }
    end_scene();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool watched;
    if (!watched)
        played_watch();
    watched = true;
    play((fuzz_bytes){data, size});
    if (played_left_over() == 0)
        return 0;
    play((fuzz_bytes){data, size}); /* names of functions stay for ever: but the same names only once */
    FUZZ_CHECK(played_left_over() == 0);
    return 0;
}
