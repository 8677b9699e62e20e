/* Start and end of a node's part in a cluster, and what its loop does for it: one timer for all that is due, one
 * wake for what other threads have finished, one prepare handle for what links have written.
 *
 * Brains are asked what they want until they want nothing more, after each event (rayi_cluster_pump). */
#include "cluster/inside.h"
#include "process/process.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TELL_MS 250 /* the load of this node is looked at so often */

/* ---- what this node tells of itself ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const rayi_member_resource *)a)->name, ((const rayi_member_resource *)b)->name);
}

static void count_demand(void *arg, const rayi_scheduler_demand_row *row)
{
    *(uint32_t *)arg += (uint32_t)RAYI_MIN(row->count, (uint64_t)1 << 30);
}

/* The CPUs of the lane's idle slots are free, too. */
uint32_t rayi_cluster_load(rayi_executor *executor, rayi_scheduler *scheduler,
                           rayi_member_resource out[RAYI_MEMBER_RESOURCES_MAX], uint32_t *load)
{
    rayi_lane *lane = rayi_executor_lane(executor);
    uint32_t count = RAYI_MIN(rayi_scheduler_resource_count(scheduler), RAYI_MEMBER_RESOURCES_MAX);
    rayi_lane_counts counts;

    rayi_lane_count(lane, &counts);
    for (uint32_t i = 0; i < count; i++) {
        rayi_scheduler_resource r = rayi_scheduler_resource_at(scheduler, i);
        out[i] = (rayi_member_resource){.name = r.name, .total = r.total, .available = r.available};
        if (strcmp(r.name, "CPU") == 0)
            out[i].available += RAYI_MAX(counts.slots, 0) * RAYI_RESOURCE_UNIT;
    }
    qsort(out, count, sizeof *out, compare_names);
    *load = 0;
    rayi_scheduler_demand(scheduler, count_demand, load);
    *load += rayi_lane_starved(lane);
    return count;
}

static int fill_self(rayi_cluster *cluster)
{
    uint32_t load, kept = 0, count = rayi_scheduler_resource_count(cluster->node.scheduler);
    rayi_member *self = &cluster->self;

    if (count > RAYI_MEMBER_RESOURCES_MAX)
        return rayi_fail(RAY_ERR_LIMIT, "a node of a cluster has at most %d kinds of resources, got %u",
                         RAYI_MEMBER_RESOURCES_MAX, count);
    (void)rayi_cluster_load(cluster->node.executor, cluster->node.scheduler, cluster->resources, &load);
    for (uint32_t i = 0; i < count; i++)
        if (cluster->resources[i].total > 0)
            cluster->resources[kept++] = cluster->resources[i];
    self->id = cluster->id;
    memcpy(&self->key, rayi_transport_identity(cluster->transport), sizeof self->key);
    self->host = rayi_process_host();
    self->pid = getpid();
    self->flags = cluster->is_driver ? RAYI_MEMBER_DRIVER : 0;
    self->state = RAYI_NODE_ALIVE;
    self->address = cluster->texts[0];
    self->labels = cluster->labels;
    self->resources = cluster->resources;
    self->resource_count = kept;
    return 0;
}

void rayi_cluster_id_parse(const char *text, rayi_node_id *out)
{
    for (size_t i = 0; i < sizeof out->bytes; i++) {
        unsigned byte = 0;
        if (*text && sscanf(text, "%2x", &byte) == 1)
            text += text[1] ? 2 : 1;
        out->bytes[i] = (uint8_t)byte;
    }
}

/* ---- where it listens ---- */

