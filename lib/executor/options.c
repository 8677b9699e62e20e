/* Options of tasks and actors in messages. */
#include "executor/inside.h"

#include <string.h>

char **rayi_env_copy(const char *const *env)
{
    size_t count = 0, size = 0;
    char **copy, *at;

    for (; env[count]; count++)
        size += strlen(env[count]) + 1;
    copy = rayi_alloc((count + 1) * sizeof *copy + size);
    if (!copy)
        return NULL;
    at = (char *)(copy + count + 1);
    for (size_t i = 0; i < count; i++) {
        copy[i] = strcpy(at, env[i]);
        at += strlen(at) + 1;
    }
    copy[count] = NULL;
    return copy;
}

static void put_bool(rayi_writer *writer, bool flag)
{
    rayi_put_u8(writer, flag);
}

static void put_env(rayi_writer *writer, const char *const *env)
{
    uint32_t count = 0;

    while (env && env[count])
        count++;
    rayi_put_u32(writer, env ? count + 1 : 0);
    for (uint32_t i = 0; i < count; i++)
        rayi_put_text(writer, env[i]);
    if (env)
        rayi_put_text(writer, NULL);
}

/* The texts lie in the message. */
static bool take_env(rayi_reader *reader, const char **room, const char *const **out)
{
    uint32_t count = rayi_take_count(reader, sizeof(uint32_t));

    *out = NULL;
    if (count > RAYI_ENV_MAX)
        return false;
    for (uint32_t i = 0; i < count; i++)
        room[i] = rayi_take_text(reader);
    if (count > 0) {
        room[count - 1] = NULL;
        *out = room;
    }
    return !reader->failed;
}

void rayi_exchange_write_task_options(rayi_port *port, rayi_writer *writer, const ray_task_options *o)
{
    rayi_put_u8(writer, o != NULL);
    if (!o)
        return;
    rayi_put_text(writer, o->name);
    rayi_put_text(writer, o->resources);
    rayi_put_text(writer, o->labels);
    rayi_put_text(writer, o->node_id);
    rayi_put_text(writer, o->concurrency_group);
    put_bool(writer, o->node_soft);
    put_bool(writer, o->spread);
    put_bool(writer, o->retry_failures);
    put_bool(writer, o->own_thread);
    rayi_put_u32(writer, o->isolation);
    rayi_put_i64(writer, o->max_retries);
    rayi_put_i64(writer, o->priority);
    rayi_put_u32(writer, o->max_ahead);
    rayi_put_u32(writer, o->bundle);
    rayi_put_i64(writer, o->deadline_ms);
    rayi_put_u64(writer, o->group ? port->name_group(port, o->group) : 0);
    put_env(writer, o->env);
}

static bool take_group(rayi_port *port, rayi_reader *reader, ray_placement_group **out)
{
    uint64_t number = rayi_take_u64(reader);

    *out = number && !reader->failed ? port->group_of(port, number) : NULL;
    return !number || *out;
}

bool rayi_exchange_read_task_options(rayi_port *port, rayi_reader *reader, ray_task_options *o, bool *given,
                                     const char *env[RAYI_ENV_MAX])
{
    *o = (ray_task_options){.size = sizeof *o};
    *given = rayi_take_u8(reader) == 1;
    if (!*given)
        return !reader->failed;
    o->name = rayi_take_text(reader);
    o->resources = rayi_take_text(reader);
    o->labels = rayi_take_text(reader);
    o->node_id = rayi_take_text(reader);
    o->concurrency_group = rayi_take_text(reader);
    o->node_soft = rayi_take_u8(reader) != 0;
    o->spread = rayi_take_u8(reader) != 0;
    o->retry_failures = rayi_take_u8(reader) != 0;
    o->own_thread = rayi_take_u8(reader) != 0;
    o->isolation = (ray_isolation)rayi_take_u32(reader);
    o->max_retries = (int32_t)rayi_take_i64(reader);
    o->priority = (int32_t)rayi_take_i64(reader);
    o->max_ahead = rayi_take_u32(reader);
    o->bundle = rayi_take_u32(reader);
    o->deadline_ms = rayi_take_i64(reader);
    return take_group(port, reader, &o->group) && take_env(reader, env, &o->env);
}

void rayi_exchange_write_actor_options(rayi_port *port, rayi_writer *writer, const ray_actor_options *o)
{
    rayi_put_u8(writer, o != NULL);
    if (!o)
        return;
    rayi_put_text(writer, o->name);
    rayi_put_text(writer, o->resources);
    rayi_put_text(writer, o->labels);
    rayi_put_text(writer, o->node_id);
    rayi_put_text(writer, o->concurrency_groups);
    put_bool(writer, o->node_soft);
    put_bool(writer, o->spread);
    put_bool(writer, o->detached);
    put_bool(writer, o->get_if_exists);
    rayi_put_u32(writer, o->isolation);
    rayi_put_i64(writer, o->max_restarts);
    rayi_put_i64(writer, o->max_task_retries);
    rayi_put_u32(writer, o->max_concurrency);
    rayi_put_u32(writer, o->max_pending_calls);
    rayi_put_u32(writer, o->bundle);
    rayi_put_u64(writer, o->group ? port->name_group(port, o->group) : 0);
    put_env(writer, o->env);
}

bool rayi_exchange_read_actor_options(rayi_port *port, rayi_reader *reader, ray_actor_options *o, bool *given,
                                      const char *env[RAYI_ENV_MAX])
{
    *o = (ray_actor_options){.size = sizeof *o};
    *given = rayi_take_u8(reader) == 1;
    if (!*given)
        return !reader->failed;
    o->name = rayi_take_text(reader);
    o->resources = rayi_take_text(reader);
    o->labels = rayi_take_text(reader);
    o->node_id = rayi_take_text(reader);
    o->concurrency_groups = rayi_take_text(reader);
    o->node_soft = rayi_take_u8(reader) != 0;
    o->spread = rayi_take_u8(reader) != 0;
    o->detached = rayi_take_u8(reader) != 0;
    o->get_if_exists = rayi_take_u8(reader) != 0;
    o->isolation = (ray_isolation)rayi_take_u32(reader);
    o->max_restarts = (int32_t)rayi_take_i64(reader);
    o->max_task_retries = (int32_t)rayi_take_i64(reader);
    o->max_concurrency = rayi_take_u32(reader);
    o->max_pending_calls = rayi_take_u32(reader);
    o->bundle = rayi_take_u32(reader);
    return take_group(port, reader, &o->group) && take_env(reader, env, &o->env);
}
