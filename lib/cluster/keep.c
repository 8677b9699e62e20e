/* Objects of other nodes that this one is to keep for others: their bytes are brought on a thread for that, since it
 * may take long; the rest happens on the loop. What is mapped stays mapped: the pages stay when their process goes.
 *
 * What waits for the thread has names_lock. */
#include "cluster/inside.h"

#define PATIENCE_NS (INT64_C(30) * 1000000000) /* for room, and */
#define NS_PER_BYTE INT64_C(250)               /* for the bytes: 4 MB/s is slow */
#define NS_MOST     (INT64_C(3600) * 1000000000)

struct rayi_bringer {
    pthread_t thread;
    pthread_cond_t come;
    rayi_bringing *waiting; /* names_lock */
    bool stops;             /* names_lock */
};

/* ---- the thread ---- */

int64_t rayi_bring_deadline(const rayi_record *object)
{
    return rayi_now_ns() + PATIENCE_NS +
           (int64_t)RAYI_MIN(object->size, (uint64_t)(NS_MOST / NS_PER_BYTE)) * NS_PER_BYTE;
}

static void *bring(void *arg)
{
    rayi_cluster *cluster = arg;
    rayi_bringer *bringer = cluster->bringer;

    pthread_mutex_lock(&cluster->names_lock);
    while (!bringer->stops) {
        rayi_bringing *b = bringer->waiting;
        if (!b) {
            pthread_cond_wait(&bringer->come, &cluster->names_lock);
            continue;
        }
        DL_DELETE(bringer->waiting, b);
        pthread_mutex_unlock(&cluster->names_lock);
        if (rayi_block_pin_until(rayi_object_block(b->object), rayi_bring_deadline(b->object)) < 0)
            b->why = rayi_error_last();
        rayi_cluster_finish(cluster, &b->finished);
        pthread_mutex_lock(&cluster->names_lock);
    }
    pthread_mutex_unlock(&cluster->names_lock);
    rayi_error_settle_last();
    return NULL;
}

static bool start(rayi_cluster *cluster)
{
    rayi_bringer *bringer = cluster->bringer ? NULL : rayi_zalloc(sizeof *bringer);

    if (!bringer)
        return cluster->bringer != NULL;
    pthread_cond_init(&bringer->come, NULL);
    cluster->bringer = bringer;
    if (pthread_create(&bringer->thread, NULL, bring, cluster) == 0)
        return true;
    pthread_cond_destroy(&bringer->come);
    rayi_free(bringer);
    cluster->bringer = NULL;
    return false;
}

/* ---- keeping ---- */

/* It is pinned. 0: it cannot be kept. */
static uint64_t keep(rayi_cluster *cluster, rayi_record *object)
{
    uint64_t own = rayi_wanted_serve(cluster, object);

    if (own && rayi_block_keep(rayi_object_block(object)) < 0) /* it is mapped, or was fetched anew in parts */
        return rayi_wanted_keep_mapped(rayi_wanted_of(object)) ? own : 0;
    return own;
}

static void finish(rayi_cluster *cluster, rayi_finished *finished)
{
    rayi_bringing *b = rayi_container_of(finished, rayi_bringing, finished);
    rayi_record *object = b->object;
    rayi_error *why = b->why;
    uint64_t own = 0;

    if (!why) {
        own = cluster->bulk_address ? keep(cluster, object) : 0;
        rayi_block_unpin(rayi_object_block(object));
        if (!own)
            why = rayi_error_new(RAY_ERR_NO_MEMORY, NULL, NULL, "the object's bytes came, but cannot be kept");
    }
    b->done(b, own, why);
    rayi_error_unref(why);
    rayi_record_unref(cluster->node.thread, object);
}

bool rayi_bring(rayi_cluster *cluster, rayi_bringing *b, rayi_record *object)
{
    if (!start(cluster))
        return rayi_fail(RAY_ERR_NO_MEMORY, "there is no memory, or no thread, to bring an object") == 0;
    b->object = object;
    b->why = NULL;
    b->finished.tell = finish;
    rayi_record_ref(object);
    pthread_mutex_lock(&cluster->names_lock);
    DL_APPEND(cluster->bringer->waiting, b);
    pthread_cond_signal(&cluster->bringer->come);
    pthread_mutex_unlock(&cluster->names_lock);
    return true;
}

