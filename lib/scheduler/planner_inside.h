/* What the planner's files share. Inside scheduler only.
 *
 *  task ── waits in ──▶ queue (need, function, affinity, strategy, priority) ──▶ need (resources, labels)
 *     └── assigned to ──▶ peer (a node) ◀── one leaf each ── the need's tree of keys
 *
 * A *key* says how good a peer is for a need: its least one is the peer to take. A need keeps the keys of all peers in
 * a tree of minima. Whatever changes a peer is noted in the *log*, and a need reads the log when it has to decide: a
 * change costs each need that has waiting tasks O(log peers), and nothing else.
 *
 * Everything a decision needs is allocated with the event that may lead to it, so that deciding never allocates. */
#ifndef RAYI_SCHEDULER_PLANNER_INSIDE_H
#define RAYI_SCHEDULER_PLANNER_INSIDE_H

#include "scheduler/inside.h"

typedef struct rayi_planner_peer rayi_planner_peer;
typedef struct rayi_planner_queue rayi_planner_queue;

/* ---- columns: arrays with so many bytes for each slot of a peer; they grow together ---- */

typedef struct rayi_planner_column {
    struct rayi_planner_column *prev, *next;
    void *data, *spare; /* spare: while they grow */
    size_t each_bytes;
} rayi_planner_column;

int rayi_planner_column_init(rayi_planner *planner, rayi_planner_column *column, size_t each_bytes); /* all 0 */
void rayi_planner_column_fini(rayi_planner *planner, rayi_planner_column *column); /* also of one that is all 0 */
int rayi_planner_columns_grow(rayi_planner *planner);

/* ---- kinds: names of resources, interned, counted ---- */

typedef struct rayi_planner_kind {
    UT_hash_handle hh;
    uint64_t refs, serial;
    char name[];
} rayi_planner_kind;

int rayi_planner_kind_get(rayi_planner *planner, const char *name, rayi_planner_kind **out);
void rayi_planner_kind_unref(rayi_planner *planner, rayi_planner_kind *kind); /* NULL is fine */

/* ---- needs ---- */

typedef struct rayi_planner_amount {
    rayi_planner_kind *kind;
    int64_t amount;
} rayi_planner_amount;

/* Where a peer stands for a need, best first. Of equal stage the lower score, then the lower slot is taken. */
typedef enum rayi_planner_stage {
    RAYI_PLANNER_FITS,        /* there is room now */
    RAYI_PLANNER_AHEAD,       /* below the bound of all */
    RAYI_PLANNER_FIRST_AHEAD, /* below the bound of what ends quickly, and none of this need is there */
    RAYI_PLANNER_FAR_AHEAD,   /* below it, and some are */
    RAYI_PLANNER_IN_LINE,     /* beyond, and none of this need is there: for those who have waited long */
    RAYI_PLANNER_STAGES_END,  /* not at all */
} rayi_planner_stage;

#define RAYI_PLANNER_NOT_AT_ALL UINT64_MAX /* a key; so is stage << 61 | score << 32 | slot */

static inline rayi_planner_stage rayi_planner_key_stage(uint64_t key)
{
    return key == RAYI_PLANNER_NOT_AT_ALL ? RAYI_PLANNER_STAGES_END : (rayi_planner_stage)(key >> 61);
}

typedef struct rayi_planner_need { /* interned by text, counted */
    UT_hash_handle hh;
    uint64_t refs, serial;
    uint64_t read;    /* of the log */
    uint64_t version; /* how often a key became better */
    bool stale;       /* the tree is to be built anew */
    bool warned;
    bool limited;               /* in this round: somebody waits who may not go far ahead; nor may those after him */
    uint32_t queues;            /* with waiting tasks */
    uint32_t feasible;          /* peers that could ever run it */
    rayi_planner_column tree;   /* uint64_t [2 * room]: [1] is the least, slot s is at [room + s] */
    rayi_planner_column judged; /* uint64_t: version of the peer << 1 | could it ever */
    rayi_planner_column here;   /* uint32_t: tasks of ours on this peer */
    rayi_selector *selector;    /* NULL: any */
    char *text;                 /* resources, and "\n" with labels if there are any */
    const char *resources;      /* alone */
    uint32_t count;
    rayi_planner_amount amounts[]; /* in order of their kinds' serials */
} rayi_planner_need;

