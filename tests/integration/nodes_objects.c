/* Objects that are on other nodes: mapped by processes of one host, copied where that is turned off; what becomes of
 * them when nodes die; one that many want at once. */
#include "nodes_common.h"

#include <dirent.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_MS = 15000 };
#define MIB ((size_t)1 << 20)

static int64_t patience(void)
{
    return (int64_t)PATIENCE_MS * check_slowness();
}

static void copy_always(void)
{
    CHECK(setenv("RAY_MAP_NEIGHBOURS", "0", 1) == 0);
}

/* ---- what they do ---- */

static unsigned char byte_at(size_t offset, int64_t seed)
{
    return (unsigned char)((offset >> 12) * 31 + (size_t)seed * 7 + 1);
}

static void fill(unsigned char *bytes, size_t size, int64_t seed)
{
    for (size_t i = 0; i < size; i += 4096)
        memset(bytes + i, byte_at(i, seed), size - i < 4096 ? size - i : 4096);
}

static bool is_filled(ray_view v, int64_t seed)
{
    const unsigned char *bytes = v.data;
    for (size_t i = 0; i < v.size; i += 4096)
        if (bytes[i] != byte_at(i, seed))
            return false;
    return v.size == 0 || bytes[v.size - 1] == byte_at((v.size - 1) / 4096 * 4096, seed);
}

static ray_ref *put(size_t size, int64_t seed)
{
    unsigned char *bytes = malloc(size);
    CHECK(bytes);
    fill(bytes, size, seed);
    ray_ref *ref = ray_put(bytes, size);
    free(bytes);
    return ref;
}

static RAY_REMOTE(ray_ref *, make, (int64_t, size), (int64_t, seed))
{
    return put((size_t)size, seed);
}
static RAY_REMOTE(int64_t, check_bytes, (ray_view, bytes), (int64_t, seed))
{
    return is_filled(bytes, seed) ? getpid() : -1;
}
/* Reads it until the gate is open. */
static RAY_REMOTE(int64_t, hold_bytes, (ray_view, bytes), (int64_t, seed))
{
    atomic_fetch_add(&page()->started, 1);
    while (atomic_load(&page()->gate) == 0)
        usleep(1000);
    return is_filled(bytes, seed);
}

/* How often this process has a segment of another one mapped. */
static size_t count_mapped(void)
{
    char line[512];
    size_t count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps);
    while (fgets(line, sizeof line, maps))
        count += strstr(line, " r--s ") && strstr(line, "memfd:ray-store");
    fclose(maps);
    return count;
}

static void await_mapped(size_t want)
{
    for (int64_t end = check_now_ms() + patience(); count_mapped() != want; check_sleep_ms(10))
        CHECK(check_now_ms() < end);
}

