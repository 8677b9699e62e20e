/* What one node of a cluster has much of, asked from another: its record of what ran, and its logs. */
#include "nodes_common.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATIENCE_MS = 15000, EACH = 20 };

static int64_t patience(void)
{
    return (int64_t)PATIENCE_MS * check_slowness();
}

static RAY_REMOTE(int64_t, print_lines, (int64_t, count))
{
    for (int64_t i = 0; i < count; i++)
        printf("line %06lld of what was printed\n", (long long)i);
    fflush(stdout);
    return getpid();
}

/* A node has 4 s to answer: one that is late is asked again. */
static ray_view ask(const char *format, const char *id)
{
    char query[256];
    ray_view view;
    int r;
    snprintf(query, sizeof query, format, id);
    int64_t end = check_now_ms() + patience();
    while ((r = ray_state(query, &view)) == RAY_ERR_TIMEOUT && check_now_ms() < end)
        continue;
    CHECK_OK(r);
    return view;
}

static size_t count_of(const char *text, const char *part)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
        count++;
    return count;
}

/* ---- the record ---- */

static void run_on(const node *n, int first)
{
    for (int i = first; i < first + EACH; i++) {
        char name[32];
        snprintf(name, sizeof name, "task %d.", i);
        CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .node_id = node_id(n), .name = name), twice, i),
                      2 * i);
    }
}

static void check_record(const char *id, int first)
{
    char name[32];
    ray_view view = ask("timeline?limit=1000&node_id=%s", id);
    CHECK_HAS(view.data, id);
    CHECK_INT(count_of(view.data, "\"kind\": \"task\""), EACH);
    CHECK_INT(count_of(view.data, "\"outcome\": \"ok\""), EACH);
    CHECK_INT(count_of(view.data, "\"task_id\": null"), 0); /* what came from elsewhere has one */
    for (int i = first; i < first + EACH; i++) {
        snprintf(name, sizeof name, "\"task %d.\"", i);
        CHECK_INT(count_of(view.data, name), 1);
    }
    ray_view_release(&view);
}

static void observe(const char *address)
{
    CHECK_OK(ray_init(
        RAY_WITH(ray_config, .role = RAY_ROLE_OBSERVER, .address = address, .resources = "CPU=1", .num_threads = 1)));
}

static void each_has_its_own(void)
{
    char ids[3][40];
    ray_view view = {0};
    CHECK_OK(setenv("RAY_TIMELINE_TASKS", "1000", 1));
    node *head = node_head("CPU=1"), *a = node_worker(head, "CPU=1"), *b = node_worker(head, "CPU=1");
    CHECK_OK(unsetenv("RAY_TIMELINE_TASKS"));
    node *const all[] = {head, a, b};
    nodes_join(head);
    for (int i = 0; i < 3; i++) {
        snprintf(ids[i], sizeof ids[i], "%s", node_id(all[i]));
        run_on(all[i], i * EACH);
    }
    for (int i = 0; i < 3; i++)
        check_record(ids[i], i * EACH);
    view = ask("timeline?node_id=%s", ray_context_get()->node_id); /* through the head, which asks back */
    CHECK_HAS(view.data, "\"is_recording\": false");
    ray_view_release(&view);
    check_stop();

    observe(node_address(head));
    for (int i = 0; i < 3; i++)
        check_record(ids[i], i * EACH);
    view = ask("timeline", "");
    CHECK_HAS(view.data, ids[0]); /* the head's */
    ray_view_release(&view);
    view = ask("objects?node_id=%s", ids[2]);
    CHECK_INT(count_of(view.data, "\"node_id\""), 1);
    CHECK_HAS(view.data, ids[2]);
    ray_view_release(&view);
    CHECK_CODE(ray_state("timeline?node_id=00112233445566778899aabbccddeeff", &view), RAY_ERR_NOT_FOUND);
    CHECK_HAS(ray_last_error()->message, "no node that lives has the id \"00112233445566778899aabbccddeeff\"");
    CHECK_CODE(ray_state("objects?node_id=00112233445566778899aabbccddeeff", &view), RAY_ERR_NOT_FOUND);
    char query[160];
    snprintf(query, sizeof query, "timeline?node_id=%s&cursor=rubbish", ids[1]); /* the words are that node's */
    CHECK_CODE(ray_state(query, &view), RAY_ERR_ARGUMENT);
    CHECK_HAS(ray_last_error()->message, "expected a cursor that an answer has named, got \"rubbish\"");
    node_stop(b);
    snprintf(query, sizeof query, "timeline?node_id=%s", ids[2]);
    for (int64_t end = check_now_ms() + patience(); ray_state(query, &view) == 0; check_sleep_ms(20)) {
        ray_view_release(&view);
        CHECK(check_now_ms() < end);
    }
    CHECK_INT(ray_last_error()->code, RAY_ERR_NOT_FOUND);
    check_stop();
    nodes_stop();
}

