/* A node is told what to be over a socket, descriptor 3, and says over it that it is up, or why not, and how its
 * service ended. What it logs goes line by line to a file in the sub-test's folder, so that it outlives a kill. */
#include "nodes.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { SOCKET = 3, MAX_NODES = 256, MAX_ALLOWED = 64, TEXT_SIZE = 256, START_MS = 20000, END_MS = 30000 };

/* ---- what goes over the socket ---- */

static const size_t text_fields[] = {
    offsetof(ray_config, address),   offsetof(ray_config, key_file),       offsetof(ray_config, ns),
    offsetof(ray_config, resources), offsetof(ray_config, labels),         offsetof(ray_config, spill_dir),
    offsetof(ray_config, listen),    offsetof(ray_config, worker_command),
};
enum { TEXT_FIELDS = sizeof text_fields / sizeof *text_fields };

typedef struct order {
    int64_t parent;
    ray_config config; /* its texts are: */
    char texts[TEXT_FIELDS][TEXT_SIZE], log[TEXT_SIZE];
    char function[64]; /* a driver's tasks */
    unsigned count, flags;
} order;

typedef struct report {
    bool is_up;
    int code;
    char message[1024], address[128], id[40];
} report;

static const char **text_at(ray_config *config, size_t i)
{
    return (const char **)(void *)((char *)config + text_fields[i]);
}

/* ---- in the node ---- */

static order given;
static int log_file = -1;

static void write_log(void *arg, const ray_log_event *event)
{
    char line[1400];
    (void)arg;
    int size = snprintf(line, sizeof line - 1, "%d %s %s", (int)event->level, event->event, event->message);
    size = size < (int)sizeof line - 1 ? size : (int)sizeof line - 2;
    for (int i = 0; i < size; i++)
        if (line[i] == '\n')
            line[i] = ' ';
    line[size++] = '\n';
    if (write(log_file, line, (size_t)size) != size)
        abort();
}

static void say(report *what)
{
    CHECK(send(SOCKET, what, sizeof *what, MSG_NOSIGNAL) == (ssize_t)sizeof *what);
}

static void say_up(void)
{
    report up = {.is_up = true};
    ray_cluster *cluster = ray_cluster_get();
    CHECK(cluster);
    snprintf(up.id, sizeof up.id, "%s", ray_context_get()->node_id);
    for (size_t i = 0; i < cluster->num_nodes; i++)
        if (strcmp(cluster->nodes[i]->id, up.id) == 0 && cluster->nodes[i]->address)
            snprintf(up.address, sizeof up.address, "%s", cluster->nodes[i]->address);
    ray_cluster_free(cluster);
    say(&up);
}

static void submit_all(ray_ref **refs)
{
    for (unsigned i = 0; i < given.count; i++) {
        int64_t nth = i;
        refs[i] = ray_submit(ray_function_get(given.function), &RAY_VALUE(&nth), 1, NULL);
    }
}

/* A thread of its own: what the library keeps for a thread that called it goes with that thread. */
static void *live(void *arg)
{
    static ray_ref *refs[1024];
    report end = {.is_up = false};
    const pthread_t *other = arg;
    CHECK(given.count <= sizeof refs / sizeof *refs);
    if (ray_init(&given.config) < 0) {
        end.code = ray_last_error()->code;
        snprintf(end.message, sizeof end.message, "%s", ray_last_error()->message);
    } else {
        submit_all(refs);
        say_up();
        end.code = ray_serve();
        if (end.code == RAY_ERR_NOT_INITIALIZED || end.code == RAY_ERR_SHUTDOWN) /* the signal was there first */
            end.code = 0;
        snprintf(end.message, sizeof end.message, "%s", end.code ? ray_last_error()->message : "");
        for (unsigned i = 0; i < given.count; i++)
            ray_release(refs[i]);
    }
    say(&end);
    pthread_kill(*other, SIGTERM);
    return NULL;
}

static void serve(void)
{
    int got;
    sigset_t set;
    pthread_t server, self = pthread_self();
    CHECK_OK(ray_set_log(write_log, NULL, RAY_LOG_INFO));
    CHECK(pthread_create(&server, NULL, live, &self) == 0);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    CHECK(sigwait(&set, &got) == 0);
    CHECK_OK(ray_shutdown());
    CHECK(pthread_join(server, NULL) == 0);
}

