/* Spilling under strain: random sequences against a model, many threads, refusals of the heap. */
#include "helper.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- against a model ---------------------------------------------------------------------------------------------- */

enum { SLOTS = 80, ARENAS = 4 };

typedef enum phase { GONE, OPEN, SEALED } phase;

typedef struct slot {
    rayi_block *block;
    phase phase;
    uint64_t tag;
    size_t size, charge, pins;
} slot;

typedef struct model {
    rayi_store *store;
    rayi_arena *arenas[ARENAS]; /* the first is NULL: the node's */
    slot slots[SLOTS];
    size_t capacity;
    uint64_t random;
} model;

static size_t pinned(const model *m)
{
    size_t sum = 0;
    for (size_t i = 0; i < SLOTS; i++)
        if (m->slots[i].phase == OPEN || m->slots[i].pins > 0)
            sum += m->slots[i].charge;
    return sum;
}

static void model_alloc(model *m, slot *s)
{
    size_t limit = (size_t)1 << (10 + next_random(&m->random) % 13); /* up to 4 MiB */
    size_t size = next_random(&m->random) % limit, charge = charge_of(size);
    rayi_arena *arena = m->arenas[next_random(&m->random) % ARENAS];
    bool fits = charge <= m->capacity - pinned(m);
    int r =
        rayi_store_alloc_in(m->store, arena, size, rayi_now_ns() + (fits ? INT64_C(60000000000) : 1000000), &s->block);
    cr_assert_eq(r, fits ? 0 : RAY_ERR_STORE_FULL, "%zu bytes, %zu of %zu pinned: %s", size, pinned(m), m->capacity,
                 rayi_error_last_public()->message);
    if (r)
        return;
    *s = (slot){.block = s->block, .phase = OPEN, .tag = next_random(&m->random), .size = size, .charge = charge};
    write_marks(s->block, s->tag);
}

static void model_shrink(model *m, slot *s)
{
    uint64_t before = usage_of(m->store).used_bytes;
    s->size = s->size ? next_random(&m->random) % s->size : 0;
    rayi_block_shrink(s->block, s->size);
    mark_last(s->block, s->tag);
    s->charge -= (size_t)(before - usage_of(m->store).used_bytes);
}

static void model_seal(slot *s)
{
    rayi_block_seal(s->block);
    s->phase = SEALED;
}

static void model_pin(model *m, slot *s)
{
    bool away = rayi_block_is_spilled(s->block);
    if (away)
        s->charge = charge_of(s->size); /* it leaves the tail of a shrink behind */
    bool fits = s->pins > 0 || s->charge <= m->capacity - pinned(m);
    if (next_random(&m->random) % 4 == 0) {
        bool done = rayi_block_try_pin(s->block);
        cr_assert_eq(done, !away);
        s->pins += done;
    } else {
        int r = rayi_block_pin_until(s->block, fits ? INT64_MAX : 0);
        cr_assert_eq(r, fits ? 0 : RAY_ERR_STORE_FULL, "%s", rayi_error_last_public()->message);
        s->pins += r == 0;
    }
    if (s->pins > 0)
        cr_assert(has_marks(s->block, s->tag));
}

static void model_unpin(slot *s)
{
    rayi_block_unpin(s->block);
    s->pins--;
}

static void model_free(slot *s)
{
    while (s->pins > 0) {
        rayi_block_unpin(s->block);
        s->pins--;
    }
    rayi_block_unref(s->block);
    *s = (slot){0};
}

static void model_step(model *m)
{
    slot *s = &m->slots[next_random(&m->random) % SLOTS];
    uint64_t dice = next_random(&m->random) % 100;
    if (s->phase == GONE)
        model_alloc(m, s);
    else if (dice < 12)
        model_free(s);
    else if (s->phase == OPEN && dice < 30)
        model_shrink(m, s);
    else if (s->phase == OPEN)
        model_seal(s);
    else if (s->pins > 0 && dice < 80)
        model_unpin(s);
    else
        model_pin(m, s);
    if (dice == 99) {
        size_t i = 1 + next_random(&m->random) % (ARENAS - 1);
        rayi_arena_close(m->arenas[i]);
        CHECK_OK(rayi_arena_new(m->store, &m->arenas[i]));
    }
}

