/* An actor that lives in the worker process, and what code there asks its node for. */
#include "helper.h"

#include <string.h>
#include <unistd.h>

static void call(host *h, given *g, const char *method, uint32_t group)
{
    give_task(h, g, method, NULL);
    g->head.work = RAYI_WORK_CALL;
    g->head.actor = 900;
    g->head.group = (uint16_t)group;
}

static void call_crowd(host *h, given *g, uint32_t group, int64_t wanted)
{
    call(h, g, "counter.crowd", group);
    g->head.num_args = 1;
    put_int(&g->values, RAY_KIND_I32, wanted);
    offer(h, g);
}

static void construct(host *h, uint32_t concurrency, const uint32_t *groups, uint32_t num_groups)
{
    given g;

    give_task(h, &g, "counter", NULL);
    g.head.work = RAYI_WORK_CONSTRUCT;
    g.head.actor = 900;
    g.head.concurrency = concurrency;
    g.head.num_args = 1;
    put_int(&g.values, RAY_KIND_I64, 100);
    rayi_put_u32(&g.values, num_groups);
    for (uint32_t i = 0; i < num_groups; i++)
        rayi_put_u32(&g.values, groups[i]);
    offer(h, &g);
    answer a = expect_result(h, &g);
    cr_assert_eq(a.form, RAYI_FORM_NONE, "%d %s", a.code, a.bytes ? a.bytes : "");
}

Test(worker_actors, lives)
{
    host h = start();
    given g;

    construct(&h, 1, NULL, 0);
    for (int i = 1; i <= 10; i++) {
        call(&h, &g, "counter.add", 0);
        g.head.num_args = 1;
        put_int(&g.values, RAY_KIND_I64, 1);
        offer(&h, &g);
        expect_int(&h, &g, 100 + i);
    }
    call(&h, &g, "counter.me", 0);
    offer(&h, &g);
    answer a = expect_result(&h, &g);
    cr_assert_eq(a.form, RAYI_FORM_ACTOR);
    cr_assert_eq(a.number, 900);
    call(&h, &g, "counter.fini", 0);
    g.head.work = RAYI_WORK_FINI;
    offer(&h, &g);
    a = expect_result(&h, &g);
    cr_assert_eq(a.form, RAYI_FORM_NONE);
    finish(&h);
}

/* How many run at once: of the group without a name, and of the others. */
Test(worker_actors, runs_several_calls_at_once)
{
    static const uint32_t groups[] = {2, 1};
    host h = start();
    given g[12];
    int64_t most = 0;

    construct(&h, 3, groups, 2);
    for (uint32_t i = 0; i < 12; i++)
        call_crowd(&h, &g[i], i % 3, 6);
    for (int i = 0; i < 12; i++) {
        mail m = expect(&h, RAYI_UP_RESULT);
        rayi_wire_result head;
        memcpy(&head, rayi_take_bytes(&m.reader, sizeof head), sizeof head);
        answer a = read_answer(&m.reader);
        most = RAYI_MAX(most, a.number);
        drop(&m);
    }
    cr_assert_eq(most, 6, "%lld at once", (long long)most);
    finish(&h);
}

/* A call whose result comes later counts until then. */
Test(worker_actors, counts_calls_until_they_end)
{
    host h = start();
    given later, after;

    construct(&h, 1, NULL, 0);
    call(&h, &later, "counter.later", 0);
    offer(&h, &later);
    call_crowd(&h, &after, 0, 1);
    expect_int(&h, &later, 77);
    expect_int(&h, &after, 1);
    finish(&h);
}

Test(worker_actors, takes_no_call_after_its_exit)
{
    host h = start();
    given leave, more;

    construct(&h, 1, NULL, 0);
    call(&h, &leave, "counter.leave", 0);
    call(&h, &more, "counter.me", 0);
    offer(&h, &leave);
    offer(&h, &more);
    answer a = expect_result(&h, &leave);
    cr_assert(a.exits);
    expect_silence(&h);
    cr_assert(rayi_offer_revoke(h.channel, more.head.slot));
    finish(&h);
}

