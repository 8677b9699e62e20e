/* The bytes of another node's object, here: where they are mapped or copied from (the source of its block), and whom
 * that helps.
 *
 * A large copy is made with the help of the node that the object comes from (its origin). It is told that one begins,
 * and says where from: from others that have it, or are at it (copies.h). What has come can be fetched from here at
 * once, under a number of ours, until it is dropped; the origin hears when all of it is there, and when it is gone. If
 * those that the origin named fail, or bring nothing for a while, the places that came with the object are asked.
 *
 * An object is fetched on the thread that pins it. The news for the origin go through the loop (tell_news), and so does
 * the end of what is listed there. */
#include "cluster/inside.h"

#include <time.h>

enum { PARENTS_MOST = 2, SHARED_BYTES = 4 << 20 /* less is not worth the asking */ };
#define ANSWER_NS (INT64_C(500) * 1000000)  /* so long is waited for what the origin says */
#define STALL_NS  (INT64_C(1000) * 1000000) /* who brings nothing for so long is not asked any more */
#define AGAIN     1

typedef struct rayi_copying {
    rayi_wanted *wanted;
    void *to;
    rayi_bulk_marks *marks;
    bool is_answered; /* names_lock */
    uint32_t num_parents;
    rayi_object_place parents[PARENTS_MOST];
    uint32_t num_used; /* those that are asked */
    rayi_object_place used[RAYI_PLACES_MOST];
    bool uses_parents;
    uint64_t seen; /* chunks; the bulk's thread has these two while it fetches */
    int64_t seen_ns;
} copying;

/* ---- news for the origin ---- */

static void send_copy(rayi_neighbour *n, uint64_t number, enum rayi_copy_news what, uint64_t own)
{
    rayi_writer writer;

    rayi_between_begin(&writer, RAYI_BETWEEN_COPY);
    rayi_put_u64(&writer, number);
    rayi_put_u8(&writer, (uint8_t)what);
    if (what == RAYI_COPY_BEGINS) {
        rayi_put_u64(&writer, own);
        rayi_put_text(&writer, n->cluster->bulk_address);
    }
    rayi_between_say(n, &writer);
}

uint64_t rayi_wanted_serve(rayi_cluster *cluster, rayi_record *record)
{
    const rayi_memory *memory = rayi_heap;
    uint64_t number = rayi_record_number(cluster->node.thread, record);
    rayi_served *s = NULL;

    pthread_mutex_lock(&cluster->names_lock);
    if (number)
        HASH_FIND(hh, cluster->served, &number, sizeof number, s);
    if (!s && number && (s = rayi_zalloc(sizeof *s))) {
        s->number = number;
        s->record = record;
        HASH_ADD(hh, cluster->served, number, sizeof s->number, s);
        if (!s->hh.tbl) {
            rayi_free(s);
            s = NULL;
        }
    }
    pthread_mutex_unlock(&cluster->names_lock);
    return s ? number : 0;
}

/* If it is still at it. */
static bool set_listed(rayi_wanted *wanted)
{
    bool is_copying;

    pthread_mutex_lock(&wanted->cluster->names_lock);
    is_copying = wanted->copying != NULL;
    wanted->is_listed = is_copying;
    pthread_mutex_unlock(&wanted->cluster->names_lock);
    return is_copying;
}

static void give_no_answer(rayi_wanted *wanted)
{
    pthread_mutex_lock(&wanted->cluster->names_lock);
    if (wanted->copying)
        wanted->copying->is_answered = true;
    pthread_cond_broadcast(&wanted->cluster->names_changed);
    pthread_mutex_unlock(&wanted->cluster->names_lock);
}

static void tell_begins(rayi_wanted *wanted, rayi_neighbour *n, rayi_record *record)
{
    uint64_t own = n && record && wanted->cluster->bulk_address ? rayi_wanted_serve(wanted->cluster, record) : 0;

    if (own == 0)
        give_no_answer(wanted);
    else if (set_listed(wanted))
        send_copy(n, rayi_wanted_origin(wanted)->number, RAYI_COPY_BEGINS, own);
}