static void model_check(model *m)
{
    rayi_store_usage usage = usage_of(m->store);
    uint64_t count = 0, away = 0, away_bytes = 0, used = 0, pinned_bytes = 0;
    for (size_t i = 0; i < SLOTS; i++) {
        slot *s = &m->slots[i];
        if (s->phase == GONE)
            continue;
        count++;
        if (rayi_block_is_spilled(s->block)) {
            cr_assert(s->phase == SEALED && s->pins == 0);
            away++;
            away_bytes += s->size;
        } else {
            used += s->charge;
            pinned_bytes += s->phase == OPEN || s->pins > 0 ? s->charge : 0;
        }
    }
    cr_assert_eq(usage.num_blocks, count);
    cr_assert_eq(usage.num_spilled, away);
    cr_assert_eq(usage.spilled_bytes, away_bytes);
    cr_assert_eq(usage.used_bytes, used);
    cr_assert_eq(usage.pinned_bytes, pinned_bytes);
    cr_assert_leq(usage.used_bytes, m->capacity);
    cr_assert_leq(look_at_files().store_bytes, m->capacity + (SLOTS + 8) * page_bytes());
    cr_assert_eq(look_at_files().of_store, usage.num_segments);
}

Test(spill_hard, random_sequences_against_a_model, .timeout = 250)
{
    const char *given = getenv("STORE_SEED");
    char directory[64];
    model m = {.capacity = 16 * MIB, .random = given ? strtoull(given, NULL, 0) : (uint64_t)rayi_now_ns()};
    printf("STORE_SEED=%llu\n", (unsigned long long)m.random);
    fflush(stdout);
    m.store = make_spilling_store(m.capacity, make_directory(directory));
    for (size_t i = 1; i < ARENAS; i++)
        CHECK_OK(rayi_arena_new(m.store, &m.arenas[i]));
    for (int step = 0; step < 20000; step++) {
        model_step(&m);
        if (step % 20 == 0)
            model_check(&m);
    }
    cr_assert_gt(usage_of(m.store).num_restored, 100);
    for (size_t i = 0; i < SLOTS; i++)
        model_free(&m.slots[i]);
    model_check(&m);
    for (size_t i = 1; i < ARENAS; i++)
        rayi_arena_close(m.arenas[i]);
    cr_assert_eq(files_in(directory), 2, "no file is left");
    rayi_store_close(m.store);
    cr_assert_eq(look_at_files().of_store, 0);
    cr_assert_eq(rmdir(directory), 0);
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

enum { THREADS = 6, SHARED = 40 };

typedef struct crowd {
    rayi_store *store;
    pthread_mutex_t lock; /* of the slots: a reader takes a count under it */
    rayi_block *blocks[SHARED];
    atomic_bool over;
} crowd;

typedef struct member {
    pthread_t thread;
    crowd *of;
    rayi_arena *arena;
    uint64_t random;
    int rounds;
    const char *problem;
} member;

static rayi_block *borrow(crowd *of, size_t index)
{
    pthread_mutex_lock(&of->lock);
    rayi_block *block = of->blocks[index] ? rayi_block_ref(of->blocks[index]) : NULL;
    pthread_mutex_unlock(&of->lock);
    return block;
}

static const char *put(member *self, size_t index)
{
    size_t size = next_random(&self->random) % (next_random(&self->random) % 8 ? 300 * KIB : 2 * MIB);
    rayi_block *block;
    if (rayi_store_alloc_in(self->of->store, self->arena, size, INT64_MAX, &block))
        return "no block";
    write_marks(block, size);
    rayi_block_seal(block);
    pthread_mutex_lock(&self->of->lock);
    rayi_block *old = self->of->blocks[index];
    self->of->blocks[index] = block;
    pthread_mutex_unlock(&self->of->lock);
    rayi_block_unref(old);
    return NULL;
}

static const char *read_one(member *self, size_t index)
{
    rayi_block *block = borrow(self->of, index);
    const char *problem = NULL;
    if (!block)
        return NULL;
    if (!rayi_block_try_pin(block) && rayi_block_pin_until(block, INT64_MAX))
        problem = "no pin";
    if (!problem) {
        rayi_place place;
        rayi_block_place(block, &place);
        for (int i = 0; i < 3 && !problem; i++) /* others evict meanwhile */
            problem = has_marks(block, rayi_block_size(block)) ? NULL : "content";
        if (next_random(&self->random) % 2 && rayi_block_try_pin(block))
            rayi_block_unpin(block);
        rayi_block_unpin(block);
    }
    rayi_block_unref(block);
    return problem;
}

static void *take_part(void *arg)
{
    member *self = arg;
    for (int i = 0; i < self->rounds && !self->problem; i++) {
        size_t index = next_random(&self->random) % SHARED;
        self->problem = next_random(&self->random) % 3 ? read_one(self, index) : put(self, index);
        if (next_random(&self->random) % 64 == 0)
            rayi_store_trim(self->of->store, MIB);
    }
    return NULL;
}

Test(spill_hard, many_threads, .timeout = 250)
{
    char directory[64];
    /* Each pins or makes one block of 2 MiB at most, so that somebody can always go on. */
    crowd of = {.store = make_spilling_store(THREADS * 2 * MIB, make_directory(directory))};
    member members[THREADS];
    pthread_mutex_init(&of.lock, NULL);
    for (int i = 0; i < THREADS; i++) {
        members[i] = (member){.of = &of, .random = (uint64_t)i, .rounds = SANITIZED ? 1500 : 6000};
        if (i % 2)
            CHECK_OK(rayi_arena_new(of.store, &members[i].arena));
        cr_assert_eq(pthread_create(&members[i].thread, NULL, take_part, &members[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(members[i].thread, NULL);
        rayi_arena_close(members[i].arena);
        cr_assert_null(members[i].problem, "thread %d: %s", i, members[i].problem);
    }
    rayi_store_usage usage = usage_of(of.store);
    cr_assert_eq(usage.pinned_bytes + usage.num_waiters, 0);
    cr_assert_gt(usage.num_restored, 0);
    for (size_t i = 0; i < SHARED; i++)
        rayi_block_unref(of.blocks[i]);
    usage = usage_of(of.store);
    cr_assert_eq(usage.used_bytes + usage.num_blocks + usage.num_spilled + usage.spilled_bytes, 0);
    rayi_store_close(of.store);
    cr_assert_eq(rmdir(directory), 0, "no file is left");
}

/* All want the same few blocks, of which only one fits at a time: restores meet, pins meet evictions. */
static void *fight(void *arg)
{
    member *self = arg;
    for (int i = 0; i < self->rounds && !self->problem; i++)
        self->problem = read_one(self, next_random(&self->random) % 3);
    return NULL;
}

Test(spill_hard, threads_fight_for_the_same_blocks, .timeout = 250)
{
    char directory[64];
    crowd of = {.store = make_spilling_store(MIB, make_directory(directory))};
    member members[THREADS];
    pthread_mutex_init(&of.lock, NULL);
    for (size_t i = 0; i < 3; i++)
        of.blocks[i] = make_sealed(of.store, MIB - i, MIB - i);
    for (int i = 0; i < THREADS; i++) {
        members[i] = (member){.of = &of, .random = (uint64_t)i, .rounds = 300};
        cr_assert_eq(pthread_create(&members[i].thread, NULL, fight, &members[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(members[i].thread, NULL);
        cr_assert_null(members[i].problem, "thread %d: %s", i, members[i].problem);
    }
    cr_assert_eq(usage_of(of.store).spilled_total_bytes, 3 * MIB - 3);
    for (size_t i = 0; i < 3; i++)
        rayi_block_unref(of.blocks[i]);
    rayi_store_close(of.store);
    cr_assert_eq(rmdir(directory), 0, "no file is left");
}

static void *pin_for_ever(void *arg)
{
    member *self = arg;
    if (rayi_block_pin_until(self->of->blocks[0], INT64_MAX) == 0)
        rayi_block_unpin(self->of->blocks[0]);
    return NULL;
}

Test(spill_hard, close_while_others_wait, .timeout = 60)
{
    char directory[64];
    crowd of = {.store = make_spilling_store(MIB, make_directory(directory))};
    member members[THREADS];
    of.blocks[0] = make_sealed(of.store, MIB, 1);
    of.blocks[1] = make_sealed(of.store, MIB, 2);
    CHECK_OK(rayi_block_pin(of.blocks[1]));
    for (int i = 0; i < THREADS; i++) {
        members[i] = (member){.of = &of};
        cr_assert_eq(pthread_create(&members[i].thread, NULL, pin_for_ever, &members[i]), 0);
    }
    while (usage_of(of.store).num_waiters == 0)
        usleep(1000);
    rayi_store_close(of.store);
    for (int i = 0; i < THREADS; i++)
        pthread_join(members[i].thread, NULL);
    cr_assert(has_marks(of.blocks[1], 2));
    rayi_block_unpin(of.blocks[1]);
    rayi_block_unref(of.blocks[0]);
    rayi_block_unref(of.blocks[1]);
    cr_assert_eq(rmdir(directory), 0);
    cr_assert_eq(look_at_files().of_store, 0);
}

/* --- refusals ----------------------------------------------------------------------------------------------------- */

/* Spills, restores and spills again, also out of an arena. The first failure of a call is returned, and it is tried
 * once more. */
static int exercise(rayi_store *store, rayi_arena *arena)
{
    rayi_block *blocks[4] = {0};
    int first = 0, r;
    int64_t late = rayi_now_ns() + 30000000000;
    for (size_t i = 0; i < 4; i++) {
        r = rayi_store_alloc_in(store, i % 2 ? arena : NULL, MIB, late, &blocks[i]);
        first = first ? first : r;
        if (r)
            CHECK_OK(rayi_store_alloc_in(store, i % 2 ? arena : NULL, MIB, late, &blocks[i]));
        write_marks(blocks[i], i);
        rayi_block_seal(blocks[i]);
    }
    for (size_t i = 0; i < 4; i++) {
        r = rayi_block_pin(blocks[i]);
        first = first ? first : r;
        if (r)
            CHECK_OK(rayi_block_pin(blocks[i]));
        cr_assert(has_marks(blocks[i], i));
        rayi_block_unpin(blocks[i]);
    }
    for (size_t i = 0; i < 4; i++)
        rayi_block_unref(blocks[i]);
    return first;
}

static int try_all(const rayi_memory *memory, const char *directory)
{
    rayi_store *store;
    rayi_arena *arena = NULL;
    int r = rayi_store_new(memory, 2 * MIB, &store);
    if (r)
        return r;
    r = rayi_store_set_spill(store, directory);
    if (r == 0)
        r = rayi_arena_new(store, &arena);
    if (r == 0)
        r = exercise(store, arena);
    rayi_arena_close(arena);
    rayi_store_close(store);
    return r;
}

Test(spill_hard, every_allocation_may_fail, .timeout = 60)
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
        cr_assert_eq(files_in(directory), 2);
        failures += r != 0;
        if (!reached)
            break;
    }
    cr_assert_gt(nth, 20);
    cr_assert_gt(failures, 15);
    cr_assert_eq(rmdir(directory), 0);
}
