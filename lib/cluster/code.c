/* Code that travels, between nodes: who tells whom of a library, and where its bytes are.
 *
 * Before a node names a function of a library to another one it tells it the library: hash, name, functions, and its
 * bytes, as an object of which only the place need go along. Whoever has to run one of them fetches these, once a node,
 * and has the hash for proof. Who passes the function on passes the library on, so it takes the way of the tasks, and
 * nodes that are in nobody's way to it never see it.
 *
 * A library belongs to the job of the node that has loaded it, its *owner*. It is told once for each owner; when the
 * last of these is dead it is not opened any more. */
#include "cluster/inside.h"

#define CODES_MOST 4096 /* that one node tells another at a time; and of those that another has told first */

typedef struct rayi_code_source {
    struct rayi_code_source *next;
    rayi_node_id owner;
    rayi_record *object; /* counted */
} rayi_code_source;

/* Sources go on the loop only, so the loop may look through them without the lock. */
static rayi_code_source *first_source(rayi_cluster *cluster, const rayi_code *code)
{
    rayi_code_source *first;

    pthread_mutex_lock(&cluster->names_lock);
    first = code->sources;
    pthread_mutex_unlock(&cluster->names_lock);
    return first;
}

int rayi_code_add_source(rayi_cluster *cluster, rayi_thread *thread, rayi_code *code, const rayi_node_id *owner,
                         rayi_record *object)
{
    rayi_code_source *made = rayi_alloc(sizeof *made);

    if (!made) {
        rayi_record_unref(thread, object);
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: %s for all nodes", code->name);
    }
    *made = (rayi_code_source){.owner = owner ? *owner : cluster->id, .object = object};
    pthread_mutex_lock(&cluster->names_lock);
    if (cluster->codes_ended)
        made->object = NULL;
    for (const rayi_code_source *at = code->sources; at && made->object; at = at->next)
        if (memcmp(&at->owner, &made->owner, sizeof at->owner) == 0)
            made->object = NULL;
    if (made->object) {
        made->next = code->sources;
        code->sources = made;
    }
    pthread_mutex_unlock(&cluster->names_lock);
    if (!made->object) {
        rayi_record_unref(thread, object);
        rayi_free(made);
    }
    return 0;
}

/* ---- telling ---- */

typedef struct telling {
    rayi_writer writer;
    uint32_t count;
} telling;

static void put_function(void *arg, const rayi_function *function)
{
    telling *t = arg;

    rayi_code_put_function(&t->writer, function);
    t->count++;
}

/* False: no memory. */
static bool write_code(rayi_neighbour *n, rayi_between_port *port, rayi_writer *writer, const rayi_code *code,
                       const rayi_code_source *source)
{
    rayi_result content = rayi_record_content(source->object);
    telling t = {.count = 0};

    rayi_put_bytes(writer, code->hash, sizeof code->hash);
    rayi_put_bytes(writer, &source->owner, sizeof source->owner);
    rayi_put_text(writer, code->name);
    rayi_writer_init(&t.writer);
    rayi_code_functions(n->cluster->node.executor, code, put_function, &t);
    rayi_put_u32(writer, t.count);
    rayi_put_bytes(writer, t.writer.data, t.writer.size);
    writer->failed |= t.writer.failed;
    rayi_writer_fini(&t.writer);
    return rayi_exchange_write(&port->port, n->cluster->node.thread, writer, &content, false) == 0 && !writer->failed;
}

/* What a source goes by among what a node was told. */
static void name_source(const rayi_code *code, const rayi_node_id *owner, char out[RAYI_CODE_HASH_SIZE + RAYI_ID_SIZE])
{
    memcpy(out, code->hash, sizeof code->hash - 1);
    rayi_hex(out + sizeof code->hash - 1, owner->bytes, sizeof owner->bytes);
}

