/* What the files of raylet share with each other and nobody else. */
#ifndef RAYI_RAYLET_INSIDE_H
#define RAYI_RAYLET_INSIDE_H

#include "cluster/cluster.h"
#include "core/core.h"
#include "gcs/gcs.h"
#include "process/process.h"
#include "raylet/raylet.h"
#include "raylet/rows.h"
#include "scheduler/scheduler.h"

#include <uv.h>

typedef struct rayi_message rayi_message;
struct rayi_message {
    rayi_message *next;
    void (*handle)(rayi_node *node, rayi_message *message);
};

enum rayi_where {
    RAYI_WISH_NOWHERE,
    RAYI_WISH_PLANNED, /* the planner has it */
    RAYI_WISH_HERE,    /* this node's scheduler */
    RAYI_WISH_AWAY,    /* another node */
};

/* What the scheduler is asked for, on behalf of a task or an actor. */
typedef struct rayi_wish {
    UT_hash_handle hh; /* in node.wishes, while the scheduler may speak of it */
    uint64_t id;
    struct rayi_terms *terms; /* counted; where resources are */
    const rayi_resources *resources;
    rayi_selector *labels;
    char *node_id;
    bool node_soft, spread, submitted, granted;
    enum rayi_where where; /* of tasks */
    bool is_assigned;      /* by the planner, which has to hear of its end */
    rayi_node_id there;    /* AWAY: where */
    int32_t priority;
    uint32_t bundle;
    uint64_t group;
    bool is_wide;         /* the group is of bundles on several nodes (wide.c); where one was assigned: */
    uint32_t part_bundle; /* its number in the part */
    uint64_t part;        /* there */
    rayi_node_id owner;   /* of the group, if that is another node; else zeros */
    rayi_task *task;      /* one of these two; counted while in node.wishes */
    ray_actor *actor;
    char *gpus; /* granted */
    char group_id[RAYI_ID_SIZE];
} rayi_wish;

/* The nodes that have a copy of the key-value table (keys.c). The rest of an item is the head's. */
#define RAYI_KEY_COPIES 2
typedef struct rayi_key_copier {
    rayi_node_id id;
    uint64_t incarnation;
    rayi_gcs_cursor cursor;
    bool is_asked, was_dropped; /* was_dropped: the table is too long for copies */
    int64_t again_ms;           /* not before; 0: at any time */
} rayi_key_copier;
typedef struct rayi_key_copies {
    rayi_key_copier items[RAYI_KEY_COPIES];
    uint32_t count;
} rayi_key_copies;

typedef struct rayi_terms rayi_terms;
typedef struct rayi_known_terms {
    pthread_mutex_t lock;
    rayi_terms *slot[16]; /* counted, or NULL */
} rayi_known_terms;

struct rayi_node {
    rayi_executor *executor;
    rayi_scheduler *scheduler;
    rayi_ledger *ledger;
    rayi_gcs *gcs, *actor_names, *group_names; /* these two: the head's (called.c) */
    char *labels;
    rayi_resources *own_resources; /* what it has in all, and its labels: for any thread */
    rayi_labels *own_labels;
    rayi_wish *wishes; /* by id */
    rayi_known_terms known_terms;
    struct ray_placement_group *groups;
    struct ray_placement_group *parts;       /* room that is kept here for bundles of wide groups, ours and others' */
    struct rayi_wide *wides;                 /* groups over the nodes of the cluster, ours and those that we know */
    struct rayi_watcher *watchers;           /* who knows groups of ours (shared.c) */
    struct ray_placement_group *named_still; /* ended, but the head has not been told for want of memory */
    bool owes_news;                          /* to some of these, or about them */
    rayi_bundles *bundles;                   /* where these are; NULL: it is in no cluster */

    pthread_mutex_t start_lock;
    atomic_bool running; /* the loop is there */
    bool ended;          /* and will not be again; under start_lock */
    atomic_uint posting; /* threads between their look at running and the end of their post */
    pthread_t loop_thread;
    _Atomic(rayi_thread *) thread; /* the loop's context in the lane */
    uv_loop_t loop;
    rayi_vigil vigil;
    rayi_wake wake;
    uv_timer_t timer, monitor, cooling;
    _Atomic(rayi_message *) inbox; /* a stack, newest first */
    atomic_uint slots_returned;
    rayi_message slots_message, monitor_message, grown_message, warm_message;
    atomic_bool slots_posted, monitor_posted, grown_posted;
    rayi_thread *stopper;                       /* who has called rayi_node_stop: it alone may ask from then on */
    bool stopping;                              /* the loop's: what comes now ends at once */
    _Atomic(struct rayi_isolation *) isolation; /* worker processes, once there was something for them */
    atomic_uint workers_ended;
    rayi_session *session; /* the loop's; NULL: nothing needed it yet */
    char *worker_command;
    uint32_t max_workers, num_cpus;
    int64_t worker_idle_ms;
    bool worker_template;

