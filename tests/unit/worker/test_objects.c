/* Objects that lie in segments of the node. */
#include "helper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE 300000

static void offer_int(host *h, given *g, const char *function, int64_t number)
{
    give_task(h, g, function, NULL);
    g->head.num_args = 1;
    put_int(&g->values, RAY_KIND_I64, number);
    offer(h, g);
}

static void put_place(rayi_writer *writer, uint64_t segment, uint64_t bytes, uint64_t offset)
{
    rayi_put_u64(writer, segment);
    rayi_put_u64(writer, bytes);
    rayi_put_u64(writer, offset);
}

/* Answers CREATE with a place; the object's number. */
static uint64_t give_room(host *h, uint64_t size, uint64_t segment, uint64_t bytes, uint64_t offset)
{
    request r = expect_ask(h, RAYI_ASK_CREATE);
    uint64_t number = rayi_take_u64(&r.m.reader);
    rayi_writer place;

    cr_assert_eq(rayi_take_u64(&r.m.reader), size);
    rayi_writer_init(&place);
    put_place(&place, segment, bytes, offset);
    reply(h, &r, 0, &place);
    return number;
}

static void expect_seal(host *h, uint64_t number, uint64_t size)
{
    mail m = expect(h, RAYI_UP_SEAL);

    cr_assert_eq(rayi_take_u64(&m.reader), number);
    cr_assert_eq(rayi_take_u64(&m.reader), size);
    cr_assert_eq(rayi_take_u8(&m.reader), RAY_KIND_BYTES);
    cr_assert_eq(rayi_take_u32(&m.reader), 0);
    drop(&m);
}

static void expect_close(host *h, uint64_t number)
{
    mail m = expect(h, RAYI_UP_CLOSE);

    cr_assert_eq(rayi_take_u64(&m.reader), number);
    drop(&m);
}

static void expect_unmapped(host *h, uint64_t segment, bool mapped)
{
    char path[64], line[512];
    bool found = true;

    (void)segment;
    for (int i = 0; i < 2000 && found != mapped; i++) {
        snprintf(path, sizeof path, "/proc/%d/maps", (int)h->pid);
        FILE *file = fopen(path, "re");
        cr_assert_not_null(file);
        found = false;
        while (fgets(line, sizeof line, file))
            found |= strstr(line, "memfd:segment") != NULL;
        fclose(file);
        if (found != mapped)
            usleep(1000);
    }
    cr_assert_eq(found, mapped);
}

Test(worker_objects, makes_large_ones_in_the_nodes_memory)
{
    host h = start();
    int fd = share_segment(&h, 9, 1 << 20, true);
    char *base = mmap(NULL, 1 << 20, PROT_READ, MAP_SHARED, fd, 0);
    given g;
    answer a;

    give_task(&h, &g, "make", NULL);
    g.head.num_args = 2;
    put_int(&g.values, RAY_KIND_I64, SIZE);
    put_int(&g.values, RAY_KIND_I32, 'q');
    offer(&h, &g);
    uint64_t number = give_room(&h, SIZE, 9, 1 << 20, 4096);
    expect_seal(&h, number, SIZE);
    expect_close(&h, number);
    a = expect_result(&h, &g);
    cr_assert_eq(a.form, RAYI_FORM_BLOCK);
    cr_assert_eq((uint64_t)a.number, number);
    cr_assert_eq(a.size, SIZE);
    expect_release(&h, number, 1);
    for (int i = 0; i < SIZE; i++)
        cr_assert_eq(base[4096 + i], 'q');
    cr_assert_eq(base[4096 + SIZE], 0);
    expect_unmapped(&h, 9, true);
    send_number(&h, RAYI_DOWN_SEGMENT_GONE, 9);
    expect_unmapped(&h, 9, false);
    finish(&h);
    munmap(base, 1 << 20);
    close(fd);
}

Test(worker_objects, reads_its_own_again)
{
    host h = start();
    int fd = share_segment(&h, 9, 1 << 20, true);
    rayi_writer place;
    given g;

    offer_int(&h, &g, "make_and_read", SIZE);
    uint64_t number = give_room(&h, SIZE, 9, 1 << 20, 0);
    expect_seal(&h, number, SIZE);
    expect_close(&h, number);
    request r = expect_ask(&h, RAYI_ASK_OPEN);
    cr_assert_eq(rayi_take_u64(&r.m.reader), number);
    rayi_writer_init(&place);
    put_place(&place, 9, 1 << 20, 0);
    reply(&h, &r, 0, &place);
    expect_close(&h, number);
    expect_release(&h, number, 1);
    expect_int(&h, &g, 3 * SIZE);
    finish(&h);
    close(fd);
}

