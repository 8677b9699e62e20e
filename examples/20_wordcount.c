/* Word count over all files below some directories.

     wordcount [--isolation thread|process] [--check] [--top N] [--chunk SIZE] [DIR…]

   A word is a run of ASCII letters and digits, upper and lower case apart. The driver finds the files and cuts them
   into chunks; a map task counts the words of a chunk, and a tree of reduce tasks merges the tables, two at a time.
   Tables are objects: between two tasks nothing is copied, and the driver sees only the last one. Its memory is bounded
   by the number of tasks in flight.

   A word that lies across the border of two chunks belongs to the chunk in which it begins. A file is taken at the size
   that it had when it was found. Files may change or vanish meanwhile; those that cannot be read are reported. */
#define _XOPEN_SOURCE 700
#include "20_wordcount.h"
#include "isolation.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CHUNK = 1 << 30, MAX_PIECES_BYTES = 64 << 10 };

void die(const char *what, const char *why)
{
    fprintf(stderr, "wordcount: %s: %s\n", what, why);
    exit(2);
}

void *checked(void *memory)
{
    if (!memory)
        die("driver", "out of memory");
    return memory;
}

double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- Tasks ---- */

typedef struct job {
    ray_waitset *in_flight;
    size_t num_in_flight, max_in_flight;
    uint64_t tasks, bytes_total, bytes_done;
    ray_ref *levels[64]; /* levels[k]: a table of 2^k chunks that waits for another of its kind, or NULL */
    bool show_progress;
    double last_shown;
} job;

static void show_progress(job *j)
{
    double now = seconds();
    if (!j->show_progress || now - j->last_shown < 0.05)
        return;
    j->last_shown = now;
    int percent = j->bytes_total > 0 ? (int)(j->bytes_done * 100 / j->bytes_total) : 100;
    fprintf(stderr, "\r[%-50.*s] %3d %%", percent / 2, "##################################################", percent);
}

/* [window */
/* Waits for any one of the tasks in flight. */
static void finish_one(job *j)
{
    void *tag;
    ray_ref *r = ray_waitset_next(j->in_flight, RAY_FOREVER, &tag);
    if (!r)
        die("waiting", ray_last_error()->message);
    if (ray_get(r, NULL) != 0) /* the first that failed ends the program */
        die(ray_last_error()->function ? ray_last_error()->function : "task", ray_last_error()->message);
    ray_release(r);
    j->num_in_flight--;
    j->bytes_done += (uintptr_t)tag;
    show_progress(j);
}

/* Counts a task that was just submitted, and waits while too many are in flight. */
static void watch(job *j, ray_ref *r, uint64_t bytes)
{
    if (ray_waitset_add(j->in_flight, r, (void *)(uintptr_t)bytes) != 0)
        die("ray_waitset_add", ray_last_error()->message);
    j->tasks++;
    for (j->num_in_flight++; j->num_in_flight >= j->max_in_flight;)
        finish_one(j);
}
/* window] */

/* [tree */
/* Submits a merge of two tables, done or not; takes both refs. */
static ray_ref *merge(job *j, ray_ref *a, ray_ref *b)
{
    ray_ref *both = ray_remote(merge_tables, a, b);
    ray_release(a), ray_release(b);
    watch(j, both, 0);
    return both;
}

/* Puts a table into the tree, like adding 1 to a binary number: two of a kind are merged to one of the next. */
static void tree_add(job *j, ray_ref *r)
{
    int k = 0;
    for (; j->levels[k]; k++) {
        r = merge(j, j->levels[k], r);
        j->levels[k] = NULL;
    }
    j->levels[k] = r;
}

/* Merges what is left, the small ones first. NULL: there was none. */
static ray_ref *tree_finish(job *j)
{
    ray_ref *all = NULL;
    for (int k = 0; k < 64; k++)
        if (j->levels[k])
            all = all ? merge(j, j->levels[k], all) : j->levels[k];
    return all;
}
/* tree] */

/* Pieces that will be the argument of the next map task. */
typedef struct batch {
    char *data;
    size_t size, capacity;
    uint64_t bytes;
} batch;

static void batch_submit(job *j, batch *b)
{
    if (b->size == 0)
        return;
    ray_ref *r = ray_remote(count_words, ray_view_of(b->data, b->size)); /* the argument is copied */
    watch(j, r, b->bytes);
    tree_add(j, r);
    b->size = 0, b->bytes = 0;
}

static void batch_add(batch *b, piece p, const char *path)
{
    size_t size = sizeof p + padded(p.path_size);
    if (b->capacity - b->size < size) {
        b->capacity += size + 4096;
        b->data = checked(realloc(b->data, b->capacity));
    }
    char *at = b->data + b->size;
    memset(at, 0, size);
    memcpy(at, &p, sizeof p);
    memcpy(at + sizeof p, path, p.path_size);
    b->size += size, b->bytes += p.length;
}

