/* Clusters of many nodes, played: the planner of a node that submits tasks, the head's table of members with the copy
   that a node keeps of it, and who fetches a large object from whom, as they ship. The clock is played, too, but for
   what is measured with a real one. */
#include "../unit/cluster/spread.h"
#include "bench.h"
#include "gcs/gcs.h"
#include "scheduler/scheduler.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 5000 };
static const uint32_t sizes[] = {10, 100, 1000, MOST};

static void require(int code, const char *what)
{
    if (code != 0)
        bench_fail("%s: error %d", what, code);
}

/* ---- Placements: more tasks wait than can go, and they end in batches ---- */

enum { WAITING = 4, BATCH = 64, CPUS = 8, TURNS = 5 };

struct planned {
    rayi_planner *planner;
    rayi_resources *cpu;
    uint32_t nodes;
    uint64_t *placed; /* a ring, in the order of their placement */
    size_t room;
    uint64_t submitted, first, last, finished;
};

static struct planned *plan(uint32_t nodes)
{
    struct planned *p = calloc(1, sizeof *p);
    rayi_planner_resource row = {"CPU", CPUS * RAYI_RESOURCE_UNIT, CPUS * RAYI_RESOURCE_UNIT};
    char why[128];
    p->nodes = nodes;
    p->room = (size_t)nodes * CPUS * (WAITING + 2);
    p->placed = calloc(p->room, sizeof *p->placed);
    if (!p->placed)
        bench_fail("out of memory");
    require(rayi_resources_parse(rayi_heap, "CPU=1", NULL, &p->cpu, why, sizeof why), "CPU=1");
    require(rayi_planner_new(rayi_heap, 1, &p->planner), "a planner");
    for (uint32_t i = 1; i <= nodes; i++) {
        rayi_planner_node node = {.tag = i, .resources = &row, .resource_count = 1};
        memcpy(node.id.bytes, &i, sizeof i);
        require(rayi_planner_node_put(p->planner, &node, 0), "a node");
    }
    return p;
}

/* One more batch ends, as many are submitted, and what has a place now goes there. */
static void place_batch(struct planned *p)
{
    rayi_planner_action action;
    int64_t now_ms = (int64_t)(p->finished / 500); /* 500,000 a second */
    while (p->submitted < p->finished + (uint64_t)p->nodes * CPUS * WAITING + BATCH) {
        rayi_planner_request request = {.id = ++p->submitted, .resources = p->cpu, .function = 1};
        require(rayi_planner_submit(p->planner, &request, now_ms), "a task");
    }
    while (rayi_planner_next(p->planner, &action))
        if (action.what == RAYI_PLANNER_ASSIGN)
            p->placed[p->last++ % p->room] = action.id;
    for (int i = 0; i < BATCH && p->first < p->last; i++, p->finished++)
        rayi_planner_finished(p->planner, p->placed[p->first++ % p->room], now_ms);
}

static void place(size_t n, void *arg)
{
    for (size_t i = 0; i < n; i++)
        place_batch(arg);
}

static void measure_placements(double seconds)
{
    double per_s[RAYI_COUNT_OF(sizes)] = {0};
    for (size_t turn = 0; turn < TURNS * RAYI_COUNT_OF(sizes);
         turn++) { /* the best of each: others use the CPUs, too */
        size_t i = turn % RAYI_COUNT_OF(sizes);
        struct planned *p = plan(sizes[i]);
        place(sizes[i] * CPUS / BATCH + 1, p); /* until it is full */
        per_s[i] = fmax(per_s[i], BATCH * bench_rate(seconds, place, p));
        rayi_planner_free(p->planner);
        rayi_resources_free(rayi_heap, p->cpu);
        free(p->placed);
        free(p);
    }
    for (size_t i = 0; i < RAYI_COUNT_OF(sizes); i++) {
        char name[32];
        snprintf(name, sizeof name, "sim_%u_per_s", (unsigned)sizes[i]);
        bench_emit(name, per_s[i]);
    }
    size_t last = RAYI_COUNT_OF(sizes) - 1; /* how the cost of one grows, against log N */
    bench_emit("sim_5000_growth", per_s[0] / per_s[last] / (log(sizes[last]) / log(sizes[0])));
}

