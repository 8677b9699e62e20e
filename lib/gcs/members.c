/* The head's table. What is to be done for a node is kept as bits in its row, so that no event needs memory but a JOIN.
 *
 * Silence is measured on a clock of our own that never takes a step longer than AWAKE_STEP_MS: bytes that came while
 * the head was stopped lie unread when it goes on, and their senders must not die of that. Leases are compared with the
 * caller's clock, which runs at least as fast. */
#include "gcs/head.h"

#define TICK_MS        100
#define AWAKE_STEP_MS  500
#define PROBE_MS       1000 /* between two dials of a suspect */
#define PROBE_AGAIN_MS 100  /* after one that was refused */
#define REFUSALS       2    /* of its dial, without a byte between them: it is dead */

/* ---- making and unmaking ---- */

void rayi_seat_leave(rayi_members *members, rayi_seat *m)
{
    const rayi_memory *memory = members->roster.memory;
    if (m->keyed)
        HASH_DELETE(hk, members->keys, m);
    m->keyed = false;
}

int rayi_seat_enter(rayi_members *members, rayi_seat *m)
{
    const rayi_memory *memory = members->roster.memory;
    m->key = rayi_seat_body(m)->key;
    HASH_ADD(hk, members->keys, key, sizeof m->key, m);
    m->keyed = m->hk.tbl != NULL;
    return m->keyed ? 0 : RAY_ERR_NO_MEMORY;
}

static void drop_member(rayi_roster *roster, rayi_row *row)
{
    rayi_seat_leave((rayi_members *)roster, rayi_seat_of(row));
    rayi_roster_free_row(roster, row);
}

int rayi_members_new(const rayi_memory *memory, const rayi_members_options *options, int64_t now_ms, rayi_members **out)
{
    RAYI_ASSERT(options->generation > 0 && options->generation < UINT64_C(1) << (64 - RAYI_GENERATION_BITS));
    rayi_members *members = rayi_memory_zalloc(memory, sizeof *members);
    if (!members)
        return RAY_ERR_NO_MEMORY;
    rayi_roster_init(&members->roster, memory, sizeof(rayi_seat));
    members->roster.gone = rayi_memory_alloc(memory, RAYI_ROSTER_GONE_MOST * sizeof *members->roster.gone);
    if (!members->roster.gone) {
        rayi_memory_free(memory, members);
        return RAY_ERR_NO_MEMORY;
    }
    members->roster.dropped = drop_member;
    members->options = *options;
    members->options.most = options->most ? options->most : RAYI_MEMBERS_MOST;
    members->options.dead_most = options->dead_most ? options->dead_most : RAYI_MEMBERS_DEAD_MOST;
    members->roster.version = options->generation << RAYI_GENERATION_BITS;
    members->published = members->writing = members->saved = members->held = members->roster.version;
    members->now_ms = members->publish_ms = now_ms;
    members->inherit_ms = now_ms + RAYI_LEASE_MS;
    *out = members;
    return 0;
}

void rayi_members_free(rayi_members *members)
{
    if (!members)
        return;
    for (rayi_row *row = members->roster.rows; row; row = row->hh.next)
        rayi_seat_leave(members, rayi_seat_of(row));
    rayi_roster_fini(&members->roster);
    rayi_memory_free(members->roster.memory, members);
}

/* ---- the outbox ---- */

void rayi_seat_add_todo(rayi_members *members, rayi_seat *m, unsigned what)
{
    if (!m->todo)
        DL_APPEND(members->outbox, m);
    m->todo |= what;
}

static void drop_todo(rayi_members *members, rayi_seat *m, unsigned what)
{
    if (m->todo && !(m->todo & ~what))
        DL_DELETE(members->outbox, m);
    m->todo &= ~what;
}

/* ---- changes ---- */

void rayi_members_wake(rayi_members *members, int64_t now_ms)
{
    int64_t step = now_ms - members->now_ms;
    if (step <= 0)
        return;
    members->now_ms = now_ms;
    members->awake_ms += RAYI_MIN(step, AWAKE_STEP_MS);
}

static bool all_is_saved(const rayi_members *members)
{
    return members->options.unsaved || members->fixed <= members->saved;
}

uint64_t rayi_members_generation(const rayi_members *members)
{
    return members->options.generation;
}

