/* The record is a few rings of slots. A writer takes the next position of its ring with one addition, and the slot of
 * that position by its stamp: 2 * position + 1 while it writes, 2 * position + 2 when it is done. Who finds the
 * slot taken, since a writer was overtaken by a whole round of the ring, gives its event up; it counts as lost when the
 * round after it is over, as all do.
 *
 * All words of a slot are atomic. They are stored with release behind the first stamp and loaded with acquire before
 * the stamp is looked at again: who has loaded one word of a newer event sees its stamp, too. */
#include "executor/events.h"

#include <stdatomic.h>
#include <string.h>

enum {
    RINGS_MOST = 64,
    SLOTS_LEAST = 16,
    NAME_WORDS = (RAYI_EVENT_NAME_MAX + 1) / 8,
    POSITION_BITS = 48, /* the ring's number stands above them */
};
#define SLOTS_MOST    ((uint64_t)1 << 24)
#define POSITION_MASK (((uint64_t)1 << POSITION_BITS) - 1)

enum { STARTED, ENDED, NAME, NUMBER, ACTOR, WHERE, WHAT, OWN_NAME, WORDS = OWN_NAME + NAME_WORDS };

typedef struct slot {
    _Atomic(uint64_t) stamp; /* 0: never written */
    _Atomic(uint64_t) words[WORDS];
} slot;

typedef struct ring {
    _Alignas(64) _Atomic(uint64_t) next; /* how many were put */
    _Atomic(slot *) slots;
} ring;

struct rayi_events {
    uint32_t num_rings;
    uint64_t num_slots; /* of each; a power of two */
    void *block;        /* as the heap gave it */
    ring rings[];
};

static uint64_t power_of_two(uint64_t least)
{
    uint64_t power = 1;

    while (power < least)
        power *= 2;
    return power;
}

rayi_events *rayi_events_new(uint64_t count, uint32_t threads)
{
    uint32_t rings = (uint32_t)power_of_two(RAYI_MIN(threads, RINGS_MOST));
    void *block = rayi_zalloc(sizeof(rayi_events) + rings * sizeof(ring) + _Alignof(rayi_events));
    rayi_events *events;

    if (!block)
        return NULL;
    events = (rayi_events *)(((uintptr_t)block + _Alignof(rayi_events) - 1) & ~(uintptr_t)(_Alignof(rayi_events) - 1));
    events->num_rings = rings;
    events->num_slots = power_of_two(RAYI_MAX(RAYI_MIN(count, SLOTS_MOST) / rings, SLOTS_LEAST));
    events->block = block;
    return events;
}

void rayi_events_free(rayi_events *events)
{
    if (!events)
        return;
    for (uint32_t i = 0; i < events->num_rings; i++)
        rayi_free(atomic_load(&events->rings[i].slots));
    rayi_free(events->block);
}

/* ---- putting ---- */

/* NULL: no memory. */
static slot *make_slots(const rayi_events *events, ring *r)
{
    slot *made = rayi_zalloc(events->num_slots * sizeof *made), *there = NULL;

    if (!made ||
        atomic_compare_exchange_strong_explicit(&r->slots, &there, made, memory_order_acq_rel, memory_order_acquire))
        return made;
    rayi_free(made);
    return there;
}

static void set(slot *s, unsigned word, uint64_t value)
{
    atomic_store_explicit(&s->words[word], value, memory_order_release);
}

static void set_own_name(slot *s, const char *name)
{
    uint64_t words[NAME_WORDS] = {0};

    memcpy(words, name, strnlen(name, RAYI_EVENT_NAME_MAX));
    for (unsigned i = 0; i < NAME_WORDS; i++)
        set(s, OWN_NAME + i, words[i]);
}

static void write_event(slot *s, const rayi_event *e)
{
    bool named = e->own_name[0];

    set(s, STARTED, (uint64_t)e->started_ns);
    set(s, ENDED, (uint64_t)e->ended_ns);
    set(s, NAME, (uint64_t)(uintptr_t)e->name);
    set(s, NUMBER, e->number);
    set(s, ACTOR, e->actor);
    set(s, WHERE, (uint64_t)e->pid << 32 | e->thread);
    set(s, WHAT, (uint64_t)e->attempt << 32 | (uint64_t)named << 16 | (uint64_t)e->outcome << 8 | e->kind);
    if (named)
        set_own_name(s, e->own_name);
}

