/* What the files of the head's table share. Inside gcs only. */
#ifndef RAYI_GCS_HEAD_H
#define RAYI_GCS_HEAD_H

#include "gcs/roster.h"

#define RAYI_GENERATION_BITS 40 /* versions of a head begin at its generation, shifted by these */

enum { RAYI_SEAT_DEATH = 1u, RAYI_SEAT_WATCH = 2u, RAYI_SEAT_PROBE = 4u }; /* what is to be done */

typedef struct rayi_seat {
    rayi_row row;
    UT_hash_handle hk;             /* by key, while not dead */
    struct rayi_seat *prev, *next; /* in the outbox, while todo is not 0 */
    unsigned todo;
    rayi_node_key key;
    bool keyed, closed, inherited; /* inherited: of an earlier head, and not seen by this one */
    uint32_t refusals;
    rayi_death doom;            /* what it will die of once deaths may be declared */
    int64_t heard_ms;           /* our clock */
    int64_t lease_ms, probe_ms; /* the caller's: it may hold a lease until; when to dial it, 0: not */
    uint64_t dead_incarnation;  /* for RAYI_SEAT_DEATH */
    uint64_t dead_version;
    rayi_death dead_cause;
} rayi_seat;

struct rayi_members {
    rayi_roster roster; /* first: the hooks get this */
    rayi_members_options options;
    rayi_seat *keys, *outbox, *self; /* self: the head's own */
    uint32_t live, dead;
    int64_t now_ms, awake_ms; /* the caller's clock, and ours */
    int64_t inherit_ms;       /* until then leases of an earlier head may hold */
    int64_t publish_ms;       /* not before */
    int64_t hurried_ms;       /* when all that was published will have taken its share of time */
    bool save_asked;
    uint64_t published; /* versions: what the bus has had, */
    uint64_t fixed;     /* of the last change that must be saved, */
    uint64_t writing;   /* what is written or on its way to the disk, */
    uint64_t saved;     /* what is there, */
    uint64_t held;      /* and what came before the first change that is not */
};

static inline rayi_seat *rayi_seat_of(rayi_row *row)
{
    return (rayi_seat *)row;
}
static inline rayi_member *rayi_seat_body(const rayi_seat *m)
{
    return m->row.member;
}
static inline bool rayi_seat_is_live(const rayi_seat *m)
{
    return m->row.member->state != RAYI_NODE_DEAD;
}

void rayi_members_wake(rayi_members *members, int64_t now_ms);
void rayi_seat_touch(rayi_members *members, rayi_seat *m, bool is_fixed);      /* it has changed */
bool rayi_seat_go(rayi_members *members, rayi_seat *m, rayi_node_event event); /* true: to another state */
void rayi_seat_die(rayi_members *members, rayi_seat *m, rayi_death cause);
void rayi_seat_lives(rayi_members *members, rayi_seat *m); /* something of it has come */
void rayi_seat_add_todo(rayi_members *members, rayi_seat *m, unsigned what);
int rayi_seat_enter(rayi_members *members, rayi_seat *m); /* the index of keys. NO_MEMORY */
void rayi_seat_leave(rayi_members *members, rayi_seat *m);
bool rayi_seat_set_load(rayi_member *body, uint32_t load, const rayi_member_resource *resources); /* true: another */

int rayi_members_serve_join(rayi_members *members, const rayi_member_join *join, rayi_members_reply *reply);
void rayi_members_grant(rayi_members *members, rayi_seat *m, rayi_verdict verdict, int64_t asked_ms,
                        rayi_members_reply *reply);

#endif
