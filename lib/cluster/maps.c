/* Objects of processes of this host: their segments are mapped, not copied.
 *
 * Who reads asks the object's node where it is (MAP). That node pins it for the asker and says so (MAPPED), or says no:
 * the bytes are on disk or not its own; then they are fetched, as from another host. The pin ends when it is given back
 * (UNMAP), or with proof that the asker's process has ended: a declared death is none, since a process that was only
 * silent may still read. Without proof, at this node's end, the room is given up for good (rayi_block_spoil).
 *
 * A mapping is one object as its readers see it:
 *
 *   NONE ──use──▶ ASKED ──yes──▶ READY ──nobody has used it for a while──▶ NONE
 *     ▲             │ no
 *     └─────────────┘
 *
 * It is kept READY for a second after its last use, as the next one often comes soon and asking takes a message each
 * way; and, once its node has died, as long as anybody has the object: nobody could be asked again, and the pages stay.
 *
 * Locks: maps->lock, above names_lock and the store's. ASKED is left on the loop only. What others have mapped of us
 * (lent) belongs to the loop. */
#include "cluster/inside.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { KEEP_MS = 1000, UNMAPPED_BYTES = 128 << 20 /* of one tick: 3 ms */ };
#define ANSWER_NS (INT64_C(5) * 1000000000) /* a node that does not answer for so long is not waited for */

typedef struct object_key {
    rayi_node_id node;
    uint64_t number; /* of the object there, or of a segment */
} object_key;
_Static_assert(sizeof(object_key) == sizeof(rayi_node_id) + sizeof(uint64_t), "keys are compared whole");

typedef struct import { /* a segment, once for all its objects */
    UT_hash_handle hh;
    object_key key;
    rayi_foreign *segment; /* counted */
    uint32_t users;
    struct import *next;
} import;

typedef enum mapping_state { NONE, ASKED, READY } mapping_state;

struct rayi_mapping {
    UT_hash_handle hh;
    object_key key;
    mapping_state state;
    uint32_t uses, waiters;
    uint32_t objects; /* that have it as theirs */
    bool is_kept;     /* READY as long as there are such objects: its node has died, or will leave */
    bool is_posted;   /* asking is on its way to the loop */
    import *from;     /* READY: in this segment, at offset */
    size_t offset;
    int64_t idle_ms; /* since then */
    rayi_finished asking;
};

/* A process of this host that has, or had, something of ours mapped. */
typedef struct borrower {
    UT_hash_handle hh;
    rayi_node_id node;
    int64_t pid;
    int fd;       /* of the process; -1: the kernel has none */
    bool is_dead; /* as a node */
    uint32_t count;
} borrower;

typedef struct lent {
    UT_hash_handle hh;
    object_key key;
    rayi_record *record; /* counted, its block pinned */
    borrower *to;
} lent;

struct rayi_maps {
    rayi_cluster *cluster;
    pthread_t loop;
    lent *lent;
    borrower *borrowers;
    import *going;        /* that nobody uses any more, to be unmapped bit by bit */
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t answered;
    rayi_mapping *mappings;
    import *imports;
    bool stopped;
};

static object_key key_of(const rayi_node_id *node, uint64_t number)
{
    return (object_key){.node = *node, .number = number};
}

/* No memory, of UNMAP: pinned until we end. */
static void send_number(rayi_neighbour *n, enum rayi_between what, uint64_t number)
{
    rayi_writer writer;

    rayi_between_begin(&writer, what);
    rayi_put_u64(&writer, number);
    rayi_between_say(n, &writer);
}

/* ---- segments; maps->lock is held ---- */

/* Counted; NULL: the last error says why not. */
static import *take_import(rayi_maps *maps, const rayi_neighbour *n, const rayi_export *of)
{
    const rayi_memory *memory = rayi_heap;
    object_key key = key_of(&n->id, of->segment);
    import *i;

    HASH_FIND(hh, maps->imports, &key, sizeof key, i);
    if (!i) {
        i = rayi_zalloc(sizeof *i);
        if (!i || rayi_foreign_open(rayi_executor_store(maps->cluster->node.executor), n->pid, of, &i->segment) < 0) {
            rayi_free(i);
            return NULL;
        }
        i->key = key;
        HASH_ADD(hh, maps->imports, key, sizeof i->key, i);
        if (!i->hh.tbl) {
            rayi_foreign_unref(i->segment);
            rayi_free(i);
            return NULL;
        }
    }
    i->users++;
    return i;
}

