/* What the files of cluster share with each other and nobody else. */
#ifndef RAYI_CLUSTER_INSIDE_H
#define RAYI_CLUSTER_INSIDE_H

#include "cluster/between.h"
#include "cluster/cluster.h"
#include "cluster/copies.h"
#include "wire/wire.h"

#include <pthread.h>

/* ---- connections: one a link ---- */

typedef struct rayi_neighbour rayi_neighbour;

enum rayi_connection_kind {
    RAYI_CONNECTION_NEW,   /* it has not said what it is */
    RAYI_CONNECTION_SEAT,  /* between a node and the head */
    RAYI_CONNECTION_TALK,  /* of a session */
    RAYI_CONNECTION_EARLY, /* of a session with a node that the table does not have yet */
    RAYI_CONNECTION_PROBE, /* the head looks whether somebody listens */
    RAYI_CONNECTION_OBSERVER,
};

typedef struct rayi_connection {
    struct rayi_connection *prev, *next; /* in the cluster's */
    struct rayi_connection *next_writing;
    rayi_cluster *cluster;
    rayi_link *link;
    enum rayi_connection_kind kind;
    bool is_writing; /* in cluster.writing */
    bool is_awaited; /* finished: the cluster is left when all of these are closed */
    /* SEAT, at the head: who that is, once its JOIN was accepted; PROBE: who is looked for */
    rayi_node_id node;
    uint64_t incarnation;
    int64_t seated_ms;
    /* TALK */
    rayi_neighbour *neighbour;
    uint32_t number; /* of the link in the session; SEAT, at the head: of the node on the bus */
    size_t unwritten;
    /* EARLY */
    unsigned char hello[RAYI_HELLO_SIZE];
    bool is_due; /* the table has changed since it was looked at */
    /* OBSERVER */
    uint64_t observer; /* its number */
    uint32_t unanswered;
} rayi_connection;

/* ---- names ---- */

/* A record of ours that a neighbour holds. */
typedef struct rayi_given {
    UT_hash_handle hh; /* in the neighbour's, by number */
    uint64_t number;
    rayi_record *record; /* counted */
    uint64_t holds;
    bool is_shared;         /* in the cluster's, for those who fetch it */
    struct rayi_news *news; /* that it is done, while they are to be told */
} rayi_given;

/* A stand-in for a record of theirs. Not counted: it goes with the record. */
typedef struct rayi_borrowed {
    UT_hash_handle hh; /* in the neighbour's, by key, while is_current */
    UT_hash_handle hr; /* in the cluster's, by what */
    uint64_t key;      /* the number, and RAYI_BLOCK_KEY */
    rayi_record *what;
    rayi_neighbour *from; /* NULL: it has ended */
    uint64_t holds;       /* that they count for us */
    bool is_current, is_pending;
    struct rayi_borrowed *next; /* once it has gone, until they are told */
} rayi_borrowed;

/* The same for all neighbours: by number. Not counted: it is there as long as one of them holds it. */
typedef struct rayi_shared {
    UT_hash_handle hh;
    uint64_t number;
    rayi_record *record;
    uint32_t users;
    rayi_copies *copies; /* of one of ours; NULL: none. The loop's */
} rayi_shared;

typedef struct rayi_maps rayi_maps;       /* maps.c */
typedef struct rayi_moves rayi_moves;     /* moves.c */
typedef struct rayi_bringer rayi_bringer; /* keep.c */
typedef struct rayi_mapping rayi_mapping; /* an object of a process of this host, as seen from here */

/* A stand-in whose bytes others may fetch from us. Not counted: it is there as long as the record. */
typedef struct rayi_served {
    UT_hash_handle hh;
    uint64_t number;
    rayi_record *record;
} rayi_served;

/* Something that is over, on its way from the thread that ended it to the loop. */
typedef struct rayi_finished {
    struct rayi_finished *next;
    void (*tell)(rayi_cluster *cluster, struct rayi_finished *finished); /* on the loop */
} rayi_finished;

/* ---- questions that we have asked of one other end ---- */

typedef struct rayi_asked {
    UT_hash_handle hh; /* by id; in order of asking */
    uint64_t id;
    int64_t asked_ms, due_ms;
    rayi_answered answered; /* NULL: it was given up; it counts until the answer comes */
    void *arg;
} rayi_asked;

typedef struct rayi_asks {
    rayi_asked *all;
    uint64_t last_id;
    int64_t due_ms; /* nothing is due before; 0: nothing at all */
} rayi_asks;

/* Where the bytes of another node's object are: the source of its block. */
typedef struct rayi_wanted {
    struct rayi_wanted *prev, *next; /* in the cluster's */
    rayi_cluster *cluster;
    rayi_block *block;     /* not counted: it lasts as long as the block */
    rayi_mapping *mapping; /* of its block, which is brought by one thread at a time */
    /* Under names_lock: */
    rayi_record *record;          /* not counted; NULL: it cannot be found by others, or not any more */
    struct rayi_copying *copying; /* while it is fetched */
    unsigned news;                /* enum rayi_copy_news, that the loop has to tell to where the object comes from */
    bool is_posted;               /* the loop will */
    bool is_listed;               /* there, as a copy */
    bool is_kept;                 /* its mapping is, for all who hold the object */
    bool was_lost;                /* all places are gone, and what is here was kept, if anything */
    bool is_over;                 /* it goes when the news are told */
    uint8_t maker;                /* enum rayi_maker. The loop's */
    bool is_found;                /* its places are those that were named when it was lost: they may let go of it */
    bool is_made_here;            /* `instead` has the bytes in this node's own store */
    rayi_record *instead;         /* counted: what it was made again as, which keeps the bytes there; or NULL */
    rayi_finished finished;
    uint32_t num_places, room, origin;
    rayi_object_place places[]; /* the first `origin` + 1 came with the object; that one is where it comes from */
} rayi_wanted;

