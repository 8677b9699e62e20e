/* More objects than the store holds: they go to disk and come back, whoever reads them and however. */
#include "check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STORE = 16 << 20, PIECE = 1 << 20 };

static char *make_directory(char out[64])
{
    strcpy(out, "/var/tmp/ray-test-XXXXXX"); /* rather a disk than a tmpfs */
    CHECK(mkdtemp(out));
    return out;
}

static size_t entries_of(const char *path)
{
    size_t count = 0;
    DIR *dir = opendir(path);
    CHECK(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        count += *entry->d_name != '.';
    closedir(dir);
    return count;
}

static void start(const char *spill_dir, uint64_t store_bytes, int64_t timeout_ms)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = "CPU=2", .num_threads = 2, .store_bytes = store_bytes,
                               .spill_dir = spill_dir, .timeout_ms = timeout_ms)));
}

/* Each 8 bytes tell the object and the place. */
static void fill(void *bytes, size_t size, uint64_t seed)
{
    uint64_t *words = bytes;
    for (size_t i = 0; i < size / 8; i++)
        words[i] = seed << 32 | i;
}

static bool is_filled(const void *bytes, size_t size, uint64_t seed)
{
    const uint64_t *words = bytes;
    for (size_t i = 0; i < size / 8; i++)
        if (words[i] != (seed << 32 | i))
            return false;
    return true;
}

static ray_ref *make(size_t size, uint64_t seed)
{
    ray_buffer *buffer = ray_create(size);
    CHECK(buffer);
    fill(buffer->data, size, seed);
    return ray_seal(buffer);
}

static void check_object(ray_ref *ref, size_t size, uint64_t seed)
{
    ray_view view;
    CHECK_OK(ray_get(ref, &view));
    CHECK_INT(view.size, size);
    CHECK(is_filled(view.data, size, seed));
    ray_view_release(&view);
}

static int64_t figure(const char *name)
{
    ray_view view;
    CHECK_OK(ray_state("objects", &view));
    const char *found = strstr(view.data, name);
    CHECK(found);
    int64_t value = strtoll(strchr(found, ':') + 1, NULL, 10);
    ray_view_release(&view);
    return value;
}

/* Pushes everything out that is not pinned. */
static void churn(void)
{
    for (int i = 0; i < STORE / PIECE; i++)
        ray_release(make(PIECE, 999));
    ray_ref *refs[STORE / PIECE];
    for (int i = 0; i < STORE / PIECE - 4; i++)
        refs[i] = make(PIECE, 999);
    for (int i = 0; i < STORE / PIECE - 4; i++)
        ray_release(refs[i]);
}

/* ---- much more than there is room for ---- */

static void a_gib_in_a_small_store(void)
{
    const int count = check_slowness() > 1 ? 200 : 1024;
    char directory[64];
    ray_ref **refs = malloc((size_t)count * sizeof *refs);
    start(make_directory(directory), STORE, 0);
    CHECK_INT(entries_of(directory), 0); /* nothing before it is needed */
    for (int i = 0; i < count; i++)
        refs[i] = make(PIECE, (uint64_t)i);
    CHECK_INT(figure("store_objects"), count);
    CHECK_INT(figure("store_spilled_objects"), count - STORE / PIECE);
    CHECK_INT(figure("store_spilled_bytes"), (int64_t)(count - STORE / PIECE) * PIECE);
    CHECK_INT(figure("store_restored_objects"), 0);
    CHECK_INT(figure("store_pinned_bytes"), 0);
    for (int i = 0; i < count; i++)
        check_object(refs[i], PIECE, (uint64_t)i);
    CHECK_INT(figure("store_restored_objects"), count);
    CHECK_INT(figure("store_spilled_total_bytes"), (int64_t)count * PIECE); /* each was written once */
    for (int i = count; i-- > 0;)
        ray_release(refs[i]);
    CHECK_INT(figure("store_objects"), 0);
    CHECK_INT(figure("store_spilled_bytes"), 0);
    check_stop();
    CHECK_OK(rmdir(directory)); /* it was left empty */
    free(refs);
}

