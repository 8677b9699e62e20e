/* The snapshot that ray_cluster_get takes: of the cluster's table, or of this node alone; of an observer, what the head
 * says. It is written as it goes over a wire, and read into one allocation (wire/wire.h). */
#include "raylet/inside.h"

#include <string.h>

const rayi_member *rayi_find_alive(const rayi_node *node, const rayi_node_id *id)
{
    const rayi_member *member = rayi_roster_get(rayi_cluster_roster(node->cluster), id);

    return member && member->state != RAYI_NODE_DEAD ? member : NULL;
}

static ray_resource described(const rayi_member_resource *item)
{
    return (ray_resource){.name = item->name,
                          .total = (double)item->total / RAYI_RESOURCE_UNIT,
                          .available = (double)RAYI_MAX(item->available, 0) / RAYI_RESOURCE_UNIT};
}

static void put_sums(rayi_writer *writer, const rayi_member_resource *items, uint32_t count)
{
    rayi_put_u32(writer, count);
    for (uint32_t i = 0; i < count; i++) {
        ray_resource sum = described(&items[i]);
        rayi_put_resource(writer, &sum);
    }
}

static void put_member(void *arg, const rayi_member *member)
{
    ray_resource resources[RAYI_MEMBER_RESOURCES_MAX];
    char id[RAYI_ID_SIZE];

    rayi_hex(id, member->id.bytes, sizeof member->id.bytes);
    for (uint32_t i = 0; i < member->resource_count; i++)
        resources[i] = described(&member->resources[i]);
    rayi_put_node(arg, &(ray_node){.id = id,
                                   .address = member->address,
                                   .labels = member->labels,
                                   .state = (ray_node_state)member->state,
                                   .is_head = (member->flags & RAYI_MEMBER_HEAD) != 0,
                                   .is_driver = (member->flags & RAYI_MEMBER_DRIVER) != 0,
                                   .num_resources = member->resource_count,
                                   .resources = resources});
}

static void count_member(void *arg, const rayi_member *member)
{
    (void)member;
    ++*(uint32_t *)arg;
}

static void put_roster(rayi_writer *writer, const rayi_roster *roster)
{
    rayi_member_sums *sums = rayi_roster_sum(roster, rayi_heap);
    uint32_t count = 0;

    rayi_roster_each(roster, count_member, &count);
    rayi_put_u32(writer, count);
    rayi_roster_each(roster, put_member, writer);
    if (sums)
        put_sums(writer, sums->items, sums->count);
    writer->failed |= !sums;
    rayi_memory_free(rayi_heap, sums);
}

void rayi_self_member(rayi_node *node, rayi_member *out, rayi_member_resource items[RAYI_MEMBER_RESOURCES_MAX])
{
    *out = (rayi_member){.labels = node->labels, .flags = RAYI_MEMBER_HEAD, .resources = items};
    rayi_cluster_id_parse(rayi_executor_node_id(node->executor), &out->id);
    out->resource_count = rayi_cluster_load(node->executor, node->scheduler, items, &out->load);
}

static void put_self(rayi_node *node, rayi_writer *writer)
{
    rayi_member_resource items[RAYI_MEMBER_RESOURCES_MAX];
    rayi_member self;

    rayi_self_member(node, &self, items);
    rayi_put_u32(writer, 1);
    put_member(writer, &self);
    put_sums(writer, items, self.resource_count);
}

int rayi_snapshot_write(rayi_node *node, rayi_writer *writer)
{
    if (node->cluster)
        put_roster(writer, rayi_cluster_roster(node->cluster));
    else
        put_self(node, writer);
    return writer->failed ? rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a picture of the cluster") : 0;
}

int rayi_node_snapshot(rayi_node *node, void *arg)
{
    ray_cluster **out = arg;
    rayi_writer writer;
    rayi_reader reader;
    int r;

    if (node->left)
        return rayi_error_set_last(rayi_error_ref(node->left));
    rayi_writer_init(&writer);
    r = rayi_snapshot_write(node, &writer);
    reader = rayi_reader_of(writer.data, writer.size);
    if (r == 0) {
        *out = rayi_take_cluster(&reader);
        r = *out ? 0 : rayi_error_last_public()->code;
    }
    rayi_writer_fini(&writer);
    return r;
}

static ray_cluster *observed(rayi_thread *thread)
{
    ray_cluster *cluster = NULL;
    rayi_answer answer = {0};
    rayi_reader reader;

    if (rayi_head_ask(thread, RAYI_OP_SNAPSHOT, &(rayi_said){0}, &answer) < 0)
        return NULL;
    reader = rayi_reader_of(answer.bytes, answer.size);
    cluster = rayi_take_cluster(&reader);
    rayi_answer_drop(thread, &answer);
    return cluster;
}

ray_cluster *rayi_node_cluster(rayi_thread *thread)
{
    ray_cluster *cluster = NULL;

    if (rayi_node_of(thread)->observer)
        return observed(thread);
    return rayi_node_ask(thread, rayi_node_snapshot, &cluster) == 0 ? cluster : NULL;
}

void rayi_snapshot_free(ray_cluster *cluster)
{
    rayi_free(cluster);
}
