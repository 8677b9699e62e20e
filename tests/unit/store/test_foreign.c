/* Blocks that lie in another store's segments, what becomes of those, and blocks that are read while they are fetched.
 */
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- a source that maps ------------------------------------------------------------------------------------------- */

typedef struct owner {
    rayi_export of;
    rayi_store *reader;
    rayi_foreign *segment;
    uint64_t tag;
    bool refuses; /* then it is fetched */
    bool waits;   /* it maps nothing without a deadline */
    atomic_int maps, unmaps, fetches, forgets;
} owner;

static int fetch(void *arg, void *to, size_t size_bytes, int64_t deadline_ns)
{
    owner *from = arg;
    (void)deadline_ns;
    atomic_fetch_add(&from->fetches, 1);
    write_marks_to(to, size_bytes, from->tag);
    return 0;
}

static bool map(void *arg, size_t size_bytes, int64_t deadline_ns, rayi_foreign **segment, size_t *offset)
{
    owner *from = arg;
    (void)size_bytes;
    if (from->refuses || (from->waits && deadline_ns == 0))
        return false;
    if (!from->segment && rayi_foreign_open(from->reader, getpid(), &from->of, &from->segment))
        return false;
    atomic_fetch_add(&from->maps, 1);
    *segment = from->segment;
    *offset = (size_t)from->of.offset;
    return true;
}

static void unmap(void *arg)
{
    atomic_fetch_add(&((owner *)arg)->unmaps, 1);
}

static void forget(void *arg)
{
    owner *from = arg;
    atomic_fetch_add(&from->forgets, 1);
    if (from->segment)
        rayi_foreign_unref(from->segment);
}

static const rayi_source source = {.fetch = fetch, .map = map, .unmap = unmap, .forget = forget};

/* A block of one store, pinned, and one of another that is the same bytes. */
static rayi_block *make_both(rayi_store *theirs, rayi_store *ours, size_t size, uint64_t tag, owner *from,
                             rayi_block **out)
{
    rayi_block *block = make_sealed(theirs, size, tag), *far = NULL;
    *from = (owner){.reader = ours, .tag = tag};
    CHECK_OK(rayi_block_pin(block));
    cr_assert(rayi_block_export(block, &from->of));
    CHECK_OK(rayi_block_new_far(ours, size, &source, from, &far));
    *out = far;
    return block;
}

static void end(rayi_store *store, rayi_block *pinned)
{
    rayi_block_unpin(pinned);
    rayi_block_unref(pinned);
    rayi_store_close(store);
}

Test(foreign, a_pin_maps_and_counts_nothing)
{
    rayi_store *theirs = make_store(8 * MIB), *ours = make_store(MIB);
    owner from;
    rayi_block *far, *block = make_both(theirs, ours, 4 * MIB, 5, &from, &far);
    CHECK_OK(rayi_block_pin(far)); /* though it is larger than this store */
    cr_assert(has_marks(far, 5) && rayi_block_data(far) != rayi_block_data(block));
    cr_assert_eq(((char *)rayi_block_data(far))[4 * MIB], '\0');
    rayi_store_usage usage = usage_of(ours);
    cr_assert_eq(usage.used_bytes + usage.pinned_bytes + usage.mapped_bytes + usage.num_far + usage.far_bytes, 0);
    cr_assert(usage.num_mapped_far == 1 && usage.mapped_far_bytes == 4 * MIB && usage.num_fetched == 0);
    cr_assert(!rayi_block_is_far(far) && rayi_block_try_pin(far));
    rayi_block_unpin(far);
    cr_assert_eq(from.unmaps, 0);
    CHECK_FAILS(rayi_block_keep(far), RAY_ERR_NOT_FOUND);
    rayi_export again;
    cr_assert(!rayi_block_export(far, &again));
    rayi_block_unpin(far);
    cr_assert(from.maps == 1 && from.unmaps == 1 && from.fetches == 0 && rayi_block_is_far(far));
    usage = usage_of(ours);
    cr_assert(usage.num_mapped_far == 0 && usage.mapped_far_bytes == 0 && usage.num_far == 1);
    cr_assert(rayi_block_try_pin(far), "what needs no waiting is mapped again at once");
    cr_assert(has_marks(far, 5));
    rayi_block_unpin(far);
    rayi_block_unref(far);
    cr_assert(from.maps == 2 && from.unmaps == 2 && from.forgets == 1);
    rayi_store_close(ours);
    end(theirs, block);
}