/* The address of this host by which that one is reached; nothing is sent. Writes "HOST:0". */
static int host_towards(const char *address, char *out, size_t size)
{
    char host[256], here[64];
    const char *colon = strrchr(address, ':');
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM}, *found = NULL;
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    int fd = -1, r;

    if (!colon || (size_t)(colon - address) >= sizeof host)
        return rayi_fail(RAY_ERR_ARGUMENT, "expected an address HOST:PORT, got \"%.300s\"", address);
    snprintf(host, sizeof host, "%.*s", (int)(colon - address - 2 * (*address == '[')), address + (*address == '['));
    r = getaddrinfo(host, colon + 1, &hints, &found);
    if (r != 0)
        return rayi_fail(RAY_ERR_NOT_FOUND, "the host of %s: %s", address, gai_strerror(r));
    r = -1;
    for (struct addrinfo *at = found; at && r != 0; at = at->ai_next) {
        fd = socket(at->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        if (connect(fd, at->ai_addr, at->ai_addrlen) == 0 && getsockname(fd, (struct sockaddr *)&name, &length) == 0 &&
            getnameinfo((struct sockaddr *)&name, length, here, sizeof here, NULL, 0, NI_NUMERICHOST) == 0) {
            snprintf(out, size, name.ss_family == AF_INET6 ? "[%s]:0" : "%s:0", here);
            r = 0;
        }
        close(fd);
    }
    freeaddrinfo(found);
    return r == 0 ? 0 : rayi_fail(RAY_ERR_SYSTEM, "no way from this host to %s", address);
}

static bool is_any(const char *address)
{
    return strncmp(address, "0.0.0.0:", 8) == 0 || strncmp(address, "[::]:", 5) == 0;
}

/* What others dial: a wildcard is no address for them. */
char *rayi_cluster_shown_address(const char *listened)
{
    char host[96], whole[128];

    if (!is_any(listened) || host_towards(*listened == '[' ? "[2001:db8::1]:9" : "192.0.2.1:9", host, sizeof host) < 0)
        return rayi_strdup(listened);
    *strrchr(host, ':') = 0;
    snprintf(whole, sizeof whole, "%s%s", host, strrchr(listened, ':'));
    return rayi_strdup(whole);
}

/* With the last error as the reason. */
static int unreachable(const char *address)
{
    rayi_error *why = rayi_error_last();
    int r = rayi_fail(RAY_ERR_HEAD_UNREACHABLE, "cannot reach head at %s: %s", address,
                      why ? rayi_error_public(why)->message : "no way there");

    rayi_error_unref(why);
    return r;
}

static int listen_at(rayi_cluster *cluster, const rayi_cluster_config *config)
{
    static const rayi_listener_options none;
    rayi_listener_options options = none;
    const char *address = config->head ? config->address : config->listen, *colon;
    char found[96], next[320];
    int r = 0;

    options.events = &rayi_cluster_events;
    options.arg = cluster;
    if (!address) {
        r = host_towards(config->address, found, sizeof found);
        if (r == RAY_ERR_NOT_FOUND || r == RAY_ERR_SYSTEM)
            r = unreachable(config->address);
        address = found;
    }
    if (r == 0)
        r = rayi_listener_open(cluster->transport, address, &options, &cluster->listener);
    colon = strrchr(address, ':');
    for (int port = colon ? atoi(colon + 1) : 0, i = 0; r == RAY_ERR_EXISTS && config->any_port && i < 100; i++) {
        snprintf(next, sizeof next, "%.*s:%d", (int)(colon - address), address, port + 1 + i);
        r = rayi_listener_open(cluster->transport, next, &options, &cluster->listener);
    }
    if (r < 0)
        return r;
    cluster->texts[0] = rayi_cluster_shown_address(rayi_listener_address(cluster->listener));
    return cluster->texts[0] ? 0 : rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: an address");
}

/* ---- keys ---- */

/* A head makes the key that nobody has made; one that was named, where it was named. */
static int make_key(const rayi_cluster_config *config, rayi_key *out)
{
    const char *named = config->key_file ? config->key_file : getenv("RAY_KEY_FILE");
    char path[256];
    int r = rayi_key_make(out);

    if (r == 0 && (!named || !*named)) {
        snprintf(path, sizeof path, "%s/cluster-key", config->session);
        named = path;
    }
    if (r == 0)
        r = rayi_key_save(out, named);
    return r;
}

int rayi_cluster_seek_key(const rayi_cluster_config *config, rayi_key *out)
{
    const char *named = config->key_file ? config->key_file : getenv("RAY_KEY_FILE");
    int r = config->no_key ? RAY_ERR_NOT_FOUND : rayi_key_find(config->key_file, config->session, out, NULL);

    if (r == RAY_ERR_NOT_FOUND && config->head && !config->no_key)
        r = make_key(config, out);
    if (r == 0)
        return 1;
    return r == RAY_ERR_NOT_FOUND && (config->no_key || (config->head_is_own && (!named || !*named))) ? 0 : r;
}