/* ---- functions and shapes: what one end has told the other ---- */

/* So many functions, and so many shapes, one node tells another, and so many bytes of both together. */
#define RAYI_TOLD_MOST       65536
#define RAYI_TOLD_BYTES_MOST (16 << 20)

typedef struct rayi_told {
    UT_hash_handle hh; /* by text */
    uint32_t number;
    size_t bytes;                  /* of the message */
    const rayi_function *function; /* of functions */
    char text[];
} rayi_told;

typedef struct rayi_callable {
    rayi_function *function;  /* NULL: there is none here, yet */
    ray_function *handle;     /* to call it by */
    rayi_error *error;        /* SIGNATURE, UNSUPPORTED, NO_MEMORY: what calls end with */
    char *hash;               /* of the code that it is of; or NULL */
    char *name, *description; /* description NULL: they have heard of none */
    bool is_missed;           /* they were told that there is none, and are to be told when there is */
} rayi_callable;

/* Bundles that are kept room for, or wait for it, of one owner: as many as a group may have, and as many again. */
#define RAYI_BUNDLES_KEPT_MOST 131072

/* Room on this node that is kept for bundles of a neighbour's placement group. */
typedef struct rayi_part {
    UT_hash_handle hh; /* in the neighbour's, by number */
    uint64_t number;
    uint32_t count; /* of bundles */
    rayi_neighbour *whose;
    ray_placement_group *group; /* the node's */
} rayi_part;

/* ---- neighbours ---- */

enum rayi_away_kind {
    RAYI_AWAY_TASK,
    RAYI_AWAY_CALL,   /* of an actor of ours that lives there: `call` has the task */
    RAYI_AWAY_HANDLE, /* of an actor of theirs: a call, or a record that waits for it */
};

typedef struct rayi_away {
    UT_hash_handle hh;       /* in the neighbour's, by id */
    UT_hash_handle hr;       /* in the cluster's, by what, unless that is NULL */
    const rayi_record *what; /* of CALL and HANDLE: what is asked for, by which it is found when that is cancelled */
    uint64_t id;
    uint32_t attempt;
    enum rayi_away_kind kind;
    rayi_task *task;     /* TASK: the lane's count; HANDLE: the count that its completion takes */
    rayi_record *record; /* HANDLE that waits: counted */
    struct rayi_afar_call *call;
    rayi_neighbour *there;
    struct rayi_away *prev, *next; /* in unsent */
    void *message;                 /* while it waits for credit */
    size_t size;
    enum { RAYI_TOLD_NOTHING, RAYI_TOLD_THIS, RAYI_TOLD_ALL } told; /* it is to stop; with all that it has submitted */
    bool is_broken;                                                 /* items were lost for want of memory */
    /* streams: in the neighbour's; and what they know there */
    bool is_stream, is_abandoned;
    struct rayi_away *prev_stream, *next_stream;
    uint64_t credit;
} rayi_away;

typedef struct rayi_hosted {
    UT_hash_handle hh; /* in the neighbour's, by id; it is there while the neighbour is */
    uint64_t id;
    uint32_t attempt;
    rayi_record *record;      /* counted */
    rayi_neighbour *whose;    /* counted */
    bool is_known;            /* in the neighbour's table */
    struct rayi_resident *of; /* the actor that lives here whose call it is; or NULL */
    struct rayi_flow *flow;   /* of a stream; or NULL */
    rayi_waiter waiter;
    rayi_finished finished;
} rayi_hosted;

struct rayi_neighbour {
    UT_hash_handle hh; /* in the cluster's, by id, until it has ended */
    rayi_node_id id;
    uint64_t incarnation;
    rayi_cluster *cluster;
    rayi_peer *peer; /* NULL once it has ended */
    uint32_t refs;   /* the table's, and those of news and hosted tasks; the loop's */
    char *address;   /* NULL: it cannot be dialled */
    char name[RAYI_ID_SIZE];
    bool is_near;        /* a process of this host, whose segments can be mapped as far as is known */
    bool is_dirty;       /* in cluster.dirty */
    bool is_broken;      /* it is taken for dead */
    unsigned num_faults; /* of its session: so often it has sent what cannot be */
    struct rayi_neighbour *next_dirty;
    bool is_own;                          /* this very node: what is sent comes back (own.c) */
    struct rayi_echo *echoes, *last_echo; /* is_own: on the way */
    int64_t tick_ms, pid;                 /* pid: there */
    uint32_t lost[4], num_lost;           /* links that the session is to be told of */