static void drop_import(rayi_maps *maps, import *i, import **unmapped)
{
    const rayi_memory *memory = rayi_heap;

    if (--i->users > 0)
        return;
    HASH_DEL(maps->imports, i);
    i->next = *unmapped;
    *unmapped = i;
}

static void unmap_all(import *list)
{
    for (import *next; list; list = next) {
        next = list->next;
        rayi_foreign_unref(list->segment);
        rayi_free(list);
    }
}

/* ---- mappings; maps->lock is held ---- */

static bool is_unused(const rayi_mapping *m)
{
    return m->uses == 0 && m->waiters == 0;
}

static void remove_if_over(rayi_maps *maps, rayi_mapping *m)
{
    const rayi_memory *memory = rayi_heap;

    if (m->state != NONE || m->is_posted || !is_unused(m) || m->objects > 0)
        return;
    HASH_DEL(maps->mappings, m);
    rayi_free(m);
}

static rayi_mapping *find_mapping(const rayi_maps *maps, object_key key)
{
    rayi_mapping *m;

    HASH_FIND(hh, maps->mappings, &key, sizeof key, m);
    return m;
}

static rayi_mapping *make_mapping(rayi_maps *maps, object_key key)
{
    const rayi_memory *memory = rayi_heap;
    rayi_mapping *m = find_mapping(maps, key);

    if (m)
        return m;
    m = rayi_zalloc(sizeof *m);
    if (!m)
        return NULL;
    m->key = key;
    HASH_ADD(hh, maps->mappings, key, sizeof m->key, m);
    if (m->hh.tbl)
        return m;
    rayi_free(m);
    return NULL;
}

static void settle(rayi_maps *maps, rayi_mapping *m, mapping_state state)
{
    m->state = state;
    m->idle_ms = rayi_now_ms();
    pthread_cond_broadcast(&maps->answered);
}

/* ---- asking: on the loop ---- */

static void refuse(rayi_maps *maps, rayi_mapping *m)
{
    pthread_mutex_lock(&maps->lock);
    settle(maps, m, NONE);
    remove_if_over(maps, m);
    pthread_mutex_unlock(&maps->lock);
}

static void ask(rayi_cluster *cluster, rayi_finished *finished)
{
    rayi_mapping *m = rayi_container_of(finished, rayi_mapping, asking);
    rayi_neighbour *n = rayi_neighbour_find(cluster, &m->key.node);
    rayi_maps *maps = cluster->maps;
    bool can_ask = n && n->peer && n->is_near && !cluster->is_closing;

    pthread_mutex_lock(&maps->lock);
    m->is_posted = false;
    if (m->state == ASKED && can_ask)
        send_number(n, RAYI_BETWEEN_MAP, m->key.number);
    else if (m->state == ASKED)
        settle(maps, m, NONE);
    remove_if_over(maps, m);
    pthread_mutex_unlock(&maps->lock);
}

/* What another node says is not trusted to lie within its own segment. */
static bool is_sound(const rayi_export *of)
{
    return of->fd >= 0 && of->offset < of->segment_bytes && of->segment_bytes <= PTRDIFF_MAX;
}

static void take_answer(rayi_neighbour *n, rayi_mapping *m, const rayi_export *of)
{
    rayi_maps *maps = n->cluster->maps;
    uint64_t number = m->key.number;
    import *from;

    pthread_mutex_lock(&maps->lock);
    m->from = from = take_import(maps, n, of);
    m->offset = (size_t)of->offset;
    settle(maps, m, from ? READY : NONE);
    remove_if_over(maps, m); /* maybe nobody waits any more */
    pthread_mutex_unlock(&maps->lock);
    if (from)
        return;
    n->is_near = false; /* what was refused once is not tried again */
    rayi_log(RAY_LOG_INFO, "node.not_mapped", n->name, "objects of node %s are copied, not shared: %s", n->name,
             rayi_error_last_public()->message);
    send_number(n, RAYI_BETWEEN_UNMAP, number);
}

