/* Which process gets what. */
#include "helper.h"

#include <signal.h>

static void submit(ray_ref **refs, int count)
{
    for (int i = 0; i < count; i++)
        refs[i] = ray_remote_opts(&once, twice, i);
    played_settle();
}

/* The tasks of these refs, and nothing else, are offered in this order. */
static void expect_order(rayi_guest *guest, ray_ref *const *refs, uint32_t count)
{
    cr_assert_eq(num_offers(guest), count, "%u are offered, not %u", num_offers(guest), count);
    for (uint32_t i = 0; i < count; i++)
        cr_assert_eq(task_at(guest, nth_offer(guest, i)), (rayi_task *)refs[i], "number %u is another one", i);
    check_counts(guest);
}

static void release_all(ray_ref **refs, int count)
{
    for (int i = 0; i < count; i++)
        ray_release(refs[i]);
}

/* ---- classes ---- */

static rayi_class *class_of(char *const *env, const char *gpus)
{
    rayi_isolation *isolation = played_isolation();
    pthread_mutex_lock(&isolation->lock);
    rayi_class *class = rayi_pool_class(isolation, env, gpus, NULL);
    pthread_mutex_unlock(&isolation->lock);
    return class;
}

Test(classes, are_one_for_each_environment)
{
    char a1[] = "A=1", b2[] = "B=2", copy[] = "A=1";
    char *one[] = {a1, NULL}, *same[] = {copy, NULL}, *two[] = {a1, b2, NULL}, *turned[] = {b2, a1, NULL},
         *none[] = {NULL};
    start(1);
    rayi_class *ordinary = class_of(NULL, NULL), *with_one = class_of(one, NULL);
    cr_assert_eq(ordinary, &played_isolation()->classes);
    cr_assert_neq(with_one, ordinary);
    cr_assert_eq(class_of(same, NULL), with_one);
    cr_assert_neq(class_of(two, NULL), with_one);
    cr_assert_neq(class_of(turned, NULL), class_of(two, NULL));
    cr_assert_neq(class_of(none, NULL), with_one);
    cr_assert_neq(class_of(one, "0"), with_one);
    cr_assert_eq(class_of(one, "0"), class_of(same, "0"));
    cr_assert_neq(class_of(NULL, "0"), class_of(NULL, "1"));
    a1[2] = '9'; /* what is kept is a copy */
    cr_assert_eq(class_of(same, NULL), with_one);
    stop();
}

Test(classes, have_processes_of_their_own)
{
    static const char *const env[] = {"WHO=me", NULL};
    static const ray_task_options special = {.size = sizeof special, .max_retries = RAY_NO_RETRIES, .env = env};
    ray_ref *refs[2];
    start(2);
    rayi_guest *ordinary = ready(0);
    refs[0] = ray_remote_opts(&special, twice, 1);
    played_settle();
    cr_assert_eq(num_offers(ordinary), 0);
    rayi_guest *other = ready(1);
    cr_assert_str_eq(other->class->env[0], "WHO=me");
    expect_order(other, refs, 1);
    refs[1] = ray_remote_opts(&once, twice, 2);
    played_settle();
    expect_order(ordinary, refs + 1, 1);
    release_all(refs, 2);
    stop();
}

/* ---- the backlog ---- */

Test(backlog, is_served_in_order)
{
    ray_ref *refs[6];
    start(1);
    submit(refs, 6); /* before there is a process */
    expect_order(ready(0), refs, 6);
    release_all(refs, 6);
    stop();
}

Test(backlog, keeps_its_order_when_something_is_put_back)
{
    ray_ref *refs[6];
    start(1);
    rayi_guest *guest = ready(0);
    submit(refs, 6);
    take(guest, nth_offer(guest, 0));
    blocked(guest, nth_offer(guest, 0), 0, say_well); /* what stands behind could be what it waits for */
    expect_order(guest, refs, 1);
    resumed(guest, nth_offer(guest, 0), say_well);
    result(guest, nth_offer(guest, 0), 1, 0, say_well);
    expect_order(guest, refs + 1, 5);
    release_all(refs, 6);
    stop();
}

