#include "cluster.h"

#include "events.h"

/* What the head sees of a node's process. */
static void push_sight(cluster *c, event_kind kind, uint32_t number, uint64_t incarnation, int64_t in_us)
{
    push(c, (event){
                .at_us = c->now_us + in_us, .kind = kind, .node = number, .boot = c->head_boot, .number = incarnation});
}

static bytes *bytes_of(const rayi_writer *writer)
{
    bytes *made = malloc(sizeof *made + writer->size);
    made->refs = 1;
    made->size = writer->size;
    memcpy(made->data, writer->data, writer->size);
    return made;
}

static void bytes_unref(bytes *b)
{
    if (b && --b->refs == 0)
        free(b);
}

static int64_t now_ms(const cluster *c)
{
    return c->now_us / 1000;
}

static int64_t clock_of(const cluster *c, const node *n)
{
    return n->clock_ms + c->now_us * n->clock_rate / 100000;
}

/* When its clock shows that. */
static int64_t moment_us(const node *n, int64_t clock_ms)
{
    return ((clock_ms - n->clock_ms) * 100000 + n->clock_rate - 1) / n->clock_rate;
}

static int64_t between(cluster *c, int64_t low, int64_t high)
{
    return low + (int64_t)(rolled(&c->seed) % (uint64_t)(high - low + 1));
}

static bool happens(cluster *c, uint32_t percent)
{
    return roll(&c->seed, 100) < percent;
}

/* ---- the network ---- */

static bool is_cut(const cluster *c, const node *n)
{
    return c->now_us < n->cut_until_us;
}

/* When a message that is sent now arrives: after those before it. */
static int64_t arrival(cluster *c, int64_t *last_us)
{
    int64_t at = c->now_us + between(c, 100, 1000);
    if (happens(c, c->link_late))
        at += between(c, 200000, 600000);
    return *last_us = RAYI_MAX(at, *last_us);
}

static void send_to_head(cluster *c, uint32_t number, bytes *what)
{
    node *n = &c->nodes[number];
    push(c, (event){.at_us = arrival(c, &n->to_head_us),
                    .kind = TO_HEAD,
                    .node = number,
                    .boot = c->head_boot,
                    .link = n->link,
                    .what = what});
}

/* The head's wire takes a gigabit a second. */
static void send_to_node(cluster *c, uint32_t number, uint64_t link, bytes *what)
{
    node *n = &c->nodes[number];
    c->wire_us = RAYI_MAX(c->wire_us, c->now_us) + (int64_t)what->size * 8 / 1000;
    n->to_node_us = RAYI_MAX(n->to_node_us, c->wire_us);
    c->head_bytes_out += what->size;
    push(c, (event){.at_us = arrival(c, &n->to_node_us),
                    .kind = TO_NODE,
                    .node = number,
                    .boot = n->boot,
                    .link = link,
                    .what = what});
}

static void send_hint(cluster *c, uint32_t number, bytes *what)
{
    event e = {.kind = HINT, .node = number, .boot = c->nodes[number].boot, .what = what};
    c->wire_us = RAYI_MAX(c->wire_us, c->now_us) + (int64_t)what->size * 8 / 1000;
    c->head_bytes_out += what->size;
    for (int times = happens(c, c->hint_loss) ? 0 : happens(c, c->hint_loss / 4) ? 2 : 1; times > 0; times--) {
        e.at_us = RAYI_MAX(c->wire_us, c->now_us) + between(c, 100, RAYI_MAX(1000, c->hint_late_us));
        what->refs++;
        push(c, e);
    }
}

