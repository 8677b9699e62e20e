/* What the files of a node's side share. Inside gcs only. */
#ifndef RAYI_GCS_NODE_H
#define RAYI_GCS_NODE_H

#include "gcs/membership.h"
#include "gcs/roster.h"

#define RAYI_NEVER         INT64_MAX
#define RAYI_REASON_MAX    256
#define RAYI_PULL_AGAIN_MS 2000 /* when it is not answered */

typedef struct rayi_seen rayi_seen;

struct rayi_membership {
    rayi_roster roster; /* first: the hooks get this */
    rayi_member *self;
    char *head;
    int64_t give_up_ms;
    uint64_t seed;

    rayi_membership_state state;
    rayi_cluster_id cluster;
    uint64_t generation, life, incarnation;
    int64_t now_ms, lease_ms;

    bool told_active, told_fence, told_end, drained, told_drain;
    uint64_t told_incarnation;
    rayi_membership_end end;
    rayi_refusal refusal;

    bool linked, dialling, hang_up, dial, accepted; /* accepted: on this link */
    unsigned sends;
    uint32_t nodes; /* in the cluster, as far as known */
    int64_t heard_ms, lost_ms, say_ms, say_span_ms, dial_ms, backoff_ms;
    int64_t join_ms, renew_ms, beat_ms, tell_ms, pull_ms, taken_ms;
    bool load_changed, need_whole;
    uint64_t announced; /* the highest version that was heard of */

    rayi_seen *news;
    rayi_member_message message;
    char reason[RAYI_REASON_MAX], words[RAYI_REASON_MAX + 400];
};

/* ---- membership.c ---- */

void rayi_membership_pass(rayi_membership *m, int64_t now_ms);
void rayi_membership_fence(rayi_membership *m);
bool rayi_membership_wants_in(const rayi_membership *m);
int64_t rayi_membership_spread(rayi_membership *m); /* a span of its own, of the whole cluster's nodes */

/* ---- copy.c ---- */

void rayi_copy_init(rayi_membership *m, const rayi_memory *memory);
void rayi_copy_fini(rayi_membership *m);
void rayi_copy_announce(rayi_membership *m, uint64_t version, int64_t in_ms); /* there is such a version */
int rayi_copy_take(rayi_membership *m, const void *bytes, size_t size);       /* an answer to a pull */
void rayi_copy_take_death(rayi_membership *m, const rayi_member_death *death);
bool rayi_copy_next(rayi_membership *m, rayi_membership_action *out);

#endif