Test(backlog, of_one_that_blocks_is_for_others)
{
    ray_ref *refs[4];
    start(2);
    rayi_guest *guest = ready(0);
    submit(refs, 4);
    take(guest, nth_offer(guest, 0));
    take(guest, nth_offer(guest, 1)); /* begun, by another of its threads: it stays */
    blocked(guest, nth_offer(guest, 0), 0, say_well);
    expect_order(guest, refs, 2);
    expect_order(ready(1), refs + 2, 2);
    release_all(refs, 4);
    stop();
}

Test(backlog, loses_what_is_cancelled)
{
    ray_ref *refs[4];
    start(1);
    submit(refs, 4);
    cr_assert_eq(ray_cancel(refs[0], 0), 0);
    cr_assert_eq(ray_cancel(refs[2], 0), 0);
    played_settle();
    rayi_guest *guest = ready(0);
    expect_order(guest, (ray_ref *[]){refs[1], refs[3]}, 2);
    expect_code(refs[0], RAY_ERR_CANCELLED);
    expect_code(refs[2], RAY_ERR_CANCELLED);
    ray_release(refs[1]), ray_release(refs[3]);
    stop();
}

Test(backlog, fails_when_no_process_gets_ready)
{
    ray_ref *refs[2];
    int deaths = 0;
    start(1);
    submit(refs, 2);
    for (; deaths < 100 && !rayi_record_done((rayi_record *)refs[0]); deaths++)
        played_die(guest_at(0), 0);
    cr_assert_geq(deaths, 3, "%d deaths are no reason", deaths); /* more where ticks came between, which forget some */
    expect_code(refs[0], RAY_ERR_SYSTEM);
    expect_code(refs[1], RAY_ERR_SYSTEM);
    stop();
}

/* Ctrl-C may reach one that has no process group of its own yet. */
Test(backlog, waits_while_the_terminal_ends_those_that_start)
{
    ray_ref *ref;
    start(1);
    submit(&ref, 1);
    for (int i = 0; i < 8; i++)
        played_die(guest_at(0), i % 2 ? SIGQUIT : SIGINT);
    expect_order(ready(0), &ref, 1);
    ray_release(ref);
    stop();
}

Test(backlog, hands_nothing_over_whose_argument_failed)
{
    start(1);
    rayi_guest *guest = ready(0);
    ray_ref *first = ray_remote_opts(&once, twice, 1), *second = ray_remote_opts(&once, twice, first);
    played_settle();
    expect_order(guest, &first, 1);
    take(guest, nth_offer(guest, 0));
    played_die(guest, SIGSEGV);
    expect_order(ready(0), NULL, 0);
    expect_code(second, RAY_ERR_WORKER_CRASHED);
    ray_release(first);
    stop();
}

/* ---- several processes ---- */

Test(pool, shares_what_has_not_begun)
{
    ray_ref *refs[8];
    start(2);
    rayi_guest *one = ready(0);
    submit(refs, 8);
    take(one, nth_offer(one, 0));
    rayi_guest *other = ready(1);
    cr_assert_eq(num_offers(one) + num_offers(other), 8);
    cr_assert_geq(num_offers(other), 2);
    expect_order(one, refs, num_offers(one));
    expect_order(other, refs + num_offers(one), num_offers(other));
    cr_assert_eq(free_slots(), 2, "two of four CPUs have work");
    release_all(refs, 8);
    stop();
}

Test(pool, gives_a_granted_task_a_process_of_its_own)
{
    static const ray_task_options granted = {
        .size = sizeof granted, .resources = "thing=1", .max_retries = RAY_NO_RETRIES};
    ray_ref *refs[2];
    start(1);
    rayi_guest *guest = ready(0);
    refs[0] = ray_remote_opts(&granted, twice, 1);
    played_settle();
    refs[1] = ray_remote_opts(&once, twice, 2);
    played_settle();
    expect_order(guest, refs, 1);
    finish(guest, nth_offer(guest, 0), 1);
    expect_order(guest, refs + 1, 1);
    release_all(refs, 2);
    stop();
}

Test(pool, gives_an_actor_a_process_of_its_own)
{
    ray_ref *task;
    start(1);
    rayi_guest *guest = ready(0);
    ray_actor *actor = ray_actor_new(cell, 1);
    played_settle();
    cr_assert_eq(guest->actor, actor);
    cr_assert_eq(guest->offers[nth_offer(guest, 0)].work, RAYI_WORK_CONSTRUCT);
    finish(guest, nth_offer(guest, 0), 0);
    task = ray_remote_opts(&once, twice, 2);
    played_settle();
    expect_order(guest, NULL, 0);
    ray_ref *call = ray_call(actor, cell_add, 1);
    played_settle();
    expect_order(guest, &call, 1);
    cr_assert_eq(guest->offers[nth_offer(guest, 0)].work, RAYI_WORK_CALL);
    finish(guest, nth_offer(guest, 0), 2);
    expect_int(call, 2);
    ray_release(task), ray_actor_release(actor);
    stop();
}

