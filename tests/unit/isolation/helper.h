/* What the tests of isolation share: a node with a program of its own, and the words of a worker that is played. */
#ifndef HELPER_H
#define HELPER_H

#include "played.h"

#include <criterion/criterion.h>

RAY_REMOTE_DECLARE(int64_t, twice, (int64_t, x));
RAY_REMOTE_DECLARE(int64_t, size_of, (ray_view, bytes));
RAY_REMOTE_DECLARE(int64_t, of_ref, (ray_ref *, ref));
RAY_REMOTE_DECLARE(int64_t, once_more, (int64_t, x)); /* max_calls is 2 */
typedef struct cell {
    int64_t n;
} cell;
RAY_ACTOR_DECLARE(cell, (int64_t, n));
RAY_METHOD_DECLARE(cell, int64_t, add, (int64_t, n));

extern const ray_task_options once; /* never tried again */

/* A node of so many worker processes; the first of them is there and has said nothing. stop: nothing of its heap is
 * left. */
void start(uint32_t max_workers);
void start_with_store(uint32_t max_workers, uint64_t store_bytes);
void stop(void);
rayi_guest *guest_at(uint32_t index); /* which must be there */
rayi_guest *ready(uint32_t index);    /* which says READY now */

/* ---- what the node has ---- */

uint32_t num_offers(rayi_guest *guest);
uint32_t nth_offer(rayi_guest *guest, uint32_t n); /* its slot, in the order of offering */
rayi_task *task_at(rayi_guest *guest, uint32_t slot);
rayi_entry *entry_of(rayi_guest *guest, uint64_t number); /* NULL: none */
uint64_t holds_of(rayi_guest *guest, uint64_t number);    /* 0: none */
int64_t free_slots(void);                                 /* of the lane */
/* The offers in the table, in its list and in its counts are the same ones. */
void check_counts(rayi_guest *guest);
void expect_int(ray_ref *ref, int64_t number); /* done; released */
void expect_code(ray_ref *ref, int code);

/* ---- what the worker says; the node has done all that follows when these return ---- */

void say(rayi_guest *guest, uint32_t type, const rayi_writer *writer); /* which is finished */
/* The same, and it must be ended for it, once; it lives on. */
void say_rubbish(rayi_guest *guest, uint32_t type, rayi_writer *writer);
void say_well(rayi_guest *guest, uint32_t type, rayi_writer *writer);
typedef void (*sayer)(rayi_guest *guest, uint32_t type, rayi_writer *writer);

void take(rayi_guest *guest, uint32_t slot); /* the offer there */
void result(rayi_guest *guest, uint32_t slot, uint32_t generation, int64_t number, sayer how);
void finish(rayi_guest *guest, uint32_t slot, int64_t number); /* takes it, and says its result */
void blocked(rayi_guest *guest, uint32_t slot, uint64_t number, sayer how);
void resumed(rayi_guest *guest, uint32_t slot, sayer how);
void release(rayi_guest *guest, uint32_t type, uint64_t number, uint64_t holds, sayer how);
void put(rayi_guest *guest, uint64_t number, const char *text, sayer how);
void seal(rayi_guest *guest, uint64_t number, uint64_t size, uint64_t held, sayer how); /* held 0: nothing */
void number_alone(rayi_guest *guest, uint32_t type, uint64_t number, sayer how);
/* A request; the writer has what follows its head. */
void ask(rayi_guest *guest, uint32_t op, rayi_writer *writer, sayer how);
void create(rayi_guest *guest, uint64_t number, uint64_t size, sayer how);
void ask_number(rayi_guest *guest, uint32_t op, uint64_t number, sayer how);
void ask_open(rayi_guest *guest, uint64_t number, sayer how); /* waiting for what is lost */

/* The last message of this type that the node has sent the guest, from its first byte; false: none since last asked. */
bool told(rayi_guest *guest, uint32_t type, rayi_reader *out);

#endif
