/* What a worker process holds of the node's records, and under which numbers. */
#include "helper.h"

#include <signal.h>

static rayi_record *made(rayi_guest *guest, uint64_t number)
{
    rayi_record *record = rayi_record_new(rayi_self);
    (void)guest;
    cr_assert(record && rayi_record_set_number_once(rayi_self, record, number));
    return record;
}

static unsigned refs_of(const rayi_record *record)
{
    return atomic_load(&record->refs);
}

/* ---- numbers ---- */

Test(entries, have_numbers_of_their_process)
{
    start(2);
    rayi_guest *guest = ready(0);
    uint64_t first = guest->first_number;
    cr_assert_geq(first, RAYI_NUMBERS_OF_WORKERS);
    cr_assert(rayi_guest_owns_number(guest, first));
    cr_assert(rayi_guest_owns_number(guest, first + RAYI_NUMBERS_A_WORKER - 1));
    cr_assert_not(rayi_guest_owns_number(guest, first - 1));
    cr_assert_not(rayi_guest_owns_number(guest, first + RAYI_NUMBERS_A_WORKER));
    cr_assert_not(rayi_guest_owns_number(guest, 0));
    cr_assert_not(rayi_guest_owns_number(guest, UINT64_MAX));
    played_die(guest, SIGKILL);
    ready(0);
    cr_assert_eq(guest->first_number, first + RAYI_NUMBERS_A_WORKER, "a range is used once");
    stop();
}

Test(entries, of_two_processes_do_not_meet)
{
    start(2);
    rayi_guest *one = ready(0);
    ray_ref *task = ray_remote(twice, 1);
    played_settle();
    take(one, nth_offer(one, 0));
    ray_ref *more = ray_remote(twice, 2); /* for which another process is started */
    played_settle();
    rayi_guest *other = ready(1);
    cr_assert_not(rayi_guest_owns_number(one, other->first_number));
    cr_assert_not(rayi_guest_owns_number(other, one->first_number));
    put(other, other->first_number, "mine", say_well);
    cr_assert_null(entry_of(one, other->first_number));
    put(one, other->first_number + 1, "not mine", say_rubbish);
    ray_release(task), ray_release(more);
    stop();
}

/* ---- enter, release ---- */

Test(entries, are_entered_once_under_a_number_of_ones_own)
{
    start(1);
    rayi_guest *guest = ready(0);
    uint64_t number = guest->first_number + 5;
    rayi_record *record = made(guest, number), *second = rayi_record_new(rayi_self);
    cr_assert(rayi_guest_enter(guest, number, RAYI_ENTRY_RECORD, record, false, rayi_self));
    cr_assert_eq(holds_of(guest, number), 1);
    cr_assert_eq(refs_of(record), 1, "the count is the entry's");
    cr_assert_not(rayi_guest_enter(guest, number, RAYI_ENTRY_RECORD, second, false, rayi_self));
    cr_assert_not(rayi_guest_enter(guest, 7, RAYI_ENTRY_RECORD, second, false, rayi_self));
    cr_assert_eq(refs_of(second), 1, "nothing is taken");
    cr_assert_eq(entry_of(guest, number)->record, record);
    rayi_record_unref(rayi_self, second);
    stop(); /* the entry goes with its process */
}

Test(entries, go_with_their_last_hold)
{
    start(1);
    rayi_guest *guest = ready(0);
    uint64_t number = guest->first_number;
    rayi_record *record = made(guest, number);
    rayi_record_ref(record);
    cr_assert(rayi_guest_enter(guest, number, RAYI_ENTRY_RECORD, record, false, rayi_self));
    entry_of(guest, number)->holds = 4;
    cr_assert_not(rayi_guest_release(guest, rayi_self, number, 5, RAYI_ENTRY_RECORD), "it has four");
    cr_assert_not(rayi_guest_release(guest, rayi_self, number, UINT64_MAX, RAYI_ENTRY_RECORD));
    cr_assert_eq(holds_of(guest, number), 4);
    cr_assert(rayi_guest_release(guest, rayi_self, number, 3, RAYI_ENTRY_RECORD));
    cr_assert_eq(holds_of(guest, number), 1);
    cr_assert_eq(refs_of(record), 2);
    cr_assert(rayi_guest_release(guest, rayi_self, number, 1, RAYI_ENTRY_RECORD));
    cr_assert_null(entry_of(guest, number));
    cr_assert_eq(refs_of(record), 1);
    cr_assert_not(rayi_guest_release(guest, rayi_self, number, 1, RAYI_ENTRY_RECORD), "it is gone");
    cr_assert_not(rayi_guest_release(guest, rayi_self, number, 0, RAYI_ENTRY_RECORD));
    rayi_record_unref(rayi_self, record);
    stop();
}