/* After nobody can be asked to fetch any more, so that the thread does not wait for long. */
void rayi_bring_stop(rayi_cluster *cluster)
{
    rayi_bringer *bringer = cluster->bringer;
    rayi_bringing *b, *next;

    if (!bringer)
        return;
    pthread_mutex_lock(&cluster->names_lock);
    bringer->stops = true;
    pthread_cond_signal(&bringer->come);
    pthread_mutex_unlock(&cluster->names_lock);
    pthread_join(bringer->thread, NULL);
    pthread_cond_destroy(&bringer->come);
    DL_FOREACH_SAFE(bringer->waiting, b, next)
    {
        b->why = rayi_error_plain(RAY_ERR_SHUTDOWN);
        finish(cluster, &b->finished);
    }
    rayi_free(bringer);
    cluster->bringer = NULL;
}

/* ---- for the node ---- */

typedef struct kept {
    rayi_bringing bringing;
    void (*told)(void *arg, rayi_error *error);
    void *arg;
} kept;

static void tell(rayi_bringing *b, uint64_t own, rayi_error *error)
{
    kept *k = rayi_container_of(b, kept, bringing);

    (void)own;
    k->told(k->arg, error);
    rayi_free(k);
}

static bool is_stand_in(const rayi_record *object)
{
    return (atomic_load_explicit(&object->state, memory_order_acquire) & RAYI_NAMED) != 0;
}

int rayi_cluster_keep(rayi_cluster *cluster, rayi_record *object, void (*told)(void *arg, rayi_error *error), void *arg)
{
    kept *k;

    if (!is_stand_in(object))
        return 1;
    k = rayi_zalloc(sizeof *k);
    if (!k)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: an object that is to be kept");
    k->bringing.done = tell;
    k->told = told;
    k->arg = arg;
    if (rayi_bring(cluster, &k->bringing, object))
        return 0;
    rayi_free(k);
    return RAY_ERR_NO_MEMORY;
}

void rayi_cluster_put_kept(rayi_cluster *cluster, rayi_writer *writer, rayi_record *object)
{
    uint64_t own = is_stand_in(object) && cluster->bulk_address ? rayi_wanted_serve(cluster, object) : 0;
    rayi_object_place place;

    if (!own)
        return;
    rayi_objects_own_place(cluster, own, &place);
    rayi_objects_put_place(writer, &place);
}

static rayi_shared *shared_of(rayi_cluster *cluster, const rayi_record *object)
{
    uint64_t number = rayi_record_number_if(object);
    rayi_shared *s = NULL;

    if (number)
        HASH_FIND(hh, cluster->shared, &number, sizeof number, s);
    return s;
}

/* One of ours: those who fetch it may go there. */
static void list_copy(rayi_shared *s, const rayi_object_place *place)
{
    rayi_object_place from;

    if (!s->copies)
        (void)rayi_copies_new(rayi_heap, &s->copies);
    if (s->copies && rayi_copies_begin(s->copies, place, &from) >= 0)
        rayi_copies_whole(s->copies, &place->node);
}

bool rayi_cluster_take_kept(rayi_cluster *cluster, rayi_record *object, const rayi_node_id *by, rayi_reader *reader)
{
    rayi_object_place place;
    rayi_shared *s;

    if (rayi_reader_left(reader) == 0) /* it has been named already, or is no such object */
        return true;
    if (!rayi_objects_take_place(cluster, reader, &place) || rayi_reader_left(reader) > 0 ||
        memcmp(&place.node, by, sizeof *by) != 0)
        return false;
    if (place.is_gone)
        return true;
    if (rayi_wanted_of(object)) {
        rayi_wanted_add_copy(cluster, object, &place);
        return true;
    }
    s = shared_of(cluster, object);
    pthread_mutex_lock(&cluster->names_lock);
    if (s)
        list_copy(s, &place);
    pthread_mutex_unlock(&cluster->names_lock);
    return true;
}
