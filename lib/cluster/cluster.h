/* cluster: this node's part in a cluster, and the way between nodes.
 *
 * It owns the node's listener and links, its seat (the head's table, or a member's copy of it), a session with each
 * other node, and what goes over it: tasks that are ours and run there (away), tasks that are theirs and run here
 * (hosted), questions and their answers (asks), and the names by which both ends know each other's objects. Who only
 * looks at a cluster (an observer) is no node of it, and asks over a link.
 *
 * Who owns what: the node that submits a task owns its result. A record that a message names is held for the receiver
 * until it gives it back; the receiver has a *stand-in* for it, which is done when the sender says so. A node that
 * passes a stand-in on acts as its owner towards the third, so a hold is always between the two ends of one session,
 * and goes with it when either is declared dead: then stand-ins that are not done fail (NODE_DIED).
 *
 * Threads: everything is called on the node's loop, but for rayi_cluster_forget and what says so. Nothing blocks. Lock:
 * names_lock, innermost. Callbacks come from the loop, never from inside a call. */
#ifndef RAYI_CLUSTER_H
#define RAYI_CLUSTER_H

#include "executor/executor.h"
#include "gcs/gcs.h"
#include "scheduler/scheduler.h"
#include "transport/transport.h"

typedef struct rayi_cluster rayi_cluster;
typedef struct rayi_part rayi_part; /* of a placement group of some node, kept here */

/* What a question or an answer says. */
typedef struct rayi_said {
    const void *bytes; /* aligned to nothing */
    size_t size;
    rayi_record *record; /* goes along as a ref: the other end gets its own, or a stand-in; NULL: none */
} rayi_said;

typedef struct rayi_asker { /* who waits for an answer */
    rayi_node_id node;
    uint64_t incarnation; /* 0: no node, but an observer, by */
    uint64_t observer;    /* this number */
    uint64_t id;          /* of the question */
} rayi_asker;

static inline bool rayi_node_id_is_none(const rayi_node_id *id)
{
    static const rayi_node_id none;

    return memcmp(id, &none, sizeof none) == 0;
}

#define RAYI_BUNDLES_MOST 65535 /* of a placement group */

/* What a host is told of a part. */
typedef struct rayi_part_what {
    rayi_node_id owner; /* of the group */
    uint64_t group;     /* its number there */
    const char *group_id;
    const char *const *bundles; /* their resources */
    uint32_t count;
} rayi_part_what;

/* What the owner of a group tells the nodes that know it. */
typedef struct rayi_group_news {
    uint64_t group;                  /* its number at its owner */
    int code;                        /* below 0: it has ended, or there is none */
    bool is_placed;                  /* all of it */
    uint32_t count;                  /* of its bundles, in order */
    const rayi_bundle_place *places; /* part 0: it is nowhere */
} rayi_group_news;