/* What this process has sent over connections that are open now. */
static uint64_t sent_bytes(void)
{
    uint64_t sum = 0;
    DIR *folder = opendir("/proc/self/fd");
    CHECK(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        struct tcp_info info = {0};
        socklen_t size = sizeof info;
        if (getsockopt(atoi(entry->d_name), IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
            size >= offsetof(struct tcp_info, tcpi_bytes_sent) + sizeof info.tcpi_bytes_sent)
            sum += info.tcpi_bytes_sent;
    }
    closedir(folder);
    return sum;
}

static ray_ref *made_there(size_t size, int64_t seed)
{
    ray_ref *outer = ray_remote(make, (int64_t)size, seed), *inner = NULL;
    CHECK_OK(ray_get(outer, &inner));
    ray_release(outer);
    return inner;
}

static void check_view(ray_ref *ref, size_t size, int64_t seed)
{
    ray_view v;
    CHECK_OK(ray_get(ref, &v));
    CHECK(v.size == size && is_filled(v, seed));
    ray_view_release(&v);
}

/* ---- mapped ---- */

static void mapped(void)
{
    node *head = node_head("CPU=0"), *worker = node_worker(head, "CPU=1");
    nodes_join(head);
    ray_ref *ref = made_there(8 * MIB, 1), *other = made_there(3 * MIB, 2);
    ray_view v;
    CHECK_INT(count_mapped(), 0);
    CHECK_OK(ray_get(ref, &v));
    CHECK(v.size == 8 * MIB && is_filled(v, 1));
    CHECK_INT(count_mapped(), 1);
    check_view(other, 3 * MIB, 2);
    CHECK_INT(count_mapped(), 1); /* they are in one segment */
    ray_release(other);
    ray_release(ref);
    CHECK(is_filled(v, 1));
    ray_view_release(&v);
    await_mapped(0);
    ref = put(5 * MIB, 3); /* the other way */
    CHECK_REF_INT(ray_remote(check_bytes, ref, (int64_t)3), node_pid(worker));
    CHECK_REF_INT(ray_remote(check_bytes, ref, (int64_t)3), node_pid(worker));
    ray_release(ref);
    check_stop();
    nodes_stop();
}

static void larger_than_the_store(void)
{
    node *head = node_head("CPU=0");
    node_start(&(ray_config){.role = RAY_ROLE_WORKER, .address = node_address(head), .resources = "CPU=1"});
    nodes_join_as(RAY_WITH(ray_config, .address = node_address(head), .store_bytes = MIB));
    ray_ref *ref = made_there(20 * MIB, 4);
    check_view(ref, 20 * MIB, 4);
    ray_release(ref);
    check_stop();
    nodes_stop();
}

static void in_worker_processes(void)
{
    node *head = node_head("CPU=0");
    node *worker = node_start(&(ray_config){.role = RAY_ROLE_WORKER,
                                            .address = node_address(head),
                                            .resources = "CPU=1",
                                            .isolation = RAY_ISOLATION_PROCESS});
    nodes_join(head);
    ray_ref *ref = put(9 * MIB, 5), *answer = ray_remote(check_bytes, ref, (int64_t)5);
    int64_t pid = 0;
    CHECK_OK(ray_get(answer, &pid));
    CHECK(pid > 0 && pid != node_pid(worker));
    ray_release(answer);
    check_sleep_ms(2500); /* its node has unmapped it meanwhile, and maps it anew, under another number */
    CHECK_REF_INT(ray_remote(check_bytes, ref, (int64_t)5), pid);
    ray_release(ref);
    check_stop();
    nodes_stop();
}

static void not_mapped_if_that_is_turned_off(void)
{
    copy_always();
    node *head = node_head("CPU=0");
    node_worker(head, "CPU=1");
    nodes_join(head);
    ray_ref *ref = made_there(8 * MIB, 6);
    check_view(ref, 8 * MIB, 6);
    CHECK_INT(count_mapped(), 0);
    ray_release(ref);
    check_stop();
    nodes_stop();
}

/* One of the two ends is enough: it falls back to copies. */
static void not_mapped_if_one_refuses(void)
{
    node *head = node_head("CPU=0");
    copy_always();
    node_worker(head, "CPU=1");
    unsetenv("RAY_MAP_NEIGHBOURS");
    nodes_join(head);
    ray_ref *ref = made_there(8 * MIB, 7);
    check_view(ref, 8 * MIB, 7);
    CHECK_INT(count_mapped(), 0);
    ray_release(ref);
    check_stop();
    nodes_stop();
}

/* ---- ends of nodes ---- */

/* What was mapped when its owner died stays; what was not is lost. */
static void owner_dies(void)
{
    node *head = node_head("CPU=0"), *worker = node_worker(head, "CPU=1");
    nodes_join(head);
    ray_ref *seen = made_there(4 * MIB, 8), *unseen = made_there(4 * MIB, 9);
    ray_view v;
    CHECK_OK(ray_get(seen, &v));
    node_kill(worker);
    nodes_await(1, RAY_NODE_DEAD, patience());
    CHECK(is_filled(v, 8));
    CHECK_CODE(ray_get(unseen, &v), RAY_ERR_OBJECT_LOST);
    CHECK_HAS(ray_last_error()->message, node_id(worker));
    ray_view again;
    CHECK_OK(ray_get(seen, &again));
    CHECK(is_filled(again, 8));
    ray_view_release(&again);
    ray_view_release(&v);
    check_sleep_ms(2500);
    check_view(seen, 4 * MIB, 8);
    ray_release(seen);
    ray_release(unseen);
    await_mapped(0);
    check_stop();
    nodes_stop();
}

/* The same of a copy: it is kept, though the node has no other use for its room. */
static void owner_of_a_copy_dies(void)
{
    copy_always();
    node *head = node_head("CPU=0"), *worker = node_worker(head, "CPU=1");
    nodes_join(head);
    ray_ref *seen = made_there(4 * MIB, 10), *unseen = made_there(4 * MIB, 11);
    check_view(seen, 4 * MIB, 10);
    node_kill(worker);
    nodes_await(1, RAY_NODE_DEAD, patience());
    check_view(seen, 4 * MIB, 10);
    ray_view v;
    CHECK_CODE(ray_get(unseen, &v), RAY_ERR_OBJECT_LOST);
    CHECK_HAS(ray_last_error()->message, node_id(worker));
    ray_release(seen);
    ray_release(unseen);
    check_stop();
    nodes_stop();
}

/* An orderly end must not take from others what they read. */
static void owner_leaves(void)
{
    node *head = node_head("CPU=0"), *worker = node_worker(head, "CPU=1");
    nodes_join(head);
    ray_ref *ref = made_there(4 * MIB, 12);
    ray_view v;
    CHECK_OK(ray_get(ref, &v));
    node_stop(worker);
    nodes_await(0, RAY_NODE_SUSPECT, patience());
    CHECK(is_filled(v, 12));
    ray_release(ref);
    CHECK(is_filled(v, 12));
    ray_view_release(&v);
    check_stop();
    nodes_stop();
}

static RAY_REMOTE(ray_buffer *, make_bytes, (int64_t, size), (int64_t, seed))
{
    ray_buffer *buffer = ray_create((size_t)size);
    if (buffer)
        fill(buffer->data, buffer->size, seed);
    return buffer;
}

/* What a drained node has made, by ray_put or as results, goes to those who hold it. */
static void drained(bool copies)
{
    if (copies)
        copy_always();
    node *head = node_head("CPU=0"), *worker = node_worker(head, "CPU=1");
    nodes_join(head);
    ray_ref *objects[3];
    for (int i = 0; i < 3; i++)
        objects[i] = made_there(2 * MIB, 20 + i);
    ray_ref *result = ray_remote(make_bytes, (int64_t)(2 * MIB), (int64_t)30);
    check_view(objects[0], 2 * MIB, 20); /* one was here before */
    CHECK_INT(ray_wait(&result, 1, 1, patience(), NULL), 1);
    CHECK_OK(ray_node_drain(node_id(worker)));
    node_await_end(worker, 0, "", patience());
    for (int i = 0; i < 3; i++) {
        check_view(objects[i], 2 * MIB, 20 + i);
        ray_release(objects[i]);
    }
    check_view(result, 2 * MIB, 30);
    ray_release(result);
    check_stop();
    nodes_stop();
}

static void drained_and_mapped(void)
{
    drained(false);
}
static void drained_and_copied(void)
{
    drained(true);
}

/* Its pins end with its process: the room can be used again. */
static void reader_dies(void)
{
    node *head = node_head("CPU=0"), *worker = node_worker(head, "CPU=1");
    setenv("RAY_SPILL_DIR", "", 1);
    nodes_join_as(RAY_WITH(ray_config, .address = node_address(head), .store_bytes = 48 * MIB));
    ray_ref *ref = put(40 * MIB, 13);
    ray_ref *held =
        ray_remote_opts(RAY_WITH(ray_task_options, .max_retries = RAY_NO_RETRIES), hold_bytes, ref, (int64_t)13);
    CHECK_AWAIT(page()->started, 1);
    node_kill(worker);
    CHECK_REF(held, RAY_ERR_NODE_DIED);
    ray_release(ref);
    ref = put(41 * MIB, 14);
    check_view(ref, 41 * MIB, 14);
    ray_release(ref);
    check_stop();
    nodes_stop();
}

/* ---- several sources ---- */

/* Everybody reads a new object: how much of it this process has sent. */
static uint64_t spread(size_t size, unsigned count)
{
    char resources[32];
    ray_ref *refs[16], *ref = put(size, 15);
    uint64_t before = sent_bytes();
    for (unsigned i = 0; i < count; i++) {
        snprintf(resources, sizeof resources, "n%u=1", i);
        refs[i] = ray_remote_opts(RAY_WITH(ray_task_options, .resources = resources), check_bytes, ref, (int64_t)15);
    }
    for (unsigned i = 0; i < count; i++) {
        int64_t pid = 0;
        CHECK_OK(ray_get(refs[i], &pid));
        CHECK(pid > 0);
        ray_release(refs[i]);
    }
    ray_release(ref);
    return sent_bytes() - before;
}

/* Who passes it on and is late is gone round, to this process: on a slow machine that may happen to one object. */
static void broadcast(size_t size, unsigned count)
{
    char resources[32];
    uint64_t sent = UINT64_MAX;
    copy_always();
    node *head = node_head("CPU=0");
    for (unsigned i = 0; i < count; i++) {
        snprintf(resources, sizeof resources, "CPU=1, n%u=1", i);
        node_worker(head, resources);
    }
    nodes_join(head);
    nodes_await(count + 2, RAY_NODE_ALIVE, patience());
    for (int i = 0; i < 3 && sent > 2 * size; i++)
        sent = spread(size, count);
    CHECK(sent <= 2 * size);
    check_stop();
    nodes_stop();
}

static void one_for_many(void)
{
    broadcast(24 * MIB, 5);
}

/* The one that passes it on dies in the middle. */
static void a_link_of_the_chain_dies(void)
{
    copy_always();
    node *head = node_head("CPU=0"), *first = node_worker(head, "CPU=1, a=1");
    node_worker(head, "CPU=1, b=1");
    nodes_join(head);
    nodes_await(4, RAY_NODE_ALIVE, patience());
    for (int i = 0; i < 2; i++) {
        ray_ref *ref = put(96 * MIB, 16);
        ray_ref *a = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "a=1", .max_retries = RAY_NO_RETRIES),
                                     check_bytes, ref, (int64_t)16);
        ray_ref *b = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "b=1"), check_bytes, ref, (int64_t)16);
        int64_t pid = 0;
        if (i == 0) {
            check_sleep_ms(60);
            node_kill(first);
        }
        CHECK_OK(ray_get(b, &pid));
        CHECK(pid > 0);
        ray_release(a);
        ray_release(b);
        ray_release(ref);
        if (i == 0) {
            nodes_await(1, RAY_NODE_DEAD, patience());
            first = node_worker(head, "CPU=1, a=1");
        }
    }
    check_stop();
    nodes_stop();
}

