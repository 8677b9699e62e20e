/* What numbers stand for.
 *
 * The table does not count what it finds: a record is removed from it when it goes (rayi_name_forget), and only then is
 * the node told. A record in the table has RAYI_NAMED in its state, so that its last count goes down to 0 by a
 * read-modify-write (rayi_record_unref) and a count can be taken by who finds it exactly if it is not 0. The flag is
 * set by a thread that has a count: at that moment no other thread can have the only one, and whoever gets this
 * thread's count later sees the flag with it. A record that is going is found too late: then a new one takes its place,
 * and the old one waits behind it (`older`) to be forgotten.
 *
 * The node hears of a local object (PUT) when a message is about to name it, those that it holds first; naming is
 * locked from the look at the flag to the end of the sending, so that no message overtakes it. */
#include "worker/inside.h"

#include <string.h>

static int no_memory(void)
{
    return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the table of what the node knows");
}

/* ---- the table; names_lock is held ---- */

static rayi_name *find(rayi_worker *worker, uint64_t number, enum rayi_sort sort)
{
    rayi_name_key key = {number, sort};
    rayi_name *name;

    HASH_FIND(hh, worker->names, &key, sizeof key, name);
    return name;
}

/* Whatever stood under this key is going, and moves behind. */
static int insert(rayi_worker *worker, uint64_t number, enum rayi_sort sort, void *what, uint64_t holds)
{
    const rayi_memory *memory = rayi_heap;
    rayi_name *made = rayi_zalloc(sizeof *made), *name = find(worker, number, sort);

    if (!made)
        return no_memory();
    if (name) {
        *made = *name;
        name->older = made;
    } else {
        name = made;
        name->key = (rayi_name_key){number, sort};
        HASH_ADD(hh, worker->names, key, sizeof name->key, name);
        if (!name->hh.tbl) {
            rayi_free(name);
            return no_memory();
        }
    }
    name->what = what;
    name->holds = holds;
    return 0;
}

/* Takes the entry of this very thing out; its holds, or 0. */
static uint64_t take_out(rayi_worker *worker, uint64_t number, enum rayi_sort sort, const void *what)
{
    rayi_name *name = find(worker, number, sort), **at, *found;
    const rayi_memory *memory = rayi_heap;
    uint64_t holds;

    if (!name)
        return 0;
    if (name->what == what && !name->older) {
        holds = name->holds;
        HASH_DEL(worker->names, name);
        rayi_free(name);
        return holds;
    }
    if (name->what == what) {
        found = name->older;
        holds = name->holds;
        name->what = found->what;
        name->holds = found->holds;
        name->older = found->older;
        rayi_free(found);
        return holds;
    }
    for (at = &name->older; *at && (*at)->what != what;)
        at = &(*at)->older;
    found = *at;
    if (!found)
        return 0;
    *at = found->older;
    holds = found->holds;
    rayi_free(found);
    return holds;
}

static void mark(rayi_record *record)
{
    atomic_fetch_or_explicit(&record->state, RAYI_NAMED, memory_order_release);
}

static bool is_named(const rayi_record *record)
{
    return atomic_load_explicit(&record->state, memory_order_acquire) & RAYI_NAMED;
}

int rayi_name_add(rayi_worker *worker, uint64_t number, enum rayi_sort sort, void *what)
{
    int r;

    pthread_mutex_lock(&worker->names_lock);
    r = insert(worker, number, sort, what, 1);
    pthread_mutex_unlock(&worker->names_lock);
    if (r == 0 && sort != RAYI_SORT_ACTOR)
        mark(what);
    return r;
}

/* ---- giving back ---- */

bool rayi_name_hold(rayi_worker *worker, uint64_t number, enum rayi_sort sort)
{
    rayi_name *name;

    pthread_mutex_lock(&worker->names_lock);
    name = find(worker, number, sort);
    if (name)
        name->holds++;
    pthread_mutex_unlock(&worker->names_lock);
    return name != NULL;
}

