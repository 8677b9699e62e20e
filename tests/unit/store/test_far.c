/* Blocks whose bytes are on another node: how they come, when they go, and what becomes of them when that is over. */
#include "helper.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/* --- a node that has the bytes ------------------------------------------------------------------------------------ */

typedef struct node {
    uint64_t tag;
    atomic_int fetches, forgets;
    atomic_int failures; /* so many fetches fail, */
    atomic_int code;     /* with this code */
    atomic_bool shut;    /* a fetch waits until it is open, or its deadline */
    atomic_int inside;   /* fetches under way */
    int64_t deadline_ns; /* of the last fetch */
} node;

static int fetch(void *arg, void *to, size_t size_bytes, int64_t deadline_ns)
{
    node *from = arg;
    atomic_fetch_add(&from->fetches, 1);
    cr_assert_eq(atomic_fetch_add(&from->inside, 1), 0, "one at a time");
    from->deadline_ns = deadline_ns;
    while (atomic_load(&from->shut) && rayi_now_ns() < deadline_ns)
        usleep(1000);
    write_marks_to(to, size_bytes, from->tag);
    bool fails = atomic_load(&from->shut) || atomic_load(&from->failures) > 0;
    if (fails && size_bytes > 0)
        memset(to, 0x55, size_bytes);
    int r = atomic_load(&from->shut) ? rayi_fail(RAY_ERR_FETCH_TIMEOUT, "nothing came from node %d", 7)
            : fails                  ? rayi_fail(atomic_load(&from->code), "no luck with node %d", 7)
                                     : 0;
    if (fails)
        atomic_fetch_sub(&from->failures, 1);
    atomic_fetch_sub(&from->inside, 1);
    return r;
}

static void forget(void *arg)
{
    atomic_fetch_add(&((node *)arg)->forgets, 1);
}

static const rayi_source source = {.fetch = fetch, .forget = forget};

static rayi_block *make_far(rayi_store *store, size_t size, node *from)
{
    rayi_block *block = NULL;
    CHECK_OK(rayi_block_new_far(store, size, &source, from, &block));
    return block;
}

/* Fetched, and not pinned. */
static rayi_block *make_fetched(rayi_store *store, size_t size, node *from)
{
    rayi_block *block = make_far(store, size, from);
    check_marks(block, from->tag);
    cr_assert(!rayi_block_is_far(block));
    return block;
}

static void check_words(const char *part)
{
    cr_assert(strstr(rayi_error_last_public()->message, part), "%s", rayi_error_last_public()->message);
}

/* --- one block ---------------------------------------------------------------------------------------------------- */

Test(far, a_pin_fetches)
{
    node from = {.tag = 3};
    rayi_store *store = make_store(4 * MIB);
    rayi_block *block = make_far(store, MIB, &from);
    rayi_store_usage usage = usage_of(store);
    cr_assert(rayi_block_is_far(block) && rayi_block_is_sealed(block) && !rayi_block_is_spilled(block));
    cr_assert_eq(rayi_block_size(block), MIB);
    cr_assert_eq(usage.used_bytes + usage.pinned_bytes + usage.mapped_bytes + usage.num_spilled, 0);
    cr_assert(usage.num_blocks == 1 && usage.num_far == 1 && usage.far_bytes == MIB && usage.num_fetched == 0);
    cr_assert(!rayi_block_try_pin(block));
    cr_assert_eq(from.fetches, 0);

    int64_t deadline_ns = rayi_now_ns() + 60000000000;
    CHECK_OK(rayi_block_pin_until(block, deadline_ns));
    cr_assert(has_marks(block, 3) && !rayi_block_is_far(block));
    cr_assert_eq(from.deadline_ns, deadline_ns);
    cr_assert_eq((uintptr_t)rayi_block_data(block) % page_bytes(), 0);
    usage = usage_of(store);
    cr_assert(usage.used_bytes == MIB && usage.pinned_bytes == MIB && usage.num_far == 0 && usage.far_bytes == 0);
    cr_assert(usage.num_fetched == 1 && usage.fetched_total_bytes == MIB && usage.num_restored == 0);
    cr_assert(rayi_block_try_pin(block));
    rayi_block_unpin(block);
    rayi_block_unpin(block);
    check_marks(block, 3); /* it is still there */
    cr_assert(from.fetches == 1 && from.forgets == 0);
    rayi_block_unref(block);
    cr_assert_eq(from.forgets, 1);
    usage = usage_of(store);
    cr_assert_eq(usage.used_bytes + usage.num_blocks, 0);
    rayi_store_close(store);
}

