/* A node in a cluster: how it becomes one, or an observer of it.
 *
 * Who calls ray_init waits until this node is a member, or it is known that it will not be; or, as an observer, until
 * the head has said a word. The loop alone touches the cluster (lib/cluster) from then on. */
#include "raylet/inside.h"

#include <stdlib.h>
#include <string.h>

/* ---- joining ---- */

typedef struct joining {
    rayi_cluster_config config;
    rayi_session_place found; /* the head of this host, if it is that one */
} joining;

static const char *role_name(const rayi_cluster_config *config)
{
    return config->head ? "head" : config->driver ? "driver" : "worker";
}

/* What cannot change any more is told to who waits. */
static void settle(rayi_node *node, rayi_error *error)
{
    if (atomic_load(&node->join_settled)) {
        rayi_error_unref(error);
        return;
    }
    node->join_error = error;
    atomic_store_explicit(&node->join_settled, 1, memory_order_release);
    if (node->joiner)
        rayi_thread_wake(node->joiner);
}

/* The join is over when the table is here that this node is in: then the head can be asked, too. It comes a moment
 * later than the word that it is a member. */
static void settle_if_known(rayi_node *node)
{
    rayi_node_id self;

    if (atomic_load(&node->join_settled))
        return;
    rayi_cluster_id_parse(rayi_executor_node_id(node->executor), &self);
    if (rayi_roster_get(rayi_cluster_roster(node->cluster), &self))
        settle(node, NULL);
}

static void joined(void *of)
{
    rayi_node *node = of;

    node->job_told = false;
    rayi_keep_stop(node); /* of an earlier life of this node nothing counts */
    rayi_keys_forget(node);
}

static void changed(void *of)
{
    rayi_jobs_tell(of);
    rayi_plan_changed(of);
    rayi_published_changed(of);
    rayi_keys_changed(of);
    settle_if_known(of);
}

static void gone(void *of, const rayi_node_id *id)
{
    rayi_jobs_gone(of, id);
    rayi_plan_gone(of, id);
    rayi_published_gone(of, id);
}

static void refused(void *of, rayi_error *why)
{
    settle(of, why);
}

/* A cluster that ends in order is no failure of who serves it; what waits fails all the same. */
static void ended(void *of, rayi_error *why, bool in_order)
{
    rayi_node *node = of;

    if (!why) {
        if (rayi_cluster_is_drained(node->cluster) && node->on_ended)
            node->on_ended(NULL);
        return;
    }
    if (!atomic_load(&node->join_settled)) {
        settle(node, why);
        return;
    }
    rayi_log(in_order ? RAY_LOG_INFO : RAY_LOG_ERROR, in_order ? "cluster.ended" : "cluster.left",
             rayi_executor_node_id(node->executor), "%s", rayi_error_public(why)->message);
    if (node->on_ended)
        node->on_ended(in_order ? NULL : why);
    node->left = why;
    rayi_overflow_end(node);
    rayi_shared_left(node);
    rayi_plan_leave(node);
}

static int make_planner(rayi_node *node, const rayi_cluster_config *config)
{
    uint64_t seed;
    int r;

    rayi_random_bytes(&seed, sizeof seed);
    node->is_driver = config->driver;
    node->keeps_logs = !config->driver;
    r = rayi_planner_new(rayi_heap, seed | 1, &node->planner);
    if (r == 0)
        r = rayi_bundles_new(rayi_heap, seed | 1, &node->bundles);
    return r < 0 ? rayi_fail(r, "out of memory: the planner") : 0;
}

static int start(rayi_node *node, void *arg)
{
    joining *j = arg;
    rayi_cluster_node what = {.node = node,
                              .loop = &node->loop,
                              .vigil = &node->vigil,
                              .thread = node->thread,
                              .executor = node->executor,
                              .scheduler = node->scheduler,
                              .body = &rayi_node_body,
                              .joined = joined,
                              .changed = changed,
                              .gone = gone,
                              .inherits = rayi_escape_inherits,
                              .place_actor = rayi_afar_place_it,
                              .actor_moved = rayi_called_moved,
                              .actor_is_back = rayi_afar_is_back,
                              .actor_refused = rayi_afar_is_refused,
                              .knows = rayi_known_there,
                              .part_new = rayi_part_new,
                              .part_admits = rayi_part_admits,
                              .part_free = rayi_part_free,
                              .part_answered = rayi_part_answered,
                              .group_watched = rayi_shared_watched,
                              .group_told = rayi_shared_told,
                              .refused = refused,
                              .ended = ended,
                              .away_refused = rayi_escape_came_back,
                              .away_ended = rayi_escape_is_back,
                              .away_made = rayi_lineage_made,
                              .serve = rayi_serve_asked,
                              .idle = rayi_drain_is_idle,
                              .code_gone = rayi_code_gone};
    int r = rayi_node_open_session(node);

    j->config.head_is_own = *j->found.path != 0;
    j->config.session = *j->found.path ? j->found.path : r == 0 ? rayi_session_path(node->session) : NULL;
    j->config.labels = node->labels;
    if (r == 0)
        r = make_planner(node, &j->config);
    if (r == 0)
        r = rayi_cluster_new(&what, &j->config, &node->cluster);
    if (r == 0) {
        rayi_executor_set_abroad(node->executor, true);
        r = rayi_session_announce(node->session, role_name(&j->config), rayi_cluster_own_address(node->cluster));
    }
    if (r == 0 && j->config.head)
        settle(node, NULL);
    return r;
}