/* ---- The bus: what a node hears, while all tell a load that has changed as often as they may ---- */

enum { SECONDS = 10, BUS_MOST = 256 << 10 };

struct head {
    rayi_members *members;
    rayi_membership *copy; /* of node 1 */
    uint32_t nodes;
    int64_t now_ms;
    double bytes; /* to node 1: by bus, and tables and answers by link */
    uint64_t incarnations[MOST + 1];
};

static rayi_member describe(uint32_t number)
{
    static const rayi_member_resource cpus = {"CPU", CPUS * 10000, CPUS * 10000};
    rayi_member member = {.life = 1000 + number, .host = number, .pid = 1, .address = "10.0.0.1:7001", .labels = ""};
    member.resources = &cpus;
    member.resource_count = 1;
    memcpy(member.id.bytes, &number, sizeof number);
    memcpy(member.key.bytes, &number, sizeof number);
    return member;
}

static void to_copy(struct head *h, const rayi_writer *writer)
{
    static rayi_member_message message;
    h->bytes += (double)writer->size;
    require(rayi_member_message_take(writer->data, writer->size, &message), "a message of the head");
    require(rayi_membership_take(h->copy, &message, h->now_ms), "a message of the head");
}

/* What node `number` says to the head, and the answer, which only node 1 reads. */
static void say(struct head *h, uint32_t number, const rayi_member_message *message)
{
    rayi_node_id id = describe(number).id;
    rayi_members_reply reply;
    rayi_writer writer;
    require(rayi_members_serve(h->members, &id, message, h->now_ms, &reply), "a message of a node");
    if (reply.answers && reply.answer.verdict == RAYI_VERDICT_ACCEPTED)
        h->incarnations[number] = reply.answer.incarnation;
    rayi_writer_init(&writer);
    if (number == 1 && reply.answers) {
        rayi_member_message answer = {.what = RAYI_MEMBER_ANSWER, .as.answer = reply.answer};
        rayi_member_message_put(&writer, &answer);
        to_copy(h, &writer);
    }
    rayi_writer_fini(&writer);
    rayi_writer_init(&writer);
    if (number == 1 && reply.tables) {
        rayi_members_since(h->members, reply.since, &writer);
        to_copy(h, &writer);
    }
    rayi_writer_fini(&writer);
}

static void pump_copy(struct head *h)
{
    rayi_membership_action action;
    while (rayi_membership_next(h->copy, h->now_ms, &action)) {
        if (action.what == RAYI_MEMBERSHIP_DIAL)
            rayi_membership_linked(h->copy, h->now_ms);
        else if (action.what == RAYI_MEMBERSHIP_SEND)
            say(h, 1, action.message);
        else if (action.what == RAYI_MEMBERSHIP_END || action.what == RAYI_MEMBERSHIP_FENCE)
            bench_fail("node 1 is out of the cluster");
    }
}

static void pump_head(struct head *h)
{
    rayi_members_action action;
    rayi_writer writer;
    while (rayi_members_next(h->members, h->now_ms, &action)) {
        if (action.what != RAYI_MEMBERS_PUBLISH)
            continue;
        rayi_writer_init(&writer);
        rayi_members_publish(h->members, BUS_MOST, &writer);
        h->bytes += (double)writer.size;
        require(rayi_membership_hint(h->copy, writer.data, writer.size, h->now_ms), "a hint");
        rayi_writer_fini(&writer);
    }
    pump_copy(h);
}

