/* What a guest holds of the node's records, and under which numbers.
 *
 * Each time a message names a record the guest holds it once more; it gives holds back in RELEASE, all that is left
 * goes when it dies. A record that a message names for the first time is watched once that message is on its way, so
 * that COMPLETE comes behind it. */
#include "isolation/inside.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

rayi_entry *rayi_guest_find(rayi_guest *guest, uint64_t number)
{
    rayi_entry *entry;

    HASH_FIND(hh, guest->entries, &number, sizeof number, entry);
    return entry;
}

bool rayi_guest_owns_number(const rayi_guest *guest, uint64_t number)
{
    return number >= guest->first_number && number - guest->first_number < RAYI_NUMBERS_A_WORKER;
}

static rayi_entry *add_entry(rayi_guest *guest, uint64_t number, enum rayi_entry_kind kind)
{
    const rayi_memory *memory = rayi_heap;
    rayi_entry *entry = rayi_zalloc(sizeof *entry);

    if (!entry)
        return NULL;
    entry->number = number;
    entry->kind = kind;
    HASH_ADD(hh, guest->entries, number, sizeof entry->number, entry);
    if (entry->hh.tbl)
        return entry;
    rayi_free(entry);
    return NULL;
}

static void remove_entry(rayi_guest *guest, rayi_entry *entry)
{
    const rayi_memory *memory = rayi_heap;

    HASH_DEL(guest->entries, entry);
}

/* ---- news: COMPLETE ---- */

static void send_complete(rayi_news *news, rayi_thread *thread)
{
    rayi_guest *guest = news->isolation->guests[news->guest];
    rayi_result content = rayi_record_content(news->record);
    rayi_guest_port port;
    rayi_writer writer;

    if (atomic_load(&guest->life) != news->life)
        return;
    rayi_guest_port_init(&port, guest);
    rayi_writer_init(&writer);
    rayi_put_u64(&writer, news->number);
    if (rayi_exchange_write(&port.port, thread, &writer, &content, false) < 0) {
        rayi_error *error = rayi_error_last();
        rayi_writer_fini(&writer);
        rayi_put_u64(&writer, news->number);
        rayi_exchange_write_error(&writer, error ? error : rayi_error_plain(RAY_ERR_NO_MEMORY));
        rayi_error_unref(error);
    }
    if (port.life == news->life && rayi_guest_send_now(guest, RAYI_DOWN_COMPLETE, &writer)) {
        rayi_guest_port_done(&port, thread);
    } else {
        rayi_guest_port_undo(&port, thread);
        rayi_guest_cut_off(guest, news->life);
    }
    rayi_writer_fini(&writer);
}

static void news_unref(rayi_news *news, rayi_thread *thread)
{
    if (atomic_fetch_sub(&news->refs, 1) > 1)
        return;
    rayi_record_unref(thread, news->record);
    rayi_free(news);
}

/* Of an entry that is out of the table, so that whoever fires finds it no more. */
static void news_end(rayi_news *news, rayi_thread *thread)
{
    if (rayi_record_unwatch(news->record, &news->waiter))
        news_unref(news, thread);
    news_unref(news, thread);
}

static void fire_news(rayi_thread *thread, rayi_waiter *waiter)
{
    rayi_news *news = rayi_container_of(waiter, rayi_news, waiter);
    rayi_guest *guest = news->isolation->guests[news->guest];
    rayi_entry *entry;
    bool wanted;

    pthread_mutex_lock(&guest->lock);
    entry = atomic_load(&guest->life) == news->life ? rayi_guest_find(guest, news->number) : NULL;
    wanted = entry && entry->news == news;
    if (wanted)
        entry->news = NULL;
    pthread_mutex_unlock(&guest->lock);
    if (wanted) {
        send_complete(news, thread);
        news_unref(news, thread); /* the entry's */
    }
    news_unref(news, thread);
}

/* Tells the guest when the record of this entry is done, maybe at once. */
static void watch(rayi_guest *guest, rayi_thread *thread, uint64_t number, uint32_t life)
{
    rayi_news *news = rayi_alloc(sizeof *news);
    rayi_entry *entry;

    pthread_mutex_lock(&guest->lock);
    entry = atomic_load(&guest->life) == life ? rayi_guest_find(guest, number) : NULL;
    if (!entry || !entry->record || !news || entry->news) {
        pthread_mutex_unlock(&guest->lock);
        rayi_free(news);
        if (entry && !news)
            rayi_guest_rubbish(guest, life, "(no memory for what it waits for)");
        return;
    }
    *news = (rayi_news){.waiter.fire = fire_news,
                        .refs = 2,
                        .isolation = guest->of,
                        .record = entry->record,
                        .guest = guest->index,
                        .life = life,
                        .number = number};
    rayi_record_ref(news->record);
    entry->news = news;
    pthread_mutex_unlock(&guest->lock);
    if (!rayi_record_watch(news->record, &news->waiter))
        fire_news(thread, &news->waiter);
}