/* Both the links of messages and those of objects are known by one identity. */
static int open_transport(rayi_cluster *cluster, const rayi_cluster_config *config)
{
    uint8_t identity[32];
    rayi_key key;
    int r = rayi_cluster_seek_key(config, &key);
    rayi_transport_options options = {.keys = &key,
                                      .num_keys = r > 0,
                                      .identity = identity,
                                      .vigil = cluster->node.vigil,
                                      .drain_bytes = 64 << 10,
                                      .message_bytes = 80 << 20};

    if (r < 0)
        return r;
    rayi_random_bytes(identity, sizeof identity);
    cluster->has_key = r > 0;
    r = rayi_transport_open(cluster->node.loop, &options, &cluster->transport);
    if (r == 0)
        r = listen_at(cluster, config);
    if (r == 0)
        r = rayi_objects_start(cluster, cluster->has_key ? &key : NULL, identity);
    rayi_key_wipe(&key);
    explicit_bzero(identity, sizeof identity);
    return r;
}

/* ---- the loop ---- */

static void on_timer(uv_timer_t *timer)
{
    rayi_cluster *cluster = timer->data;
    int64_t now = rayi_now_ms();

    if (cluster->members)
        rayi_members_tick(cluster->members, now);
    else
        rayi_membership_tick(cluster->membership, now);
    rayi_neighbours_tick(cluster, now);
    rayi_maps_tick(cluster);
    rayi_cluster_bus_tick(cluster, now);
    rayi_cluster_pump(cluster);
}

void rayi_cluster_set_timer(rayi_cluster *cluster)
{
    int64_t now = rayi_now_ms(), at;

    if (cluster->is_closing)
        return;
    at = cluster->members ? rayi_members_next_deadline(cluster->members)
                          : rayi_membership_next_deadline(cluster->membership);
    at = RAYI_MIN(at, rayi_neighbours_next_tick(cluster));
    at = RAYI_MIN(at, cluster->told_ms + TELL_MS);
    cluster->due_ms = at;
    uv_update_time(cluster->node.loop);
    uv_timer_start(&cluster->timer, on_timer, (uint64_t)RAYI_MAX(at - now, 0), 0);
}

uint32_t rayi_cluster_fill_tell(rayi_cluster *cluster, uint32_t *load, int64_t available[RAYI_MEMBER_RESOURCES_MAX])
{
    rayi_member_resource resources[RAYI_MEMBER_RESOURCES_MAX];
    uint32_t kept = 0;

    (void)rayi_cluster_load(cluster->node.executor, cluster->node.scheduler, resources, load);
    for (uint32_t i = 0; kept < cluster->self.resource_count; i++)
        if (strcmp(resources[i].name, cluster->self.resources[kept].name) == 0)
            available[kept++] = resources[i].available;
    return kept;
}

static void tell_load(rayi_cluster *cluster, int64_t now)
{
    int64_t available[RAYI_MEMBER_RESOURCES_MAX];
    uint32_t load;

    if (now < cluster->told_ms + TELL_MS)
        return;
    cluster->told_ms = now;
    (void)rayi_cluster_fill_tell(cluster, &load, available);
    if (cluster->members)
        rayi_members_tell_self(cluster->members, load, available, now);
    else
        rayi_membership_load(cluster->membership, load, available, now);
}

/* ---- drained ---- */

/* Nothing of theirs is here, nothing of ours there, and everything that was said has arrived. */
static bool is_quiet(const rayi_cluster *cluster)
{
    for (const rayi_neighbour *n = cluster->neighbours; n; n = n->hh.next)
        if (n->hosted || n->residents || n->away || n->afar || rayi_peer_look(n->peer).held > 0)
            return false;
    return !cluster->writing;
}

static void moved(void *of, uint32_t num_failed)
{
    rayi_cluster *cluster = of;

    cluster->objects = RAYI_MOVED;
    if (num_failed > 0)
        rayi_log(RAY_LOG_WARNING, "objects.lost", rayi_executor_node_id(cluster->node.executor),
                 "%u objects of this node end with it: nobody who holds them could take them over", num_failed);
    rayi_cluster_stir(cluster);
}