int nodes_main(void)
{
    check_test self = {.name = "node", .run = serve};
    sigset_t set;
    CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
    CHECK(recv(SOCKET, &given, sizeof given, 0) == (ssize_t)sizeof given);
    CHECK(getppid() == given.parent);
    self.flags = given.flags;
    CHECK(fcntl(SOCKET, F_SETFD, FD_CLOEXEC) == 0);
    log_file = open(given.log, O_WRONLY | O_APPEND | O_CLOEXEC);
    CHECK(log_file >= 0);
    for (size_t i = 0; i < TEXT_FIELDS; i++)
        *text_at(&given.config, i) = *text_at(&given.config, i) ? given.texts[i] : NULL;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    return check_run_here(&self);
}

/* ---- in the sub-test ---- */

struct node {
    pid_t pid; /* 0: it has ended */
    int socket;
    char address[128], id[40], log[TEXT_SIZE];
};

static node all[MAX_NODES];
static size_t num_nodes;
static bool was_killed;
static unsigned flags; /* of nodes to come */
static struct {
    const node *whose; /* NULL: anybody's */
    char event[64], part[256];
} allowed[MAX_ALLOWED];
static size_t num_allowed;

void nodes_make_key(void)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char bytes[33] = {0};
    char text[64] = "ray-cluster-key-1:";
    if (getenv("RAY_CLUSTER_KEY"))
        return;
    CHECK(getrandom(bytes, 32, 0) == 32);
    char *at = text + strlen(text);
    for (size_t i = 0; i < sizeof bytes; i += 3, at += 4) {
        unsigned three = (unsigned)bytes[i] << 16 | (unsigned)bytes[i + 1] << 8 | bytes[i + 2];
        for (int j = 0; j < 4; j++)
            at[j] = digits[three >> (18 - 6 * j) & 63];
    }
    at[-1] = '=';
    *at = 0;
    CHECK(setenv("RAY_CLUSTER_KEY", text, 1) == 0);
}

static bool hear(node *n, report *out, int64_t timeout_ms)
{
    struct timeval most = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    CHECK(setsockopt(n->socket, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most) == 0);
    return recv(n->socket, out, sizeof *out, 0) == (ssize_t)sizeof *out;
}

/* What a node says of a head that takes over a second to answer its join. */
static const char *const slow_join[] = {"it has not answered yet", "it does not answer"};
enum { SLOW_JOINS = sizeof slow_join / sizeof *slow_join };

static bool is_allowed(const node *n, const char *event, const char *message)
{
    for (size_t i = 0; i < num_allowed; i++)
        if ((!allowed[i].whose || allowed[i].whose == n) && strcmp(allowed[i].event, event) == 0 &&
            strstr(message, allowed[i].part))
            return true;
    return false;
}

static void allow(const node *n, const char *event, const char *part)
{
    CHECK(num_allowed < MAX_ALLOWED);
    allowed[num_allowed].whose = n;
    snprintf(allowed[num_allowed].event, sizeof allowed->event, "%s", event);
    snprintf(allowed[num_allowed++].part, sizeof allowed->part, "%s", part);
}

/* Calls visit for each event that is there; true as soon as that says so. */
static bool each_event(const node *n,
                       bool (*visit)(const node *n, int level, const char *event, const char *message, const void *arg),
                       const void *arg)
{
    char line[1500];
    bool done = false;
    FILE *file = fopen(n->log, "re");
    CHECK(file);
    while (!done && fgets(line, sizeof line, file)) {
        char *event = strchr(line, ' '), *message = event ? strchr(event + 1, ' ') : NULL;
        if (!message)
            continue;
        *event++ = *message++ = 0;
        message[strcspn(message, "\n")] = 0;
        done = visit(n, atoi(line), event, message, arg);
    }
    fclose(file);
    return done;
}

static bool is_that(const node *n, int level, const char *event, const char *message, const void *arg)
{
    const char *const *wanted = arg;
    (void)n, (void)level;
    return strcmp(event, wanted[0]) == 0 && strstr(message, wanted[1]);
}