static void a_temporary_directory_is_the_default(void)
{
    char directory[64];
    ray_ref *refs[40];
    CHECK_OK(setenv("TMPDIR", make_directory(directory), 1));
    start(NULL, STORE, 0);
    for (int i = 0; i < 40; i++)
        refs[i] = make(PIECE, (uint64_t)i);
    CHECK_INT(entries_of(directory), 1);
    for (int i = 0; i < 40; i++) {
        check_object(refs[i], PIECE, (uint64_t)i);
        ray_release(refs[i]);
    }
    check_stop();
    CHECK_OK(rmdir(directory));
}

static void larger_than_the_store(void)
{
    char directory[64];
    start(make_directory(directory), STORE, 0);
    ray_ref *ref = make(PIECE, 1);
    int64_t before = check_now_ms();
    CHECK(!ray_create(STORE + 1));
    CHECK_INT(ray_last_error()->code, RAY_ERR_STORE_FULL);
    CHECK_HAS(ray_last_error()->message, "16777217");
    CHECK(check_now_ms() - before < 5000);
    ray_ref *all = make(STORE, 2); /* as large as the store */
    check_object(ref, PIECE, 1);
    check_object(all, STORE, 2);
    ray_release(ref);
    ray_release(all);
    check_stop();
    CHECK_OK(rmdir(directory));
}

static void never(void)
{
    ray_ref *refs[STORE / PIECE];
    start("", STORE, 100);
    for (int i = 0; i < STORE / PIECE; i++)
        refs[i] = make(PIECE, (uint64_t)i);
    CHECK(!ray_create(PIECE));
    CHECK_INT(ray_last_error()->code, RAY_ERR_STORE_FULL);
    for (int i = 0; i < STORE / PIECE; i++) {
        check_object(refs[i], PIECE, (uint64_t)i);
        ray_release(refs[i]);
    }
    check_stop();
}

static void a_directory_that_is_none(void)
{
    CHECK_CODE(ray_init(RAY_WITH(ray_config, .spill_dir = "/nonexistent/spill")), RAY_ERR_SYSTEM);
    CHECK_HAS(ray_last_error()->message, "/nonexistent/spill");
    CHECK_HAS(ray_last_error()->message, strerror(ENOENT));
    CHECK_CODE(ray_init(RAY_WITH(ray_config, .spill_dir = "/etc/passwd")), RAY_ERR_SYSTEM);
    CHECK_HAS(ray_last_error()->message, strerror(ENOTDIR));
}

/* ---- a full disk ---- */

/* The disk takes eight objects, and a page for the lock file. */
static void a_full_disk(void)
{
    enum { COUNT = 24 };
    char directory[64];
    ray_ref *refs[COUNT];
    if (mount("tmpfs", make_directory(directory), "tmpfs", 0, "size=8196k")) {
        CHECK_OK(rmdir(directory));
        check_skip("no tmpfs can be mounted here");
    }
    start(directory, STORE, 300);
    for (int i = 0; i < COUNT; i++)
        refs[i] = make(PIECE, (uint64_t)i);
    CHECK(!ray_create(PIECE));
    CHECK_INT(ray_last_error()->code, RAY_ERR_DISK_FULL);
    CHECK_HAS(ray_last_error()->message, directory);
    CHECK_HAS(ray_last_error()->message, strerror(ENOSPC));
    CHECK_HAS(ray_last_error()->message, "1048576");
    ray_view view;
    CHECK_CODE(ray_get(refs[0], &view), RAY_ERR_DISK_FULL); /* nothing can make way for it */
    ray_release(refs[COUNT - 1]);
    for (int i = 0; i < COUNT - 1; i++) /* nothing is lost */
        check_object(refs[i], PIECE, (uint64_t)i);
    refs[COUNT - 1] = make(PIECE, COUNT - 1);
    ray_release(refs[0]);
    refs[0] = make(PIECE, 0);
    for (int i = 0; i < COUNT; i++)
        ray_release(refs[i]);
    check_stop();
    CHECK_OK(umount(directory));
    CHECK_OK(rmdir(directory));
}

