/* The program that measures libray. */
#include "themes.h"

#include <stdlib.h>
#include <string.h>

void require(int code)
{
    if (code != 0)
        bench_fail("%s: %s", ray_error_name(code), ray_last_error()->message);
}

int64_t take(ray_ref *ref)
{
    int64_t value;
    require(ray_get(ref, &value));
    ray_release(ref);
    return value;
}

int main(int argc, char **argv)
{
    if (getenv("RAY_WORKER_OF")) /* a worker process of this program: it serves and exits in there */
        require(ray_init(NULL));
    if (argc > 1 && strcmp(argv[1], "node") == 0)
        return bench_node(argc, argv);
    if (argc > 1 && strcmp(argv[1], "soak") == 0)
        return bench_soak(argc, argv);
    double seconds = bench_seconds(argc, argv);
    if (bench_run(start_measures, argv[1], seconds) || bench_run(spill_measures, argv[1], seconds) ||
        bench_run(process_measures, argv[1], seconds) || bench_run(remote_measures, argv[1], seconds) ||
        bench_run(fault_measures, argv[1], seconds))
        return 0;
    require(ray_init(NULL));
    if (!bench_run(task_measures, argv[1], seconds) && !bench_run(actor_measures, argv[1], seconds) &&
        !bench_run(object_measures, argv[1], seconds))
        bench_fail("%s: no such measure", argv[1]);
    require(ray_shutdown());
    return 0;
}