/* What is saved may be told, and what came before the first change that is not. */
uint64_t rayi_members_version(const rayi_members *members)
{
    return all_is_saved(members) ? members->roster.version : RAYI_MAX(members->held, members->saved);
}

static void begin_fixed(rayi_members *members)
{
    if (all_is_saved(members))
        members->held = members->roster.version;
}

void rayi_seat_touch(rayi_members *members, rayi_seat *m, bool is_fixed)
{
    if (is_fixed)
        begin_fixed(members);
    rayi_roster_touch(&members->roster, &m->row, is_fixed);
    if (is_fixed)
        members->fixed = members->roster.version;
}

static void count_by(rayi_members *members, const rayi_seat *m, uint32_t by)
{
    *(rayi_seat_is_live(m) ? &members->live : &members->dead) += by;
}

/* True: the state is another now. */
bool rayi_seat_go(rayi_members *members, rayi_seat *m, rayi_node_event event)
{
    rayi_node_state old = rayi_seat_body(m)->state, state = rayi_node_next(old, event);
    count_by(members, m, (uint32_t)-1);
    rayi_seat_body(m)->state = state;
    count_by(members, m, 1);
    return state != old;
}

/* Too many dead ones: the first to die is forgotten, unless its death has not been told. */
static void forget_some(rayi_members *members)
{
    for (rayi_row *row = members->roster.order, *next; row && members->dead > members->options.dead_most; row = next) {
        rayi_seat *m = rayi_seat_of(row);
        next = row->next;
        if (rayi_seat_is_live(m) || m->todo)
            continue;
        begin_fixed(members);
        members->dead--;
        rayi_roster_forget(&members->roster, row);
        rayi_roster_free_row(&members->roster, row);
        members->fixed = members->roster.version;
    }
}

static void suspect(rayi_members *members, rayi_seat *m)
{
    if (rayi_seat_go(members, m, RAYI_NODE_LATE))
        rayi_seat_touch(members, m, false);
    if (m->probe_ms == 0)
        m->probe_ms = RAYI_MAX(1, members->now_ms);
}

void rayi_seat_die(rayi_members *members, rayi_seat *m, rayi_death cause)
{
    rayi_member *body = rayi_seat_body(m);
    if (m->inherited && cause != RAYI_DEATH_REPLACED && members->now_ms < members->inherit_ms) {
        m->doom = cause;
        suspect(members, m);
        return;
    }
    rayi_seat_go(members, m, RAYI_NODE_ENDED);
    rayi_seat_leave(members, m);
    body->cause = cause;
    body->load = 0;
    for (uint32_t i = 0; i < body->resource_count; i++)
        rayi_member_resources(body)[i].available = 0;
    rayi_seat_touch(members, m, true);
    m->dead_incarnation = body->incarnation;
    m->dead_version = m->row.version;
    m->dead_cause = cause;
    drop_todo(members, m, RAYI_SEAT_WATCH | RAYI_SEAT_PROBE);
    rayi_seat_add_todo(members, m, RAYI_SEAT_DEATH);
}

void rayi_seat_lives(rayi_members *members, rayi_seat *m)
{
    m->heard_ms = members->awake_ms;
    m->refusals = 0;
    m->doom = RAYI_DEATH_NONE; /* whatever it was that seemed to have ended */
    if (m->closed)
        return;
    m->probe_ms = 0;
    drop_todo(members, m, RAYI_SEAT_PROBE);
    if (rayi_seat_go(members, m, RAYI_NODE_HEARD))
        rayi_seat_touch(members, m, false);
}

/* The row of this incarnation, if it has not ended. */
static rayi_seat *find_live(const rayi_members *members, const rayi_node_id *id, uint64_t incarnation)
{
    rayi_row *row = rayi_roster_find(&members->roster, id);
    if (!row || row->member->incarnation != incarnation || row->member->state == RAYI_NODE_DEAD)
        return NULL;
    return rayi_seat_of(row);
}

/* ---- other messages ---- */

bool rayi_seat_set_load(rayi_member *body, uint32_t load, const rayi_member_resource *resources)
{
    bool is_new = body->load != load;
    body->load = load;
    for (uint32_t i = 0; i < body->resource_count; i++) {
        is_new |= body->resources[i].available != resources[i].available;
        rayi_member_resources(body)[i].available = resources[i].available;
    }
    return is_new;
}