Test(far, one_that_nobody_pins_is_never_fetched)
{
    node from = {0};
    rayi_store *store = make_store(MIB);
    rayi_block *block = make_far(store, 100 * MIB, &from);
    rayi_block_unref(rayi_block_ref(block));
    cr_assert_eq(from.forgets, 0);
    rayi_block_unref(block);
    cr_assert(from.fetches == 0 && from.forgets == 1);
    rayi_store_usage usage = usage_of(store);
    cr_assert_eq(usage.num_blocks + usage.num_far + usage.far_bytes, 0);
    rayi_store_close(store);
}

Test(far, sizes)
{
    const size_t sizes[] = {0, 1, 4095, 4096, 4097, MIB - 1, MIB};
    rayi_store *store = make_store(MIB);
    for (size_t i = 0; i < RAYI_COUNT_OF(sizes); i++) {
        node from = {.tag = i};
        rayi_block *block = make_fetched(store, sizes[i], &from);
        cr_assert_eq(usage_of(store).used_bytes, charge_of(sizes[i]));
        rayi_block_unref(block);
        cr_assert_eq(from.forgets, 1);
    }
    rayi_store_close(store);
}

Test(far, one_larger_than_the_store)
{
    node from = {0};
    rayi_store *store = make_store(MIB);
    rayi_block *block = make_far(store, MIB + 1, &from);
    CHECK_FAILS(rayi_block_pin_until(block, INT64_MAX), RAY_ERR_STORE_FULL);
    check_words("1048577");
    cr_assert_eq(from.fetches, 0);
    rayi_block_unref(block);
    rayi_store_close(store);
}

Test(far, without_room_nothing_is_fetched)
{
    node from = {.tag = 1};
    rayi_store *store = make_store(MIB);
    rayi_block *open = make_block(store, MIB), *block = make_far(store, MIB, &from);
    CHECK_FAILS(rayi_block_pin_until(block, rayi_now_ns() + 1000000), RAY_ERR_STORE_FULL);
    cr_assert(from.fetches == 0 && rayi_block_is_far(block) && usage_of(store).num_far == 1);
    rayi_block_unref(open);
    check_marks(block, 1);
    rayi_block_unref(block);
    rayi_store_close(store);
}

/* --- fetches that fail -------------------------------------------------------------------------------------------- */

Test(far, what_a_fetch_says_is_what_the_pin_says)
{
    const int codes[] = {RAY_ERR_OBJECT_LOST, RAY_ERR_STORE_FULL, RAY_ERR_DISK_FULL,    RAY_ERR_SHUTDOWN,
                         RAY_ERR_NO_MEMORY,   RAY_ERR_CORRUPT,    RAY_ERR_FETCH_TIMEOUT};
    rayi_store *store = make_store(MIB);
    for (size_t i = 0; i < RAYI_COUNT_OF(codes); i++) {
        node from = {.tag = 5, .failures = 1, .code = codes[i]};
        rayi_block *block = make_far(store, 300 * KIB, &from);
        CHECK_FAILS(rayi_block_pin(block), codes[i]);
        cr_assert_eq(rayi_error_last_public()->code, codes[i]);
        cr_assert_str_eq(rayi_error_last_public()->message, "no luck with node 7");
        rayi_store_usage usage = usage_of(store);
        cr_assert_eq(usage.used_bytes + usage.pinned_bytes, 0, "the room is given back");
        cr_assert(rayi_block_is_far(block) && usage.num_far == 1 && usage.num_fetched == i);
        check_marks(block, 5); /* a later pin tries again */
        cr_assert_eq(from.fetches, 2);
        rayi_block_unref(block);
        cr_assert_eq(from.forgets, 1);
    }
    rayi_store_close(store);
}

/* --- many threads, one block -------------------------------------------------------------------------------------- */

enum { THREADS = 6 };

typedef struct pinner {
    pthread_t thread;
    rayi_block *block;
    int64_t deadline_ns;
    uint64_t tag;
    int r;
    bool wrong;
} pinner;