bool rayi_maps_answered(rayi_neighbour *n, rayi_reader *reader)
{
    rayi_maps *maps = n->cluster->maps;
    object_key key = key_of(&n->id, rayi_take_u64(reader));
    bool yes = rayi_take_u8(reader);
    const void *bytes = yes ? rayi_take_bytes(reader, sizeof(rayi_export)) : NULL;
    rayi_export of = {.fd = -1};
    rayi_mapping *m;

    if (bytes)
        memcpy(&of, bytes, sizeof of);
    pthread_mutex_lock(&maps->lock);
    m = find_mapping(maps, key);
    m = m && m->state == ASKED ? m : NULL; /* the loop's until it is settled */
    pthread_mutex_unlock(&maps->lock);
    if (reader->failed || !m || (yes && !is_sound(&of)))
        return false;
    if (yes)
        take_answer(n, m, &of);
    else
        refuse(maps, m);
    return true;
}

/* ---- use: any thread ---- */

static void sleep_until(rayi_maps *maps, int64_t until_ns)
{
    const struct timespec until = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};

    (void)pthread_cond_timedwait(&maps->answered, &maps->lock, &until);
}

/* Until it is READY, or will not be. */
static void wait_for_answer(rayi_maps *maps, rayi_mapping *m, int64_t until_ns)
{
    m->waiters++;
    if (m->state == NONE) {
        m->state = ASKED;
        m->asking.tell = ask;
        if (!m->is_posted)
            rayi_cluster_finish(maps->cluster, &m->asking);
        m->is_posted = true;
    }
    while (m->state == ASKED && !maps->stopped && rayi_now_ns() < until_ns)
        sleep_until(maps, until_ns);
    m->waiters--;
}

/* The loop cannot wait for itself. */
static bool may_wait(const rayi_maps *maps, int64_t deadline_ns)
{
    return deadline_ns > 0 && !maps->stopped && !pthread_equal(pthread_self(), maps->loop);
}

bool rayi_maps_use(rayi_maps *maps, rayi_mapping **mapping, const rayi_node_id *node, uint64_t number,
                   size_t size_bytes, int64_t deadline_ns, rayi_foreign **segment, size_t *offset)
{
    bool used = false;
    rayi_mapping *m;

    pthread_mutex_lock(&maps->lock);
    m = *mapping ? *mapping : make_mapping(maps, key_of(node, number));
    if (m && m->state != READY && may_wait(maps, deadline_ns))
        wait_for_answer(maps, m, RAYI_MIN(deadline_ns, rayi_now_ns() + ANSWER_NS));
    if (m && m->state == READY && rayi_foreign_holds(m->from->segment, m->offset, size_bytes)) {
        m->uses++;
        m->objects += !*mapping;
        *mapping = m;
        *segment = m->from->segment;
        *offset = m->offset;
        used = true;
    } else if (m) {
        remove_if_over(maps, m);
    }
    pthread_mutex_unlock(&maps->lock);
    return used;
}

void rayi_maps_unuse(rayi_maps *maps, rayi_mapping *m)
{
    pthread_mutex_lock(&maps->lock);
    m->idle_ms = rayi_now_ms();
    m->uses--;
    pthread_mutex_unlock(&maps->lock);
}

void rayi_maps_keep(rayi_maps *maps, rayi_mapping *m)
{
    pthread_mutex_lock(&maps->lock);
    m->is_kept = true;
    pthread_mutex_unlock(&maps->lock);
}

void rayi_maps_forget(rayi_maps *maps, rayi_mapping *m)
{
    if (!m)
        return;
    pthread_mutex_lock(&maps->lock);
    m->objects--;
    remove_if_over(maps, m);
    pthread_mutex_unlock(&maps->lock);
}

/* ---- giving back: on the loop ---- */

/* idle_ms: what nobody has used since then. */
static void give_back(rayi_maps *maps, int64_t idle_ms)
{
    rayi_mapping *m, *next;
    import *unmapped = NULL;

    pthread_mutex_lock(&maps->lock);
    HASH_ITER (hh, maps->mappings, m, next) {
        rayi_neighbour *n;
        if (m->state != READY || !is_unused(m) || m->idle_ms > idle_ms || (m->is_kept && m->objects > 0))
            continue;
        n = rayi_neighbour_find(maps->cluster, &m->key.node);
        if (n)
            send_number(n, RAYI_BETWEEN_UNMAP, m->key.number);
        drop_import(maps, m->from, &unmapped);
        m->state = NONE;
        remove_if_over(maps, m);
    }
    pthread_mutex_unlock(&maps->lock);
    LL_CONCAT(maps->going, unmapped);
}