/* Closed by one side, or both: they see it after what was sent before. */
static void close_link(cluster *c, uint32_t number, bool node_sees, bool head_sees)
{
    node *n = &c->nodes[number];
    if (node_sees && n->link)
        push(c, (event){.at_us = arrival(c, &n->to_node_us),
                        .kind = NODE_LINK_CLOSED,
                        .node = number,
                        .boot = n->boot,
                        .link = n->link});
    if (head_sees && n->link)
        push(c, (event){.at_us = arrival(c, &n->to_head_us),
                        .kind = HEAD_LINK_CLOSED,
                        .node = number,
                        .boot = c->head_boot,
                        .link = n->link});
}

/* ---- a node ---- */

static void dial(cluster *c, uint32_t number)
{
    event e = {.kind = LINKED, .at_us = c->now_us + between(c, 300, 3000), .node = number};
    e.boot = c->nodes[number].boot;
    e.number = c->head_boot;
    push(c, e);
}

static void note_sent(cluster *c, node *n, const rayi_member_message *message)
{
    if (message->what == RAYI_MEMBER_PULL)
        n->pulls++;
    if (message->what != RAYI_MEMBER_JOIN || n->life == message->as.join.node.life)
        return;
    n->life = message->as.join.node.life;
    n->life_began_ms = clock_of(c, n);
    n->incarnation = 0;
    n->lease_until_ms = 0;
}

static void node_send(cluster *c, uint32_t number, const rayi_member_message *message)
{
    rayi_writer writer;
    note_sent(c, &c->nodes[number], message);
    if (!c->nodes[number].link)
        return;
    rayi_writer_init(&writer);
    rayi_member_message_put(&writer, message);
    send_to_head(c, number, bytes_of(&writer));
    rayi_writer_fini(&writer);
}

static void node_act(cluster *c, uint32_t number, const rayi_membership_action *a)
{
    node *n = &c->nodes[number];
    switch (a->what) {
    case RAYI_MEMBERSHIP_PARK:
        n->active = false;
        return;
    case RAYI_MEMBERSHIP_FENCE:
        cr_assert_not(n->active);
        push(c,
             (event){.at_us = c->now_us + between(c, 100, 30000), .kind = DISCARDED, .node = number, .boot = n->boot});
        return;
    case RAYI_MEMBERSHIP_SEND:
        node_send(c, number, a->message);
        return;
    case RAYI_MEMBERSHIP_HANG_UP:
        close_link(c, number, false, true);
        n->link = 0;
        return;
    case RAYI_MEMBERSHIP_END:
        n->ended = true;
        return;
    case RAYI_MEMBERSHIP_JOINED:
    case RAYI_MEMBERSHIP_UNPARK:
        n->active = true;
        return;
    case RAYI_MEMBERSHIP_DIAL:
        dial(c, number);
        return;
    case RAYI_MEMBERSHIP_CHANGED: /* the end of an incarnation is told after it was declared, and never taken back */
        cr_assert(a->state != RAYI_NODE_DEAD || c->dead[a->incarnation]);
        return;
    case RAYI_MEMBERSHIP_DRAIN:
    case RAYI_MEMBERSHIP_UNREACHABLE:
        return;
    }
}

/* It acts only with a lease that it was given, as far as the account knows. */
static void check_node(cluster *c, const node *n)
{
    if (n->active || rayi_membership_may_act(n->m, clock_of(c, n)))
        cr_assert_lt(clock_of(c, n), n->lease_until_ms);
}

static void node_settle(cluster *c, uint32_t number)
{
    node *n = &c->nodes[number];
    rayi_membership_action a;
    while (n->m && rayi_membership_next(n->m, clock_of(c, n), &a))
        node_act(c, number, &a);
    if (!n->m)
        return;
    check_node(c, n);
    if (n->ended) {
        c->ends++;
        cluster_crash(c, number);
        return;
    }
    int64_t next = rayi_membership_next_deadline(n->m);
    if (next == INT64_MAX)
        return;
    next = RAYI_MAX(moment_us(n, next), c->now_us + 1000);
    if (n->tick_us > c->now_us && n->tick_us <= next)
        return;
    n->tick_us = next;
    push(c, (event){.at_us = next, .kind = NODE_TICK, .node = number, .boot = n->boot});
}

