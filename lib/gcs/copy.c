/* A node's copy of the table. */
#include "gcs/node.h"

/* A row of the copy, and what was told of it. */
struct rayi_seen {
    rayi_row row;
    struct rayi_seen *prev, *next; /* in news, while is_news */
    bool is_news, is_gone;         /* gone: only in news any more */
    uint64_t told_incarnation;
    rayi_node_state told_state;
};

static void row_changed(rayi_roster *roster, rayi_row *row)
{
    rayi_membership *m = (rayi_membership *)roster;
    rayi_seen *s = (rayi_seen *)row;
    if (!s->is_news)
        DL_APPEND(m->news, s);
    s->is_news = true;
}

static void row_dropped(rayi_roster *roster, rayi_row *row)
{
    ((rayi_seen *)row)->is_gone = true;
    row_changed(roster, row);
}

void rayi_copy_init(rayi_membership *m, const rayi_memory *memory)
{
    rayi_roster_init(&m->roster, memory, sizeof(rayi_seen));
    m->roster.changed = row_changed;
    m->roster.dropped = row_dropped;
}

void rayi_copy_fini(rayi_membership *m)
{
    for (rayi_seen *s; (s = m->news);) {
        DL_DELETE(m->news, s);
        if (s->is_gone)
            rayi_roster_free_row(&m->roster, &s->row);
    }
    rayi_roster_fini(&m->roster);
}

static void plan_pull(rayi_membership *m, int64_t in_ms)
{
    int64_t at_ms = m->now_ms + in_ms + rayi_membership_spread(m);
    m->pull_ms = RAYI_MIN(m->pull_ms, at_ms);
}

/* If something is missing and nothing is done about it yet. */
static void plan_rest(rayi_membership *m, int64_t in_ms)
{
    if (m->accepted && m->pull_ms == RAYI_NEVER && (m->need_whole || m->roster.version < m->announced))
        plan_pull(m, in_ms);
}

void rayi_copy_announce(rayi_membership *m, uint64_t version, int64_t in_ms)
{
    m->announced = RAYI_MAX(m->announced, version);
    plan_rest(m, in_ms);
}

/* The table says what the head will say, too: this life has ended. */
static void look_at_self(rayi_membership *m)
{
    const rayi_member *self = rayi_roster_get(&m->roster, &m->self->id);
    if (!self || !m->incarnation || !rayi_membership_wants_in(m))
        return;
    if (self->incarnation > m->incarnation || (self->incarnation == m->incarnation && self->state == RAYI_NODE_DEAD))
        rayi_membership_fence(m);
}

static int apply(rayi_membership *m, rayi_table *table)
{
    int r = rayi_table_apply(&m->roster, table);
    m->pull_ms = RAYI_NEVER;
    if (r) {
        m->need_whole |= r == RAY_ERR_ARGUMENT;
        plan_pull(m, RAYI_PULL_AGAIN_MS);
        return r;
    }
    m->need_whole &= !table->whole;
    plan_rest(m, 0);
    look_at_self(m);
    return 0;
}

/* Is it of our head? */
static bool is_ours(const rayi_membership *m, const rayi_table *table)
{
    return m->accepted && table->generation == m->generation &&
           memcmp(&table->cluster, &m->cluster, sizeof m->cluster) == 0;
}

int rayi_copy_take(rayi_membership *m, const void *bytes, size_t size)
{
    rayi_table table;
    int r = rayi_table_open(bytes, size, &table);
    if (r || !is_ours(m, &table))
        return r;
    m->pull_ms = RAYI_NEVER;
    bool repairs = m->need_whole && table.whole && table.to >= m->roster.version;
    if (repairs || (table.to > m->roster.version && table.from <= m->roster.version))
        return apply(m, &table);
    if (table.to == m->roster.version) /* there is no more to be had */
        m->announced = m->roster.version;
    plan_rest(m, 100); /* else it answers another question */
    return 0;
}

int rayi_membership_hint(rayi_membership *m, const void *bytes, size_t size, int64_t now_ms)
{
    rayi_table table;
    int r = rayi_table_open(bytes, size, &table);
    rayi_membership_pass(m, now_ms);
    if (r || !is_ours(m, &table) || table.to <= m->roster.version)
        return r;
    if (table.from <= m->roster.version && !table.whole && !m->need_whole) {
        int64_t pull_ms = m->pull_ms;
        r = apply(m, &table);
        if (!r && m->pull_ms != RAYI_NEVER) /* what was planned, for what is still missing */
            m->pull_ms = pull_ms;
        return r;
    }
    rayi_copy_announce(m, table.to, 0);
    return 0;
}

void rayi_copy_take_death(rayi_membership *m, const rayi_member_death *death)
{
    rayi_row *row = rayi_roster_find(&m->roster, &death->id);
    if (memcmp(&death->id, &m->self->id, sizeof death->id) == 0 && m->incarnation &&
        death->incarnation >= m->incarnation && rayi_membership_wants_in(m))
        rayi_membership_fence(m);
    if (!row || row->member->incarnation > death->incarnation || row->member->state == RAYI_NODE_DEAD)
        return;
    row->member->state = rayi_node_next(row->member->state, RAYI_NODE_ENDED);
    row->member->cause = death->cause;
    row_changed(&m->roster, row);
}

/* The next that was not told of this row. False: nothing. */
static bool tell_row(rayi_seen *s, rayi_membership_action *out)
{
    const rayi_member *member = s->row.member;
    bool another = s->told_incarnation != member->incarnation;
    *out = (rayi_membership_action){.what = RAYI_MEMBERSHIP_CHANGED, .id = s->row.id};
    if (s->told_incarnation && s->told_state != RAYI_NODE_DEAD && (another || s->is_gone)) {
        out->incarnation = s->told_incarnation;
        out->state = s->told_state = RAYI_NODE_DEAD;
        return true;
    }
    if (s->is_gone || (!another && s->told_state == member->state))
        return false;
    out->incarnation = s->told_incarnation = member->incarnation;
    out->state = s->told_state = member->state;
    out->cause = member->cause;
    return true;
}

bool rayi_copy_next(rayi_membership *m, rayi_membership_action *out)
{
    for (rayi_seen *s; (s = m->news);) {
        if (memcmp(&s->row.id, &m->self->id, sizeof s->row.id) && tell_row(s, out))
            return true;
        DL_DELETE(m->news, s);
        s->is_news = false;
        if (s->is_gone)
            rayi_roster_free_row(&m->roster, &s->row);
    }
    return false;
}
