/* Values that are looked at, or given back, without being read: that needs no memory. The forms are in wire/worker.h.
 */
#include "worker/inside.h"

#include <string.h>

static void walk_holds(rayi_reader *reader, void (*visit)(void *arg, enum rayi_naming what, uint64_t number), void *arg)
{
    for (uint32_t left = rayi_take_count(reader, sizeof(uint64_t)); left > 0; left--)
        visit(arg, RAYI_NAMES_RECORD, rayi_take_u64(reader));
}

static void walk_block(rayi_reader *reader, void (*visit)(void *arg, enum rayi_naming what, uint64_t number), void *arg)
{
    uint64_t number;

    (void)rayi_take_u8(reader);
    number = rayi_take_u64(reader);
    (void)rayi_take_u64(reader);
    walk_holds(reader, visit, arg);
    if (rayi_take_u8(reader)) {
        (void)rayi_take_bytes(reader, 3 * sizeof(uint64_t));
        visit(arg, RAYI_NAMES_OPEN_BLOCK, number);
    }
    visit(arg, RAYI_NAMES_BLOCK, number);
}

static void walk_error(rayi_reader *reader)
{
    (void)rayi_take_bytes(reader, 2 * sizeof(int64_t));
    for (int i = 0; i < 3; i++)
        (void)rayi_take_text(reader);
    (void)rayi_take_bytes(reader, 2 * sizeof(int64_t));
    (void)rayi_take_text(reader);
    (void)rayi_take_bytes(reader, rayi_take_count(reader, 1));
}

bool rayi_walk_value(rayi_reader *reader, void (*visit)(void *arg, enum rayi_naming what, uint64_t number), void *arg)
{
    unsigned form = rayi_take_u8(reader);
    uint64_t number;

    switch (form) {
    case RAYI_FORM_NONE:
        break;
    case RAYI_FORM_NUMBER:
        (void)rayi_take_bytes(reader, 1 + sizeof(uint64_t));
        break;
    case RAYI_FORM_BYTES:
        (void)rayi_take_u8(reader);
        walk_holds(reader, visit, arg);
        (void)rayi_take_bytes(reader, (size_t)rayi_take_count(reader, 1) + 1);
        break;
    case RAYI_FORM_BLOCK:
        walk_block(reader, visit, arg);
        break;
    case RAYI_FORM_REF:
    case RAYI_FORM_AWAITED:
        number = rayi_take_u64(reader);
        if (!reader->failed)
            visit(arg, RAYI_NAMES_RECORD, number);
        break;
    case RAYI_FORM_ACTOR:
        number = rayi_take_u64(reader);
        (void)rayi_take_text(reader);
        (void)rayi_take_text(reader);
        if (!reader->failed)
            visit(arg, RAYI_NAMES_ACTOR, number);
        break;
    case RAYI_FORM_ERROR:
        walk_error(reader);
        break;
    default:
        reader->failed = true;
    }
    return !reader->failed;
}

/* A name that stands for something here keeps the hold until that goes: a RELEASE now would mean that we have forgotten
 * the record, and the node would tell us of it again. */
static void give_back(void *arg, enum rayi_naming what, uint64_t number)
{
    rayi_worker *worker = arg;
    uint64_t message[2] = {number, 1};
    uint32_t type = RAYI_UP_RELEASE;

    switch (what) {
    case RAYI_NAMES_OPEN_BLOCK:
        (void)rayi_worker_send(worker, RAYI_UP_CLOSE, message, sizeof *message, NULL, 0);
        return;
    case RAYI_NAMES_RECORD:
    case RAYI_NAMES_BLOCK:
        if (rayi_name_hold(worker, number, RAYI_SORT_RECORD) || rayi_name_hold(worker, number, RAYI_SORT_BLOCK))
            return;
        break;
    case RAYI_NAMES_ACTOR:
        if (rayi_name_hold(worker, number, RAYI_SORT_ACTOR))
            return;
        type = RAYI_UP_RELEASE_ACTOR;
        break;
    }
    (void)rayi_worker_send(worker, type, message, sizeof message, NULL, 0);
}

void rayi_drop_values(rayi_worker *worker, rayi_reader reader, size_t count)
{
    while (count-- > 0 && rayi_walk_value(&reader, give_back, worker))
        ;
}
