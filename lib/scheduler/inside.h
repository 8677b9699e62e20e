/* What the files of scheduler share. Inside scheduler only.
 *
 *  request ── waits in ──▶ demand (shape, selector, group, bundle, priority: a first-in-first-out queue)
 *     └───── granted from ──▶ stock (of the node, or of one bundle of a group)
 *
 * Everything an action needs is allocated with the event that may lead to it, so that deciding never allocates. */
#ifndef RAYI_SCHEDULER_INSIDE_H
#define RAYI_SCHEDULER_INSIDE_H

#include "scheduler/scheduler.h"

enum { RAYI_CPU, RAYI_GPU, RAYI_FIRST_OTHER }; /* every node has these two kinds, be it 0 of them */

typedef struct rayi_demand rayi_demand;
typedef struct rayi_group rayi_group;

/* ---- shapes: resources in terms of the node's kinds; interned by text, counted ---- */

typedef struct rayi_shape_item {
    uint32_t kind;
    int64_t amount;
} rayi_shape_item;

typedef struct rayi_shape {
    UT_hash_handle hh; /* by text */
    uint64_t refs, serial;
    int64_t cpu, gpu;
    uint32_t gpu_places; /* how many GPUs it is spread over */
    bool warned;
    /* The first resource of which the node has less in total, or NULL. */
    const char *short_of;
    int64_t short_amount, short_total;
    char *text;
    uint32_t named_count;
    const rayi_resource *named; /* everything, as it came; not in sums */
    uint32_t count;             /* of items, CPU and GPU not among them */
    rayi_shape_item items[];
} rayi_shape;

int rayi_shape_get(rayi_scheduler *scheduler, const rayi_resources *resources, rayi_shape **out);
rayi_shape *rayi_shape_ref(rayi_shape *shape);
void rayi_shape_unref(rayi_scheduler *scheduler, rayi_shape *shape);
/* Is there, when nothing else runs in a bundle, enough for shape? */
bool rayi_shape_holds(const rayi_shape *bundle, const rayi_shape *shape);
/* What bundles need together; of nobody else, not interned: free with rayi_memory_free. */
int rayi_shape_sum(rayi_scheduler *scheduler, rayi_shape *const *shapes, uint32_t count, rayi_shape **out);

typedef struct rayi_choice { /* a selector, as far as this node is concerned; interned by text, counted */
    UT_hash_handle hh;
    uint64_t refs, serial;
    bool warned;
    const char *unmet; /* the term that this node does not meet, or NULL */
    char text[];
} rayi_choice;

int rayi_choice_get(rayi_scheduler *scheduler, const rayi_selector *selector, rayi_choice **out); /* of none: NULL */
void rayi_choice_unref(rayi_scheduler *scheduler, rayi_choice *choice);

/* ---- stocks: amounts by kind, and how much of each GPU is free ---- */

typedef struct rayi_stock {
    int64_t *available; /* of CPU it may be below 0 */
    int64_t *reserved;  /* during a decision: for the one that drains */
    int64_t *gpu_free, *gpu_reserved;
    bool draining;
} rayi_stock;

size_t rayi_stock_size(const rayi_scheduler *scheduler);                                /* bytes of the arrays */
void rayi_stock_init(const rayi_scheduler *scheduler, rayi_stock *stock, void *arrays); /* all 0 */
bool rayi_stock_fits(const rayi_scheduler *scheduler, const rayi_stock *stock, const rayi_shape *shape);
bool rayi_stock_fits_but_cpu(const rayi_scheduler *scheduler, const rayi_stock *stock, const rayi_shape *shape);
/* How many more of shape there is room for, CPU not considered, at most `most`. */
uint64_t rayi_stock_room(const rayi_scheduler *scheduler, const rayi_stock *stock, const rayi_shape *shape,
                         uint64_t most);
void rayi_stock_take(const rayi_scheduler *scheduler, rayi_stock *stock, const rayi_shape *shape, uint16_t *gpus);
void rayi_stock_give(const rayi_scheduler *scheduler, rayi_stock *stock, const rayi_shape *shape, const uint16_t *gpus);
/* Keeps what shape needs from everybody later in this decision; the CPU only with `cpu`. */
void rayi_stock_reserve(const rayi_scheduler *scheduler, rayi_stock *stock, const rayi_shape *shape, bool cpu);
void rayi_stock_unreserve(const rayi_scheduler *scheduler, rayi_stock *stock);
/* Something that lasts has got shape from the node's stock (sign 1), or given it back (-1). */
void rayi_stock_note_lasting(rayi_scheduler *scheduler, const rayi_shape *shape, int sign);
/* Would the node have shape if all tasks ended? */
bool rayi_stock_could_have(const rayi_scheduler *scheduler, const rayi_shape *shape);
/* Moves everything that `from` has left into `to`. */
void rayi_stock_merge(const rayi_scheduler *scheduler, rayi_stock *to, rayi_stock *from);

