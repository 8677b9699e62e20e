/* From lines to the log.
 *
 * First the bucket: a process without credit has its lines counted, not shown, and a notice says later how many there
 * were. Then, if the node has an outlet, Ray's deduplication (ray._private.ray_logging): the first of a pattern is told
 * at once; from then on for a window what the *same* process prints is told, too, until another one prints it; from
 * there on all are counted, and at the window's end the last of them is told with their number, or as it is if there
 * was one only. Counting goes on in windows as long as there was more than one. A pattern is the line with its numbers
 * taken out; a line of numbers only has none. */
#include "process/inside.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW_MS = 5000, PATTERNS_MAX = 256 };

typedef struct pattern_key {
    uint64_t hash, size; /* of what is left of the line */
} pattern_key;

typedef struct pattern {
    struct pattern *prev, *next; /* the oldest first */
    UT_hash_handle hh;
    pattern_key key;
    uint64_t since_ms;
    uint64_t num_repeats;
    int64_t first_pid, last_pid;
    bool is_shared;                         /* a second process printed it */
    char label[RAYI_PROCESS_LABEL_MAX + 1]; /* of the last one */
    char *line;
    size_t size;
} pattern;

struct rayi_process_outlet {
    uv_timer_t timer;   /* the oldest pattern's end */
    uint64_t window_ms; /* 0: no deduplication */
    pattern *patterns, *oldest;
    size_t num_patterns;
    char *node_id;
};

/* ---- telling ---- */

static void print(const char *node_id, const char *label, int64_t pid, const char *line, size_t size,
                  const char *suffix)
{
    char message[RAYI_PROCESS_LABEL_MAX + RAYI_PROCESS_LINE_MAX + 128];
    int prefix = snprintf(message, sizeof message, "(%s pid=%lld) ", label, (long long)pid);
    memcpy(message + prefix, line, size);
    rayi_process_clean(message, (size_t)prefix + size);
    snprintf(message + prefix + size, sizeof message - (size_t)prefix - size, "%s", suffix);
    rayi_log_text(RAY_LOG_INFO, "worker.output", node_id, message);
}

static void copy_label(rayi_process *process, char out[RAYI_PROCESS_LABEL_MAX + 1])
{
    pthread_mutex_lock(&process->label_lock);
    memcpy(out, process->label, sizeof process->label);
    pthread_mutex_unlock(&process->label_lock);
}

/* ---- patterns ---- */

static bool in_number(const char *line, size_t at, size_t size, bool *is_hex)
{
    unsigned char c = (unsigned char)line[at];
    if (*is_hex && isxdigit(c))
        return true;
    *is_hex = false;
    if (c == 'x' && at > 0 && line[at - 1] == '0' && at + 1 < size && isxdigit((unsigned char)line[at + 1]))
        *is_hex = true;
    return *is_hex || isdigit(c);
}

/* FNV-1a of the line, each number as one byte; false: there is nothing but numbers and blanks. */
static bool find_key(const char *line, size_t size, pattern_key *out)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325), left = 0;
    bool was_number = false, is_hex = false, has_words = false;
    for (size_t i = 0; i < size; i++) {
        bool is_number = in_number(line, i, size, &is_hex);
        if (is_number && was_number)
            continue;
        unsigned char c = is_number ? '0' : (unsigned char)line[i];
        hash = (hash ^ c) * UINT64_C(0x100000001b3);
        left++;
        has_words |= !is_number && !isspace(c);
        was_number = is_number;
    }
    *out = (pattern_key){.hash = hash, .size = left};
    return has_words;
}

static void drop_pattern(rayi_process_outlet *outlet, pattern *found)
{
    const rayi_memory *memory = rayi_heap;
    HASH_DEL(outlet->patterns, found);
    DL_DELETE(outlet->oldest, found);
    outlet->num_patterns--;
    rayi_free(found->line);
    rayi_free(found);
}

static void tell_repeats(rayi_process_outlet *outlet, const pattern *found)
{
    char suffix[64] = "";
    if (found->num_repeats == 0)
        return;
    if (found->num_repeats > 1)
        snprintf(suffix, sizeof suffix, " [repeated %llux across workers]", (unsigned long long)found->num_repeats);
    print(outlet->node_id, found->label, found->last_pid, found->line, found->size, suffix);
}

static void on_timer(uv_timer_t *timer);

/* Patterns that end within a twentieth of a window share a wakeup. */
static void set_timer(rayi_process_outlet *outlet)
{
    uint64_t now = uv_now(outlet->timer.loop), ends;
    if (!outlet->oldest || uv_is_active((uv_handle_t *)&outlet->timer))
        return;
    ends = outlet->oldest->since_ms + outlet->window_ms + outlet->window_ms / 20;
    uv_timer_start(&outlet->timer, on_timer, ends > now ? ends - now : 0, 0);
}

static void on_timer(uv_timer_t *timer)
{
    rayi_process_outlet *outlet = timer->data;
    uint64_t now = uv_now(timer->loop);
    while (outlet->oldest && now - outlet->oldest->since_ms >= outlet->window_ms) {
        pattern *found = outlet->oldest;
        tell_repeats(outlet, found);
        if (found->num_repeats > 1) {
            found->num_repeats = 0;
            found->since_ms = now;
            DL_DELETE(outlet->oldest, found);
            DL_APPEND(outlet->oldest, found);
        } else {
            drop_pattern(outlet, found);
        }
    }
    set_timer(outlet);
}