static void leave_if_drained(rayi_cluster *cluster)
{
    bool finished;

    if (!cluster->is_drained || !cluster->membership ||
        rayi_membership_state_of(cluster->membership) == RAYI_MEMBERSHIP_OUT)
        return;
    pthread_mutex_lock(&cluster->names_lock);
    finished = cluster->finished != NULL;
    pthread_mutex_unlock(&cluster->names_lock);
    if (finished || !is_quiet(cluster) || !cluster->node.idle(cluster->node.node))
        return;
    if (cluster->objects == RAYI_NOT_MOVED) {
        cluster->objects = RAYI_MOVING;
        if (rayi_moves_begin(cluster, moved, cluster) < 0)
            cluster->objects = RAYI_NOT_MOVED; /* with the next pump */
    } else if (cluster->objects == RAYI_MOVED) {
        rayi_member_stop(cluster);
    }
}

bool rayi_cluster_is_drained(const rayi_cluster *cluster)
{
    return cluster->is_drained;
}

void rayi_cluster_pump(rayi_cluster *cluster)
{
    if (cluster->is_closing || (!cluster->members && !cluster->membership)) /* the end, or a start that failed */
        return;
    tell_load(cluster, rayi_now_ms());
    if (cluster->members)
        rayi_head_pump(cluster);
    else
        rayi_member_pump(cluster);
    rayi_neighbours_pump(cluster);
    if (cluster->is_out_of_step) {
        rayi_cluster_sync(cluster);
        rayi_neighbours_pump(cluster);
    }
    leave_if_drained(cluster);
    if (!cluster->is_closing)
        rayi_cluster_set_timer(cluster);
}

/* What other threads push they push under names_lock, and the handle is closed under it: so none is sent to a handle
 * that has gone. */
void rayi_cluster_stir(rayi_cluster *cluster)
{
    if (!cluster->deaf)
        rayi_wake_send(&cluster->wake);
}

void rayi_cluster_finish(rayi_cluster *cluster, rayi_finished *finished)
{
    pthread_mutex_lock(&cluster->names_lock);
    finished->next = cluster->finished;
    cluster->finished = finished;
    if (!finished->next)
        rayi_cluster_stir(cluster);
    pthread_mutex_unlock(&cluster->names_lock);
}

void rayi_cluster_call(rayi_cluster *cluster, rayi_afar **next, rayi_afar *afar)
{
    pthread_mutex_lock(&cluster->names_lock);
    *next = cluster->calling;
    cluster->calling = afar;
    if (!*next)
        rayi_cluster_stir(cluster);
    pthread_mutex_unlock(&cluster->names_lock);
}

/* A list of which the latest comes first. */
void rayi_finished_tell(rayi_cluster *cluster, rayi_finished *all)
{
    rayi_finished *first = NULL, *next;

    for (; all; all = next) {
        next = all->next;
        all->next = first;
        first = all;
    }
    for (; first; first = next) {
        next = first->next;
        first->tell(cluster, first);
    }
}

static void tell_finished(rayi_cluster *cluster)
{
    rayi_finished *all;

    pthread_mutex_lock(&cluster->names_lock);
    all = cluster->finished;
    cluster->finished = NULL;
    pthread_mutex_unlock(&cluster->names_lock);
    rayi_finished_tell(cluster, all);
    rayi_afar_pump(cluster);
    rayi_away_look_now(cluster);
    rayi_names_give_back(cluster);
    rayi_handles_give_back(cluster);
}

static void on_wake(void *of)
{
    rayi_cluster *cluster = of;

    tell_finished(cluster);
    rayi_cluster_pump(cluster);
}

static void on_prepare(uv_prepare_t *prepare)
{
    rayi_cluster *cluster = prepare->data;
    bool any = cluster->writing != NULL;

    for (rayi_connection *c; (c = cluster->writing);) {
        cluster->writing = c->next_writing;
        c->is_writing = false;
        rayi_connection_written(c);
    }
    if (any)
        rayi_neighbours_pump(cluster);
}

/* ---- the table, as neighbours ---- */