/* What the node gives. */
typedef struct rayi_cluster_node {
    void *node;
    uv_loop_t *loop;
    rayi_vigil *vigil;   /* of the loop */
    rayi_thread *thread; /* the loop's */
    rayi_executor *executor;
    rayi_scheduler *scheduler;
    const rayi_body *body;
    void (*joined)(void *node);                       /* it is a member now, maybe once more */
    void (*changed)(void *node);                      /* the table of nodes is another one */
    void (*gone)(void *node, const rayi_node_id *id); /* that node was declared dead; tasks there end later */
    void (*refused)(void *node, rayi_error *why);     /* the head's end of the link says why not; takes the count */
    /* It is out, for good; takes the count. NULL: it left. in_order: the head has ended as it was asked to. */
    void (*ended)(void *node, rayi_error *why, bool in_order);
    void (*inherits)(rayi_thread *thread, rayi_task *task, int32_t priority); /* who awaits it elsewhere has more */
    void (*place_actor)(void *node, void *place); /* where is it to live? rayi_afar_go or _refused follows */
    /* A detached one is known there under that number, and stays when this node goes. */
    void (*actor_moved)(void *node, ray_actor *actor, const rayi_node_id *there, uint64_t number);
    void (*actor_is_back)(void *node, void *place);                       /* it lives there no more */
    void (*actor_refused)(void *node, void *place, int code);             /* nor ever did: LIMIT: there is no room now;
                                                                             UNKNOWN_FUNCTION. As place_actor */
    void (*knows)(void *node, const rayi_node_id *id, uint32_t function); /* that node has a function now */
    /* Room is to be kept for a part: rayi_parts_ready when it is, unless part_free comes before. NULL: no memory, or
     * those are no resources. */
    ray_placement_group *(*part_new)(void *node, const rayi_part_what *what, rayi_part *part);
    /* Whether that node's work may wait there: what could go to another bundle as well, if this one is not its own
     * alone, only as long as there is room. resources: as an option has them. */
    bool (*part_admits)(void *node, ray_placement_group *group, const rayi_node_id *by, bool any_bundle,
                        uint32_t bundle, const char *resources);
    void (*part_free)(void *node, ray_placement_group *group);
    void (*part_answered)(void *node, const rayi_node_id *by, uint64_t part, bool reserved); /* of a part of ours */
    /* That node wants news of a group of ours: all there are now, and later ones, until it has ended. */
    void (*group_watched)(void *node, const rayi_node_id *by, uint64_t group);
    bool (*group_told)(void *node, const rayi_node_id *by, const rayi_group_news *news); /* false: it cannot be so */
    void (*away_refused)(void *node, rayi_task *task, const rayi_node_id *by, int code); /* unstarted: it comes back */
    void (*away_ended)(void *node, rayi_task *task, const rayi_node_id *there);          /* before its record is told */
    /* After that: its value lies there, and its arguments are kept (RAYI_KEPT), in case it is lost. */
    void (*away_made)(void *node, rayi_task *task);
    /* A question, which is lent: rayi_cluster_answer follows, now or later, once. Of observers only to the head. */
    void (*serve)(void *node, const rayi_asker *asker, uint8_t op, const rayi_said *question);
    bool (*idle)(void *node);                       /* it is to be drained: is there nothing left that runs here? */
    void (*code_gone)(void *node, rayi_code *code); /* the last job that it belonged to has ended */
} rayi_cluster_node;

typedef struct rayi_cluster_config { /* read during rayi_cluster_new */
    bool head, driver, no_key, any_port;
    bool head_is_own;    /* the head is one of this user's on this host: it may be without a key, and is no stranger */
    const char *address; /* HOST:PORT: of the head; the head: where it listens */
    const char *listen;  /* HOST:PORT for others; NULL: the host by which the head is reached, any port */
    const char *key_file, *session;
    const char *labels;   /* canonical text */
    int64_t head_wait_ms; /* without a head; negative: for ever */
} rayi_cluster_config;

/* Opens sockets and begins to join; a head is there when it returns. ARGUMENT NOT_FOUND EXISTS SYSTEM NO_MEMORY */
int rayi_cluster_new(const rayi_cluster_node *node, const rayi_cluster_config *config, rayi_cluster **out);
/* Says good-bye, and closes all; what is away ends as with a node that died. closed comes when the last handle is. */
void rayi_cluster_close(rayi_cluster *cluster, void (*closed)(void *node));
void rayi_cluster_fini(rayi_cluster *cluster);  /* after the loop; what is left is for rayi_cluster_forget */
void rayi_cluster_unref(rayi_cluster *cluster); /* gives it up: with the last record of the node, or later */
/* Whoever waits for bytes of other nodes, or will, ends with SHUTDOWN. On any thread, before close. */
void rayi_cluster_stop_fetching(rayi_cluster *cluster);

const char *rayi_cluster_address(const rayi_cluster *cluster); /* of the head */
const char *rayi_cluster_own_address(const rayi_cluster *cluster);
const rayi_roster *rayi_cluster_roster(const rayi_cluster *cluster);
bool rayi_cluster_is_head(const rayi_cluster *cluster);
bool rayi_cluster_is_self(const rayi_cluster *cluster, const rayi_node_id *id);
/* This node takes it for dead, whatever the table says: it has sent rubbish. */
bool rayi_cluster_is_broken(const rayi_cluster *cluster, const rayi_member *member);
/* Why there is no way to the head now, with words; NULL: there is. Counted. */
rayi_error *rayi_cluster_why(rayi_cluster *cluster);
/* The same, unless a question would reach it all the same: there is a link for these. Counted. */
rayi_error *rayi_cluster_away(rayi_cluster *cluster);
/* The load that is told to others may be another one. */
void rayi_cluster_pump(rayi_cluster *cluster);

/* What a node has and has free now, sorted by name: how many. load: tasks that wait there. The loop's, in or out of a
 * cluster. */