static int serve_tell(rayi_members *members, rayi_seat *m, const rayi_member_tell *tell)
{
    rayi_member *body = rayi_seat_body(m);
    rayi_member_resource now[RAYI_MEMBER_RESOURCES_MAX];
    if (tell->count != body->resource_count)
        return RAY_ERR_ARGUMENT;
    for (uint32_t i = 0; i < tell->count; i++) {
        now[i].available = tell->available[i];
        if (now[i].available > body->resources[i].total)
            return RAY_ERR_ARGUMENT;
    }
    if (rayi_seat_set_load(body, tell->load, now))
        rayi_seat_touch(members, m, false);
    return 0;
}

void rayi_members_tell_self(rayi_members *members, uint32_t load, const int64_t *available, int64_t now_ms)
{
    rayi_member_resource now[RAYI_MEMBER_RESOURCES_MAX];
    const rayi_member *body = rayi_seat_body(members->self);
    rayi_members_wake(members, now_ms);
    for (uint32_t i = 0; i < body->resource_count; i++)
        now[i].available = available[i];
    if (rayi_seat_set_load(rayi_seat_body(members->self), load, now))
        rayi_seat_touch(members, members->self, false);
}

static uint64_t incarnation_in(const rayi_member_message *message)
{
    return message->what == RAYI_MEMBER_RENEW  ? message->as.renew.incarnation
           : message->what == RAYI_MEMBER_TELL ? message->as.tell.incarnation
                                               : message->as.incarnation;
}

static int serve_member(rayi_members *members, const rayi_node_id *from, const rayi_member_message *message,
                        rayi_members_reply *reply)
{
    rayi_seat *m = find_live(members, from, incarnation_in(message));
    if (!m) {
        rayi_members_fence(members, from, incarnation_in(message), reply);
        return 0;
    }
    if (message->what == RAYI_MEMBER_LEAVE) {
        rayi_seat_die(members, m, RAYI_DEATH_LEFT);
        forget_some(members);
        return 0;
    }
    m->closed = false; /* this came by a link */
    rayi_seat_lives(members, m);
    if (message->what == RAYI_MEMBER_TELL)
        return serve_tell(members, m, &message->as.tell);
    if (message->what == RAYI_MEMBER_RENEW)
        rayi_members_grant(members, m, RAYI_VERDICT_GRANTED, message->as.renew.asked_ms, reply);
    return 0;
}

int rayi_members_serve(rayi_members *members, const rayi_node_id *from, const rayi_member_message *message,
                       int64_t now_ms, rayi_members_reply *reply)
{
    rayi_members_wake(members, now_ms);
    *reply = (rayi_members_reply){.answers = false};
    switch (message->what) {
    case RAYI_MEMBER_JOIN:
        return rayi_members_serve_join(members, &message->as.join, reply);
    case RAYI_MEMBER_RENEW:
    case RAYI_MEMBER_TELL:
    case RAYI_MEMBER_BEAT:
    case RAYI_MEMBER_LEAVE:
        return serve_member(members, from, message, reply);
    case RAYI_MEMBER_PULL:
        reply->tables = true;
        reply->since = message->as.since;
        return 0;
    case RAYI_MEMBER_ANSWER:
    case RAYI_MEMBER_DEATH:
    case RAYI_MEMBER_TABLE:
    case RAYI_MEMBER_END:
        break;
    }
    return RAY_ERR_ARGUMENT;
}

bool rayi_members_heard(rayi_members *members, const rayi_node_id *id, uint64_t incarnation, int64_t now_ms)
{
    rayi_seat *m = find_live(members, id, incarnation);
    rayi_members_wake(members, now_ms);
    if (m)
        rayi_seat_lives(members, m);
    return m != NULL;
}

/* ---- what is seen of a node ---- */

void rayi_members_link_closed(rayi_members *members, const rayi_node_id *id, uint64_t incarnation, int64_t now_ms)
{
    rayi_seat *m = find_live(members, id, incarnation);
    rayi_members_wake(members, now_ms);
    if (!m || rayi_seat_body(m)->flags & RAYI_MEMBER_HEAD)
        return;
    m->closed = true;
    suspect(members, m);
}