static rayi_wire_submit expect_submit(host *h, uint32_t type)
{
    mail m;
    rayi_wire_submit s;

    for (m = receive(h); m.type == RAYI_UP_FUNCTION || m.type == RAYI_UP_BLOCKED; m = receive(h))
        drop(&m);
    cr_assert_eq(m.type, type, "got %u", m.type);
    s = read_submit(&m);
    drop(&m);
    return s;
}

Test(worker_actors, makes_others)
{
    host h = start();
    given g;
    mail m;

    give_task(&h, &g, "use_actor", NULL);
    g.head.num_args = 1;
    put_int(&g.values, RAY_KIND_I64, 1);
    offer(&h, &g);
    rayi_wire_submit actor = expect_submit(&h, RAYI_UP_ACTOR), method = expect_submit(&h, RAYI_UP_SUBMIT);
    cr_assert_eq(method.actor, actor.number);
    complete_int(&h, method.number, 6);
    for (m = receive(&h); m.type != RAYI_UP_RELEASE; m = receive(&h))
        drop(&m);
    cr_assert_eq(rayi_take_u64(&m.reader), method.number);
    drop(&m);
    request r = expect_ask(&h, RAYI_ASK_KILL);
    cr_assert_eq(rayi_take_u64(&r.m.reader), actor.number);
    cr_assert_eq(rayi_take_u8(&r.m.reader), 0);
    reply(&h, &r, 0, NULL);
    m = expect(&h, RAYI_UP_RELEASE_ACTOR);
    cr_assert_eq(rayi_take_u64(&m.reader), actor.number);
    cr_assert_eq(rayi_take_u64(&m.reader), 1);
    drop(&m);
    expect_int(&h, &g, 6);
    finish(&h);
}

/* ---- requests ---- */

static void expect_text(host *h, const given *g, const char *text)
{
    answer a = expect_result(h, g);

    cr_assert_eq(a.form, RAYI_FORM_BYTES, "%d %s", a.code, a.bytes ? a.bytes : "");
    cr_assert_str_eq(a.bytes, text);
    drop_answer(&a);
}

static void complete_bytes(host *h, uint64_t number, const char *text)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u64(&writer, number);
    put_bytes_value(&writer, RAY_KIND_BYTES, text, strlen(text));
    send_down(h, RAYI_DOWN_COMPLETE, &writer);
    rayi_writer_fini(&writer);
}

Test(worker_asks, key_value)
{
    host h = start();
    rayi_writer value;
    request r;
    given g;
    mail m;

    give_task(&h, &g, "kv", NULL);
    offer(&h, &g);
    r = expect_ask(&h, RAYI_ASK_KV_PUT);
    cr_assert_str_eq(rayi_take_text(&r.m.reader), "key");
    cr_assert_eq(rayi_take_u32(&r.m.reader), 0);
    cr_assert_eq(rayi_take_u32(&r.m.reader), 5);
    reply(&h, &r, 0, NULL);
    m = expect(&h, RAYI_UP_PUT); /* 70,000 bytes: an object, though not of the store */
    uint64_t object = rayi_take_u64(&m.reader);
    drop(&m);
    r = expect_ask(&h, RAYI_ASK_KV_PUT);
    cr_assert_str_eq(rayi_take_text(&r.m.reader), "large");
    cr_assert_eq(rayi_take_u32(&r.m.reader), RAY_KV_NEW);
    cr_assert_eq(rayi_take_u32(&r.m.reader), UINT32_MAX);
    cr_assert_eq(rayi_take_u64(&r.m.reader), object);
    reply(&h, &r, 0, NULL);
    expect_release(&h, object, 1);
    r = expect_ask(&h, RAYI_ASK_KV_GET);
    rayi_writer_init(&value);
    put_ref(&value, RAYI_FORM_REF, 60);
    reply(&h, &r, 0, &value);
    complete_bytes(&h, 60, "value");
    for (m = receive(&h); m.type != RAYI_UP_RELEASE; m = receive(&h))
        drop(&m);
    cr_assert_eq(rayi_take_u64(&m.reader), 60);
    drop(&m);
    r = expect_ask(&h, RAYI_ASK_KV_DEL);
    reply(&h, &r, RAY_ERR_NOT_FOUND, NULL);
    expect_text(&h, &g, "value");
    finish(&h);
}

