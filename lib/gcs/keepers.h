/* keepers: which nodes keep the bytes of published objects. Part of the door gcs/gcs.h, and the head's. A brain.
 *
 *   (object, node):  ASKED ──kept──▶ KEPT ──let go──▶ (nothing)
 *                      └──refused──▶ REFUSED ──after a while──▶ ASKED
 *
 * Each object is wanted on so many nodes at once, or on as many as there are. Whose node dies, or is drained, is made
 * up for by another one, now or when one comes. A node that is drained keeps what it has until others have it in its
 * stead; the last one that has it keeps it at any rate.
 *
 * Of the nodes that may be asked those that have the bytes already come first, then those of a host that has none yet,
 * then those that are not the head, with which the cluster ends anyway, then who keeps the fewest bytes. Who has
 * refused is asked again later, after growing pauses. */
#ifndef RAYI_GCS_KEEPERS_H
#define RAYI_GCS_KEEPERS_H

#include "gcs/members.h"

#define RAYI_KEEPERS_NEAR_MOST  8
#define RAYI_KEEPERS_AGAIN_MS   1000  /* after a refusal, twice as long after each one more, */
#define RAYI_KEEPERS_PATIENT_MS 60000 /* up to this */

typedef struct rayi_keepers rayi_keepers;

int rayi_keepers_new(const rayi_memory *memory, rayi_keepers **out); /* NO_MEMORY */
void rayi_keepers_free(rayi_keepers *keepers);

/* ---- events ---- */

typedef struct rayi_keeper {
    rayi_node_id id;
    uint64_t incarnation, host; /* host: as a member's */
    bool may_keep;              /* it may be asked to */
    bool leaves;                /* it is being drained */
    bool is_head;
} rayi_keeper;

/* It is there, or another one than before: another incarnation has nothing of what the one before it had. NO_MEMORY: it
 * is to be said again. */
int rayi_keepers_node(rayi_keepers *keepers, const rayi_keeper *node);
void rayi_keepers_gone(rayi_keepers *keepers, const rayi_node_id *id);

/* Wanted on so many nodes (at least 1). number: that no other object has or had. near: who has its bytes already; of
 * more than NEAR_MOST the first. NO_MEMORY */
int rayi_keepers_add(rayi_keepers *keepers, uint64_t number, uint32_t want, uint64_t size_bytes,
                     const rayi_node_id *near, uint32_t near_count);
void rayi_keepers_remove(rayi_keepers *keepers, uint64_t number); /* all let it go */
/* How a KEEP ended. Nothing happens if that node is gone meanwhile, or the object. */
void rayi_keepers_kept(rayi_keepers *keepers, uint64_t number, uint64_t ask);
void rayi_keepers_refused(rayi_keepers *keepers, uint64_t number, uint64_t ask, int64_t now_ms);
/* Of a LET_GO that has just been wanted: it could not be told. It is wanted again after a while. */
void rayi_keepers_unsaid(rayi_keepers *keepers, uint64_t number, const rayi_node_id *node, int64_t now_ms);
void rayi_keepers_tick(rayi_keepers *keepers, int64_t now_ms);
int64_t rayi_keepers_next_deadline(const rayi_keepers *keepers); /* INT64_MAX: none */

/* ---- actions ---- */

typedef enum rayi_keepers_do {
    RAYI_KEEPERS_KEEP,    /* tell that node to keep it: kept or refused follows, with `ask` */
    RAYI_KEEPERS_LET_GO,  /* tell that node to let it go; if it is still at it, too */
    RAYI_KEEPERS_SETTLED, /* `count` keep it, for the first time or another number than before, and none is asked */
} rayi_keepers_do;

typedef struct rayi_keepers_action {
    rayi_keepers_do what;
    uint64_t number, ask;
    rayi_node_id node;
    uint32_t count, want;
    bool is_first;
} rayi_keepers_action;

bool rayi_keepers_next(rayi_keepers *keepers, int64_t now_ms, rayi_keepers_action *out);

/* ---- what there is ---- */

/* Calls fn for each node that keeps it. How many, and how many are wanted. 0: there is no such object, or none does. */
uint32_t rayi_keepers_each(const rayi_keepers *keepers, uint64_t number,
                           void (*fn)(void *arg, const rayi_node_id *node), void *arg, uint32_t *want);

#endif
