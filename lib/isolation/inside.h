/* What the files of isolation share with each other and nobody else. */
#ifndef RAYI_ISOLATION_INSIDE_H
#define RAYI_ISOLATION_INSIDE_H

#include "isolation/isolation.h"
#include "ring/ring.h"
#include "wire/wire.h"

#define RAYI_GUEST_DEPTH 128 /* tasks that one has been offered, started or not */
#define RAYI_NO_SLOT     UINT32_MAX
#define RAYI_LATER       1 /* of encoding: a block must be fetched from disk first */
#define RAYI_GONE        2 /* of handing over: the process is not there any more */
#define RAYI_STOPPED     3 /* of handing over: it has been cancelled meanwhile */
#define RAYI_HELD        4 /* of handing over: its actor is parked */

#define RAYI_START_MS       30000 /* a process that is not ready by then is killed */
#define RAYI_START_FAILURES 6     /* start_failures from which on no process is started: 2 a failure, 1 less a tick */

typedef struct rayi_guest rayi_guest;
typedef struct rayi_begin rayi_begin; /* actors.c: a constructor on its way to a process */

/* Guests of one class can run the same tasks: they have the same environment, and have opened the same code. */
typedef struct rayi_class {
    struct rayi_class *next;
    char **env;                       /* or NULL */
    char *gpus;                       /* visible devices, or NULL */
    rayi_code *code;                  /* or NULL; and where it lies, NULL: it is not here (yet): */
    char *path;                       /* changed on the loop */
    bool is_bringing;                 /* it comes */
    bool is_doubtful;                 /* a process could not open it: is it there still? */
    uint32_t num_failures;            /* processes in a row that have not opened it */
    struct rayi_begin *begins;        /* the loop's: actors that wait for it, latest first */
    rayi_task *plain[2], *granted[2]; /* first and last of what waits, by head.next; counted */
    uint32_t num_plain, num_granted, num_starting;
    int64_t used_ms;        /* when the timer last found it in use */
    int64_t waits_since_ms; /* without a process; 0: it does not */
} rayi_class;

/* A task or call that a guest was offered. */
typedef struct rayi_offer {
    rayi_task *task; /* counted: the lane's; NULL: the slot is free (CONSTRUCT and FINI: see work) */
    uint32_t generation;
    uint32_t prev, next; /* in the order of offering, or of the free slots */
    uint32_t life;       /* of the actor */
    uint8_t work;        /* enum rayi_work */
    bool used, nested, asked_to_stop;
    uint64_t yielded;
    int64_t offered_ns;    /* if what runs is recorded; else 0 */
    rayi_record *awaited;  /* counted: what it is blocked on, or NULL */
    bool blocked, patient; /* it waits; and not just for a moment */
} rayi_offer;

/* What a guest holds, or has made: under the number that both know. */
enum rayi_entry_kind { RAYI_ENTRY_RECORD, RAYI_ENTRY_BUFFER, RAYI_ENTRY_ACTOR, RAYI_ENTRY_GROUP };

typedef struct rayi_entry {
    UT_hash_handle hh;
    uint64_t number;
    enum rayi_entry_kind kind;
    rayi_record *record;        /* counted */
    ray_actor *actor;           /* counted */
    ray_placement_group *group; /* counted */
    uint64_t holds, pins;
    bool as_ref;            /* it was named as a ref: the guest waits to hear when it is done */
    struct rayi_news *news; /* waits for the record; under guest.lock */
} rayi_entry;

/* Tells a guest when a record is done. Counted by the wait and by the entry; with the entry goes the wait, too, since a
 * stream that nobody has a ref of is to end. */
typedef struct rayi_news {
    rayi_waiter waiter;
    atomic_uint refs;
    rayi_isolation *isolation;
    rayi_record *record; /* counted */
    uint32_t guest;      /* index; with */
    uint32_t life;       /* of the guest: it may be another process by then */
    uint64_t number;
} rayi_news;

typedef struct rayi_segment_told {
    UT_hash_handle hh;
    uint64_t segment;
} rayi_segment_told;

typedef struct rayi_parcel { /* a message that found no room, or is longer than a ring takes at once */
    struct rayi_parcel *next;
    uint32_t type;
    size_t size, sent;
    char data[];
} rayi_parcel;

