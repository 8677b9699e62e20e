/* raylaunch timeline: what ran when on which node, in the form of Chrome's traces, as Ray writes it: a process is a
 * node, a thread one of its workers. */
#include "observe.h"

#include <errno.h>
#include <ray/ray.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: raylaunch timeline FILE [OPTION...]\n"
    "\n"
    "Writes which tasks and actors have run of late, when and where, for https://ui.perfetto.dev or chrome://tracing:\n"
    "FILE is JSON (- for standard output). Nodes of raylaunch have the last 65,536 runs on record each; other "
    "numbers,\n"
    "0 among them, and programs that are nodes: RAY_TIMELINE_TASKS=N in their environment.\n"
    "\n" OBSERVE_CLUSTER_HELP "  --help                     this text\n"
    "\n"
    "Exit status: 0 done, 1 the cluster cannot be asked, or the file not be written, 2 wrong usage.\n";

enum { PAGE = 2000 };

typedef struct trace {
    FILE *out;
    bool begun;
    unsigned long long events, lost;
    size_t nodes, silent; /* nodes of which there are events; that record nothing */
    json_t *tids;         /* those of this node that were named */
} trace;

/* ---- one object a line ---- */

static void put_text(trace *t, const char *key, const char *text)
{
    json_t *value = text ? json_string(text) : json_null();
    fprintf(t->out, "\"%s\":", key);
    if (!value || json_dumpf(value, t->out, JSON_ENCODE_ANY | JSON_ENSURE_ASCII) < 0)
        fputs("null", t->out);
    json_decref(value);
}

static void begin(trace *t)
{
    fputs(t->begun ? ",\n{" : "[\n{", t->out);
    t->begun = true;
}

/* What is shown for a process (tid NULL), or a thread. */
static void put_name(trace *t, const char *what, const char *pid, const char *tid, const char *name)
{
    begin(t);
    fprintf(t->out, "\"ph\":\"M\",\"name\":\"%s\",", what);
    put_text(t, "pid", pid);
    if (tid) {
        fputc(',', t->out);
        put_text(t, "tid", tid);
    }
    fputs(",\"args\":{", t->out);
    put_text(t, "name", name);
    fputs("}}", t->out);
}

/* Exact: a double has not enough digits for the nanoseconds since 1970. */
static void put_us(trace *t, const char *key, json_t *ns)
{
    long long value = json_integer_value(ns);
    fprintf(t->out, ",\"%s\":%lld.%03lld", key, value / 1000, value % 1000);
}

/* ---- events ---- */

static long long number(json_t *event, const char *key)
{
    return json_integer_value(json_object_get(event, key));
}

/* Who ran it; named when it comes first. */
static void find_worker(trace *t, const char *node, json_t *event, char tid[64])
{
    long long pid = number(event, "pid"), thread = number(event, "thread");
    char name[64];
    if (pid) {
        snprintf(tid, 64, "worker:%lld.%lld", pid, thread);
        snprintf(name, sizeof name, "worker process %lld, thread %lld", pid, thread);
    } else {
        snprintf(tid, 64, "worker:thread-%lld", thread);
        snprintf(name, sizeof name, "thread %lld", thread);
    }
    if (json_object_get(t->tids, tid))
        return;
    json_object_set_new(t->tids, tid, json_true());
    put_name(t, "thread_name", node, tid, name);
}

static void put_event(trace *t, const char *node, json_t *event)
{
    static const char *const args[] = {"task_id", "actor_id", "function", "outcome"};
    const char *outcome = row_text(event, "outcome");
    char tid[64];
    find_worker(t, node, event, tid);
    begin(t);
    put_text(t, "cat", row_text(event, "kind"));
    fputc(',', t->out);
    put_text(t, "name", row_text(event, "name"));
    fputc(',', t->out);
    put_text(t, "pid", node);
    fputc(',', t->out);
    put_text(t, "tid", tid);
    put_us(t, "ts", json_object_get(event, "start_ns"));
    put_us(t, "dur", json_object_get(event, "duration_ns"));
    fputs(",\"ph\":\"X\",", t->out);
    if (strcmp(outcome, "failed") == 0 || strcmp(outcome, "cancelled") == 0)
        fprintf(t->out, "\"cname\":\"%s\",", *outcome == 'f' ? "terrible" : "grey");
    fprintf(t->out, "\"args\":{\"attempt\":%lld", number(event, "attempt"));
    for (size_t i = 0; i < sizeof args / sizeof *args; i++) {
        fputc(',', t->out);
        put_text(t, args[i], json_string_value(json_object_get(event, args[i])));
    }
    fputs("}}", t->out);
    t->events++;
}

/* ---- nodes ---- */