static void *pin_once(void *arg)
{
    pinner *self = arg;
    self->r = rayi_block_pin_until(self->block, self->deadline_ns);
    if (self->r)
        return NULL;
    self->wrong = !has_marks(self->block, self->tag);
    rayi_block_unpin(self->block);
    return NULL;
}

static void start_pinners(pinner *of, size_t count, rayi_block *block, uint64_t tag, int64_t deadline_ns)
{
    for (size_t i = 0; i < count; i++) {
        of[i] = (pinner){.block = block, .tag = tag, .deadline_ns = deadline_ns};
        cr_assert_eq(pthread_create(&of[i].thread, NULL, pin_once, &of[i]), 0);
    }
}

static size_t join_pinners(pinner *of, size_t count, int code)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        pthread_join(of[i].thread, NULL);
        cr_assert(!of[i].wrong);
        found += of[i].r == code;
    }
    return found;
}

static void await_fetch(node *from)
{
    while (atomic_load(&from->inside) == 0)
        usleep(1000);
}

Test(far, pins_at_once_are_one_fetch, .timeout = 60)
{
    node from = {.tag = 9, .shut = true};
    rayi_store *store = make_store(4 * MIB);
    rayi_block *block = make_far(store, MIB, &from);
    pinner pinners[THREADS];
    start_pinners(pinners, THREADS, block, 9, INT64_MAX);
    await_fetch(&from);
    usleep(20000);
    cr_assert(rayi_block_is_far(block) && !rayi_block_try_pin(block));
    CHECK_FAILS(rayi_block_keep(block), RAY_ERR_NOT_FOUND);
    atomic_store(&from.shut, false);
    cr_assert_eq(join_pinners(pinners, THREADS, 0), THREADS);
    cr_assert_eq(from.fetches, 1);
    rayi_block_unref(block);
    rayi_store_close(store);
}

Test(far, if_it_fails_the_others_try_themselves, .timeout = 60)
{
    node from = {.tag = 9, .shut = true, .failures = 2, .code = RAY_ERR_NODE_DIED};
    rayi_store *store = make_store(4 * MIB);
    rayi_block *block = make_far(store, MIB, &from);
    pinner pinners[THREADS];
    start_pinners(pinners, THREADS, block, 9, INT64_MAX);
    await_fetch(&from);
    usleep(20000);
    atomic_store(&from.shut, false);
    size_t failed = join_pinners(pinners, THREADS, RAY_ERR_NODE_DIED);
    cr_assert(failed == 2 && from.fetches == 3, "%zu, %d", failed, from.fetches);
    rayi_block_unref(block);
    rayi_store_close(store);
}

Test(far, nobody_waits_for_ever_for_the_fetch_of_another, .timeout = 60)
{
    node from = {.tag = 9, .shut = true};
    rayi_store *store = make_store(4 * MIB);
    rayi_block *block = make_far(store, MIB, &from);
    pinner patient;
    start_pinners(&patient, 1, block, 9, INT64_MAX);
    await_fetch(&from);
    CHECK_FAILS(rayi_block_pin_until(block, rayi_now_ns() + 10000000), RAY_ERR_FETCH_TIMEOUT);
    check_words("1048576");
    CHECK_FAILS(rayi_block_pin_until(block, 0), RAY_ERR_FETCH_TIMEOUT);
    atomic_store(&from.shut, false);
    cr_assert_eq(join_pinners(&patient, 1, 0), 1);
    rayi_block_unref(block);
    rayi_store_close(store);
}

/* --- when memory is short ----------------------------------------------------------------------------------------- */

