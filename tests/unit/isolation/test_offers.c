/* The table of what a worker process was offered. */
#include "helper.h"

#include <signal.h>

/* Submits so many tasks, which a process with nothing else to do is offered at once. */
static void submit(ray_ref **refs, int count)
{
    for (int i = 0; i < count; i++)
        refs[i] = ray_remote_opts(&once, twice, i);
    played_settle();
}

Test(offers, come_in_order)
{
    ray_ref *refs[5];
    start(1);
    rayi_guest *guest = ready(0);
    cr_assert_eq(num_offers(guest), 0);
    submit(refs, 5);
    cr_assert_eq(num_offers(guest), 5);
    for (uint32_t i = 0; i < 5; i++) {
        uint32_t slot = nth_offer(guest, i);
        cr_assert_eq(task_at(guest, slot), (rayi_task *)refs[i]);
        cr_assert_eq(rayi_guest_slot_of(guest, (rayi_task *)refs[i]), slot);
        cr_assert_eq(guest->offers[slot].generation, i + 1);
    }
    check_counts(guest);
    for (int i = 0; i < 5; i++) {
        finish(guest, nth_offer(guest, 0), 10 + i);
        check_counts(guest);
        expect_int(refs[i], 10 + i);
    }
    stop();
}

Test(offers, end_in_any_order)
{
    static const int order[] = {2, 0, 4, 3, 1};
    ray_ref *refs[5];
    uint32_t slots[5];
    start(1);
    rayi_guest *guest = ready(0);
    submit(refs, 5);
    for (uint32_t i = 0; i < 5; i++)
        slots[i] = nth_offer(guest, i);
    for (int i = 0; i < 5; i++) {
        finish(guest, slots[order[i]], order[i]);
        check_counts(guest);
        cr_assert_eq(rayi_guest_slot_of(guest, (rayi_task *)refs[order[i]]), RAYI_NO_SLOT);
    }
    for (int i = 0; i < 5; i++)
        expect_int(refs[i], i);
    stop();
}

Test(offers, a_slot_that_is_used_again_is_of_another_generation)
{
    ray_ref *refs[3];
    start(1);
    rayi_guest *guest = ready(0);
    submit(refs, 2);
    uint32_t slot = nth_offer(guest, 1), generation = guest->offers[slot].generation;
    finish(guest, slot, 1);
    submit(refs + 2, 1);
    cr_assert_eq(nth_offer(guest, 1), slot, "what was freed last is used first");
    cr_assert_eq(guest->offers[slot].generation, generation + 1);
    check_counts(guest);
    result(guest, slot, generation, 3, say_rubbish);
    check_counts(guest);
    expect_int(refs[1], 1);
    cr_assert_eq(ray_get_timeout(refs[2], 0, NULL), RAY_ERR_WORKER_CRASHED);
    ray_release(refs[0]), ray_release(refs[2]);
    stop();
}

Test(offers, are_as_many_as_may_be_at_once)
{
    enum { MORE = RAYI_GUEST_DEPTH + 20 };
    ray_ref *refs[MORE];
    start(1);
    rayi_guest *guest = ready(0);
    submit(refs, MORE);
    cr_assert_eq(num_offers(guest), RAYI_GUEST_DEPTH);
    check_counts(guest);
    for (int i = 0; i < MORE; i++) {
        uint32_t slot = nth_offer(guest, 0);
        cr_assert_eq(task_at(guest, slot), (rayi_task *)refs[i]);
        finish(guest, slot, i);
        cr_assert_leq(num_offers(guest), RAYI_GUEST_DEPTH);
        expect_int(refs[i], i);
    }
    cr_assert_eq(num_offers(guest), 0);
    check_counts(guest);
    stop();
}

/* ---- cancelled ---- */

Test(offers, that_are_cancelled_before_they_were_taken_are_gone)
{
    ray_ref *refs[3];
    start(1);
    rayi_guest *guest = ready(0);
    submit(refs, 3);
    uint32_t slot = nth_offer(guest, 1), generation = guest->offers[slot].generation;
    cr_assert_eq(ray_cancel(refs[1], 0), 0);
    played_settle();
    cr_assert_eq(num_offers(guest), 2);
    check_counts(guest);
    expect_code(refs[1], RAY_ERR_CANCELLED);
    cr_assert_not(rayi_offer_take(played_process(guest)->worker, slot, generation), "it was taken back");
    finish(guest, nth_offer(guest, 0), 1);
    finish(guest, nth_offer(guest, 0), 2);
    expect_int(refs[0], 1);
    expect_int(refs[2], 2);
    stop();
}