/* NULL: it has complained. cursor NULL: the first page. */
static json_t *ask_page(const char *node, const char *cursor)
{
    char *query = NULL;
    size_t size;
    json_error_t error;
    json_t *page = NULL;
    ray_view view;
    FILE *out = open_memstream(&query, &size);
    if (out) {
        fprintf(out, "timeline?limit=%d", PAGE);
        add_part(out, "node_id", node);
        if (cursor)
            add_part(out, "cursor", cursor);
    }
    if (!out || fclose(out) != 0) {
        complain(&timeline_command, STATUS_FAILED, "out of memory");
    } else if (ray_state(query, &view) < 0) {
        complain(&timeline_command, STATUS_FAILED, "node %s is left out: %s", node, last_words());
    } else {
        page = json_loadb(view.data, view.size, 0, &error);
        ray_view_release(&view);
        if (!page)
            complain(&timeline_command, STATUS_FAILED, "node %s is left out: its answer cannot be read: %s", node,
                     error.text);
    }
    free(query);
    return page;
}

static void put_page(trace *t, const char *node, json_t *page)
{
    json_t *event;
    size_t i;
    json_array_foreach(json_object_get(page, "events"), i, event)
    {
        put_event(t, node, event);
    }
}

/* What is over when the last page has come. */
static void count_node(trace *t, json_t *page, bool has_events)
{
    t->lost += (unsigned long long)number(page, "lost");
    t->nodes += has_events;
    t->silent += !json_is_true(json_object_get(page, "is_recording"));
}

static void put_node(trace *t, json_t *row)
{
    const char *node = row_text(row, "node_id");
    unsigned long long before = t->events;
    json_t *page = ask_page(node, NULL), *next;
    char name[320];
    if (!page)
        return;
    snprintf(name, sizeof name, "%s %s", node_role(row), *row_text(row, "node_ip") ? row_text(row, "node_ip") : node);
    put_name(t, "process_name", node, NULL, name);
    json_object_clear(t->tids);
    while (page) {
        put_page(t, node, page);
        next = json_object_get(page, "next");
        json_t *more = json_is_string(next) ? ask_page(node, json_string_value(next)) : NULL;
        if (!more)
            count_node(t, page, t->events > before);
        json_decref(page);
        page = more;
    }
}

static void say_what_it_has(const trace *t, const char *file)
{
    char words[256];
    int size = snprintf(words, sizeof words, "%llu runs of %zu node%s", t->events, t->nodes, t->nodes == 1 ? "" : "s");
    if (t->lost > 0)
        snprintf(words + size, sizeof words - (size_t)size, "; %llu more were lost, their room was needed", t->lost);
    if (t->out == stdout)
        complain(&timeline_command, 0, "%s", words);
    else
        printf("%s: %s.\n", file, words);
    if (t->silent > 0)
        complain(&timeline_command, 0, "%zu node%s no record: RAY_TIMELINE_TASKS=N in the environment makes one",
                 t->silent, t->silent == 1 ? " has" : "s have");
}

static int write_trace(const char *file)
{
    trace t = {.tids = json_object()};
    json_t *rows = ask_rows(&timeline_command, "nodes", LIMIT_MOST, NULL, 0), *row;
    bool is_stdout = strcmp(file, "-") == 0;
    size_t i;
    int status = STATUS_FAILED;
    if (!rows || !t.tids)
        goto out;
    t.out = is_stdout ? stdout : fopen(file, "we");
    if (!t.out) {
        complain(&timeline_command, STATUS_FAILED, "%s: %s", file, strerror(errno));
        goto out;
    }
    json_array_foreach(rows, i, row)
    {
        if (strcmp(row_text(row, "state"), "DEAD") != 0)
            put_node(&t, row);
    }
    fputs(t.begun ? "\n]\n" : "[]\n", t.out);
    if (is_stdout)
        status = printed();
    else if (ferror(t.out) | fclose(t.out))
        complain(&timeline_command, STATUS_FAILED, "cannot write to %s", file);
    else
        status = 0;
    if (status == 0)
        say_what_it_has(&t, file);
    if (status == 0)
        status = printed();
out:
    json_decref(rows);
    json_decref(t.tids);
    return status;
}

static int run(int argc, char **argv)
{
    static const struct option known[] = {OBSERVE_CLUSTER_OPTIONS, HELP_OPTION, {0}};
    observe_options options;
    int status;
    observe_options_init(&options);
    status = observe_options_read(&timeline_command, &options, argc, argv, known);
    if (status >= 0)
        return status;
    if (!check_arguments(&timeline_command, argc, argv, 1, 1, "one FILE, or -"))
        return STATUS_USAGE;
    status = observe(&timeline_command, &options) ? write_trace(argv[optind]) : STATUS_FAILED;
    (void)ray_shutdown();
    return status;
}

const struct command timeline_command = {
    .name = "timeline",
    .summary = "writes what ran when and where, for Perfetto",
    .help = help,
    .run = run,
};
