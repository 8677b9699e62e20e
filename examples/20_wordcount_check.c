/* The plain count of --check: one loop, one table, nothing of libray. */
#include "20_wordcount.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct node {
    struct node *next;
    uint64_t count;
    size_t length;
    char word[];
} node;

enum { NUM_BUCKETS = 1 << 20 };

typedef struct plain {
    node **buckets;
    uint64_t files, bytes, words, distinct;
    char *word; /* the word that is being read */
    size_t length, capacity;
} plain;

/* The link that points at the node of a word, or at the end of its bucket. */
static node **plain_find(plain *p, const char *word, size_t length)
{
    size_t hash = 5381;
    for (size_t i = 0; i < length; i++)
        hash = hash * 33 + (unsigned char)word[i];
    node **link = &p->buckets[(hash ^ hash >> 20) % NUM_BUCKETS];
    while (*link && ((*link)->length != length || memcmp((*link)->word, word, length) != 0))
        link = &(*link)->next;
    return link;
}

static void plain_word_ends(plain *p)
{
    if (p->length == 0)
        return;
    node **link = plain_find(p, p->word, p->length);
    if (!*link) {
        node *n = checked(malloc(sizeof *n + p->length));
        *n = (node){.length = p->length};
        memcpy(n->word, p->word, p->length);
        *link = n;
        p->distinct++;
    }
    (*link)->count++;
    p->words++;
    p->length = 0;
}

static void plain_file(plain *p, const found *file)
{
    FILE *f = fopen(file->path, "rb");
    if (!f)
        return;
    static char buffer[1 << 16];
    uint64_t left = file->size;
    for (bool first = true; left > 0; first = false) {
        size_t n = fread(buffer, 1, left < sizeof buffer ? (size_t)left : sizeof buffer, f);
        if (first && memchr(buffer, '\0', n < BINARY_HEAD ? n : BINARY_HEAD)) {
            fclose(f);
            return;
        }
        for (size_t i = 0; i < n; i++) {
            if (!is_word((unsigned char)buffer[i])) {
                plain_word_ends(p);
                continue;
            }
            if (p->length == p->capacity) {
                p->capacity = p->capacity * 2 + 64;
                p->word = checked(realloc(p->word, p->capacity));
            }
            p->word[p->length++] = buffer[i];
        }
        p->bytes += n, left -= n;
        if (n == 0)
            break;
    }
    plain_word_ends(p);
    p->files++;
    fclose(f);
}

static void plain_free(plain *p)
{
    for (size_t i = 0; i < NUM_BUCKETS; i++)
        for (node *n = p->buckets[i], *next; n; n = next) {
            next = n->next;
            free(n);
        }
    free(p->buckets), free(p->word);
}

bool check_table(const files *f, const table *t)
{
    double start = seconds();
    plain p = {.buckets = checked(calloc(NUM_BUCKETS, sizeof(node *)))};
    for (size_t i = 0; i < f->count; i++)
        if (f->items[i].reason == 0)
            plain_file(&p, &f->items[i]);
    double took = seconds() - start;

    uint64_t differences = 0;
    const entry *e = first_entry(t);
    for (uint64_t i = 0; i < t->num_entries; i++, e = next_entry(e)) {
        const node *n = *plain_find(&p, e->word, e->length);
        uint64_t count = n ? n->count : 0;
        if (count != e->count && differences++ < 5)
            fprintf(stderr, "wordcount: check: %.*s: %llu in tables, %llu in the plain count\n", (int)e->length,
                    e->word, (unsigned long long)e->count, (unsigned long long)count);
    }
    bool same = differences == 0 && p.distinct == t->num_entries && p.words == t->words && p.files == t->files &&
                p.bytes == t->bytes;
    if (same)
        printf("check     same table; the plain count took %.3f s\n", took);
    else
        fprintf(stderr,
                "wordcount: check failed: %llu files, %llu bytes, %llu words, %llu different in the plain count\n",
                (unsigned long long)p.files, (unsigned long long)p.bytes, (unsigned long long)p.words,
                (unsigned long long)p.distinct);
    plain_free(&p);
    return same;
}