void rayi_members_dial_refused(rayi_members *members, const rayi_node_id *id, uint64_t incarnation, int64_t now_ms)
{
    rayi_seat *m = find_live(members, id, incarnation);
    rayi_members_wake(members, now_ms);
    if (!m || rayi_seat_body(m)->flags & RAYI_MEMBER_HEAD)
        return;
    if (++m->refusals >= REFUSALS) {
        rayi_seat_die(members, m, RAYI_DEATH_REFUSED);
        forget_some(members);
        return;
    }
    suspect(members, m);
    m->probe_ms = members->now_ms + PROBE_AGAIN_MS;
}

void rayi_members_process_gone(rayi_members *members, const rayi_node_id *id, uint64_t incarnation, int64_t now_ms)
{
    rayi_seat *m = find_live(members, id, incarnation);
    rayi_members_wake(members, now_ms);
    if (!m || rayi_seat_body(m)->flags & RAYI_MEMBER_HEAD)
        return;
    rayi_seat_die(members, m, RAYI_DEATH_GONE);
    forget_some(members);
}

int rayi_members_drain(rayi_members *members, const rayi_node_id *id, int64_t now_ms)
{
    rayi_seat *m = rayi_seat_of(rayi_roster_find(&members->roster, id));
    rayi_members_wake(members, now_ms);
    if (!m || !rayi_seat_is_live(m))
        return RAY_ERR_NOT_FOUND;
    if (rayi_seat_body(m)->flags & RAYI_MEMBER_DRAINED)
        return 0;
    rayi_seat_body(m)->flags |= RAYI_MEMBER_DRAINED;
    rayi_seat_touch(members, m, true);
    return 0;
}

/* ---- time ---- */

static bool may_die_of_silence(const rayi_members *members, const rayi_seat *m)
{
    return members->awake_ms - m->heard_ms >= RAYI_DEAD_MS && members->now_ms >= m->lease_ms;
}

static void tick_member(rayi_members *members, rayi_seat *m)
{
    if (members->now_ms >= members->inherit_ms && m->doom) {
        rayi_seat_die(members, m, m->doom);
        return;
    }
    if (may_die_of_silence(members, m)) {
        rayi_seat_die(members, m, RAYI_DEATH_SILENT);
        return;
    }
    if (members->awake_ms - m->heard_ms >= RAYI_SUSPECT_MS)
        suspect(members, m);
    if (m->probe_ms && members->now_ms >= m->probe_ms && rayi_seat_body(m)->address) {
        m->probe_ms = members->now_ms + PROBE_MS;
        rayi_seat_add_todo(members, m, RAYI_SEAT_PROBE);
    }
}

void rayi_members_tick(rayi_members *members, int64_t now_ms)
{
    rayi_members_wake(members, now_ms);
    members->save_asked = false; /* that may have failed */
    for (rayi_row *row = members->roster.rows; row; row = row->hh.next)
        if (rayi_seat_is_live(rayi_seat_of(row)) && !(row->member->flags & RAYI_MEMBER_HEAD))
            tick_member(members, rayi_seat_of(row));
    forget_some(members);
}

static bool wants_to_publish(const rayi_members *members)
{
    return rayi_members_version(members) > members->published;
}

/* Loads may wait; who comes and goes is told soon, as long as there are not many: each publication uses up one of a
 * few that time gives back, one for each RAYI_PUBLISH_MS. */
static bool may_hurry(const rayi_members *members)
{
    bool is_news = RAYI_MIN(members->fixed, rayi_members_version(members)) > members->published;
    return is_news && members->hurried_ms < members->now_ms + RAYI_PUBLISH_BURST * RAYI_PUBLISH_MS;
}

static int64_t publish_due(const rayi_members *members)
{
    return may_hurry(members) ? members->publish_ms - RAYI_PUBLISH_MS + RAYI_PUBLISH_NEWS_MS : members->publish_ms;
}

int64_t rayi_members_next_deadline(const rayi_members *members)
{
    int64_t next = wants_to_publish(members) ? publish_due(members) : INT64_MAX;
    return members->live > 0 ? RAYI_MIN(next, members->now_ms + TICK_MS) : next;
}

/* ---- actions ---- */

