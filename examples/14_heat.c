/* The heat equation on a plate: a stencil of actors that exchange halo rows.

     heat [PICTURE.ppm [SIZE [STEPS]]]

   The plate is cut into strips of rows, an actor each. In each step a strip needs the row above and the row below it,
   which belong to its neighbours: they are results of the neighbours' last step, passed on as refs. Nobody waits for a
   step to end; all of them are submitted ahead, and each runs as soon as its two rows are there. The result is checked
   against a plain loop. */
#include <ray/ray.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STRIPS = 4 };
static const double HOT = 100; /* along the upper edge; the three others are kept at 0 */

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "heat: %s: %s\n", what, ray_last_error()->message);
    exit(EXIT_FAILURE);
}

/* [relax */
/* One row of the next state, from three rows of this one. The first and last column stay as they are. */
static void relax(double *out, const double *up, const double *row, const double *down, int64_t width)
{
    out[0] = row[0], out[width - 1] = row[width - 1];
    for (int64_t x = 1; x < width - 1; x++)
        out[x] = row[x] + 0.2 * (up[x] + down[x] + row[x - 1] + row[x + 1] - 4 * row[x]);
}
/* relax] */

/* What a row has at the start: cold, but for a warm disc in the middle of the lower half. */
static void start_row(double *row, int64_t y, int64_t size)
{
    for (int64_t x = 0; x < size; x++) {
        int64_t dx = x - size / 2, dy = y - size * 3 / 4;
        row[x] = dx * dx + dy * dy < size * size / 64 ? HOT : 0;
    }
}

/* [state */
typedef struct strip {
    int64_t rows, width;
    double *now, *next; /* rows * width numbers each */
} strip;

RAY_ACTOR(strip, (int64_t, first), (int64_t, rows), (int64_t, size))
{
    size_t bytes = (size_t)(rows * size) * sizeof(double);
    *self = (strip){.rows = rows, .width = size, .now = malloc(bytes), .next = malloc(bytes)};
    if (!self->now || !self->next) {
        ray_fail("no memory for %lld rows", (long long)rows);
        return;
    }
    for (int64_t y = 0; y < rows; y++)
        start_row(self->now + y * size, first + y, size);
}

RAY_METHOD(strip, void, fini)
{
    free(self->now), free(self->next);
}
/* state] */

/* [halo */
/* What the neighbours need: the first row of the strip, then its last. */
RAY_METHOD(strip, ray_buffer *, halo)
{
    size_t row_bytes = (size_t)self->width * sizeof(double);
    ray_buffer *out = ray_create(2 * row_bytes);
    if (!out)
        return NULL;
    memcpy(out->data, self->now, row_bytes);
    memcpy((char *)out->data + row_bytes, self->now + (self->rows - 1) * self->width, row_bytes);
    return out;
}
/* halo] */

/* [step */
/* One step; above and below are the neighbours' halos. Returns its own. */
RAY_METHOD(strip, ray_buffer *, step, (ray_view, above), (ray_view, below))
{
    int64_t w = self->width;
    const double *up = (const double *)above.data + w; /* the last row of the strip above */
    for (int64_t y = 0; y < self->rows; y++) {
        const double *row = self->now + y * w, *down = y + 1 < self->rows ? row + w : below.data;
        relax(self->next + y * w, up, row, down, w);
        up = row;
    }
    double *old = self->now;
    self->now = self->next, self->next = old;
    return strip_halo(self); /* a method is a C function as well */
}
/* step] */

RAY_METHOD(strip, ray_buffer *, picture)
{
    ray_buffer *out = ray_create((size_t)(self->rows * self->width) * sizeof(double));
    if (out)
        memcpy(out->data, self->now, out->size);
    return out;
}

/* An object that looks like the halo of a strip whose rows never change. */
static ray_ref *edge_new(int64_t width, double heat)
{
    ray_buffer *b = ray_create(2 * (size_t)width * sizeof(double));
    if (!b)
        die("ray_create");
    for (int64_t x = 0; x < 2 * width; x++)
        ((double *)b->data)[x] = x % width == 0 || x % width == width - 1 ? 0 : heat;
    return ray_seal(b);
}