typedef struct rayi_chore rayi_chore;
typedef struct rayi_chores { /* a queue of them; under isolation.lock */
    uint32_t running, max;
    rayi_chore *first, *last;
} rayi_chores;

typedef enum rayi_guest_state {
    RAYI_GUEST_NONE,     /* no process */
    RAYI_GUEST_STARTING, /* until READY */
    RAYI_GUEST_READY,
    RAYI_GUEST_LEAVING, /* gets nothing new; was told to exit, or killed */
} rayi_guest_state;

typedef enum rayi_guest_why { /* it was ended by us */
                              RAYI_WHY_NONE,
                              RAYI_WHY_IDLE,
                              RAYI_WHY_CANCELLED,
                              RAYI_WHY_STOPPED, /* SIGSTOP: it could not hear of a cancel */
                              RAYI_WHY_LATE,    /* it did not get to ray_init */
                              RAYI_WHY_RUBBISH,
                              RAYI_WHY_ACTOR,
                              RAYI_WHY_SHUTDOWN,
} rayi_guest_why;

struct rayi_guest {
    rayi_isolation *of;
    uint32_t index;
    atomic_uint life;      /* how many processes it has been */
    uint64_t first_number; /* of the range of this process, which no other one has ever had */
    pthread_mutex_t rx;

    rayi_parcel *kept; /* under rx: a message that the loop has to take */

    /* under isolation.lock */
    rayi_guest_state state;
    rayi_class *class;
    uint32_t num_offered; /* offers that are out, or about to be */
    uint32_t num_blocked; /* offers that wait: their guest's slot is given back */
    bool has_slot, granted;
    bool starting;    /* its READY has not come, or: */
    bool opening;     /* it has, but it has not opened the code of its class */
    bool unopened;    /* it has said that it cannot */
    bool retire;      /* its function's max_calls are reached: it leaves when it is done */
    bool stopped;     /* by SIGSTOP, and did not take what it was offered: it is offered nothing */
    ray_actor *actor; /* counted: it serves this one only */
    uint32_t actor_life;
    int64_t idle_since_ms;
    uint32_t num_calls, max_calls;        /* given to it, of functions that have max_calls; the least of these */
    bool limited;                         /* its memory is, for the task that it was handed last */
    bool makes_way;                       /* it is to leave for others' sake */
    rayi_guest_why why, to_kill, to_exit; /* why it ends; what the loop is to do with it */
    rayi_chores chores;                   /* its requests that have to wait */

    /* under lock */
    pthread_mutex_t lock;
    rayi_channel *channel; /* changed under guests_lock (write), too */
    atomic_bool open;      /* the channel may be used; changed under lock, looked at without for a hint */
    int socket;
    _Atomic(rayi_parcel *) first; /* of what is kept; changed under lock, looked at without for a hint */
    rayi_parcel *last;
    rayi_offer *offers; /* RAYI_OFFERS of them */
    uint32_t oldest, newest, free_slot;
    uint32_t generation;
    rayi_entry *entries;
    rayi_segment_told *segments;
    uint32_t *told; /* functions by their number here: 1 above theirs there; 0: not told yet */
    size_t told_size;
    uint32_t num_told;
    bool proven;              /* it has finished something */
    ray_function **functions; /* the worker's numbers */
    size_t num_functions;
    rayi_arena *arena;
    bool actor_waits;     /* actor_send was refused */
    bool fetching;        /* a chore brings blocks for one of the actor's calls */
    bool lied;            /* it has sent rubbish: what it says to have started or not is worth nothing, either */
    bool doomed;          /* what it runs was taken from it, it will be killed: what it says of that is past */
    bool parked;          /* its actor is: it is handed no call */
    const void *labelled; /* function that the process is labelled with */
    atomic_uint busy;     /* has offers out: worth looking at */

    /* the loop's */
    rayi_process *process;
    int64_t pid, killed_at_ms;
};

struct rayi_isolation {
    rayi_isolation_node node;
    char *command;
    char **libraries;
    size_t num_libraries;
    int event_fd;
    uv_poll_t event;
    uv_timer_t timer;
    rayi_process_outlet *outlet;
    bool has_outlet, stopping;
    uint32_t handles; /* of libuv, open */
    void (*done)(void *node);