    rayi_told *functions, *shapes, *codes; /* that it knows */
    uint32_t num_functions, num_shapes, num_codes;
    uint32_t num_codes_told;              /* by it, that were not known here */
    uint32_t functions_told, shapes_told; /* by it: as many, or more, where there was no memory, than what follows */
    rayi_callable *callables;
    uint32_t num_callables;
    char **texts; /* of the shapes */
    uint32_t num_texts;
    uint64_t told_bytes, heard_bytes; /* of all those texts: to it, and from it */

    rayi_given *given;
    rayi_borrowed *borrowed;

    rayi_asks asks;
    uint32_t unanswered; /* questions of theirs */

    rayi_away *away;
    rayi_away *unsent; /* for want of credit */
    rayi_away *streams;
    rayi_hosted *hosted;
    struct rayi_resident *residents; /* actors of theirs that live here, by number */
    rayi_afar *afar;                 /* actors of ours that live there */
    rayi_part *parts;                /* of groups of theirs, here */
    uint32_t bundles;                /* of all these */
    struct rayi_lent *lent;          /* actors of ours that they have handles of, by number */
    struct rayi_handle *handles;     /* and we of theirs, by number; names_lock */
};

struct rayi_cluster {
    rayi_cluster_node node;
    rayi_node_id id;
    uint64_t incarnation; /* 0: not yet a member */
    bool is_head, is_driver, is_closing, has_key;
    char *head_address, *labels;
    rayi_transport *transport;
    rayi_listener *listener;
    rayi_member self;
    rayi_member_resource resources[RAYI_MEMBER_RESOURCES_MAX];
    char *texts[2]; /* what self points at: address, labels */

    rayi_members *members;       /* of the head */
    struct rayi_watch *watches;  /* of the head: processes of this host */
    rayi_membership *membership; /* of others */
    uint64_t seen_version;       /* of the table, that the node was told of */
    rayi_connection *seat;       /* of others: to the head */

    rayi_bus *bus; /* NULL: there is none (yet) */
    rayi_bus_secret secret;
    rayi_bus_ticket ticket;
    uint32_t bus_number;
    int64_t rotate_ms, survey_ms;
    int64_t told_ms;
    bool is_drained, is_parked;
    rayi_finished *held; /* calls whose results are not sent without a lease, the latest first */
    enum { RAYI_NOT_MOVED, RAYI_MOVING, RAYI_MOVED } objects; /* is_drained: it has nothing else left to do */
    uint64_t last_observer;                                   /* of the head: number of */

    rayi_connection *connections, *writing;
    rayi_neighbour *neighbours, *dirty;
    rayi_neighbour *own; /* is_own; NULL: nobody has wanted it */
    struct rayi_broken *broken;
    unsigned faults_most; /* with so many a neighbour is broken */
    bool is_out_of_step;  /* neighbours are not those of the table: it is to be looked at again */
    bool is_pumping;
    int64_t due_ms; /* of the timer */

    uv_timer_t timer;
    uv_prepare_t prepare; /* links have written what they could: comes before the loop sleeps */
    rayi_wake wake;       /* something is finished */
    unsigned num_uv;      /* handles of the loop */
    unsigned num_awaited; /* connections that are */
    void (*closed)(void *node);

    rayi_bulk *bulk;
    char *bulk_address;
    rayi_maps *maps;
    rayi_moves *moves;     /* NULL: none yet */
    rayi_bringer *bringer; /* likewise */
    atomic_uint refs;      /* 1, and those of rayi_wanted */

    pthread_cond_t names_changed; /* those who fetch have been told where from */
    pthread_mutex_t names_lock;   /* of the rest */
    rayi_shared *shared;
    rayi_served *served;
    rayi_wanted *wanted;
    rayi_borrowed *records; /* stand-ins, by record */
    rayi_borrowed *gone;    /* that are to be given back */
    rayi_finished *finished;
    rayi_afar *calling; /* actors with calls to be sent */
    struct rayi_handle *handles, *handles_gone;
    unsigned looks;                   /* for which news of what is away */
    struct rayi_cancelled *cancelled; /* calls, the latest first */
    rayi_away *away_of;               /* calls, by record. The loop's */
    bool deaf;                        /* wake is not there any more */
    bool codes_ended;                 /* no library comes any more */
    bool saw_deaths;                  /* of nodes. The loop's */
};

static inline int64_t rayi_cluster_now(void)
{
    return rayi_now_ms();
}

/* ---- cluster.c ---- */

void rayi_cluster_set_timer(rayi_cluster *cluster);
void rayi_cluster_handle_closed(rayi_cluster *cluster);
void rayi_cluster_left(rayi_cluster *cluster); /* after the close, and once no connection is awaited any more */
void rayi_cluster_finish(rayi_cluster *cluster, rayi_finished *finished); /* any thread; FIFO is not kept */
void rayi_finished_tell(rayi_cluster *cluster, rayi_finished *all);       /* a list of which the latest comes first */
void rayi_cluster_stir(rayi_cluster *cluster);                            /* names_lock is held */
void rayi_cluster_call(rayi_cluster *cluster, rayi_afar **next, rayi_afar *afar); /* rayi_afar_pump will have it */
/* What this node has free, in the order of what it told when it joined: how many. */
uint32_t rayi_cluster_fill_tell(rayi_cluster *cluster, uint32_t *load, int64_t available[RAYI_MEMBER_RESOURCES_MAX]);
/* What the table has for this node now is what its neighbours are. */
void rayi_cluster_sync(rayi_cluster *cluster);
/* The cluster key, which a head makes if there is none: 1. 0: there is to be none (no_key), or there is none and need
 * not be one: nobody has said where it should be, and the head is this user's. A node runs what a head says, so it goes
 * to no other without. */
