/* What comes to the table of a cluster's nodes, at the head and at a node, from peers that say anything at any time:
 * messages, hints, journals. The input is a list of steps; a step that takes bytes has their number in two bytes before
 * them. Both sides may run out of memory at any step. */
#include "fuzz.h"
#include "gcs/gcs.h"
#include "gcs/roster.h"

#include "../unit/scheduler/counted.h"

enum { PEERS = 4 };
typedef enum step { TO_HEAD, TO_NODE, HINT, RESTORE, EXCHANGE, TIME, LINK, SIGHT, STARVE, LOAD, KEYS, STEPS } step;

static const rayi_cluster_id our_cluster = {{0xc1}};

typedef struct world {
    counted heap;
    rayi_members *members;
    rayi_membership *membership;
    rayi_gcs *copy; /* of the table of keys */
    int64_t now_ms;
} world;

static rayi_node_id id_of(uint8_t number)
{
    return (rayi_node_id){{number}};
}

/* ---- what must hold ---- */

static void check_member(void *arg, const rayi_member *member)
{
    rayi_roster *roster = arg;
    FUZZ_CHECK(rayi_member_is_sound(member) && member->incarnation > 0 && member->incarnation <= roster->incarnations);
    FUZZ_CHECK(rayi_roster_get(roster, &member->id) == member);
}

static void check_roster(const world *w, const rayi_roster *roster)
{
    uint32_t count = 0;
    uint64_t version = 0;
    rayi_roster_each(roster, check_member, (void *)roster);
    for (const rayi_row *row = roster->order; row; row = row->next, count++) {
        FUZZ_CHECK(row->member && !row->staged && row->version >= version && row->fixed_version <= row->version);
        version = row->version;
    }
    FUZZ_CHECK(count == roster->count);
    rayi_memory_free(&w->heap.memory, rayi_roster_sum(roster, &w->heap.memory));
}

/* What was taken is written in the same way. */
static void check_message(const uint8_t *bytes, size_t size, const rayi_member_message *message)
{
    rayi_writer writer;
    bool other_version = (message->what == RAYI_MEMBER_JOIN && message->as.join.protocol != RAYI_MEMBERS_PROTOCOL) ||
                         (message->what == RAYI_MEMBER_ANSWER && message->as.answer.refusal == RAYI_REFUSAL_VERSION);
    if (message->what == RAYI_MEMBER_TABLE || other_version)
        return;
    rayi_writer_init(&writer);
    rayi_member_message_put(&writer, message);
    FUZZ_CHECK(writer.size == size && memcmp(writer.data, bytes, size) == 0);
    rayi_writer_fini(&writer);
}

/* ---- steps ---- */

/* A block of its own, so that a sanitizer sees a read beyond it. */
static uint8_t *take_block(fuzz_bytes *in, size_t *size)
{
    size_t wanted = (size_t)fuzz_take(in, 2);
    *size = RAYI_MIN(wanted, in->left);
    uint8_t *block = malloc(*size + 1);
    uint8_t *copy = realloc(block, *size ? *size : 1);
    if (*size)
        memcpy(copy, in->at, *size);
    in->at += *size;
    in->left -= *size;
    return copy;
}

static void deliver_reply(world *w, const rayi_members_reply *reply)
{
    rayi_member_message message = {.what = RAYI_MEMBER_ANSWER, .as.answer = reply->answer};
    rayi_writer writer;
    if (reply->answers)
        rayi_membership_take(w->membership, &message, w->now_ms);
    if (!reply->tables)
        return;
    rayi_writer_init(&writer);
    rayi_members_since(w->members, reply->since, &writer);
    FUZZ_CHECK(rayi_member_message_take(writer.data, writer.size, &message) == 0);
    rayi_membership_take(w->membership, &message, w->now_ms);
    rayi_writer_fini(&writer);
}