    pthread_rwlock_t guests_lock;
    rayi_guest *guests[RAYI_WORKERS_MAX]; /* made once, used again; never freed before the end */
    atomic_uint num_guests;

    pthread_mutex_t lock;
    rayi_class classes;   /* the first is the ordinary one */
    uint32_t num_workers; /* with a process */
    uint32_t num_wanted;  /* starts asked for and not begun */
    bool tick_posted;
    uint64_t num_started;
    rayi_template *template; /* the loop's, as the next four; NULL: there is none now */
    uint32_t template_ends;  /* it has died, or refused, so often since a copy was made */
    bool template_ready;     /* one has been */
    bool template_off;       /* it cannot be had, or did not do: processes are started */
    int64_t template_since_ms;
    uint32_t start_failures;
    char start_words[600]; /* the loop's: why a start failed last */
    rayi_begin *begins;    /* the loop's: actors that wait for a process, latest first */
    uint32_t num_begins;
    int64_t begins_since_ms; /* the loop's: some have waited since */
    uint32_t stuck_ticks;    /* the loop's: see cap.c */
    int64_t still_since_ms;
    bool cap_told;
    atomic_bool failing; /* everything fails with SHUTDOWN */
    rayi_chores fetches; /* blocks from disk, for tasks that are to be handed over */
    rayi_chores brings;  /* code */
    uint32_t num_chores; /* of all queues, running or not */
};

enum rayi_named { RAYI_NAMED_RECORD, RAYI_NAMED_ACTOR, RAYI_NAMED_PIN };

/* A port for one message: what it names for the first time is told of afterwards. */
typedef struct rayi_guest_port {
    rayi_port port; /* first */
    rayi_guest *guest;
    uint32_t life;
    rayi_writer fresh;  /* numbers */
    rayi_writer named;  /* all that it counted: u8 enum rayi_named, u64 number */
    rayi_record *group; /* of the last one that was asked for: counted, so that it lasts as long as the port; or NULL */
} rayi_guest_port;

/* ---- port.c ---- */

void rayi_guest_port_init(rayi_guest_port *port, rayi_guest *guest); /* of its present life */
/* The message is not sent: takes back what it named and pinned. */
void rayi_guest_port_undo(rayi_guest_port *port, rayi_thread *thread);
/* After the message has been sent: watches what it named first. */
void rayi_guest_port_done(rayi_guest_port *port, rayi_thread *thread);
rayi_entry *rayi_guest_find(rayi_guest *guest, uint64_t number); /* guest.lock is held */
/* Enters what the worker has made; takes over what is counted. False: rubbish, or no memory; nothing taken. */
bool rayi_guest_enter(rayi_guest *guest, uint64_t number, enum rayi_entry_kind kind, void *what, bool tell,
                      rayi_thread *thread);
bool rayi_guest_owns_number(const rayi_guest *guest, uint64_t number); /* of its range */
/* Of an unsealed object: takes the count on success; the place is appended, writable. */
int rayi_guest_enter_buffer(rayi_guest *guest, rayi_thread *thread, uint64_t number, rayi_record *object,
                            rayi_writer *place);
/* One handle more, taken over; 0: no memory. */
uint64_t rayi_guest_name_group(rayi_guest *guest, rayi_thread *thread, ray_placement_group *group);
bool rayi_guest_release(rayi_guest *guest, rayi_thread *thread, uint64_t number, uint64_t holds,
                        enum rayi_entry_kind kind);
bool rayi_guest_close(rayi_guest *guest, uint64_t number);
/* For who gets the port's message, where its place is appended; RAYI_LATER. */
int rayi_guest_port_pin(rayi_guest_port *port, rayi_record *object, uint64_t number, rayi_writer *writer);
int rayi_guest_tell_place(rayi_guest *guest, rayi_block *block, rayi_writer *writer, bool writable); /* lock held */
void rayi_guest_drop_all(rayi_guest *guest, rayi_thread *thread); /* it is dead: all that it holds goes */

/* ---- guest.c ---- */

