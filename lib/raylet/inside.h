/* What the files of raylet share with each other and nobody else. */
#ifndef RAYI_RAYLET_INSIDE_H
#define RAYI_RAYLET_INSIDE_H

#include "core/core.h"
#include "gcs/gcs.h"
#include "raylet/raylet.h"
#include "scheduler/scheduler.h"

#include <uv.h>

typedef struct rayi_message rayi_message;
struct rayi_message {
    rayi_message *next;
    void (*handle)(rayi_node *node, rayi_message *message);
};

/* What the scheduler is asked for, on behalf of a task or an actor. */
typedef struct rayi_wish {
    UT_hash_handle hh; /* in node.wishes, while the scheduler may speak of it */
    uint64_t id;
    rayi_resources *resources;
    rayi_selector *labels;
    char *node_id;
    bool node_soft, submitted, granted;
    int32_t priority;
    uint32_t bundle;
    uint64_t group;
    rayi_task *task; /* one of these two; counted while in node.wishes */
    ray_actor *actor;
    char *gpus; /* granted */
    char group_id[RAYI_ID_SIZE];
} rayi_wish;

struct rayi_node {
    rayi_executor *executor;
    rayi_scheduler *scheduler;
    rayi_ledger *ledger;
    rayi_gcs *gcs;
    char *labels;
    rayi_wish *wishes; /* by id */
    struct ray_placement_group *groups;

    pthread_mutex_t start_lock;
    atomic_bool running; /* the loop is there */
    bool ended;          /* and will not be again; under start_lock */
    atomic_uint posting; /* threads between their look at running and the end of their post */
    pthread_t loop_thread;
    _Atomic(rayi_thread *) thread; /* the loop's context in the lane */
    uv_loop_t loop;
    uv_async_t async;
    uv_timer_t timer, monitor;
    _Atomic(rayi_message *) inbox; /* a stack, newest first */
    atomic_uint slots_returned;
    rayi_message slots_message, monitor_message;
    atomic_bool slots_posted, monitor_posted;
    rayi_thread *stopper; /* who has called rayi_node_stop: it alone may ask from then on */
    bool stopping;        /* the loop's: what comes now ends at once */
};

static inline rayi_node *rayi_node_of(const rayi_thread *thread)
{
    return rayi_executor_node(rayi_executor_of(thread));
}

/* ---- loop.c ---- */

int rayi_loop_start(rayi_node *node); /* if it is not running; SYSTEM */
void rayi_loop_stop(rayi_node *node);
/* Hands a message to the loop, which was started before. False: the loop has ended, nobody will handle it. */
bool rayi_loop_post(rayi_node *node, rayi_message *message);
/* Runs fn on the loop and returns what it returns; starts the loop. An error that fn leaves behind becomes the
 * caller's. */
int rayi_node_ask(rayi_thread *thread, int (*fn)(rayi_node *node, void *arg), void *arg);
void rayi_node_pump(rayi_node *node); /* does all that the brains want */

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

/* ---- place.c: actors ---- */

int rayi_place_actor(rayi_thread *thread, ray_actor *actor, const ray_actor_options *options, ray_actor **instead);
void rayi_unplace_actor(rayi_thread *thread, ray_actor *actor);
const char *rayi_place_resources(ray_actor *actor, const char **gpus, const char **group_id);
void rayi_place_freed(void *place);
void rayi_place_scheduler_action(rayi_node *node, rayi_wish *wish, const rayi_scheduler_action *action);
void rayi_place_stop(rayi_node *node);

/* ---- group.c ---- */

void rayi_group_is_ready(rayi_node *node, uint64_t id);
void rayi_groups_stop(rayi_node *node);
uint64_t rayi_group_number(const ray_placement_group *group);
const char *rayi_group_id(const ray_placement_group *group);

/* ---- names.c ---- */

void rayi_names_stop(rayi_node *node);
int rayi_answer_view(rayi_thread *thread, rayi_record *object, ray_view *out); /* takes the count of object */

#endif