/* Nobody else has it any more: what came is worth keeping. */
static void keep_if_last(rayi_wanted *wanted, rayi_record *record)
{
    rayi_block *block;
    bool is_lost;

    pthread_mutex_lock(&wanted->cluster->names_lock);
    is_lost = rayi_wanted_is_lost(wanted);
    pthread_mutex_unlock(&wanted->cluster->names_lock);
    block = is_lost && record ? rayi_object_block(record) : NULL;
    if (block && rayi_block_try_pin(block)) {
        (void)rayi_block_keep(block); /* wanted goes with it, now or when what it has posted was told */
        rayi_block_unpin(block);
    }
}

static void tell_news(rayi_cluster *cluster, rayi_finished *finished)
{
    rayi_wanted *wanted = rayi_container_of(finished, rayi_wanted, finished);
    rayi_neighbour *n = rayi_neighbour_find(cluster, &rayi_wanted_origin(wanted)->node);
    rayi_record *record;
    unsigned news;
    bool is_over;

    pthread_mutex_lock(&cluster->names_lock);
    news = wanted->news;
    is_over = wanted->is_over;
    record = wanted->record && rayi_record_try_ref(wanted->record) ? wanted->record : NULL;
    wanted->news = 0;
    wanted->is_posted = false;
    pthread_mutex_unlock(&cluster->names_lock);
    if (news & RAYI_COPY_BEGINS)
        tell_begins(wanted, n, record);
    if (n && (news & RAYI_COPY_GONE))
        send_copy(n, rayi_wanted_origin(wanted)->number, RAYI_COPY_GONE, 0);
    else if (n && (news & RAYI_COPY_WHOLE))
        send_copy(n, rayi_wanted_origin(wanted)->number, RAYI_COPY_WHOLE, 0);
    if (is_over)
        rayi_free(wanted);
    else if (news & RAYI_COPY_WHOLE)
        keep_if_last(wanted, record);
    if (record)
        rayi_record_unref(cluster->node.thread, record);
    if (is_over)
        rayi_cluster_unref(cluster);
}

/* Of what is there no more, that it was whole is no news. */
static void post(rayi_wanted *wanted)
{
    rayi_cluster *cluster = wanted->cluster;

    if (wanted->is_posted)
        return;
    wanted->is_posted = true;
    wanted->finished.tell = tell_news;
    wanted->finished.next = cluster->finished;
    cluster->finished = &wanted->finished;
    if (!wanted->finished.next)
        rayi_cluster_stir(cluster);
}

void rayi_wanted_tell(rayi_wanted *wanted, unsigned news)
{
    if (news != RAYI_COPY_BEGINS && !wanted->is_listed)
        return;
    if (news == RAYI_COPY_GONE)
        wanted->is_listed = false;
    wanted->news |= news;
    post(wanted);
}

/* ---- copying ---- */

static void ask_origin(copying *c, int64_t deadline_ns)
{
    rayi_cluster *cluster = c->wanted->cluster;
    int64_t until_ns = RAYI_MIN(deadline_ns, rayi_now_ns() + ANSWER_NS);
    const struct timespec until = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};

    pthread_mutex_lock(&cluster->names_lock);
    if (!rayi_wanted_origin(c->wanted)->is_gone)
        rayi_wanted_tell(c->wanted, RAYI_COPY_BEGINS);
    else
        c->is_answered = true;
    while (!c->is_answered && !cluster->deaf && rayi_now_ns() < until_ns)
        (void)pthread_cond_timedwait(&cluster->names_changed, &cluster->names_lock, &until);
    pthread_mutex_unlock(&cluster->names_lock);
}

/* Those that the origin named; else those that came with the object. */
static size_t choose(copying *c, rayi_bulk_source *out)
{
    rayi_wanted *wanted = c->wanted;
    bool has_key = wanted->cluster->has_key;

    pthread_mutex_lock(&wanted->cluster->names_lock);
    c->num_used = 0;
    for (uint32_t i = 0; i < c->num_parents; i++)
        if (!c->parents[i].is_gone)
            c->used[c->num_used++] = c->parents[i];
    c->uses_parents = c->num_used > 0;
    for (uint32_t i = 0; !c->uses_parents && i < wanted->num_places; i++)
        if (!wanted->places[i].is_gone && c->num_used < RAYI_PLACES_MOST)
            c->used[c->num_used++] = wanted->places[i];
    pthread_mutex_unlock(&wanted->cluster->names_lock);
    for (uint32_t i = 0; i < c->num_used; i++)
        out[i] = (rayi_bulk_source){
            .address = c->used[i].address, .object = c->used[i].number, .peer = has_key ? c->used[i].key.bytes : NULL};
    return c->num_used;
}