/* Large segments take their time, and the loop has other things to do. */
static void unmap_some(rayi_maps *maps)
{
    size_t left = UNMAPPED_BYTES;

    for (import *i; (i = maps->going) && left > 0;) {
        left -= rayi_foreign_unmap(i->segment, left);
        if (left == 0)
            break;
        maps->going = i->next;
        rayi_foreign_unref(i->segment);
        rayi_free(i);
    }
}

void rayi_maps_let_go(rayi_cluster *cluster)
{
    if (cluster->maps)
        give_back(cluster->maps, INT64_MAX);
}

void rayi_maps_stop(rayi_maps *maps)
{
    if (!maps)
        return;
    pthread_mutex_lock(&maps->lock);
    maps->stopped = true;
    pthread_cond_broadcast(&maps->answered);
    pthread_mutex_unlock(&maps->lock);
}

/* ---- lending: the loop's ---- */

static bool has_ended(const borrower *b)
{
    struct pollfd process = {.fd = b->fd, .events = POLLIN};

    return b->fd >= 0 ? poll(&process, 1, 0) == 1 : kill((pid_t)b->pid, 0) < 0 && errno == ESRCH;
}

static borrower *take_borrower(rayi_maps *maps, const rayi_neighbour *n)
{
    const rayi_memory *memory = rayi_heap;
    borrower *b;

    HASH_FIND(hh, maps->borrowers, &n->id, sizeof n->id, b);
    if (b)
        return b;
    b = rayi_zalloc(sizeof *b);
    if (!b)
        return NULL;
    b->node = n->id;
    b->pid = n->pid;
    b->fd = (int)syscall(SYS_pidfd_open, (pid_t)n->pid, 0);
    HASH_ADD(hh, maps->borrowers, node, sizeof b->node, b);
    if (b->hh.tbl)
        return b;
    if (b->fd >= 0)
        close(b->fd);
    rayi_free(b);
    return NULL;
}

static void drop_borrower(rayi_maps *maps, borrower *b)
{
    const rayi_memory *memory = rayi_heap;

    if (b->count > 0)
        return;
    HASH_DEL(maps->borrowers, b);
    if (b->fd >= 0)
        close(b->fd);
    rayi_free(b);
}

static void end_lent(rayi_maps *maps, lent *l, bool is_proven)
{
    const rayi_memory *memory = rayi_heap;
    rayi_block *block = rayi_object_block(l->record);

    HASH_DEL(maps->lent, l);
    l->to->count--;
    if (is_proven)
        rayi_block_unpin(block);
    else
        rayi_block_spoil(block);
    rayi_record_unref(maps->cluster->node.thread, l->record);
    rayi_free(l);
}

/* The record's count, and a pin of its block, are taken. NULL: no memory, nothing taken. */
static lent *make_lent(rayi_maps *maps, const rayi_neighbour *n, uint64_t number, rayi_record *record)
{
    const rayi_memory *memory = rayi_heap;
    borrower *b = take_borrower(maps, n);
    lent *l = b ? rayi_zalloc(sizeof *l) : NULL;

    if (l) {
        l->key = key_of(&n->id, number);
        l->record = record;
        l->to = b;
        HASH_ADD(hh, maps->lent, key, sizeof l->key, l);
        if (l->hh.tbl) {
            b->count++;
            return l;
        }
        rayi_free(l);
    }
    if (b)
        drop_borrower(maps, b);
    return NULL;
}

/* Pins it if that needs no waiting, and if it is ours. */
static bool lend(rayi_maps *maps, const rayi_neighbour *n, uint64_t number, rayi_export *out)
{
    rayi_record *record = rayi_objects_find(maps->cluster, number);
    rayi_block *block =
        record && record->type == RAYI_OBJECT && rayi_record_done(record) ? rayi_object_block(record) : NULL;
    bool pinned = block && rayi_block_try_pin(block);

    if (pinned && rayi_block_export(block, out) && make_lent(maps, n, number, record))
        return true;
    if (pinned)
        rayi_block_unpin(block);
    if (record)
        rayi_record_unref(maps->cluster->node.thread, record);
    return false;
}