rayi_guest *rayi_guest_new(rayi_isolation *isolation, uint32_t index);
void rayi_guest_free(rayi_guest *guest);
/* Sends, or keeps for later; guest.lock is held. False: no memory, or it is dead. */
bool rayi_guest_send(rayi_guest *guest, uint32_t type, const void *head, size_t head_size, const void *body,
                     size_t body_size);
bool rayi_guest_send_now(rayi_guest *guest, uint32_t type, const rayi_writer *writer); /* takes the lock; wakes it */
void rayi_guest_flush(rayi_guest *guest); /* what was kept; guest.lock is held */
/* There is something to receive, or room now for what was kept, which rayi_guest_receive flushes. Takes the lock. */
bool rayi_guest_has_news(rayi_guest *guest);
/* Hands over a task, call, constructor or fini: 0; RAYI_LATER; or a negative code: it was not sent. task may be NULL
 * for FINI. */
/* life: of the guest; if it has another one, or none, RAYI_GONE. of_actor: the life of the actor. */
int rayi_guest_offer(rayi_guest *guest, uint32_t life, rayi_thread *thread, rayi_task *task, ray_actor *actor,
                     uint32_t of_actor, enum rayi_work work, bool nested);
/* Takes an offer out of the table, with what it counts: rayi_pool_settle has to follow; guest.lock is held. */
rayi_offer rayi_guest_take_out(rayi_guest *guest, uint32_t slot);
uint32_t rayi_guest_slot_of(const rayi_guest *guest, const rayi_task *task); /* guest.lock is held */
/* Up to max unstarted tasks are taken back, newest first, linked by head.next; guest.lock is not held. */
rayi_task *rayi_guest_take_back(rayi_guest *guest, uint32_t life, uint32_t max);

bool rayi_guest_has_room(rayi_guest *guest, const ray_actor *actor); /* for calls of it; guest.lock is held */

/* ---- incoming.c ---- */

/* Receives what there is; blocks: waits for another receiver to finish. */
void rayi_guest_receive(rayi_guest *guest, rayi_thread *thread, bool blocks);
void rayi_guest_rubbish(rayi_guest *guest, uint32_t life, const char *what); /* it has sent rubbish in this life */
/* What it waits for cannot be sent to the process of this life, for lack of memory: it is ended. */
void rayi_guest_cut_off(rayi_guest *guest, uint32_t life);

/* ---- chore.c ---- */

#define RAYI_CHORES_A_GUEST 32
#define RAYI_FETCHES        4 /* those that wait for room do so one at a time, anyway: executor/pin.c */

/* Something that may wait: work on a thread of its own, then after on the loop, with what work returned (or why it
 * could not be done) in r and error. */
struct rayi_chore {
    rayi_isolation *isolation;
    int (*work)(rayi_chore *chore, rayi_thread *thread);
    void (*after)(rayi_chore *chore);
    rayi_chores *chores;
    rayi_chore *next;
    pthread_t thread;
    int r;
    rayi_error *error; /* counted: after's */
};

/* A chore that brings the arguments of a task from disk and pins them: after has chore.r, and drops the pins. */
typedef struct rayi_fetch {
    rayi_chore chore; /* first */
    rayi_pins pins;
} rayi_fetch;
/* 0, or the last error's code: then after is not called, and there are no pins. */
int rayi_fetch_begin(rayi_isolation *isolation, rayi_fetch *fetch, rayi_task *task, void (*after)(rayi_chore *chore));

bool rayi_chore_begin(rayi_chores *chores, rayi_chore *chore); /* any thread; false: last error, neither is called */
void rayi_chores_go_on(rayi_isolation *isolation, rayi_chores *chores); /* on the loop */

/* ---- asks.c ---- */

bool rayi_guest_ask(rayi_guest *guest, rayi_thread *thread, rayi_reader *reader);

/* ---- pool.c: who gets what ---- */

