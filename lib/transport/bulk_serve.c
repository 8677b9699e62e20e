/* Serving: the objects that others have opened, and the chunks they ask for.
 *
 * Opening may read a disk, so it is done by another thread (bulk_jobs.c), and outlives its client if that goes
 * meanwhile. What is asked for waits in the client's list until the object is open, the bytes are there, and little is
 * queued for the client; who can be served is, in the order of asking, and does not wait for who cannot. Bytes are lent
 * to the link, so an object stays pinned until the last of its chunks is returned, or the link is gone. */
#include "transport/bulk_inside.h"

#include <stdio.h>
#include <string.h>

enum { MAX_OBJECTS = 1024 };

typedef struct served { /* an object that a client has opened */
    rayi_bulk *bulk;
    rayi_bulk_client *client; /* NULL: it has gone, while this was being opened */
    uint32_t number;
    uint64_t object, ticket, size_bytes;
    bool has_peer, is_open, ended; /* ended: it is kept until what was lent has come back, or it is opened */
    uint8_t peer[RAYI_NOISE_KEY];
    rayi_bulk_object found;
    int code;
    char reason[RAYI_BULK_REASON];
    size_t num_lent;
    rayi_bulk_job job;
    struct served *prev, *next;
} served;

typedef struct get {
    served *from;
    uint32_t number, size;
    uint64_t offset;
} get;

struct rayi_bulk_client {
    rayi_bulk *bulk;
    rayi_link *link;
    served *objects;
    size_t num_objects, num_gets;
    served *lent[RAYI_BULK_REQUESTS]; /* whose the chunks are that the link has, a ring in the order they were lent */
    size_t first_lent, num_lent;
    rayi_bulk_client *prev, *next;
    get gets[RAYI_BULK_REQUESTS];
};

/* ---- objects ---- */

static void free_served(served *object)
{
    if (object->is_open && object->code == 0) {
        rayi_bulk_marks_unref(object->found.marks);
        object->bulk->options.close(object->bulk->options.arg, object->found.pin);
    }
    rayi_free(object);
}

static void free_if_unused(served *object)
{
    rayi_bulk_client *client = object->client;
    if (!object->ended || !object->is_open || object->num_lent > 0)
        return;
    if (client) {
        DL_DELETE(client->objects, object);
        client->num_objects--;
    }
    free_served(object);
}

static void free_client(rayi_bulk_client *client)
{
    served *object, *next;
    DL_FOREACH_SAFE(client->objects, object, next)
    {
        object->client = NULL;
        if (object->is_open)
            free_served(object);
    }
    DL_DELETE(client->bulk->clients, client);
    rayi_free(client);
}

static void drop(rayi_bulk_client *client)
{
    rayi_link_close(client->link);
    free_client(client);
}

static void remove_get(rayi_bulk_client *client, size_t at)
{
    client->num_gets--;
    memmove(&client->gets[at], &client->gets[at + 1], (client->num_gets - at) * sizeof *client->gets);
}

/* Its last word. */
static int end_object(served *object, int code, const char *words)
{
    rayi_bulk_client *client = object->client;
    uint8_t head[RAYI_BULK_OPENED_BYTES] = {0};
    struct iovec parts[] = {{head, sizeof head}, {(void *)(uintptr_t)words, strlen(words)}};
    rayi_store_u32(head, (uint32_t)code);
    for (size_t i = client->num_gets; i-- > 0;)
        if (client->gets[i].from == object)
            remove_get(client, i);
    int r = rayi_link_send_parts(client->link, rayi_bulk_type(RAYI_BULK_OPENED, object->number), parts, 2);
    object->ended = true;
    free_if_unused(object);
    return r;
}

/* ---- chunks ---- */

static int send_chunk(rayi_bulk_client *client, const get *asked)
{
    served *object = asked->from;
    const uint8_t *bytes = (const uint8_t *)object->found.bytes + asked->offset;
    int r = 0;
    if (!rayi_link_peer(client->link)) {
        uint8_t sum[RAYI_BULK_SUM_BYTES];
        rayi_store_u64(sum, rayi_sum(bytes, asked->size, 0));
        r = rayi_link_send(client->link, rayi_bulk_type(RAYI_BULK_SUM, asked->number), sum, sizeof sum);
    }
    if (r == 0)
        r = rayi_link_lend(client->link, rayi_bulk_type(RAYI_BULK_BODY, asked->number), bytes, asked->size);
    if (r < 0)
        return r;
    client->lent[(client->first_lent + client->num_lent++) % RAYI_BULK_REQUESTS] = object;
    object->num_lent++;
    return 0;
}

