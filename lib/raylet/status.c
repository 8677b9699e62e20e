/* The object behind `ray_state("status")`: who is there, what is used of what, what is waited for, what is amiss. */
#include "raylet/inside.h"

#include <string.h>

/* ---- nodes and what they have ---- */

static void add_resources(rayi_text *out, const ray_resource *resources, size_t count)
{
    rayi_text_add(out, "{");
    for (size_t i = 0; i < count; i++) {
        rayi_text_add(out, i > 0 ? ", " : "");
        rayi_text_add_json(out, resources[i].name);
        rayi_text_printf(out, ": {\"used\": %.15g, \"total\": %.15g}",
                         RAYI_MAX(resources[i].total - resources[i].available, 0), resources[i].total);
    }
    rayi_text_add(out, "}");
}

static void add_node(rayi_text *out, const ray_node *node)
{
    static const char *const states[] = {"ALIVE", "SUSPECT", "DEAD"};

    rayi_text_add(out, "{\"node_id\": ");
    rayi_text_add_json(out, node->id);
    rayi_text_printf(out, ", \"state\": \"%s\", \"is_head_node\": %s, \"is_driver_node\": %s, \"node_ip\": ",
                     states[node->state], node->is_head ? "true" : "false", node->is_driver ? "true" : "false");
    rayi_text_add_json(out, node->address);
    rayi_text_add(out, ", \"labels\": ");
    rayi_text_add_json(out, node->labels);
    rayi_text_add(out, ", \"resources\": ");
    add_resources(out, node->resources, node->num_resources);
    rayi_text_add(out, "}");
}

/* ---- what is waited for ---- */

static void add_demands(rayi_text *out, const rayi_demands *demands)
{
    for (const rayi_demand *d = demands->first; d; d = d->hh.next) {
        rayi_text_add(out, d == demands->first ? "{\"resources\": " : ", {\"resources\": ");
        rayi_text_add_json(out, d->resources);
        rayi_text_add(out, ", \"labels\": ");
        rayi_text_add_json(out, *d->labels ? d->labels : NULL);
        rayi_text_add(out, ", \"function\": ");
        rayi_text_add_json(out, *d->function ? d->function : NULL);
        rayi_text_printf(out, ", \"count\": %llu, \"waited_ms\": %lld, \"infeasible\": %s}",
                         (unsigned long long)d->count, (long long)d->waited_ms, d->infeasible ? "true" : "false");
    }
}

/* ---- what is amiss ---- */

typedef struct warnings {
    rayi_text *out;
    bool any;
} warnings;

/* Takes the words. */
static void warn(warnings *w, rayi_text *words)
{
    rayi_text_add(w->out, w->any ? ", " : "");
    rayi_text_add_json(w->out, words->data);
    w->out->failed |= words->failed;
    w->any = true;
    rayi_text_fini(words);
}

/* Of a node that lives. */
static int64_t largest_total(const ray_cluster *cluster, const char *name)
{
    double largest = 0;

    for (size_t i = 0; i < cluster->num_nodes; i++) {
        const ray_node *node = cluster->nodes[i];
        for (size_t k = 0; k < node->num_resources && node->state != RAY_NODE_DEAD; k++)
            if (strcmp(node->resources[k].name, name) == 0)
                largest = RAYI_MAX(largest, node->resources[k].total);
    }
    return (int64_t)(largest * RAYI_RESOURCE_UNIT + 0.5);
}

/* The first resource of which no node has enough. */
static bool say_shortage(const ray_cluster *cluster, const rayi_demand *d, rayi_text *words)
{
    char most[RAYI_AMOUNT_TEXT], why[256];
    rayi_resources *wanted;
    bool said = false;

    if (rayi_resources_parse(rayi_heap, d->resources, NULL, &wanted, why, sizeof why) < 0)
        return false;
    for (uint32_t i = 0; i < wanted->count && !said; i++) {
        int64_t largest = largest_total(cluster, wanted->items[i].name);
        said = largest < wanted->items[i].amount;
        if (!said)
            continue;
        rayi_amount_format(most, wanted->items[i].name, largest);
        rayi_text_printf(words, "no node has more than %s=%s", wanted->items[i].name, most);
    }
    rayi_resources_free(rayi_heap, wanted);
    return said;
}

/* What no node has, of all that the row asks for. */
static void say_missing(const ray_cluster *cluster, const rayi_demand *d, rayi_text *words)
{
    const char *on = *d->labels ? " with the labels " : "";

    rayi_text_printf(words, "%llu waiting for ", (unsigned long long)d->count);
    if (*d->function) {
        rayi_text_printf(words, "the function %s: no node%s%s%s%s has it (start workers with --load, or ray_load it)",
                         d->function, *d->resources ? " with " : "", d->resources, on, d->labels);
        return;
    }
    rayi_text_printf(words, "%s%s%s: ", *d->resources ? d->resources : "a node", on, d->labels);
    if (!say_shortage(cluster, d, words))
        rayi_text_add(words, "there is no such node");
}

static void warn_of_demands(warnings *w, const ray_cluster *cluster, const rayi_demands *demands)
{
    rayi_text words;

    for (const rayi_demand *d = demands->first; d; d = d->hh.next) {
        if (!d->infeasible)
            continue;
        rayi_text_init(&words, rayi_heap);
        say_missing(cluster, d, &words);
        warn(w, &words);
    }
}

static void warn_of_nodes(warnings *w, const ray_cluster *cluster)
{
    rayi_text words;

    for (size_t i = 0; i < cluster->num_nodes; i++) {
        const ray_node *node = cluster->nodes[i];
        if (node->state != RAY_NODE_SUSPECT)
            continue;
        rayi_text_init(&words, rayi_heap);
        rayi_text_printf(&words, "node %s at %s is late: it gets no new work", node->id,
                         node->address ? node->address : "an unknown address");
        warn(w, &words);
    }
}

static void add_warnings(rayi_text *out, const ray_cluster *cluster, const rayi_demands *demands, const char *missing)
{
    warnings w = {.out = out};
    rayi_text words;

    warn_of_demands(&w, cluster, demands);
    warn_of_nodes(&w, cluster);
    if (!missing)
        return;
    rayi_text_init(&words, rayi_heap);
    rayi_text_add(&words, missing);
    warn(&w, &words);
}

/* ---- all of it ---- */

int rayi_status_write(rayi_node *node, const rayi_demands *demands, const char *missing, rayi_text *out)
{
    ray_cluster *cluster;
    int r = demands->failed ? RAY_ERR_NO_MEMORY : rayi_node_snapshot(node, &cluster);

    if (demands->failed)
        return rayi_fail(r, "out of memory: the status");
    if (r < 0)
        return r;
    rayi_text_add(out, "{\"nodes\": [");
    for (size_t i = 0; i < cluster->num_nodes; i++) {
        rayi_text_add(out, i > 0 ? ", " : "");
        add_node(out, cluster->nodes[i]);
    }
    rayi_text_add(out, "], \"resources\": ");
    add_resources(out, cluster->resources, cluster->num_resources);
    rayi_text_add(out, ", \"demand\": [");
    add_demands(out, demands);
    rayi_text_add(out, "], \"warnings\": [");
    add_warnings(out, cluster, demands, missing);
    rayi_text_add(out, "]}");
    if (out->failed)
        r = rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the status");
    rayi_snapshot_free(cluster);
    return r;
}
