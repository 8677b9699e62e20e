/* What two neighbours know of each other's records, and under which numbers.
 *
 * Given: a record of ours that they hold, under its own number; each time a message names it they hold it once more,
 * and RELEASE gives holds back. If it was named as a ref they hear when it is done (COMPLETE).
 *
 * Borrowed: a stand-in for a record of theirs. The table does not count it: a stand-in has RAYI_NAMED in its state, so
 * that its last count goes by a read-modify-write, and who finds it in the table takes a count only if there is one
 * left (rayi_record_try_ref). One that is going is found too late: then another takes its place (is_current), and both
 * tell what they held when they go (rayi_cluster_forget, on any thread; the loop sends it). The refs that a message
 * names are counted before its sender can send anything else, and a RELEASE goes behind all that named them before, so
 * a number that we are told is always held there. */
#include "cluster/inside.h"

/* ---- given ---- */

static rayi_given *find_given(const rayi_neighbour *n, uint64_t number)
{
    rayi_given *g;

    HASH_FIND(hh, n->given, &number, sizeof number, g);
    return g;
}

typedef struct rayi_news {
    rayi_waiter waiter;
    rayi_finished finished;
    rayi_neighbour *whom; /* counted */
    rayi_record *record;  /* counted */
    uint64_t number;
    rayi_given *given; /* NULL: they have given it back, or are gone */
} news;

static void news_free(rayi_cluster *cluster, news *of)
{
    if (of->given)
        of->given->news = NULL;
    rayi_record_unref(cluster->node.thread, of->record);
    rayi_neighbour_unref(of->whom);
    rayi_free(of);
}

static void send_complete(rayi_neighbour *n, uint64_t number, rayi_record *record)
{
    rayi_thread *thread = n->cluster->node.thread;
    rayi_result content = rayi_record_content(record);
    rayi_between_port port;
    rayi_writer writer;
    bool sent;

    rayi_between_port_init(&port, n);
    rayi_between_begin(&writer, RAYI_BETWEEN_COMPLETE);
    rayi_put_u64(&writer, number);
    if (rayi_exchange_write(&port.port, thread, &writer, &content, false) < 0) {
        rayi_error *error = rayi_error_last();
        rayi_writer_fini(&writer);
        rayi_between_begin(&writer, RAYI_BETWEEN_COMPLETE);
        rayi_put_u64(&writer, number);
        rayi_exchange_write_error(&writer, error);
        rayi_error_unref(error);
    }
    sent = rayi_neighbour_send(n, RAYI_FRAME_MESSAGE, &writer) == 0;
    rayi_between_port_fini(&port, sent);
    rayi_writer_fini(&writer);
}

static void tell_news(rayi_cluster *cluster, rayi_finished *finished)
{
    news *of = rayi_container_of(finished, news, finished);

    if (of->given)
        send_complete(of->whom, of->number, of->record);
    news_free(cluster, of);
}

static void fire_news(rayi_thread *thread, rayi_waiter *waiter)
{
    news *of = rayi_container_of(waiter, news, waiter);

    (void)thread;
    rayi_cluster_finish(of->whom->cluster, &of->finished);
}

/* They are to hear when it is done; each time that it is named, since the stand-in that has heard it may be gone there,
 * with a RELEASE on its way, and another one be made. That goes behind the message that names it: this is the loop, and
 * the news wait for its next round. */
static bool watch(rayi_neighbour *n, rayi_given *g)
{
    news *of = g->news ? NULL : rayi_zalloc(sizeof *of);

    if (!of)
        return g->news != NULL;
    of->waiter.fire = fire_news;
    of->finished.tell = tell_news;
    of->whom = n;
    of->record = g->record;
    of->number = g->number;
    of->given = g;
    rayi_neighbour_ref(n);
    rayi_record_ref(g->record);
    g->news = of;
    if (!rayi_record_watch(g->record, &of->waiter))
        rayi_cluster_finish(n->cluster, &of->finished);
    return true;
}

static void end_given(rayi_neighbour *n, rayi_given *g)
{
    const rayi_memory *memory = rayi_heap;
    news *of = g->news;

    HASH_DEL(n->given, g);
    rayi_objects_unshare(n->cluster, g);
    if (of) {
        of->given = NULL;
        if (rayi_record_unwatch(of->record, &of->waiter))
            news_free(n->cluster, of);
    }
    rayi_record_unref(n->cluster->node.thread, g->record);
    rayi_free(g);
}

uint64_t rayi_names_give(rayi_neighbour *n, rayi_record *record, bool as_ref)
{
    const rayi_memory *memory = rayi_heap;
    uint64_t number = rayi_record_number(n->cluster->node.thread, record);
    rayi_given *g = number ? find_given(n, number) : NULL;

    if (!number)
        return 0;
    if (!g) {
        g = rayi_zalloc(sizeof *g);
        if (!g)
            return 0;
        g->number = number;
        g->record = record;
        HASH_ADD(hh, n->given, number, sizeof g->number, g);
        if (!g->hh.tbl) {
            rayi_free(g);
            return 0;
        }
        rayi_record_ref(record);
    }
    g->holds++;
    if (!as_ref && !g->is_shared)
        rayi_objects_share(n->cluster, g);
    if (as_ref && !watch(n, g)) {
        (void)rayi_names_take_back(n, number, 1);
        return 0;
    }
    return number;
}

