/* Placement groups that several nodes know. Each has one owner, whose brain places its bundles: the node that has made
 * it, or, if it is detached, the head, which is asked to make it and lasts as long as the cluster. Others borrow it.
 *
 *   by name     the head's table leads to the owner, and the group's number there (called.c)
 *   from inside the part in which a task runs has the same two
 *   GROUP_GET   the owner describes it: what it is, which never changes
 *   WATCH       and tells from then on what changes: where its bundles are, and its end (wide.c has them)
 *
 * A borrower decides itself which bundle a task goes to, and sends it straight to the node that keeps the bundle, with
 * the owner's name. What it knows may be old: then that node refuses the task, and it waits for the owner's next word,
 * which is on its way. A part is kept before anybody hears of it, so who hears of one finds it, unless it is gone
 * again.
 *
 * The owner's word cannot be lost: it is owed until the session has it, and only what is now is told. If the owner
 * dies, its groups end for all who know them; nodes that keep parts of them let go of these for the same reason.
 *
 * A name belongs to a group from the head's answer until its end is told to the head, which the owner does before it
 * says to anybody that it is removed: the session keeps the order. Nothing is reserved for a group before it has its
 * name. */
#include "raylet/inside.h"

#include <string.h>

#define TOLD_AGAIN_MS 20 /* what could not be said for want of memory */

typedef struct rayi_watcher {
    struct rayi_watcher *next;
    rayi_node_id by;
    uint64_t group;
    int code;     /* below 0: it has ended; with that word the watcher goes */
    bool is_owed; /* something has changed since it was told */
} rayi_watcher;

