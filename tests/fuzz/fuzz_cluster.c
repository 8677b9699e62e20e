/* Another node's messages, played by the input, to a head with a program of its own that uses that node meanwhile.
 * Whatever is said, the head lives, and when the other node is dead and the program has let go nothing is left.
 *
 * The input is a scene, a byte, and steps: each a byte that says which, and its operands. Most add to a draft, which a
 * step sends. Bits of the scene: 0 the other node is a process of this host; 1 the program has begun with work there; 2
 * it has told its functions; 3 it dies before the program lets go. */
#include "../unit/cluster/stranger.h"

#include <ray/ray.h>

#define DRAFT_MOST (1 << 16)
#include "draft.h"

enum { MAX_STEPS = 120, MAX_REFS = 16 };

/* ---- the program ---- */

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

static const char *const names[] = {"twice", "pass_on", "name_of", "count_to", "cell", "cell.add", "nowhere", ""};

/* ---- one run ---- */

static struct {
    ray_ref *refs[MAX_REFS];
    size_t num_refs;
    ray_actor *actor;
    ray_placement_group *group, *borrowed;
    uint64_t pick;
    bool circular; /* counts may go round: nobody gives those back */
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
    static const ray_task_options far = {.size = sizeof far, .resources = "far=1", .max_retries = RAY_NO_RETRIES};
    static const ray_task_options again = {.size = sizeof again, .resources = "far=1", .max_retries = 1};
    static const ray_task_options here = {.size = sizeof here, .resources = "near=1"};
    static const ray_actor_options lives_far = {.size = sizeof lives_far, .resources = "far=1"};
    static const ray_actor_options lives_again = {.size = sizeof lives_again, .resources = "far=1", .max_restarts = 1};
    static const ray_actor_options lives_here = {.size = sizeof lives_here, .resources = "near=1"};
    static const char bytes[300000];
    const int64_t number = 5;
    const ray_actor_options *lives = which & 64 ? &lives_here : which & 128 ? &lives_again : &lives_far;
    const ray_task_options *options = which & 64 ? &here : which & 128 ? &again : &far;
    ray_placement_group *group = which & 16 ? run.borrowed : run.group;
    ray_task_options inside = {
        .size = sizeof inside, .resources = "CPU=0, far=1", .group = group, .bundle = which & 32 ? 1 : 0};
    ray_ref *object;

    switch (which % 8) {
    case 0:
        if (which & 32)
            keep(ray_submit(ray_function_get("absent"), &RAY_VALUE(&number), 1, options));
        else
            keep(ray_remote_opts(options, twice, 21));
        break;
    case 1:
        keep(ray_remote_opts(options, count_to, 3));
        break;
    case 2:
    case 3:
        object = ray_put(bytes, which % 8 == 2 ? 3000 : sizeof bytes);
        keep(ray_remote_opts(options, pass_on, object));
        keep(object);
        break;
    case 4:
        if (run.num_refs > 0)
            keep(ray_remote_opts(options, name_of, "name", ref_of(which >> 4)));
        break;
    case 5:
        if (run.actor && (which & 32))
            keep(ray_actor_submit(run.actor, ray_function_get("cell.absent"), &RAY_VALUE(&number), 1, NULL));
        else if (run.actor)
            keep(ray_call(run.actor, cell_add, 1));
        break;
    case 6:
        if (!run.actor && (which & 32))
            run.actor = ray_actor_create(ray_function_get("absent_cell"), &RAY_VALUE(&number), 1, lives);
        else if (!run.actor)
            run.actor = ray_actor_new_opts(lives, cell, 5);
        break;
    default:
        if (group)
            keep(ray_remote_opts(&inside, twice, 4));
    }
}

static void make_group(void)
{
    static const char *const bundles[] = {"far=2", "near=1"};

    if (!run.group) {
        run.group = ray_placement_group_new(bundles, 2, NULL);
        if (run.group)
            keep(ray_placement_group_ready(run.group));
    } else {
        (void)ray_placement_group_remove(run.group);
        ray_placement_group_release(run.group);
        run.group = NULL;
    }
}