/* ---- readers ---- */

static void views_pin(void)
{
    char directory[64];
    ray_view pinned, again;
    ray_ref *refs[40];
    start(make_directory(directory), STORE, 0);
    ray_ref *ref = make(3 * PIECE, 77);
    CHECK_OK(ray_get(ref, &pinned));
    for (int i = 0; i < 40; i++)
        refs[i] = make(PIECE, (uint64_t)i);
    CHECK_OK(ray_get(ref, &again));
    CHECK(again.data == pinned.data);
    CHECK_INT(figure("store_pinned_bytes"), 3 * PIECE);
    ray_view_release(&again);
    CHECK(is_filled(pinned.data, 3 * PIECE, 77));
    CHECK_INT(figure("store_pinned_bytes"), 3 * PIECE);
    ray_release(ref); /* the view keeps it */
    for (int i = 0; i < 40; i++)
        check_object(refs[i], PIECE, (uint64_t)i);
    CHECK(is_filled(pinned.data, 3 * PIECE, 77));
    ray_view_release(&pinned);
    CHECK_INT(figure("store_pinned_bytes"), 0);
    for (int i = 0; i < 40; i++)
        ray_release(refs[i]);
    check_stop();
    CHECK_OK(rmdir(directory));
}

static void views_of_everything_fill_the_store(void)
{
    enum { COUNT = STORE / PIECE };
    char directory[64];
    ray_view views[COUNT], more;
    ray_ref *refs[COUNT + 1];
    start(make_directory(directory), STORE, 200);
    for (int i = 0; i <= COUNT; i++)
        refs[i] = make(PIECE, (uint64_t)i);
    for (int i = 0; i < COUNT; i++)
        CHECK_OK(ray_get(refs[i], &views[i]));
    CHECK_CODE(ray_get(refs[COUNT], &more), RAY_ERR_STORE_FULL);
    CHECK_HAS(ray_last_error()->message, "16777216");
    CHECK(!ray_create(PIECE));
    CHECK_INT(ray_last_error()->code, RAY_ERR_STORE_FULL);
    CHECK_OK(ray_get(refs[COUNT], NULL)); /* only the error: it has none */
    ray_value kind = {0};
    CHECK_OK((ray_get)(refs[COUNT], &kind));
    CHECK_INT(kind.size, PIECE);
    ray_view_release(&views[3]);
    check_object(refs[COUNT], PIECE, COUNT);
    for (int i = 0; i < COUNT; i++) {
        if (i != 3)
            CHECK(is_filled(views[i].data, PIECE, (uint64_t)i));
        ray_view_release(&views[i]);
    }
    for (int i = 0; i <= COUNT; i++)
        ray_release(refs[i]);
    check_stop();
    CHECK_OK(rmdir(directory));
}

static void a_view_outlives_the_runtime(void)
{
    char directory[64];
    ray_view view;
    ray_ref *refs[30];
    start(make_directory(directory), STORE, 0);
    for (int i = 0; i < 30; i++)
        refs[i] = make(PIECE, (uint64_t)i);
    CHECK_OK(ray_get(refs[5], &view));
    check_stop();
    CHECK_OK(rmdir(directory)); /* with refs of spilled objects still held */
    CHECK(is_filled(view.data, PIECE, 5));
    ray_view_release(&view);
    for (int i = 0; i < 30; i++)
        ray_release(refs[i]);
}

static char letters[300001];

static RAY_REMOTE(const char *, long_text, (int64_t, letter))
{
    memset(letters, (int)letter, sizeof letters - 1);
    return letters;
}

