/* Stocks: what the node, or a bundle, has left. GPUs are more than their sum: 0.5 is half of one GPU, 2 are two whole
 * ones, so each has its own account. A fraction goes to the fullest GPU that has room, to keep others whole. */
#include "scheduler/inside.h"

size_t rayi_stock_size(const rayi_scheduler *scheduler)
{
    return 2 * (scheduler->kind_count + (size_t)scheduler->gpu_count) * sizeof(int64_t);
}

void rayi_stock_init(const rayi_scheduler *scheduler, rayi_stock *stock, void *arrays)
{
    memset(arrays, 0, rayi_stock_size(scheduler));
    stock->available = arrays;
    stock->reserved = stock->available + scheduler->kind_count;
    stock->gpu_free = stock->reserved + scheduler->kind_count;
    stock->gpu_reserved = stock->gpu_free + scheduler->gpu_count;
    stock->draining = false;
}

static int64_t usable(const rayi_stock *stock, uint32_t kind)
{
    return stock->available[kind] - stock->reserved[kind];
}

/* The GPU to take `amount`, at most 1, from; UINT32_MAX: none. */
static uint32_t best_gpu(const rayi_scheduler *scheduler, const rayi_stock *stock, int64_t amount)
{
    uint32_t best = UINT32_MAX;
    int64_t best_left = INT64_MAX;
    for (uint32_t i = 0; i < scheduler->gpu_count; i++) {
        int64_t left = stock->gpu_free[i] - stock->gpu_reserved[i];
        if (left < amount || left >= best_left)
            continue;
        best = i;
        best_left = left;
    }
    return best;
}

static uint64_t gpu_room(const rayi_scheduler *scheduler, const rayi_stock *stock, const rayi_shape *shape)
{
    int64_t each = RAYI_MIN(shape->gpu, RAYI_RESOURCE_UNIT);
    uint64_t places = 0;
    for (uint32_t i = 0; i < scheduler->gpu_count; i++)
        places += (uint64_t)RAYI_MAX(0, (stock->gpu_free[i] - stock->gpu_reserved[i]) / each);
    return places / RAYI_MAX(1, shape->gpu_places);
}

uint64_t rayi_stock_room(const rayi_scheduler *scheduler, const rayi_stock *stock, const rayi_shape *shape,
                         uint64_t most)
{
    for (uint32_t i = 0; i < shape->count; i++) {
        int64_t left = RAYI_MAX(0, usable(stock, shape->items[i].kind));
        most = RAYI_MIN(most, (uint64_t)(left / shape->items[i].amount));
    }
    if (shape->gpu && most)
        most = RAYI_MIN(most, gpu_room(scheduler, stock, shape));
    return most;
}

bool rayi_stock_fits_but_cpu(const rayi_scheduler *scheduler, const rayi_stock *stock, const rayi_shape *shape)
{
    return rayi_stock_room(scheduler, stock, shape, 1) == 1;
}

bool rayi_stock_fits(const rayi_scheduler *scheduler, const rayi_stock *stock, const rayi_shape *shape)
{
    /* Who asks for no CPU is not held up by one that is overdrawn. */
    return (shape->cpu == 0 || usable(stock, RAYI_CPU) >= shape->cpu) &&
           rayi_stock_fits_but_cpu(scheduler, stock, shape);
}

void rayi_stock_take(const rayi_scheduler *scheduler, rayi_stock *stock, const rayi_shape *shape, uint16_t *gpus)
{
    stock->available[RAYI_CPU] -= shape->cpu;
    stock->available[RAYI_GPU] -= shape->gpu;
    for (uint32_t i = 0; i < shape->count; i++)
        stock->available[shape->items[i].kind] -= shape->items[i].amount;
    int64_t each = RAYI_MIN(shape->gpu, RAYI_RESOURCE_UNIT);
    for (uint32_t i = 0; i < shape->gpu_places; i++) {
        uint32_t gpu = best_gpu(scheduler, stock, each);
        RAYI_ASSERT(gpu != UINT32_MAX);
        stock->gpu_free[gpu] -= each;
        gpus[i] = (uint16_t)gpu;
    }
}

