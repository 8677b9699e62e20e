/* exchange: what records hold, as bytes of a message, and back. Part of the door executor/executor.h.
 *
 * Both ends of a way between processes use it: the node and its workers. What they know of each other's records is
 * behind a port. Reading never trusts: what does not parse, or names what the sender does not hold, is false. */
#ifndef RAYI_EXECUTOR_EXCHANGE_H
#define RAYI_EXECUTOR_EXCHANGE_H

#include "wire/wire.h"

#include <ray/ray.h>

typedef struct ray_later ray_later;

/* What a run left behind, or what a done record holds. */
typedef struct rayi_result {
    rayi_error *error;
    uint8_t kind;
    size_t size;
    unsigned char bytes[16]; /* as in a record's content; of kinds that are bytes: the object's record, counted */
    bool exits;
    uint8_t again;    /* enum rayi_again */
    ray_later *later; /* of a run: it has returned, and the rest comes later */
} rayi_result;

typedef struct rayi_port rayi_port;
struct rayi_port {
    /* Reading: what an object of the store holds is known here already; a message cannot add to it. */
    bool knows_holds;
    /* Writing. The other side is to know this record, actor or group by a number; 0: no memory. */
    uint64_t (*name_record)(rayi_port *port, rayi_thread *thread, rayi_record *record);
    /* The same of an object of the store, of which the message tells all: no more need be said when it is done. */
    uint64_t (*name_block)(rayi_port *port, rayi_thread *thread, rayi_record *object);
    uint64_t (*name_actor)(rayi_port *port, rayi_thread *thread, ray_actor *actor);
    uint64_t (*name_group)(rayi_port *port, ray_placement_group *group);
    /* Behind the number of an object that is no bytes on the heap: u8 open and, if it is to be opened, the place.
     * 0, or the last error's code. */
    int (*write_place)(rayi_port *port, rayi_thread *thread, rayi_writer *writer, rayi_record *object, bool open);
    /* NULL, or: a message has bounds, so arguments of many bytes become objects that go as AWAITED; such an object is
     * kept (its count is taken) until the message is sent. False: no memory. */
    bool (*keep)(rayi_port *port, rayi_thread *thread, rayi_record *object);
    /* Reading: counted; NULL: the sender does not hold it (or no memory). */
    rayi_record *(*record_of)(rayi_port *port, rayi_thread *thread, uint64_t number);
    ray_actor *(*actor_of)(rayi_port *port, rayi_thread *thread, uint64_t number, const char *class, const char *name);
    ray_placement_group *(*group_of)(rayi_port *port, uint64_t number); /* not counted: it lasts as long as the port */
    /* An object of the store: reads what write_place wrote. */
    rayi_record *(*block_of)(rayi_port *port, rayi_thread *thread, uint64_t number, unsigned kind, uint64_t size_bytes,
                             rayi_reader *reader);
};

void rayi_result_drop(rayi_thread *thread, rayi_result *result);

/* Writes a value; open: an object of the store is pinned for the receiver. 0, or the last error's code. */
int rayi_exchange_write(rayi_port *port, rayi_thread *thread, rayi_writer *writer, const rayi_result *content,
                        bool open);
void rayi_exchange_write_error(rayi_writer *writer, const rayi_error *error);
/* Reads a value; AWAITED is none. False: rubbish. What it counts is the caller's (rayi_result_drop). */
bool rayi_exchange_read(rayi_port *port, rayi_thread *thread, rayi_reader *reader, rayi_result *out);
/* The content of a done record; borrowed: nothing is counted. */
rayi_result rayi_record_content(rayi_record *record);

/* The arguments of a task. resolved: refs to be awaited are done, and go as their values, opened; else as AWAITED. */
int rayi_exchange_write_args(rayi_port *port, rayi_thread *thread, rayi_writer *writer, const rayi_task *task,
                             bool resolved);
typedef struct rayi_args {
    ray_value *values; /* for rayi_task_new and the like, which copy or count */
    void *block;
    size_t count;
    ray_value few[8];
    struct rayi_arg_room {
        uint64_t number;
        ray_view view;
        rayi_record *record; /* counted */
        ray_actor *actor;    /* counted */
        ray_value inner;
    } few_rooms[8], *rooms;
} rayi_args;
bool rayi_exchange_read_args(rayi_port *port, rayi_thread *thread, rayi_reader *reader, size_t count, rayi_args *out);
void rayi_args_drop(rayi_thread *thread, rayi_args *args);

/* Options: the texts that are read point into the message, out->env is env. */
#define RAYI_ENV_MAX 512 /* environment variables of a task, one place more than there may be */
void rayi_exchange_write_task_options(rayi_port *port, rayi_writer *writer, const ray_task_options *options);
/* *given: there were some. */
bool rayi_exchange_read_task_options(rayi_port *port, rayi_reader *reader, ray_task_options *out, bool *given,
                                     const char *env[RAYI_ENV_MAX]);
void rayi_exchange_write_actor_options(rayi_port *port, rayi_writer *writer, const ray_actor_options *options);
bool rayi_exchange_read_actor_options(rayi_port *port, rayi_reader *reader, ray_actor_options *out, bool *given,
                                      const char *env[RAYI_ENV_MAX]);

#endif