static void sync_member(void *arg, const rayi_member *member)
{
    rayi_cluster *cluster = arg;

    if (memcmp(&member->id, &cluster->id, sizeof member->id) == 0)
        return;
    if (member->state != RAYI_NODE_DEAD) {
        rayi_neighbour_put(cluster, member);
    } else {
        rayi_neighbour *n = rayi_neighbour_find(cluster, &member->id);
        if (n && n->incarnation <= member->incarnation)
            rayi_neighbour_die(n);
    }
}

/* Who is not in the table any more was declared dead before. */
void rayi_cluster_sync(rayi_cluster *cluster)
{
    const rayi_roster *roster = rayi_cluster_roster(cluster);
    rayi_neighbour *n, *next;

    cluster->is_out_of_step = false;
    rayi_broken_prune(cluster);
    rayi_roster_each(roster, sync_member, cluster);
    HASH_ITER (hh, cluster->neighbours, n, next) {
        if (!rayi_roster_get(roster, &n->id))
            rayi_neighbour_die(n);
    }
    rayi_connections_look_again(cluster);
    cluster->node.changed(cluster->node.node);
}

const rayi_roster *rayi_cluster_roster(const rayi_cluster *cluster)
{
    return cluster->members ? rayi_members_roster(cluster->members) : rayi_membership_roster(cluster->membership);
}

const char *rayi_cluster_address(const rayi_cluster *cluster)
{
    return cluster->head_address;
}

const char *rayi_cluster_own_address(const rayi_cluster *cluster)
{
    return cluster->texts[0];
}

bool rayi_cluster_is_head(const rayi_cluster *cluster)
{
    return cluster->is_head;
}

bool rayi_cluster_is_self(const rayi_cluster *cluster, const rayi_node_id *id)
{
    return memcmp(&cluster->id, id, sizeof *id) == 0;
}

/* ---- start and end ---- */

static int open_handles(rayi_cluster *cluster)
{
    uv_loop_t *loop = cluster->node.loop;
    int r = rayi_wake_open(&cluster->wake, loop, cluster->node.vigil, on_wake, cluster);

    if (r < 0)
        return rayi_fail(RAY_ERR_SYSTEM, "the loop takes no handle: %s", uv_strerror(r));
    uv_timer_init(loop, &cluster->timer);
    uv_prepare_init(loop, &cluster->prepare);
    cluster->timer.data = cluster->prepare.data = cluster;
    uv_prepare_start(&cluster->prepare, on_prepare);
    cluster->num_uv = 3;
    return 0;
}

void rayi_cluster_handle_closed(rayi_cluster *cluster)
{
    if (--cluster->num_uv == 0 && cluster->closed)
        cluster->closed(cluster->node.node);
}

static void on_handle_closed(uv_handle_t *handle)
{
    rayi_cluster_handle_closed(handle->data);
}

static void on_transport_closed(void *arg)
{
    rayi_cluster_handle_closed(arg);
}

void rayi_cluster_left(rayi_cluster *cluster)
{
    pthread_mutex_lock(&cluster->names_lock);
    cluster->deaf = true;
    pthread_mutex_unlock(&cluster->names_lock);
    while (cluster->connections)
        rayi_connection_close(cluster->connections);
    rayi_bring_stop(cluster);
    rayi_moves_stop(cluster);
    rayi_objects_stop(cluster);
    rayi_maps_end(cluster);
    rayi_cluster_bus_stop(cluster);
    if (cluster->transport) {
        cluster->num_uv++;
        rayi_transport_close(cluster->transport, on_transport_closed, cluster);
        cluster->transport = NULL;
    }
    rayi_wake_close(&cluster->wake, on_handle_closed);
    uv_close((uv_handle_t *)&cluster->timer, on_handle_closed);
    uv_close((uv_handle_t *)&cluster->prepare, on_handle_closed);
}