bool rayi_maps_asked(rayi_neighbour *n, rayi_reader *reader)
{
    rayi_maps *maps = n->cluster->maps;
    object_key key = key_of(&n->id, rayi_take_u64(reader));
    rayi_export of;
    rayi_writer writer;
    bool yes = false;
    lent *l = NULL;

    if (reader->failed)
        return false;
    if (maps && n->is_near) {
        HASH_FIND(hh, maps->lent, &key, sizeof key, l); /* it was given back in vain, before it joined anew */
        yes = l ? rayi_block_export(rayi_object_block(l->record), &of) : lend(maps, n, key.number, &of);
    }
    rayi_between_begin(&writer, RAYI_BETWEEN_MAPPED);
    rayi_put_u64(&writer, key.number);
    rayi_put_u8(&writer, yes);
    if (yes)
        rayi_put_bytes(&writer, &of, sizeof of);
    rayi_between_say(n, &writer); /* no memory: it waits, and then fetches */
    return true;
}

bool rayi_maps_returned(rayi_neighbour *n, rayi_reader *reader)
{
    rayi_maps *maps = n->cluster->maps;
    object_key key = key_of(&n->id, rayi_take_u64(reader));
    borrower *b;
    lent *l;

    if (reader->failed)
        return false;
    HASH_FIND(hh, maps->lent, &key, sizeof key, l);
    if (!l) /* of a life of this node that the others have declared over */
        return true;
    b = l->to;
    end_lent(maps, l, true);
    drop_borrower(maps, b);
    return true;
}

static void end_borrower(rayi_maps *maps, borrower *b, bool is_proven)
{
    lent *l, *next;

    HASH_ITER (hh, maps->lent, l, next) {
        if (l->to == b)
            end_lent(maps, l, is_proven);
    }
    drop_borrower(maps, b);
}

/* ---- deaths, and time ---- */

void rayi_maps_node_died(rayi_neighbour *n)
{
    rayi_maps *maps = n->cluster->maps;
    rayi_mapping *m, *next;
    borrower *b;

    if (!maps)
        return;
    pthread_mutex_lock(&maps->lock);
    HASH_ITER (hh, maps->mappings, m, next) {
        if (memcmp(&m->key.node, &n->id, sizeof n->id) != 0)
            continue;
        m->is_kept = true;
        if (m->state == ASKED) {
            settle(maps, m, NONE);
            remove_if_over(maps, m);
        }
    }
    pthread_mutex_unlock(&maps->lock);
    HASH_FIND(hh, maps->borrowers, &n->id, sizeof n->id, b);
    if (b)
        b->is_dead = true;
}

void rayi_maps_tick(rayi_cluster *cluster)
{
    rayi_maps *maps = cluster->maps;
    borrower *b, *next;

    if (!maps)
        return;
    give_back(maps, rayi_now_ms() - KEEP_MS);
    unmap_some(maps);
    HASH_ITER (hh, maps->borrowers, b, next) {
        if (b->is_dead && has_ended(b))
            end_borrower(maps, b, true);
    }
}

/* ---- start and end ---- */

int rayi_maps_new(rayi_cluster *cluster, rayi_maps **out)
{
    rayi_maps *maps = rayi_zalloc(sizeof *maps);
    pthread_condattr_t attributes;

    if (!maps)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the segments of neighbours");
    maps->cluster = cluster;
    maps->loop = pthread_self();
    pthread_mutex_init(&maps->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&maps->answered, &attributes);
    pthread_condattr_destroy(&attributes);
    *out = maps;
    return 0;
}

void rayi_maps_end(rayi_cluster *cluster)
{
    rayi_maps *maps = cluster->maps;
    borrower *b, *next;

    if (!maps)
        return;
    rayi_maps_stop(maps);
    HASH_ITER (hh, maps->borrowers, b, next)
        end_borrower(maps, b, has_ended(b));
}

void rayi_maps_free(rayi_maps *maps)
{
    const rayi_memory *memory = rayi_heap;
    rayi_mapping *m, *next;
    import *unmapped = NULL;

    if (!maps)
        return;
    HASH_ITER (hh, maps->mappings, m, next) {
        RAYI_ASSERT(m->state != ASKED && is_unused(m) && m->objects == 0);
        HASH_DEL(maps->mappings, m);
        if (m->state == READY)
            drop_import(maps, m->from, &unmapped);
        rayi_free(m);
    }
    unmap_all(unmapped);
    unmap_all(maps->going);
    pthread_cond_destroy(&maps->answered);
    pthread_mutex_destroy(&maps->lock);
    rayi_free(maps);
}
