/* Who fetches an object from whom. */
#include "cluster/copies.h"
#include "spread.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum { ORIGIN = -1 };

static rayi_node_id id_of(int n)
{
    rayi_node_id id = {{0}};
    memcpy(id.bytes, &n, sizeof n);
    return id;
}

static rayi_object_place place_of(int n)
{
    rayi_object_place place = {.node = id_of(n), .number = (uint64_t)n + 100};
    snprintf(place.address, sizeof place.address, "10.0.0.%d:9", n);
    return place;
}

static int number_of(const rayi_object_place *place)
{
    int n;
    memcpy(&n, place->node.bytes, sizeof n);
    cr_assert_eq(place->number, (uint64_t)n + 100);
    return n;
}

static rayi_copies *make(void)
{
    rayi_copies *copies = NULL;
    cr_assert_eq(rayi_copies_new(rayi_heap, &copies), 0);
    return copies;
}

static int begin(rayi_copies *copies, int n)
{
    rayi_object_place who = place_of(n), from;
    int r = rayi_copies_begin(copies, &who, &from);
    cr_assert(r == 0 || r == 1);
    return r == 0 ? ORIGIN : number_of(&from);
}

static void whole(rayi_copies *copies, int n)
{
    rayi_node_id id = id_of(n);
    rayi_copies_whole(copies, &id);
}

static void gone(rayi_copies *copies, int n)
{
    rayi_node_id id = id_of(n);
    rayi_copies_gone(copies, &id);
}

Test(copies, those_who_begin_at_once_form_a_chain)
{
    rayi_copies *copies = make();
    cr_assert_eq(begin(copies, 0), ORIGIN);
    for (int n = 1; n < 9; n++)
        cr_assert_eq(begin(copies, n), n - 1);
    rayi_copies_free(copies);
}

/* Of many who begin at once few come to the object's node, nobody has more than some, and chains stay short. */
Test(copies, many_chains)
{
    enum { COUNT = 400 };
    int children[COUNT] = {0}, depth[COUNT], of_origin = 0, deepest = 0, most = 0;
    rayi_copies *copies = make();
    for (int n = 0; n < COUNT; n++) {
        int from = begin(copies, n);
        cr_assert(from < n, "nobody waits for one who came later");
        depth[n] = from == ORIGIN ? 1 : depth[from] + 1;
        of_origin += from == ORIGIN;
        most = from == ORIGIN ? most : RAYI_MAX(most, ++children[from]);
        deepest = RAYI_MAX(deepest, depth[n]);
    }
    cr_assert(of_origin <= 4 && most <= 4 && deepest <= 30, "%d %d %d", of_origin, most, deepest);
    rayi_copies_free(copies);
}

Test(copies, who_has_all_comes_first)
{
    rayi_copies *copies = make();
    cr_assert_eq(begin(copies, 0), ORIGIN);
    whole(copies, 0);
    cr_assert_eq(begin(copies, 1), 0);
    whole(copies, 1);
    int first = begin(copies, 2), second = begin(copies, 3);
    cr_assert(first != second && first != ORIGIN && second != ORIGIN);
    rayi_copies_free(copies);
}

Test(copies, gone_ones_are_named_no_more)
{
    rayi_copies *copies = make();
    cr_assert_eq(begin(copies, 0), ORIGIN);
    cr_assert_eq(begin(copies, 1), 0);
    gone(copies, 0);
    gone(copies, 0);
    gone(copies, 77);
    cr_assert_eq(begin(copies, 2), 1);
    gone(copies, 1);
    gone(copies, 2);
    cr_assert_eq(begin(copies, 3), ORIGIN);
    rayi_copies_free(copies);
}

Test(copies, one_that_begins_anew_does_not_wait_for_itself)
{
    rayi_copies *copies = make();
    cr_assert_eq(begin(copies, 0), ORIGIN);
    cr_assert_eq(begin(copies, 0), ORIGIN);
    whole(copies, 0);
    cr_assert_eq(begin(copies, 0), ORIGIN);
    rayi_copies_free(copies);
}