uint32_t rayi_cluster_load(rayi_executor *executor, rayi_scheduler *scheduler,
                           rayi_member_resource out[RAYI_MEMBER_RESOURCES_MAX], uint32_t *load);
void rayi_cluster_id_parse(const char *text, rayi_node_id *out); /* 32 hex digits; of anything else, some id */

/* The nodes that have most of a task's arguments, and how many bytes of them each: so many, the first with most. Its
 * arguments are done. */
uint32_t rayi_cluster_holders(rayi_cluster *cluster, rayi_task *task, rayi_planner_holder out[RAYI_PLANNER_LOCAL_MOST]);

/* ---- which nodes have a function ----
 *
 * Who is sent a call of a function that it lacks refuses it (away_refused, actor_refused: UNKNOWN_FUNCTION), and says
 * so when it has it (knows), to those that it has refused. Nobody is asked, and nothing is told of other functions. */

void rayi_cluster_functions_grew(rayi_cluster *cluster); /* this node may have some that it lacked */

/* ---- tasks that are ours and run there ---- */

typedef struct rayi_away_options {
    uint64_t id;           /* of the task, in this node */
    uint32_t attempt;      /* another number each time it is sent */
    uint32_t tries;        /* earlier ones */
    const char *resources; /* canonical text; NULL: CPU=1 */
    int32_t priority;
    int64_t deadline_ms; /* a moment of this node; INT64_MAX: none */
    ray_isolation isolation;
    uint32_t bundle;         /* of the part */
    uint64_t part;           /* of a group that is there; 0: none */
    rayi_node_id part_owner; /* whose group that is; zeros: ours */
    bool any_bundle;         /* another one would do as well */
} rayi_away_options;

/* A claimed task with all its arguments, of which the lane's count goes along; to may be this very node. It ends in
 * rayi_task_ran or rayi_task_crashed, or comes back, still claimed, by away_refused. False: there is no such node (any
 * more), or no memory; nothing happened. */
bool rayi_away_send(rayi_cluster *cluster, const rayi_node_id *to, rayi_task *task, const rayi_away_options *options);
/* Each does nothing if it is not there (any more). It was asked to stop; or is to end by force, which has been asked of
 * its record. */
void rayi_away_stop(rayi_cluster *cluster, const rayi_node_id *there, uint64_t id);
void rayi_away_force(rayi_cluster *cluster, const rayi_node_id *there, uint64_t id);
/* Its deadline is over: what has not been sent comes back; there they have the deadline themselves. */
void rayi_away_late(rayi_cluster *cluster, const rayi_node_id *there, uint64_t id);
void rayi_away_inherit(rayi_cluster *cluster, const rayi_node_id *there, uint64_t id, int32_t priority);
/* Some of what is away has news: it, or what it descends from, was asked to stop; readers of streams have gone on, or
 * have gone. The loop will look which, at all that is away: of a task alone rayi_away_stop tells. Any thread. */
enum { RAYI_LOOK_CANCELS = 1, RAYI_LOOK_CREDIT = 2 };
void rayi_away_look(rayi_cluster *cluster, unsigned what);
/* The same of one call that is not of an actor here: nothing descends from it that was submitted here. Any thread. */
void rayi_away_cancel(rayi_cluster *cluster, rayi_record *call);

/* ---- actors that are ours and live there ---- */

typedef struct rayi_afar rayi_afar;

/* For an actor that is being made; options are kept. Any thread. NULL: no memory (last error). */
rayi_afar *rayi_afar_new(rayi_cluster *cluster, ray_actor *actor, const ray_actor_options *options, void *place);
void rayi_afar_free(rayi_afar *afar); /* the actor goes; any thread */
void *rayi_afar_place(const rayi_afar *afar);
ray_actor *rayi_afar_actor(const rayi_afar *afar);
/* As the hooks of the executor that have these names; any thread. begin: rayi_cluster_node.place_actor will be asked.
 */
void rayi_afar_begin(rayi_afar *afar, rayi_thread *thread, uint32_t life);
bool rayi_afar_send(rayi_afar *afar, rayi_thread *thread, rayi_task *call, uint32_t life);
rayi_task *rayi_afar_take(rayi_afar *afar, bool started_too);
void rayi_afar_fini(rayi_afar *afar, rayi_thread *thread);
void rayi_afar_end(rayi_afar *afar, rayi_thread *thread);
/* The answer to place_actor, on the loop. */
typedef struct rayi_afar_room { /* in a placement group; as for a task */
    rayi_node_id owner;
    uint64_t part;
    uint32_t bundle;
    bool any_bundle;
} rayi_afar_room;
void rayi_afar_go(rayi_afar *afar, const rayi_node_id *there, const rayi_afar_room *room); /* this node will do */
void rayi_afar_refused(rayi_afar *afar, rayi_error *error);                                /* takes the count */

