/* Objects of the node's store, read where they lie, and those that are made here.
 *
 * A far object is opened for us (opens > 0, its place is good) or not. Readers here pin it; the first one asks the node
 * to open it if it is not, the last one closes it as often as it was opened. One that is being written here counts as
 * pinned until it is sealed. A segment is mapped when it is first needed and stays mapped until the node says that it
 * is gone, which it does when nothing of ours in it is open any more.
 *
 * Segments come over the socket, to a thread of their own, and may be late: who needs one waits for it. */
#include "worker/inside.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SEGMENT_WAIT_S 30

/* ---- segments; far_lock is held ---- */

static rayi_segment *find(rayi_worker *worker, uint64_t number)
{
    rayi_segment *segment;

    HASH_FIND(hh, worker->segments, &number, sizeof number, segment);
    return segment;
}

/* The entry of a segment, made if there is none; NULL: no memory. */
static rayi_segment *enter(rayi_worker *worker, uint64_t number)
{
    const rayi_memory *memory = rayi_heap;
    rayi_segment *segment = find(worker, number);

    if (segment)
        return segment;
    segment = rayi_zalloc(sizeof *segment);
    if (!segment)
        return NULL;
    segment->segment = number;
    segment->fd = -1;
    HASH_ADD(hh, worker->segments, segment, sizeof segment->segment, segment);
    if (segment->hh.tbl)
        return segment;
    rayi_free(segment);
    return NULL;
}

static void remove_if_over(rayi_worker *worker, rayi_segment *segment)
{
    const rayi_memory *memory = rayi_heap;

    if (!segment->gone || !segment->known || segment->uses > 0)
        return;
    if (segment->base)
        munmap(segment->base, segment->size);
    if (segment->fd >= 0)
        close(segment->fd);
    HASH_DEL(worker->segments, segment);
    rayi_free(segment);
}

static int map(rayi_segment *segment)
{
    int protection = PROT_READ | (segment->writable ? PROT_WRITE : 0);
    void *base;

    if (segment->base)
        return 0;
    base = mmap(NULL, segment->size, protection, MAP_SHARED, segment->fd, 0);
    if (base == MAP_FAILED)
        return rayi_fail(errno == ENOMEM ? RAY_ERR_NO_MEMORY : RAY_ERR_SYSTEM,
                         "a segment of the object store of %zu bytes cannot be mapped: %s", segment->size,
                         strerror(errno));
    segment->base = base;
    close(segment->fd);
    segment->fd = -1;
    return 0;
}

/* The segment, mapped, with a use more. */
static int use(rayi_worker *worker, uint64_t number, uint64_t end, rayi_segment **out)
{
    rayi_segment *segment = enter(worker, number);
    struct timespec until;
    int r = 0;

    if (!segment)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a segment of the object store");
    segment->uses++;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += SEGMENT_WAIT_S;
    while (!segment->known && r != ETIMEDOUT)
        r = pthread_cond_timedwait(&worker->segment_came, &worker->far_lock, &until);
    if (!segment->known)
        r = rayi_fail(RAY_ERR_SYSTEM,
                      "a segment of the object store did not come: is the limit of descriptors too low?");
    else if (end > segment->size)
        r = rayi_fail(RAY_ERR_CORRUPT, "an object ends beyond its segment of the object store");
    else
        r = map(segment);
    if (r >= 0) {
        *out = segment;
        return 0;
    }
    segment->uses--;
    remove_if_over(worker, segment);
    return r;
}

static void unuse(rayi_worker *worker, rayi_segment *segment)
{
    segment->uses--;
    remove_if_over(worker, segment);
}

/* Tries for a second: without its entry whoever needs the segment would wait in vain. */
static rayi_segment *enter_surely(rayi_worker *worker, uint64_t number)
{
    rayi_segment *segment = enter(worker, number);

    for (int tries = 0; !segment && tries < 1000; tries++) {
        pthread_mutex_unlock(&worker->far_lock);
        usleep(1000);
        pthread_mutex_lock(&worker->far_lock);
        segment = enter(worker, number);
    }
    if (!segment)
        rayi_worker_die(worker, "out of memory: a segment of the object store");
    return segment;
}