/* A copy that is whole is as good as the object when that has gone. */
static void a_copy_is_named(void)
{
    copy_always();
    node *head = node_head("CPU=0");
    node_worker(head, "CPU=1, a=1");
    node *second = node_worker(head, "CPU=1, b=1");
    nodes_join(head);
    nodes_await(4, RAY_NODE_ALIVE, patience());
    uint64_t sent = UINT64_MAX;
    for (int i = 0; i < 3 && sent >= 18 * MIB; i++) { /* one that is late is gone round, as above */
        ray_ref *ref = put(12 * MIB, 17);
        uint64_t before = sent_bytes();
        atomic_store(&page()->gate, 0);
        ray_ref *hold = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "a=1"), hold_bytes, ref, (int64_t)17);
        CHECK_AWAIT(page()->started, i + 1);
        CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .resources = "b=1"), check_bytes, ref, (int64_t)17),
                      node_pid(second));
        sent = sent_bytes() - before;
        atomic_store(&page()->gate, 1);
        CHECK_REF_INT(hold, 1);
        ray_release(ref);
    }
    CHECK(sent < 18 * MIB); /* most of it came from the first */
    check_stop();
    nodes_stop();
}

CHECK_MAIN(CHECK_TEST(mapped), CHECK_TEST(larger_than_the_store), CHECK_TEST(in_worker_processes),
           CHECK_TEST(not_mapped_if_that_is_turned_off), CHECK_TEST(not_mapped_if_one_refuses),
           CHECK_TEST_WITH(owner_dies, CHECK_WARNINGS), CHECK_TEST_WITH(owner_of_a_copy_dies, CHECK_WARNINGS),
           CHECK_TEST(owner_leaves), CHECK_TEST(drained_and_mapped), CHECK_TEST(drained_and_copied),
           CHECK_TEST_WITH(reader_dies, CHECK_WARNINGS), CHECK_TEST(one_for_many),
           CHECK_TEST_WITH(a_link_of_the_chain_dies, CHECK_WARNINGS), CHECK_TEST(a_copy_is_named))
