/* A cluster over a network that breaks: two network namespaces with a cable between them, which is pulled, leads
 * nowhere, is listened to; or without one, and a proxy that carries what goes over, late, and breaks connections. The
 * head is on the far side, this program on the near one. Needs to be root. */
#include "cable.h"
#include "nodes_common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEAR_IP CABLE_NEAR /* where this program is */
#define FAR_IP  CABLE_FAR  /* where the head is */

static int64_t patience(void)
{
    return (int64_t)20000 * check_slowness();
}

/* ---- two hosts ---- */

static cable sides;

static RAY_PRINTF(1, 2) bool run(const char *format, ...)
{
    char command[256];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    return system(command) == 0;
}

static void enter(int side)
{
    CHECK(cable_enter(side) == 0);
}

static void skip_if(const char *why)
{
    if (why)
        check_skip(why);
}

static void lead_nowhere(void) /* nobody hears of it: what is sent is gone */
{
    CHECK(run("ip route add blackhole " FAR_IP "/32"));
    enter(sides.far);
    CHECK(run("ip route add blackhole " NEAR_IP "/32"));
    enter(sides.near);
}
static void lead_there(void)
{
    CHECK(run("ip route del blackhole " FAR_IP "/32"));
    enter(sides.far);
    CHECK(run("ip route del blackhole " NEAR_IP "/32"));
    enter(sides.near);
}

/* ---- the cluster ---- */

static node *head, *far_worker, *near_worker;

static void start_far_side(const char *resources)
{
    nodes_make_key();
    enter(sides.far);
    head = node_start(
        &(ray_config){.role = RAY_ROLE_HEAD, .address = FAR_IP ":0", .resources = "CPU=0", .num_threads = 1});
    far_worker = resources ? node_worker(head, resources) : NULL;
    enter(sides.near);
}

static void join_at(const char *address)
{
    nodes_join_as(RAY_WITH(ray_config, .role = RAY_ROLE_DRIVER, .address = address));
}

static RAY_REMOTE(int64_t, take_5_ms, (int64_t, nth))
{
    atomic_fetch_add(&page()->runs[nth], 1);
    check_sleep_ms(5);
    return nth;
}

static void submit_slow(ray_waitset *set, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        ray_ref *ref = ray_remote(take_5_ms, i);
        CHECK_OK(ray_waitset_add(set, ref, (void *)(uintptr_t)i));
        ray_release(ref);
    }
}

static size_t count_runs(int64_t count)
{
    size_t runs = 0;
    for (int64_t i = 0; i < count; i++)
        runs += (size_t)page()->runs[i];
    return runs;
}

/* Nobody is lost to 5 s without a network, and what is done meanwhile is told later, once. */
static void blackout(void)
{
    enum { COUNT = 1000 };
    skip_if(cable_lay(&sides));
    start_far_side("CPU=2");
    near_worker = node_worker(head, "CPU=1");
    join_at(node_address(head));
    nodes_await(4, RAY_NODE_ALIVE, patience());
    ray_waitset *set = ray_waitset_new();
    submit_slow(set, COUNT);
    for (int64_t end = check_now_ms() + patience(); count_runs(COUNT) == 0; check_sleep_ms(5))
        CHECK(check_now_ms() < end);
    check_sleep_ms(300);
    CHECK(cable_pull() == 0);
    check_sleep_ms(5000);
    CHECK(cable_plug_in() == 0);
    int64_t begun = check_now_ms();
    collect(set, COUNT);
    fprintf(stderr, "all done %lld ms after the network is back\n", (long long)(check_now_ms() - begun));
    CHECK_INT(count_runs(COUNT), COUNT); /* none was tried twice */
    nodes_await(4, RAY_NODE_ALIVE, patience());
    ray_waitset_free(set);
    nodes_allow_log("head.unreachable", "");
    check_allow_log("head.unreachable", "");
    check_stop();
    nodes_stop();
    cable_remove(&sides);
}