Test(foreign, one_that_cannot_be_mapped_is_fetched)
{
    rayi_store *theirs = make_store(MIB), *ours = make_store(MIB);
    owner from;
    rayi_block *far, *block = make_both(theirs, ours, MIB / 2, 6, &from, &far);
    from.waits = true;
    cr_assert(!rayi_block_try_pin(far) && rayi_block_is_far(far));
    from.refuses = true;
    CHECK_OK(rayi_block_pin(far));
    cr_assert(has_marks(far, 6) && from.fetches == 1 && usage_of(ours).num_fetched == 1);
    rayi_block_unpin(far);
    cr_assert(!rayi_block_is_far(far) && from.unmaps == 0);
    CHECK_OK(rayi_block_keep(far));
    cr_assert_eq(from.forgets, 1);
    rayi_block_unref(far);
    rayi_store_close(ours);
    end(theirs, block);
}

Test(foreign, only_the_segment_that_was_said)
{
    rayi_store *theirs = make_store(MIB), *ours = make_store(MIB);
    owner from;
    rayi_block *far, *block = make_both(theirs, ours, MIB / 2, 7, &from, &far);
    rayi_foreign *segment = NULL;
    rayi_export of = from.of;
    size_t before = look_at_files().count;
    of.inode++;
    CHECK_FAILS(rayi_foreign_open(ours, getpid(), &of, &segment), RAY_ERR_SYSTEM);
    of = from.of;
    of.segment_bytes += page_bytes();
    CHECK_FAILS(rayi_foreign_open(ours, getpid(), &of, &segment), RAY_ERR_SYSTEM);
    of = from.of;
    of.fd = 100000;
    CHECK_FAILS(rayi_foreign_open(ours, getpid(), &of, &segment), RAY_ERR_SYSTEM);
    cr_assert(strstr(rayi_error_last_public()->message, "process"), "%s", rayi_error_last_public()->message);
    int file = memfd_create("may-shrink", MFD_CLOEXEC);
    struct stat status;
    cr_assert(file >= 0 && ftruncate(file, 8192) == 0 && fstat(file, &status) == 0);
    of = (rayi_export){.fd = file, .device = status.st_dev, .inode = status.st_ino, .segment_bytes = 8192};
    CHECK_FAILS(rayi_foreign_open(ours, getpid(), &of, &segment), RAY_ERR_SYSTEM);
    close(file);
    cr_assert_eq(look_at_files().count, before);
    rayi_block_unref(far);
    rayi_store_close(ours);
    end(theirs, block);
}

static void segment_gone(void *arg, uint64_t segment)
{
    *(uint64_t *)arg = segment;
}

