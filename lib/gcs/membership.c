/* A node's side. What is to be done follows from the state when actions are fetched, compared with what was told, so
 * that a lease which came back before anybody knew that it was gone is nothing. */
#include <inttypes.h>
#include <stdio.h>

#include "gcs/node.h"

#define FIRST_DIAL_MS 50
#define SAY_MS        1000  /* the first time that it cannot reach the head */
#define SAY_MOST_MS   60000 /* between two times */
#define JOIN_AGAIN_MS 500
#define BUS_LATE_MS   300 /* in which what was announced may still come by bus */

enum { SEND_JOIN = 1u, SEND_LEAVE = 2u, SEND_RENEW = 4u, SEND_PULL = 8u, SEND_TELL = 16u, SEND_BEAT = 32u };

/* ---- states ---- */

rayi_membership_state rayi_membership_next_state(rayi_membership_state state, rayi_membership_event event)
{
    bool leased = state == RAYI_MEMBERSHIP_MEMBER || state == RAYI_MEMBERSHIP_PARKED;
    RAYI_ASSERT(state != RAYI_MEMBERSHIP_OUT);
    switch (event) {
    case RAYI_MEMBERSHIP_ON_ACCEPTED:
        RAYI_ASSERT(leased || state == RAYI_MEMBERSHIP_JOINING);
        return RAYI_MEMBERSHIP_MEMBER;
    case RAYI_MEMBERSHIP_ON_GRANTED:
        RAYI_ASSERT(leased);
        return RAYI_MEMBERSHIP_MEMBER;
    case RAYI_MEMBERSHIP_ON_EXPIRED:
        RAYI_ASSERT(state == RAYI_MEMBERSHIP_MEMBER);
        return RAYI_MEMBERSHIP_PARKED;
    case RAYI_MEMBERSHIP_ON_FENCED:
        RAYI_ASSERT(leased || state == RAYI_MEMBERSHIP_JOINING);
        return RAYI_MEMBERSHIP_FENCED;
    case RAYI_MEMBERSHIP_ON_DISCARDED:
        RAYI_ASSERT(state == RAYI_MEMBERSHIP_FENCED);
        return RAYI_MEMBERSHIP_JOINING;
    case RAYI_MEMBERSHIP_ON_END:
        return RAYI_MEMBERSHIP_OUT;
    }
    RAYI_ASSERT(!"a membership has six events");
}

static void go(rayi_membership *m, rayi_membership_event event)
{
    m->state = rayi_membership_next_state(m->state, event);
}

