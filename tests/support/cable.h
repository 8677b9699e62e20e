/* Two hosts with a cable between them: network namespaces and a veth pair, for who is root. Both have a loopback of
 * their own. Calls that return words return NULL when all is well, else why this cannot be had here. One at a time. */
#ifndef CABLE_H
#define CABLE_H

#define CABLE_NEAR "10.99.0.1"
#define CABLE_FAR  "10.99.0.2"

typedef struct cable {
    int near, far; /* the namespaces, as descriptors */
} cable;

const char *cable_make_sides(cable *c); /* without the cable. The calling thread is on the near side afterwards */
const char *cable_lay(cable *c);        /* with it, and the addresses above */
void cable_remove(cable *c);

/* 0, or -1 with errno. */
int cable_enter(int side); /* the calling thread, and what it starts */
int cable_pull(void);      /* from the near side; what has to go over waits */
int cable_plug_in(void);

#endif