static void texts_stay_as_long_as_their_ref(void)
{
    char directory[64];
    const char *text, *again;
    start(make_directory(directory), STORE, 0);
    ray_ref *ref = ray_remote(long_text, 'x');
    CHECK_OK(ray_get(ref, NULL));
    churn();
    CHECK_OK(ray_get(ref, &text));
    churn();
    CHECK_INT(strlen(text), 300000);
    CHECK_INT(strspn(text, "x"), 300000);
    CHECK_OK(ray_get(ref, &again));
    CHECK(text == again);
    CHECK(figure("store_pinned_bytes") > 300000);
    ray_release(ref);
    CHECK_INT(figure("store_pinned_bytes"), 0);
    check_stop();
    CHECK_OK(rmdir(directory));
}

static RAY_REMOTE(int64_t, check_bytes, (ray_view, a), (ray_view, b), (int64_t, seed))
{
    return is_filled(a.data, a.size, (uint64_t)seed) && is_filled(b.data, b.size, (uint64_t)seed + 1);
}

static RAY_REMOTE(ray_buffer *, next_one, (ray_view, before), (int64_t, seed))
{
    if (!is_filled(before.data, before.size, (uint64_t)seed))
        return ray_fail("seed %lld is not there", (long long)seed), (ray_buffer *)NULL;
    ray_buffer *out = ray_create(before.size);
    if (out)
        fill(out->data, out->size, (uint64_t)seed + 1);
    return out;
}

static void arguments_and_results(void)
{
    enum { COUNT = 60 };
    char directory[64];
    ray_ref *refs[COUNT], *results[COUNT];
    start(make_directory(directory), STORE, 0);
    for (int i = 0; i < COUNT; i++)
        refs[i] = i ? ray_remote(next_one, refs[i - 1], i - 1) : make(PIECE, 0);
    for (int i = 0; i < COUNT; i++)
        results[i] = ray_remote(check_bytes, refs[i], refs[(i + 1) % COUNT], i);
    for (int i = 0; i < COUNT; i++)
        CHECK_REF_INT(results[i], i + 1 < COUNT);
    for (int i = 0; i < COUNT; i++) {
        check_object(refs[i], PIECE, (uint64_t)i);
        ray_release(refs[i]);
    }
    CHECK_INT(figure("store_pinned_bytes"), 0);
    check_stop();
    CHECK_OK(rmdir(directory));
}

static _Atomic int runs;

static RAY_REMOTE(int64_t, count_run, (ray_view, a), (ray_view, b))
{
    atomic_fetch_add(&runs, 1);
    return (int64_t)(a.size + b.size);
}

static void arguments_larger_than_the_store(void)
{
    char directory[64];
    start(make_directory(directory), STORE, 0);
    ray_ref *a = make(10 * PIECE, 1), *b = make(10 * PIECE, 2);
    ray_ref *both = ray_remote(count_run, a, b), *one = ray_remote(count_run, a, a);
    int64_t before = check_now_ms();
    CHECK_CODE(ray_get(both, NULL), RAY_ERR_STORE_FULL);
    CHECK(check_now_ms() - before < 10000); /* nobody waits in vain */
    CHECK_HAS(ray_last_error()->message, "count_run");
    CHECK_HAS(ray_last_error()->message, "20971520");
    ray_release(both);
    CHECK_REF_INT(one, 20 * PIECE);
    CHECK_INT(atomic_load(&runs), 1); /* it did not run without its arguments */
    check_object(a, 10 * PIECE, 1);
    check_object(b, 10 * PIECE, 2);
    ray_release(a);
    ray_release(b);
    check_stop();
    CHECK_OK(rmdir(directory));
}