/* The whole plate after so many steps, by actors. */
static void run_strips(double *plate, int64_t size, int64_t steps)
{
    /* [submit */
    ray_actor *strips[STRIPS];
    ray_ref *halos[STRIPS], *top = edge_new(size, HOT), *bottom = edge_new(size, 0);
    for (int64_t i = 0; i < STRIPS; i++) {
        int64_t first = size * i / STRIPS, end = size * (i + 1) / STRIPS;
        strips[i] = ray_actor_new(strip, first, end - first, size);
        halos[i] = ray_call(strips[i], strip_halo);
    }
    for (int64_t s = 0; s < steps; s++) {
        ray_ref *next[STRIPS];
        for (int i = 0; i < STRIPS; i++) {
            ray_ref *above = i > 0 ? halos[i - 1] : top, *below = i < STRIPS - 1 ? halos[i + 1] : bottom;
            next[i] = ray_call(strips[i], strip_step, above, below);
        }
        for (int i = 0; i < STRIPS; i++) {
            ray_release(halos[i]);
            halos[i] = next[i];
        }
    }
    /* submit] */
    for (int64_t i = 0; i < STRIPS; i++) {
        ray_ref *r = ray_call(strips[i], strip_picture); /* a strip's calls run in order: after its steps */
        ray_view v;
        if (ray_get(halos[i], NULL) != 0 || ray_get(r, &v) != 0)
            die("strip");
        memcpy(plate + size * i / STRIPS * size, v.data, v.size);
        ray_view_release(&v);
        ray_release(r), ray_release(halos[i]);
        ray_actor_release(strips[i]);
    }
    ray_release(top), ray_release(bottom);
}

/* The same in a plain loop. Here the edges are rows like the others, above and below the plate. */
static double largest_error(const double *plate, int64_t size, int64_t steps)
{
    size_t count = (size_t)((size + 2) * size);
    double *now = calloc(count, sizeof *now), *next = calloc(count, sizeof *next), most = 0;
    if (!now || !next) {
        fprintf(stderr, "heat: out of memory\n");
        exit(EXIT_FAILURE);
    }
    for (int64_t x = 1; x < size - 1; x++)
        now[x] = next[x] = HOT;
    for (int64_t y = 0; y < size; y++)
        start_row(now + (y + 1) * size, y, size);
    for (int64_t s = 0; s < steps; s++) {
        for (int64_t y = 1; y <= size; y++)
            relax(next + y * size, now + (y - 1) * size, now + y * size, now + (y + 1) * size, size);
        double *old = now;
        now = next, next = old;
    }
    for (int64_t i = 0; i < size * size; i++)
        most = fmax(most, fabs(plate[i] - now[size + i]));
    free(now), free(next);
    return most;
}

/* Black, red, yellow, white: a PPM file. */
static void write_picture(const char *path, const double *plate, int64_t size)
{
    FILE *f = fopen(path, "wb");
    bool ok = f && fprintf(f, "P6\n%lld %lld\n255\n", (long long)size, (long long)size) > 0;
    for (int64_t i = 0; ok && i < size * size; i++) {
        double heat = plate[i] / HOT * 3;
        for (int k = 0; k < 3; k++)
            ok = putc((int)(fmin(fmax(heat - k, 0), 1) * 255), f) != EOF;
    }
    if ((f && fclose(f) != 0) || !ok) {
        perror(path);
        exit(EXIT_FAILURE);
    }
}

static int64_t argument(char **argv, int argc, int i, int64_t or_else, int64_t least)
{
    long long n = i < argc ? strtoll(argv[i], NULL, 10) : or_else;
    if (n < least || n > 20000) {
        fprintf(stderr, "usage: heat [PICTURE.ppm [SIZE [STEPS]]]   (SIZE from 4, STEPS from 0, to 20000)\n");
        exit(EXIT_FAILURE);
    }
    return n;
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "heat.ppm";
    int64_t size = argument(argv, argc, 2, 256, STRIPS), steps = argument(argv, argc, 3, 500, 0);
    if (ray_init(NULL) != 0)
        die("ray_init");

    double *plate = malloc((size_t)(size * size) * sizeof *plate);
    if (!plate) {
        fprintf(stderr, "heat: out of memory\n");
        return EXIT_FAILURE;
    }
    run_strips(plate, size, steps);
    write_picture(path, plate, size);
    double error = largest_error(plate, size, steps);
    bool ok = error <= 1e-9;
    printf("%lld x %lld after %lld steps: in the middle %.3f\n", (long long)size, (long long)size, (long long)steps,
           plate[size / 2 * size + size / 2]);
    printf("largest error %g: %s\n", error, ok ? "ok" : "wrong");
    free(plate);
    return ray_shutdown() != 0 || !ok;
}