/* One of the other node's, of which it says where its bundles are. */
static void borrow_on_loop(void *number)
{
    rayi_called of = {.number = *(uint64_t *)number};
    rayi_writer writer;
    rayi_reader reader;

    if (!stranger())
        return;
    of.node = stranger()->id;
    rayi_writer_init(&writer);
    rayi_put_text(&writer, "all/theirs");
    rayi_put_text(&writer, "theirs");
    rayi_put_text(&writer, "00000000000000070000000000000007");
    rayi_put_u8(&writer, RAY_PACK);
    rayi_put_u32(&writer, 2);
    rayi_put_text(&writer, "far=2");
    rayi_put_text(&writer, "near=1");
    reader = rayi_reader_of(writer.data, writer.size);
    if (rayi_shared_borrow(stranger_node(), &of, &reader, &run.borrowed) < 0)
        run.borrowed = NULL;
    rayi_writer_fini(&writer);
}

static void borrow(uint64_t number)
{
    if (!run.borrowed) {
        stranger_on_loop(borrow_on_loop, &number);
        if (run.borrowed)
            keep(ray_placement_group_ready(run.borrowed));
    } else {
        ray_placement_group_release(run.borrowed);
        run.borrowed = NULL;
    }
}

static void let_go(ray_ref *ref, uint64_t which)
{
    if (!ref)
        return;
    ray_release(ref);
    run.refs[which % run.num_refs] = run.refs[run.num_refs - 1];
    run.num_refs--;
}

/* What the program does meanwhile. Nothing in here waits for the other node. */
static void meanwhile(uint64_t what, uint64_t which)
{
    ray_ref *ref = ref_of(which);
    ray_view view = {0};

    switch (what % 11) {
    case 10:
        borrow(which);
        break;
    case 0:
        submit(which);
        break;
    case 1:
        if (ref)
            (void)ray_cancel(ref, which & 128 ? RAY_CANCEL_FORCE : which & 64 ? RAY_CANCEL_ONLY_THIS : 0);
        break;
    case 2:
        let_go(ref, which);
        break;
    case 3:
        if (ref)
            (void)ray_get_timeout(ref, 0, which & 128 ? &view : NULL);
        ray_view_release(&view);
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
    case 7:
        make_group();
        break;
    case 8:
        stranger_grant(which);
        break;
    default:
        stranger_leave();
        if (which & 1)
            (void)stranger_join(which & 2);
    }
    stranger_settle();
}

/* ---- numbers that mean something; on the loop ---- */

static uint64_t nth(uint64_t which, uint64_t count)
{
    return count > 0 ? which % count : 0;
}

#define PICK(list, handle, field, which)                                                                               \
    do {                                                                                                               \
        uint64_t skip = nth(which, HASH_CNT(handle, list));                                                            \
        void *at = list;                                                                                               \
        for (; at && skip > 0; skip--)                                                                                 \
            at = ((__typeof__(list))at)->handle.next;                                                                  \
        if (at)                                                                                                        \
            run.pick = ((__typeof__(list))at)->field;                                                                  \
    } while (0)

typedef struct picking {
    unsigned kind;
    uint64_t which;
} picking;

static void pick(void *arg)
{
    const picking *p = arg;
    rayi_neighbour *n = stranger();

    if (!n)
        return;
    switch (p->kind) {
    case 0:
        PICK(n->away, hh, id, p->which);
        break;
    case 1:
        PICK(n->given, hh, number, p->which);
        break;
    case 2:
        PICK(n->hosted, hh, id, p->which);
        break;
    case 3:
        if (n->afar)
            run.pick = rayi_actor_number(rayi_afar_actor(n->afar));
        break;
    case 4:
        if (stranger_node()->wides)
            run.pick = p->which % 4 + 1; /* bundles number their parts so */
        break;
    default:
        if (run.actor)
            run.pick = rayi_actor_number(run.actor); /* of a handle, once it was given */
    }
}

/* Below 64: a small number; else one that the head knows. Highest bits: RAYI_YOURS. */
static uint64_t number_of(fuzz_bytes *in)
{
    picking p = {.which = fuzz_take(in, 1)};

    run.pick = p.which % 64;
    if (p.which >= 64) {
        p.kind = (unsigned)(p.which / 8 % 6);
        p.which %= 8;
        stranger_on_loop(pick, &p);
    }
    return run.pick;
}