bool rayi_cluster_is_orphan(
    const ray_actor *actor); /* it lives here, detached, and who has made it is gone; the loop */
void rayi_cluster_hosted_died(rayi_thread *thread, void *host); /* hook hosted_died; any thread */

/* ---- parts of placement groups (scheduler/bundles.h) ---- */

/* Bundles of a group of ours are to be kept room for there, maybe on this node; node.part_answered comes, unless the
 * part is released before. False: there is no such node (any more), or no memory. */
bool rayi_parts_reserve(rayi_cluster *cluster, const rayi_node_id *to, uint64_t part, const rayi_part_what *what);
bool rayi_parts_release(rayi_cluster *cluster, const rayi_node_id *to, uint64_t part); /* false: no memory to say it */
/* One that this node keeps, of a group of that owner's; zeros: ours. NULL: it is not here. */
ray_placement_group *rayi_parts_here(rayi_cluster *cluster, const rayi_node_id *owner, uint64_t part);
void rayi_parts_ready(rayi_part *part);
/* News of a group of that node's are wanted. False: there is no such node (any more), or no memory. */
bool rayi_groups_watch(rayi_cluster *cluster, const rayi_node_id *owner, uint64_t group);
bool rayi_groups_tell(rayi_cluster *cluster, const rayi_node_id *to, const rayi_group_news *news); /* likewise */

/* ---- handles of actors of other nodes: as rayi_outside has them; any thread ---- */

int rayi_handles_submit(rayi_cluster *cluster, rayi_thread *thread, rayi_task *task, ray_actor *actor,
                        const ray_task_options *options);
int rayi_handles_kill(rayi_cluster *cluster, ray_actor *actor, bool may_restart);
rayi_record *rayi_handles_ready(rayi_cluster *cluster, rayi_thread *thread, ray_actor *actor);
void rayi_handles_release(rayi_cluster *cluster, ray_actor *actor);

/* ---- questions: what they are about (op) is between the nodes' bodies ---- */

#define RAYI_ASKS_MOST      4096 /* unanswered ones, from one node to another */
#define RAYI_ASKS_OBSERVING 16   /* and from an observer */

/* On the loop, exactly once, never from inside the call that asks. error: why there is no answer: what the other end
 * said, NODE_DIED, TIMEOUT; NULL: there is one. Everything is lent. */
typedef void (*rayi_answered)(void *arg, const rayi_said *answer, rayi_error *error);

/* to NULL: the head, which is another node. After timeout_ms it is given up: TIMEOUT, or HEAD_UNREACHABLE while there
 * is no way to the head. HEAD_UNREACHABLE (the table has none), NODE_DIED (nor that node), LIMIT, NO_MEMORY: then the
 * callback never comes. */
int rayi_cluster_ask(rayi_cluster *cluster, const rayi_node_id *to, uint8_t op, const rayi_said *question,
                     int64_t timeout_ms, rayi_answered answered, void *arg);
/* Nothing if who asked is gone. error NULL: the answer; both are lent. */
void rayi_cluster_answer(rayi_cluster *cluster, const rayi_asker *asker, const rayi_said *answer, rayi_error *error);

/* The head: no new work goes to that node, which leaves when what it has is done. NOT_FOUND */
int rayi_cluster_drain(rayi_cluster *cluster, const rayi_node_id *id);
bool rayi_cluster_is_drained(const rayi_cluster *cluster); /* this node */

/* ---- observers: of a process that is no node of the cluster ---- */

typedef struct rayi_observer rayi_observer;

typedef struct rayi_observer_config { /* read during rayi_observer_new */
    uv_loop_t *loop;
    const char *address; /* HOST:PORT of the head */
    const char *key_file, *session;
    bool no_key;
} rayi_observer_config;

/* Opens no socket yet. Without a cluster key it can ask a head without one, on this host. ARGUMENT, those of
 * rayi_key_load, SYSTEM, NO_MEMORY */
int rayi_observer_new(const rayi_observer_config *config, rayi_observer **out);
/* As rayi_cluster_ask, of the head; the record must be NULL. It dials as often as it needs to; AUTH and VERSION end
 * all questions. ARGUMENT (the address), LIMIT, NO_MEMORY */
