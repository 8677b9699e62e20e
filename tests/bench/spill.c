/* Objects that go to disk and come back: a small store, of which four times as much is put and then read. */
#include "themes.h"

enum { PIECE = 1 << 20, ROOM = 64, ON_DISK = 256 }; /* objects of 1 MiB */

static ray_ref *refs[ROOM + ON_DISK];

static void put(size_t from, size_t to, const void *bytes)
{
    for (size_t i = from; i < to; i++) {
        refs[i] = ray_put(bytes, PIECE);
        require(ray_get(refs[i], NULL));
    }
}

/* Those that were put first are on disk; those that stayed make way, and are written for it, before the clock starts.
 */
static void measure_spill(double seconds)
{
    (void)seconds; /* the disk's is slow enough */
    char directory[256];
    ray_view view;
    void *bytes = bench_memory(PIECE);
    bench_directory(directory, sizeof directory);
    require(ray_init(RAY_WITH(ray_config, .store_bytes = (uint64_t)ROOM * PIECE, .spill_dir = directory)));
    put(0, ROOM, bytes);
    double start = bench_now();
    put(ROOM, ROOM + ON_DISK, bytes);
    bench_emit("spill_gib_s", (double)ON_DISK * PIECE / BENCH_GIB / (bench_now() - start));
    for (size_t i = 0; i < ROOM; i++) { /* the last ones are written */
        require(ray_get(refs[i], &view));
        ray_view_release(&view);
    }
    bench_forget(directory);
    start = bench_now();
    for (size_t i = ROOM; i < ROOM + ON_DISK; i++) {
        require(ray_get(refs[i], &view));
        ray_view_release(&view);
    }
    bench_emit("restore_gib_s", (double)ON_DISK * PIECE / BENCH_GIB / (bench_now() - start));
    for (size_t i = 0; i < ROOM + ON_DISK; i++)
        ray_release(refs[i]);
    require(ray_shutdown());
    bench_remove(directory);
}

const struct bench_measure spill_measures[] = {{"spill", measure_spill}, {NULL, NULL}};