static void join_all(struct head *h)
{
    rayi_member self = describe(0), first = describe(1);
    rayi_members_options options = {.cluster = {{1}}, .generation = 1, .host = 1, .unsaved = true};
    uint64_t incarnation;
    require(rayi_members_new(rayi_heap, &options, h->now_ms, &h->members), "a head");
    require(rayi_members_lead(h->members, &self, h->now_ms, &incarnation), "a head");
    require(rayi_membership_new(rayi_heap, &(rayi_membership_options){.node = &first, .head = "head", .seed = 1},
                                h->now_ms, &h->copy),
            "a node");
    pump_copy(h);
    for (uint32_t i = 2; i <= h->nodes; i++) {
        rayi_member_message join = {.what = RAYI_MEMBER_JOIN,
                                    .as.join = {.protocol = RAYI_MEMBERS_PROTOCOL, .node = describe(i)}};
        say(h, i, &join);
    }
    pump_head(h);
}

/* In turn: nodes do not all speak in the same millisecond. */
static void speak(struct head *h, uint32_t number)
{
    uint64_t incarnation = h->incarnations[number];
    rayi_member_message m = {.what = RAYI_MEMBER_BEAT, .as.incarnation = incarnation};
    if ((h->now_ms + number) % RAYI_TELL_MS == 0)
        m = (rayi_member_message){.what = RAYI_MEMBER_TELL,
                                  .as.tell = {.incarnation = incarnation,
                                              .load = (uint32_t)(h->now_ms / RAYI_TELL_MS) % 7,
                                              .count = 1,
                                              .available = {(h->now_ms / RAYI_TELL_MS) % CPUS * 10000}}};
    else if ((h->now_ms + number) % RAYI_RENEW_MS == RAYI_RENEW_MS / 4)
        m = (rayi_member_message){.what = RAYI_MEMBER_RENEW,
                                  .as.renew = {.incarnation = incarnation, .asked_ms = h->now_ms}};
    else if ((h->now_ms + number) % RAYI_BEAT_MS != 0)
        return;
    say(h, number, &m);
}

static void pass_ms(struct head *h)
{
    int64_t available = h->now_ms / RAYI_TELL_MS % CPUS * 10000;
    h->now_ms++;
    for (uint32_t i = 2; i <= h->nodes; i++)
        speak(h, i);
    rayi_membership_load(h->copy, 0, &available, h->now_ms);
    rayi_membership_tick(h->copy, h->now_ms);
    rayi_members_tick(h->members, h->now_ms);
    pump_head(h);
}

static void play_bus(uint32_t nodes)
{
    static struct head empty, h;
    char name[32];
    h = empty;
    h.nodes = nodes;
    h.now_ms = 1;
    join_all(&h);
    for (int i = 0; i < 2 * RAYI_TELL_MS; i++) /* the joins are news for a while */
        pass_ms(&h);
    h.bytes = 0;
    for (int i = 0; i < SECONDS * 1000; i++)
        pass_ms(&h);
    if (rayi_membership_state_of(h.copy) != RAYI_MEMBERSHIP_MEMBER)
        bench_fail("node 1 is out of the cluster");
    snprintf(name, sizeof name, "sim_%u_bus_bytes", (unsigned)nodes);
    bench_emit(name, h.bytes / SECONDS);
    rayi_membership_free(h.copy);
    rayi_members_free(h.members);
}

static void measure_bus(double seconds)
{
    (void)seconds;
    for (size_t i = 0; i < RAYI_COUNT_OF(sizes); i++)
        play_bus(sizes[i]);
}

/* ---- A broadcast of 256 MiB: over links of one rate, against one node that fetches it alone ---- */

static void measure_broadcast(double seconds)
{
    enum { NODES = 8, CHUNKS = 256 }; /* of 1 MiB */
    (void)seconds;
    uint32_t ticks = spread_ticks(NODES, CHUNKS, 0);
    if (ticks == 0)
        bench_fail("the broadcast does not end");
    bench_emit("sim_broadcast_8_ratio", (double)ticks / spread_ticks(1, CHUNKS, 0));
}

int main(int argc, char **argv)
{
    static const struct bench_measure measures[] = {
        {"sim", measure_placements},
        {"sim_bus", measure_bus},
        {"sim_broadcast", measure_broadcast},
        {NULL, NULL},
    };
    return bench_main(argc, argv, measures);
}