static void release(rayi_worker *worker, uint32_t type, uint64_t number, uint64_t holds)
{
    uint64_t message[2] = {number, holds};

    if (holds > 0)
        (void)rayi_worker_send(worker, type, message, sizeof message, NULL, 0);
}

void rayi_name_forget(rayi_thread *thread, rayi_record *record)
{
    rayi_worker *worker = rayi_worker_of(thread);
    bool far = record->type == RAYI_OBJECT && (record->flags & RAYI_FAR);
    uint64_t number, holds, handles;
    rayi_writer writer;

    if (!is_named(record)) {
        if (far)
            rayi_far_free(worker, record);
        return;
    }
    number = far ? rayi_far_of(record)->number : rayi_record_number(thread, record);
    pthread_mutex_lock(&worker->names_lock);
    holds = take_out(worker, number, far ? RAYI_SORT_BLOCK : RAYI_SORT_RECORD, record);
    handles = holds == 0 && !far ? take_out(worker, number, RAYI_SORT_GROUP, record) : 0;
    pthread_mutex_unlock(&worker->names_lock);
    if (far)
        rayi_far_free(worker, record);
    release(worker, RAYI_UP_RELEASE, number, holds);
    for (; handles > 0; handles--) {
        rayi_ask_begin(&writer, RAYI_ASK_GROUP_RELEASE);
        rayi_put_u64(&writer, number);
        rayi_ask_tell(worker, &writer);
    }
}

void rayi_name_release_actor(rayi_thread *thread, ray_actor *actor)
{
    rayi_worker *worker = rayi_worker_of(thread);
    uint64_t number = rayi_actor_number(actor), holds;

    pthread_mutex_lock(&worker->names_lock);
    holds = take_out(worker, number, RAYI_SORT_ACTOR, actor);
    pthread_mutex_unlock(&worker->names_lock);
    release(worker, RAYI_UP_RELEASE_ACTOR, number, holds);
}

/* ---- what the node names ---- */

rayi_record *rayi_name_known(rayi_worker *worker, uint64_t number)
{
    rayi_record *record = NULL;
    rayi_name *name;

    pthread_mutex_lock(&worker->names_lock);
    name = find(worker, number, RAYI_SORT_RECORD);
    if (name && rayi_record_try_ref(name->what))
        record = name->what;
    pthread_mutex_unlock(&worker->names_lock);
    return record;
}

static rayi_record *new_item(rayi_thread *thread, uint64_t number)
{
    rayi_record *item = rayi_record_new(thread);

    if (item && rayi_record_set_number(thread, item, number))
        return item;
    if (item)
        rayi_record_unref(thread, item);
    return NULL;
}

/* An object of the store is a ref as well as what a ref holds. */
rayi_record *rayi_name_find(rayi_worker *worker, rayi_thread *thread, uint64_t number, bool naming)
{
    static const enum rayi_sort sorts[] = {RAYI_SORT_RECORD, RAYI_SORT_BLOCK};
    rayi_record *record = NULL;

    pthread_mutex_lock(&worker->names_lock);
    for (size_t i = 0; i < RAYI_COUNT_OF(sorts) && !record; i++) {
        rayi_name *name = find(worker, number, sorts[i]);
        if (name && rayi_record_try_ref(name->what)) {
            record = name->what;
            name->holds += naming;
        }
    }
    if (!record && (record = new_item(thread, number))) {
        if (insert(worker, number, RAYI_SORT_RECORD, record, naming) == 0) {
            mark(record);
        } else {
            rayi_record_unref(thread, record); /* it is not marked: nothing is forgotten under the lock */
            record = NULL;
        }
    }
    pthread_mutex_unlock(&worker->names_lock);
    return record;
}

rayi_record *rayi_name_item(rayi_thread *thread, uint64_t *number)
{
    rayi_worker *worker = rayi_worker_of(thread);
    rayi_record *item = rayi_record_new(thread);

    *number = item ? rayi_record_number(thread, item) : 0;
    if (*number && rayi_name_add(worker, *number, RAYI_SORT_RECORD, item) == 0)
        return item;
    if (item)
        rayi_record_unref(thread, item);
    return NULL;
}

