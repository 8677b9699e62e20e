/* The account: what was sent from one incarnation to another, in order, and what became of each. */
#include "talk.h"

#include <stdio.h>
#include <string.h>

typedef struct entry {
    uint64_t serial;
    uint32_t kind, size;
    bool given_back;
} entry;

typedef struct lane { /* one direction between two incarnations */
    struct lane *next;
    int from, to;
    uint64_t from_incarnation, to_incarnation;
    entry *entries;
    size_t count, room;
    size_t delivered; /* so many, from the first */
    size_t back_at;   /* what is given back comes from here on */
    uint64_t requests, requests_done, requests_delivered, replies_delivered;
    bool sender_says_dead, receiver_says_dead, settled;
} lane;

struct truth {
    sim *s;
    lane *lanes[4096]; /* by a hash of the four */
    uint64_t window, count;
};

truth *truth_new(sim *s)
{
    truth *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    t->s = s;
    return t;
}

void truth_free(truth *t)
{
    for (size_t i = 0; i < RAYI_COUNT_OF(t->lanes); i++) {
        for (lane *l = t->lanes[i], *next; l; l = next) {
            next = l->next;
            free(l->entries);
            free(l);
        }
    }
    free(t);
}

void truth_set_window(truth *t, uint64_t window)
{
    t->window = window;
}

uint64_t truth_count(const truth *t)
{
    return t->count;
}

static lane *lane_of(truth *t, int from, uint64_t from_incarnation, int to, uint64_t to_incarnation)
{
    uint64_t hash = (uint64_t)from + 67 * (uint64_t)to + 5003 * from_incarnation + 70001 * to_incarnation;
    lane **first = &t->lanes[hash % RAYI_COUNT_OF(t->lanes)];
    for (lane *l = *first; l; l = l->next)
        if (l->from == from && l->to == to && l->from_incarnation == from_incarnation &&
            l->to_incarnation == to_incarnation)
            return l;
    lane *l = calloc(1, sizeof *l);
    if (!l)
        abort();
    *l = (lane){
        .next = *first, .from = from, .to = to, .from_incarnation = from_incarnation, .to_incarnation = to_incarnation};
    *first = l;
    return l;
}

static const char *name_of(const lane *l)
{
    static char name[80];
    snprintf(name, sizeof name, "%d.%llu to %d.%llu", l->from, (unsigned long long)l->from_incarnation, l->to,
             (unsigned long long)l->to_incarnation);
    return name;
}

void truth_sent(truth *t, const payload *sent)
{
    lane *l = lane_of(t, (int)sent->from, sent->from_incarnation, (int)sent->to, sent->to_incarnation);
    if (l->sender_says_dead)
        sim_fail(t->s, "%s: something is sent to one declared dead", name_of(l));
    if (l->count == l->room) {
        l->room = l->room ? 2 * l->room : 64;
        l->entries = realloc(l->entries, l->room * sizeof *l->entries);
        if (!l->entries)
            abort();
    }
    l->entries[l->count++] = (entry){.serial = sent->serial, .kind = sent->kind, .size = sent->size};
    t->count++;
    l->requests += sent->kind == TALK_REQUEST;
    if (l->requests > l->requests_done + t->window)
        sim_fail(t->s, "%s: %llu requests are out, %llu are allowed", name_of(l),
                 (unsigned long long)(l->requests - l->requests_done), (unsigned long long)t->window);
}

static void check_bytes(truth *t, const lane *l, const entry *e, const void *bytes, size_t size)
{
    payload p;
    if (size != e->size || size < PAYLOAD_LEAST)
        sim_fail(t->s, "%s: %zu bytes of %u", name_of(l), size, e->size);
    memcpy(&p, bytes, size);
    bool same = p.serial == e->serial && p.kind == e->kind && p.size == e->size && (int)p.from == l->from &&
                (int)p.to == l->to && p.from_incarnation == l->from_incarnation &&
                p.to_incarnation == l->to_incarnation;
    for (size_t i = 0; same && i < size - PAYLOAD_LEAST; i++)
        same = p.filler[i] == (unsigned char)(p.serial * 31 + i);
    if (!same)
        sim_fail(t->s, "%s: message %llu came where %llu was next", name_of(l), (unsigned long long)p.serial,
                 (unsigned long long)e->serial);
}

