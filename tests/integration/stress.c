/* Random task graphs against a sequential model. Several threads submit tasks that fan in and out, nest, fail, stream,
 * call actors, are cancelled and have deadlines; they exchange refs, retain and release them in any order and wait in
 * every way there is. Each result must be one that the model allows.
 *
 * RAY_STRESS_SEED repeats a run (as far as threads allow), RAY_STRESS_SECONDS makes it longer. */
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum { MODULUS = 1000003 }; /* of sums, which would grow for ever */
enum { NUM_DRIVERS = 3, MAX_NODES = 120, MAX_FAN_IN = 24, NUM_ACTORS = 3, NUM_SHARED = 16 };

/* ---- random numbers ---- */

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}
static int pick(uint64_t *state, int below)
{
    return (int)(next_random(state) >> 33) % below;
}
static bool one_in(uint64_t *state, int n)
{
    return pick(state, n) == 0;
}

/* ---- the functions and their model ---- */

static RAY_REMOTE(int64_t, leaf, (int64_t, x))
{
    return 3 * x + 1;
}
static RAY_REMOTE(int64_t, fail, (int64_t, x))
{
    return ray_fail("leaf %lld", (long long)x);
}
static RAY_REMOTE(int64_t, slow, (int64_t, x))
{
    for (int i = 0; i < 20 && !ray_cancelled(); i++)
        check_sleep_ms(0);
    return x;
}
static void sum_frame(ray_frame *frame)
{
    int64_t sum = 0;
    for (size_t i = 0; i < frame->num_args; i++)
        sum += *(const int64_t *)frame->args[i].data;
    *(int64_t *)frame->result.data = sum % MODULUS;
}
static ray_function sum_all = {
    .size = sizeof sum_all, .name = "sum_all", .signature = "int64_t(int64_t...)", .call = sum_frame};
__attribute__((constructor)) static void register_sum_all(void)
{
    CHECK_OK(ray_register(&sum_all)); /* before main: worker processes come no further */
}

/* A tree of tasks: each starts `fan` children and adds theirs up. */
static RAY_REMOTE(int64_t, tree, (int64_t, depth), (int64_t, fan), (int64_t, x))
{
    ray_ref *children[4];
    int64_t sum = x, y = 0;
    if (depth == 0)
        return x;
    for (int64_t i = 0; i < fan; i++)
        children[i] = ray_remote(tree, depth - 1, fan, x + i);
    bool failed = false;
    for (int64_t i = 0; i < fan; i++) {
        int r = x % 3 == 0 ? ray_get_timeout(children[i], 120000, &y) : ray_get(children[i], &y);
        if (r != 0 && !failed) {
            CHECK_INT(r, RAY_ERR_CANCELLED); /* along with its parent */
            failed = true;
        }
        ray_release(children[i]);
        sum += y;
    }
    return sum;
}
static int64_t model_tree(int64_t depth, int64_t fan, int64_t x)
{
    int64_t sum = x;
    for (int64_t i = 0; depth > 0 && i < fan; i++)
        sum += model_tree(depth - 1, fan, x + i);
    return sum;
}

static RAY_REMOTE(ray_stream(int64_t), count_to, (int64_t, n))
{
    for (int64_t i = 0; i < n; i++)
        if (ray_yield(&i) != 0)
            return;
}
static RAY_REMOTE(ray_ref *, through, (ray_ref *, ref))
{
    return ray_retain(ref);
}

typedef struct adder {
    int64_t sum, calls;
} adder;
static RAY_ACTOR(adder)
{
    self->sum = self->calls = 0;
}
static RAY_METHOD(adder, int64_t, add, (int64_t, x))
{
    self->calls++;
    return self->sum = (self->sum + x) % MODULUS;
}

/* ---- nodes of a graph: a ref and what may come of it ---- */

enum { VALUE = 1, FAILED = 2, CANCELLED = 4, DEADLINE = 8 };
typedef struct node {
    ray_ref *ref;
    int64_t want;
    unsigned may;
} node;

typedef struct driver {
    uint64_t random;
    int64_t end_ms;
    node nodes[MAX_NODES];
    int num_nodes;
    ray_actor *actors[NUM_ACTORS];
    int64_t sums[NUM_ACTORS];
    long tasks;
} driver;

