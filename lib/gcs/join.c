/* Who may join, as what; and answers. */
#include "gcs/head.h"

/* ---- answers ---- */

static rayi_member_answer *begin_answer(const rayi_members *members, rayi_verdict verdict, rayi_members_reply *reply)
{
    *reply = (rayi_members_reply){.answers = true};
    reply->answer = (rayi_member_answer){.verdict = verdict,
                                         .cluster = members->options.cluster,
                                         .generation = members->options.generation,
                                         .version = rayi_members_version(members),
                                         .nodes = members->live};
    return &reply->answer;
}

void rayi_members_grant(rayi_members *members, rayi_seat *m, rayi_verdict verdict, int64_t asked_ms,
                        rayi_members_reply *reply)
{
    m->lease_ms = members->now_ms + RAYI_LEASE_MS;
    rayi_member_answer *answer = begin_answer(members, verdict, reply);
    answer->incarnation = rayi_seat_body(m)->incarnation;
    answer->asked_ms = asked_ms;
    answer->flags = rayi_seat_body(m)->flags;
    reply->after = m->row.fixed_version;
}

void rayi_members_fence(const rayi_members *members, const rayi_node_id *id, uint64_t incarnation,
                        rayi_members_reply *reply)
{
    const rayi_row *row = rayi_roster_find(&members->roster, id);
    begin_answer(members, RAYI_VERDICT_FENCED, reply)->incarnation = incarnation;
    reply->after = row ? row->fixed_version : 0;
}

/* ---- joining ---- */

static rayi_seat *holder_of(const rayi_members *members, const rayi_node_key *key)
{
    rayi_seat *m;
    HASH_FIND(hk, members->keys, key, sizeof *key, m);
    return m;
}

static rayi_refusal judge(const rayi_members *members, const rayi_member_join *join, const rayi_seat *m)
{
    static const rayi_cluster_id none;
    const rayi_member *node = &join->node;
    const rayi_seat *holder;
    if (join->protocol != RAYI_MEMBERS_PROTOCOL)
        return RAYI_REFUSAL_VERSION;
    if (memcmp(&join->cluster, &none, sizeof none) && memcmp(&join->cluster, &members->options.cluster, sizeof none))
        return RAYI_REFUSAL_CLUSTER;
    if (join->generation > members->options.generation)
        return RAYI_REFUSAL_OLD_HEAD;
    if (node->state != RAYI_NODE_ALIVE || !rayi_member_is_sound(node))
        return RAYI_REFUSAL_MALFORMED;
    if (m && memcmp(&rayi_seat_body(m)->key, &node->key, sizeof node->key))
        return RAYI_REFUSAL_ID;
    holder = holder_of(members, &node->key);
    if (holder && holder != m)
        return RAYI_REFUSAL_KEY;
    return RAYI_REFUSAL_NONE;
}

/* Has what this proposal speaks of ended? */
static bool has_ended(const rayi_member *node, const rayi_seat *m)
{
    if (!m)
        return node->incarnation != 0;
    if (rayi_seat_is_live(m))
        return node->incarnation && node->incarnation != rayi_seat_body(m)->incarnation;
    return node->incarnation || node->life == rayi_seat_body(m)->life;
}

static bool says_the_same(const rayi_member *a, const rayi_member *b)
{
    if (a->host != b->host || a->pid != b->pid || a->resource_count != b->resource_count)
        return false;
    if ((a->address ? !b->address || strcmp(a->address, b->address) : b->address != NULL))
        return false;
    for (uint32_t i = 0; i < a->resource_count; i++)
        if (a->resources[i].total != b->resources[i].total || strcmp(a->resources[i].name, b->resources[i].name))
            return false;
    return strcmp(a->labels, b->labels) == 0;
}

static void watch(rayi_members *members, rayi_seat *m)
{
    const rayi_member *body = rayi_seat_body(m);
    if (body->pid && body->host == members->options.host && !(body->flags & RAYI_MEMBER_HEAD))
        rayi_seat_add_todo(members, m, RAYI_SEAT_WATCH);
}

/* The same life, on another link or to another head. */
static int join_again(rayi_members *members, rayi_seat *m, const rayi_member *node)
{
    rayi_member *body = rayi_seat_body(m);
    bool is_fixed = !says_the_same(body, node);
    if (is_fixed) {
        rayi_member *made = rayi_member_copy(members->roster.memory, node);
        if (!made)
            return RAY_ERR_NO_MEMORY;
        made->incarnation = body->incarnation;
        made->state = body->state;
        made->flags = body->flags | node->flags;
        m->row.member = made;
        rayi_memory_free(members->roster.memory, body);
    } else {
        rayi_seat_set_load(body, node->load, node->resources);
    }
    if (m->inherited)
        watch(members, m);
    m->inherited = false;
    /* Even if nothing is new: nodes may know what an earlier head did not save. */
    rayi_seat_touch(members, m, is_fixed);
    return 0;
}