static void act(world *w, const rayi_membership_action *a, bool honest)
{
    rayi_node_id id = id_of(1);
    rayi_members_reply reply;
    if (a->what == RAYI_MEMBERSHIP_FENCE && honest)
        rayi_membership_discarded(w->membership, w->now_ms);
    if (a->what == RAYI_MEMBERSHIP_DIAL && honest)
        rayi_membership_linked(w->membership, w->now_ms);
    if (a->what != RAYI_MEMBERSHIP_SEND || !honest)
        return;
    rayi_member_message message = *a->message;
    if (rayi_members_serve(w->members, &id, &message, w->now_ms, &reply) == 0)
        deliver_reply(w, &reply);
}

/* honest: the node's messages reach the head, and its answers the node. */
static void settle(world *w, bool honest)
{
    rayi_membership_action a;
    rayi_members_action b;
    rayi_writer writer;
    for (int i = 0; i < 1000 && rayi_membership_next(w->membership, w->now_ms, &a); i++)
        act(w, &a, honest);
    for (int i = 0; i < 1000 && rayi_members_next(w->members, w->now_ms, &b); i++) {
        rayi_writer_init(&writer);
        if (b.what == RAYI_MEMBERS_SAVE)
            rayi_members_saved(w->members, rayi_members_journal(w->members, false, &writer));
        if (b.what == RAYI_MEMBERS_PUBLISH)
            rayi_members_publish(w->members, 4096, &writer);
        if (b.what == RAYI_MEMBERS_PUBLISH && honest)
            rayi_membership_hint(w->membership, writer.data, writer.size, w->now_ms);
        rayi_writer_fini(&writer);
    }
}

static void do_message(world *w, fuzz_bytes *in, step what)
{
    static rayi_member_message message;
    rayi_members_reply reply;
    rayi_node_id from = id_of((uint8_t)(fuzz_take(in, 1) % PEERS));
    size_t size;
    uint8_t *bytes = take_block(in, &size);
    if (what == HINT) {
        rayi_membership_hint(w->membership, bytes, size, w->now_ms);
    } else if (rayi_member_message_take(bytes, size, &message) == 0) {
        check_message(bytes, size, &message);
        if (what == TO_HEAD)
            rayi_members_serve(w->members, &from, &message, w->now_ms, &reply);
        else
            rayi_membership_take(w->membership, &message, w->now_ms);
    }
    free(bytes);
}

/* Two records, as of a journal. */
static void do_restore(world *w, fuzz_bytes *in)
{
    rayi_members_options options = {.cluster = our_cluster, .generation = 1 << 20};
    rayi_members *members;
    if (rayi_members_new(&w->heap.memory, &options, w->now_ms, &members))
        return;
    for (int i = 0, r = 0; i < 2 && !r; i++) {
        size_t size;
        uint8_t *bytes = take_block(in, &size);
        r = rayi_members_restore(members, bytes, size);
        if (!r)
            check_roster(w, rayi_members_roster(members));
        free(bytes);
    }
    rayi_members_free(members);
}

static void do_sight(world *w, fuzz_bytes *in)
{
    rayi_node_id id = id_of((uint8_t)(fuzz_take(in, 1) % PEERS));
    uint64_t incarnation = fuzz_take(in, 1);
    switch (fuzz_take(in, 1) % 5) {
    case 0:
        rayi_members_link_closed(w->members, &id, incarnation, w->now_ms);
        return;
    case 1:
        rayi_members_dial_refused(w->members, &id, incarnation, w->now_ms);
        return;
    case 2:
        rayi_members_process_gone(w->members, &id, incarnation, w->now_ms);
        return;
    case 3:
        rayi_members_drain(w->members, &id, w->now_ms);
        return;
    case 4:
        rayi_members_heard(w->members, &id, incarnation, w->now_ms);
        return;
    }
}

