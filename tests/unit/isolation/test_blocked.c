/* RESULT, BLOCKED and RESUMED, said at the right time and at wrong ones. */
#include "helper.h"

#include <signal.h>

static const ray_task_options granted = {.size = sizeof granted, .resources = "thing=1", .max_retries = RAY_NO_RETRIES};

/* One task, offered. */
static ray_ref *one(rayi_guest *guest, uint32_t *slot)
{
    ray_ref *ref = ray_remote_opts(&once, twice, 4);
    played_settle();
    *slot = nth_offer(guest, num_offers(guest) - 1);
    return ref;
}

/* ---- results ---- */

static void result_at_once(rayi_guest *guest, uint32_t slot, uint32_t generation)
{
    result(guest, slot, generation, 1, say_rubbish);
    check_counts(guest);
}

Test(result, of_a_slot_that_is_free)
{
    start(1);
    result_at_once(ready(0), 0, 0);
    result_at_once(ready(0), RAYI_OFFERS - 1, 1);
    stop();
}

Test(result, of_a_slot_that_does_not_exist)
{
    start(1);
    result_at_once(ready(0), RAYI_OFFERS, 0);
    result_at_once(ready(0), UINT32_MAX, 1);
    stop();
}

Test(result, of_another_generation)
{
    uint32_t slot;
    start(1);
    rayi_guest *guest = ready(0);
    ray_ref *ref = one(guest, &slot);
    take(guest, slot);
    result_at_once(guest, slot, guest->offers[slot].generation + 1);
    expect_code(ref, RAY_ERR_WORKER_CRASHED);
    stop();
}

Test(result, said_twice)
{
    uint32_t slot;
    start(1);
    rayi_guest *guest = ready(0);
    ray_ref *ref = one(guest, &slot);
    uint32_t generation = guest->offers[slot].generation;
    finish(guest, slot, 8);
    result_at_once(guest, slot, generation);
    expect_int(ref, 8);
    stop();
}

/* Who runs what it has not taken harms itself only. */
Test(result, of_what_was_not_taken)
{
    uint32_t slot;
    start(1);
    rayi_guest *guest = ready(0);
    ray_ref *ref = one(guest, &slot);
    result(guest, slot, guest->offers[slot].generation, 8, say_well);
    check_counts(guest);
    expect_int(ref, 8);
    stop();
}

Test(result, with_a_word_of_its_retry_that_is_none)
{
    uint32_t slot;
    start(1);
    rayi_guest *guest = ready(0);
    ray_ref *ref = one(guest, &slot);
    rayi_wire_result head = {.slot = slot, .generation = guest->offers[slot].generation, .again = 3};
    rayi_writer writer;
    rayi_writer_init(&writer);
    rayi_put_bytes(&writer, &head, sizeof head);
    rayi_put_u8(&writer, RAYI_FORM_NONE);
    say_rubbish(guest, RAYI_UP_RESULT, &writer);
    expect_code(ref, RAY_ERR_WORKER_CRASHED);
    stop();
}

Test(result, while_blocked)
{
    uint32_t slot;
    start(1);
    rayi_guest *guest = ready(0);
    int64_t slots = free_slots();
    ray_ref *ref = one(guest, &slot);
    cr_assert_eq(free_slots(), slots - 1);
    take(guest, slot);
    blocked(guest, slot, 0, say_well);
    check_counts(guest);
    cr_assert_eq(free_slots(), slots, "who waits needs none");
    result(guest, slot, guest->offers[slot].generation, 8, say_well);
    check_counts(guest);
    cr_assert_eq(free_slots(), slots);
    cr_assert_eq(guest->num_blocked, 0);
    expect_int(ref, 8);
    stop();
}

Test(result, of_a_granted_task_while_blocked)
{
    start(1);
    rayi_guest *guest = ready(0);
    ray_ref *refs[3]; /* of which two may run at once, and one has a process */
    for (int i = 0; i < 3; i++)
        refs[i] = ray_remote_opts(&granted, twice, i);
    played_settle();
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(num_offers(guest), 1);
        uint32_t slot = nth_offer(guest, 0);
        cr_assert_eq(task_at(guest, slot), (rayi_task *)refs[i]);
        take(guest, slot);
        blocked(guest, slot, 0, say_well);
        result(guest, slot, guest->offers[slot].generation, i, say_well);
        check_counts(guest);
        expect_int(refs[i], i);
    }
    stop();
}

/* ---- blocked, resumed ---- */

Test(blocked, gives_its_slot_back_and_takes_it_again)
{
    uint32_t slot;
    start(1);
    rayi_guest *guest = ready(0);
    int64_t slots = free_slots();
    ray_ref *ref = one(guest, &slot);
    take(guest, slot);
    for (int i = 0; i < 3; i++) {
        blocked(guest, slot, 0, say_well);
        check_counts(guest);
        cr_assert_eq(free_slots(), slots);
        resumed(guest, slot, say_well);
        check_counts(guest);
        cr_assert_eq(free_slots(), slots - 1);
    }
    result(guest, slot, guest->offers[slot].generation, 8, say_well);
    cr_assert_eq(free_slots(), slots);
    expect_int(ref, 8);
    stop();
}

Test(blocked, twice)
{
    uint32_t slot;
    start(1);
    rayi_guest *guest = ready(0);
    int64_t slots = free_slots();
    ray_ref *ref = one(guest, &slot);
    take(guest, slot);
    blocked(guest, slot, 0, say_well);
    blocked(guest, slot, 0, say_rubbish);
    check_counts(guest);
    cr_assert_eq(free_slots(), slots);
    expect_code(ref, RAY_ERR_WORKER_CRASHED);
    stop();
}