static int join_anew(rayi_members *members, rayi_seat *m, const rayi_member *node, rayi_seat **out)
{
    bool is_new = !m;
    rayi_member *body = rayi_member_copy(members->roster.memory, node), *old;
    if (!body)
        return RAY_ERR_NO_MEMORY;
    if (is_new)
        m = (rayi_seat *)rayi_roster_add(&members->roster, &node->id);
    if (!m)
        goto free_body;
    old = rayi_seat_body(m);
    m->row.member = body;
    if (rayi_seat_enter(members, m))
        goto undo_row;
    body->incarnation = ++members->roster.incarnations;
    if (is_new) {
        members->live++;
    } else {
        body->state = old->state;
        body->cause = RAYI_DEATH_NONE;
        rayi_seat_go(members, m, RAYI_NODE_REBORN);
        rayi_memory_free(members->roster.memory, old);
    }
    m->refusals = 0;
    m->inherited = false;
    m->probe_ms = 0;
    m->doom = RAYI_DEATH_NONE;
    watch(members, m);
    rayi_seat_touch(members, m, true);
    *out = m;
    return 0;

undo_row:
    m->row.member = old;
    if (is_new) {
        rayi_roster_detach(&members->roster, &m->row);
        rayi_roster_free_row(&members->roster, &m->row);
    }
free_body:
    rayi_memory_free(members->roster.memory, body);
    return RAY_ERR_NO_MEMORY;
}

static void refuse(const rayi_members *members, const rayi_member_join *join, rayi_refusal refusal,
                   rayi_members_reply *reply)
{
    rayi_member_answer *answer = begin_answer(members, RAYI_VERDICT_REFUSED, reply);
    answer->refusal = refusal;
    answer->life = join->node.life;
    answer->asked_ms = join->asked_ms;
}

/* Another life of a node that is not dead: its process may have ended without anybody having noticed. */
static void doubt(rayi_members *members, rayi_seat *m)
{
    if (rayi_seat_body(m)->address)
        rayi_seat_add_todo(members, m, RAYI_SEAT_PROBE);
}

int rayi_members_serve_join(rayi_members *members, const rayi_member_join *join, rayi_members_reply *reply)
{
    const rayi_member *node = &join->node;
    rayi_seat *m = rayi_seat_of(rayi_roster_find(&members->roster, &node->id));
    rayi_refusal refusal = node->flags & RAYI_MEMBER_HEAD ? RAYI_REFUSAL_MALFORMED : judge(members, join, m);
    int r = 0;
    if (refusal == RAYI_REFUSAL_NONE && has_ended(node, m)) {
        rayi_members_fence(members, &node->id, node->incarnation, reply);
        reply->answer.life = node->life;
        return 0;
    }
    if (refusal == RAYI_REFUSAL_NONE && m && rayi_seat_is_live(m) && node->life != rayi_seat_body(m)->life) {
        doubt(members, m);
        refusal = RAYI_REFUSAL_ALIVE;
    }
    if (refusal == RAYI_REFUSAL_NONE && !(m && rayi_seat_is_live(m)) && members->live >= members->options.most)
        refusal = RAYI_REFUSAL_FULL;
    if (refusal != RAYI_REFUSAL_NONE) {
        refuse(members, join, refusal, reply);
        return 0;
    }
    r = m && rayi_seat_is_live(m) ? join_again(members, m, node) : join_anew(members, m, node, &m);
    if (r)
        return r;
    m->closed = false;
    rayi_seat_lives(members, m);
    rayi_members_grant(members, m, RAYI_VERDICT_ACCEPTED, join->asked_ms, reply);
    reply->answer.life = node->life;
    return 0;
}

int rayi_members_lead(rayi_members *members, const rayi_member *node, int64_t now_ms, uint64_t *incarnation)
{
    rayi_seat *m;
    int r;
    rayi_members_wake(members, now_ms);
    for (rayi_row *row = members->roster.rows; row; row = row->hh.next)
        if (rayi_seat_is_live(rayi_seat_of(row)) && row->member->flags & RAYI_MEMBER_HEAD)
            rayi_seat_die(members, rayi_seat_of(row), RAYI_DEATH_REPLACED);
    m = rayi_seat_of(rayi_roster_find(&members->roster, &node->id));
    RAYI_ASSERT(!m || !rayi_seat_is_live(m)); /* its id and key are its own */
    rayi_member head = *node;
    head.flags |= RAYI_MEMBER_HEAD;
    head.state = RAYI_NODE_ALIVE;
    head.cause = RAYI_DEATH_NONE;
    r = join_anew(members, m, &head, &m);
    if (r)
        return r;
    members->self = m;
    *incarnation = rayi_seat_body(m)->incarnation;
    return 0;
}