int rayi_planner_need_get(rayi_planner *planner, const rayi_resources *resources, const rayi_selector *selector,
                          rayi_planner_need **out);
void rayi_planner_need_unref(rayi_planner *planner, rayi_planner_need *need);
/* Reads the log. */
void rayi_planner_need_refresh(rayi_planner *planner, rayi_planner_need *need);
/* The key of one slot, computed now. */
uint64_t rayi_planner_need_key(rayi_planner *planner, rayi_planner_need *need, uint32_t slot);
static inline bool rayi_planner_need_could(const rayi_planner_need *need, uint32_t slot)
{
    return ((const uint64_t *)need->judged.data)[slot] & 1;
}

/* ---- functions: which peers are known to lack them, and how long they run; counted ---- */

typedef struct rayi_planner_function {
    UT_hash_handle hh;
    uint32_t number, lacking; /* lacking: how many peers do */
    uint32_t run_us;          /* how long one runs, on average; UINT32_MAX: none has ended yet */
    uint64_t refs;
    rayi_planner_column lacks; /* bool */
    char *name;                /* or NULL */
} rayi_planner_function;

int rayi_planner_function_get(rayi_planner *planner, uint32_t number, const char *name, rayi_planner_function **out);
void rayi_planner_function_unref(rayi_planner *planner, rayi_planner_function *function);
static inline bool rayi_planner_function_lacks(const rayi_planner_function *function, uint32_t slot)
{
    return ((const bool *)function->lacks.data)[slot];
}
void rayi_planner_function_note_run(rayi_planner_function *function, uint32_t run_us);
bool rayi_planner_function_is_quick(const rayi_planner_function *function);
void rayi_planner_function_mark(rayi_planner_function *function, uint32_t slot, bool lacks);

/* ---- peers: the nodes ---- */

typedef struct rayi_planner_account { /* of one resource */
    rayi_planner_kind *kind;
    uint32_t index; /* in the rows as they came; UINT32_MAX: it has none any more, but tasks of ours do */
    uint32_t used;  /* in 1/65536 */
    int64_t total;
    int64_t others;             /* used, but not by ours; below 0: lent by ours that are blocked */
    int64_t ours;               /* used by what we have there, were it to run all at once */
    int64_t ours_min, ours_max; /* since the last table */
} rayi_planner_account;

#define RAYI_PLANNER_RECENT_MS 4

struct rayi_planner_peer {
    UT_hash_handle hh; /* by id; while it is in the cluster */
    rayi_planner_id id;
    uint64_t tag;
    uint64_t version; /* changes with what it could ever run; no two peers have the same */
    uint32_t slot;
    unsigned flags;
    bool gone;                              /* only its tasks keep it */
    bool full;                              /* it returned something, and nothing has ended since */
    bool draining;                          /* it said so, and was not put since */
    uint32_t outstanding, outstanding_max;  /* max: since the last table */
    uint32_t foreign;                       /* tasks that wait there, but ours */
    uint32_t cpus;                          /* whole ones, at least 1 */
    uint32_t latency_us;                    /* of our tasks, from ASSIGN to finished, on average; UINT32_MAX: unknown */
    uint32_t ended[RAYI_PLANNER_RECENT_MS]; /* in each of the last ms */
    int64_t ended_ms;                       /* the last of them */
    uint32_t used;                          /* of its most used resource, in 1/65536 */
    uint32_t account_count;
    rayi_planner_account *accounts; /* in order of their kinds' serials */
    rayi_labels *labels;
};