Test(worker_asks, names_and_cluster)
{
    host h = start();
    rayi_writer value;
    request r;
    given g;
    mail m;

    give_task(&h, &g, "names", NULL);
    offer(&h, &g);
    m = expect(&h, RAYI_UP_PUT);
    uint64_t object = rayi_take_u64(&m.reader);
    drop(&m);
    r = expect_ask(&h, RAYI_ASK_PUBLISH);
    cr_assert_str_eq(rayi_take_text(&r.m.reader), "ref");
    cr_assert_eq(rayi_take_u64(&r.m.reader), object);
    cr_assert_eq(rayi_take_u32(&r.m.reader), 1);
    reply(&h, &r, 0, NULL);
    r = expect_ask(&h, RAYI_ASK_UNPUBLISH);
    reply(&h, &r, 0, NULL);
    expect_release(&h, object, 1);
    r = expect_ask(&h, RAYI_ASK_ACTOR_GET);
    reply(&h, &r, RAY_ERR_NOT_FOUND, NULL);
    r = expect_ask(&h, RAYI_ASK_CLUSTER);
    rayi_writer_init(&value);
    ray_resource cpu = {.name = "CPU", .total = 4, .available = 2.5};
    ray_node node = {.id = "the-id", .labels = "zone=eu", .num_resources = 1, .resources = &cpu};
    const ray_node *nodes[] = {&node};
    rayi_put_cluster(&value, &(ray_cluster){.num_nodes = 1, .nodes = nodes, .num_resources = 1, .resources = &cpu});
    reply(&h, &r, 0, &value);
    expect_text(&h, &g, "the-id zone=eu CPU 2.5");
    finish(&h);
}

Test(worker_asks, placement_groups)
{
    host h = start();
    rayi_writer value;
    request r;
    given g;
    mail m;

    give_task(&h, &g, "group", NULL);
    offer(&h, &g);
    r = expect_ask(&h, RAYI_ASK_GROUP_NEW);
    cr_assert_eq(rayi_take_u32(&r.m.reader), 2);
    cr_assert_str_eq(rayi_take_text(&r.m.reader), "CPU=1");
    rayi_writer_init(&value);
    rayi_put_u64(&value, 700);
    rayi_put_text(&value, "id");
    reply(&h, &r, 0, &value);
    r = expect_ask(&h, RAYI_ASK_GROUP_READY);
    cr_assert_eq(rayi_take_u64(&r.m.reader), 700);
    uint64_t ready = rayi_take_u64(&r.m.reader);
    reply(&h, &r, 0, NULL);
    rayi_writer_init(&value);
    rayi_put_u64(&value, ready);
    rayi_put_u8(&value, RAYI_FORM_NONE);
    send_down(&h, RAYI_DOWN_COMPLETE, &value);
    for (m = receive(&h); m.type != RAYI_UP_RELEASE; m = receive(&h))
        drop(&m);
    cr_assert_eq(rayi_take_u64(&m.reader), ready);
    drop(&m);
    r = expect_ask(&h, RAYI_ASK_GROUP_REMOVE);
    reply(&h, &r, 0, NULL);
    r = expect_ask(&h, RAYI_ASK_GROUP_RELEASE);
    cr_assert_eq(rayi_take_u64(&r.m.reader), 700);
    reply(&h, &r, 0, NULL);
    expect_int(&h, &g, 0);
    finish(&h);
}