void truth_delivered(truth *t, int node, uint64_t incarnation, int with, uint64_t with_incarnation,
                     rayi_frame_kind kind, const void *bytes, size_t size)
{
    lane *l = lane_of(t, with, with_incarnation, node, incarnation);
    if (l->receiver_says_dead)
        sim_fail(t->s, "%s: something comes from one declared dead", name_of(l));
    if (l->delivered == l->count)
        sim_fail(t->s, "%s: something comes that was not sent, or twice", name_of(l));
    entry *e = &l->entries[l->delivered++];
    check_bytes(t, l, e, bytes, size);
    if ((kind == RAYI_FRAME_REQUEST) != (e->kind == TALK_REQUEST))
        sim_fail(t->s, "%s: message %llu comes as another kind", name_of(l), (unsigned long long)e->serial);
    l->requests_delivered += e->kind == TALK_REQUEST;
    l->replies_delivered += e->kind == TALK_REPLY;
}

void truth_done(truth *t, int node, uint64_t incarnation, int with, uint64_t with_incarnation)
{
    lane *l = lane_of(t, with, with_incarnation, node, incarnation);
    l->requests_done++;
}

void truth_given_back(truth *t, int node, uint64_t incarnation, int with, uint64_t with_incarnation, uint64_t tag,
                      const void *bytes, size_t size)
{
    lane *l = lane_of(t, node, incarnation, with, with_incarnation);
    if (!l->sender_says_dead || l->settled)
        sim_fail(t->s, "%s: message %llu is given back at no time for it", name_of(l), (unsigned long long)tag);
    while (l->back_at < l->count && l->entries[l->back_at].serial != tag)
        l->back_at++;
    if (l->back_at == l->count)
        sim_fail(t->s, "%s: message %llu is given back twice, or out of order", name_of(l), (unsigned long long)tag);
    entry *e = &l->entries[l->back_at++];
    check_bytes(t, l, e, bytes, size);
    e->given_back = true;
}

void truth_dead(truth *t, int node, uint64_t incarnation, int with, uint64_t with_incarnation)
{
    lane_of(t, node, incarnation, with, with_incarnation)->sender_says_dead = true;
    lane_of(t, with, with_incarnation, node, incarnation)->receiver_says_dead = true;
}

/* Acknowledged is what was delivered; so all else is given back, and that is everything from some message on. */
void truth_settled(truth *t, int node, uint64_t incarnation, int with, uint64_t with_incarnation)
{
    lane *l = lane_of(t, node, incarnation, with, with_incarnation);
    bool back = false;
    for (size_t i = 0; i < l->count; i++) {
        const entry *e = &l->entries[i];
        if (!e->given_back && (back || i >= l->delivered))
            sim_fail(t->s, "%s: message %llu is not given back", name_of(l), (unsigned long long)e->serial);
        back |= e->given_back;
    }
    l->settled = true;
}

static bool lives(const truth *t, int node, uint64_t incarnation)
{
    return sim_self(t->s, node) && sim_incarnation(t->s, node) == incarnation;
}

void truth_check(truth *t)
{
    for (size_t i = 0; i < RAYI_COUNT_OF(t->lanes); i++) {
        for (lane *l = t->lanes[i]; l; l = l->next) {
            if (!lives(t, l->from, l->from_incarnation) || (l->sender_says_dead && !l->settled))
                continue;
            if (l->sender_says_dead || l->receiver_says_dead || !lives(t, l->to, l->to_incarnation))
                continue;
            if (l->delivered < l->count)
                sim_fail(t->s, "%s: %zu of %zu have not arrived", name_of(l), l->count - l->delivered, l->count);
            const lane *way_back = lane_of(t, l->to, l->to_incarnation, l->from, l->from_incarnation);
            if (way_back->replies_delivered != l->requests_delivered)
                sim_fail(t->s, "%s: %llu requests, %llu replies", name_of(l), (unsigned long long)l->requests_delivered,
                         (unsigned long long)way_back->replies_delivered);
        }
    }
}