    rayi_cluster *cluster;    /* the loop's; NULL: it is in none */
    rayi_observer *observer;  /* the loop's; NULL: it is none */
    rayi_thread *joiner;      /* who waits for the join */
    atomic_uint join_settled; /* it is a member, or: */
    rayi_error *join_error;
    rayi_error *left; /* the loop's: why it is out of its cluster, for good */
    atomic_uint cluster_closed;
    rayi_lineage *lineage; /* under made_lock, as these: */
    struct rayi_made *made, *made_objects;
    pthread_mutex_t made_lock;
    struct rayi_search *searches; /* the loop's */
    /* Published objects, and which nodes keep them: the head's, or of a node alone. The loop's. */
    rayi_keepers *keepers;
    struct rayi_published *published; /* by number */
    uint64_t last_published;
    int64_t published_due_ms;   /* nobody waits who has waited for too long before */
    struct rayi_kept *kept;     /* that are kept here, by number */
    atomic_uint copies_first;   /* who of them is asked first: the one that has answered last */
    rayi_key_copies copies;     /* the loop's */
    rayi_planner *planner;      /* NULL: it is in no cluster */
    bool is_driver, keeps_logs; /* keeps_logs: of its session, for the next ones */
    bool self_changed;          /* what it has free, since the planner was told */
    int64_t self_put_ms;
    struct {
        bool has_room; /* others have CPUs free */
        bool is_short; /* what the lane ran since the look before the last */
        uint64_t ran;
        int64_t looked_ms;
    } overflow;
    bool job_told;      /* of a driver: the head knows of its job */
    int64_t started_ms; /* since 1970 */
    void (*on_ended)(const rayi_error *why);

    char *spill_base;   /* in which the node makes its directory */
    rayi_folder *spill; /* that one; NULL: nothing needed it yet */
};

static inline rayi_node *rayi_node_of(const rayi_thread *thread)
{
    return rayi_executor_node(rayi_executor_of(thread));
}

/* ---- loop.c ---- */

int rayi_loop_start(rayi_node *node);      /* if it is not running; SYSTEM, SHUTDOWN, NO_MEMORY */
bool rayi_loop_try_start(rayi_node *node); /* the same, and the thread's last error stays as it is */
void rayi_loop_stop(rayi_node *node);
/* Hands a message to the loop, which was started before. False: the loop has ended, nobody will handle it. */
bool rayi_loop_post(rayi_node *node, rayi_message *message);
/* Runs fn on the loop and returns what it returns; starts the loop. An error that fn leaves behind becomes the
 * caller's. */
int rayi_node_ask(rayi_thread *thread, int (*fn)(rayi_node *node, void *arg), void *arg);
void rayi_node_pump(rayi_node *node); /* does all that the brains want */
void rayi_node_stir(rayi_node *node); /* on the loop: it will be pumped soon */

/* ---- spill.c ---- */

int rayi_spill_init(rayi_node *node, const char *base); /* NULL: a temporary directory. SYSTEM, NO_MEMORY */
int rayi_spill_directory(void *node, char *out, size_t size);
void rayi_spill_clear(const rayi_node *node); /* what dead nodes have left there */
void rayi_spill_end(rayi_node *node);         /* the store has no files any more */

/* ---- terms.c: resources that many ask for ---- */

void rayi_known_terms_init(rayi_known_terms *known);
void rayi_known_terms_fini(rayi_known_terms *known);
/* As rayi_resources_parse has it, on the process's heap; any thread. Counted. */
int rayi_terms_get(rayi_known_terms *known, const char *text, const rayi_resources *otherwise, rayi_terms **out,
                   char *why, size_t why_size);
const rayi_resources *rayi_terms_resources(const rayi_terms *terms);
void rayi_terms_unref(rayi_terms *terms); /* NULL is fine */

/* ---- wish.c: what tasks and actors ask of the scheduler ---- */

int rayi_wish_fill(rayi_thread *thread, rayi_wish *wish, const char *resources, const rayi_resources *otherwise,
                   const char *labels, const char *node_id, bool node_soft, ray_placement_group *group, uint32_t bundle,
                   const char *who);
void rayi_wish_empty(rayi_wish *wish);
int rayi_wish_add(rayi_node *node, rayi_wish *wish); /* NO_MEMORY */
void rayi_wish_remove(rayi_node *node, rayi_wish *wish);
int rayi_wish_submit(rayi_node *node, rayi_wish *wish);

/* ---- escape.c: tasks ---- */

extern const rayi_executor_hooks rayi_node_hooks;
void rayi_escape_ledger_action(rayi_node *node, const rayi_ledger_action *action);
void rayi_escape_scheduler_action(rayi_node *node, rayi_wish *wish, const rayi_scheduler_action *action);
void rayi_escape_stop(rayi_node *node);
const rayi_wish *rayi_escape_wish(rayi_task *task);
void rayi_escape_assigned_here(rayi_node *node, rayi_wish *wish);
void rayi_escape_refused(rayi_node *node, rayi_wish *wish, int code, const char *message);
/* Its group is no more; it may run already: then it is asked to stop, and its value is lost. */
void rayi_escape_lost(rayi_node *node, rayi_wish *wish, int code, const char *message);
void rayi_escape_came_back(void *node, rayi_task *task, const rayi_node_id *by, int code); /* of rayi_cluster_node */
void rayi_escape_is_back(void *node, rayi_task *task, const rayi_node_id *there);
void rayi_escape_inherits(rayi_thread *thread, rayi_task *task, int32_t priority); /* one of more waits for it */

