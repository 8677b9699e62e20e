/* Tests with something to do before and after them. Criterion does not count what fails in its own .fini, and what is
 * to be looked at after a test is whether it has left anything behind: so the test itself does both. */
#ifndef TESTS_AROUND_H
#define TESTS_AROUND_H

#include <criterion/criterion.h>

/* Test(suite, name) { before(); what follows; after(); } */
#define TEST_AROUND(suite, name, before, after)                                                                        \
    static void suite##_##name##_inside(void);                                                                         \
    Test(suite, name) TEST_AROUND_INSIDE(suite##_##name##_inside, before, after)
/* With options of Criterion's: .timeout = 120. */
#define TEST_AROUND_WITH(suite, name, before, after, ...)                                                              \
    static void suite##_##name##_inside(void);                                                                         \
    Test(suite, name, __VA_ARGS__) TEST_AROUND_INSIDE(suite##_##name##_inside, before, after)
#define TEST_AROUND_INSIDE(inside, before, after)                                                                      \
    {                                                                                                                  \
        before();                                                                                                      \
        inside();                                                                                                      \
        after();                                                                                                       \
    }                                                                                                                  \
    static void inside(void)

#endif