static int fail_lost(const rayi_wanted *wanted)
{
    char name[RAYI_ID_SIZE];

    pthread_mutex_lock(&wanted->cluster->names_lock);
    rayi_hex(name, rayi_wanted_origin(wanted)->node.bytes, sizeof(rayi_node_id));
    pthread_mutex_unlock(&wanted->cluster->names_lock);
    return rayi_fail(RAY_ERR_OBJECT_LOST, "the object was on node %s, which died", name);
}

static bool may_ask(void *arg, size_t source)
{
    copying *c = arg;
    uint64_t count = rayi_bulk_marks_count(c->marks);
    int64_t now = rayi_now_ns();
    bool is_gone;

    if (count != c->seen) {
        c->seen = count;
        c->seen_ns = now;
    }
    pthread_mutex_lock(&c->wanted->cluster->names_lock);
    is_gone = c->used[source].is_gone;
    pthread_mutex_unlock(&c->wanted->cluster->names_lock);
    return !is_gone && (!c->uses_parents || now < c->seen_ns + STALL_NS);
}

static bool is_of_the_source(int code)
{
    return code < 0 && code != RAY_ERR_SHUTDOWN && code != RAY_ERR_FETCH_TIMEOUT && code != RAY_ERR_NO_MEMORY;
}

/* AGAIN: those who were asked have not got it, but there are others. */
static int copy_once(copying *c, size_t size_bytes, int64_t deadline_ns)
{
    rayi_bulk_source sources[RAYI_PLACES_MOST];
    rayi_bulk_want want = {.sources = sources,
                           .num_sources = choose(c, sources),
                           .size_bytes = size_bytes,
                           .to = c->to,
                           .deadline_ns = deadline_ns,
                           .marks = c->marks,
                           .may_ask = may_ask,
                           .may_ask_arg = c};
    bool is_lost;
    int r;

    if (want.num_sources == 0)
        return fail_lost(c->wanted);
    c->seen = 0;
    c->seen_ns = rayi_now_ns();
    r = rayi_bulk_fetch(c->wanted->cluster->bulk, &want);
    if (!is_of_the_source(r))
        return r;
    pthread_mutex_lock(&c->wanted->cluster->names_lock);
    is_lost = rayi_wanted_is_lost(c->wanted);
    if (c->uses_parents)
        c->num_parents = 0;
    pthread_mutex_unlock(&c->wanted->cluster->names_lock);
    return is_lost ? fail_lost(c->wanted) : c->uses_parents ? AGAIN : r;
}

static void begin(copying *c)
{
    pthread_mutex_lock(&c->wanted->cluster->names_lock);
    c->wanted->copying = c;
    pthread_mutex_unlock(&c->wanted->cluster->names_lock);
}

/* From here on its memory is the store's. Nobody looks at the bulk any more once it was told to cancel all. */
static void end(copying *c, int r)
{
    rayi_cluster *cluster = c->wanted->cluster;

    if (r < 0)
        rayi_bulk_marks_fail(c->marks);
    if (r < 0 && r != RAY_ERR_SHUTDOWN)
        rayi_bulk_grown(cluster->bulk);
    pthread_mutex_lock(&cluster->names_lock);
    c->wanted->copying = NULL;
    rayi_wanted_tell(c->wanted, r < 0 ? RAYI_COPY_GONE : RAYI_COPY_WHOLE);
    pthread_mutex_unlock(&cluster->names_lock);
    rayi_bulk_marks_unref(c->marks);
}