/* For lineage.c. Of a task that has ended: how often it may run once more, as rayi_lineage_add has it (false: its value
 * is another one's already); another run of it, counted, which is told its depth; and what that has used up. */
bool rayi_escape_may_run_again(rayi_task *task, int32_t *retries);
rayi_record *rayi_escape_again(rayi_node *node, rayi_task *task, int32_t retries, uint32_t depth);
uint32_t rayi_escape_tries(rayi_task *task);
void rayi_escape_set_made(rayi_task *task, struct rayi_made *made);

/* ---- lineage.c: objects that are lost with their nodes ---- */

/* Someone who wants a lost object. error, lent: why it is not found, nor made again; NULL: it is there, or was not
 * lost. On the loop, once, perhaps from inside the call. */
typedef struct rayi_finding {
    struct rayi_finding *prev, *next; /* while `of` is set */
    struct rayi_search *of;
    void (*found)(rayi_node *node, struct rayi_finding *finding, rayi_error *error);
} rayi_finding;
/* depth: so many run again for whose sake it is wanted. */
void rayi_lineage_find(rayi_node *node, rayi_record *object, uint32_t depth, rayi_finding *finding);
int rayi_lineage_await(rayi_thread *thread, rayi_record *object, int64_t deadline_ns); /* of the hooks: find */
void rayi_lineage_made(void *node, rayi_task *task);          /* of rayi_cluster_node: away_made */
void rayi_lineage_unmade(struct rayi_made *made);             /* the task goes; any thread */
rayi_record *rayi_lineage_value(rayi_record *record);         /* a done one's object, if its value is bytes; or NULL */
int rayi_lineage_init(rayi_node *node, uint64_t store_bytes); /* ARGUMENT NO_MEMORY */
void rayi_lineage_stop(rayi_node *node);                      /* nobody waits any more */
void rayi_lineage_fini(rayi_node *node);

/* ---- slots.c: of the executor's hooks ---- */

void rayi_slots_returned(void *node, unsigned slots);
bool rayi_slots_congested(void *node);

void rayi_cool_init(rayi_node *node); /* before the store's first block */

/* ---- known.c: which nodes have a function ---- */

void rayi_known_grew(void *node);                                             /* of the executor's hooks */
void rayi_known_there(void *node, const rayi_node_id *id, uint32_t function); /* of rayi_cluster_node */

/* ---- place.c: actors ---- */

int rayi_place_actor(rayi_thread *thread, ray_actor *actor, const ray_actor_options *options, ray_actor **instead);
void rayi_unplace_actor(rayi_thread *thread, ray_actor *actor);
const char *rayi_place_resources(ray_actor *actor, const char **gpus, const char **group_id);
void rayi_place_freed(void *place);
void rayi_place_scheduler_action(rayi_node *node, rayi_wish *wish, const rayi_scheduler_action *action);
void rayi_place_stop(rayi_node *node);
const rayi_wish *rayi_place_wish(ray_actor *actor); /* NULL: it asks for nothing */

/* ---- called.c: names of actors and placement groups in a cluster ---- */

typedef struct rayi_called { /* of a name, at the head: what it leads to */
    rayi_node_id node;
    uint64_t number; /* there; 0: none */
} rayi_called;
void rayi_called_put(rayi_writer *writer, const rayi_called *entry);
bool rayi_called_take(rayi_reader *reader, rayi_called *out);
rayi_called rayi_called_own(const rayi_node *node, uint64_t number);
#define RAYI_CALLED_KEY_SIZE (2 * RAYI_GCS_KEY_MAX + 2)
/* "NAMESPACE/name", which a name may be already. what: "an actor". ARGUMENT, LIMIT */
int rayi_called_key(rayi_executor *executor, const char *what, const char *name, char out[RAYI_CALLED_KEY_SIZE]);
int rayi_called_enter_group(rayi_node *node, const char *key, uint64_t number);      /* the head; EXISTS, NO_MEMORY */
int rayi_called_find_group(rayi_thread *thread, const char *name, rayi_called *out); /* waits. NOT_FOUND */

int rayi_called_enter(rayi_thread *thread, ray_actor *actor, bool get_if_exists, ray_actor **instead); /* waits */
int rayi_called_enter_later(rayi_node *node, ray_actor *actor);                                        /* on the loop */
ray_actor *rayi_called_find(rayi_thread *thread, const char *name); /* waits; obtained; NULL: last error */
/* A detached one is known to that node, under that number; of rayi_cluster_node. */
void rayi_called_moved(void *node, ray_actor *actor, const rayi_node_id *there, uint64_t number);
int rayi_called_answer(rayi_node *node, uint8_t op, rayi_reader *in, rayi_writer *out, rayi_record **record);

/* ---- group.c ---- */