/* ---- naming ---- */

static uint64_t name(rayi_guest_port *port, uint64_t number, enum rayi_entry_kind kind, rayi_record *record,
                     ray_actor *actor, bool as_ref)
{
    rayi_guest *guest = port->guest;
    rayi_entry *entry;

    pthread_mutex_lock(&guest->lock);
    entry = atomic_load(&guest->life) == port->life ? rayi_guest_find(guest, number) : NULL;
    if (atomic_load(&guest->life) != port->life) {
        ; /* whom the message is for has gone */
    } else if (entry) {
        entry->holds++;
    } else if ((entry = add_entry(guest, number, kind))) {
        entry->holds = 1;
        entry->record = record;
        entry->actor = actor;
        if (record)
            rayi_record_ref(record);
        else
            rayi_actor_retain(actor);
        if (record && as_ref)
            rayi_put_u64(&port->fresh, number);
    }
    if (entry)
        entry->as_ref |= as_ref;
    pthread_mutex_unlock(&guest->lock);
    if (entry) {
        rayi_put_u8(&port->named, kind == RAYI_ENTRY_ACTOR ? RAYI_NAMED_ACTOR : RAYI_NAMED_RECORD);
        rayi_put_u64(&port->named, number);
    }
    return entry ? number : 0;
}

static uint64_t name_record(rayi_port *of, rayi_thread *thread, rayi_record *record)
{
    rayi_record *named = record;
    uint64_t number;

    if (record->type == RAYI_FIXED) /* shared by all runtimes: it can't have a number */
        named = rayi_object_failed(thread, rayi_error_plain(-(int)record->size));
    number = named->type == RAYI_FIXED ? 0 : rayi_record_number(thread, named);
    number = number ? name((rayi_guest_port *)of, number, RAYI_ENTRY_RECORD, named, NULL, true) : 0;
    if (named != record)
        rayi_record_unref(thread, named);
    return number;
}

static uint64_t name_block(rayi_port *of, rayi_thread *thread, rayi_record *object)
{
    uint64_t number = rayi_record_number(thread, object);

    return number ? name((rayi_guest_port *)of, number, RAYI_ENTRY_RECORD, object, NULL, false) : 0;
}

static uint64_t name_actor(rayi_port *of, rayi_thread *thread, ray_actor *actor)
{
    (void)thread;
    return name((rayi_guest_port *)of, rayi_actor_number(actor), RAYI_ENTRY_ACTOR, NULL, actor, false);
}

static uint64_t name_group(rayi_port *of, ray_placement_group *group)
{
    (void)of, (void)group;
    return 0; /* the node sends no options */
}