Test(foreign, worker_processes_get_it_by_a_number_of_this_store)
{
    rayi_store *theirs = make_store(MIB), *ours = make_store(MIB);
    uint64_t gone = 0;
    rayi_store_on_segment_gone(ours, segment_gone, &gone);
    rayi_block *own = make_block(ours, 100);
    owner from;
    rayi_block *far, *block = make_both(theirs, ours, MIB / 2, 8, &from, &far);
    rayi_place place, other;
    int fd = -1;
    rayi_block_place(own, &other);
    CHECK_OK(rayi_block_pin(far));
    rayi_block_place(far, &place);
    cr_assert(place.segment != other.segment && place.segment_bytes == from.of.segment_bytes);
    CHECK_OK(rayi_store_share(ours, place.segment, false, &fd));
    char *mapped = mmap(NULL, place.segment_bytes, PROT_READ, MAP_SHARED, fd, 0);
    cr_assert(mapped != MAP_FAILED);
    cr_assert_eq(memcmp(mapped + place.offset, rayi_block_data(block), MIB / 2), 0);
    munmap(mapped, place.segment_bytes);
    cr_assert(mmap(NULL, place.segment_bytes, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EACCES);
    close(fd);
    rayi_block_unpin(far);
    cr_assert_eq(gone, 0);
    rayi_block_unref(far);
    cr_assert_eq(gone, place.segment);
    CHECK_FAILS(rayi_store_share(ours, place.segment, false, &fd), RAY_ERR_NOT_FOUND);
    rayi_block_unref(own);
    rayi_store_close(ours);
    end(theirs, block);
}

Test(foreign, it_outlives_the_process_it_came_from)
{
    rayi_store *ours = make_store(MIB);
    owner from = {.reader = ours, .tag = 9};
    int there[2], over[2];
    cr_assert(pipe(there) == 0 && pipe(over) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        rayi_store *theirs;
        rayi_block *block;
        rayi_export of;
        char byte;
        if (rayi_store_new(rayi_heap, MIB, &theirs) || rayi_store_alloc(theirs, MIB / 2, 0, &block))
            _exit(1);
        write_marks(block, 9);
        rayi_block_seal(block);
        if (rayi_block_pin(block) || !rayi_block_export(block, &of) || write(there[1], &of, sizeof of) != sizeof of)
            _exit(2);
        _exit(read(over[0], &byte, 1) == 1 ? 0 : 3);
    }
    cr_assert_eq(read(there[0], &from.of, sizeof from.of), (ssize_t)sizeof from.of);
    CHECK_OK(rayi_foreign_open(ours, pid, &from.of, &from.segment));
    rayi_block *far = NULL;
    int status;
    cr_assert(write(over[1], "x", 1) == 1 && waitpid(pid, &status, 0) == pid && status == 0);
    CHECK_OK(rayi_block_new_far(ours, MIB / 2, &source, &from, &far));
    CHECK_OK(rayi_block_pin(far));
    cr_assert(has_marks(far, 9));
    rayi_block_unpin(far);
    rayi_block_unref(far);
    rayi_store_close(ours);
    close(there[0]), close(there[1]), close(over[0]), close(over[1]);
}

static void *pin_often(void *arg)
{
    rayi_block *far = arg;
    for (int i = 0; i < 2000; i++) {
        if (i % 2 ? rayi_block_try_pin(far) : rayi_block_pin(far) == 0) {
            cr_assert(has_marks(far, 4));
            rayi_block_unpin(far);
        }
    }
    return NULL;
}

Test(foreign, many_threads)
{
    rayi_store *theirs = make_store(MIB), *ours = make_store(MIB);
    owner from;
    rayi_block *far, *block = make_both(theirs, ours, MIB / 2, 4, &from, &far);
    pthread_t threads[4];
    for (size_t i = 0; i < RAYI_COUNT_OF(threads); i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, pin_often, far), 0);
    for (size_t i = 0; i < RAYI_COUNT_OF(threads); i++)
        pthread_join(threads[i], NULL);
    cr_assert(from.maps > 0 && from.maps == from.unmaps && from.fetches == 0);
    rayi_store_usage usage = usage_of(ours);
    cr_assert(usage.num_mapped_far == 0 && usage.num_far == 1);
    rayi_block_unref(far);
    rayi_store_close(ours);
    end(theirs, block);
}

/* --- a reader that nobody knows the end of ------------------------------------------------------------------------ */

Test(foreign, a_spoiled_block_is_never_used_again)
{
    rayi_store *theirs = make_store(MIB), *ours = make_store(MIB);
    owner from;
    rayi_block *far, *block = make_both(theirs, ours, MIB / 2, 3, &from, &far);
    CHECK_OK(rayi_block_pin(far));
    rayi_block *other = make_block(theirs, MIB / 4); /* in the same segment */
    rayi_block_spoil(block);
    rayi_block_unref(block);
    rayi_store_usage usage = usage_of(theirs);
    cr_assert(usage.used_bytes == MIB / 4 && usage.num_blocks == 1);
    for (int i = 0; i < 4; i++) {
        rayi_block *again = make_block(theirs, MIB * 3 / 4);
        memset(rayi_block_data(again), 0xee, MIB * 3 / 4);
        rayi_block_unref(again);
        rayi_store_trim(theirs, 0);
    }
    cr_assert(has_marks(far, 3));
    rayi_block_unref(other);
    rayi_store_trim(theirs, 0);
    cr_assert_eq(usage_of(theirs).num_segments, 0, "the segment goes whole");
    cr_assert(has_marks(far, 3));
    rayi_store_close(theirs);
    cr_assert(has_marks(far, 3));
    rayi_block_unpin(far);
    rayi_block_unref(far);
    rayi_store_close(ours);
}