struct ray_placement_group {
    rayi_record head; /* refs are the handle's; content.pointer: the ref that waits */
    uint64_t number;
    char id[RAYI_ID_SIZE];
    bool is_wide;     /* settled when it is made: its bundles are in wide.c */
    bool is_borrowed; /* likewise: it is, or is to be, another node's */
    /* The loop's: */
    bool removed;
    rayi_node_id owner;               /* is_borrowed, or a part: of the group; else zeros */
    uint64_t known_as;                /* its number there; 0: it has none yet */
    struct ray_placement_group *next; /* node.groups, or node.parts */
    rayi_part *part;                  /* room for another group, for whom; or NULL */
    rayi_node_id user;                /* of a part: who was the first to send something there; zeros: nobody yet */
    bool is_shared;                   /* and others did, too */
    char *name, *key;                 /* lie behind; or NULL. key: with its namespace, in a cluster */
    bool is_detached;
};

rayi_record *rayi_group_waits(const ray_placement_group *group);                               /* the ref that waits */
ray_placement_group *rayi_group_alloc(rayi_thread *thread, const char *name, const char *key); /* NULL: last error */
void rayi_group_is_ready(rayi_node *node, uint64_t id);
int rayi_bundles_parse(const char *const *bundles, size_t count, rayi_resources **out); /* free them in any case */
/* On the loop. Its tasks end with that code. */
void rayi_group_end(rayi_node *node, ray_placement_group *group, int code, const char *why);
void rayi_groups_stop(rayi_node *node);
uint64_t rayi_group_number(const ray_placement_group *group);
const char *rayi_group_id(const ray_placement_group *group);

void rayi_group_link(rayi_node *node, ray_placement_group *group); /* it is one of the node's, which counts it */

/* ---- asks.c: questions to the head ---- */

/* What is asked (rayi_said.bytes; a text is as rayi_put_text has it), and → what the answer has. */
enum rayi_op {
    RAYI_OP_HELLO = 1,                    /* → nothing: it is there */
    RAYI_OP_SNAPSHOT,                     /* → as rayi_put_cluster */
    RAYI_OP_STATE,                        /* text query → its JSON */
    RAYI_OP_DRAIN,                        /* text id of a node */
    RAYI_OP_OF_OBSERVERS = RAYI_OP_DRAIN, /* those behind are of nodes only */
    RAYI_OP_KV_PUT,                       /* text key, u32 flags, the value to the end */
    RAYI_OP_KV_GET,                       /* text key → the value */
    RAYI_OP_KV_DEL,                       /* text key */
    RAYI_OP_KV_LIST,                      /* text prefix → the keys, each with its NUL */
    RAYI_OP_PUBLISH,                      /* texts namespace, name, u32 copies; the record */
    RAYI_OP_UNPUBLISH,                    /* texts namespace, name */
    RAYI_OP_LOOKUP,                       /* texts namespace, name → the record */
    RAYI_OP_JOB,                          /* texts id, namespace; i64 start */
    RAYI_OP_ACTOR_PUT,                    /* text key, entry before, entry now → entry that has the name, or none */
    RAYI_OP_ACTOR_FIND,                   /* text key → entry: 16 bytes node, u64 number */
    RAYI_OP_GROUP_PUT,                    /* as ACTOR_PUT; entry now none: its name is free again */
    RAYI_OP_GROUP_FIND,                   /* text key → entry */
    RAYI_OP_GROUP_NEW,                    /* a detached one: texts key, name, id, then rayi_wide_describe → entry */
    RAYI_OP_OF_NODES,                     /* those from here on are for any node */
    RAYI_OP_ROWS = RAYI_OP_OF_NODES,      /* text query → rayi_rows_put */
    RAYI_OP_DEMAND,                       /* → rayi_demands_put */
    RAYI_OP_ACTOR_GET,                    /* u64 number → a record whose value is that actor */
    RAYI_OP_GROUP_GET,                    /* u64 number of a group of the asked → texts key, name, id, the rest */
    RAYI_OP_GROUP_END,                    /* u64 number of one: it is removed */
    RAYI_OP_SEEK,                         /* u64 number of an object that the asker has lent → its copy's place */
    RAYI_OP_FIND,                         /* u64 number of a lost object that the asker has from us → its places */
    RAYI_OP_PIECE,                        /* text query → a piece of what this node has much of (piece.c) */
    RAYI_OP_KEEP,    /* from the head: u64 number, texts namespace, name; the record → its place */
    RAYI_OP_LET_GO,  /* from the head: u64 number */
    RAYI_OP_KV_COPY, /* from the head: what has changed in the table of keys (keys.c) */
};

/* The bytes that answer a question, on their way from the loop to who asked. */
typedef struct rayi_answer {
    void *bytes;
    size_t size;
    rayi_record *object; /* counted, or NULL */
} rayi_answer;

bool rayi_has_head_elsewhere(const rayi_node *node); /* on any thread */
/* Waits at most ray_config.timeout_ms. HEAD_UNREACHABLE TIMEOUT AUTH SHUTDOWN NO_MEMORY, what the head says; STORE_FULL
 * on the loop, which cannot wait. */