/* Each task needs more than half of the store: they go one after the other, whatever order they begin in. */
static void arguments_that_are_in_each_others_way(void)
{
    enum { COUNT = 12, PART = 5 * PIECE };
    char directory[64];
    ray_ref *refs[4], *results[COUNT];
    start(make_directory(directory), STORE, 0);
    for (int i = 0; i < 4; i++)
        refs[i] = make(PART, (uint64_t)i);
    for (int i = 0; i < COUNT; i++)
        results[i] = i % 2 ? ray_remote(check_bytes, refs[i % 3], refs[i % 3 + 1], i % 3)
                           : ray_remote(check_bytes, refs[(i + 1) % 3], refs[(i + 1) % 3 + 1], (i + 1) % 3);
    for (int i = 0; i < COUNT; i++)
        CHECK_REF_INT(results[i], 1);
    for (int i = 0; i < 4; i++)
        ray_release(refs[i]);
    check_stop();
    CHECK_OK(rmdir(directory));
}

static RAY_REMOTE(ray_stream(ray_buffer *), pieces, (int64_t, count))
{
    for (int64_t i = 0; i < count; i++) {
        ray_buffer *buffer = ray_create(PIECE);
        if (!buffer)
            return;
        fill(buffer->data, PIECE, (uint64_t)i);
        if (ray_yield(&buffer) != 0)
            return;
    }
}

static void items_of_a_stream(void)
{
    enum { COUNT = 40 };
    char directory[64];
    ray_ref *items[COUNT];
    start(make_directory(directory), STORE, 0);
    ray_ref *stream = ray_remote(pieces, COUNT);
    for (int i = 0; i < COUNT; i++)
        items[i] = ray_next(stream);
    CHECK_REF_OK(stream);
    for (int i = 0; i < COUNT; i++) {
        check_object(items[i], PIECE, (uint64_t)i);
        ray_release(items[i]);
    }
    check_stop();
    CHECK_OK(rmdir(directory));
}

typedef struct keeper {
    int64_t seen;
} keeper;
static RAY_ACTOR(keeper, (ray_view, bytes))
{
    self->seen = is_filled(bytes.data, bytes.size, 50);
}
static RAY_METHOD(keeper, int64_t, look, (ray_view, bytes), (int64_t, seed))
{
    self->seen += is_filled(bytes.data, bytes.size, (uint64_t)seed);
    return self->seen;
}

static void actors(void)
{
    char directory[64];
    start(make_directory(directory), STORE, 0);
    ray_ref *first = make(PIECE, 50), *second = make(PIECE, 51);
    churn();
    ray_actor *actor = ray_actor_new(keeper, first);
    CHECK_REF_INT(ray_call(actor, keeper_look, second, 51), 2);
    churn();
    CHECK_REF_INT(ray_call(actor, keeper_look, first, 50), 3);
    ray_actor_release(actor);
    ray_release(first);
    ray_release(second);
    check_stop();
    CHECK_OK(rmdir(directory));
}

static void refs_in_spilled_objects(void)
{
    char directory[64];
    ray_view view;
    start(make_directory(directory), STORE, 0);
    ray_ref *inner = make(PIECE, 5);
    ray_buffer *buffer = ray_create(PIECE);
    CHECK_INT(ray_buffer_hold(buffer, inner), 0);
    ray_release(inner);
    ray_ref *outer = ray_seal(buffer);
    churn();
    CHECK_OK(ray_get(outer, &view));
    churn();
    inner = ray_view_ref(&view, 0);
    ray_view_release(&view);
    ray_release(outer);
    check_object(inner, PIECE, 5);
    ray_release(inner);
    check_stop();
    CHECK_OK(rmdir(directory));
}

/* ---- many threads ---- */

enum { SHARED = 48 };
static ray_ref *shared[SHARED];

static void *read_and_write(void *arg)
{
    uint64_t state = (uintptr_t)arg + 1;
    int rounds = check_slowness() > 1 ? 40 : 300;
    for (int i = 0; i < rounds; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        int index = (int)(state >> 33) % SHARED;
        check_object(shared[index], PIECE, (uint64_t)index);
        if (i % 4 == 0)
            ray_release(make(PIECE, 1000));
        if (i % 7 == 0)
            CHECK_REF_INT(ray_remote(check_bytes, shared[index], shared[(index + 1) % SHARED], index),
                          index + 1 < SHARED);
    }
    return NULL;
}