static void one_that_is_silent(void)
{
    node *head = node_head("CPU=1"), *a = node_worker(head, "CPU=1");
    char query[100];
    ray_view view = {0};
    nodes_join(head);
    snprintf(query, sizeof query, "timeline?node_id=%s", node_id(a));
    node_pause(a);
    int r = ray_state(query, &view);
    CHECK_INT(r, RAY_ERR_TIMEOUT);
    node_resume(a);
    /* it may have given up its link to the head, and has to dial it again */
    for (int64_t end = check_now_ms() + patience(); (r = ray_state(query, &view)) < 0 && check_now_ms() < end;)
        check_sleep_ms(20);
    CHECK_OK(r);
    CHECK_HAS(view.data, "\"is_recording\": false");
    ray_view_release(&view);
    nodes_allow_log("node.suspect", "");
    nodes_allow_log("head.unreachable", "");
    check_stop();
    nodes_stop();
}

/* ---- logs ---- */

/* Of the row with that name. */
static unsigned long long number_in(const char *rows, const char *name, const char *key)
{
    char pattern[64];
    const char *at = strstr(rows, name);
    CHECK(at);
    snprintf(pattern, sizeof pattern, "\"%s\": ", key);
    at = strstr(at, pattern);
    CHECK(at);
    return strtoull(at + strlen(pattern), NULL, 10);
}

/* The whole file, in pieces; to free. */
static char *read_log(const char *id, const char *name, unsigned long long inode, size_t *out_size)
{
    char *all = NULL, query[256];
    for (*out_size = 0;;) {
        ray_view view;
        snprintf(query, sizeof query, "logs/file?node_id=%s&filename=%s&offset=%zu&inode=%llu", id, name, *out_size,
                 inode);
        CHECK_OK(ray_state(query, &view));
        CHECK(view.size <= 64 << 10);
        size_t size = view.size;
        all = realloc(all, *out_size + size + 1);
        CHECK(all);
        memcpy(all + *out_size, view.data, size);
        all[ *out_size += size] = 0;
        ray_view_release(&view);
        if (size == 0)
            return all;
    }
}

/* Where the node of this process keeps its logs. */
static void find_logs(int64_t pid, char out[256])
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)pid);
    ray_view view = ask("sessions?filter_keys=pid&filter_predicates==&filter_values=%s", text);
    const char *at = strstr(view.data, "\"path\": \"");
    CHECK(at);
    at += strlen("\"path\": \"");
    snprintf(out, 256, "%.*s/logs", (int)strcspn(at, "\""), at);
    ray_view_release(&view);
}

static void refuses(const char *id, const char *name, int code, const char *words)
{
    char query[512];
    ray_view view = {0};
    snprintf(query, sizeof query, "logs/file?node_id=%s%s%s", id, name ? "&filename=" : "", name ? name : "");
    CHECK_CODE(ray_state(query, &view), code);
    CHECK_HAS(ray_last_error()->message, words);
}