int rayi_head_ask(rayi_thread *thread, uint8_t op, const rayi_said *question, rayi_answer *out);
/* The same of another node. NODE_DIED, too */
int rayi_node_ask_other(rayi_thread *thread, const rayi_node_id *other, uint8_t op, const rayi_said *question,
                        rayi_answer *out);
int rayi_node_ask_within(rayi_thread *thread, const rayi_node_id *other, int64_t timeout_ms, uint8_t op,
                         const rayi_said *question, rayi_answer *out); /* at most so long */
/* On the loop. The callback comes once, unless this fails; where this is the head, from inside the call. */
int rayi_head_ask_later(rayi_node *node, uint8_t op, const rayi_said *question, rayi_answered answered, void *arg);
int rayi_head_ask_within(rayi_node *node, int64_t timeout_ms, uint8_t op, const rayi_said *question,
                         rayi_answered answered, void *arg);
rayi_error *rayi_answer_keep(rayi_answer *answer, const rayi_said *said); /* a copy; NULL, or why not: counted */
void rayi_answer_drop(rayi_thread *thread, rayi_answer *answer);
int rayi_answer_view(rayi_thread *thread, rayi_answer *answer, ray_view *out); /* takes what it counts */

/* ---- serve.c: what others ask; on the loop ---- */

typedef struct rayi_reply_to {
    rayi_asker asker;
    rayi_answered local; /* or: somebody here */
    void *arg;
} rayi_reply_to;

void rayi_serve_asked(void *node, const rayi_asker *asker, uint8_t op,
                      const rayi_said *question); /* of rayi_cluster_node */
void rayi_serve_local(rayi_node *node, uint8_t op, const rayi_said *question, rayi_answered answered, void *arg);
void rayi_reply(rayi_node *node, const rayi_reply_to *to, const rayi_said *answer, rayi_error *error); /* lent */
void rayi_reply_last(rayi_node *node, const rayi_reply_to *to);       /* with this thread's last error */
bool rayi_is_of_head(const rayi_node *node, const rayi_reply_to *to); /* the head asks, or somebody here */

/* ---- lineage.c: what others ask of it ---- */

void rayi_lineage_serve(rayi_node *node, const rayi_reply_to *to, const rayi_said *question); /* FIND */
int rayi_lineage_seek(rayi_node *node, const rayi_reply_to *to, rayi_reader *in, rayi_writer *out);

/* ---- keys.c: copies of the key-value table ---- */

void rayi_keys_changed(rayi_node *node); /* there is a new table of nodes */
void rayi_keys_pump(rayi_node *node);    /* the head: sends what has changed */
void rayi_keys_tick(rayi_node *node, int64_t now_ms);
int64_t rayi_keys_wake_ms(const rayi_node *node);
int rayi_keys_take(rayi_node *node, const rayi_reply_to *to, rayi_reader *in);
void rayi_keys_forget(rayi_node *node);                       /* what is copied here */
bool rayi_keys_may_answer(const rayi_node *node, uint8_t op); /* that is asked, by its copy */
bool rayi_keys_has_copies(const rayi_node *node, uint8_t op); /* that can answer this, without the head */
/* After the head could not be asked, which is the last error: the answer of a copy, or that error again. Waits. */
int rayi_keys_read_copy(rayi_thread *thread, uint8_t op, const rayi_said *question, rayi_answer *out);

/* ---- published.c: where their table is ---- */

int rayi_published_init(rayi_node *node); /* NO_MEMORY */
void rayi_published_stop(rayi_node *node);
void rayi_publish(rayi_node *node, const rayi_reply_to *to, const rayi_said *question);
int rayi_published_lookup(rayi_node *node, const char *ns, const char *name, rayi_record **out); /* counted */
int rayi_published_remove(rayi_node *node, const char *ns, const char *name);
void rayi_published_list(rayi_node *node, rayi_rows *rows);
bool rayi_published_pump(rayi_node *node); /* true: it wanted something */
void rayi_published_tick(rayi_node *node, int64_t now_ms);
int64_t rayi_published_wake_ms(const rayi_node *node);
void rayi_published_changed(rayi_node *node); /* there is a new table of nodes */
void rayi_published_gone(rayi_node *node, const rayi_node_id *id);

/* ---- keep.c: on the nodes that keep them ---- */

void rayi_keep_serve(rayi_node *node, const rayi_reply_to *to, const rayi_said *question);
int rayi_keep_let_go(rayi_node *node, const rayi_reply_to *to, rayi_reader *in);
rayi_record *rayi_keep_lookup(rayi_node *node, const char *ns, const char *name); /* not counted; NULL: not here */
rayi_record *rayi_keep_bytes_of(rayi_record *record); /* a done one's object, if that is of the store; or NULL */
void rayi_keep_stop(rayi_node *node);                 /* lets go of all */

/* ---- shared.c: placement groups that several nodes know; on the loop ---- */

/* One that was allocated is made, here or by the head; then it is linked. EXISTS (if this is the head), NO_MEMORY,
 * those of a question to the head */
