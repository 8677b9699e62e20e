/* A picture of the cluster as bytes, and back: one allocation, the bytes behind it, into which its texts point. */
#include "wire/wire.h"

/* ---- writing ---- */

void rayi_put_resource(rayi_writer *writer, const ray_resource *resource)
{
    rayi_put_text(writer, resource->name);
    rayi_put_bytes(writer, &resource->total, sizeof resource->total);
    rayi_put_bytes(writer, &resource->available, sizeof resource->available);
}

static void put_resources(rayi_writer *writer, const ray_resource *resources, size_t count)
{
    rayi_put_u32(writer, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        rayi_put_resource(writer, &resources[i]);
}

void rayi_put_node(rayi_writer *writer, const ray_node *node)
{
    rayi_put_text(writer, node->id);
    rayi_put_text(writer, node->address);
    rayi_put_text(writer, node->labels);
    rayi_put_u8(writer, (uint8_t)node->state);
    rayi_put_u8(writer, node->is_head);
    rayi_put_u8(writer, node->is_driver);
    put_resources(writer, node->resources, node->num_resources);
}

void rayi_put_cluster(rayi_writer *writer, const ray_cluster *cluster)
{
    rayi_put_u32(writer, (uint32_t)cluster->num_nodes);
    for (size_t i = 0; i < cluster->num_nodes; i++)
        rayi_put_node(writer, cluster->nodes[i]);
    put_resources(writer, cluster->resources, cluster->num_resources);
}

/* ---- reading: once to measure and check, once to fill ---- */

enum { RESOURCE_LEAST = sizeof(uint32_t) + 2 * sizeof(double), NODE_LEAST = 4 * sizeof(uint32_t) + 3 };

typedef struct picture {
    ray_cluster cluster; /* first */
    ray_node *nodes;     /* NULL: it only measures */
    const ray_node **refs;
    ray_resource *resources;
    size_t num_nodes, num_resources;
} picture;

static void take_resources(rayi_reader *reader, picture *p, const ray_resource **out, size_t *out_count)
{
    uint32_t count = rayi_take_count(reader, RESOURCE_LEAST);
    const ray_resource *first = p->nodes ? &p->resources[p->num_resources] : NULL;

    for (uint32_t i = 0; i < count && !reader->failed; i++) {
        ray_resource one = {.name = rayi_take_text(reader)};
        const void *total = rayi_take_bytes(reader, sizeof one.total);
        const void *available = rayi_take_bytes(reader, sizeof one.available);
        reader->failed |= !one.name;
        if (reader->failed)
            return;
        memcpy(&one.total, total, sizeof one.total);
        memcpy(&one.available, available, sizeof one.available);
        if (p->nodes)
            p->resources[p->num_resources] = one;
        p->num_resources++;
    }
    *out = first;
    *out_count = count;
}

static void take_node(rayi_reader *reader, picture *p)
{
    ray_node node = {.size = sizeof node, .id = rayi_take_text(reader)};

    node.address = rayi_take_text(reader);
    node.labels = rayi_take_text(reader);
    node.state = (ray_node_state)rayi_take_u8(reader);
    node.is_head = rayi_take_u8(reader) != 0;
    node.is_driver = rayi_take_u8(reader) != 0;
    take_resources(reader, p, &node.resources, &node.num_resources);
    reader->failed |= !node.id || !node.labels || node.state > RAY_NODE_DEAD;
    if (p->nodes) {
        p->nodes[p->num_nodes] = node;
        p->refs[p->num_nodes] = &p->nodes[p->num_nodes];
    }
    p->num_nodes++;
}

static bool take_all(rayi_reader reader, picture *p)
{
    uint32_t count = rayi_take_count(&reader, NODE_LEAST);

    p->num_nodes = p->num_resources = 0;
    for (uint32_t i = 0; i < count && !reader.failed; i++)
        take_node(&reader, p);
    take_resources(&reader, p, &p->cluster.resources, &p->cluster.num_resources);
    return !reader.failed && rayi_reader_left(&reader) == 0;
}

ray_cluster *rayi_take_cluster(rayi_reader *reader)
{
    picture measured = {0}, *p;
    size_t size = rayi_reader_left(reader), nodes, refs, resources;

    if (reader->failed || !take_all(*reader, &measured)) {
        (void)rayi_fail(RAY_ERR_CORRUPT, "a picture of the cluster that makes no sense, of %zu bytes", size);
        return NULL;
    }
    nodes = (measured.num_nodes + 1) * sizeof(ray_node); /* one more, so that nodes is never NULL */
    refs = measured.num_nodes * sizeof(ray_node *);
    resources = measured.num_resources * sizeof(ray_resource);
    p = rayi_zalloc(sizeof *p + nodes + refs + resources + size);
    if (!p) {
        (void)rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a picture of the cluster");
        return NULL;
    }
    p->nodes = (ray_node *)(p + 1);
    p->resources = (ray_resource *)((char *)p->nodes + nodes);
    p->refs = (const ray_node **)((char *)p->resources + resources);
    RAYI_ASSERT(take_all(rayi_reader_of(memcpy((char *)p->refs + refs, reader->at, size), size), p));
    p->cluster.size = sizeof p->cluster;
    p->cluster.num_nodes = p->num_nodes;
    p->cluster.nodes = p->refs;
    reader->at = reader->end;
    return &p->cluster;
}
