/* A cluster in one process: a head and nodes, each with the brain that ships, in a network and on a clock that are
 * played. Everything follows from a seed.
 *
 * Links keep order and lose nothing while they last; what they carry may be late. Hints are lost, doubled and
 * disordered. Each node's clock shows what it likes, and is up to 5 % fast or slow. A node that is cut off reaches
 * nobody; its links live on and deliver when that is over. What the head saves takes a moment, and a crash loses what
 * was under way. */
#ifndef TEST_CLUSTER_H
#define TEST_CLUSTER_H

#include "nodes.h"

enum { MOST_NODES = 1001, HEAD = 0 }; /* node 0 is the head's own */

typedef struct bytes { /* counted: a hint goes to everybody */
    uint32_t refs;
    size_t size;
    char data[];
} bytes;

typedef struct node {
    rayi_membership *m; /* NULL: no such process now */
    uint32_t boot;      /* its process */
    int64_t clock_ms;   /* what its clock showed when the play began, */
    int64_t clock_rate; /* and how fast it is, in a hundred */
    int64_t cut_until_us, stopped_until_us;
    uint64_t link;                  /* its side; 0: none */
    uint64_t head_link;             /* the head's side */
    uint64_t head_knows;            /* the incarnation that is at that link */
    uint64_t watched;               /* the incarnation whose process the head watches */
    int64_t to_head_us, to_node_us; /* when the last message arrives there: order */
    int64_t tick_us;
    bool same_host, active, ended;
    /* The account of its lease, from what was delivered. */
    uint64_t life, incarnation;
    int64_t life_began_ms, lease_until_ms; /* its clock */
    /* Figures. */
    uint64_t second_bytes, most_bytes; /* most_bytes: in any second */
    int64_t second;
    uint64_t pulls;
} node;

typedef struct held { /* an answer that waits for the disk */
    struct held *prev, *next;
    uint64_t after, link;
    uint32_t to;
    bytes *what;
} held;

typedef struct event event;

typedef struct cluster {
    uint64_t seed, sequence, links;
    int64_t now_us;
    event *events;
    size_t event_count, event_room;
    uint32_t count; /* nodes, 0 included */
    node nodes[MOST_NODES];
    /* The head. */
    rayi_members *members; /* NULL: down */
    uint64_t generation, head_incarnation;
    uint32_t head_boot;
    int64_t head_stopped_until_us, head_tick_us, cpu_us, wire_us, disk_us;
    held *held;
    bytes *journal[4096]; /* on disk */
    uint32_t journal_count;
    bool dead[1 << 16], told_dead[1 << 16]; /* by incarnation: declared; and saved, and told */
    /* What the network does. */
    uint32_t hint_loss, link_late; /* in a hundred */
    int64_t hint_late_us;
    /* Figures. */
    uint64_t head_bytes_out, deaths, false_deaths, saves, ends;
} cluster;

void cluster_init(cluster *c, uint64_t seed, uint32_t count); /* a head, and `count` nodes that are down */
void cluster_fini(cluster *c);
void cluster_run(cluster *c, int64_t ms); /* what is wrong fails the test */

void cluster_start(cluster *c, uint32_t number);
void cluster_crash(cluster *c, uint32_t number);
void cluster_cut(cluster *c, uint32_t number, int64_t ms);
void cluster_stop(cluster *c, uint32_t number, int64_t ms); /* as SIGSTOP does */
void cluster_break_link(cluster *c, uint32_t number);
void cluster_load(cluster *c, uint32_t number, uint32_t load);
void cluster_head_crash(cluster *c);
void cluster_head_start(cluster *c);
void cluster_head_stop(cluster *c, int64_t ms);

/* All nodes that run belong to it, and have the table that the head has. */
bool cluster_agrees(cluster *c);
uint32_t cluster_members(const cluster *c); /* how many may act, linked to this head */

#endif