void rayi_far_segment_came(rayi_worker *worker, const rayi_wire_segment *what, int fd)
{
    rayi_segment *segment;

    pthread_mutex_lock(&worker->far_lock);
    segment = enter_surely(worker, what->segment);
    if (segment->known) {
        close(fd);
    } else {
        segment->known = true;
        segment->size = (size_t)what->size_bytes;
        segment->writable = what->writable != 0;
        segment->fd = fd;
        remove_if_over(worker, segment);
        pthread_cond_broadcast(&worker->segment_came);
    }
    pthread_mutex_unlock(&worker->far_lock);
}

void rayi_far_segment_gone(rayi_worker *worker, uint64_t number)
{
    rayi_segment *segment;

    pthread_mutex_lock(&worker->far_lock);
    segment = enter(worker, number);
    if (segment) {
        segment->gone = true;
        remove_if_over(worker, segment);
    }
    pthread_mutex_unlock(&worker->far_lock);
}

/* ---- places ---- */

static bool take_place(rayi_reader *reader, rayi_far *far)
{
    far->segment = rayi_take_u64(reader);
    far->segment_bytes = rayi_take_u64(reader);
    far->offset = rayi_take_u64(reader);
    return !reader->failed && far->offset <= far->segment_bytes;
}

bool rayi_far_read_place(rayi_worker *worker, rayi_record *object, rayi_reader *reader)
{
    rayi_far *far = rayi_far_of(object), place = {0};
    bool open = rayi_take_u8(reader) != 0;

    if (reader->failed || (open && !take_place(reader, &place)))
        return false;
    if (!open)
        return true;
    pthread_mutex_lock(&worker->far_lock);
    if (far->opens++ == 0) {
        far->segment = place.segment;
        far->segment_bytes = place.segment_bytes;
        far->offset = place.offset;
    }
    pthread_mutex_unlock(&worker->far_lock);
    return true;
}

/* Maps what is open; far_lock is held. */
static int reach(rayi_worker *worker, rayi_record *object, uint64_t size)
{
    rayi_far *far = rayi_far_of(object);
    rayi_segment *segment = NULL;
    int r;

    if (far->mapped)
        return 0;
    if (size > UINT64_MAX - far->offset)
        return rayi_fail(RAY_ERR_CORRUPT, "an object ends beyond its segment of the object store");
    r = use(worker, far->segment, far->offset + size, &segment);
    if (r < 0)
        return r;
    if (far->mapped) { /* while we waited another reader was there */
        unuse(worker, segment);
        return 0;
    }
    far->mapped = segment;
    object->content.buffer.data = (char *)segment->base + far->offset;
    return 0;
}

static void send_closes(rayi_worker *worker, uint64_t number, uint64_t count)
{
    for (; count > 0; count--)
        (void)rayi_worker_send(worker, RAYI_UP_CLOSE, &number, sizeof number, NULL, 0);
}

/* A pin less; far_lock is held. How often it is to be closed. */
static uint64_t unpin(rayi_worker *worker, rayi_far *far)
{
    uint64_t opens;

    RAYI_ASSERT(far->pins > 0);
    if (--far->pins > 0)
        return 0;
    opens = far->opens;
    far->opens = 0;
    if (far->mapped)
        unuse(worker, far->mapped);
    far->mapped = NULL;
    return opens;
}

static int ask_open(rayi_thread *thread, rayi_far *far, int64_t lost_ns, rayi_far *place)
{
    rayi_asking asking = {0};
    rayi_reader reader;
    rayi_writer writer;
    int r;

    rayi_ask_begin(&writer, RAYI_ASK_OPEN);
    rayi_put_u64(&writer, far->number);
    rayi_put_i64(&writer, lost_ns);
    r = rayi_ask_wait(thread, &writer, &asking);
    if (r < 0)
        return r;
    reader = rayi_reader_of(asking.data, asking.size);
    r = take_place(&reader, place) ? 0 : rayi_fail(RAY_ERR_CORRUPT, "the node's answer makes no sense");
    rayi_free(asking.data);
    return r;
}

