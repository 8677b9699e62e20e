/* Placement groups: resources reserved together, all or nothing. */
#include <ray/ray.h>

#include <stdio.h>
#include <stdlib.h>

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ray_last_error()->message);
    exit(EXIT_FAILURE);
}

/* [inside */
RAY_REMOTE(bool, in_a_group)
{
    return ray_context_get()->group_id != NULL;
}
/* inside] */

int main(void)
{
    if (ray_init(RAY_WITH(ray_config, .resources = "CPU=4, disk=2")) != 0)
        die("ray_init");

    /* [new */
    const char *bundles[] = {"CPU=1, disk=1", "CPU=2"};
    ray_placement_group *group =
        ray_placement_group_new(bundles, 2, RAY_WITH(ray_placement_group_options, .name = "crew"));
    if (!group)
        die("ray_placement_group_new");
    ray_ref *reserved = ray_placement_group_ready(group);
    if (ray_get(reserved, NULL) != 0)
        die("ray_placement_group_ready");
    ray_release(reserved);
    /* new] */

    /* [use */
    /* In the group a task is given what its bundle has; outside, what is left: one CPU and one disk. */
    const ray_task_options *second = RAY_WITH(ray_task_options, .group = group, .bundle = 2, .resources = "CPU=2");
    ray_ref *inside = ray_remote_opts(second, in_a_group), *outside = ray_remote(in_a_group);
    bool a, b;
    if (ray_get(inside, &a) != 0 || ray_get(outside, &b) != 0)
        die("in_a_group");
    printf("inside: %s, outside: %s\n", a ? "yes" : "no", b ? "yes" : "no");
    ray_release(inside), ray_release(outside);
    /* use] */

    /* [never */
    const ray_task_options *too_much = RAY_WITH(ray_task_options, .group = group, .bundle = 1, .resources = "CPU=2");
    ray_ref *never = ray_remote_opts(too_much, in_a_group);
    printf("%s\n", ray_error_name(ray_get(never, NULL))); /* its bundle has one: RAY_ERR_UNSCHEDULABLE */
    ray_release(never);
    /* never] */

    /* [wait */
    /* A second group waits: what it asks for is there, but not free. */
    const char *all[] = {"CPU=4"};
    ray_placement_group *big = ray_placement_group_new(all, 1, NULL);
    if (!big)
        die("ray_placement_group_new");
    ray_ref *ready = ray_placement_group_ready(big);
    printf("%s\n", ray_wait(&ready, 1, 1, 20, NULL) == 1 ? "reserved?" : "not reserved yet");
    if (ray_placement_group_remove(group) != 0) /* gives its resources back */
        die("ray_placement_group_remove");
    printf("%s\n", ray_get(ready, NULL) == 0 ? "now it is reserved" : ray_last_error()->message);
    ray_release(ready);
    /* wait] */

    /* [removed */
    ray_ref *late = ray_remote_opts(second, in_a_group);
    printf("%s\n", ray_error_name(ray_get(late, NULL))); /* RAY_ERR_GROUP_REMOVED */
    ray_release(late);
    ray_placement_group_release(group), ray_placement_group_release(big); /* the handles */
    /* removed] */
    return ray_shutdown() != 0;
}