static bool is_there(const get *asked)
{
    const rayi_bulk_marks *marks = asked->from->found.marks;
    return !marks || rayi_bulk_marks_has(marks, asked->offset, asked->size);
}

static bool has_room(const rayi_bulk_client *client)
{
    return client->num_lent < RAYI_BULK_REQUESTS &&
           rayi_link_queued_bytes(client->link) < client->bulk->transport->options.drain_bytes;
}

/* The first that can be served or must be refused; num_gets: none. */
static size_t find_ready(const rayi_bulk_client *client)
{
    size_t i = 0;
    while (i < client->num_gets) {
        const get *asked = &client->gets[i];
        if (asked->from->is_open && (is_there(asked) || rayi_bulk_marks_failed(asked->from->found.marks)))
            break;
        i++;
    }
    return i;
}

/* May be the end of the client. */
static void serve(rayi_bulk_client *client)
{
    size_t at;
    while (has_room(client) && (at = find_ready(client)) < client->num_gets) {
        get asked = client->gets[at];
        int r;
        remove_get(client, at);
        r = is_there(&asked) ? send_chunk(client, &asked)
                             : end_object(asked.from, RAY_ERR_OBJECT_LOST, "the rest of the object will not come");
        if (r < 0) {
            drop(client);
            return;
        }
    }
}

void rayi_bulk_serve_waiting(rayi_bulk *bulk)
{
    rayi_bulk_client *client, *next;
    DL_FOREACH_SAFE(bulk->clients, client, next)
    if (client->num_gets > 0)
        serve(client);
}

/* ---- opening ---- */

/* On a thread for such jobs. */
static void open_object(rayi_bulk_job *job)
{
    served *object = rayi_container_of(job, served, job);
    const rayi_bulk_options *options = &object->bulk->options;
    object->code = options->open(options->arg, object->has_peer ? object->peer : NULL, object->object, object->ticket,
                                 &object->found);
    RAYI_ASSERT(object->code != 0 || !object->found.marks ||
                object->found.marks->size_bytes == object->found.size_bytes);
    if (object->code < 0)
        snprintf(object->reason, sizeof object->reason, "%s", rayi_error_last_public()->message);
    rayi_error_settle_last();
}

static int check_size(served *object)
{
    if (object->found.size_bytes == object->size_bytes)
        return 0;
    snprintf(object->reason, sizeof object->reason, "expected an object of %llu bytes, it has %llu there",
             (unsigned long long)object->size_bytes, (unsigned long long)object->found.size_bytes);
    return RAY_ERR_CORRUPT;
}

static void on_opened(rayi_bulk_job *job)
{
    served *object = rayi_container_of(job, served, job);
    rayi_bulk_client *client = object->client;
    int r = 0;
    object->is_open = true;
    if (!client) {
        free_served(object);
        return;
    }
    if (object->ended) {
        free_if_unused(object);
        return;
    }
    int code = object->code == 0 ? check_size(object) : object->code;
    if (code != 0)
        r = end_object(object, code, object->reason);
    if (r < 0)
        drop(client);
    else
        serve(client);
}

static served *find_object(const rayi_bulk_client *client, uint32_t number)
{
    served *object;
    DL_FOREACH (client->objects, object)
        if (object->number == number && !object->ended)
            return object;
    return NULL;
}

