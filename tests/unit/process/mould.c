/* A template for the tests: prepares itself, and is copied. A copy does what $DO says. */
#include "process/process.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static pthread_t main_thread;
static atomic_int interrupted;
static atomic_bool seen;

/* The library's calls of send come here: one that answers late. */
static bool is_late;
ssize_t send(int fd, const void *bytes, size_t size, int flags)
{
    if (is_late && size > sizeof(uint32_t)) /* not the first packet */
        usleep(1500000);
    return sendto(fd, bytes, size, flags, NULL, 0);
}

static void on_signal(int number)
{
    interrupted = number;
}

static void *interrupt(void *arg)
{
    (void)arg;
    for (; !seen; usleep(1000)) /* the first may come just before the pause */
        pthread_kill(main_thread, SIGUSR1);
    return NULL;
}

static void *wait_for_ever(void *arg)
{
    (void)arg;
    pause();
    return NULL;
}

/* A robust lock whose holder dies is handed on by the kernel, if that knows of the thread's list of such locks. */
static int die_with_a_lock(void)
{
    pthread_mutex_t *lock = mmap(NULL, sizeof *lock, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t attr;
    pid_t holder = getpid();
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(lock, &attr);
    pthread_mutex_lock(lock);
    if (fork() > 0)
        _exit(6);
    while (getppid() == holder)
        usleep(1000);
    puts(pthread_mutex_trylock(lock) == EOWNERDEAD ? "handed on" : "lost");
    return 0;
}

static int be_copy(void)
{
    const char *what = getenv("DO");
    char word[16];
    pthread_t other;
    if (strcmp(what, "tell") == 0) {
        ssize_t size = read(3, word, sizeof word - 1);
        word[size > 0 ? size : 0] = 0;
        printf("parent %d group %d given %s unset %s word %s\n", (int)getppid(), getpgrp() == getpid(), getenv("GIVEN"),
               getenv("UNSET") ? "no" : "yes", word);
        fprintf(stderr, "and an error\n");
        return 5;
    }
    if (strcmp(what, "interrupt") == 0) {
        main_thread = pthread_self();
        signal(SIGUSR1, on_signal);
        pthread_create(&other, NULL, interrupt, NULL);
        while (!interrupted)
            pause();
        seen = true;
        pthread_join(other, NULL);
        return 6;
    }
    if (strcmp(what, "robust") == 0)
        return die_with_a_lock();
    if (strcmp(what, "bound") == 0) {
        rayi_process_bind_to_parent(getppid());
        puts("bound");
        fflush(stdout);
        pause();
    }
    if (strcmp(what, "abort") == 0)
        abort();
    pause();
    return 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    pthread_t other;
    int r;
    setenv("UNSET", "it stands in the template's", 1);
    if (strcmp(what, "quits") == 0)
        return 3;
    if (strcmp(what, "rubbish") == 0)
        return send(3, "?!", 2, 0) == 2 && pause() ? 0 : 1;
    is_late = strcmp(what, "late") == 0;
    if (strcmp(what, "threads") == 0)
        pthread_create(&other, NULL, wait_for_ever, NULL);
    r = rayi_template_ready(3);
    while (r >= 0 && (r = rayi_template_serve(3)) > 0)
        ;
    return r < 0 ? 0 : be_copy();
}