int rayi_cluster_seek_key(const rayi_cluster_config *config, rayi_key *out);

char *rayi_cluster_shown_address(const char *listened); /* what others dial; for rayi_free. NULL: no memory */
void rayi_cluster_ref(rayi_cluster *cluster);

/* ---- links.c ---- */

extern const rayi_link_events rayi_cluster_events; /* of accepted links; their first arg is the cluster */
int rayi_connection_dial(rayi_cluster *cluster, const char *address, const char *who, int64_t timeout_ms,
                         enum rayi_connection_kind kind, rayi_connection **out);
void rayi_connection_close(rayi_connection *connection); /* no event comes */
/* The cluster is closing: closes it once all was sent, which rayi_cluster_left waits for. */
void rayi_connection_finish(rayi_connection *connection);
void rayi_connection_written(rayi_connection *connection);
void rayi_connections_look_again(rayi_cluster *cluster); /* those that came before the table had their nodes */
void rayi_connection_send_member(rayi_connection *connection, const rayi_member_message *message);
void rayi_connection_send_written(rayi_connection *connection, enum rayi_link_type type, const rayi_writer *writer);

/* ---- head.c, member.c: who does what the brains of membership want ---- */

int rayi_head_start(rayi_cluster *cluster);
void rayi_head_pump(rayi_cluster *cluster);
void rayi_head_take(rayi_connection *connection, const void *bytes, size_t size);
void rayi_head_heard(rayi_cluster *cluster, const rayi_node_id *id, uint64_t incarnation); /* a byte of it */
void rayi_head_lost(rayi_connection *connection);
void rayi_head_refused(rayi_connection *probe);
void rayi_head_stop(rayi_cluster *cluster);
void rayi_head_say_good_bye(rayi_cluster *cluster);

int rayi_member_start(rayi_cluster *cluster, int64_t head_wait_ms);
void rayi_member_pump(rayi_cluster *cluster);
void rayi_member_linked(rayi_connection *connection);
void rayi_member_unlinked(rayi_connection *connection, rayi_link_why why);
void rayi_member_take_message(rayi_connection *connection, const void *bytes, size_t size);
void rayi_member_take_hint(rayi_connection *connection, const void *bytes, size_t size);
void rayi_member_stop(rayi_cluster *cluster);

/* ---- broken.c: neighbours that send rubbish ---- */

#define RAYI_FAULTS_MOST 2
void rayi_broken_message(rayi_neighbour *n, const void *bytes, size_t size); /* one that cannot be has come */
void rayi_broken_count(rayi_neighbour *n, const char *what);                 /* something else that breaks a rule */
void rayi_broken_remember(rayi_neighbour *n);
bool rayi_broken_is(const rayi_cluster *cluster, const rayi_node_id *id, uint64_t incarnation); /* or an earlier one */
void rayi_broken_prune(rayi_cluster *cluster); /* what the table does not have any more */
void rayi_broken_forget_all(rayi_cluster *cluster);

/* ---- park.c: without a lease ---- */

void rayi_park(rayi_cluster *cluster);
void rayi_unpark(rayi_cluster *cluster);
void rayi_park_fenced(rayi_cluster *cluster); /* before its sessions end: what is parked dies */
void rayi_park_end(rayi_cluster *cluster);    /* afterwards, or when it is out: nothing is parked or held any more */
void rayi_park_look(rayi_cluster *cluster);   /* the lease may be another one */
bool rayi_park_holds(const rayi_hosted *h);   /* what it has come to is not sent now */
void rayi_park_hold(rayi_cluster *cluster, rayi_finished *finished); /* until it may be */

/* ---- bus.c ---- */

void rayi_cluster_bus_admit(rayi_connection *seat); /* at the head: it sits there now */
void rayi_cluster_bus_publish(rayi_cluster *cluster, const rayi_writer *table);
void rayi_cluster_bus_hush(rayi_cluster *cluster); /* of the head, before it speaks of a node that goes */
void rayi_cluster_bus_tick(rayi_cluster *cluster, int64_t now_ms);
void rayi_cluster_bus_take_ticket(rayi_cluster *cluster, const void *bytes, size_t size);
void rayi_cluster_bus_stop(rayi_cluster *cluster);

/* ---- neighbour.c ---- */