static void spawn(node *n, const char *program, const order *what)
{
    posix_spawn_file_actions_t actions;
    char argument[] = NODES_ARGUMENT, name[] = "node";
    char *arguments[] = {name, argument, NULL};
    int sockets[2];
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) == 0);
    CHECK(posix_spawn_file_actions_init(&actions) == 0);
    CHECK(posix_spawn_file_actions_adddup2(&actions, sockets[1], SOCKET) == 0);
    CHECK(posix_spawn(&n->pid, program ? program : "/proc/self/exe", &actions, NULL, arguments, environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    close(sockets[1]);
    n->socket = sockets[0];
    CHECK(send(n->socket, what, sizeof *what, MSG_NOSIGNAL) == (ssize_t)sizeof *what);
}

/* A node that has come up may have had to wait: that is the machine's doing, not the head's. Later words of that kind
 * are nobody's but the head's, so only those that are there now make them allowed. */
static void allow_slow_join(const node *n)
{
    for (size_t i = 0; i < SLOW_JOINS; i++) {
        const char *wanted[] = {"head.unreachable", slow_join[i]};
        if (each_event(n, is_that, wanted))
            allow(n, wanted[0], wanted[1]);
    }
}

static node *start(const char *program, order *what)
{
    CHECK(num_nodes < MAX_NODES);
    node *n = &all[num_nodes++];
    nodes_make_key();
    snprintf(n->log, sizeof n->log, "%s/node-%zu.log", getenv("TMPDIR"), num_nodes);
    int fd = open(n->log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    close(fd);
    strcpy(what->log, n->log);
    what->parent = getpid();
    what->flags = flags;
    for (size_t i = 0; i < TEXT_FIELDS; i++)
        if (*text_at(&what->config, i))
            CHECK(snprintf(what->texts[i], TEXT_SIZE, "%s", *text_at(&what->config, i)) < TEXT_SIZE);
    spawn(n, program, what);
    report first;
    CHECK(hear(n, &first, (int64_t)START_MS * check_slowness()));
    if (!first.is_up) {
        fprintf(stderr, "a node did not start: %s: %s\n", ray_error_name(first.code), first.message);
        CHECK(first.is_up);
    }
    strcpy(n->address, first.address);
    strcpy(n->id, first.id);
    allow_slow_join(n);
    return n;
}

node *node_start_as(const char *program, const ray_config *config)
{
    order what = {.config = *config};
    return start(program, &what);
}

node *node_start(const ray_config *config)
{
    return node_start_as(NULL, config);
}

/* As many threads as CPUs. */
static uint32_t threads_for(const char *resources)
{
    const char *cpus = strstr(resources, "CPU=");
    return cpus ? (uint32_t)strtoul(cpus + 4, NULL, 10) : 0;
}

node *node_head(const char *resources)
{
    return node_start(&(ray_config){.role = RAY_ROLE_HEAD,
                                    .address = "127.0.0.1:0",
                                    .resources = resources,
                                    .num_threads = threads_for(resources)});
}

node *node_worker(const node *head, const char *resources)
{
    return node_start(&(ray_config){.role = RAY_ROLE_WORKER,
                                    .address = head->address,
                                    .resources = resources,
                                    .num_threads = threads_for(resources)});
}

node *node_driver(const node *head, const char *function, unsigned count)
{
    order what = {.config = {.role = RAY_ROLE_DRIVER, .address = head->address}, .count = count};
    snprintf(what.function, sizeof what.function, "%s", function);
    return start(NULL, &what);
}

void nodes_join_as(const ray_config *config)
{
    int r;
    nodes_make_key();
    int64_t end = check_now_ms() + (int64_t)START_MS * check_slowness();
    do
        r = ray_init(config);
    while (r == RAY_ERR_HEAD_UNREACHABLE && config->timeout_ms && check_now_ms() < end);
    CHECK_OK(r);
    for (size_t i = 0; i < SLOW_JOINS; i++)
        check_allow_log("head.unreachable", slow_join[i]);
}

void nodes_join(const node *head)
{
    nodes_join_as(RAY_WITH(ray_config, .role = RAY_ROLE_DRIVER, .address = head->address));
}

void nodes_may_keep(void)
{
    flags |= CHECK_KEEPS;
}

const char *node_address(const node *n)
{
    return n->address;
}
const char *node_id(const node *n)
{
    return n->id;
}
int64_t node_pid(const node *n)
{
    return n->pid;
}

/* ---- ends ---- */

static int reap(node *n, int64_t timeout_ms)
{
    int status = 0;
    for (int64_t end = check_now_ms() + timeout_ms; waitpid(n->pid, &status, WNOHANG) != n->pid; check_sleep_ms(2))
        CHECK(check_now_ms() < end);
    close(n->socket);
    n->pid = 0;
    return status;
}

void node_await_end(node *n, int code, const char *words, int64_t timeout_ms)
{
    report end;
    CHECK(n->pid && hear(n, &end, timeout_ms));
    if (end.code != code)
        fprintf(stderr, "a node ended with %s: %s\n", ray_error_name(end.code), end.message);
    CHECK_INT(end.code, code);
    CHECK_HAS(end.message, words);
    CHECK_INT(reap(n, (int64_t)END_MS * check_slowness()), 0);
}

void node_stop(node *n)
{
    CHECK(n->pid && kill(n->pid, SIGTERM) == 0);
    node_await_end(n, 0, "", (int64_t)END_MS * check_slowness());
}

void node_kill(node *n)
{
    CHECK(n->pid && kill(n->pid, SIGKILL) == 0);
    CHECK(WIFSIGNALED(reap(n, (int64_t)END_MS * check_slowness())));
    was_killed = true;
}

void node_pause(node *n)
{
    int status;
    CHECK(kill(n->pid, SIGSTOP) == 0 && waitpid(n->pid, &status, WUNTRACED) == n->pid && WIFSTOPPED(status));
}

void node_resume(node *n)
{
    CHECK(kill(n->pid, SIGCONT) == 0);
}

/* ---- logs ---- */

void nodes_allow_log(const char *event, const char *part)
{
    allow(NULL, event, part);
}

void node_expect_log(node *n, const char *event, const char *part, int64_t timeout_ms)
{
    const char *wanted[] = {event, part};
    for (int64_t end = check_now_ms() + timeout_ms; !each_event(n, is_that, wanted); check_sleep_ms(5))
        if (check_now_ms() >= end) {
            fprintf(stderr, "node %td has not logged \"%s\" with \"%s\"\n", n - all + 1, event, part);
            CHECK(check_now_ms() < end);
        }
    allow(n, event, part);
}

static bool judge(const node *n, int level, const char *event, const char *message, const void *arg)
{
    size_t *unexpected = *(size_t *const *)arg;
    if (level > RAY_LOG_WARNING || is_allowed(n, event, message))
        return false;
    if (strcmp(event, "bus.left") == 0) /* as in the sub-test itself */
        return false;
    fprintf(stderr, "  node %td logged: %s: %s\n", n - all + 1, event, message);
    ++*unexpected;
    return false;
}

static void check_logs(void)
{
    size_t unexpected = 0, *count = &unexpected;
    for (size_t i = 0; i < num_nodes; i++)
        each_event(&all[i], judge, &count);
    CHECK_INT(unexpected, 0);
}

void nodes_stop(void)
{
    for (size_t i = num_nodes; i-- > 0;)
        if (all[i].pid)
            node_stop(&all[i]);
    if (was_killed) /* the next session clears away what the dead have left */
        node_stop(node_head("CPU=1"));
    was_killed = false;
    check_logs();
    num_nodes = num_allowed = 0;
}

/* ---- the table ---- */

static size_t count_nodes(ray_node_state state)
{
    size_t count = 0;
    ray_cluster *cluster = ray_cluster_get();
    CHECK(cluster);
    for (size_t i = 0; i < cluster->num_nodes; i++)
        count += cluster->nodes[i]->state == state;
    ray_cluster_free(cluster);
    return count;
}

void nodes_await(size_t count, ray_node_state state, int64_t timeout_ms)
{
    for (int64_t end = check_now_ms() + timeout_ms; count_nodes(state) != count; check_sleep_ms(5))
        if (check_now_ms() >= end)
            CHECK_INT(count_nodes(state), count);
}

double nodes_available(const char *resource)
{
    double available = -1;
    ray_cluster *cluster = ray_cluster_get();
    CHECK(cluster);
    for (size_t i = 0; i < cluster->num_resources; i++)
        if (strcmp(cluster->resources[i].name, resource) == 0)
            available = cluster->resources[i].available;
    ray_cluster_free(cluster);
    return available;
}

void nodes_await_available(const char *resource, double want)
{
    int64_t end = check_now_ms() + (int64_t)10000 * check_slowness();
    for (double is; (is = nodes_available(resource)) < want || is > want; check_sleep_ms(5))
        if (check_now_ms() >= end) {
            fprintf(stderr, "the cluster has %g %s, wanted %g\n", is, resource, want);
            CHECK(check_now_ms() < end);
        }
}
