/* The remote functions of the word count: map and reduce. */
#define _XOPEN_SOURCE 700
#include "20_wordcount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Map: the words of a chunk ---- */

static const piece *next_piece(const piece *p)
{
    return (const piece *)((const char *)(p + 1) + padded(p->path_size));
}

typedef struct slot {
    const char *word; /* in the text; NULL: free */
    uint64_t count;
    uint32_t hash, length;
} slot;

/* What a map task works on. */
typedef struct chunk {
    char *text; /* all pieces, a space behind each */
    size_t size, capacity;
    skip *skips;
    slot *slots; /* open addressing: a word is at hash >> shift or right behind */
    unsigned shift;
    table totals;
} chunk;

static bool chunk_reserve(chunk *c, size_t more)
{
    if (c->capacity - c->size >= more)
        return true;
    size_t capacity = c->size + more + c->capacity / 2;
    char *text = realloc(c->text, capacity);
    if (!text)
        return false;
    c->text = text, c->capacity = capacity;
    return true;
}

/* Appends bytes of a file to the text, fewer at its end. Returns how many, or -1 with errno. */
static ssize_t chunk_read(chunk *c, int fd, uint64_t offset, size_t size)
{
    if (!chunk_reserve(c, size + 1)) {
        errno = ENOMEM;
        return -1;
    }
    size_t done = 0;
    while (done < size) {
        ssize_t n = pread(fd, c->text + c->size + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno != EINTR)
            return -1;
        if (n == 0)
            break;
        done += n > 0 ? (size_t)n : 0;
    }
    c->size += done;
    return (ssize_t)done;
}

/* [border */
/* Appends the words that begin in the piece, and no part of others. Returns 0 or the reason not to count the file. */
static int chunk_load(chunk *c, const piece *p, int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return errno;
    if (!S_ISREG(st.st_mode))
        return NO_FILE;
    size_t start = c->size;
    ssize_t head = chunk_read(c, fd, 0, p->file_size < BINARY_HEAD ? (size_t)p->file_size : BINARY_HEAD);
    if (head < 0)
        return errno;
    if (head > 0 && memchr(c->text + start, '\0', (size_t)head))
        return BINARY;
    c->size = start;

    uint64_t before = p->offset > 0; /* look at the byte before: is the piece's first word another's? */
    ssize_t n = chunk_read(c, fd, p->offset - before, (size_t)(p->length + before));
    if (n < 0)
        return errno;
    size_t end = c->size;
    if (before)
        for (size_t i = start; i < end && is_word((unsigned char)c->text[i]); i++)
            c->text[i] = ' '; /* it is: the chunk that has its beginning counts it */
    uint64_t bytes = (uint64_t)n > before ? (uint64_t)n - before : 0;

    /* The last word may go on behind the piece: so does the text then, as far as that word does. */
    for (uint64_t at = p->offset + bytes; bytes == p->length && at < p->file_size;) {
        size_t from = c->size, more = p->file_size - at < 4096 ? (size_t)(p->file_size - at) : 4096;
        if (from == start || !is_word((unsigned char)c->text[from - 1]))
            break;
        if (c->size > UINT32_MAX - more)
            return EFBIG;
        n = chunk_read(c, fd, at, more);
        if (n < 0)
            return errno;
        for (c->size = from; c->size < from + (size_t)n && is_word((unsigned char)c->text[c->size]); c->size++)
            ;
        if (n == 0 || c->size < from + (size_t)n)
            break;
        at += (uint64_t)n;
    }
    c->totals.bytes += bytes;
    c->totals.files += p->offset == 0;
    return 0;
}
/* border] */

/* Appends a piece, or notes why not. False: out of memory. */
static bool chunk_add(chunk *c, const piece *p)
{
    size_t start = c->size;
    int fd = open((const char *)(p + 1), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW);
    int reason = fd < 0 ? errno : chunk_load(c, p, fd);
    if (fd >= 0)
        close(fd);
    if (reason != 0) {
        c->size = start;
        if (reason == ENOMEM)
            return false;
        if (reason != BINARY || p->offset == 0) /* a binary file is reported once */
            c->skips[c->totals.num_skips++] = (skip){p->file, reason};
    }
    if (!chunk_reserve(c, 1))
        return false;
    c->text[c->size++] = ' ';
    return true;
}

static bool chunk_grow(chunk *c)
{
    size_t old = c->slots ? (size_t)1 << (32 - c->shift) : 0;
    unsigned shift = c->slots ? c->shift - 1 : 20; /* 4096 slots to begin with */
    size_t mask = ((size_t)1 << (32 - shift)) - 1;
    slot *slots = calloc(mask + 1, sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = 0; i < old; i++)
        if (c->slots[i].word) {
            size_t k = c->slots[i].hash >> shift;
            while (slots[k].word)
                k = (k + 1) & mask;
            slots[k] = c->slots[i];
        }
    free(c->slots);
    c->slots = slots, c->shift = shift;
    return true;
}

static bool chunk_count_word(chunk *c, const char *word, uint32_t length, uint32_t hash)
{
    size_t mask = ((size_t)1 << (32 - c->shift)) - 1, k = hash >> c->shift;
    for (; c->slots[k].word; k = (k + 1) & mask)
        if (c->slots[k].hash == hash && c->slots[k].length == length && !memcmp(c->slots[k].word, word, length)) {
            c->slots[k].count++;
            return true;
        }
    c->slots[k] = (slot){word, 1, hash, length};
    return ++c->totals.num_entries <= mask / 2 || chunk_grow(c);
}