Test(worker_objects, hears_that_there_is_no_room)
{
    host h = start();
    given g;
    answer a;

    offer_int(&h, &g, "make_and_read", SIZE);
    request r = expect_ask(&h, RAYI_ASK_CREATE);
    reply(&h, &r, RAY_ERR_STORE_FULL, NULL);
    expect_int(&h, &g, RAY_ERR_STORE_FULL);
    give_task(&h, &g, "make", NULL);
    g.head.num_args = 2;
    put_int(&g.values, RAY_KIND_I64, SIZE);
    put_int(&g.values, RAY_KIND_I32, 'q');
    offer(&h, &g);
    r = expect_ask(&h, RAYI_ASK_CREATE);
    mail m = expect(&h, RAYI_UP_BLOCKED); /* it waits: it says so after a while, unless the answer is there by then */
    drop(&m);
    reply(&h, &r, RAY_ERR_DISK_FULL, NULL);
    m = expect(&h, RAYI_UP_RESUMED);
    drop(&m);
    a = expect_result(&h, &g);
    cr_assert_eq(a.code, RAY_ERR_DISK_FULL);
    drop_answer(&a);
    finish(&h);
}

Test(worker_objects, throws_buffers_away)
{
    host h = start();
    int fd = share_segment(&h, 9, 1 << 20, true);
    given g;

    offer_int(&h, &g, "throw_away", SIZE);
    uint64_t number = give_room(&h, SIZE, 9, 1 << 20, 0);
    expect_release(&h, number, 1);
    expect_int(&h, &g, 1);
    send_number(&h, RAYI_DOWN_SEGMENT_GONE, 9);
    expect_unmapped(&h, 9, false);
    finish(&h);
    close(fd);
}

/* An argument that is open for the worker: read where it lies, closed behind the task. */
Test(worker_objects, reads_arguments_where_they_lie)
{
    host h = start();
    int fd = share_segment(&h, 3, 1 << 20, false);
    char *base = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    given g;

    memset(base + 8192, 2, SIZE);
    for (int i = 0; i < 3; i++) {
        give_task(&h, &g, "sum", NULL);
        g.head.num_args = 1;
        rayi_put_u8(&g.values, RAYI_FORM_BLOCK);
        rayi_put_u8(&g.values, RAY_KIND_BYTES);
        rayi_put_u64(&g.values, 123);
        rayi_put_u64(&g.values, SIZE);
        rayi_put_u32(&g.values, 0);
        rayi_put_u8(&g.values, 1);
        put_place(&g.values, 3, 1 << 20, 8192);
        offer(&h, &g);
        for (int left = 2; left > 0; left--) { /* in which order with the result is no matter */
            mail m = receive(&h);
            if (m.type == RAYI_UP_RESULT) {
                rayi_wire_result head;
                memcpy(&head, rayi_take_bytes(&m.reader, sizeof head), sizeof head);
                answer a = read_answer(&m.reader);
                cr_assert_eq(a.number, 2 * SIZE, "%lld %s", (long long)a.number, a.bytes ? a.bytes : "");
            } else {
                cr_assert_eq(m.type, RAYI_UP_CLOSE);
            }
            drop(&m);
        }
        expect_release(&h, 123, 1);
    }
    finish(&h);
    munmap(base, 1 << 20);
    close(fd);
}

/* A ref that holds a large object: opened when it is looked at. */
Test(worker_objects, opens_what_a_ref_holds)
{
    host h = start();
    int fd = share_segment(&h, 3, 1 << 20, false);
    given g;

    give_task(&h, &g, "get_ref", NULL);
    g.head.num_args = 1;
    put_ref(&g.values, RAYI_FORM_REF, 50);
    offer(&h, &g);
    rayi_writer writer;
    rayi_writer_init(&writer);
    rayi_put_u64(&writer, 50);
    rayi_put_u8(&writer, RAYI_FORM_BLOCK);
    rayi_put_u8(&writer, RAY_KIND_BYTES);
    rayi_put_u64(&writer, 51);
    rayi_put_u64(&writer, SIZE);
    rayi_put_u32(&writer, 0);
    rayi_put_u8(&writer, 0);
    send_down(&h, RAYI_DOWN_COMPLETE, &writer);
    bool released[2] = {false, false};
    for (int left = 3; left > 0;) { /* bytes are no int64_t: the type is wrong, whatever is opened for that */
        mail m = receive(&h);
        if (m.type == RAYI_UP_RESULT) {
            rayi_wire_result head;
            memcpy(&head, rayi_take_bytes(&m.reader, sizeof head), sizeof head);
            answer a = read_answer(&m.reader);
            cr_assert_eq(a.number, RAY_ERR_TYPE);
            left--;
        } else if (m.type == RAYI_UP_RELEASE) {
            uint64_t number = rayi_take_u64(&m.reader);
            cr_assert(number == 50 || number == 51);
            cr_assert(!released[number - 50]);
            released[number - 50] = true;
            left--;
        } else if (m.type == RAYI_UP_ASK) {
            request r = {.m = m, .request = rayi_take_u64(&m.reader), .what = rayi_take_u32(&m.reader)};
            cr_assert_eq(r.what, RAYI_ASK_OPEN);
            rayi_writer place;
            rayi_writer_init(&place);
            put_place(&place, 3, 1 << 20, 0);
            reply(&h, &r, 0, &place);
            continue;
        }
        drop(&m);
    }
    finish(&h);
    close(fd);
}