rayi_neighbour *rayi_neighbour_find(rayi_cluster *cluster, const rayi_node_id *id);
void rayi_neighbour_put(rayi_cluster *cluster, const rayi_member *member); /* it is, and is not dead */
void rayi_neighbour_die(rayi_neighbour *neighbour);
void rayi_neighbour_ref(rayi_neighbour *neighbour);
void rayi_neighbour_unref(rayi_neighbour *neighbour);
void rayi_neighbour_adopts(rayi_neighbour *neighbour, rayi_connection *connection, const rayi_session_frame *hello);
void rayi_neighbour_linked(rayi_connection *connection);
void rayi_neighbour_unlinked(rayi_connection *connection);
void rayi_neighbour_receive(rayi_connection *connection, const void *bytes, size_t size);
void rayi_neighbour_wrote(rayi_connection *connection, size_t size);
/* 0, LIMIT (a request without credit), NODE_DIED, NO_MEMORY. */
int rayi_neighbour_send(rayi_neighbour *neighbour, rayi_frame_kind kind, const rayi_writer *writer);
void rayi_between_begin(rayi_writer *writer, enum rayi_between what);
/* Says it as a message, and ends the writer; without memory it is not said. */
void rayi_between_say(rayi_neighbour *neighbour, rayi_writer *writer);
void rayi_neighbour_done(rayi_neighbour *neighbour, uint64_t requests);
void rayi_neighbours_pump(rayi_cluster *cluster);
void rayi_neighbours_tick(rayi_cluster *cluster, int64_t now_ms);
int64_t rayi_neighbours_next_tick(const rayi_cluster *cluster);
rayi_error *rayi_neighbour_error(const rayi_neighbour *neighbour, const char *what); /* NODE_DIED */
const char *rayi_neighbour_fate(const rayi_neighbour *neighbour); /* its words behind the node's name */

/* ---- asks.c ---- */

/* A new question; its id, or 0: no memory, or LIMIT (last error). */
uint64_t rayi_asks_add(rayi_asks *asks, uint32_t most, int64_t timeout_ms, rayi_answered answered, void *arg);
void rayi_asks_undo(rayi_asks *asks, uint64_t id); /* it could not be sent */
/* An ANSWER; port NULL: no record may come with it. False: rubbish. */
bool rayi_asks_take(rayi_asks *asks, rayi_port *port, rayi_thread *thread, rayi_reader *reader);
/* Gives up what is due; say: its error, counted. */
void rayi_asks_tick(rayi_asks *asks, int64_t now_ms, rayi_error *(*say)(void *arg, int64_t tried_ms), void *arg);
int64_t rayi_asks_next_tick(const rayi_asks *asks);
void rayi_asks_forget(rayi_asks *asks);                 /* those that were given up: no answer can come any more */
void rayi_asks_end(rayi_asks *asks, rayi_error *error); /* lent: of all */
/* What goes behind the kind of message; of an ANSWER error NULL means said. False: no memory, or no number. */
bool rayi_asks_write(rayi_port *port, rayi_thread *thread, rayi_writer *writer, uint64_t id, uint8_t op,
                     const rayi_said *question);
bool rayi_asks_write_answer(rayi_port *port, rayi_thread *thread, rayi_writer *writer, uint64_t id,
                            const rayi_said *answer, const rayi_error *error);
bool rayi_asks_serve(rayi_neighbour *neighbour, rayi_reader *reader); /* false: rubbish */
bool rayi_asks_answered(rayi_neighbour *neighbour, rayi_reader *reader);
void rayi_neighbour_asks_tick(rayi_neighbour *neighbour, int64_t now_ms);
void rayi_neighbour_asks_end(rayi_neighbour *neighbour);
rayi_error *rayi_unreachable(const char *address, const char *why, int64_t tried_ms); /* HEAD_UNREACHABLE */

/* ---- observed.c: at the head ---- */

void rayi_observed_take(rayi_connection *connection, const void *bytes, size_t size);
void rayi_observed_answer(rayi_cluster *cluster, const rayi_asker *asker, const rayi_said *answer, rayi_error *error);
bool rayi_neighbour_take(rayi_neighbour *neighbour, rayi_frame_kind kind, const void *bytes, size_t size);
void rayi_neighbour_end(rayi_neighbour *neighbour); /* all that is between us */
void rayi_neighbour_mark(rayi_neighbour *neighbour);

/* ---- own.c: this node as a neighbour of its own ---- */

rayi_neighbour *rayi_neighbour_or_own(rayi_cluster *cluster, const rayi_node_id *id);    /* NULL: none, or no memory */
int rayi_own_send(rayi_neighbour *own, rayi_frame_kind kind, const rayi_writer *writer); /* NO_MEMORY, NODE_DIED */
void rayi_own_pump(rayi_neighbour *own);
void rayi_own_end(rayi_cluster *cluster);

/* ---- parts.c ---- */

bool rayi_parts_take(rayi_neighbour *neighbour, enum rayi_between what, rayi_reader *reader);
/* For a message of the neighbour's: a part of its own (owner is zeros), or of another one's group. NULL: not here. */
ray_placement_group *rayi_parts_find(rayi_neighbour *neighbour, const rayi_node_id *owner, uint64_t number);
/* Whether what that neighbour has sent may wait there (rayi_cluster_node.part_admits). */
bool rayi_parts_admit(rayi_neighbour *neighbour, ray_placement_group *group, bool any_bundle, uint32_t bundle,
                      const char *resources);
void rayi_parts_end(rayi_neighbour *neighbour);

/* ---- names.c ---- */