rayi_planner_peer *rayi_planner_peer_find(const rayi_planner *planner, const rayi_planner_id *id);
static inline bool rayi_planner_peer_may_serve(const rayi_planner_peer *peer) /* now */
{
    return !peer->gone && !peer->draining && !(peer->flags & RAYI_PLANNER_SUSPECT);
}
rayi_planner_account *rayi_planner_peer_account(const rayi_planner_peer *peer, const rayi_planner_kind *kind);
bool rayi_planner_peer_could(const rayi_planner_peer *peer, const rayi_planner_need *need); /* ever */
bool rayi_planner_peer_fits(const rayi_planner_peer *peer, const rayi_planner_need *need);
/* How many would fit if we had nothing there, at most RAYI_PLANNER_AHEAD_MOST; below 0: no more can be counted. */
int32_t rayi_planner_peer_room(const rayi_planner_peer *peer, const rayi_planner_need *need);
/* Tasks of ours that ended in the last RAYI_PLANNER_RECENT_MS. */
uint32_t rayi_planner_peer_recent(rayi_planner_peer *peer, int64_t now_ms);
void rayi_planner_peer_take(rayi_planner *planner, rayi_planner_peer *peer, rayi_planner_need *need);
void rayi_planner_peer_give(rayi_planner *planner, rayi_planner_peer *peer, rayi_planner_need *need);
/* One of ours ended there, took_us after its ASSIGN. */
void rayi_planner_peer_note_end(rayi_planner_peer *peer, uint32_t took_us, int64_t now_ms);
/* Something was returned: what it needs is not there until the next table. */
void rayi_planner_peer_note_full(rayi_planner_peer *peer, const rayi_planner_need *need);
void rayi_planner_peer_free(rayi_planner *planner, rayi_planner_peer *peer);

/* ---- tasks ---- */

typedef enum rayi_planner_state {
    RAYI_PLANNER_IS_WAITING,
    RAYI_PLANNER_IS_REFUSED, /* to be fetched */
    RAYI_PLANNER_IS_ASSIGNED,
    RAYI_PLANNER_IS_GONE,
} rayi_planner_state;

typedef enum rayi_planner_event {
    RAYI_PLANNER_ON_ASSIGN,
    RAYI_PLANNER_ON_REFUSE,
    RAYI_PLANNER_ON_FETCH,
    RAYI_PLANNER_ON_REMOVE,
    RAYI_PLANNER_ON_FINISH,
    RAYI_PLANNER_ON_RETURN,
} rayi_planner_event;

rayi_planner_state rayi_planner_state_next(rayi_planner_state state, rayi_planner_event event);

typedef struct rayi_planner_task {
    UT_hash_handle hh;
    uint64_t id;
    int64_t since_ms, assigned_ms;
    struct rayi_planner_task *prev, *next; /* in a list of its queue, or of the refused */
    rayi_planner_queue *queue;
    rayi_planner_peer *peer; /* assigned to */
    uint16_t depth;          /* how many times what fits was there when it came */
    uint8_t state;
    bool old; /* in its queue's list of the old */
    uint8_t holder_count;
    rayi_planner_holder holders[]; /* with more than RAYI_PLANNER_LOCAL_BYTES, most first */
} rayi_planner_task;

/* ---- queues: tasks that nothing but their age and their arguments tells apart ---- */

typedef enum rayi_planner_tie {
    RAYI_PLANNER_FREE,
    RAYI_PLANNER_SOFT,
    RAYI_PLANNER_HARD,
} rayi_planner_tie;

typedef struct rayi_planner_queue_key { /* without padding */
    uint64_t need;                      /* its serial */
    uint32_t function;
    int32_t priority;
    rayi_planner_id home;
    uint32_t tie; /* to home: rayi_planner_tie */
    uint32_t spread;
} rayi_planner_queue_key;

struct rayi_planner_queue {
    rayi_candidate candidate; /* first */
    UT_hash_handle hh;
    rayi_planner_queue_key key;
    rayi_planner_need *need;
    rayi_planner_function *function;
    struct rayi_planner_queue *prev, *next; /* among the idle */
    uint64_t refs;                          /* tasks that wait, are refused or assigned */
    uint64_t waiting;
    rayi_planner_task *fresh, *old; /* in order of since_ms; old: returned, or of inherited priority */
    uint32_t turn;                  /* the slot to try first with SPREAD, or that it was tied to the last time */
    bool blocked;                   /* no place was found … */
    bool blocked_late;              /* … (not) having waited for RAYI_SCHEDULER_DRAIN_MS … */
    uint64_t blocked_version;       /* … at this version of the need, or key of the node it is tied to */
    int64_t starved_ms;             /* since when nobody could ever run it; INT64_MAX: somebody could */
    bool lacks_function;            /* starved, and only for want of the function */
    bool warned;
};