int rayi_shared_make(rayi_node *node, ray_placement_group *group, const rayi_scheduler_group *what);
void rayi_shared_unname(rayi_node *node, ray_placement_group *group); /* in no list: its name is free, if it has one */
void rayi_shared_changed(rayi_node *node, const ray_placement_group *group);
void rayi_shared_ended(rayi_node *node, const ray_placement_group *group);
void rayi_shared_watched(void *node, const rayi_node_id *by, uint64_t number); /* of rayi_cluster_node, as the next */
bool rayi_shared_told(void *node, const rayi_node_id *by, const rayi_group_news *news);
void rayi_shared_gone(rayi_node *node, const rayi_node_id *id); /* that node */
bool rayi_shared_pump(rayi_node *node);                         /* true: it has told something */
int64_t rayi_shared_wake_ms(const rayi_node *node);
void rayi_shared_left(rayi_node *node); /* it is out of its cluster: so is what it has borrowed */
void rayi_shared_stop(rayi_node *node);
int rayi_shared_answer(rayi_node *node, uint8_t op, rayi_reader *in, rayi_writer *out);    /* GROUP_NEW, _GET */
void rayi_shared_end(rayi_node *node, const rayi_reply_to *to, const rayi_said *question); /* GROUP_END */
/* As its owner has described it: obtained. NOT_FOUND (that node has gone), CORRUPT, NO_MEMORY */
int rayi_shared_borrow(rayi_node *node, const rayi_called *of, rayi_reader *description, ray_placement_group **out);
/* By a thread, which waits. Obtained; NULL: last error. NOT_FOUND, those of a question */
ray_placement_group *rayi_shared_get(rayi_thread *thread, const rayi_called *of);

/* ---- jobs.c ---- */

void rayi_jobs_tell(rayi_node *node);                             /* a driver: there may be a head now */
void rayi_jobs_gone(rayi_node *node, const rayi_node_id *driver); /* the head: that node has ended */
int rayi_jobs_take(rayi_node *node, const rayi_node_id *driver, rayi_reader *in);

/* ---- demand.c ---- */

typedef struct rayi_demand {
    UT_hash_handle hh; /* by its texts, one behind the other; in order of coming */
    char *resources;
    char *labels;   /* "": none */
    char *function; /* that no node has; "": that is not what is missing */
    uint64_t count;
    int64_t waited_ms; /* the longest */
    bool infeasible;
} rayi_demand;

typedef struct rayi_demands {
    rayi_demand *first;
    bool failed; /* out of memory: they are not all */
} rayi_demands;

void rayi_demands_of(rayi_node *node, rayi_demands *out); /* adds those of this node */
void rayi_demands_put(const rayi_demands *demands, rayi_writer *writer);
bool rayi_demands_take(rayi_demands *demands, rayi_reader *reader); /* adds them; false: rubbish */
void rayi_demands_fini(rayi_demands *demands);

/* ---- gather.c, state.c, status.c ---- */

/* This node answers for it: it has made it, or is the only one left who knows of it. On the loop. */
bool rayi_actor_is_ours(ray_actor *actor);

void rayi_gather(rayi_node *node, const rayi_reply_to *to, const rayi_said *question); /* a STATE, at the head */
int rayi_state_list(rayi_node *node, rayi_rows *rows); /* what this node has of the query's table. NOT_FOUND */
bool rayi_state_is_of_nodes(const char *table);        /* the others have more of it */
int rayi_state_check_node(const rayi_query *query);    /* ARGUMENT: a node is named for what is not a node's own */
int rayi_state_check_status(const rayi_query *query);  /* ARGUMENT */
/* One JSON object; on the loop. missing: who has not answered; NULL: nobody. NO_MEMORY */
int rayi_status_write(rayi_node *node, const rayi_demands *demands, const char *missing, rayi_text *out);

/* ---- piece.c, timeline.c, logs.c: what a node has much of; on the loop ---- */

/* No table, but one node's, a piece at a time. */
bool rayi_piece_is_one(const char *name);
/* A STATE that asks for one, at the head. */
void rayi_piece_ask(rayi_node *node, const rayi_reply_to *to, const rayi_query *query, const char *text);
/* What is here, whoever was asked. ARGUMENT NOT_FOUND SYSTEM NO_MEMORY */
int rayi_piece_write(rayi_node *node, const rayi_query *query, rayi_text *out);
/* Is this node meant? */
bool rayi_is_asked_of(const rayi_node *node, const rayi_query *query);
int rayi_no_such_node(const char *id); /* NOT_FOUND, the last error */
/* The member of that id, which must not be dead. NOT_FOUND */
int rayi_find_member(const rayi_node *node, const char *id, rayi_node_id *out);
int rayi_timeline_write(rayi_node *node, const rayi_query *query, rayi_text *out); /* JSON */
int rayi_logs_list(rayi_node *node, rayi_rows *rows);                              /* a row for each file */
int rayi_logs_write(rayi_node *node, const rayi_query *query, rayi_text *out);     /* bytes of a file */

/* ---- drain.c ---- */