Test(entries, are_released_as_what_they_are)
{
    start(1);
    rayi_guest *guest = ready(0);
    uint64_t number = guest->first_number;
    rayi_record *record = made(guest, number);
    cr_assert(rayi_guest_enter(guest, number, RAYI_ENTRY_RECORD, record, false, rayi_self));
    cr_assert_not(rayi_guest_release(guest, rayi_self, number, 1, RAYI_ENTRY_ACTOR));
    cr_assert_not(rayi_guest_release(guest, rayi_self, number, 1, RAYI_ENTRY_GROUP));
    cr_assert_eq(holds_of(guest, number), 1);
    cr_assert_not(rayi_guest_close(guest, number), "it has no bytes that could be open");
    cr_assert_not(rayi_guest_close(guest, number + 1));
    cr_assert(rayi_guest_release(guest, rayi_self, number, 1, RAYI_ENTRY_RECORD));
    stop();
}

Test(entries, all_go_with_their_process)
{
    start(1);
    rayi_guest *guest = ready(0);
    rayi_record *records[100];
    for (uint64_t i = 0; i < 100; i++) {
        records[i] = made(guest, guest->first_number + i);
        rayi_record_ref(records[i]);
        cr_assert(rayi_guest_enter(guest, guest->first_number + i, RAYI_ENTRY_RECORD, records[i], true, rayi_self));
    }
    cr_assert_eq(refs_of(records[7]), 3, "mine, the entry's, and of who waits for it");
    played_die(guest, SIGKILL);
    cr_assert_null(guest->entries);
    for (int i = 0; i < 100; i++) {
        rayi_record_complete(rayi_self, records[i]); /* told to nobody */
        cr_assert_eq(refs_of(records[i]), 1);
        rayi_record_unref(rayi_self, records[i]);
    }
    stop();
}

/* ---- RELEASE ---- */

Test(release, of_more_than_one_has)
{
    start(1);
    rayi_guest *guest = ready(0);
    ray_ref *object = ray_put("bytes", 5);
    ray_ref *task = ray_remote_opts(&once, of_ref, object);
    played_settle();
    uint64_t number = rayi_record_number_if(object);
    cr_assert_eq(holds_of(guest, number), 1);
    release(guest, RAYI_UP_RELEASE, number, 0, say_well);
    release(guest, RAYI_UP_RELEASE, number, 2, say_rubbish);
    ray_release(object), ray_release(task);
    stop();
}

Test(release, of_what_one_never_had)
{
    start(1);
    release(ready(0), RAYI_UP_RELEASE, 12345, 1, say_rubbish);
    stop();
}

Test(release, of_an_actor_that_is_none)
{
    start(1);
    rayi_guest *guest = ready(0);
    put(guest, guest->first_number, "text", say_well);
    release(guest, RAYI_UP_RELEASE_ACTOR, guest->first_number, 1, say_rubbish);
    stop();
}

/* Each message that names a record counts once more; what is given back may stand for several. */
Test(release, of_several_at_once)
{
    ray_ref *tasks[3];
    start(1);
    rayi_guest *guest = ready(0);
    ray_ref *object = ray_put("bytes", 5);
    for (int i = 0; i < 3; i++)
        tasks[i] = ray_remote_opts(&once, of_ref, object);
    played_settle();
    uint64_t number = rayi_record_number_if(object);
    cr_assert_eq(holds_of(guest, number), 3);
    release(guest, RAYI_UP_RELEASE, number, 2, say_well);
    cr_assert_eq(holds_of(guest, number), 1);
    release(guest, RAYI_UP_RELEASE, number, 1, say_well);
    cr_assert_null(entry_of(guest, number));
    for (int i = 0; i < 3; i++)
        ray_release(tasks[i]);
    ray_release(object);
    stop();
}

/* ---- buffers and blocks ---- */

