/* A process that has had large objects keeps their pages for the next ones, since a first touch costs ten times the
 * copy; what nobody has wanted for a while goes back to the system, a step at a time: the loop has other things to do.
 * Nothing ticks in a process whose store is cool. */
#include "raylet/inside.h"

#include "store/store.h"

#define KEEP_BYTES ((uint64_t)16 << 20)
#define STEP_BYTES ((uint64_t)16 << 20) /* some 3 ms */
enum { LOOK_MS = 5000, STEP_MS = 20 };

static void on_time(uv_timer_t *timer)
{
    rayi_node *node = timer->data;

    switch (rayi_store_cool(rayi_executor_store(node->executor), STEP_BYTES)) {
    case RAYI_COOL:
        break;
    case RAYI_WARM:
        uv_timer_start(timer, on_time, LOOK_MS, 0);
        break;
    case RAYI_COOLING:
        uv_timer_start(timer, on_time, STEP_MS, 0);
        break;
    }
}

static void on_warm(rayi_node *node, rayi_message *message)
{
    (void)message;
    if (!atomic_load(&node->running)) /* it has ended meanwhile */
        return;
    uv_update_time(&node->loop);
    uv_timer_start(&node->cooling, on_time, LOOK_MS, 0);
}

/* The store tells it once until it is cool again: the message is never posted twice. Posting is for any thread;
 * starting the loop for those of the lane, which hold no lock of ours when they free something. */
static bool told_warm(void *of)
{
    rayi_node *node = of;

    if (!atomic_load(&node->running) &&
        (!rayi_self || rayi_lane_stopping(rayi_executor_lane(node->executor)) || !rayi_loop_try_start(node)))
        return false;
    node->warm_message.handle = on_warm;
    return rayi_loop_post(node, &node->warm_message);
}

void rayi_cool_init(rayi_node *node)
{
    rayi_store_on_warm(rayi_executor_store(node->executor), KEEP_BYTES, told_warm, node);
}