/* ---- requests ---- */

typedef enum rayi_request_state {
    RAYI_REQUEST_WAITING, /* in its demand */
    RAYI_REQUEST_OFFERED, /* granted, in the outbox */
    RAYI_REQUEST_REFUSED, /* in the outbox */
    RAYI_REQUEST_GRANTED,
    RAYI_REQUEST_BLOCKED, /* granted, its CPU given back */
    RAYI_REQUEST_GONE,
} rayi_request_state;

typedef enum rayi_request_event {
    RAYI_REQUEST_GRANT,
    RAYI_REQUEST_REFUSE,
    RAYI_REQUEST_FETCH,
    RAYI_REQUEST_REMOVE,
    RAYI_REQUEST_BLOCK,
    RAYI_REQUEST_RESUME,
    RAYI_REQUEST_FINISH,
} rayi_request_event;

rayi_request_state rayi_request_next(rayi_request_state state, rayi_request_event event);

/* There may be a million of these: 104 bytes. */
typedef struct rayi_request {
    uint64_t id;
    int64_t since_ms;
    struct rayi_request *prev, *next; /* in its demand, in the outbox, or among its group's granted ones */
    rayi_demand *demand;              /* NULL: refused when it came */
    UT_hash_handle hh;
    union {
        uint32_t bundle; /* granted from, from 1; 0: the node's stock */
        int32_t code;    /* refused when it came; its message is in tail */
    };
    uint8_t state;
    uint8_t shares : 1; /* its CPU counts on the requests' side of the sharing with the lane */
    uint8_t lost : 1;   /* its group is removed, which is in the outbox */
    uint8_t lasts : 1;
    uint16_t tail[]; /* the GPUs it holds */
} rayi_request;

typedef struct rayi_request_list {
    rayi_request *head, *tail;
} rayi_request_list;

void rayi_request_append(rayi_request_list *list, rayi_request *request);
void rayi_request_unlink(rayi_request_list *list, rayi_request *request);
rayi_request *rayi_request_find(const rayi_scheduler *scheduler, uint64_t id);
/* The stock a granted request holds from. */
rayi_stock *rayi_request_stock(rayi_scheduler *scheduler, const rayi_request *request);
/* Gives back what an offered or granted one holds. */
void rayi_request_give_back(rayi_scheduler *scheduler, rayi_request *request);
/* Out of the table, and freed; in no list any more. */
void rayi_request_free(rayi_scheduler *scheduler, rayi_request *request);

/* ---- candidates: whom a decision looks at, demands with waiting requests and groups that are pending ---- */

#define RAYI_NOT_A_CANDIDATE UINT32_MAX

typedef struct rayi_candidate {
    bool is_group;
    uint32_t index;   /* in scheduler->candidates */
    uint64_t turn;    /* when it was served last: who was not goes first */
    int64_t rank;     /* during a decision: effective priority */
    int64_t since_ms; /* during a decision: of its head */
} rayi_candidate;

void rayi_candidate_add(rayi_scheduler *scheduler, rayi_candidate *candidate); /* room was made before */
void rayi_candidate_drop(rayi_scheduler *scheduler, rayi_candidate *candidate);
int rayi_candidate_make_room(rayi_scheduler *scheduler, size_t count);
bool rayi_candidate_is_infeasible(const rayi_candidate *candidate);
bool *rayi_candidate_warned(rayi_candidate *candidate); /* of an infeasible one: was it said, of it or of its like? */
int64_t rayi_candidate_since(const rayi_candidate *candidate);
int32_t rayi_candidate_priority(const rayi_candidate *candidate);
/* Restores the order of a heap below `at`: rank, then since_ms, then turn; all three are set. */
void rayi_candidate_sink(rayi_candidate **heap, size_t count, size_t at);

typedef struct rayi_demand_key {
    rayi_shape *shape;
    rayi_choice *choice; /* NULL: any node */
    rayi_group *group;   /* NULL: none */
    uint32_t bundle;
    int32_t priority;
} rayi_demand_key;