int rayi_far_open(rayi_thread *thread, rayi_record *object, int64_t lost_ns)
{
    rayi_worker *worker = rayi_worker_of(thread);
    rayi_far *far = rayi_far_of(object), place = {0};
    uint64_t opens = 0;
    int r = 0;

    pthread_mutex_lock(&worker->far_lock);
    if (far->opens == 0) {
        pthread_mutex_unlock(&worker->far_lock);
        r = ask_open(thread, far, lost_ns, &place);
        if (r < 0)
            return r;
        pthread_mutex_lock(&worker->far_lock);
        if (far->opens++ == 0) {
            far->segment = place.segment;
            far->segment_bytes = place.segment_bytes;
            far->offset = place.offset;
        }
    }
    far->pins++;
    r = reach(worker, object, object->size);
    if (r < 0)
        opens = unpin(worker, far);
    pthread_mutex_unlock(&worker->far_lock);
    send_closes(worker, far->number, opens);
    return r;
}

void rayi_far_close(rayi_thread *thread, rayi_record *object)
{
    rayi_worker *worker = rayi_worker_of(thread);
    rayi_far *far = rayi_far_of(object);
    uint64_t opens;

    pthread_mutex_lock(&worker->far_lock);
    opens = unpin(worker, far);
    pthread_mutex_unlock(&worker->far_lock);
    send_closes(worker, far->number, opens);
}

void rayi_far_free(rayi_worker *worker, rayi_record *object)
{
    rayi_far *far = rayi_far_of(object);
    uint64_t number = far->number, opens;

    pthread_mutex_lock(&worker->far_lock);
    opens = far->sealed ? far->opens : 0; /* a buffer is thrown away whole */
    if (far->mapped)
        unuse(worker, far->mapped);
    pthread_mutex_unlock(&worker->far_lock);
    rayi_free(far);
    object->next = NULL;
    send_closes(worker, number, opens);
}

/* ---- making ---- */

static int ask_room(rayi_thread *thread, rayi_far *far, size_t size_bytes)
{
    rayi_asking asking = {0};
    rayi_reader reader;
    rayi_writer writer;
    int r;

    rayi_ask_begin(&writer, RAYI_ASK_CREATE);
    rayi_put_u64(&writer, far->number);
    rayi_put_u64(&writer, size_bytes);
    r = rayi_ask_wait(thread, &writer, &asking);
    if (r < 0)
        return r;
    reader = rayi_reader_of(asking.data, asking.size);
    r = take_place(&reader, far) ? 0 : rayi_fail(RAY_ERR_CORRUPT, "the node's answer makes no sense");
    rayi_free(asking.data);
    return r;
}

int rayi_far_room(rayi_thread *thread, rayi_record *object, size_t size_bytes)
{
    rayi_worker *worker = rayi_worker_of(thread);
    rayi_far *far = rayi_zalloc(sizeof *far);
    uint64_t number = far ? rayi_record_number(thread, object) : 0;
    uint64_t message[2] = {number, 1};
    int r;

    if (!number) {
        rayi_free(far);
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: an object");
    }
    far->number = number;
    far->own = true;
    r = ask_room(thread, far, size_bytes);
    if (r < 0)
        goto free_far;
    object->next = (rayi_record *)far;
    far->opens = far->pins = 1;
    pthread_mutex_lock(&worker->far_lock);
    r = reach(worker, object, (uint64_t)size_bytes + 1);
    pthread_mutex_unlock(&worker->far_lock);
    if (r == 0)
        r = rayi_name_add(worker, number, RAYI_SORT_BLOCK, object);
    if (r < 0)
        goto give_back;
    object->flags |= RAYI_FAR;
    return 0;

give_back:
    pthread_mutex_lock(&worker->far_lock);
    (void)unpin(worker, far);
    pthread_mutex_unlock(&worker->far_lock);
    (void)rayi_worker_send(worker, RAYI_UP_RELEASE, message, sizeof message, NULL, 0); /* and its pin with it */
    object->next = NULL;
free_far:
    rayi_free(far);
    return r;
}

void rayi_far_sealed(rayi_worker *worker, rayi_record *object)
{
    rayi_far *far = rayi_far_of(object);
    uint64_t opens;

    far->sealed = true;
    pthread_mutex_lock(&worker->far_lock);
    opens = unpin(worker, far);
    pthread_mutex_unlock(&worker->far_lock);
    send_closes(worker, far->number, opens);
}