int rayi_drain(rayi_node *node, const char *id); /* at the head. ARGUMENT, NOT_FOUND */
bool rayi_drain_is_idle(void *node);             /* of rayi_cluster_node */
/* ---- wide.c: groups over the nodes of the cluster ---- */

int rayi_wide_new(rayi_node *node, ray_placement_group *group, const rayi_scheduler_group *what); /* NO_MEMORY */
int rayi_wide_begin(rayi_node *node, const ray_placement_group *group); /* one of ours is to be placed. NO_MEMORY */
void rayi_wide_describe(const rayi_node *node, const ray_placement_group *group,
                        rayi_writer *writer); /* u8 strategy, u32 count, texts */
bool rayi_wide_news(rayi_node *node, const ray_placement_group *group, const rayi_node_id *to); /* false: not told */
bool rayi_wide_told(rayi_node *node, const ray_placement_group *group,
                    const rayi_group_news *news);                /* false: no sense */
void rayi_wide_gone(rayi_node *node, const rayi_planner_id *id); /* what others own and was there is nowhere */
/* Its tasks and actors end with that, everywhere. */
void rayi_wide_end(rayi_node *node, ray_placement_group *group, int code, const char *message);
rayi_planner *rayi_wide_planner(const rayi_node *node, const rayi_wish *wish); /* of its bundles; NULL: it has ended */
void rayi_wide_submit(rayi_node *node, rayi_wish *wish);                       /* to these, or it is refused */
bool rayi_wide_place(const rayi_node *node, rayi_wish *wish, const rayi_planner_id *bundle);
void rayi_wide_refused(rayi_node *node, const rayi_wish *wish, int code);         /* by the node where its bundle is */
void rayi_wide_changed(rayi_node *node);                                          /* there is a new table of nodes */
void rayi_wide_forget_lacks(rayi_node *node);                                     /* any node may have any function */
void rayi_wide_knows(rayi_node *node, const rayi_node_id *id, uint32_t function); /* that node has it now */
bool rayi_wide_next(rayi_node *node, rayi_planner_action *out); /* of all groups' planners; false: nothing */
bool rayi_wide_pump(rayi_node *node);                           /* true: it wanted something */
void rayi_wide_tick(rayi_node *node, int64_t now_ms);
int64_t rayi_wide_wake_ms(const rayi_node *node);
void rayi_wide_free(rayi_node *node);

typedef struct rayi_wide_row {
    const ray_placement_group *group;
    rayi_strategy strategy;
    bool is_placed, was_placed;
    uint32_t bundles;
} rayi_wide_row;
void rayi_wide_each(const rayi_node *node, void (*fn)(void *arg, const rayi_wide_row *row), void *arg);

ray_placement_group *rayi_part_new(void *node, const rayi_part_what *what, rayi_part *part); /* of rayi_cluster_node */
void rayi_part_free(void *node, ray_placement_group *group);
void rayi_part_answered(void *node, const rayi_node_id *by, uint64_t part, bool reserved);
bool rayi_part_is_ready(rayi_node *node, uint64_t number); /* false: that is no part */
bool rayi_part_admits(void *node, ray_placement_group *group, const rayi_node_id *by, bool any_bundle, uint32_t bundle,
                      const char *resources); /* of rayi_cluster_node */
/* The same of a task of this node's, which was assigned to itself. */
bool rayi_wide_admits(rayi_node *node, const rayi_wish *wish);

/* ---- join.c: the cluster ---- */

const char *rayi_join_address(const ray_config *config);
/* Waits until this node is a member. HEAD_UNREACHABLE AUTH VERSION NODE_REFUSED ARGUMENT EXISTS SYSTEM NO_MEMORY */
int rayi_join(rayi_node *node, const ray_config *config, ray_role role);
void rayi_join_leave(rayi_node *node, rayi_thread *thread); /* waits until all links are closed */
void rayi_join_free(rayi_node *node);                       /* after the loop */
void rayi_join_forget(rayi_thread *thread, rayi_record *record);

/* ---- afar.c: actors on other nodes ---- */

int rayi_afar_decide(rayi_thread *thread, ray_actor *actor, const ray_actor_options *options, void **out); /* hooks */
void rayi_afar_freed(void *afar);
void rayi_afar_unplace(rayi_thread *thread, ray_actor *actor);
void rayi_afar_place_it(void *node, void *place); /* of rayi_cluster_node */
void rayi_afar_is_back(void *node, void *place);
void rayi_afar_is_refused(void *node, void *place, int code);
const rayi_node_id *rayi_afar_where(const ray_actor *actor); /* on the loop; NULL: here, or nowhere */
rayi_called *rayi_afar_named(const ray_actor *actor);        /* on the loop; called.c's, kept with the actor */
void rayi_afar_assigned(rayi_wish *wish);                    /* the planner's answers */
void rayi_afar_unplaceable(rayi_wish *wish, int code, const char *message);
void rayi_actor_begins(rayi_thread *thread, ray_actor *actor, uint32_t life);
bool rayi_actor_sends(rayi_thread *thread, ray_actor *actor, rayi_task *call, uint32_t life);
void rayi_actor_finishes(rayi_thread *thread, ray_actor *actor);
rayi_task *rayi_actor_takes(rayi_thread *thread, ray_actor *actor, bool started_too);
void rayi_actor_ends(rayi_thread *thread, ray_actor *actor);
rayi_task *rayi_actor_parks(rayi_thread *thread, ray_actor *actor, bool parks);
extern const rayi_outside rayi_node_neighbours;

