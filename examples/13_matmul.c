/* Blocked matrix multiplication over shared objects.

     matmul [--isolation thread|process] [SIZE [BLOCK]]

   C = A B. A is stored as bands of rows, B as bands of columns, each an object that a task has written into the store
   itself. Then one task for each block of C reads two bands where they lie. The result is checked against a plain
   loop. */
#define _POSIX_C_SOURCE 200809L
#include "isolation.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ray_last_error()->message);
    exit(EXIT_FAILURE);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int64_t min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The matrices: any function of row and column will do. */
static double a_at(int64_t i, int64_t k)
{
    return (double)((i * 7 + k * 3) % 11) / 8 - 0.5;
}

static double b_at(int64_t k, int64_t j)
{
    return (double)((k * 5 + j * 2) % 13) / 16 + 0.25;
}

/* [bands */
/* Rows first … first + count - 1 of A, row by row. */
RAY_REMOTE(ray_buffer *, rows_of_a, (int64_t, first), (int64_t, count), (int64_t, size))
{
    ray_buffer *out = ray_create((size_t)(count * size) * sizeof(double));
    if (!out)
        return NULL;
    double *a = out->data;
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = 0; k < size; k++)
            a[i * size + k] = a_at(first + i, k);
    return out;
}

/* As many columns of B, row by row: each row of the band has count numbers. */
RAY_REMOTE(ray_buffer *, columns_of_b, (int64_t, first), (int64_t, count), (int64_t, size))
{
    ray_buffer *out = ray_create((size_t)(count * size) * sizeof(double));
    if (!out)
        return NULL;
    double *b = out->data;
    for (int64_t k = 0; k < size; k++)
        for (int64_t j = 0; j < count; j++)
            b[k * count + j] = b_at(k, first + j);
    return out;
}
/* bands] */

/* [multiply */
/* One block of C: its rows are those of the band a, its columns those of the band b. */
RAY_REMOTE(ray_buffer *, multiply, (ray_view, a), (ray_view, b), (int64_t, size))
{
    int64_t rows = (int64_t)(a.size / sizeof(double)) / size, columns = (int64_t)(b.size / sizeof(double)) / size;
    ray_buffer *out = ray_create((size_t)(rows * columns) * sizeof(double));
    if (!out)
        return NULL;
    double *c = memset(out->data, 0, out->size);
    const double *x = a.data, *y = b.data;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < size; k++)
            for (int64_t j = 0; j < columns; j++)
                c[i * columns + j] += x[i * size + k] * y[k * columns + j];
    return out;
}
/* multiply] */

/* The same without libray. */
static double *multiply_plainly(int64_t size)
{
    size_t bytes = (size_t)(size * size) * sizeof(double);
    double *a = malloc(bytes), *b = malloc(bytes), *c = calloc(1, bytes);
    if (!a || !b || !c) {
        fprintf(stderr, "matmul: out of memory\n");
        exit(EXIT_FAILURE);
    }
    for (int64_t i = 0; i < size; i++)
        for (int64_t k = 0; k < size; k++)
            a[i * size + k] = a_at(i, k), b[i * size + k] = b_at(i, k);
    for (int64_t i = 0; i < size; i++)
        for (int64_t k = 0; k < size; k++)
            for (int64_t j = 0; j < size; j++)
                c[i * size + j] += a[i * size + k] * b[k * size + j];
    free(a), free(b);
    return c;
}

/* The largest difference between a block of C and the same place in the whole matrix. */
static double block_error(ray_ref *block, const double *c, int64_t size, int64_t row, int64_t column, int64_t columns)
{
    ray_view v;
    if (ray_get(block, &v) != 0)
        die("multiply");
    const double *x = v.data;
    double most = 0;
    for (int64_t n = 0; n < (int64_t)(v.size / sizeof(double)); n++)
        most = fmax(most, fabs(x[n] - c[(row + n / columns) * size + column + n % columns]));
    ray_view_release(&v);
    return most;
}

static int64_t argument(char **argv, int argc, int i, int64_t or_else)
{
    char *end;
    long long n = i < argc ? strtoll(argv[i], &end, 10) : or_else;
    if (i < argc && (n < 1 || n > 20000 || *end)) {
        fprintf(stderr, "matmul: %s: expected a number from 1 to 20000\n", argv[i]);
        exit(2);
    }
    return n;
}

int main(int argc, char **argv)
{
    ray_isolation isolation = take_isolation("matmul", &argc, &argv, 2);
    int64_t size = argument(argv, argc, 1, 512), block = argument(argv, argc, 2, 128);
    int64_t bands = (size + block - 1) / block;
    if (ray_init(RAY_WITH(ray_config, .isolation = isolation)) != 0)
        die("ray_init");
    double start = seconds();

    /* [submit */
    ray_ref **a = calloc((size_t)(2 * bands + bands * bands), sizeof(ray_ref *)), **b = a + bands, **c = b + bands;
    if (!a) {
        fprintf(stderr, "matmul: out of memory\n");
        return EXIT_FAILURE;
    }
    for (int64_t i = 0; i < bands; i++) {
        a[i] = ray_remote(rows_of_a, i * block, min(block, size - i * block), size);
        b[i] = ray_remote(columns_of_b, i * block, min(block, size - i * block), size);
    }
    for (int64_t i = 0; i < bands; i++)
        for (int64_t j = 0; j < bands; j++)
            c[i * bands + j] = ray_remote(multiply, a[i], b[j], size); /* the views inside are the bands themselves */
    for (int64_t i = 0; i < 2 * bands; i++)
        ray_release(a[i]); /* a band goes when the last task that reads it is done */
    ray_wait(c, (size_t)(bands * bands), (size_t)(bands * bands), RAY_FOREVER, NULL);
    /* submit] */

    double parallel = seconds() - start;
    double *plain = multiply_plainly(size), error = 0;
    double alone = seconds() - start - parallel;
    for (int64_t i = 0; i < bands; i++)
        for (int64_t j = 0; j < bands; j++) {
            int64_t columns = min(block, size - j * block);
            error = fmax(error, block_error(c[i * bands + j], plain, size, i * block, j * block, columns));
            ray_release(c[i * bands + j]);
        }
    free(plain), free(a);

    bool ok = error <= 1e-12 * (double)size;
    printf("size %lld in blocks of %lld: %.3f s, plain loop %.3f s\n", (long long)size, (long long)block, parallel,
           alone);
    printf("largest error %g: %s\n", error, ok ? "ok" : "wrong");
    return ray_shutdown() != 0 || !ok;
}