/* Copies that were found when it was lost may have gone, too, without a death: then it is lost once more. */
static bool let_go(rayi_wanted *wanted)
{
    bool is_lost;

    pthread_mutex_lock(&wanted->cluster->names_lock);
    is_lost = wanted->is_found;
    for (uint32_t i = 0; is_lost && i < wanted->num_places; i++)
        wanted->places[i].is_gone = true;
    pthread_mutex_unlock(&wanted->cluster->names_lock);
    return is_lost;
}

static int fetch(void *arg, void *to, size_t size_bytes, int64_t deadline_ns)
{
    copying c = {.wanted = arg, .to = to};
    rayi_record *made;
    int r;

    pthread_mutex_lock(&c.wanted->cluster->names_lock);
    made = rayi_wanted_made_here(c.wanted);
    pthread_mutex_unlock(&c.wanted->cluster->names_lock);
    r = made ? rayi_wanted_copy_made(made, to, size_bytes) : rayi_bulk_marks_new(size_bytes, 0, &c.marks);
    if (r < 0 || made)
        return r;
    begin(&c);
    if (size_bytes >= SHARED_BYTES)
        ask_origin(&c, deadline_ns);
    do
        r = copy_once(&c, size_bytes, deadline_ns);
    while (r == AGAIN);
    end(&c, r);
    return r == RAY_ERR_NOT_FOUND && let_go(c.wanted) ? fail_lost(c.wanted) : r;
}

bool rayi_wanted_open(rayi_wanted *wanted, rayi_early **early, rayi_bulk_object *out)
{
    copying *c = wanted->copying;

    *early = c ? rayi_block_pin_early(wanted->block) : NULL;
    if (!*early)
        return false;
    *out = (rayi_bulk_object){
        .bytes = c->to, .size_bytes = rayi_block_size(wanted->block), .marks = rayi_bulk_marks_ref(c->marks)};
    return true;
}

/* ---- mapping ---- */

/* Those of this host; where the object comes from first: it has the bytes for certain. */
static uint32_t list_near(const rayi_wanted *wanted, rayi_node_id *nodes, uint64_t *numbers)
{
    uint32_t count = 0;

    pthread_mutex_lock(&wanted->cluster->names_lock);
    for (uint32_t i = 0; i < wanted->num_places && count < RAYI_PLACES_MOST; i++) {
        const rayi_object_place *at = &wanted->places[(wanted->origin + i) % wanted->num_places];
        if (!at->is_near || at->is_gone)
            continue;
        nodes[count] = at->node;
        numbers[count++] = at->number;
    }
    pthread_mutex_unlock(&wanted->cluster->names_lock);
    return count;
}

/* What was mapped once outlives its process; what was not, does not. */
static bool map(void *arg, size_t size_bytes, int64_t deadline_ns, rayi_foreign **segment, size_t *offset)
{
    rayi_wanted *wanted = arg;
    rayi_maps *maps = wanted->cluster->maps;
    rayi_node_id nodes[RAYI_PLACES_MOST];
    uint64_t numbers[RAYI_PLACES_MOST];
    uint32_t count = 0;

    if (wanted->mapping)
        return rayi_maps_use(maps, &wanted->mapping, NULL, 0, size_bytes, deadline_ns, segment, offset);
    if (maps)
        count = list_near(wanted, nodes, numbers);
    for (uint32_t i = 0; i < count; i++)
        if (rayi_maps_use(maps, &wanted->mapping, &nodes[i], numbers[i], size_bytes, deadline_ns, segment, offset))
            return true;
    return false;
}

static void unmap(void *arg)
{
    rayi_wanted *wanted = arg;

    rayi_maps_unuse(wanted->cluster->maps, wanted->mapping);
}

/* ---- its end ---- */

static void forget(void *arg)
{
    rayi_wanted *wanted = arg;
    rayi_cluster *cluster = wanted->cluster;
    rayi_record *instead;
    bool goes_now;

    rayi_maps_forget(cluster->maps, wanted->mapping);
    pthread_mutex_lock(&cluster->names_lock);
    instead = wanted->instead;
    wanted->instead = NULL;
    wanted->is_made_here = false;
    DL_DELETE(cluster->wanted, wanted);
    if (!cluster->deaf)
        rayi_wanted_tell(wanted, RAYI_COPY_GONE);
    wanted->is_over = true;
    wanted->record = NULL;
    goes_now = !wanted->is_posted;
    pthread_mutex_unlock(&cluster->names_lock);
    if (instead)
        rayi_record_unref_late(instead);
    if (!goes_now)
        return;
    rayi_free(wanted);
    rayi_cluster_unref(cluster);
}