Test(buffer, becomes_an_object_once)
{
    start(1);
    rayi_guest *guest = ready(0);
    uint64_t number = guest->first_number;
    create(guest, number, 5000, say_well);
    cr_assert_eq(entry_of(guest, number)->kind, RAYI_ENTRY_BUFFER);
    seal(guest, number, 5000, 0, say_well);
    cr_assert_eq(entry_of(guest, number)->kind, RAYI_ENTRY_RECORD);
    cr_assert_eq(entry_of(guest, number)->pins, 1, "until CLOSE it may be read where it was written");
    cr_assert(rayi_record_done(entry_of(guest, number)->record));
    seal(guest, number, 5000, 0, say_rubbish);
    stop();
}

Test(buffer, does_not_grow)
{
    start(1);
    rayi_guest *guest = ready(0);
    create(guest, guest->first_number, 5000, say_well);
    seal(guest, guest->first_number, 5001, 0, say_rubbish);
    stop();
}

Test(buffer, shrinks)
{
    ray_view view;
    start(1);
    rayi_guest *guest = ready(0);
    create(guest, guest->first_number, 5000, say_well);
    seal(guest, guest->first_number, 17, 0, say_well);
    cr_assert_eq(ray_get_timeout(entry_of(guest, guest->first_number)->record, 0, &view), 0);
    cr_assert_eq(view.size, 17);
    ray_view_release(&view);
    stop();
}

Test(buffer, is_nothing_yet)
{
    start(1);
    rayi_guest *guest = ready(0);
    create(guest, guest->first_number, 5000, say_well);
    ask_open(guest, guest->first_number, say_rubbish);
    stop();
}

Test(buffer, may_be_thrown_away)
{
    start(1);
    rayi_guest *guest = ready(0);
    create(guest, guest->first_number, 5000, say_well);
    release(guest, RAYI_UP_RELEASE, guest->first_number, 1, say_well);
    cr_assert_null(entry_of(guest, guest->first_number));
    seal(guest, guest->first_number, 5000, 0, say_rubbish);
    stop();
}

Test(buffer, holds_what_its_maker_holds)
{
    start(1);
    rayi_guest *guest = ready(0);
    uint64_t number = guest->first_number;
    put(guest, number, "held", say_well);
    create(guest, number + 1, 5000, say_well);
    seal(guest, number + 1, 5000, number, say_well);
    release(guest, RAYI_UP_RELEASE, number, 1, say_well);
    create(guest, number + 2, 5000, say_well);
    seal(guest, number + 2, 5000, number, say_rubbish); /* which it holds no longer */
    stop();
}

Test(buffer, does_not_hold_itself)
{
    start(1);
    rayi_guest *guest = ready(0);
    create(guest, guest->first_number, 5000, say_well);
    seal(guest, guest->first_number, 5000, guest->first_number, say_rubbish);
    stop();
}

Test(buffer, has_a_number_that_was_free)
{
    start(1);
    rayi_guest *guest = ready(0);
    create(guest, guest->first_number, 5000, say_well);
    create(guest, guest->first_number, 5000, say_rubbish);
    stop();
}

Test(buffer, has_a_number_of_ones_own)
{
    start(1);
    create(ready(0), 17, 5000, say_rubbish);
    stop();
}

Test(buffer, of_more_than_there_is_fails)
{
    rayi_reader reply;
    start(1);
    rayi_guest *guest = ready(0);
    create(guest, guest->first_number, UINT64_MAX, say_well);
    cr_assert(told(guest, RAYI_DOWN_REPLY, &reply));
    cr_assert_eq(rayi_take_u64(&reply), 77);
    cr_assert_lt(rayi_take_i64(&reply), 0);
    cr_assert_null(entry_of(guest, guest->first_number));
    stop();
}

Test(block, is_pinned_once_for_each_time_it_is_opened)
{
    start(1);
    rayi_guest *guest = ready(0);
    uint64_t number = guest->first_number;
    create(guest, number, 5000, say_well);
    seal(guest, number, 5000, 0, say_well);
    ask_open(guest, number, say_well);
    ask_open(guest, number, say_well);
    cr_assert_eq(entry_of(guest, number)->pins, 3);
    for (unsigned i = 1; i <= 3; i++) {
        number_alone(guest, RAYI_UP_CLOSE, number, say_well);
        cr_assert_eq(entry_of(guest, number)->pins, 3 - i);
    }
    number_alone(guest, RAYI_UP_CLOSE, number, say_well); /* once too often: there is nothing to undo */
    cr_assert_eq(entry_of(guest, number)->pins, 0);
    ask_open(guest, number, say_well);
    release(guest, RAYI_UP_RELEASE, number, 1, say_well); /* open: the pin goes, too */
    number_alone(guest, RAYI_UP_CLOSE, number, say_rubbish);
    stop();
}