/* Both sides believe that the other has died; tasks are tried again, and one outcome counts. */
static void partition(void)
{
    enum { COUNT = 400 };
    skip_if(cable_lay(&sides));
    start_far_side("CPU=1");
    near_worker = node_worker(head, "CPU=1");
    join_at(node_address(head));
    nodes_await(4, RAY_NODE_ALIVE, patience());
    ray_ref *there =
        ray_remote_opts(RAY_WITH(ray_task_options, .node_id = node_id(far_worker), .node_soft = true), pass_gate, 1);
    CHECK_AWAIT(page()->started, 1);
    ray_waitset *set = ray_waitset_new();
    submit_slow(set, COUNT);
    check_sleep_ms(200);
    char query[80];
    snprintf(query, sizeof query, "objects?node_id=%s", node_id(near_worker));
    await_state(query, node_id(near_worker)); /* its death is due 10 s after its last word: that is now */
    lead_nowhere();
    int64_t begun = check_now_ms();
    atomic_store(&page()->gate, 1);
    node_expect_log(head, "node.died", node_id(near_worker), 25000 * check_slowness());
    node_expect_log(head, "node.died", ray_context_get()->node_id, patience());
    fprintf(stderr, "declared dead after %lld ms\n", (long long)(check_now_ms() - begun));
    CHECK(check_now_ms() - begun > 9000);
    CHECK(check_now_ms() - begun < 25000 * check_slowness()); /* 10 s in which the head was awake, in no long steps */
    check_sleep_ms(15000 - (check_now_ms() - begun));
    CHECK_INT(check_count_log("node.fenced", ""), 0);
    begun = check_now_ms();
    lead_there();
    node_expect_log(near_worker, "node.fenced", "", patience());
    check_expect_log("node.fenced", "", patience());
    fprintf(stderr, "fenced %lld ms after the network is back\n", (long long)(check_now_ms() - begun));
    collect(set, COUNT);
    CHECK_REF_INT(there, 1);
    fprintf(stderr, "%zu executions of %d tasks, and %d of one\n", count_runs(COUNT), COUNT, page()->started);
    nodes_await(4, RAY_NODE_ALIVE, patience());
    nodes_await_available("CPU", 2);
    ray_waitset_free(set);
    nodes_allow_log("head.unreachable", "");
    check_allow_log("head.unreachable", "");
    check_stop();
    nodes_stop();
    cable_remove(&sides);
}

/* ---- a proxy ---- */

/* Each side has the other's address to itself, where the proxy listens: it carries bytes over, each way after a delay,
 * and breaks connections at random, with what is on its way. */
typedef struct route {
    int listener, side; /* side: where it goes to */
    struct sockaddr_in to;
} route;

typedef struct proxy {
    route routes[2];
    atomic_bool ends;
    atomic_int passed, dropped;
    pthread_t thread;
} proxy;

enum { DELAY_MS = 10, PAIRS = 64, CHUNKS = 4096, CHUNK_SIZE = 4096, DROP_EVERY_MS = 250 };

typedef struct chunk {
    int64_t due_ms;
    size_t size, sent;
    int pair, side; /* to which end of which pair */
    char bytes[CHUNK_SIZE];
} chunk;

typedef struct pairs {
    int fds[PAIRS][2]; /* -1: free */
    chunk *first;      /* a ring of CHUNKS */
    size_t head, count;
} pairs;

static void drop_pair(pairs *all, int pair)
{
    for (int side = 0; side < 2; side++) {
        close(all->fds[pair][side]);
        all->fds[pair][side] = -1;
    }
    for (size_t i = 0; i < all->count; i++) {
        chunk *c = &all->first[(all->head + i) % CHUNKS];
        if (c->pair == pair)
            c->size = 0; /* of nobody */
    }
}

static void accept_one(const route *r, pairs *all)
{
    int from = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), free_one = 0;
    enter(r->side);
    int to = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(from >= 0 && to >= 0);
    while (free_one < PAIRS && all->fds[free_one][0] >= 0)
        free_one++;
    CHECK(free_one < PAIRS);
    all->fds[free_one][0] = from;
    all->fds[free_one][1] = to;
    if (connect(to, (const struct sockaddr *)&r->to, sizeof r->to) < 0)
        drop_pair(all, free_one); /* it has gone */
    else
        CHECK(fcntl(to, F_SETFL, O_NONBLOCK) == 0);
}