static struct {
    pthread_mutex_t lock;
    node nodes[NUM_SHARED]; /* given by one driver to the others */
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void add_node(driver *d, ray_ref *ref, int64_t want, unsigned may)
{
    d->nodes[d->num_nodes++] = (node){ref, want, may};
    d->tasks++;
}

static node *any_node(driver *d)
{
    return &d->nodes[pick(&d->random, d->num_nodes)];
}

/* What a task with these inputs may end in. */
static unsigned combine(unsigned a, unsigned b)
{
    return ((a | b) & ~(unsigned)VALUE) | (a & b & VALUE);
}

static void check_node(const node *n, int got, int64_t value)
{
    unsigned outcome = got == 0                     ? VALUE
                       : got == RAY_ERR_TASK_FAILED ? FAILED
                       : got == RAY_ERR_CANCELLED   ? CANCELLED
                       : got == RAY_ERR_DEADLINE    ? DEADLINE
                                                    : 0;
    if ((outcome & n->may) && (outcome != VALUE || value == n->want))
        return;
    fprintf(stderr, "got %s %lld, wanted %lld or one of %x\n", ray_error_name(got), (long long)value,
            (long long)n->want, n->may);
    check_failed(__FILE__, __LINE__, "a result that the model does not allow");
}

/* ---- growing a graph ---- */

static void grow_leaf(driver *d)
{
    int64_t x = pick(&d->random, 1000);
    ray_task_options options = {.size = sizeof options};
    switch (pick(&d->random, 8)) {
    case 0:
        add_node(d, ray_remote(fail, x), 0, FAILED);
        break;
    case 1:
        add_node(d, ray_put(&x, sizeof x), x, VALUE);
        break;
    case 2:
        options.priority = pick(&d->random, 5) - 2;
        options.own_thread = one_in(&d->random, 2);
        add_node(d, ray_remote_opts(&options, leaf, x), 3 * x + 1, VALUE);
        break;
    case 3:
        options.deadline_ms = 1 + pick(&d->random, 3);
        add_node(d, ray_remote_opts(&options, slow, x), x, VALUE | DEADLINE | CANCELLED);
        break;
    case 4:
        options.resources = one_in(&d->random, 2) ? "CPU=0.5, disk=1" : "CPU=0";
        add_node(d, ray_remote_opts(&options, leaf, x), 3 * x + 1, VALUE);
        break;
    default:
        add_node(d, ray_remote(leaf, x), 3 * x + 1, VALUE);
    }
}

static void grow_fan_in(driver *d)
{
    ray_value args[MAX_FAN_IN];
    int64_t numbers[MAX_FAN_IN], want = 0;
    int count = 1 + pick(&d->random, MAX_FAN_IN);
    unsigned may = VALUE;
    for (int i = 0; i < count; i++) {
        node *input = any_node(d);
        numbers[i] = i;
        args[i] = one_in(&d->random, 4) ? RAY_VALUE(&numbers[i]) : RAY_VALUE(&input->ref);
        bool is_number = args[i].kind == RAY_KIND_I64;
        want += is_number ? i : input->want;
        may = is_number ? may : combine(may, input->may);
    }
    add_node(d, ray_submit(&sum_all, args, (size_t)count, NULL), want % MODULUS, may);
}

static void grow_tree(driver *d)
{
    int64_t depth = pick(&d->random, 4), fan = 1 + pick(&d->random, 3), x = pick(&d->random, 100);
    add_node(d, ray_remote(tree, depth, fan, x), model_tree(depth, fan, x), VALUE);
}

/* Actors have one driver each, so that their sums are known; calls that might not run would spoil that. */
static void grow_call(driver *d)
{
    int which = pick(&d->random, NUM_ACTORS);
    node *input = any_node(d);
    if (input->may == VALUE) {
        d->sums[which] = (d->sums[which] + input->want) % MODULUS;
        add_node(d, ray_call(d->actors[which], adder_add, input->ref), d->sums[which], VALUE);
    } else if (input->may == FAILED) {
        add_node(d, ray_call(d->actors[which], adder_add, input->ref), 0, FAILED);
    } else {
        d->sums[which] = (d->sums[which] + 7) % MODULUS;
        add_node(d, ray_call(d->actors[which], adder_add, 7), d->sums[which], VALUE);
    }
}

static void grow_stream(driver *d)
{
    int items = pick(&d->random, 20), taken = pick(&d->random, 6);
    ray_ref *stream = ray_remote(count_to, items);
    for (int i = 0; i < taken && d->num_nodes < MAX_NODES; i++)
        if (i < items)
            add_node(d, ray_next(stream), i, VALUE);
    ray_release(stream); /* the rest is dropped */
}

static void grow_through(driver *d)
{
    node *input = any_node(d);
    ray_ref *outer = ray_remote(through, input->ref), *inner = NULL; /* a ref parameter: the ref itself, done or not */
    CHECK_OK(ray_get(outer, &inner));
    ray_release(outer);
    add_node(d, inner, input->want, input->may);
}

static void exchange(driver *d)
{
    node *mine = any_node(d), *place = &shared.nodes[pick(&d->random, NUM_SHARED)];
    pthread_mutex_lock(&shared.lock);
    node theirs = *place;
    *place = (node){ray_retain(mine->ref), mine->want, mine->may};
    pthread_mutex_unlock(&shared.lock);
    if (theirs.ref)
        add_node(d, theirs.ref, theirs.want, theirs.may);
}

/* A new task that may be cancelled before anything depends on it. */
static void grow_cancelled(driver *d)
{
    int64_t x = pick(&d->random, 50);
    switch (pick(&d->random, 3)) {
    case 0:
        add_node(d, ray_remote(slow, x), x, VALUE | CANCELLED);
        break;
    case 1:
        add_node(d, ray_remote(leaf, x), 3 * x + 1, VALUE | CANCELLED);
        break;
    default:
        add_node(d, ray_remote(tree, 3, 2, x), model_tree(3, 2, x), VALUE | CANCELLED);
    }
    for (int i = pick(&d->random, 50); i > 0; i--)
        ray_cancelled();
    CHECK_OK(ray_cancel(d->nodes[d->num_nodes - 1].ref, 0));
}

static void grow(driver *d)
{
    int kind = d->num_nodes < 3 ? 0 : pick(&d->random, 20);
    if (kind < 5)
        grow_leaf(d);
    else if (kind < 10)
        grow_fan_in(d);
    else if (kind < 12)
        grow_tree(d);
    else if (kind < 15)
        grow_call(d);
    else if (kind < 16)
        grow_stream(d);
    else if (kind < 17)
        grow_through(d);
    else if (kind < 18)
        exchange(d);
    else
        grow_cancelled(d);
}

/* ---- harvesting it ---- */

static void shuffle(driver *d)
{
    for (int i = d->num_nodes - 1; i > 0; i--) {
        int j = pick(&d->random, i + 1);
        node swapped = d->nodes[i];
        d->nodes[i] = d->nodes[j], d->nodes[j] = swapped;
    }
}

static void harvest_with_waitset(driver *d)
{
    ray_waitset *set = ray_waitset_new();
    CHECK(set);
    for (int i = 0; i < d->num_nodes; i++)
        CHECK_OK(ray_waitset_add(set, d->nodes[i].ref, &d->nodes[i]));
    if (one_in(&d->random, 2))
        CHECK(ray_waitset_fd(set) >= 0);
    int left = one_in(&d->random, 4) ? pick(&d->random, d->num_nodes) : d->num_nodes; /* or thrown away half full */
    for (; left > 0; left--) {
        void *tag = NULL;
        ray_ref *ref = ray_waitset_next(set, 100000, &tag);
        CHECK(ref && ref == ((node *)tag)->ref);
        int64_t y = 0;
        int r = ray_get_timeout(ref, 0, &y);
        check_node(tag, r, y);
        ray_release(ref);
    }
    ray_waitset_free(set);
}

static void harvest_with_wait(driver *d)
{
    ray_ref *refs[MAX_NODES];
    bool ready[MAX_NODES];
    for (int i = 0; i < d->num_nodes; i++)
        refs[i] = d->nodes[i].ref;
    size_t wanted = (size_t)pick(&d->random, d->num_nodes + 1);
    int done = ray_wait(refs, (size_t)d->num_nodes, wanted, 100000, ready);
    CHECK(done >= (int)wanted);
    for (int i = 0; i < d->num_nodes; i++) {
        int64_t y = 0;
        done -= ready[i];
        int r = ready[i] ? ray_get_timeout(refs[i], 0, &y) : 0;
        if (ready[i])
            check_node(&d->nodes[i], r, y);
    }
    CHECK_INT(done, 0);
}

static void harvest(driver *d)
{
    shuffle(d);
    int way = pick(&d->random, 4);
    if (way == 0)
        harvest_with_waitset(d);
    else if (way == 1)
        harvest_with_wait(d);
    for (int i = 0; i < d->num_nodes; i++) {
        node *n = &d->nodes[i];
        int64_t y = 0;
        int r = RAY_ERR_TIMEOUT;
        if (one_in(&d->random, 4)) {
            ray_release(n->ref); /* nobody asks */
            continue;
        }
        if (one_in(&d->random, 3))
            r = ray_get_timeout(n->ref, pick(&d->random, 2), &y);
        if (r == RAY_ERR_TIMEOUT)
            r = ray_get(n->ref, &y);
        check_node(n, r, y);
        ray_release(n->ref);
    }
    d->num_nodes = 0;
}

static void *drive(void *arg)
{
    driver *d = arg;
    for (int i = 0; i < NUM_ACTORS; i++)
        d->actors[i] = ray_actor_new(adder);
    while (check_now_ms() < d->end_ms) {
        int size = 3 + pick(&d->random, MAX_NODES - 10);
        while (d->num_nodes < size)
            grow(d);
        harvest(d);
    }
    for (int i = 0; i < NUM_ACTORS; i++) {
        CHECK_REF_INT(ray_call(d->actors[i], adder_add, 0), d->sums[i]);
        ray_actor_release(d->actors[i]);
    }
    return NULL;
}

/* ---- the runs ---- */

static uint64_t seed_of_this_run(void)
{
    const char *given = getenv("RAY_STRESS_SEED");
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return given ? strtoull(given, NULL, 0) : (uint64_t)now.tv_sec * 1000000007u + (uint64_t)now.tv_nsec;
}

static void run_for(const char *resources, uint32_t num_threads, ray_isolation isolation, uint32_t max_workers)
{
    static driver drivers[NUM_DRIVERS];
    pthread_t threads[NUM_DRIVERS];
    const char *longer = getenv("RAY_STRESS_SECONDS");
    uint64_t seed = seed_of_this_run();
    printf("RAY_STRESS_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = resources, .num_threads = num_threads, .isolation = isolation,
                               .max_workers = max_workers)));
    int64_t end_ms = check_now_ms() + (longer ? atoll(longer) * 1000 : 3000);
    for (int i = 0; i < NUM_DRIVERS; i++) {
        drivers[i].random = (seed + (uint64_t)i + 1) * 0x9e3779b97f4a7c15u | 1;
        drivers[i].end_ms = end_ms;
        CHECK(pthread_create(&threads[i], NULL, drive, &drivers[i]) == 0);
    }
    long tasks = 0;
    for (int i = 0; i < NUM_DRIVERS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        tasks += drivers[i].tasks;
    }
    for (int i = 0; i < NUM_SHARED; i++)
        ray_release(shared.nodes[i].ref);
    printf("%ld nodes\n", tasks);
    CHECK(tasks > 0);
    check_stop();
}

static void graphs_on_one_cpu(void)
{
    run_for("CPU=1, disk=1", 1, RAY_ISOLATION_THREAD, 0);
}
static void graphs_on_two_cpus(void)
{
    run_for("CPU=2, disk=2", 2, RAY_ISOLATION_THREAD, 0);
}
static void graphs_on_many_threads(void)
{
    run_for("CPU=8, disk=3", 8, RAY_ISOLATION_THREAD, 0);
}
static void graphs_in_processes(void)
{
    run_for("CPU=2, disk=2", 2, RAY_ISOLATION_PROCESS, 0);
}
static void graphs_at_the_cap_of_processes(void)
{
    run_for("CPU=4, disk=3", 4, RAY_ISOLATION_PROCESS, NUM_DRIVERS * NUM_ACTORS + 3);
}

CHECK_MAIN(CHECK_TEST(graphs_on_one_cpu), CHECK_TEST(graphs_on_two_cpus), CHECK_TEST(graphs_on_many_threads),
           CHECK_TEST(graphs_in_processes), CHECK_TEST(graphs_at_the_cap_of_processes))