static ray_actor *actor_of(rayi_port *port, rayi_thread *thread, uint64_t number, const char *class, const char *name)
{
    rayi_worker *worker = rayi_container_of(port, rayi_worker, port);
    ray_actor *actor = NULL;
    rayi_name *entry;

    pthread_mutex_lock(&worker->names_lock);
    entry = find(worker, number, RAYI_SORT_ACTOR);
    if (entry && rayi_actor_try_retain(entry->what)) {
        actor = entry->what;
        entry->holds++;
    }
    pthread_mutex_unlock(&worker->names_lock);
    if (actor)
        return actor;
    actor = rayi_actor_stand_in(thread, number, class, name);
    if (!actor)
        return NULL;
    pthread_mutex_lock(&worker->names_lock);
    /* Another thread may have been first: its stand-in is as good, and stays behind ours until it goes. */
    if (insert(worker, number, RAYI_SORT_ACTOR, actor, 1) < 0) {
        pthread_mutex_unlock(&worker->names_lock);
        rayi_actor_release(thread, actor);
        return NULL;
    }
    pthread_mutex_unlock(&worker->names_lock);
    return actor;
}

static rayi_record *record_of(rayi_port *port, rayi_thread *thread, uint64_t number)
{
    return rayi_name_find(rayi_container_of(port, rayi_worker, port), thread, number, true);
}

/* ---- objects of the store ---- */

static rayi_record *new_block(rayi_thread *thread, uint64_t number, unsigned kind, uint64_t size)
{
    rayi_far *far = rayi_zalloc(sizeof *far);
    rayi_record *object = far ? rayi_pool_alloc(thread, RAYI_OBJECT, sizeof *object) : NULL;

    if (!object || !rayi_record_set_number(thread, object, number)) {
        rayi_free(far);
        if (object)
            rayi_record_unref(thread, object); /* not far yet: it just goes */
        (void)no_memory();
        return NULL;
    }
    *far = (rayi_far){.number = number, .sealed = true};
    atomic_store_explicit(&object->state, RAYI_RUNNING, memory_order_relaxed);
    object->flags |= RAYI_FAR;
    object->kind = (uint8_t)kind;
    object->size = object->content.buffer.size = (size_t)size;
    object->next = (rayi_record *)far;
    atomic_store_explicit(&object->waiters, RAYI_CLOSED, memory_order_release);
    return object;
}

rayi_record *rayi_name_block(rayi_worker *worker, rayi_thread *thread, uint64_t number, unsigned kind, uint64_t size)
{
    rayi_record *object = NULL;
    rayi_name *name;

    pthread_mutex_lock(&worker->names_lock);
    name = find(worker, number, RAYI_SORT_BLOCK);
    if (name && rayi_record_try_ref(name->what)) {
        object = name->what;
        name->holds++;
    } else if ((object = new_block(thread, number, kind, size))) {
        if (insert(worker, number, RAYI_SORT_BLOCK, object, 1) == 0) {
            mark(object);
        } else {
            rayi_record_unref(thread, object);
            object = NULL;
        }
    }
    pthread_mutex_unlock(&worker->names_lock);
    return object;
}

static rayi_record *block_of(rayi_port *port, rayi_thread *thread, uint64_t number, unsigned kind, uint64_t size_bytes,
                             rayi_reader *reader)
{
    rayi_worker *worker = rayi_container_of(port, rayi_worker, port);
    rayi_record *object = rayi_name_block(worker, thread, number, kind, size_bytes);

    if (object && rayi_far_read_place(worker, object, reader))
        return object;
    if (object)
        rayi_record_unref(thread, object);
    return NULL;
}

/* ---- what we name; naming is held ---- */