void rayi_pool_feed(rayi_isolation *isolation, rayi_thread *thread);
/* Offers of a guest have ended, or were taken back: so many of the latter were counted as calls (max_calls). */
void rayi_pool_offers_gone(rayi_guest *guest, uint32_t life, uint32_t count, uint32_t not_run);
void rayi_pool_offer_ended(rayi_guest *guest, uint32_t life);
/* The same with all that the offer itself counted, but its task. No lock is held. */
void rayi_pool_settle(rayi_guest *guest, uint32_t life, rayi_thread *thread, const rayi_offer *offer);
void rayi_pool_blocked(rayi_guest *guest, uint32_t life, bool blocked);
/* The task is claimed: true if it need not be run any more, and has been ended. No lock is held. */
bool rayi_pool_ends_unrun(rayi_isolation *isolation, rayi_thread *thread, rayi_task *task);
/* A list of claimed tasks goes to the front, in its order; how many. isolation.lock is not held. */
uint32_t rayi_pool_put_back(rayi_isolation *isolation, rayi_task *tasks);
rayi_class *rayi_pool_class(rayi_isolation *isolation, char *const *env, const char *gpus,
                            rayi_code *code);                              /* lock held; NULL: no memory */
rayi_guest *rayi_pool_spare(rayi_isolation *isolation, rayi_class *class); /* lock held: idle, READY; or NULL */
/* All that waits (of that class, if it is not NULL) fails: with that code and these words, or SHUTDOWN. */
void rayi_pool_fail_backlog(rayi_isolation *isolation, rayi_thread *thread, rayi_class *class, int code,
                            const char *why);
/* Unstarted tasks of a guest of this life go back into the backlog, the newest first; how many. No lock is held. */
uint32_t rayi_pool_take_back(rayi_guest *guest, uint32_t life, uint32_t max);
uint32_t rayi_pool_free_slots(const rayi_isolation *isolation); /* of the lane */
/* Plain tasks of a class that nobody runs: in the backlog, or behind others in a process. lock held. */
uint32_t rayi_pool_count_waiting(const rayi_isolation *isolation, const rayi_class *class);
bool rayi_pool_may_start(const rayi_isolation *isolation);    /* lock held */
void rayi_pool_give_slot(rayi_guest *guest);                  /* lock held */
void rayi_pool_sweep(rayi_isolation *isolation, int64_t now); /* classes that nobody has used for a while go */
void rayi_pool_free_classes(rayi_isolation *isolation);

/* isolation.lock is held. */
static inline bool rayi_guest_is_idle(const rayi_guest *guest)
{
    return guest->state == RAYI_GUEST_READY && !guest->actor && guest->num_offered == 0;
}
static inline bool rayi_guest_takes_more(const rayi_guest *guest)
{
    return !guest->retire && !guest->stopped;
}

/* Or on its way there. */
static inline bool rayi_is_in_backlog(const rayi_record *record)
{
    return record->type == RAYI_TASK && (record->flags & RAYI_ELSEWHERE) &&
           (atomic_load(&record->state) & RAYI_PHASE) == RAYI_QUEUED;
}

/* ---- nested.c ---- */

typedef struct rayi_match {
    rayi_guest *guest;
    rayi_task *task;
    bool nested;
    uint32_t life; /* of the guest: it may be another process by the time the task is handed over */
} rayi_match;

/* At the cap, a task for a process all of whose tasks wait; claimed. isolation.lock is held, and given up meanwhile. */
bool rayi_nested_match(rayi_isolation *isolation, rayi_thread *thread, rayi_match *out);
/* The nth of what its blocked tasks wait for, the innermost first: counted; NULL: there are not so many. */
rayi_record *rayi_guest_awaited(rayi_guest *guest, uint32_t n);
uint32_t rayi_guest_count_started(rayi_guest *guest); /* offers that its process has taken, as it says */
/* A child, in the backlog, of one of its tasks that do not say what they wait for (*num_silent of them); isolation.lock
 * is held. may_nest: only one that could run there. Not counted. */
rayi_task *rayi_nested_child(rayi_guest *guest, bool may_nest, uint32_t *num_silent);

/* ---- cap.c ---- */

void rayi_cap_look(rayi_isolation *isolation, int64_t now); /* on the loop, now and then */

/* ---- death.c; on the loop ---- */

void rayi_guest_on_end(rayi_process *process, void *guest, const rayi_process_end *end);
void rayi_guest_clear(rayi_guest *guest, rayi_thread *thread); /* its memory goes; its place may be used again */

/* For the record of events: what was offered then (NULL, 0: nothing) had been started, and its process ends. On any
 * thread. */