/* How many tasks may be in flight: enough that no CPU is ever idle. */
static size_t window_size(void)
{
    double cpus = 1;
    ray_cluster *c = ray_cluster_get();
    if (!c)
        die("ray_cluster_get", ray_last_error()->message);
    for (size_t i = 0; i < c->num_resources; i++)
        if (strcmp(c->resources[i].name, "CPU") == 0)
            cpus = c->resources[i].total;
    ray_cluster_free(c);
    return 8 + 8 * (size_t)cpus;
}

/* [driver */
/* Counts the files with tasks. The table is of no file at all if there is none. */
static ray_ref *count_files(const files *f, uint64_t chunk_size, uint64_t *tasks)
{
    job j = {.in_flight = ray_waitset_new(),
             .max_in_flight = window_size(),
             .bytes_total = f->bytes,
             .show_progress = isatty(STDERR_FILENO)};
    if (!j.in_flight)
        die("ray_waitset_new", ray_last_error()->message);

    batch b = {0};
    for (size_t i = 0; i < f->count; i++) {
        const found *file = &f->items[i];
        for (uint64_t at = 0; file->reason == 0 && (at == 0 || at < file->size); at += chunk_size) {
            uint64_t length = file->size - at < chunk_size ? file->size - at : chunk_size;
            if (b.bytes + length > chunk_size || b.size > MAX_PIECES_BYTES)
                batch_submit(&j, &b); /* small files share a chunk */
            batch_add(&b, (piece){at, length, file->size, (uint32_t)i, (uint32_t)strlen(file->path) + 1}, file->path);
        }
    }
    batch_submit(&j, &b);
    free(b.data);

    ray_ref *all = tree_finish(&j);
    while (j.num_in_flight > 0)
        finish_one(&j);
    if (j.last_shown > 0)
        fprintf(stderr, "\r%60s\r", "");
    ray_waitset_free(j.in_flight);
    *tasks = j.tasks;
    return all ? all : ray_put(&(table){0}, sizeof(table));
}
/* driver] */

/* ---- What the user sees ---- */

typedef struct skipped {
    uint64_t binary, unreadable, empty, missing;
} skipped;

/* One line on stderr: wordcount: PATH: skipped: REASON. */
static void report(skipped *s, const char *path, int reason)
{
    fprintf(stderr, "wordcount: ");
    for (; *path; path++)
        putc((unsigned char)*path < ' ' ? '?' : *path, stderr); /* a name can have line breaks */
    fprintf(stderr, ": skipped: %s\n",
            reason == BINARY            ? "binary file"
            : reason == EMPTY_DIRECTORY ? "empty directory"
            : reason == NO_FILE         ? "neither a regular file nor a directory"
                                        : strerror(reason));
    *(reason == BINARY            ? &s->binary
      : reason == EMPTY_DIRECTORY ? &s->empty
      : reason == ENOENT          ? &s->missing
                                  : &s->unreadable) += 1;
}

static skipped report_all(const files *f, const table *t)
{
    skipped s = {0};
    const skip *skips = skips_of(t);
    for (uint64_t i = 0, k = 0; i < f->count; i++) {
        int reason = f->items[i].reason;
        for (; k < t->num_skips && skips[k].file == i; k++)
            reason = skips[k].reason;
        if (reason != 0)
            report(&s, f->items[i].path, reason);
    }
    return s;
}

static bool more_frequent(const entry *a, const entry *b)
{
    if (a->count != b->count)
        return a->count > b->count;
    int r = memcmp(a->word, b->word, a->length < b->length ? a->length : b->length);
    return r < 0 || (r == 0 && a->length < b->length);
}

static void print_top(const table *t, size_t top)
{
    if (top > t->num_entries)
        top = (size_t)t->num_entries;
    const entry **best = checked(calloc(top + 1, sizeof *best)), *e = first_entry(t);
    size_t count = 0;
    for (uint64_t i = 0; i < t->num_entries; i++, e = next_entry(e)) {
        if (count == top && (top == 0 || !more_frequent(e, best[count - 1])))
            continue;
        size_t at = count < top ? count++ : count - 1;
        for (; at > 0 && more_frequent(e, best[at - 1]); at--)
            best[at] = best[at - 1];
        best[at] = e;
    }
    for (size_t i = 0; i < count; i++)
        printf("%12llu  %.*s\n", (unsigned long long)best[i]->count, (int)best[i]->length, best[i]->word);
    free(best);
}

