/* copies: which nodes have the bytes of an object of ours, or are fetching them, and who is to fetch from whom. A
 * brain.
 *
 * Nodes that fetch at the same time form chains: each is sent to the one that came before it, which passes on what it
 * has while it still fetches. So the object's node sends it about once for each eight who want it at once, however many
 * they are, and nobody sends more than he gets, as long as there are others. Whoever has all of it is asked first; the
 * object's node last.
 *
 * Calls that return int fail with RAY_ERR_NO_MEMORY and then have changed nothing; the others cannot fail. */
#ifndef RAYI_CLUSTER_COPIES_H
#define RAYI_CLUSTER_COPIES_H

#include "gcs/gcs.h"

typedef struct rayi_object_place { /* of an object's bytes */
    rayi_node_id node;
    uint64_t number; /* of the object there */
    rayi_node_key key;
    char address[RAYI_MEMBER_NAME_MAX + 1]; /* where it serves */
    bool is_gone;                           /* that node has died */
    bool is_near;                           /* a process of this host */
} rayi_object_place;

#define RAYI_PLACES_MOST 8 /* in one message */

typedef struct rayi_copies rayi_copies;

int rayi_copies_new(const rayi_memory *memory, rayi_copies **out);
void rayi_copies_free(rayi_copies *copies); /* takes NULL */

/* This node begins to fetch, or begins anew. 1: from *from; 0: from the object's own node. */
int rayi_copies_begin(rayi_copies *copies, const rayi_object_place *who, rayi_object_place *from);
/* It has all of it now; nothing for one that has not begun. */
void rayi_copies_whole(rayi_copies *copies, const rayi_node_id *node);
/* It has given up, or dropped it, or is dead. Who fetches from it will begin anew. */
void rayi_copies_gone(rayi_copies *copies, const rayi_node_id *node);
/* Some of those that have all of it: others each time. How many, at most `most`. */
uint32_t rayi_copies_list(rayi_copies *copies, rayi_object_place *out, uint32_t most);

#endif