static uint64_t record_of(fuzz_bytes *in)
{
    uint64_t number = number_of(in);
    uint64_t how = fuzz_take(in, 1);

    return how & 1 ? number | RAYI_YOURS : how & 128 ? number | RAYI_BLOCK_KEY : number;
}

/* ---- the draft ---- */

static void put_words(const char *words)
{
    put_u(strlen(words), 4);
    put(words, strlen(words) + 1);
}

static void put_text(fuzz_bytes *in)
{
    static const char *const texts[] = {"CPU=1", "CPU=0", "far=1", "near=1", "cell", "127.0.0.1:1", "00ff", "io=2"};
    uint64_t size = fuzz_take(in, 1);

    if (size == 255) {
        put_u(UINT32_MAX, 4);
        return;
    }
    if (size >= 240) {
        put_words(texts[size % 8]);
        return;
    }
    if (size > in->left)
        size = in->left;
    put_u(size, 4);
    put_raw(in, size);
    put_u(0, 1);
}

static void put_place(fuzz_bytes *in)
{
    uint64_t whose = fuzz_take(in, 1);
    rayi_object_place place = {.number = number_of(in)};

    if (whose & 1)
        place.node = stranger_node()->cluster->id;
    else if (whose & 2)
        place.node.bytes[0] = 3;
    else
        place.node = (rayi_node_id){.bytes = {7, 7, 7}};
    put(&place.node, sizeof place.node);
    put_u(place.number, 8);
    put(&place.key, sizeof place.key);
    put_words("127.0.0.1:1");
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
        put_u(record_of(in), 8);
        put_u(fuzz_take(in, 3), 8);
        put_u(0, 4);
        size = fuzz_take(in, 1);
        put_u(size, 1);
        for (uint64_t i = 0; i < size && i < 8; i++)
            put_place(in);
        break;
    case RAYI_FORM_REF:
    case RAYI_FORM_AWAITED:
        put_u(record_of(in), 8);
        break;
    case RAYI_FORM_ACTOR:
        put_u(record_of(in), 8);
        put_text(in);
        put_text(in);
        break;
    case RAYI_FORM_ERROR:
        put_u(0 - kind, 8);
        put_u(7, 8);
        put_words("it failed");
        put_u(UINT32_MAX, 4);
        put_u(UINT32_MAX, 4);
        put_u(fuzz_take(in, 1), 8);
        put_u(0, 8);
        put_u(UINT32_MAX, 4);
        put_u(0, 4);
        break;
    default: /* NONE */
        break;
    }
}

/* Bits of a bundle: 64 any will do; 16 of the head's own group, 32 of one of a node that is not there. */
static uint32_t take_bundle(fuzz_bytes *in, rayi_node_id *owner, uint8_t *any_bundle)
{
    uint64_t bundle = fuzz_take(in, 1);

    if (bundle & 16)
        *owner = stranger_node()->cluster->id;
    else if (bundle & 32)
        owner->bytes[0] = 3;
    *any_bundle = bundle >> 6 & 1;
    return (uint32_t)(bundle & 15);
}

static void put_task(fuzz_bytes *in)
{
    rayi_between_task head = {.id = number_of(in), .left_ms = INT64_MAX};
    uint64_t how = fuzz_take(in, 1);

    head.function = (uint32_t)fuzz_take(in, 1);
    head.num_args = (uint32_t)fuzz_take(in, 1);
    head.callee = how & 3;
    head.has_options = how >> 2 & 1;
    if (how & 8)
        head.actor = record_of(in);
    if (how & 16)
        head.shape = (uint32_t)fuzz_take(in, 1);
    if (how & 32) {
        head.credit = fuzz_take(in, 1);
        head.delivered = fuzz_take(in, 1);
    }
    if (how & 64) {
        head.part = number_of(in);
        head.bundle = take_bundle(in, &head.part_owner, &head.any_bundle);
    }
    if (how & 128) {
        head.left_ms = (int64_t)fuzz_take(in, 8);
        head.priority = (int32_t)fuzz_take(in, 4);
        head.tries = (uint32_t)fuzz_take(in, 4);
    }
    put_u(RAYI_BETWEEN_TASK, 1);
    put(&head, sizeof head);
}