Test(foreign, spoiled_twice_while_others_read_it)
{
    rayi_store *theirs = make_store(MIB);
    rayi_block *block = make_sealed(theirs, MIB / 2, 2);
    for (int i = 0; i < 3; i++)
        CHECK_OK(rayi_block_pin(block));
    rayi_block_spoil(block);
    rayi_block_spoil(block);
    cr_assert(has_marks(block, 2));
    rayi_block_unpin(block);
    cr_assert_eq(usage_of(theirs).pinned_bytes, MIB / 2);
    rayi_block_unref(block);
    cr_assert_eq(usage_of(theirs).pinned_bytes + usage_of(theirs).used_bytes, 0);
    rayi_store_close(theirs);
}

/* --- read while it comes ------------------------------------------------------------------------------------------ */

typedef struct slow {
    atomic_bool half, go;
    bool fails;
    void *to;
} slow;

static int fetch_slowly(void *arg, void *to, size_t size_bytes, int64_t deadline_ns)
{
    slow *from = arg;
    (void)deadline_ns;
    write_marks_to(to, size_bytes, 11);
    from->to = to;
    atomic_store(&from->half, true);
    while (!atomic_load(&from->go))
        usleep(1000);
    return from->fails ? rayi_fail(RAY_ERR_OBJECT_LOST, "the rest is lost") : 0;
}
static void forget_slowly(void *arg)
{
    (void)arg;
}
static const rayi_source slow_source = {.fetch = fetch_slowly, .forget = forget_slowly};

static void *pin_slowly(void *arg)
{
    return (void *)(intptr_t)rayi_block_pin(arg);
}

static void read_early(bool fails)
{
    slow from = {.fails = fails};
    rayi_store *store = make_store(MIB);
    rayi_block *far = NULL;
    pthread_t thread;
    void *r;
    CHECK_OK(rayi_block_new_far(store, MIB / 2, &slow_source, &from, &far));
    cr_assert_null(rayi_block_pin_early(far), "nobody fetches it");
    cr_assert_eq(pthread_create(&thread, NULL, pin_slowly, far), 0);
    while (!atomic_load(&from.half))
        usleep(1000);
    rayi_early *first = rayi_block_pin_early(far), *second = rayi_block_pin_early(far);
    cr_assert(first && second && !rayi_block_try_pin(far));
    rayi_early_unpin(second);
    atomic_store(&from.go, true);
    pthread_join(thread, &r);
    cr_assert_eq((int)(intptr_t)r, fails ? RAY_ERR_OBJECT_LOST : 0);
    if (!fails)
        rayi_block_unpin(far);
    cr_assert_null(rayi_block_pin_early(far), "it is over");
    rayi_block *other = NULL; /* there is no room for it but that one */
    CHECK_FAILS(rayi_store_try_alloc(store, MIB * 3 / 4, &other), RAY_ERR_STORE_FULL);
    cr_assert_eq(*(unsigned char *)from.to, mark_of(11, 0));
    rayi_early_unpin(first);
    CHECK_OK(rayi_store_try_alloc(store, MIB * 3 / 4, &other));
    rayi_block_unref(other);
    rayi_block_unref(far);
    cr_assert_eq(usage_of(store).used_bytes + usage_of(store).num_blocks, 0);
    rayi_store_close(store);
}

Test(foreign, early_pins_become_pins)
{
    read_early(false);
}

Test(foreign, early_pins_keep_the_room_of_a_fetch_that_failed)
{
    read_early(true);
}