/* At once, not at the next turn of the timer. The task has resources of its own, for one that has a slot may have to
 * make way where this thread is kept waiting. */
Test(pool, gives_an_actor_that_waits_the_process_of_a_task_that_ends)
{
    static const ray_task_options granted = {
        .size = sizeof granted, .resources = "thing=1", .max_retries = RAY_NO_RETRIES};
    start(1);
    rayi_guest *guest = ready(0);
    ray_ref *task = ray_remote_opts(&granted, twice, 2);
    played_settle();
    expect_order(guest, &task, 1);
    ray_actor *actor = ray_actor_new(cell, 1);
    played_settle();
    cr_assert_null(guest->actor);
    finish(guest, nth_offer(guest, 0), 4);
    cr_assert_eq(guest->actor, actor);
    cr_assert_eq(guest->offers[nth_offer(guest, 0)].work, RAYI_WORK_CONSTRUCT);
    expect_int(task, 4);
    finish(guest, nth_offer(guest, 0), 0);
    ray_actor_release(actor);
    stop();
}

Test(pool, lets_a_process_go_after_so_many_calls)
{
    ray_ref *refs[3];
    rayi_reader none;
    start(1);
    rayi_guest *guest = ready(0);
    for (int i = 0; i < 3; i++)
        refs[i] = ray_remote_opts(&once, once_more, i);
    played_settle();
    expect_order(guest, refs, 2);
    finish(guest, nth_offer(guest, 0), 0);
    cr_assert_not(told(guest, RAYI_DOWN_EXIT, &none));
    finish(guest, nth_offer(guest, 0), 1);
    cr_assert(told(guest, RAYI_DOWN_EXIT, &none));
    cr_assert_eq(guest->state, RAYI_GUEST_LEAVING);
    expect_order(guest, NULL, 0);
    played_die(guest, 0);
    expect_order(ready(0), refs + 2, 1);
    cr_assert_eq(guest->num_calls, 1, "another process, another count");
    cr_assert_not(guest->retire);
    release_all(refs, 3);
    stop();
}

/* What was counted as one of its calls and taken back is none. */
Test(pool, counts_no_call_that_was_cancelled_in_the_backlog)
{
    ray_ref *refs[3];
    start(1);
    for (int i = 0; i < 3; i++)
        refs[i] = ray_remote_opts(&once, once_more, i);
    cr_assert_eq(ray_cancel(refs[0], 0), 0);
    played_settle();
    rayi_guest *guest = ready(0);
    expect_order(guest, refs + 1, 2);
    cr_assert_eq(guest->num_calls, 2);
    release_all(refs, 3);
    stop();
}

Test(pool, counts_nothing_of_an_earlier_life)
{
    ray_ref *refs[3];
    start(1);
    rayi_guest *guest = ready(0);
    uint32_t life = atomic_load(&guest->life);
    submit(refs, 3);
    played_die(guest, SIGKILL);
    ready(0);
    expect_order(guest, refs, 3);
    rayi_pool_offer_ended(guest, life);
    rayi_pool_offer_ended(guest, life + 2);
    expect_order(guest, refs, 3);
    release_all(refs, 3);
    stop();
}

Test(pool, takes_no_process_twice)
{
    rayi_writer writer;
    start(1);
    ready(0);
    rayi_writer_init(&writer);
    rayi_put_u32(&writer, RAYI_WORKER_PROTOCOL);
    rayi_put_i64(&writer, 1);
    say_rubbish(guest_at(0), RAYI_UP_READY, &writer);
    stop();
}

Test(pool, takes_no_process_of_another_version)
{
    rayi_writer writer;
    start(1);
    rayi_writer_init(&writer);
    rayi_put_u32(&writer, RAYI_WORKER_PROTOCOL + 1);
    rayi_put_i64(&writer, 1);
    say_rubbish(guest_at(0), RAYI_UP_READY, &writer);
    stop();
}