const rayi_source rayi_wanted_source = {.fetch = fetch, .map = map, .unmap = unmap, .forget = forget};

bool rayi_wanted_is_lost(const rayi_wanted *wanted)
{
    if (wanted->is_made_here)
        return false;
    for (uint32_t i = 0; i < wanted->num_places; i++)
        if (!wanted->places[i].is_gone)
            return false;
    return true;
}

static void cross_out(rayi_object_place *places, uint32_t count, const rayi_node_id *id)
{
    for (uint32_t i = 0; i < count; i++)
        if (memcmp(&places[i].node, id, sizeof *id) == 0)
            places[i].is_gone = true;
}

void rayi_wanted_node_died(rayi_wanted *wanted, const rayi_node_id *id)
{
    copying *c = wanted->copying;

    cross_out(wanted->places, wanted->num_places, id);
    if (rayi_wanted_origin(wanted)->is_gone)
        wanted->is_listed = false;
    if (!c)
        return;
    cross_out(c->parents, c->num_parents, id);
    cross_out(c->used, c->num_used, id);
    c->is_answered |= rayi_wanted_origin(wanted)->is_gone;
    pthread_cond_broadcast(&wanted->cluster->names_changed);
}

/* ---- objects that move ---- */

static bool is_from(const rayi_wanted *wanted, const rayi_node_id *origin, uint64_t number)
{
    const rayi_object_place *of = rayi_wanted_origin(wanted);

    return of->number == number && memcmp(&of->node, origin, sizeof *origin) == 0;
}

rayi_record *rayi_wanted_find(rayi_cluster *cluster, const rayi_node_id *origin, uint64_t number)
{
    rayi_record *record = NULL;
    rayi_wanted *w;

    pthread_mutex_lock(&cluster->names_lock);
    DL_FOREACH (cluster->wanted, w) {
        if (!is_from(w, origin, number) || !w->record || !rayi_record_try_ref(w->record))
            continue;
        record = w->record;
        break;
    }
    pthread_mutex_unlock(&cluster->names_lock);
    return record;
}

bool rayi_wanted_keep_mapped(rayi_wanted *wanted)
{
    if (!wanted || !wanted->mapping)
        return false;
    rayi_maps_keep(wanted->cluster->maps, wanted->mapping);
    wanted->is_kept = true;
    return true;
}

static bool has_place(const rayi_wanted *wanted, const rayi_object_place *place)
{
    for (uint32_t i = 0; i < wanted->num_places; i++)
        if (memcmp(&wanted->places[i].node, &place->node, sizeof place->node) == 0)
            return true;
    return false;
}

bool rayi_wanted_add_place(rayi_cluster *cluster, const rayi_node_id *origin, uint64_t number,
                           const rayi_object_place *place, uint32_t *at, uint64_t *own)
{
    uint32_t index = 0;
    rayi_wanted *w;

    pthread_mutex_lock(&cluster->names_lock);
    DL_FOREACH (cluster->wanted, w) {
        if (index++ < *at || !is_from(w, origin, number) || has_place(w, place) || w->num_places == w->room)
            continue;
        w->places[w->num_places++] = *place;
        *own = w->record ? rayi_record_number_if(w->record) : 0;
        break;
    }
    pthread_mutex_unlock(&cluster->names_lock);
    *at = index;
    return w != NULL;
}

void rayi_wanted_add_copy(rayi_cluster *cluster, rayi_record *object, const rayi_object_place *place)
{
    rayi_wanted *w = rayi_wanted_of(object);
    uint32_t at = 0;

    pthread_mutex_lock(&cluster->names_lock);
    while (at < w->num_places && (at == w->origin || !w->places[at].is_gone))
        at++;
    if (!has_place(w, place) && at < w->room) {
        w->places[at] = *place;
        w->num_places = RAYI_MAX(w->num_places, at + 1);
    }
    pthread_mutex_unlock(&cluster->names_lock);
}