bool rayi_names_holds(const rayi_neighbour *n, uint64_t number)
{
    const rayi_given *g = find_given(n, number);

    return g && g->is_shared;
}

rayi_record *rayi_names_given(rayi_neighbour *n, uint64_t number)
{
    rayi_given *g = find_given(n, number);

    if (!g)
        return NULL;
    rayi_record_ref(g->record);
    return g->record;
}

bool rayi_names_take_back(rayi_neighbour *n, uint64_t number, uint64_t holds)
{
    rayi_given *g = find_given(n, number);

    if (!g || holds == 0 || holds > g->holds)
        return false;
    g->holds -= holds;
    if (g->holds == 0)
        end_given(n, g);
    return true;
}

bool rayi_names_take_release(rayi_neighbour *n, rayi_reader *reader)
{
    uint64_t number = rayi_take_u64(reader), holds = rayi_take_u64(reader);

    return !reader->failed && rayi_names_take_back(n, number, holds);
}

/* ---- borrowed; names_lock is held ---- */

static rayi_borrowed *find_borrowed(const rayi_neighbour *n, uint64_t key)
{
    rayi_borrowed *b;

    HASH_FIND(hh, n->borrowed, &key, sizeof key, b);
    return b;
}

static rayi_borrowed *find_record(const rayi_cluster *cluster, const rayi_record *record)
{
    rayi_borrowed *b;

    HASH_FIND(hr, cluster->records, &record, sizeof record, b);
    return b;
}

static void give_up_place(rayi_borrowed *b)
{
    const rayi_memory *memory = rayi_heap;

    if (b->is_current)
        HASH_DEL(b->from->borrowed, b);
    b->is_current = false;
}

/* Whatever had this key is going, and is known by its record only. */
static rayi_borrowed *enter(rayi_neighbour *n, uint64_t key, rayi_record *record)
{
    const rayi_memory *memory = rayi_heap;
    rayi_borrowed *b = rayi_zalloc(sizeof *b), *before = find_borrowed(n, key);

    if (!b)
        return NULL;
    b->key = key;
    b->what = record;
    b->from = n;
    HASH_ADD(hr, n->cluster->records, what, sizeof b->what, b);
    if (!b->hr.tbl) {
        rayi_free(b);
        return NULL;
    }
    if (before)
        give_up_place(before);
    HASH_ADD(hh, n->borrowed, key, sizeof b->key, b);
    if (!b->hh.tbl) {
        HASH_DELETE(hr, n->cluster->records, b);
        rayi_free(b);
        return NULL;
    }
    b->is_current = true;
    atomic_fetch_or_explicit(&record->state, RAYI_NAMED, memory_order_release);
    return b;
}

/* ---- borrowing ---- */

rayi_record *rayi_names_borrow(rayi_neighbour *n, uint64_t key, rayi_record *(*make)(void *arg), void *arg)
{
    rayi_record *record = NULL;
    rayi_borrowed *b;

    pthread_mutex_lock(&n->cluster->names_lock);
    b = find_borrowed(n, key);
    if (b && rayi_record_try_ref(b->what))
        record = b->what;
    if (record)
        b->holds++;
    pthread_mutex_unlock(&n->cluster->names_lock);
    if (record)
        return record;
    record = make(arg);
    if (!record)
        return NULL;
    pthread_mutex_lock(&n->cluster->names_lock);
    b = enter(n, key, record);
    if (b) {
        b->holds = 1;
        b->is_pending = !rayi_record_done(record);
    }
    pthread_mutex_unlock(&n->cluster->names_lock);
    if (b)
        return record;
    rayi_record_unref(n->cluster->node.thread, record);
    return NULL;
}

rayi_record *rayi_names_borrowed(rayi_neighbour *n, uint64_t key)
{
    rayi_record *record = NULL;
    rayi_borrowed *b;

    pthread_mutex_lock(&n->cluster->names_lock);
    b = find_borrowed(n, key);
    if (b && rayi_record_try_ref(b->what))
        record = b->what;
    pthread_mutex_unlock(&n->cluster->names_lock);
    return record;
}

static rayi_record *make_pending(void *thread)
{
    return rayi_record_new(thread);
}

rayi_record *rayi_names_stand_in(rayi_neighbour *n, uint64_t number)
{
    return rayi_names_borrow(n, number, make_pending, n->cluster->node.thread);
}