static int why_not(rayi_node *node, void *arg)
{
    rayi_error **out = arg;

    *out = rayi_cluster_why(node->cluster);
    return 0;
}

static void look_for_head(void *arg, const rayi_session_row *row)
{
    joining *j = arg;

    if (row->address && row->role && strcmp(row->role, "head") == 0 && strcmp(row->address, j->config.address) == 0 &&
        strlen(row->path) < sizeof j->found.path)
        strcpy(j->found.path, row->path);
}

/* "auto" is the latest head of this user on this host. The key of a head of this user lies in its session. */
static int find_head(joining *j)
{
    int r = 0;

    if (strcmp(j->config.address, "auto") != 0)
        return rayi_sessions_each(NULL, look_for_head, j);
    r = rayi_session_find_head(NULL, &j->found);
    j->config.address = j->found.address;
    return r;
}

/* The address of the head in this process's configuration; NULL: no cluster. */
const char *rayi_join_address(const ray_config *config)
{
    const char *address = config->address ? config->address : getenv("RAY_ADDRESS");

    return address && *address && strcmp(address, "local") != 0 ? address : NULL;
}

/* ---- observing ---- */

static int start_observer(rayi_node *node, void *arg)
{
    const joining *j = arg;
    const rayi_observer_config config = {.loop = &node->loop,
                                         .address = j->config.address,
                                         .key_file = j->config.key_file,
                                         .session = *j->found.path ? j->found.path : NULL,
                                         .no_key = j->config.no_key};

    return rayi_observer_new(&config, &node->observer);
}

static int observe(rayi_node *node, joining *j)
{
    rayi_answer answer;
    int r = rayi_node_ask(node->joiner, start_observer, j);

    if (r == 0)
        r = rayi_head_ask(node->joiner, RAYI_OP_HELLO, &(rayi_said){0}, &answer);
    if (r == 0)
        rayi_answer_drop(node->joiner, &answer);
    return r;
}

/* ---- either ---- */

static int join(rayi_node *node, joining *j)
{
    int64_t timeout_ms = rayi_executor_timeout_ms(node->executor);
    rayi_error *error = NULL;
    int r = rayi_node_ask(node->joiner, start, j);

    if (r < 0)
        return r;
    if (!rayi_thread_park(node->joiner, &node->join_settled, rayi_deadline_ns(timeout_ms))) {
        (void)rayi_node_ask(node->joiner, why_not, &error);
        return error ? rayi_error_set_last(error)
                     : rayi_fail(RAY_ERR_HEAD_UNREACHABLE,
                                 "cannot reach head at %s: it does not answer (tried for %lld s)", j->config.address,
                                 (long long)(timeout_ms / 1000));
    }
    return node->join_error ? rayi_error_set_last(node->join_error) : 0;
}

int rayi_join(rayi_node *node, const ray_config *config, ray_role role)
{
    joining j = {.config = {.head = role == RAY_ROLE_HEAD,
                            .driver = role == RAY_ROLE_DRIVER,
                            .no_key = config->no_key,
                            .any_port = config->any_port,
                            .address = rayi_join_address(config),
                            .listen = config->listen,
                            .key_file = config->key_file,
                            .head_wait_ms = config->head_wait_ms == 0 ? 60000 : config->head_wait_ms}};
    int r;

    if (!j.config.address && role == RAY_ROLE_HEAD)
        j.config.address = "127.0.0.1:0";
    r = j.config.head ? 0 : find_head(&j);
    if (r < 0)
        return r;
    node->joiner = rayi_lane_attach(rayi_executor_lane(node->executor));
    if (!node->joiner)
        return rayi_error_last_public()->code;
    if (role == RAY_ROLE_OBSERVER)
        return observe(node, &j);
    r = join(node, &j);
    return r < 0 ? r : rayi_codes_share(node->joiner);
}

/* ---- leaving ---- */

static void closed(void *of)
{
    rayi_node *node = of;

    atomic_store_explicit(&node->cluster_closed, 1, memory_order_release);
    if (node->stopper)
        rayi_thread_wake(node->stopper);
}

static int close_cluster(rayi_node *node, void *arg)
{
    (void)arg;
    if (node->cluster)
        rayi_cluster_close(node->cluster, closed);
    else
        rayi_observer_close(node->observer, closed, node);
    return 0;
}

void rayi_join_leave(rayi_node *node, rayi_thread *thread)
{
    if (!node->cluster && !node->observer)
        return;
    if (rayi_node_ask(thread, close_cluster, NULL) == 0)
        (void)rayi_thread_park(thread, &node->cluster_closed, INT64_MAX);
}

void rayi_join_free(rayi_node *node)
{
    if (node->cluster)
        rayi_cluster_fini(node->cluster);
    if (node->observer)
        rayi_observer_free(node->observer);
    if (node->planner)
        rayi_planner_free(node->planner);
    rayi_error_unref(node->left);
    node->observer = NULL;
    node->planner = NULL;
    node->left = NULL;
    rayi_wide_free(node);
}

void rayi_join_forget(rayi_thread *thread, rayi_record *record)
{
    rayi_node *node = rayi_node_of(thread);

    if (node->cluster)
        rayi_cluster_forget(node->cluster, thread, record);
}
