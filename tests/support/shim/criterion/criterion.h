/* The part of Criterion that the unit tests use, for the thread sanitizer: Debian's Criterion 2.4.1 keeps its records
 * in memory at a fixed address that this sanitizer takes, and ends before the first test. A test runs in a forked child
 * of a process with one thread. Left out: parallel tests and parameters. */
#ifndef SHIM_CRITERION_H
#define SHIM_CRITERION_H

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

typedef struct shim_test {
    int signal;    /* that ends the test, or 0 */
    int exit_code; /* the test's own */
    double timeout;
    bool disabled;
    const char *description;
    void (*init)(void), (*fini)(void);
    /* the shim's */
    const char *suite, *name;
    void (*run)(void);
    struct shim_test *next;
} shim_test;

void shim_add(shim_test *test, const char *suite, const char *name, void (*run)(void));
void shim_failed(const char *file, int line, const char *what, const char *format, ...)
    __attribute__((__format__(__printf__, 4, 5), __noreturn__));
void shim_log(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));
_Noreturn void shim_skip(void);

#define SHIM_NAME_(a, b, c) a##b##_##c
#define SHIM_NAME(a, b, c)  SHIM_NAME_(a, b, c)
#define Test(suite, name, ...)                                                                                         \
    static void SHIM_NAME(shim_run_, suite, name)(void);                                                               \
    __attribute__((__constructor__)) static void SHIM_NAME(shim_add_, suite, name)(void)                               \
    {                                                                                                                  \
        static shim_test test = {__VA_ARGS__};                                                                         \
        shim_add(&test, #suite, #name, SHIM_NAME(shim_run_, suite, name));                                             \
    }                                                                                                                  \
    static void SHIM_NAME(shim_run_, suite, name)(void)

/* The message may be missing: it is then "". */
#define SHIM_MESSAGE(...) "" __VA_ARGS__
#define SHIM_CHECK(condition, what, ...)                                                                               \
    ((condition) ? (void)0 : shim_failed(__FILE__, __LINE__, what, SHIM_MESSAGE(__VA_ARGS__)))

#define cr_assert(condition, ...)      SHIM_CHECK(condition, #condition, __VA_ARGS__)
#define cr_assert_not(condition, ...)  SHIM_CHECK(!(condition), "not " #condition, __VA_ARGS__)
#define cr_assert_eq(a, b, ...)        SHIM_CHECK((a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_assert_neq(a, b, ...)       SHIM_CHECK((a) != (b), #a " != " #b, __VA_ARGS__)
#define cr_assert_lt(a, b, ...)        SHIM_CHECK((a) < (b), #a " < " #b, __VA_ARGS__)
#define cr_assert_leq(a, b, ...)       SHIM_CHECK((a) <= (b), #a " <= " #b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...)        SHIM_CHECK((a) > (b), #a " > " #b, __VA_ARGS__)
#define cr_assert_geq(a, b, ...)       SHIM_CHECK((a) >= (b), #a " >= " #b, __VA_ARGS__)
#define cr_assert_null(a, ...)         SHIM_CHECK((a) == NULL, #a " is NULL", __VA_ARGS__)
#define cr_assert_not_null(a, ...)     SHIM_CHECK((a) != NULL, #a " is not NULL", __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...)    SHIM_CHECK(strcmp((a), (b)) == 0, #a " is " #b, __VA_ARGS__)
#define cr_assert_str_neq(a, b, ...)   SHIM_CHECK(strcmp((a), (b)) != 0, #a " is not " #b, __VA_ARGS__)
#define cr_assert_arr_eq(a, b, n, ...) SHIM_CHECK(memcmp((a), (b), (n)) == 0, #a " is " #b, __VA_ARGS__)
#define cr_assert_float_eq(a, b, most, ...)                                                                            \
    SHIM_CHECK(fabs((double)(a) - (double)(b)) <= (most), #a " == " #b, __VA_ARGS__)
#define cr_assert_fail(...) shim_failed(__FILE__, __LINE__, "reached", SHIM_MESSAGE(__VA_ARGS__))
#define cr_fatal(...)       cr_assert_fail(__VA_ARGS__)
#define cr_skip_test(...)   shim_skip()
#define cr_log_info(...)    shim_log(__VA_ARGS__)
#define cr_log_warn(...)    shim_log(__VA_ARGS__)
#define cr_log_error(...)   shim_log(__VA_ARGS__)
#define cr_expect           cr_assert
#define cr_expect_eq        cr_assert_eq
#define cr_expect_neq       cr_assert_neq
#define cr_expect_not       cr_assert_not
#define cr_expect_lt        cr_assert_lt
#define cr_expect_leq       cr_assert_leq
#define cr_expect_gt        cr_assert_gt
#define cr_expect_geq       cr_assert_geq
#define cr_expect_null      cr_assert_null
#define cr_expect_not_null  cr_assert_not_null
#define cr_expect_str_eq    cr_assert_str_eq

#endif