static void count_bytes(cluster *c, node *n, size_t size)
{
    int64_t second = c->now_us / 1000000;
    if (second != n->second)
        n->second_bytes = 0;
    n->second = second;
    n->second_bytes += size;
    n->most_bytes = RAYI_MAX(n->most_bytes, n->second_bytes);
}

/* What a lease that was granted is worth, by the account. */
static void note_answer(cluster *c, node *n, const rayi_member_answer *a)
{
    if (a->verdict == RAYI_VERDICT_ACCEPTED && a->life == n->life)
        n->incarnation = a->incarnation;
    else if (a->verdict != RAYI_VERDICT_GRANTED || a->incarnation != n->incarnation || !n->incarnation)
        return;
    cr_assert(a->asked_ms <= clock_of(c, n) && a->asked_ms >= n->life_began_ms);
    n->lease_until_ms = RAYI_MAX(n->lease_until_ms, a->asked_ms + RAYI_LEASE_MS);
}

static void at_node(cluster *c, const event *e)
{
    node *n = &c->nodes[e->node];
    static rayi_member_message message;
    cr_assert_eq(rayi_member_message_take(e->what->data, e->what->size, &message), 0);
    count_bytes(c, n, e->what->size);
    if (message.what == RAYI_MEMBER_ANSWER)
        note_answer(c, n, &message.as.answer);
    cr_assert_eq(rayi_membership_take(n->m, &message, clock_of(c, n)), 0);
}

static void node_event(cluster *c, event *e)
{
    node *n = &c->nodes[e->node];
    if (!n->m || e->boot != n->boot)
        return;
    if (c->now_us < n->stopped_until_us) {
        e->at_us = n->stopped_until_us;
        push_again(c, *e);
        e->what = NULL;
        return;
    }
    if (is_cut(c, n) && (e->kind == TO_NODE || e->kind == NODE_LINK_CLOSED)) {
        e->at_us = n->to_node_us = RAYI_MAX(n->to_node_us, n->cut_until_us + 400000);
        push_again(c, *e);
        e->what = NULL;
        return;
    }
    if (e->kind == TO_NODE && e->link == n->link) {
        at_node(c, e);
    } else if (e->kind == HINT && !is_cut(c, n)) {
        count_bytes(c, n, e->what->size);
        cr_assert_eq(rayi_membership_hint(n->m, e->what->data, e->what->size, clock_of(c, n)), 0);
    } else if (e->kind == NODE_LINK_CLOSED && e->link == n->link) {
        n->link = 0;
        rayi_membership_unlinked(n->m, "closed by the other side", clock_of(c, n));
    } else if (e->kind == LINKED && is_cut(c, n)) {
        push(c, (event){.at_us = c->now_us + 1000000, .kind = DIAL_FAILED, .node = e->node, .boot = n->boot});
    } else if (e->kind == LINKED && (!c->members || e->number != c->head_boot)) {
        rayi_membership_unlinked(n->m, "connection refused", clock_of(c, n));
    } else if (e->kind == LINKED) {
        n->link = ++c->links;
        n->to_head_us = n->to_node_us = c->now_us;
        rayi_membership_linked(n->m, clock_of(c, n));
    } else if (e->kind == DIAL_FAILED) {
        rayi_membership_unlinked(n->m, "timed out", clock_of(c, n));
    } else if (e->kind == DISCARDED) {
        rayi_membership_discarded(n->m, clock_of(c, n));
    }
    node_settle(c, e->node);
}

/* ---- the head ---- */

static rayi_member described(const cluster *c, uint32_t number)
{
    rayi_member member = node_of(number);
    member.host = c->nodes[number].same_host ? 77 : 1000 + number;
    member.pid = 100 + number + 10000 * (int64_t)c->nodes[number].boot;
    return member;
}