bool rayi_code_tell(rayi_neighbour *n, rayi_code *code)
{
    char name[RAYI_CODE_HASH_SIZE + RAYI_ID_SIZE];

    for (const rayi_code_source *s = first_source(n->cluster, code); s; s = s->next) {
        rayi_between_port port;
        rayi_writer writer;
        bool told;
        name_source(code, &s->owner, name);
        if (memcmp(&s->owner, &n->id, sizeof n->id) == 0 || rayi_told_find(n->codes, name))
            continue;
        if (n->num_codes >= CODES_MOST)
            return false;
        rayi_between_port_init(&port, n);
        rayi_between_begin(&writer, RAYI_BETWEEN_CODE);
        told = write_code(n, &port, &writer, code, s) && rayi_told_tell(n, &n->codes, &n->num_codes, name, &writer);
        rayi_between_port_fini(&port, told);
        rayi_writer_fini(&writer);
        if (!told)
            return false;
    }
    return true;
}

/* ---- hearing ---- */

static bool is_hash(const char *text)
{
    return strnlen(text, RAYI_CODE_HASH_SIZE) == RAYI_CODE_HASH_SIZE - 1 &&
           strspn(text, "0123456789abcdef") == RAYI_CODE_HASH_SIZE - 1;
}

const char *rayi_code_take_hash(rayi_reader *reader)
{
    const char *hash;

    if (reader->failed || rayi_reader_left(reader) == 0)
        return NULL;
    hash = rayi_take_text(reader);
    reader->failed |= !hash || !is_hash(hash);
    return reader->failed ? NULL : hash;
}

/* NULL: it is not known here, for want of memory, or since that node has told too many already. */
static rayi_code *enter(rayi_neighbour *n, const char *hash, const char *name)
{
    rayi_code *code = rayi_code_find(n->cluster->node.executor, hash);

    if (code || n->num_codes_told >= CODES_MOST)
        return code;
    n->num_codes_told++;
    return rayi_code_enter(n->cluster->node.executor, hash, name);
}

static bool take_functions(rayi_neighbour *n, rayi_code *code, rayi_reader *reader)
{
    uint32_t count = rayi_take_count(reader, 4 * sizeof(uint32_t));

    for (uint32_t i = 0; i < count; i++)
        if (!rayi_code_take_function(n->cluster->node.executor, code, reader))
            return false;
    return !reader->failed;
}

bool rayi_code_take(rayi_neighbour *n, rayi_reader *reader)
{
    rayi_thread *thread = n->cluster->node.thread;
    const char *hash = rayi_take_bytes(reader, RAYI_CODE_HASH_SIZE);
    const rayi_node_id *owner = rayi_take_bytes(reader, sizeof *owner);
    const char *name = rayi_take_text(reader);
    rayi_between_port port;
    rayi_result content;
    rayi_record *object;
    rayi_code *code;
    bool read, is_library;

    if (reader->failed || !is_hash(hash) || !name || strlen(name) > RAYI_CODE_NAME_MAX)
        return false;
    code = enter(n, hash, name);
    if (!take_functions(n, code, reader))
        return false;
    rayi_between_port_init(&port, n);
    read = rayi_exchange_read(&port.port, thread, reader, &content);
    rayi_between_port_fini(&port, true);
    if (!read)
        return false;
    is_library = !content.error && content.kind == RAY_KIND_BYTES;
    if (!is_library || !code) {
        bool sound = is_library || content.error;
        rayi_result_drop(thread, &content);
        return sound;
    }
    memcpy(&object, content.bytes, sizeof object);
    if (rayi_cluster_knows_dead(n->cluster, owner)) /* of which the sender has not heard */
        rayi_record_unref(thread, object);
    else
        (void)rayi_code_add_source(n->cluster, thread, code, owner, object);
    rayi_hosted_look_again(n->cluster); /* a function may have been told by its hash before */
    return true;
}

/* ---- its end ---- */

typedef struct leaving {
    rayi_cluster *cluster;
    const rayi_node_id *owner; /* NULL: all */
} leaving;