Test(copies, lists_whole_ones_in_turn)
{
    rayi_object_place out[4];
    int named[6] = {0};
    rayi_copies *copies = make();
    cr_assert_eq(rayi_copies_list(copies, out, 4), 0);
    for (int n = 0; n < 6; n++) {
        begin(copies, n);
        if (n != 3)
            whole(copies, n);
    }
    for (int i = 0; i < 24; i++) {
        uint32_t count = rayi_copies_list(copies, out, 2);
        cr_assert_eq(count, 2);
        cr_assert(number_of(&out[0]) != number_of(&out[1]));
        for (uint32_t j = 0; j < count; j++)
            named[number_of(&out[j])]++;
    }
    cr_assert_eq(named[3], 0);
    for (int n = 0; n < 6; n++)
        cr_assert(n == 3 || named[n] >= 3, "%d is named %d times", n, named[n]);
    cr_assert_eq(rayi_copies_list(copies, out, 4), 4);
    rayi_copies_free(copies);
}

/* Against a plain count of who fetches from whom. */
Test(copies, random)
{
    enum { COUNT = 24, ROUNDS = 20000 };
    enum { NOT, BEGUN, WHOLE } state[COUNT] = {NOT};
    uint64_t seed = 88172645463325252;
    rayi_copies *copies = make();
    for (int round = 0; round < ROUNDS; round++) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        int n = (int)((seed >> 8) % COUNT), from;
        switch ((seed >> 40) % 4) {
        case 0:
        case 1:
            from = begin(copies, n);
            cr_assert(from != n && (from == ORIGIN || state[from] != NOT));
            state[n] = BEGUN;
            break;
        case 2:
            whole(copies, n);
            state[n] = state[n] == BEGUN ? WHOLE : state[n];
            break;
        default:
            gone(copies, n);
            state[n] = NOT;
        }
        rayi_object_place out[COUNT];
        uint32_t count = rayi_copies_list(copies, out, COUNT), want = 0;
        for (int i = 0; i < COUNT; i++)
            want += state[i] == WHOLE;
        cr_assert_eq(count, want);
        for (uint32_t i = 0; i < count; i++)
            cr_assert_eq(state[number_of(&out[i])], WHOLE);
    }
    rayi_copies_free(copies);
}

/* ---- all of it, played: in chunks of 1 MiB, over links as fast as each other ---- */

enum { CHUNKS = 256 };

Test(copies, eight_who_want_it_at_once_have_it_in_little_more_than_one_transfer)
{
    uint32_t ticks = spread_ticks(8, CHUNKS, 0);
    cr_expect(ticks >= CHUNKS && ticks <= CHUNKS + 8, "%u", (unsigned)ticks);
}

/* Who begins later has the rest of the one before to wait for, and no more. */
Test(copies, eight_who_begin_one_after_the_other_have_it_in_little_more_than_one_transfer_each)
{
    for (uint32_t apart = 1; apart <= CHUNKS; apart *= 2) {
        uint32_t ticks = spread_ticks(8, CHUNKS, apart);
        cr_expect(ticks > 0 && ticks <= 7 * apart + CHUNKS + 8, "%u apart: %u", (unsigned)apart, (unsigned)ticks);
    }
}

/* Two chains of eight at most leave a node at a time, so more nodes do not take longer. */
Test(copies, many_who_want_it_at_once_have_it_in_little_more_than_two_transfers)
{
    for (uint32_t nodes = 16; nodes <= SPREAD_MOST; nodes *= 2) {
        uint32_t ticks = spread_ticks(nodes, CHUNKS, 0);
        cr_expect(ticks > 0 && ticks <= 2 * CHUNKS + 16, "%u nodes: %u", (unsigned)nodes, (unsigned)ticks);
    }
}