uint64_t rayi_names_give(rayi_neighbour *neighbour, rayi_record *record, bool as_ref); /* 0: no memory */
rayi_record *rayi_names_given(rayi_neighbour *neighbour, uint64_t number);             /* counted; NULL: not held */
bool rayi_names_take_back(rayi_neighbour *neighbour, uint64_t number, uint64_t holds);
uint64_t rayi_names_of_stand_in(rayi_neighbour *neighbour, rayi_record *record); /* its number there; 0: none of it */
/* The stand-in of this key, counted; made if there is none. NULL: no memory, or make said so. */
rayi_record *rayi_names_borrow(rayi_neighbour *neighbour, uint64_t key, rayi_record *(*make)(void *arg), void *arg);
rayi_record *rayi_names_borrowed(rayi_neighbour *neighbour, uint64_t key);     /* counted; NULL: there is none */
rayi_record *rayi_names_stand_in(rayi_neighbour *neighbour, uint64_t number);  /* for a ref */
bool rayi_names_take_complete(rayi_neighbour *neighbour, rayi_reader *reader); /* false: rubbish */
bool rayi_names_take_release(rayi_neighbour *neighbour, rayi_reader *reader);
bool rayi_names_holds(const rayi_neighbour *neighbour, uint64_t number); /* they, of us, an object's bytes */
void rayi_names_release(rayi_neighbour *neighbour, uint64_t number, uint64_t holds);
void rayi_names_give_back(rayi_cluster *cluster); /* what has gone */
void rayi_names_end(rayi_neighbour *neighbour);

/* ---- objects.c ---- */

int rayi_objects_start(rayi_cluster *cluster, const rayi_key *key, const uint8_t *identity); /* key NULL: none */
void rayi_objects_stop(rayi_cluster *cluster);
void rayi_objects_share(rayi_cluster *cluster, rayi_given *given);
void rayi_objects_unshare(rayi_cluster *cluster, const rayi_given *given);
void rayi_objects_node_died(rayi_cluster *cluster, const rayi_node_id *id);
bool rayi_cluster_knows_dead(const rayi_cluster *cluster, const rayi_node_id *node); /* which is not told again */
void rayi_objects_enter(rayi_cluster *cluster, rayi_record *object);       /* a stand-in, which is named now */
void rayi_objects_leave(rayi_cluster *cluster, const rayi_record *record); /* it goes; names_lock is held */
void rayi_objects_put_places(rayi_cluster *cluster, rayi_writer *writer, rayi_record *object, uint64_t number);
rayi_wanted *rayi_objects_take_places(rayi_cluster *cluster, rayi_reader *reader);
void rayi_objects_drop(rayi_wanted *wanted);
rayi_record *rayi_objects_own(const rayi_wanted *wanted);
rayi_record *rayi_objects_find(rayi_cluster *cluster, uint64_t number); /* that any neighbour holds; counted, or NULL */
/* A message about objects. False: rubbish. */
bool rayi_objects_take(rayi_neighbour *neighbour, enum rayi_between what, rayi_reader *reader);
bool rayi_objects_take_place(const rayi_cluster *cluster, rayi_reader *reader, rayi_object_place *out);
void rayi_objects_put_place(rayi_writer *writer, const rayi_object_place *place);
void rayi_objects_own_place(const rayi_cluster *cluster, uint64_t number, rayi_object_place *out);
rayi_record *rayi_objects_make(rayi_wanted *wanted, rayi_thread *thread, unsigned kind, uint64_t size_bytes);

/* ---- fetch.c ---- */

extern const rayi_source rayi_wanted_source; /* its arg is a rayi_wanted in the cluster's list */
static inline rayi_wanted *rayi_wanted_of(const rayi_record *object)
{
    rayi_block *block = rayi_object_block(object);

    return block ? rayi_block_source_arg(block) : NULL;
}
static inline const rayi_object_place *rayi_wanted_origin(const rayi_wanted *wanted)
{
    return &wanted->places[wanted->origin];
}
/* names_lock is held. */
void rayi_wanted_tell(rayi_wanted *wanted, unsigned news);
void rayi_wanted_node_died(rayi_wanted *wanted, const rayi_node_id *id);
bool rayi_wanted_is_lost(const rayi_wanted *wanted); /* all its places are gone */
/* Lets others read what has come so far. False: it is not being fetched. */
bool rayi_wanted_open(rayi_wanted *wanted, rayi_early **early, rayi_bulk_object *out);
/* On the loop. */
bool rayi_wanted_take_copy(rayi_neighbour *neighbour, rayi_reader *reader);
bool rayi_wanted_take_places(rayi_neighbour *neighbour, rayi_reader *reader);
/* Others can find it by its number, which is returned; 0: no memory. */
uint64_t rayi_wanted_serve(rayi_cluster *cluster, rayi_record *object);
/* The object of that node that it knows by that number; counted, or NULL. */
rayi_record *rayi_wanted_find(rayi_cluster *cluster, const rayi_node_id *origin, uint64_t number);
/* One more node has it, for good; of another one that is gone it takes the place if there is no room. */
void rayi_wanted_add_copy(rayi_cluster *cluster, rayi_record *object, const rayi_object_place *place);
/* What it has mapped stays mapped as long as the object; false: it has nothing mapped. */
bool rayi_wanted_keep_mapped(rayi_wanted *wanted);
/* Adds a place to each of those that are that object, one a call: false: to no more. *at: where to go on; *own: its
 * number here, 0: nobody has it from us. */
bool rayi_wanted_add_place(rayi_cluster *cluster, const rayi_node_id *origin, uint64_t number,
                           const rayi_object_place *place, uint32_t *at, uint64_t *own);

/* ---- moves.c ---- */

/* Before this node leaves: each object of ours that others hold gets a new home with one of them. done comes once, when
 * all have, or num_failed could not be moved, perhaps from inside the call. EXISTS (it is at it) NO_MEMORY; then it
 * does not come. */