static bool take_todo(rayi_members *members, rayi_seat *m, rayi_members_action *out)
{
    const rayi_member *body = rayi_seat_body(m);
    *out = (rayi_members_action){.id = m->row.id, .incarnation = body->incarnation};
    if (m->todo & RAYI_SEAT_DEATH) {
        if (!members->options.unsaved && m->dead_version > members->saved)
            return false;
        out->what = RAYI_MEMBERS_DEATH;
        out->incarnation = m->dead_incarnation;
        out->cause = m->dead_cause;
        drop_todo(members, m, RAYI_SEAT_DEATH);
        return true;
    }
    bool watch = m->todo & RAYI_SEAT_WATCH;
    out->what = watch ? RAYI_MEMBERS_WATCH : RAYI_MEMBERS_PROBE;
    out->pid = body->pid;
    out->address = body->address;
    drop_todo(members, m, watch ? RAYI_SEAT_WATCH : RAYI_SEAT_PROBE);
    return true;
}

bool rayi_members_next(rayi_members *members, int64_t now_ms, rayi_members_action *out)
{
    rayi_members_wake(members, now_ms);
    if (!members->options.unsaved && members->fixed > members->writing && !members->save_asked) {
        *out = (rayi_members_action){.what = RAYI_MEMBERS_SAVE};
        members->save_asked = true;
        return true;
    }
    for (rayi_seat *m = members->outbox, *next; m; m = next) {
        next = m->next;
        if (take_todo(members, m, out))
            return true;
    }
    if (!wants_to_publish(members) || members->now_ms < publish_due(members))
        return false;
    members->publish_ms = members->now_ms + RAYI_PUBLISH_MS;
    members->hurried_ms = RAYI_MAX(members->hurried_ms, members->now_ms) + RAYI_PUBLISH_MS;
    *out = (rayi_members_action){.what = RAYI_MEMBERS_PUBLISH};
    return true;
}

/* ---- tables ---- */

static rayi_table_range range_of(const rayi_members *members, uint64_t since, uint64_t until)
{
    return (rayi_table_range){.cluster = &members->options.cluster,
                              .generation = members->options.generation,
                              .since = since,
                              .until = until};
}

void rayi_members_since(const rayi_members *members, uint64_t since, rayi_writer *writer)
{
    rayi_table_range range = range_of(members, since, rayi_members_version(members));
    range.whole = since == 0 || since < members->roster.floor;
    rayi_table_put(&members->roster, &range, writer);
}

void rayi_members_publish(rayi_members *members, size_t limit_bytes, rayi_writer *writer)
{
    rayi_table_range range = range_of(members, members->published, rayi_members_version(members));
    size_t begin = writer->size;
    uint64_t to = rayi_table_put(&members->roster, &range, writer);
    if (!writer->failed && writer->size - begin > limit_bytes) {
        writer->size = begin;
        range.since = to; /* nothing; but whoever is not there yet learns that he is not */
        rayi_table_put(&members->roster, &range, writer);
    }
    if (!writer->failed)
        members->published = to;
}

uint64_t rayi_members_journal(rayi_members *members, bool all, rayi_writer *writer)
{
    rayi_table_range range = range_of(members, members->writing, members->roster.version);
    range.fixed_only = !all;
    range.whole = all;
    uint64_t to = rayi_table_put(&members->roster, &range, writer);
    if (writer->failed)
        return 0;
    members->writing = to;
    members->save_asked = false;
    return to;
}

void rayi_members_saved(rayi_members *members, uint64_t version)
{
    members->saved = RAYI_MAX(members->saved, version);
}

/* ---- what earlier heads saved ---- */

static int inherit(rayi_members *members, rayi_seat *m)
{
    m->heard_ms = members->awake_ms;
    m->lease_ms = members->inherit_ms;
    m->inherited = true;
    count_by(members, m, 1);
    rayi_seat_leave(members, m);
    return rayi_seat_is_live(m) ? rayi_seat_enter(members, m) : 0;
}

int rayi_members_restore(rayi_members *members, const void *bytes, size_t size)
{
    uint64_t first = members->options.generation << RAYI_GENERATION_BITS;
    rayi_table table;
    int r = rayi_table_open(bytes, size, &table);
    if (r)
        return r;
    if (memcmp(&table.cluster, &members->options.cluster, sizeof table.cluster) || table.to >= first ||
        table.to < members->roster.floor)
        return RAY_ERR_ARGUMENT;
    r = rayi_table_apply(&members->roster, &table);
    members->live = members->dead = 0;
    for (rayi_row *row = members->roster.rows; row && !r; row = row->hh.next)
        r = inherit(members, rayi_seat_of(row));
    members->roster.version = first;
    members->roster.floor = members->published = table.to;
    return r;
}

const rayi_roster *rayi_members_roster(const rayi_members *members)
{
    return &members->roster;
}
