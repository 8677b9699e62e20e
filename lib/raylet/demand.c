/* What is waited for: rows of one node, or of several added up by what they ask for. */
#include "raylet/inside.h"

#include <string.h>

void rayi_demands_fini(rayi_demands *demands)
{
    const rayi_memory *memory = rayi_heap;
    rayi_demand *d, *next;

    HASH_ITER (hh, demands->first, d, next) {
        HASH_DEL(demands->first, d);
        rayi_free(d);
    }
}

/* What tells a row from others. */
typedef struct asked {
    const char *resources, *labels, *function;
} asked;

static size_t put_text(char *to, const char *text)
{
    size_t size = strlen(text) + 1;

    memcpy(to, text, size);
    return size;
}

/* The row of what asks for this, made if there is none; NULL: no memory. */
static rayi_demand *add(rayi_demands *demands, const asked *what)
{
    const rayi_memory *memory = rayi_heap;
    size_t size = strlen(what->resources) + strlen(what->labels) + strlen(what->function) + 3;
    rayi_demand *d = rayi_zalloc(sizeof *d + size), *there = NULL;

    if (d) {
        d->resources = (char *)(d + 1);
        d->labels = d->resources + put_text(d->resources, what->resources);
        d->function = d->labels + put_text(d->labels, what->labels);
        put_text(d->function, what->function);
        HASH_FIND(hh, demands->first, d->resources, size, there);
    }
    if (d && !there) {
        HASH_ADD_KEYPTR(hh, demands->first, d->resources, size, d);
        if (d->hh.tbl)
            return d;
    }
    rayi_free(d);
    demands->failed |= !there;
    return there;
}

static void count(rayi_demands *demands, const asked *what, uint64_t how_many, int64_t waited_ms, bool infeasible)
{
    rayi_demand *d = add(demands, what);

    if (!d)
        return;
    d->count += how_many;
    d->waited_ms = RAYI_MAX(d->waited_ms, waited_ms);
    d->infeasible |= infeasible;
}

static void count_waiting(void *arg, const rayi_scheduler_demand_row *row)
{
    const asked what = {row->resources ? row->resources : "", row->labels ? row->labels : "", ""};

    count(arg, &what, row->count, row->waited_ms, row->infeasible);
}

static void count_planned(void *arg, const rayi_planner_demand_row *row)
{
    const asked what = {row->resources, row->labels,
                        row->lacks_function && row->function_name ? row->function_name : ""};

    count(arg, &what, row->count, row->waited_ms, row->infeasible);
}

void rayi_demands_of(rayi_node *node, rayi_demands *out)
{
    rayi_scheduler_demand(node->scheduler, count_waiting, out);
    if (node->planner)
        rayi_planner_demand(node->planner, count_planned, out);
}

/* ---- as a message: texts resources, labels, function; u64 count, i64 waited_ms, u8 infeasible; of each ---- */

void rayi_demands_put(const rayi_demands *demands, rayi_writer *writer)
{
    for (const rayi_demand *d = demands->first; d; d = d->hh.next) {
        rayi_put_text(writer, d->resources);
        rayi_put_text(writer, d->labels);
        rayi_put_text(writer, d->function);
        rayi_put_u64(writer, d->count);
        rayi_put_i64(writer, d->waited_ms);
        rayi_put_u8(writer, d->infeasible);
    }
    writer->failed |= demands->failed;
}

bool rayi_demands_take(rayi_demands *demands, rayi_reader *reader)
{
    while (rayi_reader_left(reader) > 0 && !reader->failed) {
        const char *resources = rayi_take_text(reader), *labels = rayi_take_text(reader);
        const char *function = rayi_take_text(reader);
        uint64_t how_many = rayi_take_u64(reader);
        int64_t waited_ms = rayi_take_i64(reader);
        uint8_t infeasible = rayi_take_u8(reader);
        if (reader->failed || !resources || !labels || !function || how_many > UINT32_MAX || waited_ms < 0)
            return false;
        count(demands, &(asked){resources, labels, function}, how_many, waited_ms, infeasible != 0);
    }
    return !reader->failed;
}