/* Counts the words of the text. False: out of memory. */
static bool chunk_count(chunk *c)
{
    const char *s = c->text, *end = s + c->size; /* a space stands before end */
    while (s < end) {
        uint32_t hash = 2166136261u;
        const char *word = s;
        for (; is_word((unsigned char)*s); s++)
            hash = (hash ^ (unsigned char)*s) * 16777619u;
        if (s > word) {
            hash = (hash ^ hash >> 15) * 0x2c1b3c6du;
            c->totals.words++;
            if (!chunk_count_word(c, word, (uint32_t)(s - word), hash ^ hash >> 13))
                return false;
        }
        s++;
    }
    return true;
}

static int compare_words(uint32_t hash_a, uint32_t length_a, const char *a, uint32_t hash_b, uint32_t length_b,
                         const char *b)
{
    if (hash_a != hash_b)
        return hash_a < hash_b ? -1 : 1;
    if (length_a != length_b)
        return length_a < length_b ? -1 : 1;
    return memcmp(a, b, length_a);
}

/* Moves the words to the first slots and puts them in order. They nearly are: a slot's place is the head of its hash.
 */
static void chunk_sort(chunk *c)
{
    slot *to = c->slots;
    for (slot *from = to, *end = to + ((size_t)1 << (32 - c->shift)); from < end; from++) {
        if (!from->word)
            continue;
        slot s = *from, *at = to++;
        for (; at > c->slots && compare_words(at[-1].hash, at[-1].length, at[-1].word, s.hash, s.length, s.word) > 0;
             at--)
            *at = at[-1];
        *at = s;
    }
}

static entry *entry_write(entry *e, uint64_t count, uint32_t hash, uint32_t length, const char *word)
{
    e->count = count, e->hash = hash, e->length = length;
    memcpy(e->word, word, length);
    memset(e->word + length, 0, padded(length) - length);
    return (entry *)((char *)e + entry_size(e));
}

static ray_buffer *chunk_to_table(const chunk *c)
{
    size_t size = sizeof(table) + c->totals.num_skips * sizeof(skip);
    for (size_t i = 0; i < c->totals.num_entries; i++)
        size += sizeof(entry) + padded(c->slots[i].length);
    ray_buffer *out = ray_create(size);
    if (!out)
        return NULL;
    table *t = out->data;
    *t = c->totals;
    if (t->num_skips > 0)
        memcpy(t + 1, c->skips, t->num_skips * sizeof(skip));
    entry *e = (entry *)((skip *)(t + 1) + t->num_skips);
    for (const slot *s = c->slots, *end = s + t->num_entries; s < end; s++)
        e = entry_write(e, s->count, s->hash, s->length, s->word);
    return out;
}

/* [map */
RAY_REMOTE(ray_buffer *, count_words, (ray_view, pieces))
{
    const piece *first = pieces.data, *end = (const piece *)((const char *)pieces.data + pieces.size);
    size_t num_pieces = 0;
    for (const piece *p = first; p < end; p = next_piece(p))
        num_pieces++;
    chunk c = {.skips = malloc(num_pieces * sizeof(skip))};
    bool ok = c.skips && chunk_grow(&c);
    for (const piece *p = first; ok && p < end; p = next_piece(p))
        ok = chunk_add(&c, p);
    ray_buffer *out = NULL;
    if (ok && chunk_count(&c)) {
        chunk_sort(&c);
        out = chunk_to_table(&c); /* if that is NULL, the task fails with the error of ray_create */
    } else {
        ray_fail("out of memory");
    }
    free(c.text), free(c.skips), free(c.slots);
    return out;
}
/* map] */

/* ---- Reduce: two tables become one ---- */

/* [reduce */
RAY_REMOTE(ray_buffer *, merge_tables, (ray_view, left), (ray_view, right))
{
    ray_buffer *out = ray_create(left.size + right.size); /* that is enough, mostly too much */
    if (!out)
        return NULL;
    const table *a = left.data, *b = right.data;
    table *t = out->data;
    *t = (table){.files = a->files + b->files,
                 .bytes = a->bytes + b->bytes,
                 .words = a->words + b->words,
                 .num_skips = a->num_skips + b->num_skips};
    skip *skips = (skip *)(t + 1);
    memcpy(skips, skips_of(a), a->num_skips * sizeof *skips);
    memcpy(skips + a->num_skips, skips_of(b), b->num_skips * sizeof *skips);

    entry *e = (entry *)(skips + t->num_skips);
    const entry *x = first_entry(a), *y = first_entry(b);
    uint64_t left_a = a->num_entries, left_b = b->num_entries;
    while (left_a > 0 || left_b > 0) {
        int order = left_a == 0   ? 1
                    : left_b == 0 ? -1
                                  : compare_words(x->hash, x->length, x->word, y->hash, y->length, y->word);
        const entry *from = order <= 0 ? x : y;
        size_t size = entry_size(from);
        memcpy(e, from, size);
        if (order == 0)
            e->count += y->count;
        if (order <= 0)
            x = next_entry(x), left_a--;
        if (order >= 0)
            y = next_entry(y), left_b--;
        e = (entry *)((char *)e + size);
        t->num_entries++;
    }
    out->size = (size_t)((char *)e - (char *)out->data);
    return out;
}
/* reduce] */