static void forget_told(rayi_cluster *cluster, const rayi_code *code, const rayi_node_id *owner)
{
    char name[RAYI_CODE_HASH_SIZE + RAYI_ID_SIZE];

    name_source(code, owner, name);
    for (rayi_neighbour *n = cluster->neighbours; n; n = n->hh.next) {
        const rayi_told *told = rayi_told_find(n->codes, name);
        if (!told)
            continue;
        n->told_bytes -= told->bytes; /* what the other end has of it goes, too */
        n->num_codes--;
        rayi_told_forget(&n->codes, name);
    }
}

static void leave(void *arg, rayi_code *code)
{
    const leaving *l = arg;
    rayi_cluster *cluster = l->cluster;
    rayi_code_source *gone = NULL, *s;
    bool is_last;

    pthread_mutex_lock(&cluster->names_lock);
    for (rayi_code_source **at = &code->sources; (s = *at);) {
        if (l->owner && memcmp(&s->owner, l->owner, sizeof s->owner) != 0) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        s->next = gone;
        gone = s;
    }
    is_last = gone && !code->sources;
    pthread_mutex_unlock(&cluster->names_lock);
    while ((s = gone)) {
        gone = s->next;
        forget_told(cluster, code, &s->owner);
        rayi_record_unref(cluster->node.thread, s->object);
        rayi_free(s);
    }
    if (is_last)
        cluster->node.code_gone(cluster->node.node, code);
}

void rayi_codes_node_died(rayi_cluster *cluster, const rayi_node_id *id)
{
    leaving l = {.cluster = cluster, .owner = id};

    pthread_mutex_lock(&cluster->names_lock);
    cluster->codes_ended |= !id;
    pthread_mutex_unlock(&cluster->names_lock);
    rayi_codes_for_each(cluster->node.executor, leave, &l);
}

/* ---- fetching ---- */

/* The nth of its objects, counted; NULL: there are not so many. */
static rayi_record *source_object(rayi_cluster *cluster, const rayi_code *code, uint32_t nth)
{
    rayi_record *object = NULL;

    pthread_mutex_lock(&cluster->names_lock);
    for (const rayi_code_source *s = code->sources; s && !object; s = s->next)
        if (nth-- == 0)
            object = s->object;
    if (object)
        rayi_record_ref(object);
    pthread_mutex_unlock(&cluster->names_lock);
    return object;
}

static int use(rayi_thread *thread, const rayi_code *code, rayi_record *object,
               int (*use_bytes)(void *arg, const void *bytes, size_t size_bytes), void *arg)
{
    rayi_block *block = rayi_object_block(object);
    char hash[RAYI_CODE_HASH_SIZE];
    int r = block ? rayi_block_pin_until(block, rayi_bring_deadline(object)) : RAY_ERR_OBJECT_LOST;

    if (r == RAY_ERR_OBJECT_LOST) /* as those of any object that was lost */
        r = rayi_object_pin(thread, object, INT64_MAX);
    if (r < 0)
        return r;
    r = rayi_hash(rayi_object_data(object), object->size, hash);
    if (r == 0 && strcmp(hash, code->hash) != 0)
        r = rayi_fail(RAY_ERR_CORRUPT, "its bytes are not what they were said to be: their hash is %s", hash);
    if (r == 0)
        r = use_bytes(arg, rayi_object_data(object), object->size);
    rayi_object_unpin(thread, object);
    return r;
}

int rayi_code_fetch(rayi_cluster *cluster, rayi_thread *thread, const rayi_code *code,
                    int (*use_bytes)(void *arg, const void *bytes, size_t size_bytes), void *arg)
{
    int r = rayi_fail(RAY_ERR_NOT_FOUND, "the job that it came with has ended");
    rayi_record *object;

    for (uint32_t nth = 0; r < 0 && (object = source_object(cluster, code, nth)); nth++) {
        r = use(thread, code, object, use_bytes, arg);
        rayi_record_unref(thread, object);
    }
    return r;
}