static void take_bytes(proxy *p, pairs *all, int pair, int side)
{
    chunk *c = &all->first[(all->head + all->count) % CHUNKS];
    if (all->count == CHUNKS)
        return; /* later */
    ssize_t size = recv(all->fds[pair][side], c->bytes, sizeof c->bytes, 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (size <= 0) {
        drop_pair(all, pair);
        return;
    }
    c->due_ms = check_now_ms() + DELAY_MS;
    c->size = (size_t)size;
    c->sent = 0;
    c->pair = pair;
    c->side = !side;
    all->count++;
    atomic_fetch_add(&p->passed, (int)size);
}

/* When the next is due. */
static int64_t send_due(pairs *all, int64_t now)
{
    for (; all->count > 0; all->head = (all->head + 1) % CHUNKS, all->count--) {
        chunk *c = &all->first[all->head];
        if (c->size > 0 && c->due_ms > now)
            return c->due_ms;
        while (c->sent < c->size) {
            ssize_t sent =
                send(all->fds[c->pair][c->side], c->bytes + c->sent, c->size - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (sent < 0 && errno == EAGAIN)
                return now + 1;
            if (sent < 0)
                drop_pair(all, c->pair);
            else
                c->sent += (size_t)sent;
        }
    }
    return now + 50;
}

static void look(proxy *p, pairs *all, int timeout_ms)
{
    struct pollfd polls[2 + 2 * PAIRS] = {{.fd = p->routes[0].listener, .events = POLLIN},
                                          {.fd = p->routes[1].listener, .events = POLLIN}};
    for (int i = 0; i < 2 * PAIRS; i++)
        polls[2 + i] = (struct pollfd){.fd = all->count < CHUNKS ? all->fds[i / 2][i % 2] : -1, .events = POLLIN};
    if (poll(polls, 2 + 2 * PAIRS, timeout_ms) <= 0)
        return;
    for (int i = 0; i < 2 * PAIRS; i++)
        if (polls[2 + i].revents && all->fds[i / 2][i % 2] >= 0)
            take_bytes(p, all, i / 2, i % 2);
    for (int i = 0; i < 2; i++)
        if (polls[i].revents)
            accept_one(&p->routes[i], all);
}

static void *carry(void *arg)
{
    proxy *p = arg;
    unsigned seed = 1;
    pairs all = {.first = malloc(CHUNKS * sizeof(chunk))};
    int64_t drop_ms = check_now_ms() + DROP_EVERY_MS;
    CHECK(all.first);
    memset(all.fds, -1, sizeof all.fds);
    while (!atomic_load(&p->ends)) {
        int64_t now = check_now_ms(), due = send_due(&all, now);
        look(p, &all, (int)(due > now ? due - now : 0));
        if (now < drop_ms)
            continue;
        drop_ms = now + DROP_EVERY_MS;
        int pair = rand_r(&seed) % 4;
        if (all.fds[pair][0] < 0)
            continue;
        drop_pair(&all, pair);
        atomic_fetch_add(&p->dropped, 1);
    }
    for (int i = 0; i < PAIRS; i++)
        if (all.fds[i][0] >= 0)
            drop_pair(&all, i);
    free(all.first);
    return NULL;
}

static void open_route(route *r, int from, int to, const char *ip, int port)
{
    int on = 1;
    *r = (route){.side = to, .to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)}};
    CHECK(inet_pton(AF_INET, ip, &r->to.sin_addr) == 1);
    enter(from);
    CHECK(run("ip address add %s/32 dev lo", ip));
    r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(r->listener >= 0 && setsockopt(r->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
    CHECK(bind(r->listener, (struct sockaddr *)&r->to, sizeof r->to) == 0 && listen(r->listener, 64) == 0);
    enter(to);
    CHECK(run("ip address add %s/32 dev lo", ip));
    enter(sides.near);
}

static void proxy_start(proxy *p, int far_port, int near_port)
{
    open_route(&p->routes[0], sides.near, sides.far, FAR_IP, far_port);
    open_route(&p->routes[1], sides.far, sides.near, NEAR_IP, near_port);
    CHECK(pthread_create(&p->thread, NULL, carry, p) == 0);
}

static void proxy_stop(proxy *p)
{
    atomic_store(&p->ends, true);
    CHECK(pthread_join(p->thread, NULL) == 0);
    for (int i = 0; i < 2; i++)
        close(p->routes[i].listener);
}

/* The way between the sides is slow and breaks again and again: nothing is lost, and nothing comes twice. */
static void slow_and_lossy(void)
{
    enum { COUNT = 400, ROUNDS = 6 };
    static proxy way;
    skip_if(cable_make_sides(&sides));
    proxy_start(&way, 7001, 7002);
    enter(sides.far);
    nodes_make_key();
    head = node_start(
        &(ray_config){.role = RAY_ROLE_HEAD, .address = FAR_IP ":7001", .resources = "CPU=2", .num_threads = 2});
    enter(sides.near);
    nodes_join_as(RAY_WITH(ray_config, .role = RAY_ROLE_DRIVER, .address = FAR_IP ":7001", .listen = NEAR_IP ":7002"));
    ray_waitset *set = ray_waitset_new();
    for (int64_t round = 0; round < ROUNDS; round++) {
        submit_counted(set, round * COUNT, COUNT);
        collect(set, COUNT);
        CHECK_REF_INT(ray_remote(twice, round), 2 * round);
        check_sleep_ms(100);
    }
    for (int i = 0; i < ROUNDS * COUNT; i++)
        CHECK_INT(page()->runs[i], 1);
    fprintf(stderr, "%d bytes passed, %d connections dropped\n", way.passed, way.dropped);
    CHECK(way.dropped > 2 && way.passed > ROUNDS * COUNT * 20);
    nodes_allow_log("head.unreachable", "");
    check_allow_log("head.unreachable", "");
    ray_waitset_free(set);
    check_stop();
    nodes_stop();
    proxy_stop(&way);
    cable_remove(&sides);
}

/* ---- who listens ---- */

static const char marker[] = "what no wire may tell: 4711 0815";
typedef struct tap {
    int socket;
    atomic_bool ends;
    size_t packets, bytes, markers;
    pthread_t thread;
} tap;

static void *listen_in(void *arg)
{
    tap *t = arg;
    static unsigned char packet[1 << 17];
    struct pollfd wait = {.fd = t->socket, .events = POLLIN};
    while (poll(&wait, 1, 20) > 0 || !atomic_load(&t->ends)) {
        ssize_t size = recv(t->socket, packet, sizeof packet, MSG_DONTWAIT);
        if (size <= 0)
            continue;
        t->packets++;
        t->bytes += (size_t)size;
        t->markers += memmem(packet, (size_t)size, marker, sizeof marker - 1) != NULL;
    }
    return NULL;
}

static void tap_start(tap *t)
{
    struct sockaddr_ll where = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex("near")};
    int room = 16 << 20;
    *t = (tap){.socket = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL))};
    if (t->socket < 0)
        check_skip("no packet socket can be had here");
    (void)setsockopt(t->socket, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    CHECK(bind(t->socket, (struct sockaddr *)&where, sizeof where) == 0);
    CHECK(pthread_create(&t->thread, NULL, listen_in, t) == 0);
}

