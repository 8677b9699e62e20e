/* What the tasks of a cluster share: keys and values, published objects, and a look at the nodes.

   On one node of one process it works just the same. */
#include <ray/ray.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ray_last_error()->message);
    exit(EXIT_FAILURE);
}

/* [lookup */
/* Finds an object by its name: nobody had to hand it a ref. */
RAY_REMOTE(int64_t, count_bytes, (const char *, name))
{
    ray_ref *r = ray_object_lookup(name); /* fails with RAY_ERR_NOT_FOUND if there is none */
    ray_view v;
    if (ray_get(r, &v) != 0) {
        ray_release(r);
        return ray_fail("%s", ray_last_error()->message);
    }
    int64_t size = (int64_t)v.size;
    ray_view_release(&v);
    ray_release(r);
    return size;
}
/* lookup] */

static void keys_and_values(void)
{
    /* [kv */
    if (ray_kv_put("colour/sky", "blue", 4, 0) != 0 || ray_kv_put("colour/grass", "green", 5, 0) != 0)
        die("ray_kv_put");
    int r = ray_kv_put("colour/sky", "grey", 4, RAY_KV_NEW); /* only if there is no such key */
    printf("%s\n", ray_error_name(r));                       /* RAY_ERR_EXISTS */

    ray_view v;
    if (ray_kv_get("colour/sky", &v) != 0)
        die("ray_kv_get");
    printf("the sky is %.*s\n", (int)v.size, (const char *)v.data);
    ray_view_release(&v);

    if (ray_kv_list("colour/", &v) != 0) /* the keys, each with its NUL, in order */
        die("ray_kv_list");
    for (const char *key = v.data, *end = key + v.size; key < end; key += strlen(key) + 1)
        printf("%s\n", key);
    ray_view_release(&v);

    if (ray_kv_del("colour/sky") != 0 || ray_kv_del("colour/grass") != 0)
        die("ray_kv_del");
    printf("%s\n", ray_error_name(ray_kv_get("colour/sky", &v))); /* RAY_ERR_NOT_FOUND */
    /* kv] */
}

static void published_objects(void)
{
    /* [publish */
    ray_ref *r = ray_put("a model of the world", 20);
    if (ray_object_publish("model", r, 0) != 0)
        die("ray_object_publish");
    ray_release(r); /* the name keeps it */

    ray_ref *size = ray_remote(count_bytes, "model");
    int64_t n;
    if (ray_get(size, &n) != 0)
        die("count_bytes");
    printf("%lld bytes\n", (long long)n);
    ray_release(size);

    if (ray_object_unpublish("model") != 0)
        die("ray_object_unpublish");
    ray_ref *gone = ray_object_lookup("model");
    printf("%s\n", ray_error_name(ray_get(gone, NULL)));
    ray_release(gone);
    /* publish] */
}

static void nodes(void)
{
    /* [nodes */
    ray_cluster *c = ray_cluster_get(); /* a snapshot */
    if (!c)
        die("ray_cluster_get");
    for (size_t i = 0; i < c->num_nodes; i++) {
        const ray_node *node = c->nodes[i];
        printf("node %zu is %s\n", i + 1, node->state == RAY_NODE_ALIVE ? "alive" : "not alive");
        for (size_t k = 0; k < node->num_resources; k++)
            if (strcmp(node->resources[k].name, "disk") == 0)
                printf("disk: %g of %g available\n", node->resources[k].available, node->resources[k].total);
    }
    ray_cluster_free(c);
    /* nodes] */
}

static void state(void)
{
    /* [state */
    ray_view json; /* for tools and for people */
    if (ray_state("nodes", &json) != 0)
        die("ray_state");
    printf("the state is %s\n", json.size > 0 ? "JSON" : "nothing");
    ray_view_release(&json);
    /* state] */
}

int main(void)
{
    if (ray_init(RAY_WITH(ray_config, .resources = "CPU=2, disk=3")) != 0)
        die("ray_init");
    keys_and_values();
    published_objects();
    nodes();
    state();
    return ray_shutdown() != 0;
}
