/* What the sanitizers say of nng 1.5 and is known. Every test program that has a bus links it: a report ends a node. */

/* A message is counted with atomics that the thread sanitizer does not see; it sees nng's locks all the same. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "ignore_noninstrumented_modules=1";
}

/* A message that is about to be sent is forgotten when its connection goes (issue 1713). The head holds back what it
 * would say then (lib/transport/bus_net.c), which a busy machine makes too short now and then. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:rayi_bus_message_new\n";
}

/* What is suppressed is not told either: a sub-test fails on any report (check.c). */
const char *__lsan_default_options(void);
const char *__lsan_default_options(void)
{
    return "print_suppressions=0";
}
