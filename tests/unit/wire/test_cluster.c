/* A picture of a cluster, as bytes and back; and bytes that are none. */
#include "wire/wire.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static const ray_resource resources[] = {{"CPU", 4, 2.5}, {"disk", 1, 1}};
static const ray_node head = {
    .id = "1", .address = "h:1", .labels = "zone=eu", .is_head = true, .num_resources = 2, .resources = resources};
static const ray_node dead = {.id = "2", .labels = "", .is_driver = true, .state = RAY_NODE_DEAD};
static const ray_node *const nodes[] = {&head, &dead};
static const ray_cluster picture = {.num_nodes = 2, .nodes = nodes, .num_resources = 1, .resources = resources};

static ray_cluster *take(const void *bytes, size_t size)
{
    rayi_reader reader = rayi_reader_of(bytes, size);

    return rayi_take_cluster(&reader);
}

static ray_cluster *copy_of(const ray_cluster *from)
{
    rayi_writer writer;
    ray_cluster *to;

    rayi_writer_init(&writer);
    rayi_put_cluster(&writer, from);
    to = take(writer.data, writer.size);
    rayi_writer_fini(&writer);
    return to;
}

Test(wire_cluster, there_and_back)
{
    ray_cluster *c = copy_of(&picture);

    cr_assert(c && c->size >= sizeof *c && c->num_nodes == 2 && c->num_resources == 1);
    cr_expect_str_eq(c->nodes[0]->id, "1");
    cr_expect_str_eq(c->nodes[0]->address, "h:1");
    cr_expect_str_eq(c->nodes[0]->labels, "zone=eu");
    cr_expect(c->nodes[0]->is_head && c->nodes[0]->state == RAY_NODE_ALIVE && c->nodes[0]->num_resources == 2);
    cr_expect_str_eq(c->nodes[0]->resources[1].name, "disk");
    cr_expect(c->nodes[0]->resources[0].available == 2.5 && c->nodes[0]->resources[0].total == 4);
    cr_expect(!c->nodes[0]->is_driver && c->nodes[1]->is_driver);
    cr_expect(!c->nodes[1]->is_head && c->nodes[1]->state == RAY_NODE_DEAD && !c->nodes[1]->address);
    cr_expect_eq(c->nodes[1]->num_resources, 0);
    cr_expect_str_eq(c->resources[0].name, "CPU");
    rayi_free(c);
    c = copy_of(&(ray_cluster){0});
    cr_assert(c && c->num_nodes == 0 && c->num_resources == 0);
    rayi_free(c);
}

/* Cut anywhere it is none; with any byte another one it is none, or a picture that can be read to its ends. */
Test(wire_cluster, rubbish)
{
    rayi_writer writer;
    ray_cluster *c;

    rayi_writer_init(&writer);
    rayi_put_cluster(&writer, &picture);
    for (size_t size = 0; size < writer.size; size++) {
        char *bytes = malloc(size + 1);
        memcpy(bytes, writer.data, size);
        cr_expect_null(take(bytes, size), "%zu", size);
        cr_expect_eq(rayi_error_last_public()->code, RAY_ERR_CORRUPT);
        free(bytes);
    }
    for (size_t at = 0; at < writer.size; at++) {
        for (unsigned flip = 1; flip < 256; flip++) {
            writer.data[at] = (char)(writer.data[at] ^ flip);
            c = take(writer.data, writer.size);
            for (size_t i = 0; c && i < c->num_nodes; i++)
                cr_assert(strlen(c->nodes[i]->id) + strlen(c->nodes[i]->labels) < writer.size);
            rayi_free(c);
            writer.data[at] = (char)(writer.data[at] ^ flip);
        }
    }
    rayi_put_u8(&writer, 0);
    cr_expect_null(take(writer.data, writer.size), "more than all");
    rayi_writer_fini(&writer);
}