Test(far, what_was_fetched_goes_before_anything_is_spilled)
{
    char directory[64];
    node from[2] = {{.tag = 10}, {.tag = 11}};
    rayi_store *store = make_spilling_store(4 * MIB, make_directory(directory));
    rayi_block *own[2], *far[2], *more;
    for (size_t i = 0; i < 2; i++)
        own[i] = make_sealed(store, MIB, i);
    far[1] = make_fetched(store, MIB, &from[1]);
    far[0] = make_fetched(store, MIB, &from[0]);
    check_marks(far[1], 11); /* now 0 is the one that was unpinned first */
    more = make_sealed(store, MIB, 2);
    cr_assert(rayi_block_is_far(far[0]) && !rayi_block_is_far(far[1]), "no more than is wanted, the oldest first");
    rayi_store_usage usage = usage_of(store);
    cr_assert(usage.num_far == 1 && usage.far_bytes == MIB && usage.num_spilled == 0);
    rayi_block_unref(more);

    check_marks(far[0], 10);
    more = make_sealed(store, 4 * MIB, 3); /* takes all */
    cr_assert(rayi_block_is_far(far[0]) && rayi_block_is_far(far[1]));
    cr_assert(rayi_block_is_spilled(own[0]) && rayi_block_is_spilled(own[1]));
    cr_assert_eq(usage_of(store).spilled_total_bytes, 2 * MIB, "what is far is not written");
    for (size_t i = 0; i < 2; i++) {
        check_marks(far[i], 10 + i);
        check_marks(own[i], i);
    }
    cr_assert(rayi_block_is_spilled(more));
    usage = usage_of(store);
    cr_assert_eq(usage.num_fetched, 5);
    cr_assert_eq(usage.fetched_total_bytes, 5 * MIB);
    cr_assert_eq(usage.num_restored, 2);
    cr_assert_eq(usage.spilled_total_bytes, 6 * MIB);
    for (size_t i = 0; i < 2; i++) {
        rayi_block_unref(far[i]);
        rayi_block_unref(own[i]);
        cr_assert_eq(from[i].forgets, 1);
    }
    rayi_block_unref(more);
    usage = usage_of(store);
    cr_assert_eq(usage.num_far + usage.far_bytes + usage.num_spilled + usage.used_bytes, 0);
    rayi_store_close(store);
    cr_assert_eq(rmdir(directory), 0);
}

Test(far, it_goes_without_a_directory_and_for_those_who_do_not_wait)
{
    node from[2] = {{.tag = 1}, {.tag = 2}};
    rayi_store *store = make_store(4 * MIB);
    rayi_block *one = make_fetched(store, MIB, &from[0]), *two = make_fetched(store, 2 * MIB, &from[1]);
    rayi_block *open = make_block(store, MIB), *more = NULL;
    CHECK_FAILS(rayi_store_try_alloc(store, 4 * MIB, &more), RAY_ERR_STORE_FULL);
    cr_assert(!rayi_block_is_far(one) && !rayi_block_is_far(two), "what is not enough stays");
    CHECK_OK(rayi_block_pin(two));
    CHECK_FAILS(rayi_store_alloc(store, 2 * MIB, 0, &more), RAY_ERR_STORE_FULL);
    CHECK_FAILS(rayi_store_alloc(store, 2 * MIB, rayi_now_ns() + 10000000, &more), RAY_ERR_STORE_FULL);
    cr_assert(!rayi_block_is_far(one) && has_marks(two, 2));
    CHECK_OK(rayi_store_try_alloc(store, MIB, &more));
    cr_assert(rayi_block_is_far(one));
    rayi_block_unref(more);
    rayi_block_unpin(two);
    CHECK_OK(rayi_store_alloc(store, 3 * MIB, 0, &more));
    cr_assert(rayi_block_is_far(two));
    rayi_block_unref(more);
    check_marks(one, 1);
    check_marks(two, 2);
    rayi_block_unref(open);
    rayi_block_unref(one);
    rayi_block_unref(two);
    rayi_store_close(store);
}

static void *alloc_two(void *arg)
{
    rayi_block *block = NULL;
    int r = rayi_store_alloc(arg, 2 * MIB, rayi_now_ns() + 30000000000, &block);
    rayi_block_unref(block);
    return r ? arg : NULL;
}

Test(far, an_unpin_wakes_who_waits, .timeout = 60)
{
    node from = {.tag = 1};
    rayi_store *store = make_store(2 * MIB);
    rayi_block *block = make_far(store, MIB, &from);
    pthread_t thread;
    void *failed;
    CHECK_OK(rayi_block_pin(block));
    pthread_create(&thread, NULL, alloc_two, store);
    while (usage_of(store).num_waiters == 0)
        usleep(1000);
    usleep(20000);
    int64_t begun = rayi_now_ns();
    rayi_block_unpin(block);
    pthread_join(thread, &failed);
    cr_assert_null(failed);
    cr_assert_lt(rayi_now_ns() - begun, 10000000000);
    cr_assert(rayi_block_is_far(block));
    check_marks(block, 1);
    rayi_block_unref(block);
    rayi_store_close(store);
}

/* --- keeping ------------------------------------------------------------------------------------------------------ */