/* Nobody is declared dead who may believe in a lease, nor without reason. */
static void note_death(cluster *c, uint32_t number, uint64_t incarnation, rayi_death cause)
{
    const node *n = &c->nodes[number];
    if (c->dead[incarnation])
        return;
    c->dead[incarnation] = true;
    c->deaths++;
    if (number == HEAD || !n->m || n->incarnation != incarnation)
        return;
    cr_assert(cause == RAYI_DEATH_SILENT, "node %u.%" PRIu64 " %s", number, incarnation, rayi_death_text(cause));
    cr_assert_leq(n->lease_until_ms, clock_of(c, n), "node %u.%" PRIu64, number, incarnation);
    c->false_deaths++;
}

static void see_member(void *arg, const rayi_member *member)
{
    cluster *c = arg;
    if (member->state == RAYI_NODE_DEAD)
        note_death(c, number_of(&member->id), member->incarnation, member->cause);
    else
        cr_assert_not(c->dead[member->incarnation], "the dead do not rise");
}

static void check_head(cluster *c)
{
    rayi_roster_each(rayi_members_roster(c->members), see_member, c);
}

static void save(cluster *c)
{
    rayi_writer writer;
    bool all = c->journal_count > 50;
    rayi_writer_init(&writer);
    uint64_t version = rayi_members_journal(c->members, all, &writer);
    cr_assert_neq(version, 0);
    int64_t done_us = c->now_us + between(c, 500, 8000);
    c->disk_us = RAYI_MAX(c->disk_us, done_us); /* in order */
    push(c, (event){.at_us = c->disk_us,
                    .kind = SAVED,
                    .boot = c->head_boot,
                    .number = version,
                    .link = all,
                    .what = bytes_of(&writer)});
    rayi_writer_fini(&writer);
}

static void publish(cluster *c)
{
    rayi_writer writer;
    rayi_writer_init(&writer);
    rayi_members_publish(c->members, 256 * 1024, &writer);
    bytes *what = bytes_of(&writer);
    for (uint32_t i = 1; i < c->count; i++)
        if (c->nodes[i].m)
            send_hint(c, i, what);
    bytes_unref(what);
    rayi_writer_fini(&writer);
}

static void tell_death(cluster *c, const rayi_members_action *a)
{
    rayi_member_message message = {.what = RAYI_MEMBER_DEATH, .as.death = {a->id, a->incarnation, a->cause}};
    rayi_writer writer;
    rayi_writer_init(&writer);
    rayi_member_message_put(&writer, &message);
    for (uint32_t i = 1; i < c->count; i++)
        if (c->nodes[i].head_link)
            send_to_node(c, i, c->nodes[i].head_link, bytes_of(&writer));
    rayi_writer_fini(&writer);
}

static void watch(cluster *c, const rayi_members_action *a)
{
    uint32_t number = number_of(&a->id);
    node *n = &c->nodes[number];
    n->watched = a->incarnation;
    if (!n->m || described(c, number).pid != a->pid)
        push_sight(c, PROCESS_GONE, number, a->incarnation, 1000);
}

static void head_act(cluster *c, const rayi_members_action *a)
{
    uint32_t number = number_of(&a->id);
    switch (a->what) {
    case RAYI_MEMBERS_SAVE:
        save(c);
        return;
    case RAYI_MEMBERS_DEATH:
        note_death(c, number, a->incarnation, a->cause);
        c->told_dead[a->incarnation] = true;
        tell_death(c, a);
        return;
    case RAYI_MEMBERS_WATCH:
        watch(c, a);
        return;
    case RAYI_MEMBERS_PROBE: /* a stopped one still has a socket that listens */
        if (!c->nodes[number].m && !is_cut(c, &c->nodes[number]))
            push_sight(c, PROBE_REFUSED, number, a->incarnation, between(c, 200, 2000));
        return;
    case RAYI_MEMBERS_PUBLISH:
        publish(c);
        return;
    }
}

