/* A lane without executors: nothing moves unless the test's own threads move it. */
#ifndef TEST_MADE_H
#define TEST_MADE_H

#include <sched.h>

#include "lane/inside.h"

static rayi_lane *lane;
static rayi_thread *self;
static atomic_uint num_destroyed;
static atomic_bool lane_gone;

static void made_run(rayi_thread *thread, rayi_task *task)
{
    rayi_record_complete(thread, &task->head);
    rayi_record_unref(thread, &task->head);
}

static void made_destroy(rayi_thread *thread, rayi_record *record)
{
    if (record->type == RAYI_RUNNER)
        rayi_mailbox_fini(record->content.pointer);
    atomic_fetch_add(&num_destroyed, 1);
    rayi_pool_free(thread, record);
}

static void made_abandoned(rayi_thread *thread, rayi_record *record)
{
    (void)thread, (void)record;
}

static void made_ready(rayi_thread *thread, rayi_task *task)
{
    (void)thread, (void)task;
}

static void made_blocked(rayi_thread *thread, rayi_record *record, bool blocks)
{
    (void)thread, (void)record, (void)blocks;
}

static rayi_record *made_next_argument(rayi_task *task)
{
    (void)task;
    return NULL;
}

static void made_slot_returned(rayi_lane *of, unsigned slots)
{
    (void)of, (void)slots;
}

static void made_freed(void *owner)
{
    (void)owner;
    atomic_store(&lane_gone, true);
}

static bool made_congested(rayi_lane *of)
{
    (void)of;
    return false;
}

static void make_lane(bool (*serve)(rayi_thread *thread, rayi_record *runner, unsigned max))
{
    rayi_lane_config config = {.num_cpus = 1, .pending_limit_bytes = INT64_MAX};
    rayi_lane_ops ops = {.run = made_run,
                         .serve = serve,
                         .destroy = made_destroy,
                         .abandoned = made_abandoned,
                         .ready = made_ready,
                         .blocked = made_blocked,
                         .next_argument = made_next_argument,
                         .slot_returned = made_slot_returned,
                         .freed = made_freed,
                         .congested = made_congested};

    atomic_store(&num_destroyed, 0);
    atomic_store(&lane_gone, false);
    cr_assert_eq(rayi_lane_new(&config, &ops, NULL, &lane), 0);
    self = rayi_lane_attach(lane);
    cr_assert_not_null(self);
}

/* Whatever was made has been given back: else the lane stays. */
static void end_lane(void)
{
    rayi_lane_detach();
    rayi_lane_close(lane);
    cr_assert(atomic_load(&lane_gone));
}

/* With one count and a number to know it by, in head.size. */
static inline rayi_task *make_task(rayi_thread *thread, enum rayi_type type, unsigned state, size_t number)
{
    rayi_task *task = (rayi_task *)rayi_pool_alloc(thread, type, sizeof *task);

    task->head.size = number;
    atomic_store(&task->head.state, state);
    atomic_store(&task->pending, 0);
    atomic_store(&task->parent, NULL);
    atomic_store(&task->parent_gen, 0);
    task->mailbox = NULL;
    return task;
}

#endif