Test(offers, that_were_taken_hear_that_they_are_cancelled)
{
    ray_ref *refs[1];
    start(1);
    rayi_guest *guest = ready(0);
    submit(refs, 1);
    uint32_t slot = nth_offer(guest, 0);
    take(guest, slot);
    cr_assert_eq(ray_cancel(refs[0], 0), 0);
    played_settle();
    cr_assert_eq(num_offers(guest), 1);
    cr_assert(rayi_offer_look(played_process(guest)->worker, slot) & RAYI_OFFER_CANCEL);
    result(guest, slot, guest->offers[slot].generation, 5, say_well);
    check_counts(guest);
    expect_code(refs[0], RAY_ERR_CANCELLED);
    stop();
}

/* What a process says of an offer that was taken back from it meanwhile: that slot is free. */
Test(offers, that_were_taken_back_end_nothing)
{
    ray_ref *refs[1];
    start(1);
    rayi_guest *guest = ready(0);
    submit(refs, 1);
    uint32_t slot = nth_offer(guest, 0), generation = guest->offers[slot].generation;
    cr_assert_eq(ray_cancel(refs[0], 0), 0);
    played_settle();
    result(guest, slot, generation, 5, say_rubbish);
    expect_code(refs[0], RAY_ERR_CANCELLED);
    stop();
}

/* ---- the end of a process ---- */

Test(offers, of_a_process_that_dies_go_on_unless_they_had_begun)
{
    ray_ref *refs[4];
    start(1);
    rayi_guest *guest = ready(0);
    submit(refs, 4);
    take(guest, nth_offer(guest, 0));
    played_die(guest, SIGSEGV);
    cr_assert_eq(num_offers(guest), 0);
    check_counts(guest);
    expect_code(refs[0], RAY_ERR_WORKER_CRASHED);
    guest = ready(0);
    cr_assert_eq(num_offers(guest), 3);
    for (int i = 1; i < 4; i++) { /* in the order that they had */
        cr_assert_eq(task_at(guest, nth_offer(guest, 0)), (rayi_task *)refs[i]);
        finish(guest, nth_offer(guest, 0), i);
        expect_int(refs[i], i);
    }
    stop();
}

Test(offers, of_a_process_that_lies_have_begun)
{
    ray_ref *refs[2];
    rayi_writer writer;
    start(1);
    rayi_guest *guest = ready(0);
    submit(refs, 2);
    rayi_writer_init(&writer);
    say_rubbish(guest, 99, &writer); /* what its memory says of them is worth nothing */
    expect_code(refs[0], RAY_ERR_WORKER_CRASHED);
    expect_code(refs[1], RAY_ERR_WORKER_CRASHED);
    check_counts(guest);
    stop();
}

Test(offers, to_another_life_are_not_made)
{
    ray_ref *refs[1];
    start(1);
    rayi_guest *guest = ready(0);
    uint32_t life = atomic_load(&guest->life);
    ray_ref *object = ray_put("bytes", 5), *task;
    played_die(guest, SIGKILL);
    ready(0);
    task = ray_remote_opts(&once, of_ref, object); /* a task to offer by hand: the process has it already */
    played_settle();
    rayi_task *offered = task_at(guest, nth_offer(guest, 0));
    uint64_t number = rayi_record_number_if(object), holds = holds_of(guest, number);
    cr_assert_eq(rayi_guest_offer(guest, life, rayi_self, offered, NULL, 0, RAYI_WORK_TASK, false), RAYI_GONE);
    cr_assert_eq(num_offers(guest), 1, "nothing was offered");
    cr_assert_eq(holds_of(guest, number), holds, "and nothing named");
    rayi_pool_offer_ended(guest, life); /* as who offers does then: it was counted in that life */
    check_counts(guest);
    finish(guest, nth_offer(guest, 0), 1);
    expect_int(task, 1);
    submit(refs, 1);
    cr_assert_eq(num_offers(guest), 1);
    ray_release(refs[0]), ray_release(object);
    stop();
}