static void head_settle(cluster *c)
{
    rayi_members_action a;
    if (!c->members)
        return;
    while (rayi_members_next(c->members, now_ms(c), &a))
        head_act(c, &a);
    int64_t next = RAYI_MAX(rayi_members_next_deadline(c->members) * 1000, c->now_us + 1000);
    if (c->head_tick_us > c->now_us && c->head_tick_us <= next)
        return;
    c->head_tick_us = next;
    push(c, (event){.at_us = next, .kind = HEAD_TICK, .boot = c->head_boot});
}

static uint64_t saved_version(const cluster *c)
{
    uint64_t version = 0;
    if (c->journal_count > 0) /* behind tag, cluster, generation and `from` */
        memcpy(&version, c->journal[c->journal_count - 1]->data + 1 + 16 + 8 + 8, sizeof version);
    return version;
}

/* Once it is saved. */
static void answer(cluster *c, uint32_t number, uint64_t link, const rayi_members_reply *reply)
{
    rayi_member_message message = {.what = RAYI_MEMBER_ANSWER, .as.answer = reply->answer};
    rayi_writer writer;
    rayi_writer_init(&writer);
    rayi_member_message_put(&writer, &message);
    held *h = malloc(sizeof *h);
    *h = (held){.after = reply->after, .link = link, .to = number, .what = bytes_of(&writer)};
    rayi_writer_fini(&writer);
    if (h->after > saved_version(c)) {
        DL_APPEND(c->held, h);
        return;
    }
    send_to_node(c, number, link, h->what);
    free(h);
}

static void send_held(cluster *c, uint64_t saved)
{
    held *h, *next;
    DL_FOREACH_SAFE(c->held, h, next)
    {
        if (h->after > saved)
            continue;
        DL_DELETE(c->held, h);
        send_to_node(c, h->to, h->link, h->what);
        free(h);
    }
}

static void at_head(cluster *c, const event *e)
{
    node *n = &c->nodes[e->node];
    static rayi_member_message message;
    rayi_members_reply reply;
    rayi_node_id id = id_of(e->node);
    rayi_writer writer;
    if (n->head_link != e->link && e->link < n->head_link)
        return; /* of a link that another has replaced */
    n->head_link = e->link;
    cr_assert_eq(rayi_member_message_take(e->what->data, e->what->size, &message), 0);
    if (message.what == RAYI_MEMBER_JOIN)
        message.as.join.node.key = key_of(e->node);
    cr_assert_eq(rayi_members_serve(c->members, &id, &message, now_ms(c), &reply), 0);
    if (reply.answers && reply.answer.verdict == RAYI_VERDICT_ACCEPTED)
        n->head_knows = reply.answer.incarnation;
    if (reply.answers)
        answer(c, e->node, e->link, &reply);
    if (!reply.tables)
        return;
    rayi_writer_init(&writer);
    rayi_members_since(c->members, reply.since, &writer);
    send_to_node(c, e->node, e->link, bytes_of(&writer));
    rayi_writer_fini(&writer);
}

static void was_saved(cluster *c, event *e)
{
    if (e->link) /* all of it: a new journal */
        while (c->journal_count > 0)
            bytes_unref(c->journal[--c->journal_count]);
    c->journal[c->journal_count++] = e->what;
    e->what = NULL;
    c->saves++;
    rayi_members_saved(c->members, e->number);
    send_held(c, e->number);
}

