/* Concurrency groups: the further queues of an actor. Each is a mailbox of its own, so calls of one group wait for
 * calls of the same group only; all are one actor: one life, one state, one order of events. */
#include "executor/actor.h"

#include <ctype.h>
#include <string.h>

#define GROUPS_MAX 255
#define WIDTH_MAX  65535
#define AWAY_USUAL 512  /* calls in the worker process, started or not */
#define AWAY_MOST  1000 /* of an actor that runs many at once */

/* One "NAME=NUMBER" of the text; false: it is none. */
static bool read_group(const char **at, const char **name, size_t *name_size, uint32_t *width)
{
    const char *p = *at + strspn(*at, " \t");
    uint64_t number = 0;

    *name = p;
    while (isalnum((unsigned char)*p) || *p == '_' || *p == '-' || *p == '.')
        p++;
    *name_size = (size_t)(p - *name);
    p += strspn(p, " \t");
    if (*name_size == 0 || *p++ != '=')
        return false;
    p += strspn(p, " \t");
    if (!isdigit((unsigned char)*p))
        return false;
    for (; isdigit((unsigned char)*p) && number <= WIDTH_MAX; p++)
        number = number * 10 + (uint64_t)(*p - '0');
    p += strspn(p, " \t");
    *width = (uint32_t)number;
    *at = p;
    return number >= 1 && number <= WIDTH_MAX;
}

static bool is_named(const rayi_actor_group *group, const char *name, size_t size)
{
    return strlen(group->name) == size && memcmp(group->name, name, size) == 0;
}

/* groups NULL: only counts and checks. names has as many bytes as the text. */
static int read_groups(const char *class, const char *text, rayi_actor_group *groups, char *names, uint32_t *count)
{
    const char *at = text, *name;
    uint32_t width;
    size_t size;

    for (*count = 0; at[strspn(at, " \t")]; ++*count) {
        if (*count == GROUPS_MAX)
            return rayi_fail(RAY_ERR_ARGUMENT, "%s: .concurrency_groups has at most %d groups", class, GROUPS_MAX);
        if ((*count > 0 && *at++ != ',') || !read_group(&at, &name, &size, &width))
            return rayi_fail(RAY_ERR_ARGUMENT,
                             "%s: .concurrency_groups: expected \"NAME=CALLS, ...\" with 1 to %d calls at once, got "
                             "\"%s\"",
                             class, WIDTH_MAX, text);
        if (!groups)
            continue;
        for (uint32_t i = 0; i < *count; i++)
            if (is_named(&groups[i], name, size))
                return rayi_fail(RAY_ERR_ARGUMENT, "%s: .concurrency_groups: two groups have the name %s", class,
                                 groups[i].name);
        groups[*count].name = memcpy(names, name, size);
        groups[*count].concurrency = width;
        names[size] = 0;
        names += size + 1;
    }
    return 0;
}

static uint64_t calls_at_once(const ray_actor *actor)
{
    uint64_t all = actor->max_concurrency;

    for (uint32_t i = 0; i < actor->num_groups; i++)
        all += actor->groups[i].concurrency;
    return all;
}

uint32_t rayi_actor_calls_away(const ray_actor *actor)
{
    return actor->afar || calls_at_once(actor) > AWAY_USUAL / 2 ? AWAY_MOST : AWAY_USUAL;
}

/* Each queue has its share of that, so that calls which wait for those of another group leave room: what it runs at
 * once, as far as that goes, and an equal part of the rest. */
static uint32_t share_of(const ray_actor *actor, uint32_t concurrency)
{
    uint64_t all = calls_at_once(actor), room = rayi_actor_calls_away(actor);

    if (all < room)
        return (uint32_t)(concurrency + (room - all) / (actor->num_groups + 1));
    return (uint32_t)RAYI_MAX(1, concurrency * (room - actor->num_groups) / all);
}

/* The mailboxes are made last: before that there is nothing to undo in the groups. */
int rayi_actor_make_groups(ray_actor *actor, const char *text)
{
    rayi_actor_group *groups;
    uint32_t count;
    void *block;
    int r = text ? read_groups(actor->class->name, text, NULL, NULL, &count) : 0;

    if (r < 0 || !text || count == 0)
        return r;
    block = rayi_zalloc(count * sizeof *groups + strlen(text) + 1 + 64);
    if (!block)
        return rayi_error_set_last(rayi_error_no_memory("the groups of an actor"));
    groups = (rayi_actor_group *)(((uintptr_t)block + 63) & ~(uintptr_t)63);
    r = read_groups(actor->class->name, text, groups, (char *)(groups + count), &count);
    if (r < 0) {
        rayi_free(block);
        return r;
    }
    for (uint32_t i = 0; i < count; i++)
        (void)rayi_mailbox_init_further(&groups[i].mailbox, &actor->mailbox);
    actor->groups = groups;
    actor->num_groups = count;
    actor->groups_block = block;
    actor->share = share_of(actor, actor->max_concurrency);
    for (uint32_t i = 0; i < count; i++)
        groups[i].share = share_of(actor, groups[i].concurrency);
    return 0;
}

void rayi_actor_free_groups(ray_actor *actor)
{
    for (uint32_t i = 0; i < actor->num_groups; i++)
        rayi_mailbox_fini(&actor->groups[i].mailbox);
    rayi_free(actor->groups_block);
}

int rayi_actor_find_group(const ray_actor *actor, const rayi_function *method, const char *name, uint32_t *out)
{
    *out = 0;
    if (!name)
        return 0;
    for (uint32_t i = 0; i < actor->num_groups; i++)
        if (strcmp(actor->groups[i].name, name) == 0)
            *out = i + 1;
    if (*out)
        return 0;
    return rayi_fail(RAY_ERR_ARGUMENT, "%s: its actor has no concurrency group \"%s\": name it in .concurrency_groups",
                     method->name, name);
}

uint32_t rayi_call_group(const rayi_task *call)
{
    const rayi_extra *extra = rayi_extra_if(&call->head);

    return extra ? extra->group : 0;
}

const char *rayi_actor_group_name(const ray_actor *actor, uint32_t index)
{
    return actor->groups[index].name;
}

uint32_t rayi_actor_num_groups(const ray_actor *actor)
{
    return actor->num_groups;
}

uint32_t rayi_actor_group_concurrency(const ray_actor *actor, uint32_t index)
{
    return actor->groups[index].concurrency;
}

/* ---- what is in the worker process ---- */

static atomic_uint *away(ray_actor *actor, const rayi_mailbox *mailbox)
{
    return mailbox == &actor->mailbox ? &actor->num_away_ungrouped : &((rayi_actor_group *)(void *)mailbox)->num_away;
}

static uint32_t share(const ray_actor *actor, const rayi_mailbox *mailbox)
{
    return mailbox == &actor->mailbox ? actor->share : ((const rayi_actor_group *)(const void *)mailbox)->share;
}

bool rayi_actor_may_send(ray_actor *actor, const rayi_mailbox *mailbox)
{
    return actor->num_groups == 0 || atomic_load(away(actor, mailbox)) < share(actor, mailbox);
}

void rayi_actor_sent(ray_actor *actor, const rayi_mailbox *mailbox)
{
    if (actor->num_groups > 0)
        atomic_fetch_add(away(actor, mailbox), 1);
}

bool rayi_actor_came_back(ray_actor *actor, const rayi_mailbox *mailbox)
{
    bool half = actor->num_groups > 0 && atomic_fetch_sub(away(actor, mailbox), 1) == share(actor, mailbox) / 2 + 1;

    atomic_fetch_sub(&actor->num_away, 1);
    return half;
}
