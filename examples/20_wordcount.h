/* What the parts of the word count share: 20_wordcount.c is the driver, 20_wordcount_tasks.c has the two remote
   functions, 20_wordcount_files.c finds files, 20_wordcount_check.c counts them in a plain loop. */
#ifndef WORDCOUNT_H
#define WORDCOUNT_H

#include <ray/ray.h>

enum { BINARY_HEAD = 8192 }; /* a file with a NUL in so many bytes is binary */

/* Why a file is not counted: an errno, or one of these. */
enum { BINARY = -1, EMPTY_DIRECTORY = -2, NO_FILE = -3 };

/* [layout */
/* The argument of a map task: pieces of files, one behind the other, each followed by its path. */
typedef struct piece {
    uint64_t offset, length, file_size;
    uint32_t file; /* its number, for the driver */
    uint32_t path_size;
} piece;

/* The result of every task: this, then the skipped files, then the words in the order of (hash, length, bytes). */
typedef struct table {
    uint64_t files, bytes, words;
    uint64_t num_skips, num_entries;
} table;

typedef struct skip {
    uint32_t file;
    int32_t reason;
} skip;

typedef struct entry {
    uint64_t count;
    uint32_t hash, length;
    char word[]; /* padded to a multiple of 8 */
} entry;
/* layout] */

/* [declare */
RAY_REMOTE_DECLARE(ray_buffer *, count_words, (ray_view, pieces));
RAY_REMOTE_DECLARE(ray_buffer *, merge_tables, (ray_view, left), (ray_view, right));
/* declare] */

static inline bool is_word(unsigned char c)
{
    return (unsigned char)((c | 32) - 'a') < 26 || (unsigned char)(c - '0') < 10;
}

static inline size_t padded(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

static inline const skip *skips_of(const table *t)
{
    return (const skip *)(t + 1);
}

static inline const entry *first_entry(const table *t)
{
    return (const entry *)(skips_of(t) + t->num_skips);
}

static inline size_t entry_size(const entry *e)
{
    return sizeof *e + padded(e->length);
}

static inline const entry *next_entry(const entry *e)
{
    return (const entry *)((const char *)e + entry_size(e));
}

/* A file to count, or something that was found and is skipped. */
typedef struct found {
    char *path;
    uint64_t size;
    int reason; /* 0: to be counted */
} found;

/* In the order of their paths, each once. */
typedef struct files {
    found *items;
    size_t count, capacity;
    uint64_t bytes;
} files;

files files_find(char *const *directories, size_t count);
void files_free(files *f);

/* Counts the files in one loop, compares with the table, and says what came out. */
bool check_table(const files *f, const table *t);

_Noreturn void die(const char *what, const char *why); /* exit status 2 */
void *checked(void *memory);                           /* dies of NULL */
double seconds(void);

#endif