static void head_event(cluster *c, event *e)
{
    node *n = &c->nodes[e->node];
    rayi_node_id id = id_of(e->node);
    if (!c->members || e->boot != c->head_boot)
        return;
    int64_t later = RAYI_MAX(c->head_stopped_until_us, e->kind == TO_HEAD ? c->cpu_us : 0);
    if (is_cut(c, n) && (e->kind == TO_HEAD || e->kind == HEAD_LINK_CLOSED))
        later = n->to_head_us = RAYI_MAX(n->to_head_us, n->cut_until_us + 400000);
    if (later > c->now_us) {
        e->at_us = later;
        push_again(c, *e);
        e->what = NULL;
        return;
    }
    if (e->kind == TO_HEAD) {
        c->cpu_us = c->now_us + 10;
        at_head(c, e);
    } else if (e->kind == HEAD_LINK_CLOSED && e->link == n->head_link) {
        n->head_link = 0;
        rayi_members_link_closed(c->members, &id, n->head_knows, now_ms(c));
    } else if (e->kind == SAVED) {
        was_saved(c, e);
    } else if (e->kind == PROBE_REFUSED) {
        rayi_members_dial_refused(c->members, &id, e->number, now_ms(c));
    } else if (e->kind == PROCESS_GONE) {
        rayi_members_process_gone(c->members, &id, e->number, now_ms(c));
    } else if (e->kind == HEAD_TICK) {
        rayi_members_tick(c->members, now_ms(c));
        check_head(c);
    }
    head_settle(c);
}

/* ---- what happens to them ---- */

void cluster_start(cluster *c, uint32_t number)
{
    node *n = &c->nodes[number];
    if (n->m)
        return;
    n->boot++;
    rayi_member member = described(c, number);
    rayi_membership_options options = {.node = &member, .head = "head:1", .seed = rolled(&c->seed)};
    n->tick_us = 0;
    n->ended = n->active = false;
    n->incarnation = n->life = 0;
    n->stopped_until_us = 0;
    cr_assert_eq(rayi_membership_new(rayi_heap, &options, clock_of(c, n), &n->m), 0);
    node_settle(c, number);
}

void cluster_crash(cluster *c, uint32_t number)
{
    node *n = &c->nodes[number];
    if (!n->m)
        return;
    close_link(c, number, false, true);
    rayi_membership_free(n->m);
    n->m = NULL;
    n->link = 0;
    n->active = false;
    if (n->same_host && n->watched)
        push_sight(c, PROCESS_GONE, number, n->watched, 1000);
}

void cluster_cut(cluster *c, uint32_t number, int64_t ms)
{
    c->nodes[number].cut_until_us = RAYI_MAX(c->nodes[number].cut_until_us, c->now_us + ms * 1000);
}

void cluster_stop(cluster *c, uint32_t number, int64_t ms)
{
    if (c->nodes[number].m)
        c->nodes[number].stopped_until_us = c->now_us + ms * 1000;
}

void cluster_break_link(cluster *c, uint32_t number)
{
    close_link(c, number, true, true);
}

void cluster_load(cluster *c, uint32_t number, uint32_t load)
{
    node *n = &c->nodes[number];
    int64_t available[] = {40000 - (int64_t)load % 40000, 10000};
    if (!n->m || c->now_us < n->stopped_until_us)
        return;
    rayi_membership_load(n->m, load, available, clock_of(c, n));
    node_settle(c, number);
}

void cluster_head_crash(cluster *c)
{
    if (!c->members)
        return;
    check_head(c);
    rayi_members_free(c->members);
    c->members = NULL;
    for (held *h; (h = c->held);) {
        DL_DELETE(c->held, h);
        bytes_unref(h->what);
        free(h);
    }
    for (uint32_t i = 1; i < c->count; i++) {
        close_link(c, i, true, false);
        c->nodes[i].head_link = c->nodes[i].head_knows = c->nodes[i].watched = 0;
    }
}

/* What was declared but neither saved nor told has never been. */
static void forget_unsaved_deaths(cluster *c)
{
    memcpy(c->dead, c->told_dead, sizeof c->dead);
    check_head(c);
}

