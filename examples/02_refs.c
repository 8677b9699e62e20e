/* Refs as arguments: a tree of tasks.

   Counts words by their length. Each line of text is counted by a task of its own, and the counts are added up pair by
   pair by further tasks, whose arguments are the refs of the earlier ones. All of it is submitted before the first
   result is there: libray runs a task when its arguments are. */
#include <ray/ray.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINES = 6, LENGTHS = 8 }; /* lengths from 1 to 6, and 7 for all that is longer */

static const char *const text[LINES] = {
    "Whether tis nobler in the mind to suffer",         "the slings and arrows of outrageous fortune",
    "or to take arms against a sea of troubles",        "and by opposing end them",
    "To die to sleep no more and by a sleep to say we", "end the heartache and the thousand natural shocks",
};

/* [count */
/* The result is a buffer of the object store that the task fills in: as large as need be, and never copied. */
RAY_REMOTE(ray_buffer *, count_lengths, (ray_view, line))
{
    ray_buffer *out = ray_create(LENGTHS * sizeof(int64_t));
    if (!out)
        return NULL; /* the task fails with the error of ray_create */
    int64_t *counts = memset(out->data, 0, out->size);
    const char *s = line.data;
    for (size_t i = 0, length = 0; i <= line.size; i++) {
        if (i < line.size && s[i] != ' ') {
            length++;
        } else if (length > 0) {
            counts[length < LENGTHS ? length : LENGTHS - 1]++;
            length = 0;
        }
    }
    return out; /* given away: libray seals it, nobody writes to it from here on */
}
/* count] */

/* [add */
RAY_REMOTE(ray_buffer *, add, (ray_view, a), (ray_view, b))
{
    ray_buffer *out = ray_create(a.size);
    if (!out)
        return NULL;
    const int64_t *x = a.data, *y = b.data;
    for (size_t i = 0; i < a.size / sizeof *x; i++)
        ((int64_t *)out->data)[i] = x[i] + y[i];
    return out;
}
/* add] */

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ray_last_error()->message);
    exit(EXIT_FAILURE);
}

int main(void)
{
    if (ray_init(NULL) != 0)
        die("ray_init");

    /* [tree */
    ray_ref *refs[LINES];
    for (int i = 0; i < LINES; i++)
        refs[i] = ray_remote(count_lengths, ray_view_of(text[i], strlen(text[i])));

    for (int n = LINES; n > 1; n = (n + 1) / 2) { /* 6 refs become 3, 2, 1 */
        for (int i = 0; i < n / 2; i++) {
            ray_ref *a = refs[2 * i], *b = refs[2 * i + 1];
            refs[i] = ray_remote(add, a, b); /* inside, a and b are the bytes that the refs stand for */
            ray_release(a), ray_release(b);  /* the new task holds them now */
        }
        if (n % 2 != 0)
            refs[n / 2] = refs[n - 1];
    }
    /* tree] */

    /* [view */
    ray_view sum; /* looks at the object where it is */
    if (ray_get(refs[0], &sum) != 0)
        die("ray_get");
    const int64_t *counts = sum.data;
    for (int i = 1; i < LENGTHS; i++)
        printf("%d letters%s: %lld\n", i, i == LENGTHS - 1 ? " or more" : "", (long long)counts[i]);
    ray_view_release(&sum);
    ray_release(refs[0]);
    /* view] */
    return ray_shutdown() != 0;
}
