/* Slots that the lane gives back, and a lane whose threads are all busy while work waits. */
#include "raylet/inside.h"

/* 0 is no event for the scheduler, but the pump that follows looks at the lane. */
static void take_slots(rayi_node *node)
{
    unsigned slots = atomic_exchange(&node->slots_returned, 0);

    node->self_changed = true;
    if (slots > 0)
        rayi_scheduler_lane_returned(node->scheduler, slots);
}

static void on_slots(rayi_node *node, rayi_message *message)
{
    (void)message;
    atomic_store(&node->slots_posted, false);
    take_slots(node);
}

void rayi_slots_returned(void *of, unsigned slots)
{
    rayi_node *node = of;

    atomic_fetch_add(&node->slots_returned, slots);
    if (!atomic_exchange(&node->slots_posted, true)) {
        node->slots_message.handle = on_slots;
        rayi_loop_post(node, &node->slots_message);
    }
}

static void on_monitor(uv_timer_t *timer)
{
    rayi_node *node = timer->data;

    if (!rayi_lane_unstick(rayi_executor_lane(node->executor)))
        uv_timer_stop(timer);
}

static void on_congested(rayi_node *node, rayi_message *message)
{
    (void)message;
    atomic_store(&node->monitor_posted, false);
    uv_update_time(&node->loop);
    uv_timer_start(&node->monitor, on_monitor, 10, 10);
}

bool rayi_slots_congested(void *of)
{
    rayi_node *node = of;

    if (rayi_lane_stopping(rayi_executor_lane(node->executor)) || !rayi_loop_try_start(node))
        return false;
    if (!atomic_exchange(&node->monitor_posted, true)) {
        node->monitor_message.handle = on_congested;
        rayi_loop_post(node, &node->monitor_message);
    }
    return true;
}