static void do_link(world *w, fuzz_bytes *in)
{
    switch (fuzz_take(in, 1) % 5) {
    case 0:
        rayi_membership_linked(w->membership, w->now_ms);
        return;
    case 1:
        rayi_membership_unlinked(w->membership, "closed", w->now_ms);
        return;
    case 2:
        rayi_membership_discarded(w->membership, w->now_ms);
        return;
    case 3:
        rayi_membership_leave(w->membership, w->now_ms);
        return;
    case 4:
        rayi_membership_heard(w->membership, w->now_ms);
        return;
    }
}

static void do_load(world *w, fuzz_bytes *in)
{
    int64_t available[] = {(int64_t)fuzz_take(in, 2), 0};
    rayi_membership_load(w->membership, (uint32_t)fuzz_take(in, 1), available, w->now_ms);
}

/* A piece of the table of keys; what was taken lists as what it is. */
static void do_keys(world *w, fuzz_bytes *in)
{
    size_t size, bytes_count = 0, value_size;
    uint8_t *bytes = take_block(in, &size);
    rayi_reader reader = rayi_reader_of(bytes, size);
    const void *value;
    rayi_text list;
    (void)rayi_gcs_kv_take(w->copy, &reader);
    rayi_text_init(&list, rayi_heap);
    FUZZ_CHECK(rayi_gcs_kv_list(w->copy, "", &list) == 0);
    for (const char *key = list.data; key < list.data + list.size; key += strlen(key) + 1) {
        FUZZ_CHECK(rayi_gcs_kv_get(w->copy, key, &value, &value_size) == 0);
        bytes_count += strlen(key) + value_size;
    }
    FUZZ_CHECK(bytes_count == rayi_gcs_kv_bytes(w->copy));
    rayi_text_fini(&list);
    free(bytes);
}

static void do_step(world *w, fuzz_bytes *in)
{
    step what = (step)(fuzz_take(in, 1) % STEPS);
    switch (what) {
    case TO_HEAD:
    case TO_NODE:
    case HINT:
        do_message(w, in, what);
        break;
    case RESTORE:
        do_restore(w, in);
        break;
    case EXCHANGE:
        settle(w, true);
        break;
    case TIME:
        w->now_ms += (int64_t)fuzz_take(in, 2);
        rayi_members_tick(w->members, w->now_ms);
        rayi_membership_tick(w->membership, w->now_ms);
        break;
    case LINK:
        do_link(w, in);
        break;
    case SIGHT:
        do_sight(w, in);
        break;
    case STARVE:
        counted_fail(&w->heap, (long)fuzz_take(in, 1));
        return; /* until after the next step */
    case LOAD:
        do_load(w, in);
        break;
    case KEYS:
        do_keys(w, in);
        break;
    case STEPS:
        break;
    }
    settle(w, false);
    counted_fail(&w->heap, 0);
    check_roster(w, rayi_members_roster(w->members));
    check_roster(w, rayi_membership_roster(w->membership));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const rayi_member_resource resources[] = {{"CPU", 40000, 40000}, {"disk", 10000, 10000}};
    fuzz_bytes in = {data, size};
    world w = {.now_ms = 1000};
    rayi_members_options head = {.cluster = our_cluster, .generation = 1, .most = 8, .dead_most = 2};
    rayi_member node = {.id = id_of(1), .labels = "", .resources = resources, .resource_count = 2};
    rayi_membership_options options = {.node = &node, .head = "head:1", .seed = 1};
    counted_init(&w.heap);
    FUZZ_CHECK(rayi_members_new(&w.heap.memory, &head, w.now_ms, &w.members) == 0);
    FUZZ_CHECK(rayi_membership_new(&w.heap.memory, &options, w.now_ms, &w.membership) == 0);
    FUZZ_CHECK(rayi_gcs_new(&w.heap.memory, &w.copy) == 0);
    for (int i = 0; i < 200 && in.left > 0; i++)
        do_step(&w, &in);
    rayi_members_free(w.members);
    rayi_membership_free(w.membership);
    rayi_gcs_free(w.copy);
    FUZZ_CHECK(w.heap.live == 0);
    return 0;
}