static bool is_same_node(const rayi_node_id *a, const rayi_node_id *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static ray_placement_group *find_own(const rayi_node *node, uint64_t number)
{
    ray_placement_group *group = node->groups;

    while (group && (group->is_borrowed || group->number != number))
        group = group->next;
    return group;
}

static ray_placement_group *find_borrowed(const rayi_node *node, const rayi_node_id *owner, uint64_t number)
{
    ray_placement_group *group = node->groups;

    while (group && !(group->is_borrowed && group->known_as == number && is_same_node(&group->owner, owner)))
        group = group->next;
    return group;
}

/* ---- the owner: news ---- */

static void owe(rayi_node *node, rayi_watcher *watcher)
{
    watcher->is_owed = node->owes_news = true;
    rayi_node_stir(node);
}

static void note(rayi_node *node, const ray_placement_group *group, int code)
{
    for (rayi_watcher *w = group->is_borrowed ? NULL : node->watchers; w; w = w->next)
        if (w->group == group->number && w->code == 0) {
            w->code = code;
            owe(node, w);
        }
}

void rayi_shared_changed(rayi_node *node, const ray_placement_group *group)
{
    note(node, group, 0);
}

void rayi_shared_ended(rayi_node *node, const ray_placement_group *group)
{
    note(node, group, RAY_ERR_GROUP_REMOVED);
}

void rayi_shared_watched(void *of, const rayi_node_id *by, uint64_t number)
{
    rayi_node *node = of;
    rayi_watcher *watcher = node->watchers;

    while (watcher && !(watcher->group == number && is_same_node(&watcher->by, by)))
        watcher = watcher->next;
    if (!watcher) {
        watcher = rayi_zalloc(sizeof *watcher);
        if (!watcher) { /* then it is not to wait for news that never come */
            (void)rayi_groups_tell(node->cluster, by, &(rayi_group_news){.group = number, .code = RAY_ERR_NO_MEMORY});
            return;
        }
        watcher->by = *by;
        watcher->group = number;
        watcher->code = find_own(node, number) ? 0 : RAY_ERR_GROUP_REMOVED;
        watcher->next = node->watchers;
        node->watchers = watcher;
    }
    owe(node, watcher);
}

static bool tell(rayi_node *node, const rayi_watcher *watcher)
{
    const rayi_group_news ended = {.group = watcher->group, .code = watcher->code};

    return watcher->code ? rayi_groups_tell(node->cluster, &watcher->by, &ended)
                         : rayi_wide_news(node, find_own(node, watcher->group), &watcher->by);
}

static void drop(rayi_watcher **at)
{
    rayi_watcher *watcher = *at;

    *at = watcher->next;
    rayi_free(watcher);
}

/* ---- who borrows: news ---- */

bool rayi_shared_told(void *of, const rayi_node_id *by, const rayi_group_news *news)
{
    rayi_node *node = of;
    ray_placement_group *group = find_borrowed(node, by, news->group);
    bool makes_sense = true;

    if (group && news->code == 0)
        makes_sense = rayi_wide_told(node, group, news);
    else if (group && news->code == RAY_ERR_NO_MEMORY)
        rayi_group_end(node, group, RAY_ERR_NO_MEMORY, "out of memory: where its bundles are");
    else if (group)
        rayi_group_end(node, group, RAY_ERR_GROUP_REMOVED, "it was removed");
    rayi_node_stir(node);
    return makes_sense;
}

void rayi_shared_gone(rayi_node *node, const rayi_node_id *id)
{
    ray_placement_group *group, *next;

    for (rayi_watcher **at = &node->watchers; *at;) {
        if (is_same_node(&(*at)->by, id))
            drop(at);
        else
            at = &(*at)->next;
    }
    for (group = node->groups; group; group = next) {
        next = group->next;
        if (group->is_borrowed && group->known_as && is_same_node(&group->owner, id))
            rayi_group_end(node, group, RAY_ERR_GROUP_REMOVED, "the node that owned it has gone, and it with that");
    }
}

void rayi_shared_left(rayi_node *node)
{
    const ray_error *why = rayi_error_public(node->left);
    ray_placement_group *group, *next;

    for (group = node->groups; group; group = next) {
        next = group->next;
        if (group->is_borrowed)
            rayi_group_end(node, group, why->code, why->message);
    }
}

/* ---- describing, and names ---- */

static void describe(const rayi_node *node, const ray_placement_group *group, rayi_writer *writer)
{
    rayi_put_text(writer, group->key);
    rayi_put_text(writer, group->name);
    rayi_put_text(writer, group->id);
    rayi_wide_describe(node, group, writer);
}

static int no_sense(void)
{
    return rayi_fail(RAY_ERR_CORRUPT, "the description of a placement group makes no sense");
}

static int out_of_memory(void)
{
    return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a placement group");
}

static void undo(rayi_node *node, ray_placement_group *group)
{
    if (group->is_wide)
        rayi_wide_end(node, group, 0, "");
    rayi_record_unref(node->thread, &group->head);
}

/* A group like this one; its count is the caller's. */
static int copy(rayi_node *node, const rayi_scheduler_group *what, const char *key, const char *id, bool borrows,
                ray_placement_group **out)
{
    ray_placement_group *group = rayi_group_alloc(node->thread, what->name, key);
    int r;

    if (!group)
        return RAY_ERR_NO_MEMORY;
    memcpy(group->id, id, sizeof group->id);
    group->is_borrowed = borrows;
    r = rayi_wide_new(node, group, what);
    if (r < 0) {
        undo(node, group);
        return out_of_memory();
    }
    *out = group;
    return 0;
}

static int copy_described(rayi_node *node, rayi_reader *in, bool borrows, ray_placement_group **out)
{
    const char *key = rayi_take_text(in), *name = rayi_take_text(in), *id = rayi_take_text(in);
    uint8_t strategy = rayi_take_u8(in);
    uint32_t count = rayi_take_count(in, sizeof(uint32_t));
    const char **texts = rayi_alloc((count + 1) * sizeof *texts);
    rayi_resources **parsed = rayi_zalloc((count + 1) * sizeof *parsed);
    const rayi_scheduler_group what = {.name = name,
                                       .bundles = (const rayi_resources *const *)parsed,
                                       .bundle_count = count,
                                       .strategy = (rayi_strategy)strategy};
    int r = 0;

    for (uint32_t i = 0; texts && i < count; i++)
        texts[i] = rayi_take_text(in);
    if (in->failed || count == 0 || count > RAYI_BUNDLES_MOST || strategy > RAYI_STRATEGY_STRICT_SPREAD || !id ||
        strlen(id) != RAYI_ID_SIZE - 1 || !name != !key)
        r = no_sense();
    else if (!texts || !parsed)
        r = out_of_memory();
    if (r == 0)
        r = rayi_bundles_parse(texts, count, parsed);
    if (r == 0)
        r = copy(node, &what, key, id, borrows, out);
    for (uint32_t i = 0; parsed && i < count; i++)
        rayi_resources_free(rayi_heap, parsed[i]);
    rayi_free(parsed);
    rayi_free((void *)texts);
    return r;
}

static void put_name(rayi_writer *writer, const rayi_node *node, const ray_placement_group *group, bool is_had)
{
    const rayi_called own = rayi_called_own(node, group->number), none = {0};

    rayi_put_text(writer, group->key);
    rayi_called_put(writer, is_had ? &own : &none);
    rayi_called_put(writer, is_had ? &none : &own);
}

static void on_unnamed(void *arg, const rayi_said *answer, rayi_error *error)
{
    (void)arg, (void)answer, (void)error;
}

/* False: there is no memory for it. What the head answers makes no difference. */
static bool give_name_back(rayi_node *node, const ray_placement_group *group)
{
    rayi_writer writer;
    int r = RAY_ERR_NO_MEMORY;

    rayi_writer_init(&writer);
    put_name(&writer, node, group, true);
    if (!writer.failed)
        r = rayi_head_ask_later(node, RAYI_OP_GROUP_PUT, &(rayi_said){.bytes = writer.data, .size = writer.size},
                                on_unnamed, NULL);
    rayi_writer_fini(&writer);
    return r != RAY_ERR_NO_MEMORY;
}

void rayi_shared_unname(rayi_node *node, ray_placement_group *group)
{
    if (!group->key || group->is_borrowed || node->stopping || give_name_back(node, group))
        return;
    rayi_record_ref(&group->head);
    group->next = node->named_still;
    node->named_still = group;
    node->owes_news = true;
}

static bool give_names_back(rayi_node *node)
{
    ray_placement_group *group;

    while ((group = node->named_still) && give_name_back(node, group)) {
        node->named_still = group->next;
        rayi_record_unref(node->thread, &group->head);
    }
    return !group;
}

/* ---- what is owed ---- */

bool rayi_shared_pump(rayi_node *node)
{
    bool any = false;

    if (!node->owes_news)
        return false;
    node->owes_news = !give_names_back(node);
    for (rayi_watcher **at = &node->watchers, *w; (w = *at);) {
        if (w->is_owed && tell(node, w)) {
            w->is_owed = false;
            any = true;
        }
        node->owes_news |= w->is_owed;
        if (w->is_owed ? !rayi_find_alive(node, &w->by) : w->code != 0)
            drop(at);
        else
            at = &w->next;
    }
    return any;
}

int64_t rayi_shared_wake_ms(const rayi_node *node)
{
    return node->owes_news ? rayi_now_ms() + TOLD_AGAIN_MS : INT64_MAX;
}

void rayi_shared_stop(rayi_node *node)
{
    while (node->watchers)
        drop(&node->watchers);
    for (ray_placement_group *group; (group = node->named_still);) {
        node->named_still = group->next;
        rayi_record_unref(node->thread, &group->head);
    }
    node->owes_news = false;
}

/* ---- making ---- */

/* The head, which has the names itself. */
static int make_here(rayi_node *node, ray_placement_group *group)
{
    int r = group->key ? rayi_called_enter_group(node, group->key, group->number) : 0;

    if (r == 0 && rayi_wide_begin(node, group) < 0) {
        rayi_shared_unname(node, group);
        r = out_of_memory();
    }
    return r;
}

typedef struct naming {
    rayi_node *node;
    ray_placement_group *group; /* counted */
} naming;

/* Its user has let go of it before the head had made it. */
static void end_there(rayi_node *node, const ray_placement_group *group)
{
    (void)rayi_cluster_ask(node->cluster, &group->owner, RAYI_OP_GROUP_END,
                           &(rayi_said){.bytes = &group->known_as, .size = sizeof group->known_as},
                           rayi_executor_timeout_ms(node->executor), on_unnamed, NULL);
}

/* The head has made it. */
static void is_made(rayi_node *node, ray_placement_group *group, const rayi_called *there)
{
    if (!there->number) {
        if (!group->removed)
            rayi_group_end(node, group, RAY_ERR_CORRUPT, "the head's answer makes no sense");
        return;
    }
    group->owner = there->node;
    group->known_as = there->number;
    if (group->removed)
        end_there(node, group);
    else if (!rayi_groups_watch(node->cluster, &group->owner, group->known_as))
        rayi_group_end(node, group, RAY_ERR_NO_MEMORY, "out of memory: where its bundles are");
}

/* The head knows its name. */
static void is_named(rayi_node *node, ray_placement_group *group, const rayi_called *other)
{
    if (group->removed)
        return;
    if (other->number)
        rayi_group_end(node, group, RAY_ERR_EXISTS, "another one has its name");
    else if (rayi_wide_begin(node, group) < 0)
        rayi_group_end(node, group, RAY_ERR_NO_MEMORY, "out of memory");
}

static void on_named(void *arg, const rayi_said *answer, rayi_error *error)
{
    naming *n = arg;
    rayi_reader reader = rayi_reader_of(answer ? answer->bytes : NULL, answer ? answer->size : 0);
    rayi_called has = {0};

    if (!error && !rayi_called_take(&reader, &has))
        has = (rayi_called){0};
    if (error && !n->group->removed)
        rayi_group_end(n->node, n->group, rayi_error_code(error), rayi_error_public(error)->message);
    else if (!error && n->group->is_borrowed)
        is_made(n->node, n->group, &has);
    else if (!error)
        is_named(n->node, n->group, &has);
    rayi_record_unref(n->node->thread, &n->group->head);
    rayi_free(n);
}

/* A head that is late makes it all the same, and then it must be known here: only the head's end ends this. */
static int ask_head(rayi_node *node, ray_placement_group *group)
{
    naming *n = rayi_zalloc(sizeof *n);
    rayi_writer writer;
    int r;

    if (!n)
        return out_of_memory();
    *n = (naming){node, group};
    rayi_record_ref(&group->head);
    rayi_writer_init(&writer);
    if (group->is_borrowed)
        describe(node, group, &writer);
    else
        put_name(&writer, node, group, false);
    r = writer.failed
            ? out_of_memory()
            : rayi_head_ask_within(node, INT64_MAX, group->is_borrowed ? RAYI_OP_GROUP_NEW : RAYI_OP_GROUP_PUT,
                                   &(rayi_said){.bytes = writer.data, .size = writer.size}, on_named, n);
    rayi_writer_fini(&writer);
    if (r < 0) {
        rayi_record_unref(node->thread, &group->head);
        rayi_free(n);
    }
    return r;
}

int rayi_shared_make(rayi_node *node, ray_placement_group *group, const rayi_scheduler_group *what)
{
    int r;

    group->is_borrowed = group->is_detached && rayi_has_head_elsewhere(node);
    if (rayi_wide_new(node, group, what) < 0)
        return out_of_memory();
    r = group->key && rayi_has_head_elsewhere(node) ? ask_head(node, group) : make_here(node, group);
    if (r < 0)
        rayi_wide_end(node, group, 0, "");
    return r;
}

/* ---- what others ask ---- */

static int answer_new(rayi_node *node, rayi_reader *in, rayi_writer *out)
{
    ray_placement_group *group;
    int r = copy_described(node, in, false, &group);

    if (r < 0)
        return r;
    r = group->key ? make_here(node, group) : no_sense();
    if (r < 0) {
        undo(node, group);
        return r;
    }
    group->is_detached = true;
    rayi_group_link(node, group);
    rayi_called_put(out, &(rayi_called){rayi_called_own(node, group->number).node, group->number});
    rayi_record_unref(node->thread, &group->head);
    return 0;
}

int rayi_shared_answer(rayi_node *node, uint8_t op, rayi_reader *in, rayi_writer *out)
{
    const ray_placement_group *group;
    uint64_t number;

    if (op == RAYI_OP_GROUP_NEW)
        return answer_new(node, in, out);
    number = rayi_take_u64(in);
    group = in->failed ? NULL : find_own(node, number);
    if (!group)
        return rayi_fail(RAY_ERR_NOT_FOUND, "the placement group is not there any more");
    describe(node, group, out);
    return 0;
}

typedef struct ending {
    rayi_node *node;
    rayi_reply_to to;
} ending;

static void on_heard(void *arg, const rayi_said *answer, rayi_error *error)
{
    ending *e = arg;

    (void)answer;
    rayi_reply(e->node, &e->to, error ? NULL : &(rayi_said){0}, error);
    rayi_free(e);
}

/* Is answered when the head has heard that the name is free. */
static int end_named(rayi_node *node, ray_placement_group *group, const rayi_reply_to *to)
{
    ending *e = rayi_zalloc(sizeof *e);
    int r;

    if (!e)
        return out_of_memory();
    *e = (ending){node, *to};
    rayi_group_end(node, group, RAY_ERR_GROUP_REMOVED, "it was removed");
    r = rayi_head_ask_later(node, RAYI_OP_HELLO, &(rayi_said){0}, on_heard, e);
    if (r < 0)
        rayi_free(e);
    return r;
}

void rayi_shared_end(rayi_node *node, const rayi_reply_to *to, const rayi_said *question)
{
    rayi_reader in = rayi_reader_of(question->bytes, question->size);
    uint64_t number = rayi_take_u64(&in);
    ray_placement_group *group = in.failed ? NULL : find_own(node, number);

    if (group && group->key && rayi_has_head_elsewhere(node)) {
        if (end_named(node, group, to) < 0)
            rayi_reply_last(node, to);
        return;
    }
    if (group)
        rayi_group_end(node, group, RAY_ERR_GROUP_REMOVED, "it was removed");
    rayi_node_stir(node);
    rayi_reply(node, to, &(rayi_said){0}, NULL);
}

/* ---- borrowing; by threads that may wait ---- */

typedef struct borrowing {
    rayi_called of;
    const rayi_answer *answer;
    ray_placement_group *found; /* obtained */
} borrowing;

static int look(rayi_node *node, void *arg)
{
    borrowing *b = arg;

    b->found = rayi_cluster_is_self(node->cluster, &b->of.node) ? find_own(node, b->of.number)
                                                                : find_borrowed(node, &b->of.node, b->of.number);
    if (b->found)
        rayi_record_ref(&b->found->head);
    return 0;
}

int rayi_shared_borrow(rayi_node *node, const rayi_called *of, rayi_reader *description, ray_placement_group **out)
{
    int r = copy_described(node, description, true, out);

    if (r < 0)
        return r;
    (*out)->owner = of->node;
    (*out)->known_as = of->number;
    if (!rayi_groups_watch(node->cluster, &of->node, of->number)) {
        undo(node, *out);
        return rayi_fail(RAY_ERR_NOT_FOUND, "the node that owned the placement group has gone");
    }
    rayi_group_link(node, *out);
    return 0;
}

static int borrow(rayi_node *node, void *arg)
{
    borrowing *b = arg;
    rayi_reader reader = rayi_reader_of(b->answer->bytes, b->answer->size);

    (void)look(node, b); /* somebody else may have been here meanwhile */
    return b->found ? 0 : rayi_shared_borrow(node, &b->of, &reader, &b->found);
}

ray_placement_group *rayi_shared_get(rayi_thread *thread, const rayi_called *of)
{
    borrowing b = {.of = *of};
    rayi_answer answer;
    int r = rayi_node_ask(thread, look, &b);

    if (r < 0 || b.found)
        return b.found;
    if (rayi_cluster_is_self(rayi_node_of(thread)->cluster, &of->node)) {
        (void)rayi_fail(RAY_ERR_NOT_FOUND, "the placement group is not there any more");
        return NULL;
    }
    r = rayi_node_ask_other(thread, &of->node, RAYI_OP_GROUP_GET,
                            &(rayi_said){.bytes = &of->number, .size = sizeof of->number}, &answer);
    if (r == RAY_ERR_NODE_DIED)
        (void)rayi_fail(RAY_ERR_NOT_FOUND, "the node that owned the placement group has gone");
    if (r < 0)
        return NULL;
    b.answer = &answer;
    (void)rayi_node_ask(thread, borrow, &b);
    rayi_answer_drop(thread, &answer);
    return b.found;
}