/* The key in numbers: addresses differ from run to run, and a run shall replay to the last allocation. */
typedef struct rayi_demand_serial {
    uint64_t shape, choice, group; /* 0: none */
    uint32_t bundle;
    int32_t priority;
} rayi_demand_serial;

struct rayi_demand {
    rayi_candidate candidate; /* first */
    rayi_demand_key key;
    rayi_demand_serial serial;
    UT_hash_handle hh; /* by serial */
    uint64_t refs;     /* requests that wait in it or were granted from it */
    uint64_t waiting;
    rayi_request_list list;
};

/* The one of this key, made if need be. Takes over the counts of shape and choice, also when it fails. */
int rayi_demand_get(rayi_scheduler *scheduler, const rayi_demand_key *key, rayi_demand **out);
void rayi_demand_unref(rayi_scheduler *scheduler, rayi_demand *demand);
void rayi_demand_drop_if_unused(rayi_scheduler *scheduler, rayi_demand *demand);
void rayi_demand_push(rayi_scheduler *scheduler, rayi_demand *demand, rayi_request *request); /* in order of since_ms */
void rayi_demand_pull(rayi_scheduler *scheduler, rayi_request *request); /* it waits no more, but counts still */

/* ---- groups ---- */

typedef struct rayi_bundle {
    rayi_shape *shape;
    rayi_stock stock;
    uint16_t *gpus; /* that the bundle holds */
} rayi_bundle;

struct rayi_group {
    rayi_candidate candidate; /* first; while pending */
    UT_hash_handle hh;
    uint64_t id;
    char *name; /* or NULL */
    rayi_group_state state;
    rayi_strategy strategy;
    bool infeasible, warned, ready; /* ready: GROUP_READY to be fetched */
    int64_t since_ms;
    uint64_t refs; /* its demands, and 1 until it is removed */
    rayi_shape *sum;
    uint32_t *order; /* of bundles, when GPUs are placed */
    rayi_request_list granted;
    uint32_t bundle_count;
    rayi_bundle bundles[];
};

rayi_group *rayi_group_find(const rayi_scheduler *scheduler, uint64_t id);
void rayi_group_unref(rayi_scheduler *scheduler, rayi_group *group);
void rayi_group_destroy(rayi_scheduler *scheduler, rayi_group *group); /* whatever it holds */
/* Do the bundles' GPUs fit? Tried on a copy in scheduler->gpu_scratch. */
bool rayi_group_gpus_fit(rayi_scheduler *scheduler, const rayi_group *group, const rayi_stock *stock);
void rayi_group_create(rayi_scheduler *scheduler, rayi_group *group); /* takes what fits from the node */
/* How people call it: "name", or its number. */
void rayi_group_describe(const rayi_group *group, char *out, size_t out_size);

/* ---- the scheduler ---- */

typedef struct rayi_lane_trade {
    uint32_t held;      /* slots with the lane, those asked for included */
    uint32_t asked;     /* of them, asked for */
    uint32_t give, ask; /* to be fetched as LANE_GIVE and LANE_ASK; counted above already */
    bool waiting;
    bool lanes_turn; /* the last CPU under contention went to a request */
    int64_t shared;  /* CPU held by requests that got it while the lane waited */
} rayi_lane_trade;

struct rayi_scheduler {
    const rayi_memory *memory;
    char *node_id;
    char *labels_text;
    rayi_labels *labels;
    uint32_t kind_count;
    const char **kinds; /* names */
    int64_t *totals;
    int64_t *lasting; /* by kind: what actors and groups hold of the node's stock */
    uint32_t gpu_count;
    const char **gpu_ids;
    int64_t *gpu_scratch; /* 3 of each GPU */
    char *gpu_text;       /* of the last GRANT */
    rayi_stock stock;
    rayi_shape *shapes;
    rayi_choice *choices;
    rayi_demand *demands;
    rayi_group *groups;
    rayi_request *requests;
    rayi_request_list outbox;
    rayi_candidate **candidates, **heap; /* heap: during a decision */
    size_t candidate_count, candidate_room;
    rayi_lane_trade lane;
    uint64_t turn, serial;
    uint32_t ready_groups;
    int64_t now_ms, cpu_grant_ms; /* cpu_grant_ms: when a request last got a CPU of the node */
    bool dirty;                   /* something happened since the last decision */
    bool warn;                    /* somebody may have waited long enough for a warning */
    void *block;                  /* what holds the arrays */
    char message[RAYI_MESSAGE_MAX + 1];
};

/* Decides: moves requests to the outbox, creates groups, trades slots with the lane. */
void rayi_plan(rayi_scheduler *scheduler);

#endif