int rayi_observer_ask(rayi_observer *observer, uint8_t op, const rayi_said *question, int64_t timeout_ms,
                      rayi_answered answered, void *arg);
/* What was not answered ends with SHUTDOWN. closed(arg) when the last handle is. */
void rayi_observer_close(rayi_observer *observer, void (*closed)(void *arg), void *arg);
void rayi_observer_free(rayi_observer *observer); /* after that */

/* ---- objects that are lost with their node (lost.c); on the loop ---- */

/* All nodes that are known to have its bytes are dead, and they are not here. */
bool rayi_cluster_is_lost(rayi_cluster *cluster, rayi_record *object);
rayi_record *rayi_cluster_lost_argument(rayi_cluster *cluster, rayi_task *task); /* counted; NULL: none is */
/* Of one that is lost: the node that it came from, and what has made it. */
enum rayi_maker rayi_cluster_lost_with(const rayi_record *object, char node[RAYI_ID_SIZE]);
/* Who has it from us: so many, at most `most`. */
uint32_t rayi_cluster_borrowers(rayi_cluster *cluster, const rayi_record *object, rayi_node_id *out, uint32_t most);
/* Whom we have it from, and its number there. False: from nobody who lives. */
bool rayi_cluster_lender(rayi_cluster *cluster, rayi_record *object, rayi_node_id *lender, uint64_t *number);
/* The object that a neighbour has from us, counted; NULL: it holds none of that number. */
rayi_record *rayi_cluster_lent(rayi_cluster *cluster, const rayi_node_id *to, uint64_t number);
/* Where an object is now; or the copy here of an object of that node's (false: there is none, nothing is written). */
void rayi_cluster_put_places(rayi_cluster *cluster, rayi_writer *writer, rayi_record *object);
bool rayi_cluster_put_copy(rayi_cluster *cluster, rayi_writer *writer, const rayi_node_id *lender, uint64_t number);
/* A lost object is there. OBJECT_LOST: nobody who lives is named; ARGUMENT: rubbish, or no memory. */
int rayi_cluster_take_places(rayi_cluster *cluster, rayi_record *object, rayi_reader *reader);
/* It was made again, with the same size: made has its bytes, and is kept as long as the object. */
void rayi_cluster_made_again(rayi_cluster *cluster, rayi_record *object, rayi_record *made);

/* ---- objects that are kept here for others (keep.c); on the loop ---- */

/* Brings the bytes of another node's object, and keeps them as long as the object. told comes once: error, lent, says
 * why not; NULL: it is kept. 1: it is ours, told does not come; else 0, or NO_MEMORY. */
int rayi_cluster_keep(rayi_cluster *cluster, rayi_record *object, void (*told)(void *arg, rayi_error *error),
                      void *arg);
/* Where it is kept here, for who has lent it; nothing if it is ours. */
void rayi_cluster_put_kept(rayi_cluster *cluster, rayi_writer *writer, rayi_record *object);
/* What that node has written so: others may fetch it there. False: rubbish. */
bool rayi_cluster_take_kept(rayi_cluster *cluster, rayi_record *object, const rayi_node_id *by, rayi_reader *reader);
/* Nodes that have its bytes: how many, at most `most`. */
uint32_t rayi_cluster_nodes_of(rayi_cluster *cluster, rayi_record *object, rayi_node_id *out, uint32_t most);

/* ---- code that travels; any thread ---- */

/* That node's job has this library, whose bytes are in that object (takes the count); owner NULL: this node. Once more
 * is nothing. NO_MEMORY */
int rayi_code_add_source(rayi_cluster *cluster, rayi_thread *thread, rayi_code *code, const rayi_node_id *owner,
                         rayi_record *object);
/* Its bytes, proved by their hash, for use_bytes, whose result is returned. Waits until they are here. NOT_FOUND (no
 * job has it any more), CORRUPT, those of rayi_object_pin */
int rayi_code_fetch(rayi_cluster *cluster, rayi_thread *thread, const rayi_code *code,
                    int (*use_bytes)(void *arg, const void *bytes, size_t size_bytes), void *arg);

/* ---- stand-ins ---- */

/* A record with RAYI_NAMED goes. Any thread. */
void rayi_cluster_forget(rayi_cluster *cluster, rayi_thread *thread, rayi_record *record);

#endif