/* One that is told to end while its buffer waits for room: the room it gets then is given back. */
Test(buffer, that_comes_too_late_goes)
{
    rayi_writer writer;
    start_with_store(1, 1 << 20);
    rayi_guest *guest = ready(0);
    ray_buffer *large = ray_create(900000);
    cr_assert_not_null(large);
    rayi_writer_init(&writer);
    rayi_put_u64(&writer, 77);
    rayi_put_u32(&writer, RAYI_ASK_CREATE);
    rayi_put_u64(&writer, guest->first_number);
    rayi_put_u64(&writer, 400000);
    played_hold_deaths(true);
    cr_assert(played_send(guest, RAYI_UP_ASK, writer.data, writer.size)); /* waits, up to 30 ms */
    cr_assert(played_send(guest, 99, NULL, 0));
    while (played_rubbish() == 0)
        rayi_nap_ms(1);
    ray_buffer_free(large);
    played_settle();
    played_hold_deaths(false);
    stop();
}

/* ---- placement groups ---- */

/* A group of one bundle; its number. */
static uint64_t new_group(rayi_guest *guest)
{
    rayi_writer writer;
    rayi_writer_init(&writer);
    rayi_reader reply;
    rayi_put_u32(&writer, 1);
    rayi_put_text(&writer, "CPU=1");
    rayi_put_text(&writer, "name");
    rayi_put_u32(&writer, 0);
    rayi_put_u8(&writer, 0);
    ask(guest, RAYI_ASK_GROUP_NEW, &writer, say_well);
    cr_assert(told(guest, RAYI_DOWN_REPLY, &reply));
    cr_assert_eq(rayi_take_u64(&reply), 77);
    cr_assert_eq(rayi_take_i64(&reply), 0);
    return rayi_take_u64(&reply);
}

Test(group, is_held_once_for_each_time_it_was_given)
{
    start(1);
    rayi_guest *guest = ready(0);
    uint64_t number = new_group(guest);
    rayi_writer name;
    rayi_writer_init(&name);
    cr_assert_eq(holds_of(guest, number), 1);
    rayi_put_text(&name, "name");
    rayi_put_text(&name, NULL);
    ask(guest, RAYI_ASK_GROUP_GET, &name, say_well);
    cr_assert_eq(holds_of(guest, number), 2);
    ask_number(guest, RAYI_ASK_GROUP_RELEASE, number, say_well);
    ask_number(guest, RAYI_ASK_GROUP_REMOVE, number, say_well);
    ask_number(guest, RAYI_ASK_GROUP_RELEASE, number, say_well);
    cr_assert_null(entry_of(guest, number));
    stop();
}

static void name_after_release(uint32_t op)
{
    rayi_writer writer;
    start(1);
    rayi_guest *guest = ready(0);
    uint64_t number = new_group(guest);
    ask_number(guest, RAYI_ASK_GROUP_RELEASE, number, say_well);
    cr_assert_null(entry_of(guest, number));
    rayi_writer_init(&writer);
    rayi_put_u64(&writer, number);
    rayi_put_u64(&writer, guest->first_number);
    ask(guest, op, &writer, say_rubbish);
    stop();
}

Test(group, is_not_released_after_its_release)
{
    name_after_release(RAYI_ASK_GROUP_RELEASE);
}
Test(group, is_not_removed_after_its_release)
{
    name_after_release(RAYI_ASK_GROUP_REMOVE);
}
Test(group, is_not_waited_for_after_its_release)
{
    name_after_release(RAYI_ASK_GROUP_READY);
}

Test(group, is_no_record)
{
    start(1);
    rayi_guest *guest = ready(0);
    uint64_t number = new_group(guest);
    release(guest, RAYI_UP_RELEASE, number, 1, say_rubbish);
    stop();
}

Test(group, is_no_actor)
{
    start(1);
    rayi_guest *guest = ready(0);
    rayi_writer writer;
    rayi_writer_init(&writer);
    uint64_t number = new_group(guest);
    rayi_put_u64(&writer, number);
    rayi_put_u8(&writer, 0);
    ask(guest, RAYI_ASK_KILL, &writer, say_rubbish);
    stop();
}