/* Segments that the guest does not know yet go over the socket, before the message that names them. */
static int tell_segment(rayi_guest *guest, const rayi_place *place, bool writable)
{
    const rayi_memory *memory = rayi_heap;
    rayi_wire_segment what = {
        .segment = place->segment, .size_bytes = place->segment_bytes, .writable = writable ? 1 : 0};
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec bytes = {.iov_base = &what, .iov_len = sizeof what};
    struct msghdr message = {
        .msg_iov = &bytes, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    rayi_segment_told *told;
    int fd, r;
    ssize_t sent;

    HASH_FIND(hh, guest->segments, &place->segment, sizeof place->segment, told);
    if (told)
        return 0;
    r = rayi_store_share(rayi_executor_store(guest->of->node.executor), place->segment, writable, &fd);
    if (r < 0)
        return r;
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof fd);
    *(int *)(void *)CMSG_DATA(head) = fd;
    do
        sent = sendmsg(guest->socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    close(fd);
    if (sent < 0 && (errno == EPIPE || errno == ECONNRESET))
        return RAYI_GONE;
    if (sent < 0)
        return rayi_fail(RAY_ERR_SYSTEM, "a worker process takes no segment of the object store: error %d", errno);
    told = rayi_zalloc(sizeof *told);
    if (!told)
        return 0; /* it is told again, which does no harm */
    told->segment = place->segment;
    HASH_ADD(hh, guest->segments, segment, sizeof told->segment, told);
    if (!told->hh.tbl)
        rayi_free(told);
    return 0;
}

int rayi_guest_tell_place(rayi_guest *guest, rayi_block *block, rayi_writer *writer, bool writable)
{
    rayi_place place;
    int r;

    rayi_block_place(block, &place);
    r = guest->open ? tell_segment(guest, &place, writable) : RAYI_GONE;
    rayi_put_u64(writer, place.segment);
    rayi_put_u64(writer, place.segment_bytes);
    rayi_put_u64(writer, place.offset);
    return r;
}

/* Of the port's life; the lock is held. */
static rayi_entry *entry_of(const rayi_guest_port *port, uint64_t number)
{
    return atomic_load(&port->guest->life) == port->life ? rayi_guest_find(port->guest, number) : NULL;
}

int rayi_guest_port_pin(rayi_guest_port *port, rayi_record *object, uint64_t number, rayi_writer *writer)
{
    rayi_guest *guest = port->guest;
    rayi_block *block = rayi_object_block(object);
    rayi_entry *entry;
    int r;

    if (!rayi_block_try_pin(block))
        return RAYI_LATER;
    pthread_mutex_lock(&guest->lock);
    entry = entry_of(port, number);
    r = entry ? rayi_guest_tell_place(guest, block, writer, false) : RAY_ERR_NOT_FOUND;
    if (r == 0)
        entry->pins++;
    pthread_mutex_unlock(&guest->lock);
    if (r != 0) {
        rayi_block_unpin(block);
        return r;
    }
    rayi_put_u8(&port->named, RAYI_NAMED_PIN);
    rayi_put_u64(&port->named, number);
    return 0;
}

static int write_place(rayi_port *of, rayi_thread *thread, rayi_writer *writer, rayi_record *object, bool open)
{
    (void)thread;
    rayi_put_u8(writer, open);
    return open ? rayi_guest_port_pin((rayi_guest_port *)of, object, rayi_record_number_if(object), writer) : 0;
}

/* ---- what a worker names ---- */

static rayi_record *record_of(rayi_port *of, rayi_thread *thread, uint64_t number)
{
    rayi_guest_port *port = (rayi_guest_port *)of;
    rayi_guest *guest = port->guest;
    rayi_record *record = NULL;
    rayi_entry *entry;

    (void)thread;
    pthread_mutex_lock(&guest->lock);
    entry = entry_of(port, number);
    if (entry && entry->kind == RAYI_ENTRY_RECORD) {
        record = entry->record;
        rayi_record_ref(record);
    }
    pthread_mutex_unlock(&guest->lock);
    return record;
}

static ray_actor *actor_of(rayi_port *of, rayi_thread *thread, uint64_t number, const char *class, const char *text)
{
    rayi_guest_port *port = (rayi_guest_port *)of;
    rayi_guest *guest = port->guest;
    ray_actor *actor = NULL;
    rayi_entry *entry;

    (void)thread, (void)class, (void)text;
    pthread_mutex_lock(&guest->lock);
    entry = entry_of(port, number);
    if (entry && entry->kind == RAYI_ENTRY_ACTOR) {
        actor = entry->actor;
        rayi_actor_retain(actor);
    } else if (!entry && guest->actor && rayi_actor_number(guest->actor) == number &&
               rayi_actor_try_retain(guest->actor)) {
        actor = guest->actor; /* itself */
    }
    pthread_mutex_unlock(&guest->lock);
    return actor;
}

/* Requests are answered on the loop while another thread receives, so the one may release what the other has named: the
 * port keeps it. */
static ray_placement_group *group_of(rayi_port *of, uint64_t number)
{
    rayi_guest_port *port = (rayi_guest_port *)of;
    rayi_guest *guest = port->guest;
    ray_placement_group *group = NULL;
    rayi_entry *entry;

    if (port->group) /* a message names one at most */
        return NULL;
    pthread_mutex_lock(&guest->lock);
    entry = entry_of(port, number);
    if (entry && entry->kind == RAYI_ENTRY_GROUP) {
        group = entry->group;
        port->group = guest->of->node.body->group_record(group);
        rayi_record_ref(port->group);
    }
    pthread_mutex_unlock(&guest->lock);
    return group;
}

static rayi_record *block_of(rayi_port *of, rayi_thread *thread, uint64_t number, unsigned kind, uint64_t size_bytes,
                             rayi_reader *reader)
{
    rayi_record *record = record_of(of, thread, number);
    bool fits = rayi_take_u8(reader) == 0 && !reader->failed && record && record->type == RAYI_OBJECT &&
                record->kind == kind && record->size == size_bytes;

    if (!fits && record)
        rayi_record_unref(thread, record);
    return fits ? record : NULL;
}

void rayi_guest_port_init(rayi_guest_port *port, rayi_guest *guest)
{
    port->port = (rayi_port){.knows_holds = true,
                             .name_record = name_record,
                             .name_block = name_block,
                             .name_actor = name_actor,
                             .name_group = name_group,
                             .write_place = write_place,
                             .record_of = record_of,
                             .actor_of = actor_of,
                             .group_of = group_of,
                             .block_of = block_of};
    port->guest = guest;
    port->life = atomic_load(&guest->life);
    port->group = NULL;
    rayi_writer_init(&port->fresh);
    rayi_writer_init(&port->named);
}

static void port_fini(rayi_guest_port *port, rayi_thread *thread)
{
    if (port->group)
        rayi_record_unref(thread, port->group);
    rayi_writer_fini(&port->fresh);
    rayi_writer_fini(&port->named);
}

void rayi_guest_port_done(rayi_guest_port *port, rayi_thread *thread)
{
    rayi_guest *guest = port->guest;
    rayi_reader fresh = rayi_reader_of(port->fresh.data, port->fresh.size);

    while (rayi_reader_left(&fresh) > 0)
        watch(guest, thread, rayi_take_u64(&fresh), port->life);
    port_fini(port, thread);
}

void rayi_guest_port_undo(rayi_guest_port *port, rayi_thread *thread)
{
    rayi_reader named = rayi_reader_of(port->named.data, port->named.size);

    while (rayi_reader_left(&named) > 0) {
        unsigned what = rayi_take_u8(&named);
        uint64_t number = rayi_take_u64(&named);
        if (atomic_load(&port->guest->life) != port->life)
            continue; /* all that it held has gone */
        if (what == RAYI_NAMED_PIN)
            (void)rayi_guest_close(port->guest, number);
        else
            (void)rayi_guest_release(port->guest, thread, number, 1,
                                     what == RAYI_NAMED_ACTOR ? RAYI_ENTRY_ACTOR : RAYI_ENTRY_RECORD);
    }
    port_fini(port, thread);
}

/* ---- entering, releasing ---- */

bool rayi_guest_enter(rayi_guest *guest, uint64_t number, enum rayi_entry_kind kind, void *what, bool tell,
                      rayi_thread *thread)
{
    rayi_entry *entry = NULL;
    uint32_t life = atomic_load(&guest->life);

    pthread_mutex_lock(&guest->lock);
    if (rayi_guest_owns_number(guest, number) && !rayi_guest_find(guest, number))
        entry = add_entry(guest, number, kind);
    if (entry) {
        entry->holds = 1;
        if (kind == RAYI_ENTRY_ACTOR)
            entry->actor = what;
        else if (kind == RAYI_ENTRY_GROUP)
            entry->group = what;
        else
            entry->record = what;
    }
    pthread_mutex_unlock(&guest->lock);
    if (entry && tell)
        watch(guest, thread, number, life);
    return entry != NULL;
}

int rayi_guest_enter_buffer(rayi_guest *guest, rayi_thread *thread, uint64_t number, rayi_record *object,
                            rayi_writer *place)
{
    int r;

    if (!rayi_record_set_number_once(thread, object, number) ||
        !rayi_guest_enter(guest, number, RAYI_ENTRY_BUFFER, object, false, thread))
        return RAY_ERR_CORRUPT;
    pthread_mutex_lock(&guest->lock);
    r = rayi_guest_tell_place(guest, rayi_object_block(object), place, true);
    pthread_mutex_unlock(&guest->lock);
    if (r != 0) {
        rayi_record_ref(object); /* the caller's is the one that goes */
        (void)rayi_guest_release(guest, thread, number, 1, RAYI_ENTRY_RECORD);
    }
    return r;
}

uint64_t rayi_guest_name_group(rayi_guest *guest, rayi_thread *thread, ray_placement_group *group)
{
    rayi_record *record = guest->of->node.body->group_record(group);
    uint64_t number = rayi_record_number(thread, record);
    bool had = false;
    rayi_entry *entry;

    pthread_mutex_lock(&guest->lock);
    entry = number ? rayi_guest_find(guest, number) : NULL;
    had = entry != NULL;
    if (number && !entry && (entry = add_entry(guest, number, RAYI_ENTRY_GROUP)))
        entry->group = group;
    if (entry)
        entry->holds++;
    pthread_mutex_unlock(&guest->lock);
    if (had || !entry)
        rayi_record_unref(thread, record);
    return entry ? number : 0;
}

/* An entry that is out of the table; no lock is held. */
static void entry_free(const rayi_guest *guest, rayi_entry *entry, rayi_thread *thread)
{
    if (entry->news)
        news_end(entry->news, thread);
    while (entry->pins > 0) {
        rayi_block_unpin(rayi_object_block(entry->record));
        entry->pins--;
    }
    if (entry->record)
        rayi_record_unref(thread, entry->record);
    if (entry->actor)
        rayi_actor_release(thread, entry->actor);
    if (entry->group)
        rayi_record_unref(thread, guest->of->node.body->group_record(entry->group));
    rayi_free(entry);
}

bool rayi_guest_release(rayi_guest *guest, rayi_thread *thread, uint64_t number, uint64_t holds,
                        enum rayi_entry_kind kind)
{
    rayi_entry *entry;
    bool known, gone = false, again = false;
    uint32_t life = atomic_load(&guest->life);

    pthread_mutex_lock(&guest->lock);
    entry = rayi_guest_find(guest, number);
    known = entry && holds <= entry->holds &&
            (entry->kind == kind || (kind == RAYI_ENTRY_RECORD && entry->kind == RAYI_ENTRY_BUFFER));
    if (known) {
        entry->holds -= holds;
        gone = entry->holds == 0;
        again = !gone && entry->as_ref;
        if (again) /* once: the COMPLETE names it, too, and may be met by a worker that does not know it (yet) */
            entry->as_ref = false;
        if (gone)
            remove_entry(guest, entry);
    }
    pthread_mutex_unlock(&guest->lock);
    if (gone)
        entry_free(guest, entry, thread);
    if (again) /* the worker had forgotten it before it heard of the last naming */
        watch(guest, thread, number, life);
    return known;
}

bool rayi_guest_close(rayi_guest *guest, uint64_t number)
{
    rayi_entry *entry;
    rayi_block *block = NULL;
    bool known;

    pthread_mutex_lock(&guest->lock);
    entry = rayi_guest_find(guest, number);
    known = entry && entry->record && rayi_object_is_far(entry->record);
    if (known && entry->pins > 0) {
        entry->pins--;
        block = rayi_object_block(entry->record);
    }
    pthread_mutex_unlock(&guest->lock);
    if (block)
        rayi_block_unpin(block); /* only this receiver could drop the entry meanwhile */
    return known;
}

void rayi_guest_drop_all(rayi_guest *guest, rayi_thread *thread)
{
    const rayi_memory *memory = rayi_heap;
    rayi_segment_told *told, *next_told;
    rayi_entry *entries, *entry, *next;

    pthread_mutex_lock(&guest->lock);
    entries = guest->entries;
    guest->entries = NULL;
    HASH_ITER (hh, guest->segments, told, next_told) {
        HASH_DEL(guest->segments, told);
        rayi_free(told);
    }
    pthread_mutex_unlock(&guest->lock);
    HASH_ITER (hh, entries, entry, next) {
        HASH_DEL(entries, entry);
        entry_free(guest, entry, thread);
    }
}

void rayi_isolation_segment_gone(rayi_isolation *isolation, uint64_t segment)
{
    const rayi_memory *memory = rayi_heap;
    unsigned count = atomic_load(&isolation->num_guests);
    rayi_segment_told *told;

    for (unsigned i = 0; i < count; i++) {
        rayi_guest *guest = isolation->guests[i];
        pthread_mutex_lock(&guest->lock);
        HASH_FIND(hh, guest->segments, &segment, sizeof segment, told);
        if (told) {
            HASH_DEL(guest->segments, told);
            rayi_free(told);
            if (rayi_guest_send(guest, RAYI_DOWN_SEGMENT_GONE, &segment, sizeof segment, NULL, 0))
                rayi_channel_wake_worker(guest->channel);
        }
        pthread_mutex_unlock(&guest->lock);
    }
}