void rayi_stock_give(const rayi_scheduler *scheduler, rayi_stock *stock, const rayi_shape *shape, const uint16_t *gpus)
{
    (void)scheduler;
    stock->available[RAYI_CPU] += shape->cpu;
    stock->available[RAYI_GPU] += shape->gpu;
    for (uint32_t i = 0; i < shape->count; i++)
        stock->available[shape->items[i].kind] += shape->items[i].amount;
    for (uint32_t i = 0; i < shape->gpu_places; i++)
        stock->gpu_free[gpus[i]] += RAYI_MIN(shape->gpu, RAYI_RESOURCE_UNIT);
}

/* The GPUs it would get, or, while there are too few, all of them. */
static void reserve_gpus(const rayi_scheduler *scheduler, rayi_stock *stock, const rayi_shape *shape)
{
    int64_t each = RAYI_MIN(shape->gpu, RAYI_RESOURCE_UNIT);
    for (uint32_t i = 0; i < shape->gpu_places; i++) {
        uint32_t gpu = best_gpu(scheduler, stock, each);
        if (gpu == UINT32_MAX) {
            memcpy(stock->gpu_reserved, stock->gpu_free, scheduler->gpu_count * sizeof(int64_t));
            return;
        }
        stock->gpu_reserved[gpu] += each;
    }
}

void rayi_stock_reserve(const rayi_scheduler *scheduler, rayi_stock *stock, const rayi_shape *shape, bool cpu)
{
    RAYI_ASSERT(!stock->draining);
    stock->draining = true;
    if (cpu)
        stock->reserved[RAYI_CPU] = shape->cpu;
    for (uint32_t i = 0; i < shape->count; i++)
        stock->reserved[shape->items[i].kind] = shape->items[i].amount;
    reserve_gpus(scheduler, stock, shape);
}

void rayi_stock_unreserve(const rayi_scheduler *scheduler, rayi_stock *stock)
{
    memset(stock->reserved, 0, scheduler->kind_count * sizeof(int64_t));
    memset(stock->gpu_reserved, 0, scheduler->gpu_count * sizeof(int64_t));
    stock->draining = false;
}

void rayi_stock_note_lasting(rayi_scheduler *scheduler, const rayi_shape *shape, int sign)
{
    scheduler->lasting[RAYI_CPU] += sign * shape->cpu;
    scheduler->lasting[RAYI_GPU] += sign * shape->gpu;
    for (uint32_t i = 0; i < shape->count; i++)
        scheduler->lasting[shape->items[i].kind] += sign * shape->items[i].amount;
}

static bool could_have(const rayi_scheduler *scheduler, uint32_t kind, int64_t amount)
{
    return scheduler->totals[kind] - scheduler->lasting[kind] >= amount;
}

bool rayi_stock_could_have(const rayi_scheduler *scheduler, const rayi_shape *shape)
{
    for (uint32_t i = 0; i < shape->count; i++)
        if (!could_have(scheduler, shape->items[i].kind, shape->items[i].amount))
            return false;
    return could_have(scheduler, RAYI_CPU, shape->cpu) && could_have(scheduler, RAYI_GPU, shape->gpu);
}

void rayi_stock_merge(const rayi_scheduler *scheduler, rayi_stock *to, rayi_stock *from)
{
    for (uint32_t i = 0; i < scheduler->kind_count; i++) {
        to->available[i] += from->available[i];
        from->available[i] = 0;
    }
    for (uint32_t i = 0; i < scheduler->gpu_count; i++) {
        to->gpu_free[i] += from->gpu_free[i];
        from->gpu_free[i] = 0;
    }
}
