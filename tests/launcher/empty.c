/* A library without functions: a name that does no harm. */
int rayi_test_empty_library(void);
int rayi_test_empty_library(void)
{
    return 0;
}
