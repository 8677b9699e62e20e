/* Where the object store spills to: a directory of this process in the one that was named, or in a temporary one. It is
 * made when the first object has to go, and removed when the node stops; what killed nodes have left there goes with
 * the first spill or the first worker process of the next one. It is none of the session's: that one may stand in
 * memory, where sockets are welcome and spilled objects are not. */
#include "raylet/inside.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PREFIX      "ray-spill-"
#define CANNOT      "objects cannot be spilled to"
#define TMPFS_MAGIC 0x01021994

/* Memory is what is scarce: a /tmp that is memory is no place to spill to. */
static const char *temporary(void)
{
    const char *names[] = {"RAY_TMPDIR", "TMPDIR"};
    struct statfs status;

    for (size_t i = 0; i < RAYI_COUNT_OF(names); i++) {
        const char *value = getenv(names[i]);
        if (value && *value)
            return value;
    }
    if (statfs("/tmp", &status) == 0 && status.f_type == TMPFS_MAGIC && access("/var/tmp", W_OK | X_OK) == 0)
        return "/var/tmp";
    return "/tmp";
}

int rayi_spill_init(rayi_node *node, const char *base)
{
    struct stat status;

    if (base && *base && stat(base, &status))
        return rayi_fail(RAY_ERR_SYSTEM, "ray_config.spill_dir %s: %s", base, strerror(errno));
    if (base && *base && !S_ISDIR(status.st_mode))
        return rayi_fail(RAY_ERR_SYSTEM, "ray_config.spill_dir %s: %s", base, strerror(ENOTDIR));
    if (base && *base && access(base, W_OK | X_OK))
        return rayi_fail(RAY_ERR_SYSTEM, "ray_config.spill_dir %s: %s", base, strerror(errno));
    node->spill_base = rayi_strdup(base && *base ? base : temporary());
    return node->spill_base ? 0 : rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the node");
}

void rayi_spill_clear(const rayi_node *node)
{
    rayi_folder_clear_dead(node->spill_base, PREFIX);
}

int rayi_spill_directory(void *of, char *out, size_t size)
{
    rayi_node *node = of;
    int r = node->spill ? 0 : rayi_folder_open(node->spill_base, PREFIX, CANNOT, &node->spill);

    if (r == 0 && snprintf(out, size, "%s", rayi_folder_path(node->spill)) >= (int)size)
        r = rayi_fail(RAY_ERR_SYSTEM, CANNOT " %s: %s", node->spill_base, strerror(ENAMETOOLONG));
    return r;
}

void rayi_spill_end(rayi_node *node)
{
    rayi_folder_close(node->spill, NULL);
    node->spill = NULL;
}