int rayi_moves_begin(rayi_cluster *cluster, void (*done)(void *arg, uint32_t num_failed), void *arg);
bool rayi_moves_take_keep(rayi_neighbour *neighbour, rayi_reader *reader);
bool rayi_moves_take_kept(rayi_neighbour *neighbour, rayi_reader *reader);
bool rayi_moves_take_moved(rayi_neighbour *neighbour, rayi_reader *reader);
void rayi_moves_node_died(rayi_cluster *cluster, const rayi_node_id *id);
void rayi_moves_stop(rayi_cluster *cluster);

/* ---- keep.c ---- */

int64_t rayi_bring_deadline(const rayi_record *object); /* ns: until when its bytes are waited for, by their size */

/* An object of another node that is brought here, to be kept for others. */
typedef struct rayi_bringing {
    struct rayi_bringing *prev, *next;
    rayi_record *object; /* counted */
    rayi_error *why;
    rayi_finished finished;
    /* On the loop: it is kept, and others know it by this number; 0: why not, lent. */
    void (*done)(struct rayi_bringing *bringing, uint64_t own, rayi_error *why);
} rayi_bringing;
/* With `done` set. False: no memory, or no thread (last error); done does not come. */
bool rayi_bring(rayi_cluster *cluster, rayi_bringing *bringing, rayi_record *object);
void rayi_bring_stop(rayi_cluster *cluster); /* all are done, or fail */

/* ---- lost.c ---- */

rayi_record *rayi_wanted_made_here(const rayi_wanted *wanted); /* counted; NULL: it was not. names_lock is held */
int rayi_wanted_copy_made(rayi_record *made, void *to, size_t size_bytes); /* takes the count */

/* ---- maps.c ---- */

int rayi_maps_new(rayi_cluster *cluster, rayi_maps **out);
void rayi_maps_free(rayi_maps *maps);                /* with the last object that was ever mapped; takes NULL */
void rayi_maps_stop(rayi_maps *maps);                /* nobody waits any more; any thread */
void rayi_maps_let_go(rayi_cluster *cluster);        /* of what nobody reads now; while there are sessions */
void rayi_maps_end(rayi_cluster *cluster);           /* of what others read; after the sessions */
void rayi_maps_tick(rayi_cluster *cluster);          /* a few times a second */
void rayi_maps_node_died(rayi_neighbour *neighbour); /* its process may go on */
bool rayi_maps_asked(rayi_neighbour *neighbour, rayi_reader *reader);
bool rayi_maps_answered(rayi_neighbour *neighbour, rayi_reader *reader);
bool rayi_maps_returned(rayi_neighbour *neighbour, rayi_reader *reader);
/* These on any thread. Uses an object, whose node is asked first if need be; *mapping (NULL at first) is the same from
 * then on. deadline_ns 0: if that takes no waiting. */
bool rayi_maps_use(rayi_maps *maps, rayi_mapping **mapping, const rayi_node_id *node, uint64_t number,
                   size_t size_bytes, int64_t deadline_ns, rayi_foreign **segment, size_t *offset);
void rayi_maps_unuse(rayi_maps *maps, rayi_mapping *mapping);
void rayi_maps_keep(rayi_maps *maps, rayi_mapping *mapping);   /* mapped, until it is forgotten */
void rayi_maps_forget(rayi_maps *maps, rayi_mapping *mapping); /* it will not be used again by who has it; takes NULL */

/* ---- port.c ---- */

typedef struct rayi_between_port {
    rayi_port port; /* first */
    rayi_neighbour *neighbour;
    rayi_writer named; /* u64 numbers, in case the message is not sent */
} rayi_between_port;
void rayi_between_port_init(rayi_between_port *port, rayi_neighbour *neighbour);
void rayi_between_port_fini(rayi_between_port *port, bool sent);

/* ---- away.c ---- */

bool rayi_away_known(rayi_neighbour *neighbour, rayi_reader *reader);
bool rayi_away_name_function(rayi_neighbour *neighbour, const rayi_function *function, uint32_t *out);
/* Sends a request that was written, or keeps it until there is credit; takes `away` unless it returns false. */
bool rayi_away_put(rayi_neighbour *neighbour, rayi_away *away, const rayi_writer *writer);
rayi_away *rayi_away_find(rayi_neighbour *neighbour, uint64_t id); /* NULL: there is none */
rayi_task *rayi_away_task(const rayi_away *away); /* that the entry stands for, counted; NULL: none (any more) */
void rayi_away_look_now(rayi_cluster *cluster);
bool rayi_away_result(rayi_neighbour *neighbour, rayi_reader *reader); /* false: rubbish */
bool rayi_away_refused(rayi_neighbour *neighbour, rayi_reader *reader);
void rayi_away_go_on(rayi_neighbour *neighbour); /* there is credit */
void rayi_away_end(rayi_neighbour *neighbour);

/* ---- streams.c: of both ends ---- */

/* What a TASK is to say of the stream, if it is one; remembered in `away`. */
void rayi_stream_describe(rayi_away *away, rayi_task *task, rayi_between_task *head);
void rayi_stream_went(rayi_neighbour *neighbour, rayi_away *away); /* its TASK has been sent */
void rayi_stream_left(rayi_neighbour *neighbour, rayi_away *away);
void rayi_streams_look(rayi_neighbour *neighbour); /* readers may have gone on */
bool rayi_stream_take_item(rayi_neighbour *neighbour, rayi_reader *reader);

