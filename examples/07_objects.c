/* Objects: bytes in the store, written once and then read by any number of tasks.

   ray_put copies bytes in. ray_create + ray_seal let the program write into the store itself, and a view reads an
   object where it lies: between them nothing is copied. */
#include <ray/ray.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ray_last_error()->message);
    exit(EXIT_FAILURE);
}

/* [sum */
RAY_REMOTE(double, sum, (ray_view, numbers), (int64_t, first), (int64_t, count))
{
    const double *x = numbers.data; /* the bytes of objects are aligned to 64 */
    double s = 0;
    for (int64_t i = first; i < first + count; i++)
        s += x[i];
    return s;
}
/* sum] */

/* [create */
/* The numbers 1 to count as an object: written into the store, then sealed. */
static ray_ref *numbers_new(size_t count)
{
    ray_buffer *b = ray_create((count + 100) * sizeof(double));
    if (!b)
        die("ray_create");
    double *x = b->data;
    for (size_t i = 0; i < count; i++)
        x[i] = (double)(i + 1);
    b->size = count * sizeof *x; /* less than we asked for */
    return ray_seal(b);          /* takes the buffer */
}
/* create] */

/* [hold */
/* An object that holds two others: they live as long as it does. How its bytes name them is up to us: here they don't,
   it is index 0 and index 1. */
static ray_ref *pair_new(ray_ref *a, ray_ref *b, const char *label)
{
    ray_buffer *out = ray_create(strlen(label) + 1);
    if (!out)
        die("ray_create");
    memcpy(out->data, label, out->size);
    if (ray_buffer_hold(out, a) != 0 || ray_buffer_hold(out, b) != 1) /* returns the index */
        die("ray_buffer_hold");
    return ray_seal(out);
}
/* hold] */

int main(void)
{
    if (ray_init(NULL) != 0)
        die("ray_init");

    /* [put */
    char line[] = "written once";
    ray_ref *copy = ray_put(line, sizeof line - 1);
    memset(line, '-', sizeof line - 1); /* the object has bytes of its own */
    const char *text;
    if (ray_get(copy, &text) != 0) /* bytes as a string: there is a NUL behind them */
        die("ray_get");
    printf("%s\n", text); /* valid until the last ray_release of copy */
    ray_release(copy);
    /* put] */

    /* [share */
    enum { COUNT = 1000000, PARTS = 4 };
    ray_ref *numbers = numbers_new(COUNT), *parts[PARTS];
    for (int i = 0; i < PARTS; i++) /* four tasks read the same 8 MB */
        parts[i] = ray_remote(sum, numbers, i * (COUNT / PARTS), COUNT / PARTS);
    double total = 0, part;
    for (int i = 0; i < PARTS; i++) {
        if (ray_get(parts[i], &part) != 0)
            die("sum");
        total += part;
        ray_release(parts[i]);
    }
    printf("%.0f\n", total);
    /* share] */

    /* [pin */
    ray_view view;
    if (ray_get(numbers, &view) != 0)
        die("ray_get");
    ray_release(numbers); /* the last ref, but the view pins the bytes */
    printf("%zu numbers, the last is %.0f\n", view.size / sizeof(double), ((const double *)view.data)[COUNT - 1]);
    ray_view_release(&view);
    /* pin] */

    /* [open */
    ray_ref *a = ray_put("salt", 4), *b = ray_put("pepper", 6);
    ray_ref *pair = pair_new(a, b, "spices");
    ray_release(a), ray_release(b); /* pair holds them */

    if (ray_get(pair, &view) != 0)
        die("ray_get");
    printf("%s:", (const char *)view.data);
    for (size_t i = 0; i < 2; i++) {
        ray_ref *held = ray_view_ref(&view, i); /* obtained */
        if (ray_get(held, &text) != 0)
            die("ray_get");
        printf(" %s", text);
        ray_release(held);
    }
    printf("\n");
    ray_view_release(&view);
    ray_release(pair);
    /* open] */
    return ray_shutdown() != 0;
}
