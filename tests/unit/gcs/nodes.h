/* Nodes for the tests of members.h and membership.h. */
#ifndef TEST_NODES_H
#define TEST_NODES_H

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../scheduler/counted.h"
#include "gcs/gcs.h"

static const rayi_cluster_id our_cluster = {{0xc1}};

static inline rayi_node_id id_of(uint32_t number)
{
    rayi_node_id id = {{0}};
    memcpy(id.bytes, &number, sizeof number);
    return id;
}

static inline rayi_node_key key_of(uint32_t number)
{
    rayi_node_key key = {{0x4e}};
    memcpy(key.bytes + 1, &number, sizeof number);
    return key;
}

static inline uint32_t number_of(const rayi_node_id *id)
{
    uint32_t number;
    memcpy(&number, id->bytes, sizeof number);
    return number;
}

/* What node `number` says of itself: 4 CPUs, and a disk on every other one. */
static inline rayi_member node_of(uint32_t number)
{
    static const rayi_member_resource resources[] = {{"CPU", 40000, 40000}, {"disk", 10000, 10000}};
    return (rayi_member){.id = id_of(number),
                         .key = key_of(number),
                         .life = 1000 + number,
                         .host = number,
                         .pid = 100 + number,
                         .address = "host:1",
                         .labels = number % 3 ? "" : "zone=eu",
                         .resources = resources,
                         .resource_count = 1 + number % 2};
}

static inline rayi_member_message join_of(const rayi_member *node, int64_t asked_ms)
{
    return (rayi_member_message){.what = RAYI_MEMBER_JOIN,
                                 .as.join = {.protocol = RAYI_MEMBERS_PROTOCOL, .asked_ms = asked_ms, .node = *node}};
}

static inline void tell_member(void *arg, const rayi_member *m)
{
    rayi_text_printf(arg, "%" PRIu32 ".%" PRIu64 " %s%s%s%s load %" PRIu32, number_of(&m->id), m->incarnation,
                     rayi_node_state_name(m->state), m->flags & RAYI_MEMBER_HEAD ? " head" : "",
                     m->flags & RAYI_MEMBER_DRIVER ? " driver" : "", m->flags & RAYI_MEMBER_DRAINED ? " drained" : "",
                     m->load);
    rayi_text_printf(arg, " %s [%s] key %d life %" PRIu64 " host %" PRIu64 " pid %" PRId64,
                     m->address ? m->address : "-", m->labels, m->key.bytes[1], m->life, m->host, m->pid);
    if (m->cause)
        rayi_text_printf(arg, " (%s)", rayi_death_text(m->cause));
    for (uint32_t i = 0; i < m->resource_count; i++)
        rayi_text_printf(arg, " %s %" PRId64 "/%" PRId64, m->resources[i].name, m->resources[i].available,
                         m->resources[i].total);
    rayi_text_add(arg, "\n");
}

static int compare_members(const void *a, const void *b)
{
    return memcmp(&(*(const rayi_member *const *)a)->id, &(*(const rayi_member *const *)b)->id, sizeof(rayi_node_id));
}

typedef struct member_list {
    const rayi_member *items[10000];
    size_t count;
} member_list;

static inline void list_member(void *arg, const rayi_member *m)
{
    member_list *list = arg;
    list->items[list->count++] = m;
}

/* All that a roster says, in order of ids. */
static inline void tell_roster(const rayi_roster *roster, rayi_text *out)
{
    static member_list list;
    list.count = 0;
    rayi_roster_each(roster, list_member, &list);
    qsort(list.items, list.count, sizeof *list.items, compare_members);
    rayi_text_init(out, rayi_heap);
    rayi_text_add(out, ".\n");
    for (size_t i = 0; i < list.count; i++)
        tell_member(out, list.items[i]);
}

/* Does fn abort? Tried in a process of its own. */
static inline bool aborts(void (*fn)(int a, int b), int a, int b)
{
    pid_t pid = fork();
    int status;
    if (pid == 0) {
        fn(a, b);
        _exit(0);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

#endif
