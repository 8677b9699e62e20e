/* Who is in, as if a head had said so: which incarnation of a node there is, and which are dead. All learn of a death,
 * each at another time; a node that is declared dead and is not begins anew. */
#ifndef DEATHS_H
#define DEATHS_H

#include "sim.h"

typedef struct deaths {
    sim *s;
    void (*declare)(void *node_self, int with, uint64_t incarnation); /* a node hears of it */
    uint64_t known[SIM_NODES_MAX]; /* the latest incarnation of each, as everybody can learn */
    uint64_t dead[SIM_NODES_MAX];  /* the latest that is to be declared dead: who starts later learns it then */
} deaths;

void deaths_of_crash(deaths *d, int node, uint64_t incarnation);
void deaths_of_the_living(deaths *d); /* one that lives is declared dead; it learns so from the others, or late */

#endif