struct rayi_flow *rayi_flow_new(rayi_hosted *hosted, const rayi_between_task *head); /* NULL: no memory */
void rayi_flow_start(struct rayi_flow *flow);
bool rayi_flow_take_credit(rayi_neighbour *neighbour, rayi_reader *reader);
/* The stream has ended, or nobody wants it. True: all was sent; else rayi_hosted_over is called when it is. */
bool rayi_flow_end(struct rayi_flow *flow);
void rayi_flow_go_on(struct rayi_flow *flow);           /* it may have been held */
bool rayi_flow_is_broken(const struct rayi_flow *flow); /* items were lost for want of memory */
void rayi_flow_free(struct rayi_flow *flow);

/* ---- actors.c: of ours, elsewhere ---- */

/* The task of a call, counted; NULL: it was taken back. */
rayi_task *rayi_afar_call_task(struct rayi_afar_call *call);

void rayi_afar_pump(rayi_cluster *cluster);
/* The call has ended there; takes what the result counts. */
void rayi_afar_result(rayi_cluster *cluster, struct rayi_afar_call *call, rayi_result *result);
void rayi_afar_call_drop(rayi_cluster *cluster, struct rayi_afar_call *call); /* nothing will come of it */
bool rayi_afar_take_up(rayi_neighbour *neighbour, rayi_reader *reader);
bool rayi_afar_take_gone(rayi_neighbour *neighbour, rayi_reader *reader);
bool rayi_afar_take_refused(rayi_neighbour *neighbour, rayi_reader *reader);
void rayi_afar_end_all(rayi_neighbour *neighbour);

/* ---- residents.c: of others, here ---- */

bool rayi_resident_take(rayi_neighbour *neighbour, rayi_reader *reader);
bool rayi_resident_take_end(rayi_neighbour *neighbour, rayi_reader *reader);
ray_actor *rayi_resident_find(rayi_neighbour *neighbour, uint64_t number, struct rayi_resident **out);
void rayi_resident_count(struct rayi_resident *resident, int calls);
bool rayi_resident_is_over(const rayi_error *error); /* what its owner will hear of by the actor's death */
void rayi_residents_end(rayi_neighbour *neighbour);

/* ---- handles.c: of actors of one end, at the other ---- */

uint64_t rayi_handles_give(rayi_neighbour *neighbour, ray_actor *actor); /* 0: no memory */
ray_actor *rayi_handles_find(rayi_neighbour *neighbour, uint64_t number, const char *class, const char *name);
ray_actor *rayi_handles_given(rayi_neighbour *neighbour, uint64_t number); /* borrowed; NULL: not held */
void rayi_handles_take_back(rayi_neighbour *neighbour, uint64_t number, uint64_t holds);
bool rayi_handles_take(rayi_neighbour *neighbour, enum rayi_between what, rayi_reader *reader);
void rayi_handles_end(rayi_neighbour *neighbour);
void rayi_handles_give_back(rayi_cluster *cluster);
void rayi_handles_fini(rayi_cluster *cluster);

rayi_told *rayi_told_find(rayi_told *all, const char *text);
/* Tells a text under the next number; NULL: it could not, or the other end would not take one more. */
rayi_told *rayi_told_tell(rayi_neighbour *neighbour, rayi_told **all, uint32_t *count, const char *text,
                          rayi_writer *message);
void rayi_told_forget(rayi_told **all, const char *text);

/* ---- code.c ---- */

bool rayi_code_tell(rayi_neighbour *neighbour, rayi_code *code); /* what it does not know of it; false: it could not */
bool rayi_code_take(rayi_neighbour *neighbour, rayi_reader *reader);
/* What is left of a FUNCTION; NULL: it does not travel. */
const char *rayi_code_take_hash(rayi_reader *reader);
void rayi_codes_node_died(rayi_cluster *cluster, const rayi_node_id *id); /* NULL: this one leaves */

/* ---- hosted.c ---- */

/* What functions that were missed by others are here now; they hear so. */
void rayi_hosted_look_again(rayi_cluster *cluster);

/* The record is counted for us; its result goes to the neighbour under that id and attempt. */
void rayi_hosted_host(rayi_neighbour *neighbour, const rayi_between_task *head, rayi_record *record,
                      struct rayi_resident *of);
rayi_hosted *rayi_hosted_find(rayi_neighbour *neighbour, uint64_t id); /* NULL: there is none */
void rayi_hosted_over(rayi_hosted *hosted);
rayi_callable *rayi_hosted_callable(rayi_neighbour *neighbour, uint32_t function); /* NULL: not told, or no memory */

bool rayi_hosted_function(rayi_neighbour *neighbour, rayi_reader *reader);
bool rayi_hosted_shape(rayi_neighbour *neighbour, rayi_reader *reader);
bool rayi_hosted_take(rayi_neighbour *neighbour, rayi_reader *reader);
bool rayi_hosted_cancel(rayi_neighbour *neighbour, rayi_reader *reader);
bool rayi_hosted_inherit(rayi_neighbour *neighbour, rayi_reader *reader);
void rayi_hosted_end(rayi_neighbour *neighbour);

#endif