void rayi_events_put(rayi_events *events, uint32_t writer, const rayi_event *event)
{
    ring *r = &events->rings[writer & (events->num_rings - 1)];
    uint64_t position = atomic_fetch_add_explicit(&r->next, 1, memory_order_relaxed), stamp;
    slot *slots = atomic_load_explicit(&r->slots, memory_order_acquire), *s;

    if (__builtin_expect(!slots, 0) && !(slots = make_slots(events, r)))
        return;
    s = &slots[position & (events->num_slots - 1)];
    stamp = atomic_load_explicit(&s->stamp, memory_order_relaxed);
    if ((stamp & 1) || stamp > 2 * position ||
        !atomic_compare_exchange_strong_explicit(&s->stamp, &stamp, 2 * position + 1, memory_order_acq_rel,
                                                 memory_order_relaxed))
        return;
    write_event(s, event);
    atomic_store_explicit(&s->stamp, 2 * position + 2, memory_order_release);
}

/* ---- looking ---- */

static uint64_t get(const slot *s, unsigned word)
{
    return atomic_load_explicit(&s->words[word], memory_order_acquire);
}

static void read_event(const slot *s, rayi_event *out)
{
    uint64_t where = get(s, WHERE), what = get(s, WHAT), name[NAME_WORDS] = {0};

    *out = (rayi_event){.started_ns = (int64_t)get(s, STARTED),
                        .ended_ns = (int64_t)get(s, ENDED),
                        .name = (const char *)(uintptr_t)get(s, NAME),
                        .number = get(s, NUMBER),
                        .actor = get(s, ACTOR),
                        .attempt = (uint32_t)(what >> 32),
                        .pid = (uint32_t)(where >> 32),
                        .thread = (uint32_t)where,
                        .kind = (uint8_t)what,
                        .outcome = (uint8_t)(what >> 8)};
    for (unsigned i = 0; (what >> 16 & 1) && i < NAME_WORDS; i++)
        name[i] = get(s, OWN_NAME + i);
    memcpy(out->own_name, name, sizeof name);
}

/* False: it is not there any more, or not yet. */
static bool read_slot(const slot *s, uint64_t position, rayi_event *out)
{
    if (atomic_load_explicit(&s->stamp, memory_order_acquire) != 2 * position + 2)
        return false;
    read_event(s, out);
    return atomic_load_explicit(&s->stamp, memory_order_relaxed) == 2 * position + 2;
}

/* The first of a ring from there on; false: there is none. */
static bool find(const rayi_events *events, ring *r, uint64_t *position, rayi_event *out)
{
    uint64_t end = atomic_load_explicit(&r->next, memory_order_acquire);
    const slot *slots = atomic_load_explicit(&r->slots, memory_order_acquire);

    if (end > events->num_slots)
        *position = RAYI_MAX(*position, end - events->num_slots);
    for (; slots && *position < end; ++*position)
        if (read_slot(&slots[*position & (events->num_slots - 1)], *position, out)) {
            ++*position;
            return true;
        }
    return false;
}

bool rayi_events_next(rayi_events *events, uint64_t *position, rayi_event *out)
{
    uint64_t nth = *position >> POSITION_BITS, within = *position & POSITION_MASK;

    for (; nth < events->num_rings; nth++, within = 0) {
        bool found = find(events, &events->rings[nth], &within, out);
        *position = nth << POSITION_BITS | within;
        if (found)
            return true;
    }
    return false;
}

rayi_events_counts rayi_events_count(rayi_events *events)
{
    rayi_events_counts counts = {0};

    for (uint32_t i = 0; i < events->num_rings; i++) {
        uint64_t put = atomic_load_explicit(&events->rings[i].next, memory_order_relaxed);
        uint64_t kept = atomic_load(&events->rings[i].slots) ? events->num_slots : 0;
        counts.put += put;
        counts.lost += put > kept ? put - kept : 0;
    }
    return counts;
}