Test(far, what_is_kept_is_like_any_other)
{
    char directory[64];
    node from[2] = {{.tag = 1}, {.tag = 2}};
    rayi_store *store = make_spilling_store(2 * MIB, make_directory(directory));
    rayi_block *pinned = make_far(store, MIB, &from[0]), *unpinned, *more;
    CHECK_FAILS(rayi_block_keep(pinned), RAY_ERR_NOT_FOUND);
    check_words("1048576");
    cr_assert_eq(from[0].forgets, 0);
    CHECK_OK(rayi_block_pin(pinned));
    CHECK_OK(rayi_block_keep(pinned));
    CHECK_OK(rayi_block_keep(pinned));
    unpinned = make_fetched(store, MIB, &from[1]);
    CHECK_OK(rayi_block_keep(unpinned));
    rayi_block_unpin(pinned);
    cr_assert(from[0].forgets == 1 && from[1].forgets == 1);

    more = make_sealed(store, 2 * MIB, 3);
    cr_assert(rayi_block_is_spilled(pinned) && rayi_block_is_spilled(unpinned) && !rayi_block_is_far(pinned));
    cr_assert(usage_of(store).num_far == 0 && usage_of(store).num_spilled == 2);
    CHECK_OK(rayi_block_keep(pinned)); /* it has no source that could be dropped */
    check_marks(pinned, 1);
    check_marks(unpinned, 2);
    cr_assert(from[0].fetches == 1 && from[1].fetches == 1);
    rayi_block_unref(pinned);
    rayi_block_unref(unpinned);
    rayi_block_unref(more);
    cr_assert(from[0].forgets == 1 && from[1].forgets == 1, "once");
    rayi_store_close(store);
    cr_assert_eq(rmdir(directory), 0);
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

Test(far, cancelled_waits_end_fetches)
{
    node from[2] = {{.tag = 1}, {.tag = 2}};
    rayi_store *store = make_store(2 * MIB);
    rayi_block *here = make_fetched(store, MIB, &from[0]), *away = make_far(store, MIB, &from[1]), *more = NULL;
    rayi_store_cancel_waits(store);
    CHECK_FAILS(rayi_block_pin(away), RAY_ERR_SHUTDOWN);
    cr_assert_eq(from[1].fetches, 0);
    CHECK_FAILS(rayi_store_try_alloc(store, 2 * MIB, &more), RAY_ERR_STORE_FULL);
    CHECK_FAILS(rayi_store_alloc(store, 2 * MIB, INT64_MAX, &more), RAY_ERR_SHUTDOWN);
    check_marks(here, 1); /* it has no way back, so it stays */
    CHECK_OK(rayi_block_keep(here));
    rayi_block_unref(here);
    rayi_block_unref(away);
    cr_assert(from[0].forgets == 1 && from[1].forgets == 1);
    rayi_store_close(store);
}

Test(far, the_end_of_spilling_keeps_what_is_in_memory)
{
    node from[2] = {{.tag = 1}, {.tag = 2}};
    rayi_store *store = make_store(2 * MIB);
    rayi_block *here = make_fetched(store, MIB, &from[0]), *away = make_far(store, MIB, &from[1]), *more = NULL;
    rayi_store_end_spilling(store);
    CHECK_FAILS(rayi_block_pin(away), RAY_ERR_SHUTDOWN);
    CHECK_FAILS(rayi_store_alloc(store, 2 * MIB, rayi_now_ns() + 1000000, &more), RAY_ERR_STORE_FULL);
    rayi_store_close(store);
    CHECK_FAILS(rayi_block_pin(away), RAY_ERR_SHUTDOWN);
    check_marks(here, 1);
    cr_assert(from[1].fetches == 0 && from[0].forgets == 0);
    rayi_block_unref(here);
    rayi_block_unref(away); /* and the store */
    cr_assert(from[0].forgets == 1 && from[1].forgets == 1);
    cr_assert_eq(look_at_files().of_store, 0);
}

/* One that has begun comes to its end. */
static void close_while_others_wait(int code)
{
    node from = {.tag = 1, .shut = true, .failures = code != 0, .code = code};
    rayi_store *store = make_store(2 * MIB);
    rayi_block *block = make_far(store, MIB, &from);
    pinner pinners[THREADS];
    start_pinners(pinners, 1, block, 1, INT64_MAX);
    await_fetch(&from);
    start_pinners(pinners + 1, THREADS - 1, block, 1, INT64_MAX);
    usleep(20000);
    rayi_store_close(store);
    cr_assert_eq(join_pinners(pinners + 1, THREADS - 1, RAY_ERR_SHUTDOWN), THREADS - 1);
    atomic_store(&from.shut, false);
    cr_assert_eq(join_pinners(pinners, 1, code), 1);
    if (code)
        CHECK_FAILS(rayi_block_pin(block), RAY_ERR_SHUTDOWN);
    else
        check_marks(block, 1);
    cr_assert(from.fetches == 1 && from.forgets == 0);
    rayi_block_unref(block);
    cr_assert_eq(from.forgets, 1);
    cr_assert_eq(look_at_files().of_store, 0);
}

Test(far, close_while_others_wait_for_a_fetch, .timeout = 60)
{
    close_while_others_wait(0);
}

Test(far, close_while_others_wait_for_a_fetch_that_fails, .timeout = 60)
{
    close_while_others_wait(RAY_ERR_OBJECT_LOST);
}

Test(far, close_while_others_wait_for_room, .timeout = 60)
{
    node from = {.tag = 1};
    rayi_store *store = make_store(MIB);
    rayi_block *open = make_block(store, MIB), *block = make_far(store, MIB, &from);
    pinner pinners[THREADS];
    start_pinners(pinners, THREADS, block, 1, INT64_MAX);
    while (usage_of(store).num_waiters == 0)
        usleep(1000);
    rayi_store_close(store);
    cr_assert_eq(join_pinners(pinners, THREADS, RAY_ERR_SHUTDOWN), THREADS);
    cr_assert_eq(from.fetches, 0);
    rayi_block_unref(open);
    rayi_block_unref(block);
    cr_assert_eq(from.forgets, 1);
}

/* --- strain ------------------------------------------------------------------------------------------------------- */

/* Blocks that are far, kept and made here, in a store that holds a quarter of them; fetches fail now and then. */
enum { SHARED = 24 };

typedef struct crowd {
    rayi_store *store;
    pthread_mutex_t lock; /* of the slots: a reader takes a count under it */
    rayi_block *blocks[SHARED];
    node *nodes; /* each block's own; those of the first ones are not used up */
    atomic_size_t num_nodes;
} crowd;

typedef struct member {
    pthread_t thread;
    crowd *of;
    uint64_t random;
    int rounds;
    const char *problem;
} member;

static rayi_block *new_one(member *self)
{
    size_t size = 200 * KIB + next_random(&self->random) % (200 * KIB);
    rayi_block *block = NULL;
    if (next_random(&self->random) % 3 == 0)
        return make_sealed(self->of->store, size, size);
    node *from = &self->of->nodes[atomic_fetch_add(&self->of->num_nodes, 1)];
    from->tag = size;
    from->code = RAY_ERR_OBJECT_LOST;
    from->failures = next_random(&self->random) % 4 == 0;
    CHECK_OK(rayi_block_new_far(self->of->store, size, &source, from, &block));
    return block;
}

static rayi_block *exchange(crowd *of, size_t index, rayi_block *block)
{
    pthread_mutex_lock(&of->lock);
    rayi_block *old = of->blocks[index];
    of->blocks[index] = block;
    pthread_mutex_unlock(&of->lock);
    return old;
}

static const char *use(member *self, rayi_block *block)
{
    bool keeps = next_random(&self->random) % 16 == 0;
    int r = rayi_block_try_pin(block) ? 0 : rayi_block_pin_until(block, INT64_MAX);
    if (r)
        return r == RAY_ERR_OBJECT_LOST ? NULL : "no pin";
    const char *problem = has_marks(block, rayi_block_size(block)) ? NULL : "content";
    if (keeps && rayi_block_keep(block))
        problem = "not kept";
    rayi_block_unpin(block);
    return problem;
}

static void *take_part(void *arg)
{
    member *self = arg;
    crowd *of = self->of;
    for (int i = 0; i < self->rounds && !self->problem; i++) {
        size_t index = next_random(&self->random) % SHARED;
        if (next_random(&self->random) % 8 == 0) {
            rayi_block_unref(exchange(of, index, new_one(self)));
            continue;
        }
        pthread_mutex_lock(&of->lock);
        rayi_block *block = of->blocks[index] ? rayi_block_ref(of->blocks[index]) : NULL;
        pthread_mutex_unlock(&of->lock);
        self->problem = block ? use(self, block) : NULL;
        rayi_block_unref(block);
    }
    return NULL;
}

Test(far, many_threads, .timeout = 250)
{
    enum { ROUNDS = SANITIZED ? 1500 : 6000 };
    static node nodes[THREADS * ROUNDS];
    char directory[64];
    crowd of = {.store = make_spilling_store(2 * MIB + 400 * KIB, make_directory(directory)), .nodes = nodes};
    member members[THREADS];
    pthread_mutex_init(&of.lock, NULL);
    for (int i = 0; i < THREADS; i++) {
        members[i] = (member){.of = &of, .random = (uint64_t)i, .rounds = ROUNDS};
        cr_assert_eq(pthread_create(&members[i].thread, NULL, take_part, &members[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(members[i].thread, NULL);
        cr_assert_null(members[i].problem, "thread %d: %s", i, members[i].problem);
    }
    rayi_store_usage usage = usage_of(of.store);
    cr_assert_eq(usage.pinned_bytes + usage.num_waiters, 0);
    cr_assert(usage.num_fetched > 100 && usage.num_restored > 100);
    for (size_t i = 0; i < SHARED; i++)
        rayi_block_unref(of.blocks[i]);
    usage = usage_of(of.store);
    cr_assert_eq(usage.used_bytes + usage.num_blocks + usage.num_spilled + usage.num_far + usage.far_bytes, 0);
    for (size_t i = 0; i < of.num_nodes; i++)
        cr_assert_eq(nodes[i].forgets, 1);
    rayi_store_close(of.store);
    cr_assert_eq(rmdir(directory), 0, "no file is left");
}

/* Fetches into the first segment and into one whose room was cut, drops, keeps, spills. The first failure of a call is
 * returned, and it is tried once more. */
static int exercise(rayi_store *store, node *from, size_t count)
{
    rayi_block *blocks[4] = {0};
    int first = 0, r;
    cr_assert_leq(count, 4);
    for (size_t i = 0; i < count; i++) {
        r = rayi_block_new_far(store, MIB, &source, &from[i], &blocks[i]);
        first = first ? first : r;
        if (r)
            CHECK_OK(rayi_block_new_far(store, MIB, &source, &from[i], &blocks[i]));
    }
    for (size_t i = 0; i < 2 * count; i++) {
        rayi_block *block = blocks[i % count];
        r = rayi_block_pin(block);
        first = first ? first : r;
        if (r)
            CHECK_OK(rayi_block_pin(block));
        cr_assert(has_marks(block, from[i % count].tag));
        if (i == 0)
            CHECK_OK(rayi_block_keep(block));
        rayi_block_unpin(block);
    }
    for (size_t i = 0; i < count; i++)
        rayi_block_unref(blocks[i]);
    return first;
}

static int try_all(const rayi_memory *memory, const char *directory)
{
    node from[4] = {{.tag = 1}, {.tag = 2}, {.tag = 3}, {.tag = 4}};
    rayi_store *store;
    int r = rayi_store_new(memory, 2 * MIB, &store);
    if (r)
        return r;
    r = rayi_store_set_spill(store, directory);
    if (r == 0) {
        r = exercise(store, from, RAYI_COUNT_OF(from));
        for (size_t i = 0; i < RAYI_COUNT_OF(from); i++)
            cr_assert_eq(from[i].forgets, 1);
    }
    rayi_store_close(store);
    return r;
}

Test(far, every_allocation_may_fail, .timeout = 60)
{
    failing_heap heap = {0};
    const rayi_memory memory = memory_of(&heap);
    char directory[64];
    make_directory(directory);
    open_files before = look_at_files();
    int failures = 0;
    long nth = 1;
    for (;; nth++) {
        heap.until = nth;
        int r = try_all(&memory, directory);
        bool reached = heap.until == 0;
        cr_assert(r == 0 || r == RAY_ERR_NO_MEMORY, "allocation %ld: %d", nth, r);
        cr_assert_eq(heap.live, 0, "allocation %ld: %ld blocks leak", nth, heap.live);
        cr_assert_eq(look_at_files().count, before.count);
        failures += r != 0;
        if (!reached)
            break;
    }
    cr_assert_gt(nth, 10);
    cr_assert_gt(failures, 8);
    cr_assert_eq(rmdir(directory), 0);
}
