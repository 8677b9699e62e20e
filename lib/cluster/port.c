/* The port of a session: how values name what both ends know (executor/exchange.h). */
#include "cluster/inside.h"

#define NAMED_ACTOR RAYI_YOURS /* among what a port has named, none of which is theirs */

static uint64_t give(rayi_port *of, rayi_record *record, bool as_ref)
{
    rayi_between_port *port = (rayi_between_port *)of;
    uint64_t number = rayi_names_of_stand_in(port->neighbour, record);

    if (number)
        return number | RAYI_YOURS;
    number = rayi_names_give(port->neighbour, record, as_ref);
    if (number)
        rayi_put_u64(&port->named, number);
    return number;
}

static uint64_t name_record(rayi_port *of, rayi_thread *thread, rayi_record *record)
{
    rayi_record *named = record;
    uint64_t number;

    if (record->type == RAYI_FIXED) /* shared by all runtimes: it can't have a number */
        named = rayi_object_failed(thread, rayi_error_plain(-(int)record->size));
    number = named->type == RAYI_FIXED ? 0 : give(of, named, true);
    if (named != record)
        rayi_record_unref(thread, named);
    return number;
}

static uint64_t name_block(rayi_port *of, rayi_thread *thread, rayi_record *object)
{
    (void)thread;
    return give(of, object, false);
}

static uint64_t name_actor(rayi_port *of, rayi_thread *thread, ray_actor *actor)
{
    rayi_between_port *port = (rayi_between_port *)of;
    uint64_t number = rayi_handles_give(port->neighbour, actor);

    (void)thread;
    if (number && !(number & RAYI_YOURS))
        rayi_put_u64(&port->named, number | NAMED_ACTOR);
    return number;
}

static uint64_t name_group(rayi_port *of, ray_placement_group *group)
{
    (void)of, (void)group;
    return 0;
}

static int write_place(rayi_port *of, rayi_thread *thread, rayi_writer *writer, rayi_record *object, bool open)
{
    rayi_neighbour *n = ((rayi_between_port *)of)->neighbour;

    (void)open;
    if (rayi_names_of_stand_in(n, object)) /* their own */
        rayi_put_u8(writer, 0);
    else
        rayi_objects_put_places(n->cluster, writer, object, rayi_record_number(thread, object));
    return 0;
}

static rayi_record *record_of(rayi_port *of, rayi_thread *thread, uint64_t number)
{
    rayi_neighbour *n = ((rayi_between_port *)of)->neighbour;

    (void)thread;
    return number & RAYI_YOURS       ? rayi_names_given(n, number & ~RAYI_YOURS)
           : number & RAYI_BLOCK_KEY ? NULL
                                     : rayi_names_stand_in(n, number);
}

static ray_actor *actor_of(rayi_port *of, rayi_thread *thread, uint64_t number, const char *class, const char *name)
{
    rayi_neighbour *n = ((rayi_between_port *)of)->neighbour;
    ray_actor *own;

    (void)thread;
    if (!(number & RAYI_YOURS))
        return number & RAYI_BLOCK_KEY ? NULL : rayi_handles_find(n, number, class, name);
    own = rayi_handles_given(n, number & ~RAYI_YOURS);
    if (own)
        rayi_actor_retain(own);
    return own;
}

static ray_placement_group *group_of(rayi_port *of, uint64_t number)
{
    (void)of, (void)number;
    return NULL;
}

/* One of ours is known: kind and size must be its own. */
static rayi_record *own_block(rayi_neighbour *n, uint64_t number, unsigned kind, uint64_t size_bytes)
{
    rayi_record *record = rayi_names_given(n, number);

    if (record && record->type == RAYI_OBJECT && rayi_record_done(record) && record->kind == kind &&
        record->size == size_bytes)
        return record;
    if (record)
        rayi_record_unref(n->cluster->node.thread, record);
    return NULL;
}

typedef struct far {
    rayi_wanted *wanted;
    rayi_thread *thread;
    unsigned kind;
    uint64_t size_bytes;
} far;

static rayi_record *make_far(void *arg)
{
    far *f = arg;
    rayi_wanted *wanted = f->wanted;

    f->wanted = NULL;
    return rayi_objects_make(wanted, f->thread, f->kind, f->size_bytes);
}

/* One that has gone round and is ours after all needs no stand-in. */
static rayi_record *their_block(rayi_neighbour *n, uint64_t number, far *f)
{
    rayi_record *object = rayi_objects_own(f->wanted);

    if (object) {
        if (object->kind == f->kind && object->size == f->size_bytes) {
            rayi_names_release(n, number, 1);
            return object;
        }
        rayi_record_unref(f->thread, object);
        return NULL;
    }
    object = rayi_names_borrow(n, number | RAYI_BLOCK_KEY, make_far, f);
    if (object)
        rayi_objects_enter(n->cluster, object);
    if (!object || (object->kind == f->kind && object->size == f->size_bytes))
        return object;
    rayi_record_unref(f->thread, object);
    return NULL;
}

static rayi_record *block_of(rayi_port *of, rayi_thread *thread, uint64_t number, unsigned kind, uint64_t size_bytes,
                             rayi_reader *reader)
{
    rayi_neighbour *n = ((rayi_between_port *)of)->neighbour;
    far f = {.thread = thread, .kind = kind, .size_bytes = size_bytes};
    rayi_record *object;

    if (number & RAYI_YOURS)
        return rayi_take_u8(reader) == 0 && !reader->failed ? own_block(n, number & ~RAYI_YOURS, kind, size_bytes)
                                                            : NULL;
    f.wanted = number & RAYI_BLOCK_KEY ? NULL : rayi_objects_take_places(n->cluster, reader);
    if (!f.wanted)
        return NULL;
    object = their_block(n, number, &f);
    if (f.wanted)
        rayi_objects_drop(f.wanted);
    return object;
}

void rayi_between_port_init(rayi_between_port *port, rayi_neighbour *neighbour)
{
    port->port = (rayi_port){.name_record = name_record,
                             .name_block = name_block,
                             .name_actor = name_actor,
                             .name_group = name_group,
                             .write_place = write_place,
                             .record_of = record_of,
                             .actor_of = actor_of,
                             .group_of = group_of,
                             .block_of = block_of};
    port->neighbour = neighbour;
    rayi_writer_init(&port->named);
}

void rayi_between_port_fini(rayi_between_port *port, bool sent)
{
    rayi_reader named = rayi_reader_of(port->named.data, port->named.size);

    while (!sent && rayi_reader_left(&named) > 0) {
        uint64_t number = rayi_take_u64(&named);
        if (number & NAMED_ACTOR)
            rayi_handles_take_back(port->neighbour, number & ~NAMED_ACTOR, 1);
        else
            (void)rayi_names_take_back(port->neighbour, number, 1);
    }
    rayi_writer_fini(&port->named);
}
