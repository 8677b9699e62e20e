/* Lineage: what may run again, how often, and what goes when too much is kept. */
#include <criterion/criterion.h>

#include "../scheduler/counted.h"
#include "core/core.h"

enum { LIMIT = 100 };

static rayi_lineage *make(void)
{
    rayi_lineage *lineage;
    cr_assert_eq(rayi_lineage_new(rayi_heap, LIMIT, &lineage), 0);
    return lineage;
}

static void check_state(const rayi_lineage *lineage, uint64_t id, rayi_lineage_state state, int32_t retries)
{
    rayi_lineage_state is;
    int32_t left;
    cr_assert(rayi_lineage_get(lineage, id, &is, &left));
    cr_expect_eq(is, state, "entry %d", (int)id);
    cr_expect_eq(left, retries, "entry %d: %d", (int)id, left);
}

static uint64_t dropped(rayi_lineage *lineage)
{
    uint64_t id = 0;
    return rayi_lineage_next_dropped(lineage, &id) ? id : 0;
}

Test(lineage, retries_are_used_up)
{
    rayi_lineage *lineage = make();
    int32_t retries = -7;
    cr_assert_eq(rayi_lineage_add(lineage, 1, 10, 3), 0);
    cr_assert_eq(rayi_lineage_lost(lineage, 1, 0, &retries), RAYI_LINEAGE_RUN);
    cr_expect_eq(retries, 2);
    check_state(lineage, 1, RAYI_LINEAGE_RUNNING, 2);
    rayi_lineage_ended(lineage, 1, 1);
    check_state(lineage, 1, RAYI_LINEAGE_KEPT, 1);
    cr_assert_eq(rayi_lineage_lost(lineage, 1, 0, &retries), RAYI_LINEAGE_RUN);
    cr_expect_eq(retries, 0);
    rayi_lineage_ended(lineage, 1, 9); /* more than there were */
    cr_assert_eq(rayi_lineage_lost(lineage, 1, 0, &retries), RAYI_LINEAGE_NO_RETRIES);
    check_state(lineage, 1, RAYI_LINEAGE_KEPT, 0);
    rayi_lineage_free(lineage);
}

Test(lineage, for_ever)
{
    rayi_lineage *lineage = make();
    int32_t retries = 0;
    cr_assert_eq(rayi_lineage_add(lineage, 1, 10, -1), 0);
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(rayi_lineage_lost(lineage, 1, 0, &retries), RAYI_LINEAGE_RUN);
        cr_assert_eq(retries, -1);
        rayi_lineage_ended(lineage, 1, 5);
    }
    rayi_lineage_free(lineage);
}

Test(lineage, the_depth_is_bounded)
{
    rayi_lineage *lineage = make();
    int32_t retries;
    cr_assert_eq(rayi_lineage_add(lineage, 1, 10, 1), 0);
    cr_assert_eq(rayi_lineage_lost(lineage, 1, RAYI_LINEAGE_DEPTH, &retries), RAYI_LINEAGE_TOO_DEEP);
    check_state(lineage, 1, RAYI_LINEAGE_KEPT, 1);
    cr_assert_eq(rayi_lineage_lost(lineage, 1, RAYI_LINEAGE_DEPTH - 1, &retries), RAYI_LINEAGE_RUN);
    rayi_lineage_free(lineage);
}

Test(lineage, the_oldest_go)
{
    rayi_lineage *lineage = make();
    int32_t retries;
    for (uint64_t id = 1; id <= 3; id++)
        cr_assert_eq(rayi_lineage_add(lineage, id, 30, 3), 0);
    cr_expect_eq(rayi_lineage_size_bytes(lineage), 90);
    cr_expect_eq(dropped(lineage), 0);
    cr_assert_eq(rayi_lineage_add(lineage, 4, 60, 3), 0);
    cr_expect_eq(rayi_lineage_size_bytes(lineage), 90);
    cr_expect_eq(dropped(lineage), 1);
    cr_expect_eq(dropped(lineage), 2);
    cr_expect_eq(dropped(lineage), 0);
    cr_expect_eq(rayi_lineage_lost(lineage, 1, 0, &retries), RAYI_LINEAGE_WAS_DROPPED);
    rayi_lineage_remove(lineage, 1);
    rayi_lineage_remove(lineage, 1); /* nothing */
    rayi_lineage_remove(lineage, 3);
    cr_expect_eq(rayi_lineage_size_bytes(lineage), 60);
    rayi_lineage_free(lineage);
}

Test(lineage, one_that_is_too_large_goes_alone)
{
    rayi_lineage *lineage = make();
    cr_assert_eq(rayi_lineage_add(lineage, 1, LIMIT, 3), 0);
    cr_assert_eq(rayi_lineage_add(lineage, 2, UINT64_MAX, 3), 0);
    cr_expect_eq(dropped(lineage), 2);
    cr_expect_eq(dropped(lineage), 0);
    check_state(lineage, 1, RAYI_LINEAGE_KEPT, 3);
    cr_expect_eq(rayi_lineage_size_bytes(lineage), LIMIT);
    rayi_lineage_free(lineage);
}

Test(lineage, what_runs_stays)
{
    rayi_lineage *lineage = make();
    int32_t retries;
    cr_assert_eq(rayi_lineage_add(lineage, 1, 60, 3), 0);
    cr_assert_eq(rayi_lineage_lost(lineage, 1, 0, &retries), RAYI_LINEAGE_RUN);
    cr_assert_eq(rayi_lineage_add(lineage, 2, 60, 3), 0);
    cr_expect_eq(dropped(lineage), 2); /* the newer one, since the other cannot */
    check_state(lineage, 1, RAYI_LINEAGE_RUNNING, 2);
    cr_assert_eq(rayi_lineage_add(lineage, 3, 40, 3), 0);
    rayi_lineage_remove(lineage, 1);
    rayi_lineage_ended(lineage, 1, 0); /* it went meanwhile */
    cr_expect_eq(rayi_lineage_size_bytes(lineage), 40);
    rayi_lineage_free(lineage);
}

Test(lineage, without_memory)
{
    counted heap;
    rayi_lineage *lineage;
    int32_t retries;
    counted_init(&heap);
    counted_fail(&heap, 1);
    cr_assert_eq(rayi_lineage_new(&heap.memory, LIMIT, &lineage), RAY_ERR_NO_MEMORY);
    counted_fail(&heap, 0);
    cr_assert_eq(rayi_lineage_new(&heap.memory, LIMIT, &lineage), 0);
    for (long nth = 1;; nth++) {
        counted_fail(&heap, nth);
        int r = rayi_lineage_add(lineage, 1, 10, 1);
        counted_fail(&heap, 0);
        if (r == 0)
            break;
        cr_assert_eq(r, RAY_ERR_NO_MEMORY);
        cr_expect_eq(rayi_lineage_size_bytes(lineage), 0);
    }
    cr_expect_eq(rayi_lineage_lost(lineage, 1, 0, &retries), RAYI_LINEAGE_RUN);
    rayi_lineage_free(lineage);
    rayi_lineage_free(NULL);
    cr_expect_eq(heap.live, 0);
}