/* What an object holds is told before it, whatever it is. */
Test(worker_objects, holds_refs)
{
    host h = start();
    int fd = share_segment(&h, 9, 1 << 20, true);
    uint64_t told[4], large, outer;
    given g;
    mail m;
    int count = 0;

    offer_int(&h, &g, "hold_all", SIZE);
    large = give_room(&h, SIZE, 9, 1 << 20, 0);
    expect_seal(&h, large, SIZE);
    expect_close(&h, large);
    outer = give_room(&h, SIZE, 9, 1 << 20, 512 << 10);
    for (m = expect(&h, RAYI_UP_PUT);; m = receive(&h)) { /* small, failed, fixed */
        if (m.type == RAYI_UP_SEAL)
            break;
        cr_assert_eq(m.type, RAYI_UP_PUT);
        cr_assert_lt(count, 3);
        told[count++] = rayi_take_u64(&m.reader);
        answer a = read_answer(&m.reader);
        cr_assert_eq(a.form, count == 1 ? RAYI_FORM_BYTES : RAYI_FORM_ERROR);
        drop_answer(&a);
        drop(&m);
    }
    cr_assert_eq(count, 3);
    cr_assert_eq(rayi_take_u64(&m.reader), outer);
    cr_assert_eq(rayi_take_u64(&m.reader), SIZE);
    cr_assert_eq(rayi_take_u8(&m.reader), RAY_KIND_BYTES);
    cr_assert_eq(rayi_take_u32(&m.reader), 4);
    cr_assert_eq(rayi_take_u64(&m.reader), told[0]);
    cr_assert_eq(rayi_take_u64(&m.reader), large);
    cr_assert_eq(rayi_take_u64(&m.reader), told[1]);
    cr_assert_eq(rayi_take_u64(&m.reader), told[2]);
    drop(&m);
    expect_close(&h, outer);
    answer a = expect_result(&h, &g);
    cr_assert_eq((uint64_t)a.number, outer);
    expect_release(&h, outer, 1);
    for (int left = 3; left > 0; left--) { /* the fixed one stays for the next time */
        m = expect(&h, RAYI_UP_RELEASE);
        drop(&m);
    }
    finish(&h);
    close(fd);
}

/* What the node names again while it is alive here is counted and given back once, in one go. */
Test(worker_objects, keeps_count_of_what_is_named_again)
{
    host h = start();
    rayi_writer writer;
    given g;
    mail m;

    give_task(&h, &g, "get_ref", NULL);
    g.head.num_args = 1;
    put_ref(&g.values, RAYI_FORM_REF, 50);
    offer(&h, &g);
    m = expect(&h, RAYI_UP_BLOCKED);
    drop(&m);
    for (int i = 0; i < 3; i++) { /* a completion that nobody waits for: it names the ref that is alive, and 60 */
        rayi_writer_init(&writer);
        rayi_put_u64(&writer, 1000);
        rayi_put_u8(&writer, RAYI_FORM_BYTES);
        rayi_put_u8(&writer, RAY_KIND_BYTES);
        rayi_put_u32(&writer, 2);
        rayi_put_u64(&writer, 50);
        rayi_put_u64(&writer, 60);
        rayi_put_u32(&writer, 0);
        rayi_put_u8(&writer, 0);
        send_down(&h, RAYI_DOWN_COMPLETE, &writer);
        expect_release(&h, 60, 1);
    }
    complete_int(&h, 50, 8);
    m = expect(&h, RAYI_UP_RESUMED);
    drop(&m);
    expect_int(&h, &g, 8);
    expect_release(&h, 50, 4);
    finish(&h);
}