typedef struct options {
    bool check;
    size_t top;
    uint64_t chunk_size;
    ray_isolation isolation;
} options;

static const char usage[] =
    "usage: wordcount [--isolation thread|process] [--check] [--top N] [--chunk SIZE] [DIR...]\n"
    "\n"
    "Counts the words of all regular files below the DIRs (default: /usr/share/doc and\n"
    "/usr/share/common-licenses). A word is a run of ASCII letters and digits; upper and\n"
    "lower case are different. Symbolic links are followed only where they are a DIR. A\n"
    "file with a NUL in its first 8 KiB is binary. Binary files, unreadable files, empty\n"
    "directories and DIRs that do not exist are skipped and reported.\n"
    "\n"
    "  --isolation thread|process  where tasks run: in threads of this process, or in\n"
    "                processes that a crash cannot spread from (default: thread)\n"
    "  --check       count once more in a plain loop, and compare the two tables\n"
    "  --top N       print the N most frequent words (default 10)\n"
    "  --chunk SIZE  bytes a map task reads, with K, M or G for KiB, MiB, GiB (default 1M)\n"
    "  --help        this text\n"
    "\n"
    "Exit status: 0 all was counted, 1 something was skipped, 2 an error.\n";

static uint64_t parse_number(const char *option, const char *text, uint64_t least, uint64_t most)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    const char *suffixes = "KMG", *suffix = *end ? strchr(suffixes, *end) : NULL;
    if (suffix && most > 0) {
        unsigned bits = 10 * (unsigned)(suffix - suffixes + 1);
        n = n <= most >> bits ? n << bits : most + 1;
        end++;
    }
    if (errno != 0 || text[0] < '0' || text[0] > '9' || *end || n < least || n > most) {
        fprintf(stderr, "wordcount: --%s %s: expected a number from %llu to %llu\n", option, text,
                (unsigned long long)least, (unsigned long long)most);
        exit(2);
    }
    return n;
}

static options parse_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"check", no_argument, NULL, 'c'},       {"top", required_argument, NULL, 't'},
        {"chunk", required_argument, NULL, 's'}, {"isolation", required_argument, NULL, 'i'},
        {"help", no_argument, NULL, 'h'},        {0}};
    options o = {.top = 10, .chunk_size = 1 << 20};
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (c) {
        case 'c':
            o.check = true;
            break;
        case 't':
            o.top = (size_t)parse_number("top", optarg, 0, 1000000);
            break;
        case 's':
            o.chunk_size = parse_number("chunk", optarg, 1, MAX_CHUNK);
            break;
        case 'i':
            o.isolation = isolation_named("wordcount", optarg);
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default: /* getopt_long has said what is wrong */
            fputs("try: wordcount --help\n", stderr);
            exit(2);
        }
    }
    return o;
}

int main(int argc, char **argv)
{
    options o = parse_options(argc, argv);
    static char doc[] = "/usr/share/doc", licenses[] = "/usr/share/common-licenses", *defaults[] = {doc, licenses};
    bool given = optind < argc;
    if (ray_init(RAY_WITH(ray_config, .isolation = o.isolation)) != 0)
        die("ray_init", ray_last_error()->message);

    double start = seconds();
    files f = files_find(given ? argv + optind : defaults, given ? (size_t)(argc - optind) : 2);
    uint64_t tasks;
    ray_ref *all = count_files(&f, o.chunk_size, &tasks);
    ray_view v;
    if (ray_get(all, &v) != 0)
        die("result", ray_last_error()->message);
    double took = seconds() - start;

    const table *t = v.data;
    skipped s = report_all(&f, t);
    uint64_t num_skipped = s.binary + s.unreadable + s.empty + s.missing;
    print_top(t, o.top);
    printf("files     %llu\n", (unsigned long long)t->files);
    printf("bytes     %llu\n", (unsigned long long)t->bytes);
    printf("words     %llu, %llu different\n", (unsigned long long)t->words, (unsigned long long)t->num_entries);
    printf("skipped   %llu: %llu binary, %llu unreadable, %llu empty, %llu missing\n", (unsigned long long)num_skipped,
           (unsigned long long)s.binary, (unsigned long long)s.unreadable, (unsigned long long)s.empty,
           (unsigned long long)s.missing);
    printf("seconds   %.3f\n", took);
    printf("tasks     %llu\n", (unsigned long long)tasks);
    bool failed = o.check && !check_table(&f, t);

    ray_view_release(&v);
    ray_release(all);
    files_free(&f);
    failed |= ray_shutdown() != 0;
    if (fflush(stdout) != 0 || ferror(stdout))
        die("standard output", strerror(errno));
    return failed ? 2 : num_skipped > 0;
}