void rayi_offer_crashed(rayi_thread *thread, rayi_task *task, int64_t offered_ns, int64_t pid, const ray_actor *actor);

/* ---- actors.c ---- */

/* A constructor on its way to a process; on the loop. */
struct rayi_begin {
    rayi_begin *next; /* of those that wait for a process at the cap */
    rayi_isolation *isolation;
    ray_actor *actor; /* its record is counted */
    uint32_t life;
    rayi_fetch fetch; /* its arguments are on disk: they are fetched for this process: */
    rayi_guest *guest;
    uint32_t of_guest; /* life */
};

void rayi_isolation_begin_waiting(rayi_isolation *isolation);
/* Those of a list, the latest first, begin, first come, first served; or all fail with that. */
void rayi_begin_all(rayi_begin *all, const rayi_error *error);
void rayi_begin_fail(rayi_begin *begin, rayi_error *error); /* takes both */

/* ---- code.c: of classes with code ---- */

#define RAYI_BRINGS 4
/* On the loop: a process of it may be started. False: its code is not here; then it is brought, and what waits for a
 * process is looked at again. */
bool rayi_class_is_open(rayi_isolation *isolation, rayi_class *class);
/* What its process says of the library: words NULL: it is open. Any thread. */
void rayi_code_opened(rayi_guest *guest, rayi_thread *thread, const char *words);
/* It has ended so, before it could say: after a few in a row what waits for it fails. On the loop. */
void rayi_code_start_failed(rayi_guest *guest, const char *words);
rayi_error *rayi_code_error(const rayi_isolation *isolation, const rayi_class *class, const char *words); /* LOAD */

/* ---- isolation.c ---- */

void rayi_isolation_maybe_done(rayi_isolation *isolation);                                         /* on the loop */
void rayi_isolation_start_failed(rayi_isolation *isolation, rayi_class *class, const char *words); /* on the loop */
rayi_error *rayi_isolation_no_post(const rayi_isolation *isolation);   /* SHUTDOWN or NO_MEMORY; counted */
void rayi_isolation_fetch(rayi_isolation *isolation, rayi_task *task); /* its blocks from disk, then into the backlog */

/* ---- spawn.c: processes; on the loop ---- */

void rayi_spawn_want(rayi_isolation *isolation); /* from any thread: have a look soon; lock not held */
/* Starts a process for a guest that has none. NULL: last error. */
rayi_guest *rayi_spawn_guest(rayi_isolation *isolation, rayi_class *class, ray_actor *actor, uint32_t life);
bool rayi_spawn_make_room(rayi_isolation *isolation,
                          const rayi_class *class); /* ends an idle process of another class */
/* From any thread; of the process that the guest is in this life. exit: in order. */
void rayi_spawn_kill(rayi_guest *guest, uint32_t life, rayi_guest_why why);
void rayi_spawn_exit(rayi_guest *guest, uint32_t life, rayi_guest_why why);
/* For a forced cancel: only as long as it runs what it was offered there. */
void rayi_spawn_kill_offer(rayi_guest *guest, uint32_t life, uint32_t slot, uint32_t generation);
void rayi_spawn_limit(rayi_guest *guest, uint32_t life, uint64_t memory_bytes);
/* Handing over has found that its process in this life has ended, or is about to: it gets nothing more. Any thread. */
void rayi_spawn_lost(rayi_guest *guest, uint32_t life);
int rayi_spawn_command(const rayi_isolation *isolation, char ***out); /* what starts a process: rayi_free */
void rayi_spawn_on_timer(uv_timer_t *timer);

/* ---- template.c; on the loop ---- */

/* A process of this class is to be a copy of a template that is not ready yet (and is started if there is none): it is
 * looked at again when that changes. */
bool rayi_template_awaited(rayi_isolation *isolation, const rayi_class *class);
bool rayi_template_starts(const rayi_isolation *isolation);
/* A copy, as rayi_process_start. Negative: it has to be started. */
int rayi_template_try(rayi_isolation *isolation, const rayi_class *class, rayi_process_options *options,
                      rayi_process **out);
void rayi_template_on_timer(rayi_isolation *isolation, int64_t now);
void rayi_template_stop(rayi_isolation *isolation);

#endif