static bool begin_object(rayi_bulk_client *client, uint32_t number, const uint8_t *bytes)
{
    rayi_bulk *bulk = client->bulk;
    const uint8_t *peer = rayi_link_peer(client->link);
    if (find_object(client, number) || client->num_objects == MAX_OBJECTS)
        return false;
    served *object = rayi_zalloc(sizeof *object);
    if (!object)
        return false;
    object->bulk = bulk;
    object->client = client;
    object->number = number;
    object->object = rayi_load_u64(bytes);
    object->ticket = rayi_load_u64(bytes + 8);
    object->size_bytes = rayi_load_u64(bytes + 16);
    object->has_peer = peer != NULL;
    if (peer)
        memcpy(object->peer, peer, sizeof object->peer);
    DL_APPEND(client->objects, object);
    client->num_objects++;
    object->job = (rayi_bulk_job){.run = open_object, .done = on_opened};
    if (bulk->options.open && rayi_bulk_job_begin(bulk, &object->job) == 0)
        return true;
    object->is_open = true;
    object->code = bulk->options.open ? RAY_ERR_SYSTEM : RAY_ERR_NOT_FOUND;
    return end_object(object, object->code,
                      bulk->options.open ? "the system gives it no thread" : "it serves no objects") == 0;
}

/* ---- what is asked ---- */

static bool add_get(rayi_bulk_client *client, uint32_t number, const uint8_t *bytes)
{
    get asked = {.number = number, .offset = rayi_load_u64(bytes + 4), .size = rayi_load_u32(bytes + 12)};
    asked.from = find_object(client, rayi_load_u32(bytes));
    if (!asked.from)
        return true; /* it was refused, and who asks has yet to read that */
    if (client->num_gets == RAYI_BULK_REQUESTS || asked.size == 0 || asked.size > RAYI_BULK_CHUNK_MAX ||
        asked.offset > asked.from->size_bytes || asked.size > asked.from->size_bytes - asked.offset)
        return false;
    client->gets[client->num_gets++] = asked;
    serve(client);
    return true;
}

static bool close_object(rayi_bulk_client *client, uint32_t number)
{
    served *object = find_object(client, number);
    return !object || end_object(object, RAYI_BULK_CLOSED, "") == 0;
}

/* false: it is not what the protocol allows, or cannot be done. After a true the client may be gone. */
static bool hear(rayi_bulk_client *client, uint32_t type, const uint8_t *bytes, size_t size)
{
    uint32_t number = rayi_bulk_number(type);
    switch (rayi_bulk_kind(type)) {
    case RAYI_BULK_OPEN:
        return size == RAYI_BULK_OPEN_BYTES && begin_object(client, number, bytes);
    case RAYI_BULK_GET:
        return size == RAYI_BULK_GET_BYTES && add_get(client, number, bytes);
    case RAYI_BULK_CLOSE:
        return size == 0 && close_object(client, number);
    case RAYI_BULK_PING:
        return size == 0 && rayi_link_send(client->link, rayi_bulk_type(RAYI_BULK_PONG, 0), NULL, 0) == 0;
    default:
        return false;
    }
}

static void on_message(rayi_link *link, void *arg, uint32_t type, const void *bytes, size_t size)
{
    (void)link;
    if (!hear(arg, type, bytes, size))
        drop(arg);
}

/* ---- clients ---- */

static void on_open(rayi_link *link, void *arg)
{
    rayi_bulk *bulk = arg;
    rayi_bulk_client *client = rayi_zalloc(sizeof *client);
    if (!client) {
        rayi_link_close(link);
        return;
    }
    rayi_bulk_tune(link);
    client->bulk = bulk;
    client->link = link;
    DL_APPEND(bulk->clients, client);
    rayi_link_set_arg(link, client);
}

static void on_returned(rayi_link *link, void *arg, const void *bytes)
{
    rayi_bulk_client *client = arg;
    served *object = client->lent[client->first_lent];
    (void)link;
    (void)bytes;
    client->first_lent = (client->first_lent + 1) % RAYI_BULK_REQUESTS;
    client->num_lent--;
    object->num_lent--;
    free_if_unused(object);
    serve(client);
}

static void on_drain(rayi_link *link, void *arg)
{
    (void)link;
    serve(arg);
}

static void on_close(rayi_link *link, void *arg, rayi_link_why why)
{
    (void)link;
    (void)why;
    free_client(arg);
}

const rayi_link_events rayi_bulk_client_events = {.on_open = on_open,
                                                  .on_message = on_message,
                                                  .on_returned = on_returned,
                                                  .on_drain = on_drain,
                                                  .on_close = on_close};

void rayi_bulk_client_free_all(rayi_bulk *bulk)
{
    while (bulk->clients)
        drop(bulk->clients);
}