/* ---- what others say ---- */

static rayi_shared *find_shared(rayi_cluster *cluster, uint64_t number)
{
    rayi_shared *s;

    pthread_mutex_lock(&cluster->names_lock);
    HASH_FIND(hh, cluster->shared, &number, sizeof number, s);
    pthread_mutex_unlock(&cluster->names_lock);
    return s; /* the loop alone takes it away */
}

static void answer(rayi_neighbour *n, uint64_t number, const rayi_object_place *from, int count)
{
    rayi_writer writer;

    rayi_between_begin(&writer, RAYI_BETWEEN_PLACES);
    rayi_put_u64(&writer, number);
    rayi_put_u8(&writer, (uint8_t)RAYI_MAX(count, 0));
    if (count > 0)
        rayi_objects_put_place(&writer, from);
    rayi_between_say(n, &writer); /* no memory: it does not wait for long */
}

/* Out of memory it is not listed, and fetches from us. */
static bool take_begins(rayi_neighbour *n, rayi_shared *s, rayi_reader *reader)
{
    rayi_object_place who = {.node = n->id, .number = rayi_take_u64(reader)}, from;
    const char *address = rayi_take_text(reader);
    const rayi_member *member = rayi_roster_get(rayi_cluster_roster(n->cluster), &n->id);
    int count = 0;

    if (reader->failed || !address || strlen(address) >= sizeof who.address)
        return false;
    strcpy(who.address, address);
    if (member)
        who.key = member->key;
    if (s && member && !s->copies)
        (void)rayi_copies_new(rayi_heap, &s->copies);
    if (s && member && s->copies)
        count = rayi_copies_begin(s->copies, &who, &from);
    answer(n, who.number, &from, count);
    return true;
}

bool rayi_wanted_take_copy(rayi_neighbour *n, rayi_reader *reader)
{
    rayi_shared *s = find_shared(n->cluster, rayi_take_u64(reader));
    enum rayi_copy_news what = rayi_take_u8(reader);

    if (what == RAYI_COPY_BEGINS)
        return take_begins(n, s, reader);
    if (reader->failed || (what != RAYI_COPY_WHOLE && what != RAYI_COPY_GONE))
        return false;
    if (s && s->copies && what == RAYI_COPY_WHOLE)
        rayi_copies_whole(s->copies, &n->id);
    else if (s && s->copies)
        rayi_copies_gone(s->copies, &n->id);
    return true;
}

/* It may have ended meanwhile, or have waited long enough. */
static void set_parents(rayi_cluster *cluster, uint64_t number, const rayi_object_place *parents, uint32_t count)
{
    rayi_record *record = rayi_objects_find(cluster, number);
    rayi_wanted *wanted;

    if (!record)
        return;
    pthread_mutex_lock(&cluster->names_lock);
    wanted = rayi_wanted_of(record);
    if (wanted && wanted->copying && !wanted->copying->is_answered) {
        memcpy(wanted->copying->parents, parents, count * sizeof *parents);
        wanted->copying->num_parents = count;
        wanted->copying->is_answered = true;
        pthread_cond_broadcast(&cluster->names_changed);
    }
    pthread_mutex_unlock(&cluster->names_lock);
    rayi_record_unref(cluster->node.thread, record);
}

bool rayi_wanted_take_places(rayi_neighbour *n, rayi_reader *reader)
{
    rayi_object_place parents[PARENTS_MOST];
    uint64_t number = rayi_take_u64(reader);
    uint8_t count = rayi_take_u8(reader), kept = 0;

    if (count > PARENTS_MOST)
        return false;
    for (uint8_t i = 0; i < count; i++) {
        if (!rayi_objects_take_place(n->cluster, reader, &parents[kept]))
            return false;
        kept += rayi_neighbour_find(n->cluster, &parents[kept].node) != NULL; /* of others their death is not told */
    }
    set_parents(n->cluster, number, parents, kept);
    return !reader->failed;
}