/* ---- plan.c: where tasks go ---- */

bool rayi_plan_is_for(const rayi_node *node, const rayi_wish *wish);
int rayi_plan_submit(rayi_node *node, rayi_wish *wish);             /* NO_MEMORY */
void rayi_plan_refused(rayi_node *node, rayi_wish *wish, int code); /* by the node where it was: it waits again */
void rayi_plan_over(rayi_node *node, rayi_wish *wish);
void rayi_plan_inherit(rayi_node *node, rayi_wish *wish, int32_t priority);
/* It runs here and has lent what it holds of its bundle, for good: it takes it back without asking. */
void rayi_plan_lent(rayi_node *node, rayi_wish *wish);
void rayi_plan_refuse(rayi_node *node, rayi_wish *wish, int code, const char *message); /* it never will */
rayi_planner_id rayi_plan_id(const rayi_node_id *id);
bool rayi_plan_pump(rayi_node *node);                  /* true: it wanted something */
void rayi_plan_left(rayi_node *node, rayi_wish *wish); /* what waits, or would, ends with node.left */
void rayi_plan_leave(rayi_node *node);                 /* all that waits */
void rayi_plan_stop(rayi_node *node);                  /* actors that wait */
#define RAYI_PLAN_SHUTDOWN "the runtime was shut down before it had a place"
void rayi_plan_changed(void *node); /* of rayi_cluster_node */
void rayi_plan_gone(void *node, const rayi_node_id *id);

/* ---- overflow.c ---- */

void rayi_overflow_changed(rayi_node *node); /* there is a new table of nodes */
void rayi_overflow_end(rayi_node *node);     /* it is out of the cluster */
void rayi_overflow_look(rayi_node *node);
int64_t rayi_overflow_wake_ms(const rayi_node *node);

/* ---- workers.c ---- */

int rayi_workers_elsewhere(rayi_thread *thread);
void rayi_workers_dispatch(rayi_thread *thread, rayi_task *task);
void rayi_workers_slot_free(void *node);
void rayi_workers_poll(rayi_thread *thread, enum rayi_poll when);
void rayi_workers_tell(rayi_thread *thread, rayi_task *task, bool force);
void rayi_workers_credit(rayi_thread *thread, rayi_task *task);
void rayi_workers_actor_begin(rayi_thread *thread, ray_actor *actor, uint32_t life);
bool rayi_workers_actor_send(rayi_thread *thread, ray_actor *actor, rayi_task *call, uint32_t life);
void rayi_workers_actor_fini(rayi_thread *thread, ray_actor *actor);
rayi_task *rayi_workers_actor_take(rayi_thread *thread, ray_actor *actor, bool started_too);
rayi_task *rayi_workers_actor_park(rayi_thread *thread, ray_actor *actor, bool parks);
void rayi_workers_actor_end(rayi_thread *thread, ray_actor *actor);
void rayi_workers_segment_gone(void *node, uint64_t segment);
void rayi_workers_loaded(void *node, const char *path);
void rayi_workers_fail_all(rayi_node *node);                  /* on the loop */
void rayi_workers_stop(rayi_node *node, rayi_thread *thread); /* waits until no process is left */
void rayi_workers_free(rayi_node *node);                      /* after the loop */

/* ---- code.c ---- */

int rayi_code_everywhere(rayi_thread *thread, const char *path);                                /* hook everywhere */
int rayi_code_bring(void *node, rayi_thread *thread, rayi_code *code, char *path, size_t size); /* for isolation */
void rayi_code_gone(void *node, rayi_code *code);                                               /* of the cluster */

/* ---- node.c ---- */

int rayi_node_open_session(rayi_node *node); /* the private directory, at the first use; on the loop */

/* ---- names.c ---- */

int rayi_names_fail(int r, const char *what, const char *name); /* returns r, with words */
/* A question about keys or names, where the tables are; record: counted. */
int rayi_tables_answer(rayi_node *node, uint8_t op, rayi_reader *in, rayi_writer *out, rayi_record **record);

/* ---- cluster.c; on the loop ---- */

const rayi_member *rayi_find_alive(const rayi_node *node, const rayi_node_id *id); /* NULL: not in the table, or dead */

int rayi_snapshot_write(rayi_node *node, rayi_writer *writer); /* as rayi_put_cluster */
int rayi_node_snapshot(rayi_node *node, void *out);            /* out: a ray_cluster *, for rayi_snapshot_free */
/* This node, which is in no cluster. */
void rayi_self_member(rayi_node *node, rayi_member *out, rayi_member_resource items[RAYI_MEMBER_RESOURCES_MAX]);

#endif