Test(blocked, where_nothing_is)
{
    start(1);
    blocked(ready(0), 0, 0, say_rubbish);
    blocked(ready(0), RAYI_OFFERS, 0, say_rubbish);
    blocked(ready(0), UINT32_MAX, 0, say_rubbish);
    stop();
}

Test(resumed, without_having_blocked)
{
    uint32_t slot;
    start(1);
    rayi_guest *guest = ready(0);
    int64_t slots = free_slots();
    ray_ref *ref = one(guest, &slot);
    take(guest, slot);
    resumed(guest, slot, say_rubbish);
    check_counts(guest);
    cr_assert_eq(free_slots(), slots);
    expect_code(ref, RAY_ERR_WORKER_CRASHED);
    stop();
}

Test(resumed, twice)
{
    uint32_t slot;
    start(1);
    rayi_guest *guest = ready(0);
    ray_ref *ref = one(guest, &slot);
    take(guest, slot);
    blocked(guest, slot, 0, say_well);
    resumed(guest, slot, say_well);
    resumed(guest, slot, say_rubbish);
    check_counts(guest);
    ray_release(ref);
    stop();
}

Test(blocked, on_what_it_does_not_hold)
{
    uint32_t slot;
    start(1);
    rayi_guest *guest = ready(0);
    ray_ref *ref = one(guest, &slot);
    take(guest, slot);
    blocked(guest, slot, 424242, say_well); /* it may have let go of it meanwhile: it waits for nothing we know */
    cr_assert_null(guest->offers[slot].awaited);
    check_counts(guest);
    ray_release(ref);
    stop();
}

/* The count on what it waits for goes whichever way the wait ends. */
static void block_on_object(void (*end)(rayi_guest *guest, uint32_t slot, ray_ref *task))
{
    start(1);
    rayi_guest *guest = ready(0);
    ray_ref *object = ray_put("bytes", 5), *task = ray_remote_opts(&once, of_ref, object);
    played_settle();
    uint32_t slot = nth_offer(guest, 0);
    take(guest, slot);
    unsigned refs = atomic_load(&object->refs);
    blocked(guest, slot, rayi_record_number_if(object), say_well);
    cr_assert_eq(guest->offers[slot].awaited, object);
    cr_assert_eq(atomic_load(&object->refs), refs + 1);
    end(guest, slot, task);
    check_counts(guest);
    cr_assert_leq(atomic_load(&object->refs), refs);
    ray_release(task), ray_release(object);
    stop();
}

static void by_resumed(rayi_guest *guest, uint32_t slot, ray_ref *task)
{
    (void)task;
    resumed(guest, slot, say_well);
}
static void by_result(rayi_guest *guest, uint32_t slot, ray_ref *task)
{
    (void)task;
    result(guest, slot, guest->offers[slot].generation, 1, say_well);
}
static void by_death(rayi_guest *guest, uint32_t slot, ray_ref *task)
{
    (void)slot, (void)task;
    played_die(guest, SIGSEGV);
}
static void by_rubbish(rayi_guest *guest, uint32_t slot, ray_ref *task)
{
    (void)task;
    blocked(guest, slot, 0, say_rubbish);
}
static void by_force(rayi_guest *guest, uint32_t slot, ray_ref *task)
{
    (void)guest, (void)slot;
    cr_assert_eq(ray_cancel(task, RAY_CANCEL_FORCE), 0);
    played_settle();
}

Test(blocked, until_resumed)
{
    block_on_object(by_resumed);
}
Test(blocked, until_its_result)
{
    block_on_object(by_result);
}
Test(blocked, until_its_death)
{
    block_on_object(by_death);
}
Test(blocked, until_it_says_rubbish)
{
    block_on_object(by_rubbish);
}
Test(blocked, until_it_is_killed)
{
    block_on_object(by_force);
}

/* ---- what it has not taken ---- */

/* Whatever the node makes of that: it ends, and nothing is counted twice. */
static void block_untaken(void (*end)(rayi_guest *guest, uint32_t slot, ray_ref *task))
{
    start(1);
    rayi_guest *guest = ready(0);
    int64_t slots = free_slots();
    ray_ref *object = ray_put("bytes", 5), *task = ray_remote_opts(&once, of_ref, object);
    played_settle();
    uint32_t slot = nth_offer(guest, 0);
    rayi_writer writer;
    rayi_writer_init(&writer);
    rayi_put_u32(&writer, slot);
    rayi_put_u64(&writer, rayi_record_number_if(object));
    rayi_put_u8(&writer, 1);
    say(guest, RAYI_UP_BLOCKED, &writer);
    check_counts(guest);
    if (played_rubbish() == 0)
        end(guest, slot, task);
    check_counts(guest);
    played_die(guest, SIGKILL);
    check_counts(guest);
    cr_assert_eq(free_slots(), slots);
    cr_assert(rayi_record_done(task));
    ray_release(task), ray_release(object);
    stop();
}

static void by_cancel(rayi_guest *guest, uint32_t slot, ray_ref *task)
{
    (void)guest, (void)slot;
    cr_assert_eq(ray_cancel(task, 0), 0);
    played_settle();
}

Test(untaken, blocked_and_cancelled)
{
    block_untaken(by_cancel);
}
Test(untaken, blocked_and_killed)
{
    block_untaken(by_force);
}
Test(untaken, blocked_and_dead)
{
    block_untaken(by_death);
}
Test(untaken, blocked_and_ended)
{
    block_untaken(by_result);
}