static void threads(void)
{
    char directory[64];
    pthread_t all[4];
    start(make_directory(directory), STORE, 0);
    for (int i = 0; i < SHARED; i++)
        shared[i] = make(PIECE, (uint64_t)i);
    for (intptr_t i = 0; i < 4; i++)
        CHECK_OK(pthread_create(&all[i], NULL, read_and_write, (void *)i));
    for (int i = 0; i < 4; i++)
        pthread_join(all[i], NULL);
    CHECK_INT(figure("store_pinned_bytes"), 0);
    for (int i = 0; i < SHARED; i++)
        ray_release(shared[i]);
    check_stop();
    CHECK_OK(rmdir(directory));
}

/* ---- what the dead leave ---- */

static RAY_REMOTE(int64_t, one)
{
    return 1;
}

/* Leaves in "directory" what a node that spilled there and was killed leaves: its own directory. */
static void leave_a_dead_node(const char *directory)
{
    pid_t child = fork();
    if (child == 0) {
        start(directory, STORE, 0);
        for (int i = 0; i < 40; i++)
            (void)!make(PIECE, (uint64_t)i);
        kill(getpid(), SIGKILL);
    }
    waitpid(child, NULL, 0);
    CHECK_INT(entries_of(directory), 1);
}

/* A node that has worker processes clears up, even if it never spills. */
static void the_dead_are_cleared_away_by_those_with_workers(void)
{
    char directory[64];
    make_directory(directory);
    leave_a_dead_node(directory);
    start(directory, STORE, 0);
    CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .isolation = RAY_ISOLATION_PROCESS), one), 1);
    CHECK_INT(entries_of(directory), 0);
    check_stop();
    CHECK_OK(rmdir(directory));
}

static void the_dead_are_cleared_away(void)
{
    char directory[64], path[160], locked[160];
    make_directory(directory);
    leave_a_dead_node(directory);
    snprintf(path, sizeof path, "%s/ray-spill-s-1-abcdef", directory); /* a link is no directory of ours */
    CHECK_OK(symlink("/etc", path));
    snprintf(locked, sizeof locked, "%s/ray-spill-s-2-abcdef", directory);
    CHECK_OK(mkdir(locked, 0700));
    int fd = open(locked, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(fd >= 0 && flock(fd, LOCK_EX) == 0);
    start(directory, STORE, 0);
    ray_ref *refs[40];
    for (int i = 0; i < 40; i++)
        refs[i] = make(PIECE, (uint64_t)i);
    CHECK_INT(entries_of(directory), 3); /* ours, the link, the one alive */
    for (int i = 0; i < 40; i++)
        ray_release(refs[i]);
    check_stop();
    CHECK_INT(entries_of(directory), 2);
    close(fd);
    CHECK_OK(unlink(path));
    CHECK_OK(rmdir(locked));
    CHECK_OK(rmdir(directory));
}

CHECK_MAIN(CHECK_TEST(a_gib_in_a_small_store), CHECK_TEST(a_temporary_directory_is_the_default),
           CHECK_TEST(larger_than_the_store), CHECK_TEST(never), CHECK_TEST(a_directory_that_is_none),
           CHECK_TEST(a_full_disk), CHECK_TEST(views_pin), CHECK_TEST(views_of_everything_fill_the_store),
           CHECK_TEST(a_view_outlives_the_runtime), CHECK_TEST(texts_stay_as_long_as_their_ref),
           CHECK_TEST(arguments_and_results), CHECK_TEST(arguments_larger_than_the_store),
           CHECK_TEST(arguments_that_are_in_each_others_way), CHECK_TEST(items_of_a_stream), CHECK_TEST(actors),
           CHECK_TEST(refs_in_spilled_objects), CHECK_TEST(threads), CHECK_TEST(the_dead_are_cleared_away),
           CHECK_TEST(the_dead_are_cleared_away_by_those_with_workers))
