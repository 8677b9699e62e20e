/* The states of a request, each with every event; and a scheduler that cannot be made for want of memory. */
#include <signal.h>

#include "scheduler/inside.h"
#include "told.h"

#define WAITING RAYI_REQUEST_WAITING
#define OFFERED RAYI_REQUEST_OFFERED
#define REFUSED RAYI_REQUEST_REFUSED
#define GRANTED RAYI_REQUEST_GRANTED
#define BLOCKED RAYI_REQUEST_BLOCKED
#define GONE    RAYI_REQUEST_GONE
#define NO      (-1)

/* Events: grant, refuse, fetch, remove, block, resume, finish. */
static const int table[][7] = {
    [RAYI_REQUEST_WAITING] = {OFFERED, REFUSED, NO, GONE, NO, NO, NO},
    [RAYI_REQUEST_OFFERED] = {NO, REFUSED, GRANTED, GONE, NO, NO, NO},
    [RAYI_REQUEST_REFUSED] = {NO, NO, GONE, GONE, NO, NO, NO},
    [RAYI_REQUEST_GRANTED] = {NO, NO, NO, NO, BLOCKED, NO, GONE},
    [RAYI_REQUEST_BLOCKED] = {NO, NO, NO, NO, NO, GRANTED, GONE},
    [RAYI_REQUEST_GONE] = {NO, NO, NO, NO, NO, NO, NO},
};

Test(request, every_legal_pair)
{
    for (int state = 0; state < (int)RAYI_COUNT_OF(table); state++)
        for (int event = 0; event < 7; event++)
            if (table[state][event] != NO)
                cr_expect_eq((int)rayi_request_next((rayi_request_state)state, (rayi_request_event)event),
                             table[state][event], "state %d, event %d", state, event);
}

#define ASSERTS(name, state, event)                                                                                    \
    Test(request, name, .signal = SIGABRT)                                                                             \
    {                                                                                                                  \
        rayi_request_next(state, event);                                                                               \
    }
ASSERTS(a_waiting_one_does_not_finish, WAITING, RAYI_REQUEST_FINISH)
ASSERTS(a_waiting_one_is_not_fetched, WAITING, RAYI_REQUEST_FETCH)
ASSERTS(an_offered_one_is_not_granted_again, OFFERED, RAYI_REQUEST_GRANT)
ASSERTS(a_refused_one_is_not_granted, REFUSED, RAYI_REQUEST_GRANT)
ASSERTS(a_granted_one_is_not_granted_again, GRANTED, RAYI_REQUEST_GRANT)
ASSERTS(a_granted_one_is_not_removed, GRANTED, RAYI_REQUEST_REMOVE)
ASSERTS(one_that_runs_does_not_resume, GRANTED, RAYI_REQUEST_RESUME)
ASSERTS(one_that_is_blocked_does_not_block, BLOCKED, RAYI_REQUEST_BLOCK)
ASSERTS(one_that_is_gone_does_not_finish, GONE, RAYI_REQUEST_FINISH)

Test(request, no_scheduler_without_memory)
{
    counted heap;
    char why[64] = "";
    rayi_scheduler *made;
    rayi_resources *total = resources_of("CPU=2, GPU=2, disk=1");
    rayi_scheduler_options options = {.node_id = "here", .total = total, .gpu_ids = "5,7"};
    counted_init(&heap);
    long nth = 1;
    for (int r = -1; r; nth++) {
        counted_fail(&heap, nth);
        r = rayi_scheduler_new(&heap.memory, &options, &made, why, sizeof why);
        if (r == 0)
            break;
        cr_assert_eq(r, RAY_ERR_NO_MEMORY);
        cr_assert_str_eq(why, "out of memory");
        cr_assert_eq(heap.live, 0);
    }
    cr_assert_geq(nth, 4);
    rayi_scheduler_free(made);
    cr_assert_eq(heap.live, 0);
    rayi_resources_free(rayi_heap, total);
}