static uint64_t roll(rayi_membership *m)
{
    uint64_t x = (m->seed += UINT64_C(0x9E3779B97F4A7C15));
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

static int64_t roll_below(rayi_membership *m, int64_t most_ms)
{
    return most_ms > 0 ? (int64_t)(roll(m) % (uint64_t)most_ms) : 0;
}

/* Of the whole cluster's nodes, each at another moment; of a few, at once. */
int64_t rayi_membership_spread(rayi_membership *m)
{
    return roll_below(m, RAYI_MIN((int64_t)m->nodes, RAYI_SPREAD_MS));
}

static void begin_life(rayi_membership *m)
{
    m->life = roll(m) | 1;
    m->incarnation = 0;
    m->drained = m->told_drain = false;
    m->taken_ms = RAYI_NEVER;
}

/* ---- making and unmaking ---- */

int rayi_membership_new(const rayi_memory *memory, const rayi_membership_options *options, int64_t now_ms,
                        rayi_membership **out)
{
    rayi_member node = *options->node;
    node.life = 1;
    node.incarnation = 0;
    if (!rayi_member_is_sound(&node) || node.state != RAYI_NODE_ALIVE)
        return RAY_ERR_ARGUMENT;
    rayi_membership *m = rayi_memory_zalloc(memory, sizeof *m);
    if (!m)
        return RAY_ERR_NO_MEMORY;
    rayi_copy_init(m, memory);
    m->self = rayi_member_copy(memory, &node);
    m->head = rayi_memory_strdup(memory, options->head);
    if (!m->self || !m->head) {
        rayi_membership_free(m);
        return RAY_ERR_NO_MEMORY;
    }
    m->give_up_ms = options->give_up_ms;
    m->cluster = options->cluster;
    m->seed = options->seed;
    m->now_ms = m->lost_ms = m->dial_ms = now_ms;
    m->say_ms = now_ms + SAY_MS;
    m->say_span_ms = SAY_MS;
    m->join_ms = m->pull_ms = RAYI_NEVER;
    strcpy(m->reason, "it has not answered yet");
    begin_life(m);
    *out = m;
    return 0;
}

void rayi_membership_free(rayi_membership *m)
{
    if (!m)
        return;
    rayi_copy_fini(m);
    rayi_memory_free(m->roster.memory, m->self);
    rayi_memory_free(m->roster.memory, m->head);
    rayi_memory_free(m->roster.memory, m);
}

/* ---- the link ---- */

static void lose_link(rayi_membership *m, const char *reason)
{
    bool was_linked = m->linked;
    snprintf(m->reason, sizeof m->reason, "%s", reason);
    m->linked = m->dialling = m->accepted = false;
    m->sends = 0;
    m->join_ms = m->pull_ms = RAYI_NEVER;
    if (m->lost_ms == RAYI_NEVER) {
        m->lost_ms = m->now_ms;
        m->say_ms = m->now_ms + SAY_MS;
        m->say_span_ms = SAY_MS;
    }
    if (was_linked) {
        m->dial_ms = m->now_ms + rayi_membership_spread(m);
        return;
    }
    m->backoff_ms = RAYI_MIN(RAYI_MAX(2 * m->backoff_ms, FIRST_DIAL_MS), RAYI_DIAL_MOST_MS);
    m->dial_ms = m->now_ms + m->backoff_ms / 2 + roll_below(m, m->backoff_ms / 2);
}

/* A link to something that is not our head: not to be dialled again at once. */
static void hang_up(rayi_membership *m, const char *reason)
{
    m->hang_up = true;
    lose_link(m, reason);
    m->backoff_ms = RAYI_MIN(RAYI_MAX(2 * m->backoff_ms, FIRST_DIAL_MS), RAYI_DIAL_MOST_MS);
    m->dial_ms += m->backoff_ms;
}

static void finish(rayi_membership *m, rayi_membership_end end, rayi_refusal refusal)
{
    go(m, RAYI_MEMBERSHIP_ON_END);
    m->end = end;
    m->refusal = refusal;
    m->dial = false;
    m->sends &= SEND_LEAVE;
}

void rayi_membership_fence(rayi_membership *m)
{
    go(m, RAYI_MEMBERSHIP_ON_FENCED);
    m->told_fence = false;
    m->accepted = false;
    m->sends = 0;
    m->join_ms = m->pull_ms = RAYI_NEVER;
}

bool rayi_membership_wants_in(const rayi_membership *m)
{
    return m->state != RAYI_MEMBERSHIP_FENCED && m->state != RAYI_MEMBERSHIP_OUT;
}

/* ---- time ---- */

static void tick_link(rayi_membership *m)
{
    if (m->linked && m->now_ms - m->heard_ms >= RAYI_HANGUP_MS)
        hang_up(m, "it has been silent for 4 s");
    if (!m->linked && !m->dialling && m->now_ms >= m->dial_ms) {
        m->dial = m->dialling = true;
        m->dial_ms = RAYI_NEVER;
    }
    if (m->now_ms >= m->join_ms) {
        m->join_ms = RAYI_NEVER;
        m->sends |= SEND_JOIN;
    }
    if (m->give_up_ms && m->lost_ms != RAYI_NEVER && m->now_ms - m->lost_ms >= m->give_up_ms)
        finish(m, RAYI_MEMBERSHIP_GAVE_UP, RAYI_REFUSAL_NONE);
}

static void tick_sends(rayi_membership *m)
{
    if (m->now_ms >= m->renew_ms)
        m->sends |= SEND_RENEW;
    if (m->load_changed && m->now_ms >= m->tell_ms)
        m->sends |= SEND_TELL;
    if (m->now_ms >= m->beat_ms)
        m->sends |= SEND_BEAT;
    if (m->now_ms >= m->pull_ms)
        m->sends |= SEND_PULL;
}

void rayi_membership_pass(rayi_membership *m, int64_t now_ms)
{
    m->now_ms = RAYI_MAX(m->now_ms, now_ms);
    if (m->state == RAYI_MEMBERSHIP_MEMBER && m->now_ms >= m->lease_ms)
        go(m, RAYI_MEMBERSHIP_ON_EXPIRED);
    if (m->state != RAYI_MEMBERSHIP_OUT)
        tick_link(m);
    if (m->accepted && rayi_membership_wants_in(m))
        tick_sends(m);
}

void rayi_membership_tick(rayi_membership *m, int64_t now_ms)
{
    rayi_membership_pass(m, now_ms);
}

static int64_t sooner(int64_t a, int64_t b)
{
    return RAYI_MIN(a, b);
}

int64_t rayi_membership_next_deadline(const rayi_membership *m)
{
    int64_t next = RAYI_NEVER;
    if (m->state == RAYI_MEMBERSHIP_OUT)
        return RAYI_NEVER;
    if (m->state == RAYI_MEMBERSHIP_MEMBER)
        next = m->lease_ms;
    next = sooner(next, m->linked ? m->heard_ms + RAYI_HANGUP_MS : m->dial_ms);
    next = sooner(next, m->join_ms);
    if (m->lost_ms != RAYI_NEVER) {
        next = sooner(next, m->say_ms);
        next = m->give_up_ms ? sooner(next, m->lost_ms + m->give_up_ms) : next;
    }
    if (!m->accepted)
        return next;
    next = sooner(sooner(next, m->renew_ms), sooner(m->beat_ms, m->pull_ms));
    return m->load_changed ? sooner(next, m->tell_ms) : next;
}

/* ---- events ---- */

void rayi_membership_linked(rayi_membership *m, int64_t now_ms)
{
    rayi_membership_pass(m, now_ms);
    m->linked = true;
    m->dialling = m->dial = m->accepted = false;
    m->heard_ms = m->now_ms;
    m->sends = rayi_membership_wants_in(m) ? SEND_JOIN : 0;
    snprintf(m->reason, sizeof m->reason, "it does not answer");
    if (m->state == RAYI_MEMBERSHIP_OUT)
        m->hang_up = true;
}

void rayi_membership_unlinked(rayi_membership *m, const char *reason, int64_t now_ms)
{
    rayi_membership_pass(m, now_ms);
    if (m->linked || m->dialling)
        lose_link(m, reason);
}

void rayi_membership_heard(rayi_membership *m, int64_t now_ms)
{
    m->heard_ms = RAYI_MAX(m->heard_ms, now_ms); /* before the link is given up for silence */
    rayi_membership_pass(m, now_ms);
}

void rayi_membership_spoke(rayi_membership *m, int64_t now_ms)
{
    m->beat_ms = RAYI_MAX(m->beat_ms, now_ms + RAYI_BEAT_MS);
}

void rayi_membership_load(rayi_membership *m, uint32_t load, const int64_t *available, int64_t now_ms)
{
    rayi_membership_pass(m, now_ms);
    m->load_changed |= m->self->load != load;
    m->self->load = load;
    for (uint32_t i = 0; i < m->self->resource_count; i++) {
        m->load_changed |= m->self->resources[i].available != available[i];
        rayi_member_resources(m->self)[i].available = available[i];
    }
    rayi_membership_pass(m, now_ms);
}

void rayi_membership_discarded(rayi_membership *m, int64_t now_ms)
{
    rayi_membership_pass(m, now_ms);
    if (m->state != RAYI_MEMBERSHIP_FENCED)
        return; /* it is out meanwhile */
    go(m, RAYI_MEMBERSHIP_ON_DISCARDED);
    begin_life(m);
    m->sends = m->linked ? SEND_JOIN : 0;
}

void rayi_membership_leave(rayi_membership *m, int64_t now_ms)
{
    rayi_membership_pass(m, now_ms);
    if (m->state == RAYI_MEMBERSHIP_OUT)
        return;
    m->sends = m->accepted ? SEND_LEAVE : 0;
    finish(m, RAYI_MEMBERSHIP_LEFT, RAYI_REFUSAL_NONE);
}

/* ---- answers ---- */

static void hold_lease(rayi_membership *m, int64_t asked_ms, rayi_membership_event event)
{
    if (asked_ms > m->now_ms || asked_ms + RAYI_LEASE_MS <= m->now_ms)
        return; /* from nowhere, or it came too late */
    m->lease_ms = RAYI_MAX(m->lease_ms, asked_ms + RAYI_LEASE_MS);
    go(m, event);
}

static void take_acceptance(rayi_membership *m, const rayi_member_answer *answer)
{
    if (m->incarnation == 0) {
        m->incarnation = answer->incarnation;
        m->lease_ms = m->now_ms; /* what a former life held is no more */
    }
    if (answer->incarnation != m->incarnation)
        return;
    m->accepted = true;
    m->cluster = answer->cluster;
    m->generation = answer->generation;
    m->lost_ms = m->join_ms = m->taken_ms = RAYI_NEVER;
    m->backoff_ms = 0;
    m->load_changed = false;
    m->beat_ms = m->now_ms + RAYI_BEAT_MS;
    m->renew_ms = m->now_ms + RAYI_RENEW_MS / 2 + roll_below(m, RAYI_RENEW_MS / 2);
    if (m->state == RAYI_MEMBERSHIP_JOINING) /* it has an incarnation now; without a lease it is parked */
        go(m, RAYI_MEMBERSHIP_ON_ACCEPTED);
    hold_lease(m, answer->asked_ms, RAYI_MEMBERSHIP_ON_ACCEPTED);
    rayi_copy_announce(m, answer->version, 0);
}

static bool is_final(rayi_membership *m, rayi_refusal refusal)
{
    if (refusal != RAYI_REFUSAL_ALIVE && refusal != RAYI_REFUSAL_KEY)
        return true;
    if (m->taken_ms == RAYI_NEVER)
        m->taken_ms = m->now_ms;
    return m->now_ms - m->taken_ms >= RAYI_PATIENCE_MS;
}

static void take_refusal(rayi_membership *m, rayi_refusal refusal)
{
    if (refusal == RAYI_REFUSAL_OLD_HEAD) {
        hang_up(m, rayi_refusal_text(refusal));
    } else if (is_final(m, refusal)) {
        finish(m, RAYI_MEMBERSHIP_REFUSED, refusal);
    } else {
        snprintf(m->reason, sizeof m->reason, "%s", rayi_refusal_text(refusal));
        m->join_ms = m->now_ms + JOIN_AGAIN_MS + roll_below(m, JOIN_AGAIN_MS);
    }
}

static bool is_of_another_cluster(const rayi_membership *m, const rayi_member_answer *answer)
{
    static const rayi_cluster_id none;
    return memcmp(&m->cluster, &none, sizeof none) && memcmp(&m->cluster, &answer->cluster, sizeof none);
}

static void take_answer(rayi_membership *m, const rayi_member_answer *answer)
{
    bool to_join = answer->life == m->life && !m->accepted;
    if (answer->refusal == RAYI_REFUSAL_VERSION) { /* which names nothing else */
        if (!m->accepted)
            finish(m, RAYI_MEMBERSHIP_REFUSED, answer->refusal);
        return;
    }
    if (is_of_another_cluster(m, answer)) {
        if (to_join)
            finish(m, RAYI_MEMBERSHIP_REFUSED, RAYI_REFUSAL_CLUSTER);
        return;
    }
    if (answer->generation < m->generation) {
        hang_up(m, rayi_refusal_text(RAYI_REFUSAL_OLD_HEAD));
        return;
    }
    m->nodes = answer->nodes;
    if (answer->verdict == RAYI_VERDICT_ACCEPTED && to_join)
        take_acceptance(m, answer);
    if (answer->verdict == RAYI_VERDICT_REFUSED && to_join)
        take_refusal(m, answer->refusal);
    if (answer->verdict == RAYI_VERDICT_GRANTED && m->accepted && answer->incarnation == m->incarnation) {
        hold_lease(m, answer->asked_ms, RAYI_MEMBERSHIP_ON_GRANTED);
        rayi_copy_announce(m, answer->version, BUS_LATE_MS);
    }
    if (answer->verdict == RAYI_VERDICT_FENCED &&
        (answer->life == m->life || (m->incarnation && answer->incarnation == m->incarnation)))
        rayi_membership_fence(m);
    if (m->accepted)
        m->drained |= (answer->flags & RAYI_MEMBER_DRAINED) != 0;
}

/* Nobody will be there to come back to. */
static void take_end(rayi_membership *m, uint64_t generation)
{
    if (!m->accepted || generation != m->generation)
        return;
    m->hang_up = true;
    lose_link(m, "it has ended");
    finish(m, RAYI_MEMBERSHIP_ENDED, RAYI_REFUSAL_NONE);
}

int rayi_membership_take(rayi_membership *m, const rayi_member_message *message, int64_t now_ms)
{
    rayi_membership_heard(m, now_ms);
    if (!m->linked || !rayi_membership_wants_in(m))
        return 0;
    if (message->what == RAYI_MEMBER_ANSWER)
        take_answer(m, &message->as.answer);
    else if (message->what == RAYI_MEMBER_DEATH)
        rayi_copy_take_death(m, &message->as.death);
    else if (message->what == RAYI_MEMBER_END)
        take_end(m, message->as.generation);
    else if (message->what == RAYI_MEMBER_TABLE)
        return rayi_copy_take(m, message->as.table.bytes, message->as.table.size);
    else
        return RAY_ERR_ARGUMENT;
    return 0;
}

/* ---- words ---- */

static void say_span(char *out, size_t size, int64_t span_ms)
{
    if (span_ms < 1000)
        snprintf(out, size, "%" PRId64 " ms", span_ms);
    else if (span_ms < 120000)
        snprintf(out, size, "%" PRId64 " s", span_ms / 1000);
    else
        snprintf(out, size, "%" PRId64 " min", span_ms / 60000);
}

static const char *say_unreachable(rayi_membership *m)
{
    char span[32];
    say_span(span, sizeof span, m->now_ms - m->lost_ms);
    snprintf(m->words, sizeof m->words, "cannot %s head at %s: %s (tried for %s)",
             m->linked && m->taken_ms != RAYI_NEVER ? "join" : "reach", m->head, m->reason, span);
    return m->words;
}

const char *rayi_membership_why(rayi_membership *m, int64_t now_ms)
{
    m->now_ms = RAYI_MAX(m->now_ms, now_ms);
    return m->lost_ms == RAYI_NEVER || m->state == RAYI_MEMBERSHIP_OUT ? NULL : say_unreachable(m);
}

static const char *say_end(rayi_membership *m)
{
    switch (m->end) {
    case RAYI_MEMBERSHIP_REFUSED:
        snprintf(m->words, sizeof m->words, "the head at %s refused this node: %s", m->head,
                 rayi_refusal_text(m->refusal));
        return m->words;
    case RAYI_MEMBERSHIP_GAVE_UP:
        return say_unreachable(m);
    case RAYI_MEMBERSHIP_LEFT:
        return "this node left the cluster";
    case RAYI_MEMBERSHIP_ENDED:
        snprintf(m->words, sizeof m->words, "the head at %s has ended, and the cluster with it", m->head);
        return m->words;
    }
    RAYI_ASSERT(!"a membership ends in one of four ways");
}

/* ---- actions ---- */

static void write_tell(rayi_membership *m, rayi_member_tell *tell)
{
    tell->incarnation = m->incarnation;
    tell->load = m->self->load;
    tell->count = m->self->resource_count;
    for (uint32_t i = 0; i < tell->count; i++)
        tell->available[i] = m->self->resources[i].available;
    m->load_changed = false;
    m->tell_ms = m->now_ms + RAYI_TELL_MS;
}

static void write_join(rayi_membership *m, rayi_member_join *join)
{
    *join = (rayi_member_join){.protocol = RAYI_MEMBERS_PROTOCOL,
                               .cluster = m->cluster,
                               .generation = m->generation,
                               .asked_ms = m->now_ms,
                               .node = *m->self};
    join->node.life = m->life;
    join->node.incarnation = m->incarnation;
}

static void write_message(rayi_membership *m, unsigned which, rayi_member_message *message)
{
    memset(&message->as, 0, sizeof message->as);
    message->as.incarnation = m->incarnation;
    message->what = which == SEND_LEAVE ? RAYI_MEMBER_LEAVE : RAYI_MEMBER_BEAT;
    if (which == SEND_JOIN) {
        message->what = RAYI_MEMBER_JOIN;
        write_join(m, &message->as.join);
    } else if (which == SEND_RENEW) {
        message->what = RAYI_MEMBER_RENEW;
        message->as.renew = (rayi_member_renew){m->incarnation, m->now_ms};
        m->renew_ms = m->now_ms + RAYI_RENEW_MS;
    } else if (which == SEND_PULL) {
        message->what = RAYI_MEMBER_PULL;
        message->as.since = m->need_whole ? 0 : m->roster.version;
        m->pull_ms = m->now_ms + RAYI_PULL_AGAIN_MS;
    } else if (which == SEND_TELL) {
        message->what = RAYI_MEMBER_TELL;
        write_tell(m, &message->as.tell);
    }
    m->beat_ms = m->now_ms + RAYI_BEAT_MS;
    m->sends &= ~(which | SEND_BEAT);
}

static bool next_send(rayi_membership *m, rayi_membership_action *out)
{
    unsigned which = m->sends & (0u - m->sends); /* the lowest bit */
    if (!which || !m->linked)
        return false;
    write_message(m, which, &m->message);
    *out = (rayi_membership_action){.what = RAYI_MEMBERSHIP_SEND, .message = &m->message};
    return true;
}

/* What its state means and was not told: PARK first, END last. */
static bool next_state_action(rayi_membership *m, rayi_membership_action *out)
{
    bool active = m->state == RAYI_MEMBERSHIP_MEMBER;
    *out = (rayi_membership_action){.incarnation = m->incarnation};
    if (m->told_active && !active) {
        m->told_active = false;
        out->what = RAYI_MEMBERSHIP_PARK;
        return true;
    }
    if (m->state == RAYI_MEMBERSHIP_FENCED && !m->told_fence) {
        m->told_fence = true;
        out->what = RAYI_MEMBERSHIP_FENCE;
        return true;
    }
    if (active && (!m->told_active || m->told_incarnation != m->incarnation)) {
        out->what = m->told_incarnation == m->incarnation ? RAYI_MEMBERSHIP_UNPARK : RAYI_MEMBERSHIP_JOINED;
        m->told_active = true;
        m->told_incarnation = m->incarnation;
        return true;
    }
    if (active && m->drained && !m->told_drain) {
        m->told_drain = true;
        out->what = RAYI_MEMBERSHIP_DRAIN;
        return true;
    }
    return false;
}

static bool next_link_action(rayi_membership *m, rayi_membership_action *out)
{
    *out = (rayi_membership_action){.words = m->reason};
    if (m->hang_up) {
        m->hang_up = false;
        out->what = RAYI_MEMBERSHIP_HANG_UP;
        return true;
    }
    if (next_send(m, out))
        return true;
    if (m->state == RAYI_MEMBERSHIP_OUT) {
        *out = (rayi_membership_action){.what = RAYI_MEMBERSHIP_END, .end = m->end, .refusal = m->refusal};
        out->words = say_end(m);
        out->incarnation = m->incarnation;
        return m->told_end ? false : (m->told_end = true);
    }
    if (m->dial) {
        m->dial = false;
        *out = (rayi_membership_action){.what = RAYI_MEMBERSHIP_DIAL};
        return true;
    }
    if (m->lost_ms == RAYI_NEVER || m->now_ms < m->say_ms)
        return false;
    m->say_span_ms = RAYI_MIN(2 * m->say_span_ms, SAY_MOST_MS);
    m->say_ms = m->now_ms + m->say_span_ms;
    *out = (rayi_membership_action){.what = RAYI_MEMBERSHIP_UNREACHABLE, .words = say_unreachable(m)};
    return true;
}

bool rayi_membership_next(rayi_membership *m, int64_t now_ms, rayi_membership_action *out)
{
    rayi_membership_pass(m, now_ms);
    return next_state_action(m, out) || next_link_action(m, out) || rayi_copy_next(m, out);
}

/* ---- what there is ---- */

int64_t rayi_membership_lease_ms(const rayi_membership *m)
{
    bool had_one = m->state == RAYI_MEMBERSHIP_MEMBER || m->state == RAYI_MEMBERSHIP_PARKED;
    return had_one ? m->lease_ms : INT64_MAX;
}

bool rayi_membership_may_act(const rayi_membership *m, int64_t now_ms)
{
    return m->state == RAYI_MEMBERSHIP_MEMBER && now_ms < m->lease_ms;
}

rayi_membership_state rayi_membership_state_of(const rayi_membership *m)
{
    return m->state;
}

uint64_t rayi_membership_incarnation(const rayi_membership *m)
{
    return m->incarnation;
}

uint64_t rayi_membership_generation(const rayi_membership *m)
{
    return m->generation;
}

uint64_t rayi_membership_version(const rayi_membership *m)
{
    return m->roster.version;
}

const rayi_roster *rayi_membership_roster(const rayi_membership *m)
{
    return &m->roster;
}