static uint64_t name_fixed(rayi_worker *worker, const rayi_record *record)
{
    rayi_result content = rayi_record_content((rayi_record *)record);
    int code = rayi_error_code(content.error);
    rayi_writer writer;
    uint64_t number;
    size_t i;

    for (i = 0; i < worker->num_fixed && worker->fixed[i].code != code;)
        i++;
    if (i < worker->num_fixed)
        return worker->fixed[i].number;
    number = rayi_executor_number(worker->executor);
    rayi_writer_init(&writer);
    rayi_put_u64(&writer, number);
    rayi_exchange_write_error(&writer, content.error);
    if (i == RAYI_COUNT_OF(worker->fixed) || rayi_worker_send_written(worker, RAYI_UP_PUT, &writer) < 0)
        number = 0;
    else
        worker->num_fixed = i + 1;
    rayi_writer_fini(&writer);
    worker->fixed[RAYI_MIN(i, RAYI_COUNT_OF(worker->fixed) - 1)].code = code;
    worker->fixed[RAYI_MIN(i, RAYI_COUNT_OF(worker->fixed) - 1)].number = number;
    return number;
}

static bool is_known(const rayi_record *record)
{
    if (record->type == RAYI_OBJECT && (record->flags & RAYI_FAR))
        return rayi_far_of(record)->sealed;
    return record->type != RAYI_FIXED && is_named(record);
}

/* The refs that it holds are known. */
static bool seal(rayi_worker *worker, rayi_thread *thread, rayi_record *object)
{
    size_t count;
    rayi_record *const *held = rayi_object_held(object, &count);
    rayi_far *far = rayi_far_of(object);
    rayi_writer writer;
    bool sent;

    rayi_writer_init(&writer);
    rayi_put_u64(&writer, far->number);
    rayi_put_u64(&writer, object->size);
    rayi_put_u8(&writer, object->kind);
    rayi_put_u32(&writer, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        uint64_t number = worker->port.name_record(&worker->port, thread, held[i]);
        rayi_put_u64(&writer, number);
        writer.failed |= number == 0;
    }
    sent = rayi_worker_send_written(worker, RAYI_UP_SEAL, &writer) == 0;
    rayi_writer_fini(&writer);
    if (sent)
        rayi_far_sealed(worker, object);
    return sent;
}

/* The same of an object that is here, or of a ref that has failed here. */
static bool put(rayi_worker *worker, rayi_thread *thread, rayi_record *record)
{
    uint64_t number = rayi_record_number(thread, record);
    rayi_result content = rayi_record_content(record);
    rayi_writer writer;
    int r = number ? 0 : RAY_ERR_NO_MEMORY;

    rayi_writer_init(&writer);
    rayi_put_u64(&writer, number);
    if (r == 0)
        r = rayi_exchange_write(&worker->port, thread, &writer, &content, false);
    if (r == 0)
        r = rayi_worker_may_send(&writer);
    if (r == 0) {
        pthread_mutex_lock(&worker->names_lock);
        r = insert(worker, number, RAYI_SORT_RECORD, record, 1);
        pthread_mutex_unlock(&worker->names_lock);
    }
    if (r == 0) {
        (void)rayi_worker_send_written(worker, RAYI_UP_PUT, &writer);
        mark(record);
    }
    rayi_writer_fini(&writer);
    return r == 0;
}

typedef struct step {
    rayi_record *record;
    size_t next; /* of what it holds */
} step;

/* Objects may hold objects without end: a list of our own instead of the stack. */
static bool tell(rayi_worker *worker, rayi_thread *thread, rayi_record *record)
{
    size_t depth = 1, room = 0;
    step few[16] = {{.record = record}}, *steps = few, *more;
    bool told = true;

    while (told && depth > 0) {
        step *top = &steps[depth - 1];
        size_t count;
        rayi_record *const *held = rayi_object_held(top->record, &count);
        while (top->next < count && (held[top->next]->type == RAYI_FIXED || is_known(held[top->next])))
            top->next++;
        if (top->next == count) {
            told = is_known(top->record) || (rayi_object_is_far(top->record) ? seal : put)(worker, thread, top->record);
            depth--;
            continue;
        }
        if (depth == (room ? room : RAYI_COUNT_OF(few))) {
            room = 2 * depth;
            more = rayi_memory_realloc(rayi_heap, steps == few ? NULL : steps, room * sizeof *more);
            if (!more)
                break;
            if (steps == few)
                memcpy(more, few, sizeof few);
            steps = more;
        }
        steps[depth] = (step){.record = held[steps[depth - 1].next]};
        depth++;
    }
    if (steps != few)
        rayi_free(steps);
    return told && depth == 0;
}