static void put_actor(fuzz_bytes *in)
{
    rayi_between_actor head = {.actor = number_of(in)};
    uint64_t life = fuzz_take(in, 1);
    uint64_t how = fuzz_take(in, 1);
    rayi_writer writer;

    head.life = (uint32_t)life & 63;
    head.parks = (uint8_t)(life >> 6);
    head.function = (uint32_t)fuzz_take(in, 1);
    head.num_args = (uint32_t)fuzz_take(in, 1);
    if (how & 1) {
        head.part = number_of(in);
        head.bundle = take_bundle(in, &head.part_owner, &head.any_bundle);
    }
    put_u(RAYI_BETWEEN_ACTOR, 1);
    put(&head, sizeof head);
    if (how & 2)
        return;
    rayi_writer_init(&writer);
    rayi_exchange_write_actor_options(NULL, &writer,
                                      how & 4 ? NULL
                                              : &(ray_actor_options){.size = sizeof(ray_actor_options),
                                                                     .name = how & 8 ? "n" : NULL,
                                                                     .node_id = how & 16 ? "07" : NULL,
                                                                     .detached = how & 32,
                                                                     .get_if_exists = how & 64,
                                                                     .max_restarts = how & 128 ? 1 : 0});
    put(writer.data, writer.size);
    rayi_writer_fini(&writer);
}

/* ---- steps ---- */

static void tell_function(void *arg)
{
    const char *name = arg;
    rayi_neighbour *n = stranger();
    rayi_function *function = rayi_function_find(stranger_node()->executor, name);
    rayi_text description;

    if (!n)
        return;
    rayi_text_init(&description, rayi_heap);
    if (function)
        rayi_function_describe(function, &description);
    else
        rayi_text_add(&description, "int64(int64)");
    draft.size = 0;
    put_u(RAYI_BETWEEN_FUNCTION, 1);
    put_u(n->functions_told, 4);
    put_words(name);
    put_words(description.failed ? "" : description.data);
    rayi_text_fini(&description);
}

/* Code that travels, up to its bytes, which the next step adds. Nobody calls it: no process is started here. */
static void put_code(fuzz_bytes *in)
{
    uint64_t which = fuzz_take(in, 1), count = fuzz_take(in, 1) % 4;

    draft.size = 0;
    put_u(RAYI_BETWEEN_CODE, 1);
    for (int i = 0; i < 64; i++)
        put_u((uint64_t) "0123456789abcdefx"[which % 17], 1);
    put_u(0, 1);
    for (int i = 0; i < 16; i++)
        put_u(which & 32 ? 3 : 7, 1);
    put_text(in);
    put_u(count, 4);
    for (uint64_t i = 0; i < count; i++) {
        put_words(names[fuzz_take(in, 1) % (sizeof names / sizeof *names)]);
        put_words("void()");
        put_u(fuzz_take(in, 1) % 9, 4);
        put_u(0, 4);
        uint64_t types = fuzz_take(in, 1);
        put_u(types & 64, 1);
        put_u(types % 64, 4);
        for (uint64_t type = 0; type < types % 64 && type < 4; type++) {
            uint64_t kind = fuzz_take(in, 1);
            put_u(kind % 24, 1);
            put_u(kind < 128 ? 8 : kind % 3, 4);
            put_words("type");
        }
    }
}

/* Can what this says is done hold what holds it? No honest node says so. */
static bool may_be_circular(void)
{
    rayi_reader reader = rayi_reader_of(draft.bytes, draft.size);
    enum rayi_between what = rayi_take_u8(&reader);
    uint64_t id = rayi_take_u64(&reader), number;
    enum rayi_form form;

    if (what == RAYI_BETWEEN_RESULT)
        (void)rayi_take_bytes(&reader, 6);
    else if (what == RAYI_BETWEEN_ITEM)
        (void)rayi_take_bytes(&reader, 12);
    else if (what != RAYI_BETWEEN_COMPLETE)
        return false;
    form = rayi_take_u8(&reader);
    if (form == RAYI_FORM_BYTES || form == RAYI_FORM_BLOCK) {
        (void)rayi_take_bytes(&reader, form == RAYI_FORM_BYTES ? 1 : 17);
        return rayi_take_u32(&reader) > 0; /* what it holds */
    }
    number = form == RAYI_FORM_REF ? rayi_take_u64(&reader) : 0;
    return form == RAYI_FORM_REF &&
           ((number & RAYI_YOURS) || (what == RAYI_BETWEEN_COMPLETE && (number & ~RAYI_BLOCK_KEY) <= id));
}

