/* Signals that end a node. The library has no handlers; here a thread waits for them. The first one ends the node in
 * order, on a thread of its own, since that takes as long as the tasks that run; the next one ends the process. */
#include "node.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static const int ending[] = {SIGINT, SIGTERM, SIGHUP};

static atomic_bool came;

bool signals_came(void)
{
    return atomic_load(&came);
}

static void *shut_down(void *arg)
{
    (void)ray_shutdown(); /* and ray_serve returns */
    return arg;
}

static void *wait_for_signals(void *arg)
{
    const struct command *command = arg;
    sigset_t set;
    pthread_t thread;
    int signal;
    (void)pthread_sigmask(SIG_BLOCK, NULL, &set);
    if (sigwait(&set, &signal) != 0)
        return NULL;
    atomic_store(&came, true);
    if (!ray_is_initialized() || pthread_create(&thread, NULL, shut_down, NULL) != 0)
        _exit(128 + signal); /* nothing runs yet */
    pthread_detach(thread);
    complain(command, 0, "%s: it ends when its tasks have; the next signal ends it at once", strsignal(signal));
    (void)sigwait(&set, &signal);
    _exit(128 + signal);
}

bool signals_start(const struct command *command)
{
    sigset_t set;
    pthread_t thread;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof ending / sizeof *ending; i++) {
        struct sigaction now;
        if (sigaction(ending[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN) /* nohup */
            sigaddset(&set, ending[i]);
    }
    int failed = pthread_sigmask(SIG_SETMASK, &set, NULL);
    if (failed == 0)
        failed = pthread_create(&thread, NULL, wait_for_signals, (void *)(uintptr_t)command);
    if (failed) {
        complain(command, STATUS_FAILED, "no thread for signals: %s", strerror(failed));
        return false;
    }
    pthread_detach(thread);
    return true;
}