/* Without memory for it lines are shown, each. */
static void add_pattern(rayi_process_outlet *outlet, const pattern_key *key, int64_t pid)
{
    const rayi_memory *memory = rayi_heap;
    pattern *made = rayi_zalloc(sizeof *made);
    if (!made)
        return;
    made->key = *key;
    made->since_ms = uv_now(outlet->timer.loop);
    made->first_pid = pid;
    HASH_ADD(hh, outlet->patterns, key, sizeof made->key, made);
    if (!made->hh.tbl) {
        rayi_free(made);
        return;
    }
    DL_APPEND(outlet->oldest, made);
    if (++outlet->num_patterns > PATTERNS_MAX) {
        tell_repeats(outlet, outlet->oldest);
        drop_pattern(outlet, outlet->oldest);
    }
    set_timer(outlet);
}

/* Is the line to be told now? */
static bool is_new(rayi_process_outlet *outlet, int64_t pid, const char *label, const char *line, size_t size)
{
    pattern_key key;
    pattern *found;
    if (outlet->window_ms == 0 || !find_key(line, size, &key))
        return true;
    HASH_FIND(hh, outlet->patterns, &key, sizeof key, found);
    if (!found) {
        add_pattern(outlet, &key, pid);
        return true;
    }
    found->is_shared |= found->first_pid != pid;
    if (!found->is_shared)
        return true;
    char *copy = rayi_memory_realloc(rayi_heap, found->line, size + 1);
    if (!copy)
        return true;
    memcpy(copy, line, size);
    found->line = copy;
    found->size = size;
    found->last_pid = pid;
    found->num_repeats++;
    snprintf(found->label, sizeof found->label, "%s", label);
    return false;
}

int rayi_process_outlet_open(uv_loop_t *loop, const char *node_id, int64_t window_ms, rayi_process_outlet **out)
{
    const char *wanted = getenv("RAY_DEDUP_LOGS");
    rayi_process_outlet *outlet = rayi_zalloc(sizeof *outlet);
    if (outlet && node_id)
        outlet->node_id = rayi_strdup(node_id);
    if (!outlet || (node_id && !outlet->node_id)) {
        rayi_free(outlet);
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the output of processes");
    }
    if (window_ms == 0 && !(wanted && strcmp(wanted, "0") == 0))
        window_ms = WINDOW_MS;
    outlet->window_ms = window_ms > 0 ? (uint64_t)window_ms : 0;
    uv_timer_init(loop, &outlet->timer);
    outlet->timer.data = outlet;
    *out = outlet;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    rayi_process_outlet *outlet = handle->data;
    rayi_free(outlet->node_id);
    rayi_free(outlet);
}

void rayi_process_outlet_close(rayi_process_outlet *outlet)
{
    if (!outlet)
        return;
    while (outlet->oldest) {
        tell_repeats(outlet, outlet->oldest);
        drop_pattern(outlet, outlet->oldest);
    }
    uv_close((uv_handle_t *)&outlet->timer, on_closed);
}

/* ---- lines of a process ---- */

static bool has_credit(rayi_process *process)
{
    rayi_process_bucket *bucket = &process->bucket;
    uint64_t now = uv_now(process->loop), most = (uint64_t)RAYI_PROCESS_BURST_LINES * RAYI_PROCESS_LINE_MS;
    bucket->credit_ms = RAYI_MIN(most, bucket->credit_ms + (now - bucket->filled_at_ms));
    bucket->filled_at_ms = now;
    return bucket->credit_ms >= RAYI_PROCESS_LINE_MS;
}

void rayi_process_tell(rayi_process_stream *stream, const char *line, size_t size)
{
    rayi_process *process = stream->process;
    char label[RAYI_PROCESS_LABEL_MAX + 1];
    if (!has_credit(process)) {
        if (stream->num_dropped++ == 0 && !uv_is_active((uv_handle_t *)&process->notice) &&
            !uv_is_closing((uv_handle_t *)&process->notice))
            uv_timer_start(&process->notice, rayi_process_on_notice, RAYI_PROCESS_NOTICE_MS, 0);
        return;
    }
    copy_label(process, label);
    if (process->outlet && !is_new(process->outlet, process->pid, label, line, size))
        return;
    process->bucket.credit_ms -= RAYI_PROCESS_LINE_MS;
    print(process->node_id, label, process->pid, line, size, "");
}

void rayi_process_tell_dropped(rayi_process *process)
{
    char label[RAYI_PROCESS_LABEL_MAX + 1], path[4200] = "";
    copy_label(process, label);
    for (size_t i = 0; i < RAYI_COUNT_OF(process->streams); i++) {
        rayi_process_stream *stream = &process->streams[i];
        if (stream->num_dropped == 0)
            continue;
        if (process->log_path)
            rayi_process_file(stream, "", path, sizeof path);
        rayi_log(RAY_LOG_INFO, "worker.output", process->node_id, "(%s pid=%lld) … %llu more lines%s%s", label,
                 (long long)process->pid, (unsigned long long)stream->num_dropped, *path ? ", see " : "", path);
        stream->num_dropped = 0;
    }
}

void rayi_process_on_notice(uv_timer_t *timer)
{
    rayi_process_tell_dropped(timer->data);
}