static void send_draft(fuzz_bytes *in)
{
    uint64_t how = fuzz_take(in, 1);

    run.circular |= may_be_circular();
    if (how == 255)
        stranger_asks(draft.bytes, draft.size);
    else
        stranger_say(how & 1 || (draft.size > 0 && draft.bytes[0] == RAYI_BETWEEN_TASK) ? RAYI_FRAME_REQUEST
                                                                                        : RAYI_FRAME_MESSAGE,
                     draft.bytes, draft.size);
    draft.size = 0;
    if (!(how & 2))
        stranger_settle();
}

static void function_named(const char *name)
{
    stranger_on_loop(tell_function, (void *)name);
    stranger_say(RAYI_FRAME_MESSAGE, draft.bytes, draft.size);
    draft.size = 0;
}

static void step(fuzz_bytes *in)
{
    switch (fuzz_take(in, 1) % 18) {
    case 0:
        send_draft(in);
        break;
    case 1:
        put_raw(in, fuzz_take(in, 1));
        break;
    case 2:
        put_u(fuzz_take(in, 1), 1);
        break;
    case 3:
        put_u(fuzz_take(in, 1), 4);
        break;
    case 4:
        put_u(fuzz_take(in, 1), 8);
        break;
    case 5:
        put_u(fuzz_take(in, 8), 8);
        break;
    case 6: /* what most messages begin with */
        put_u(fuzz_take(in, 1), 1);
        put_u(number_of(in), 8);
        break;
    case 7:
        put_u(record_of(in), 8);
        break;
    case 8:
        put_text(in);
        break;
    case 9:
        put_value(in);
        break;
    case 10:
        put_task(in);
        break;
    case 11:
        put_actor(in);
        break;
    case 12:
        put_place(in);
        break;
    case 13:
        function_named(names[fuzz_take(in, 1) % (sizeof names / sizeof *names)]);
        break;
    case 14: {
        uint64_t what = fuzz_take(in, 1);
        meanwhile(what, fuzz_take(in, 1));
        break;
    }
    case 15:
        stranger_starve((long)fuzz_take(in, 1));
        break;
    case 17:
        put_code(in);
        break;
    default: { /* cut */
        uint64_t size = fuzz_take(in, 1);
        if (size < draft.size)
            draft.size = size;
    }
    }
}

/* ---- the whole ---- */

static void begin(uint64_t scene)
{
    static const unsigned char work[] = {0, 1, 2, 3, 6, 5};

    FUZZ_CHECK(stranger_start());
    FUZZ_CHECK(stranger_join(scene & 1));
    for (size_t i = 0; (scene & 2) && i < sizeof work; i++)
        submit(work[i]);
    stranger_settle();
    for (size_t i = 0; (scene & 4) && i < sizeof names / sizeof *names; i++)
        function_named(names[i]);
}

static void end(uint64_t scene)
{
    if (scene & 8)
        stranger_leave();
    while (run.num_refs > 0)
        ray_release(run.refs[--run.num_refs]);
    ray_actor_release(run.actor);
    run.actor = NULL;
    if (run.group)
        make_group();
    if (run.borrowed)
        borrow(0);
    draft.size = 0;
    FUZZ_CHECK(stranger_stop() == 0);
}

static void play(fuzz_bytes in)
{
    uint64_t scene = fuzz_take(&in, 1);

    begin(scene);
    for (int steps = 0; in.left > 0 && steps < MAX_STEPS; steps++)
        step(&in);
    end(scene);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool watched;

    if (!watched)
        stranger_watch();
    watched = true;
    run.circular = false;
    play((fuzz_bytes){data, size});
    if (run.circular || stranger_left_over() == 0)
        return 0;
    play((fuzz_bytes){data, size}); /* names of functions stay for ever: but the same names only once */
    FUZZ_CHECK(stranger_left_over() == 0);
    return 0;
}