uint64_t rayi_names_of_stand_in(rayi_neighbour *n, rayi_record *record)
{
    uint64_t number = 0;
    rayi_borrowed *b;

    if (record->type == RAYI_FIXED || !(atomic_load_explicit(&record->state, memory_order_acquire) & RAYI_NAMED))
        return 0;
    pthread_mutex_lock(&n->cluster->names_lock);
    b = find_record(n->cluster, record);
    if (b && b->from == n)
        number = b->key & ~RAYI_BLOCK_KEY;
    pthread_mutex_unlock(&n->cluster->names_lock);
    return number;
}

bool rayi_names_take_complete(rayi_neighbour *n, rayi_reader *reader)
{
    rayi_thread *thread = n->cluster->node.thread;
    uint64_t number = rayi_take_u64(reader);
    rayi_record *record = NULL;
    rayi_between_port port;
    rayi_result result;
    rayi_borrowed *b;
    bool read;

    if (reader->failed)
        return false;
    rayi_between_port_init(&port, n);
    read = rayi_exchange_read(&port.port, thread, reader, &result);
    rayi_between_port_fini(&port, true);
    if (!read) /* rubbish, or there was no memory for it: it does not come again */
        result.error = rayi_error_plain(RAY_ERR_NO_MEMORY);
    pthread_mutex_lock(&n->cluster->names_lock);
    b = find_borrowed(n, number);
    if (b && b->is_pending && rayi_record_try_ref(b->what)) {
        record = b->what;
        b->is_pending = false;
    }
    pthread_mutex_unlock(&n->cluster->names_lock);
    if (!record) { /* nobody wants it any more */
        rayi_result_drop(thread, &result);
        return read;
    }
    rayi_record_fill(thread, record, &result);
    rayi_record_unref(thread, record);
    return read;
}

/* ---- giving back ---- */

/* The entry itself is what waits to be told. */
void rayi_cluster_forget(rayi_cluster *cluster, rayi_thread *thread, rayi_record *record)
{
    rayi_borrowed *b;

    (void)thread;
    pthread_mutex_lock(&cluster->names_lock);
    b = find_record(cluster, record);
    if (b) {
        const rayi_memory *memory = rayi_heap;
        HASH_DELETE(hr, cluster->records, b);
        give_up_place(b);
        rayi_objects_leave(cluster, record);
        if (b->from) {
            b->next = cluster->gone;
            cluster->gone = b;
            if (!b->next)
                rayi_cluster_stir(cluster);
        } else {
            rayi_free(b);
        }
    }
    pthread_mutex_unlock(&cluster->names_lock);
}

void rayi_names_release(rayi_neighbour *n, uint64_t number, uint64_t holds)
{
    rayi_writer writer;

    rayi_between_begin(&writer, RAYI_BETWEEN_RELEASE);
    rayi_put_u64(&writer, number);
    rayi_put_u64(&writer, holds);
    rayi_between_say(n, &writer); /* no memory: held there until one of us ends */
}

void rayi_names_give_back(rayi_cluster *cluster)
{
    rayi_borrowed *b, *next;

    pthread_mutex_lock(&cluster->names_lock);
    b = cluster->gone;
    cluster->gone = NULL;
    pthread_mutex_unlock(&cluster->names_lock);
    for (; b; b = next) {
        next = b->next;
        if (b->from && b->from->peer)
            rayi_names_release(b->from, b->key & ~RAYI_BLOCK_KEY, b->holds);
        rayi_free(b);
    }
}

/* ---- the end of a neighbour ---- */

/* Of what is not done any more, one at a time: failing it may run anything. */
static rayi_record *next_pending(rayi_neighbour *n)
{
    rayi_record *record = NULL;

    pthread_mutex_lock(&n->cluster->names_lock);
    for (rayi_borrowed *b = n->borrowed; b && !record; b = b->hh.next) {
        if (b->is_pending && rayi_record_try_ref(b->what))
            record = b->what;
        b->is_pending = false;
    }
    pthread_mutex_unlock(&n->cluster->names_lock);
    return record;
}

/* Entries of records that are still there stay, for whoever forgets them; what was gone already waits for nobody. */
static void orphan(rayi_neighbour *n)
{
    rayi_borrowed *b, *next;

    pthread_mutex_lock(&n->cluster->names_lock);
    HASH_ITER (hr, n->cluster->records, b, next) {
        if (b->from != n)
            continue;
        give_up_place(b);
        b->from = NULL;
    }
    for (b = n->cluster->gone; b; b = b->next)
        if (b->from == n)
            b->from = NULL;
    pthread_mutex_unlock(&n->cluster->names_lock);
}

void rayi_names_end(rayi_neighbour *n)
{
    rayi_thread *thread = n->cluster->node.thread;
    rayi_given *g, *next;

    for (rayi_record *record; (record = next_pending(n));) {
        rayi_record_fail(
            thread, record,
            rayi_error_new(RAY_ERR_OWNER_DIED, NULL, n->name, "node %s, which owned the object, died", n->name));
        rayi_record_unref(thread, record);
    }
    orphan(n);
    HASH_ITER (hh, n->given, g, next)
        end_given(n, g);
}