static void logs_of_another(void)
{
    enum { LINES = 5000 };
    node *head = node_head("CPU=1");
    node *a = node_start(RAY_WITH(ray_config, .role = RAY_ROLE_WORKER, .address = node_address(head),
                                  .resources = "CPU=1", .isolation = RAY_ISOLATION_PROCESS));
    char id[40], name[40], dir[256], path[320], target[324];
    int64_t pid;
    size_t size = 0;
    nodes_join(head);
    snprintf(id, sizeof id, "%s", node_id(a));
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .node_id = id), print_lines, LINES);
    CHECK_OK(ray_get(ref, &pid));
    ray_release(ref);
    snprintf(name, sizeof name, "worker-%lld.out", (long long)pid);
    const size_t wanted = LINES * strlen("line 000000 of what was printed\n");
    char *text = NULL;
    for (int64_t end = check_now_ms() + patience(); size < wanted; free(text)) {
        CHECK(check_now_ms() < end);
        ray_view rows = ask("logs?node_id=%s", id);
        if (strstr(rows.data, name))
            text = read_log(id, name, number_in(rows.data, name, "inode"), &size);
        ray_view_release(&rows);
        if (size == wanted)
            break;
    }
    CHECK_INT(size, wanted);
    CHECK(strncmp(text, "line 000000 of", 14) == 0);
    CHECK_HAS(text, "line 004999 of what was printed\n");
    free(text);
    ray_view rows = ask("logs", "");
    CHECK_INT(number_in(rows.data, name, "size_bytes"), wanted); /* that of all has it, too */
    ray_view_release(&rows);

    find_logs(node_pid(a), dir);
    snprintf(path, sizeof path, "%s/link", dir);
    CHECK_OK(symlink("/etc/passwd", path));
    snprintf(path, sizeof path, "%s/sub", dir);
    CHECK_OK(mkdir(path, 0700));
    refuses(id, "link", RAY_ERR_SYSTEM, "\"link\": ");
    refuses(id, "sub", RAY_ERR_NOT_FOUND, "another file now");
    refuses(id, "nothing", RAY_ERR_NOT_FOUND, "the log file \"nothing\": No such file");
    static const char *const names[] = {"..",    ".",           "",        "../lock", "%2e%2e/lock",
                                        "sub/x", "/etc/passwd", ".hidden", NULL};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        refuses(id, names[i], RAY_ERR_ARGUMENT, "expected the filename of a log, without a slash");
    refuses(id, "worker-1.out&inode=5", RAY_ERR_NOT_FOUND, "worker-1.out");
    snprintf(path, sizeof path, "%s&inode=5", name);
    refuses(id, path, RAY_ERR_NOT_FOUND, "is another file now");
    rows = ask("logs?node_id=%s", id);
    CHECK_INT(count_of(rows.data, "\"link\"") + count_of(rows.data, "\"sub\""), 0);
    ray_view_release(&rows);

    snprintf(path, sizeof path, "%s/%s", dir, name); /* it has grown, and makes way for another one */
    snprintf(target, sizeof target, "%s.1", path);
    rows = ask("logs?node_id=%s", id);
    unsigned long long inode = number_in(rows.data, name, "inode");
    ray_view_release(&rows);
    CHECK_OK(rename(path, target));
    snprintf(path, sizeof path, "%s.1", name);
    text = read_log(id, path, inode, &size);
    CHECK_INT(size, wanted);
    free(text);
    CHECK_OK(unlink(target)); /* or the node would keep its logs */
    snprintf(path, sizeof path, "%s/link", dir);
    CHECK_OK(unlink(path));
    snprintf(path, sizeof path, "%s/sub", dir);
    CHECK_OK(rmdir(path));
    check_stop();
    nodes_stop();
}

CHECK_MAIN(CHECK_TEST(each_has_its_own), CHECK_TEST(one_that_is_silent), CHECK_TEST(logs_of_another))