static void tap_stop(tap *t)
{
    atomic_store(&t->ends, true);
    CHECK(pthread_join(t->thread, NULL) == 0);
    close(t->socket);
}

static RAY_REMOTE(const char *, say_again, (const char *, text))
{
    return text;
}
static RAY_REMOTE(void, fail_with_words, (const char *, text))
{
    ray_fail("%s", text);
}

/* That the tap hears at all is shown by the same words on a plain socket. */
static void say_plainly(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && inet_pton(AF_INET, FAR_IP, &to.sin_addr) == 1);
    CHECK(sendto(fd, marker, sizeof marker, 0, (struct sockaddr *)&to, sizeof to) == (ssize_t)sizeof marker);
    close(fd);
}

static void nothing_is_told(void)
{
    static tap t;
    skip_if(cable_lay(&sides));
    start_far_side("CPU=1");
    tap_start(&t);
    join_at(node_address(head));
    CHECK_REF_STR(ray_remote(say_again, marker), marker);
    ray_ref *held = ray_put(marker, sizeof marker), *failed = ray_remote(fail_with_words, marker);
    CHECK_CODE(ray_get_timeout(failed, patience(), NULL), RAY_ERR_TASK_FAILED);
    CHECK_STR(ray_last_error()->message, marker);
    ray_release(failed);
    ray_release(held);
    check_stop();
    check_sleep_ms(50);
    tap_stop(&t);
    fprintf(stderr, "%zu packets, %zu bytes\n", t.packets, t.bytes);
    CHECK(t.packets > 20 && t.bytes > 2000);
    CHECK_INT(t.markers, 0);
    tap_start(&t);
    say_plainly();
    check_sleep_ms(50);
    tap_stop(&t);
    CHECK(t.markers > 0);
    nodes_stop();
    cable_remove(&sides);
}

CHECK_MAIN(CHECK_TEST(blackout), CHECK_TEST(partition), CHECK_TEST(slow_and_lossy), CHECK_TEST(nothing_is_told))
