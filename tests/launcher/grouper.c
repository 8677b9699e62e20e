/* grouper make|remove: a driver that leaves a placement group behind, and one that ends it. */
#include <ray/ray.h>
#include <stdio.h>
#include <string.h>

static int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ray_last_error()->message);
    return 1;
}

int main(int argc, char **argv)
{
    static const char *const bundles[] = {"CPU=1", "CPU=1"};
    int r;
    if (argc != 2 || ray_init(NULL) < 0)
        return failed("ray_init");
    ray_placement_group *group =
        strcmp(argv[1], "make") == 0
            ? ray_placement_group_new(bundles, 2,
                                      RAY_WITH(ray_placement_group_options, .name = "all/crew",
                                               .strategy = RAY_STRICT_SPREAD, .detached = true))
            : ray_placement_group_get("all/crew");
    if (!group)
        return failed("the group");
    ray_ref *ready = ray_placement_group_ready(group);
    r = ray_get(ready, NULL) < 0 ? failed("ready") : 0;
    if (strcmp(argv[1], "remove") == 0 && ray_placement_group_remove(group) < 0)
        r = failed("remove");
    ray_release(ready);
    ray_placement_group_release(group);
    return ray_shutdown() < 0 || r;
}