void cluster_head_start(cluster *c)
{
    rayi_member member = node_of(HEAD);
    rayi_members_options options = {.cluster = our_cluster, .generation = ++c->generation, .host = 77, .dead_most = 3};
    if (c->members)
        return;
    c->head_boot++;
    c->head_stopped_until_us = c->head_tick_us = c->cpu_us = 0;
    member.life = c->generation;
    cr_assert_eq(rayi_members_new(rayi_heap, &options, now_ms(c), &c->members), 0);
    for (uint32_t i = 0; i < c->journal_count; i++)
        cr_assert_eq(rayi_members_restore(c->members, c->journal[i]->data, c->journal[i]->size), 0);
    forget_unsaved_deaths(c);
    cr_assert_eq(rayi_members_lead(c->members, &member, now_ms(c), &c->head_incarnation), 0);
    head_settle(c);
}

void cluster_head_stop(cluster *c, int64_t ms)
{
    c->head_stopped_until_us = c->now_us + ms * 1000;
}

void cluster_init(cluster *c, uint64_t seed, uint32_t count)
{
    memset(c, 0, sizeof *c);
    c->seed = seed;
    c->count = count + 1;
    c->now_us = 1000000;
    c->hint_late_us = 1000;
    for (uint32_t i = 1; i <= count; i++) {
        c->nodes[i].same_host = i % 4 == 0;
        c->nodes[i].clock_ms = between(c, 0, INT64_C(10) * 86400 * 1000);
        c->nodes[i].clock_rate = between(c, 95, 105);
    }
    cluster_head_start(c);
}

void cluster_fini(cluster *c)
{
    cluster_head_crash(c);
    for (uint32_t i = 1; i < c->count; i++)
        rayi_membership_free(c->nodes[i].m);
    for (size_t i = 0; i < c->event_count; i++)
        bytes_unref(c->events[i].what);
    free(c->events);
    while (c->journal_count > 0)
        bytes_unref(c->journal[--c->journal_count]);
}

static bool is_for_head(event_kind kind)
{
    return kind == TO_HEAD || kind == HEAD_LINK_CLOSED || kind == SAVED || kind == PROBE_REFUSED ||
           kind == PROCESS_GONE || kind == HEAD_TICK;
}

void cluster_run(cluster *c, int64_t ms)
{
    int64_t end_us = c->now_us + ms * 1000;
    while (c->event_count > 0 && c->events[0].at_us <= end_us) {
        event e = pop(c);
        c->now_us = RAYI_MAX(c->now_us, e.at_us);
        if (is_for_head(e.kind))
            head_event(c, &e);
        else
            node_event(c, &e);
        bytes_unref(e.what);
    }
    c->now_us = end_us;
}

/* ---- what came of it ---- */

uint32_t cluster_members(const cluster *c)
{
    uint32_t members = 0;
    for (uint32_t i = 1; i < c->count; i++) {
        const node *n = &c->nodes[i];
        members += n->m && n->link && rayi_membership_generation(n->m) == c->generation &&
                   rayi_membership_may_act(n->m, clock_of(c, n));
    }
    return members;
}

static bool is_there(const cluster *c, const node *n)
{
    return !n->m || (rayi_membership_state_of(n->m) == RAYI_MEMBERSHIP_MEMBER &&
                     rayi_membership_version(n->m) == rayi_members_version(c->members));
}

bool cluster_agrees(cluster *c)
{
    rayi_text theirs, ours;
    bool agree = c->members != NULL;
    for (uint32_t i = 1; i < c->count && agree; i++)
        agree = is_there(c, &c->nodes[i]);
    if (!agree)
        return false;
    tell_roster(rayi_members_roster(c->members), &theirs);
    for (uint32_t i = 1; i < c->count && agree; i += c->count > 100 ? 17 : 1) { /* texts take long */
        if (!c->nodes[i].m)
            continue;
        tell_roster(rayi_membership_roster(c->nodes[i].m), &ours);
        agree = strcmp(ours.data, theirs.data) == 0;
        rayi_text_fini(&ours);
    }
    rayi_text_fini(&theirs);
    return agree;
}