static uint64_t name_record(rayi_port *port, rayi_thread *thread, rayi_record *record)
{
    rayi_worker *worker = rayi_container_of(port, rayi_worker, port);
    bool far = record->type == RAYI_OBJECT && (record->flags & RAYI_FAR), told = true;
    uint64_t number = 0;

    if (record->type == RAYI_FIXED) {
        pthread_mutex_lock(&worker->naming);
        number = name_fixed(worker, record);
        pthread_mutex_unlock(&worker->naming);
        return number;
    }
    if (far || !is_named(record)) {
        pthread_mutex_lock(&worker->naming);
        told = is_known(record) || tell(worker, thread, record);
        pthread_mutex_unlock(&worker->naming);
    }
    return !told ? 0 : far ? rayi_far_of(record)->number : rayi_record_number(thread, record);
}

void rayi_name_seal(rayi_thread *thread, rayi_record *object)
{
    (void)name_record(&rayi_worker_of(thread)->port, thread, object); /* else when it is named */
}

static uint64_t name_actor(rayi_port *port, rayi_thread *thread, ray_actor *actor)
{
    (void)port;
    (void)thread;
    return rayi_actor_number(actor);
}

static uint64_t name_group(rayi_port *port, ray_placement_group *group)
{
    (void)port;
    return rayi_remote_group_number(group);
}

static int write_place(rayi_port *port, rayi_thread *thread, rayi_writer *writer, rayi_record *object, bool open)
{
    (void)port;
    (void)thread;
    (void)object;
    (void)open; /* the node need not be told where */
    rayi_put_u8(writer, 0);
    return 0;
}

static ray_placement_group *group_of(rayi_port *port, uint64_t number)
{
    (void)port;
    (void)number; /* options come from workers only */
    return NULL;
}

uint64_t rayi_name_function(rayi_worker *worker, const rayi_function *function)
{
    uint32_t index = rayi_function_number(function);
    uint32_t *more, number;
    rayi_writer writer;

    pthread_mutex_lock(&worker->naming);
    if (index >= worker->num_up) {
        more = rayi_memory_realloc(rayi_heap, worker->up, ((size_t)index + 64) * sizeof *more);
        if (!more) {
            pthread_mutex_unlock(&worker->naming);
            (void)no_memory();
            return 0;
        }
        memset(more + worker->num_up, 0, ((size_t)index + 64 - worker->num_up) * sizeof *more);
        worker->up = more;
        worker->num_up = (size_t)index + 64;
    }
    if (worker->up[index] == 0) {
        rayi_writer_init(&writer);
        rayi_put_u32(&writer, worker->next_up);
        rayi_put_text(&writer, rayi_function_name(function));
        if (rayi_worker_send_written(worker, RAYI_UP_FUNCTION, &writer) == 0)
            worker->up[index] = ++worker->next_up;
        rayi_writer_fini(&writer);
    }
    number = worker->up[index];
    pthread_mutex_unlock(&worker->naming);
    return number;
}

void rayi_names_init(rayi_worker *worker)
{
    worker->port = (rayi_port){.name_record = name_record,
                               .name_block = name_record,
                               .name_actor = name_actor,
                               .name_group = name_group,
                               .write_place = write_place,
                               .keep = rayi_submit_keep,
                               .record_of = record_of,
                               .actor_of = actor_of,
                               .group_of = group_of,
                               .block_of = block_of};
}