static void init_names(rayi_cluster *cluster)
{
    pthread_condattr_t attributes;

    pthread_mutex_init(&cluster->names_lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&cluster->names_changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

int rayi_cluster_new(const rayi_cluster_node *node, const rayi_cluster_config *config, rayi_cluster **out)
{
    rayi_cluster *cluster = rayi_zalloc(sizeof *cluster);
    int r;

    if (!cluster)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the node's part in the cluster");
    cluster->node = *node;
    atomic_store(&cluster->refs, 1);
    cluster->is_head = config->head;
    cluster->is_driver = config->driver;
    cluster->deaf = true;
    cluster->faults_most = RAYI_FAULTS_MOST;
    init_names(cluster);
    rayi_cluster_id_parse(rayi_executor_node_id(node->executor), &cluster->id);
    cluster->labels = rayi_strdup(config->labels);
    r = cluster->labels ? open_handles(cluster) : rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: labels");
    if (r < 0)
        goto undo_cluster;
    cluster->deaf = false;
    r = open_transport(cluster, config);
    if (r == 0)
        r = fill_self(cluster);
    if (r == 0) {
        cluster->head_address = rayi_strdup(config->head ? cluster->texts[0] : config->address);
        r = !cluster->head_address ? rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: an address")
            : config->head         ? rayi_head_start(cluster)
                                   : rayi_member_start(cluster, config->head_wait_ms);
    }
    *out = cluster; /* what is open is closed by rayi_cluster_close, which a failure needs as well */
    if (r < 0)
        return r;
    rayi_cluster_pump(cluster);
    return 0;

undo_cluster:
    *out = NULL;
    rayi_cluster_fini(cluster);
    rayi_cluster_unref(cluster);
    return r;
}

void rayi_cluster_close(rayi_cluster *cluster, void (*closed)(void *node))
{
    rayi_neighbour *n, *next;

    cluster->closed = closed;
    if (cluster->membership)
        rayi_member_stop(cluster);
    if (cluster->members)
        rayi_head_stop(cluster);
    rayi_maps_let_go(cluster);
    rayi_neighbours_pump(cluster);
    HASH_ITER (hh, cluster->neighbours, n, next)
        rayi_neighbour_die(n);
    rayi_neighbours_pump(cluster);
    rayi_own_end(cluster);
    tell_finished(cluster);
    rayi_codes_node_died(cluster, NULL);
    cluster->is_closing = true;
    if (cluster->members)
        rayi_head_say_good_bye(cluster);
    else if (cluster->seat && rayi_membership_incarnation(cluster->membership))
        rayi_connection_finish(cluster->seat); /* so that the good-bye goes out */
    if (cluster->num_awaited == 0)
        rayi_cluster_left(cluster);
}

void rayi_cluster_ref(rayi_cluster *cluster)
{
    atomic_fetch_add_explicit(&cluster->refs, 1, memory_order_relaxed);
}

void rayi_cluster_unref(rayi_cluster *cluster)
{
    if (atomic_fetch_sub_explicit(&cluster->refs, 1, memory_order_acq_rel) > 1)
        return;
    RAYI_ASSERT(!cluster->records && !cluster->wanted && !cluster->shared && !cluster->served);
    rayi_maps_free(cluster->maps);
    pthread_cond_destroy(&cluster->names_changed);
    pthread_mutex_destroy(&cluster->names_lock);
    rayi_free(cluster);
}

void rayi_cluster_stop_fetching(rayi_cluster *cluster)
{
    if (cluster->bulk)
        rayi_bulk_cancel_all(cluster->bulk);
    rayi_maps_stop(cluster->maps);
}

void rayi_cluster_fini(rayi_cluster *cluster)
{
    tell_finished(cluster);
    rayi_handles_fini(cluster);
    rayi_broken_forget_all(cluster);
    RAYI_ASSERT(!cluster->neighbours && !cluster->connections);
    if (cluster->members)
        rayi_members_free(cluster->members);
    if (cluster->membership)
        rayi_membership_free(cluster->membership);
    cluster->members = NULL;
    cluster->membership = NULL;
    rayi_free(cluster->texts[0]);
    rayi_free(cluster->head_address);
    rayi_free(cluster->labels);
    cluster->texts[0] = cluster->head_address = cluster->labels = NULL;
}

rayi_error *rayi_cluster_why(rayi_cluster *cluster)
{
    const char *words = cluster->membership ? rayi_membership_why(cluster->membership, rayi_now_ms()) : NULL;

    return words ? rayi_error_new(RAY_ERR_HEAD_UNREACHABLE, NULL, NULL, "%s", words) : NULL;
}