/* The one of this kind, made if need be; it is kept for a while when unused. */
int rayi_planner_queue_get(rayi_planner *planner, const rayi_planner_request *request, rayi_planner_queue **out);
/* The same of another priority. */
int rayi_planner_queue_raised(rayi_planner *planner, const rayi_planner_queue *queue, int32_t priority,
                              rayi_planner_queue **out);
void rayi_planner_queue_ref(rayi_planner *planner, rayi_planner_queue *queue);
void rayi_planner_queue_unref(rayi_planner *planner, rayi_planner_queue *queue);
void rayi_planner_queue_free(rayi_planner *planner, rayi_planner_queue *queue);
rayi_planner_task *rayi_planner_queue_head(const rayi_planner_queue *queue); /* who has waited longest */
void rayi_planner_queue_push(rayi_planner *planner, rayi_planner_queue *queue, rayi_planner_task *task, bool old);
void rayi_planner_queue_pull(rayi_planner *planner, rayi_planner_task *task);
bool rayi_planner_queue_is_late(const rayi_planner *planner, const rayi_planner_queue *queue);

/* ---- deciding ---- */

/* Where the head of queue goes now; NULL: nowhere. */
rayi_planner_peer *rayi_planner_choose(rayi_planner *planner, rayi_planner_queue *queue, rayi_planner_stage *stage);
bool rayi_planner_is_infeasible(const rayi_planner *planner, const rayi_planner_queue *queue);
/* Of such a one: is it the function alone that nobody has? */
bool rayi_planner_lacks_function(const rayi_planner *planner, const rayi_planner_queue *queue);

/* Into planner->message. */
void rayi_planner_say_gone(rayi_planner *planner, const rayi_planner_id *id);
void rayi_planner_say_missing(rayi_planner *planner, const rayi_planner_queue *queue);

/* ---- the planner ---- */

struct rayi_planner {
    const rayi_memory *memory;
    uint64_t seed, serial, version;
    int64_t now_ms;
    uint32_t room; /* slots; a power of two. Slot 0 is this node's */
    rayi_planner_column *columns;
    rayi_planner_column slots; /* rayi_planner_peer *, or NULL */
    rayi_planner_column log;   /* uint32_t [2 * room]: slots that changed; the last so many of log_end */
    uint64_t log_end;
    rayi_planner_peer *peers;
    rayi_planner_kind *kinds;
    rayi_planner_need *needs;
    rayi_planner_function *functions;
    rayi_planner_queue *queues;
    rayi_planner_queue *idle; /* those unused, longest first */
    uint32_t idle_count;
    rayi_planner_task *tasks, *refused;
    uint64_t waiting;
    rayi_candidate **candidates, **heap; /* queues with waiting tasks; heap: those of this round not tried yet */
    size_t candidate_count, candidate_room, heap_count;
    uint64_t turn;
    bool dirty;        /* the heap is to be filled anew */
    bool warn;         /* somebody may have waited long enough for a warning */
    rayi_text scratch; /* for a need's text */
    char message[RAYI_MESSAGE_MAX + 1];
};

static inline rayi_planner_peer *rayi_planner_peer_at(const rayi_planner *planner, uint32_t slot)
{
    return ((rayi_planner_peer **)planner->slots.data)[slot];
}
/* Something of this peer has changed that keys depend on. */
void rayi_planner_note_change(rayi_planner *planner, uint32_t slot);
/* Something has changed that keys do not tell: every queue is tried again. */
void rayi_planner_unblock_all(rayi_planner *planner);
/* All that wait in queue are refused. */
void rayi_planner_refuse_all(rayi_planner *planner, rayi_planner_queue *queue);

#endif
