/* What the planner has to say. */
#include <inttypes.h>
#include <stdio.h>

#include "scheduler/planner_inside.h"

typedef struct id_text {
    char hex[2 * sizeof(rayi_planner_id) + 1];
} id_text;

static id_text text_of(const rayi_planner_id *id)
{
    id_text out;
    for (size_t i = 0; i < sizeof id->bytes; i++)
        sprintf(out.hex + 2 * i, "%02x", (unsigned)id->bytes[i]);
    return out;
}

void rayi_planner_say_gone(rayi_planner *planner, const rayi_planner_id *id)
{
    snprintf(planner->message, sizeof planner->message, "node %s is not in the cluster", text_of(id).hex);
}

/* Of a node that takes work, or of the best of all. */
static int64_t largest_total(const rayi_planner *planner, const rayi_planner_kind *kind)
{
    int64_t largest = 0;
    for (const rayi_planner_peer *peer = planner->peers; peer; peer = peer->hh.next) {
        const rayi_planner_account *account = rayi_planner_peer_account(peer, kind);
        if (account && !(peer->flags & (RAYI_PLANNER_DRAINED | RAYI_PLANNER_NO_WORK)))
            largest = RAYI_MAX(largest, account->total);
    }
    return largest;
}

/* The first resource of which no node has enough. */
static bool say_shortage(rayi_planner *planner, const rayi_planner_need *need)
{
    for (uint32_t i = 0; i < need->count; i++) {
        const rayi_planner_amount *item = &need->amounts[i];
        int64_t largest = largest_total(planner, item->kind);
        char wanted[RAYI_AMOUNT_TEXT], most[RAYI_AMOUNT_TEXT];
        if (largest >= item->amount)
            continue;
        rayi_amount_format(wanted, item->kind->name, item->amount);
        rayi_amount_format(most, item->kind->name, largest);
        snprintf(planner->message, sizeof planner->message,
                 "a task or actor asks for %s=%s, but no node has more than %s in total; it waits", item->kind->name,
                 wanted, most);
        return true;
    }
    return false;
}

static bool meets(const rayi_planner_peer *peer, const rayi_selector_term *term)
{
    rayi_selector one = {.text = term->text, .terms = term, .count = 1};
    return !rayi_selector_unmet(&one, peer->labels);
}

/* The first term that no node meets. */
static bool say_label(rayi_planner *planner, const rayi_planner_need *need)
{
    for (uint32_t i = 0; need->selector && i < need->selector->count; i++) {
        const rayi_selector_term *term = &need->selector->terms[i];
        bool met = false;
        for (const rayi_planner_peer *peer = planner->peers; peer && !met; peer = peer->hh.next)
            met = !(peer->flags & (RAYI_PLANNER_DRAINED | RAYI_PLANNER_NO_WORK)) && meets(peer, term);
        if (met)
            continue;
        snprintf(planner->message, sizeof planner->message,
                 "a task or actor asks for a node with \"%s\", but there is none; it waits", term->text);
        return true;
    }
    return false;
}

static void say_function(rayi_planner *planner, const rayi_planner_function *function, const char *who)
{
    char number[32];
    snprintf(number, sizeof number, "number %" PRIu32, function->number);
    snprintf(planner->message, sizeof planner->message,
             "a task or actor asks for function %s, but %s it (nodes get it by --load or ray_load); it waits",
             function->name ? function->name : number, who);
}

static void say_together(rayi_planner *planner, const rayi_planner_need *need, const char *who)
{
    const char *labels = need->selector ? need->selector->text : "";
    snprintf(planner->message, sizeof planner->message, "a task or actor asks for \"%s\"%s%s%s, but %s; it waits",
             need->resources, *labels ? " on a node with \"" : "", labels, *labels ? "\"" : "", who);
}

/* A task tied to one node, which is there. */
static void say_home(rayi_planner *planner, const rayi_planner_queue *queue, const rayi_planner_peer *home)
{
    char who[80];
    if (rayi_planner_need_could(queue->need, home->slot)) {
        snprintf(who, sizeof who, "node %s, on which alone it may run, lacks", text_of(&home->id).hex);
        say_function(planner, queue->function, who);
        return;
    }
    snprintf(who, sizeof who, "node %s, on which alone it may run, has less", text_of(&home->id).hex);
    if (home->flags & (RAYI_PLANNER_DRAINED | RAYI_PLANNER_NO_WORK))
        snprintf(who, sizeof who, "node %s, on which alone it may run, takes no work", text_of(&home->id).hex);
    say_together(planner, queue->need, who);
}

void rayi_planner_say_missing(rayi_planner *planner, const rayi_planner_queue *queue)
{
    const rayi_planner_peer *home =
        queue->key.tie == RAYI_PLANNER_HARD ? rayi_planner_peer_find(planner, &queue->key.home) : NULL;
    if (home)
        say_home(planner, queue, home);
    else if (queue->need->feasible)
        say_function(planner, queue->function, "no node that could run it has");
    else if (!say_shortage(planner, queue->need) && !say_label(planner, queue->need))
        say_together(planner, queue->need, "no node has all of that");
}
