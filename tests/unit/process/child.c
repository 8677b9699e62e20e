/* What the tests of process start. The first argument says what to do. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

/* "0:/dev/null 1:pipe:[3]"; the one that reads the list is left out. */
static void list_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char target[256] = "";
        int fd = atoi(entry->d_name);
        if (entry->d_name[0] == '.' || fd == dirfd(dir))
            continue;
        if (readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1) > 0)
            printf("fd %d %.5s\n", fd, target);
    }
    closedir(dir);
}

static void tell_signals(void)
{
    sigset_t blocked;
    int ignored = 0, masked = 0;
    sigprocmask(SIG_SETMASK, NULL, &blocked);
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
            ignored++;
        masked += sigismember(&blocked, number) == 1;
    }
    printf("ignored %d masked %d group %d\n", ignored, masked, getpgrp() == getpid());
}

static void eat(size_t step, bool is_shared)
{
    printf("eating\n");
    fflush(stdout);
    for (;;) {
        char *room =
            mmap(NULL, step, PROT_READ | PROT_WRITE, (is_shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
        if (room == MAP_FAILED)
            exit(9);
        memset(room, 1, step);
        usleep(1000);
    }
}

/* Its child has all the memory; behind that nothing is left but the wait. */
static void fork_and_eat(size_t step)
{
    if (fork() == 0)
        eat(step, false);
    for (;;)
        pause();
}

/* Three processes with the same pages, and none of them writes into these any more. */
static void fork_twice_with(size_t size)
{
    char *room = malloc(size);
    if (!room)
        exit(9);
    memset(room, 1, size);
    if (fork() > 0)
        (void)!fork();
    printf("shares %d\n", room[size / 2]);
    fflush(stdout);
    for (;;)
        pause();
}

/* Between vfork and exec, which may take a while. */
static void vfork_with(size_t size)
{
    char *room = malloc(size);
    if (!room)
        exit(9);
    memset(room, 1, size);
    printf("lends %d\n", room[size / 2]);
    fflush(stdout);
    if (syscall(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL, NULL, NULL, NULL) == 0) {
        for (;;)
            pause();
    }
}

static void print_lines(long count)
{
    for (long i = 0; i < count; i++)
        printf("line %ld\n", i);
}

static void print_long_line(size_t size)
{
    for (size_t i = 0; i < size; i++)
        putchar('a' + (int)(i % 26));
    putchar('\n');
}

/* In as many pieces as there are bytes. */
static void trickle(const char *text)
{
    for (; *text; text++) {
        if (write(1, text, 1) != 1)
            exit(1);
        usleep(300);
    }
}

/* More than a pipe holds by itself, at one go. */
static void burst(size_t size)
{
    char *bytes = calloc(size, 1);
    if (fcntl(1, F_SETPIPE_SZ, 1 << 20) < 0 || write(1, bytes, size) != (ssize_t)size)
        exit(1);
    free(bytes);
}

static void leave_grandchild(void)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        for (;;)
            pause();
    }
    printf("grandchild %d\n", (int)pid);
}

static void crash(bool with_core)
{
    struct rlimit most = {0};
    getrlimit(RLIMIT_CORE, &most);
    most.rlim_cur = with_core ? most.rlim_max : 0;
    setrlimit(RLIMIT_CORE, &most);
    fprintf(stderr, "about to crash\n");
    fflush(stderr);
    signal(SIGSEGV, SIG_DFL); /* not the sanitizer's */
    raise(SIGSEGV);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    const char *with = argc > 2 ? argv[2] : "";
    if (strcmp(what, "exit") == 0)
        return atoi(with);
    if (strcmp(what, "crash") == 0)
        crash(strcmp(with, "core") == 0);
    else if (strcmp(what, "sleep") == 0)
        for (;;)
            pause();
    else if (strcmp(what, "ready") == 0) { /* says so, then waits */
        puts("ready");
        fflush(stdout);
        for (;;)
            pause();
    } else if (strcmp(what, "lines") == 0)
        print_lines(atol(with));
    else if (strcmp(what, "long") == 0)
        print_long_line((size_t)atol(with));
    else if (strcmp(what, "burst") == 0)
        burst((size_t)atol(with));
    else if (strcmp(what, "trickle") == 0)
        trickle(with);
    else if (strcmp(what, "print") == 0) { /* as it is, escapes and all */
        for (int i = 2; i < argc; i++)
            printf("%s", argv[i]);
    } else if (strcmp(what, "complain") == 0) {
        for (int i = 2; i < argc; i++)
            fprintf(stderr, "%s\n", argv[i]);
    } else if (strcmp(what, "close") == 0) {
        puts("closing");
        fclose(stdout);
        usleep(50000);
        fprintf(stderr, "still here\n");
        return 5;
    } else if (strcmp(what, "leave") == 0)
        leave_grandchild();
    else if (strcmp(what, "eat") == 0)
        eat((size_t)atol(with), false);
    else if (strcmp(what, "share") == 0)
        eat((size_t)atol(with), true);
    else if (strcmp(what, "forkeat") == 0)
        fork_and_eat((size_t)atol(with));
    else if (strcmp(what, "forks") == 0)
        fork_twice_with((size_t)atol(with));
    else if (strcmp(what, "vforks") == 0)
        vfork_with((size_t)atol(with));
    else if (strcmp(what, "descriptors") == 0)
        list_descriptors();
    else if (strcmp(what, "signals") == 0)
        tell_signals();
    else if (strcmp(what, "arguments") == 0)
        for (int i = 0; i < argc; i++)
            printf("[%s]\n", argv[i]);
    else if (strcmp(what, "environment") == 0)
        for (char **at = environ; *at; at++)
            printf("%s\n", *at);
    else if (strcmp(what, "say") == 0) { /* a descriptor that it was given */
        if (write(atoi(with), "hello", 5) != 5)
            return 1;
    } else if (strcmp(what, "stop") == 0) {
        raise(SIGSTOP);
        return 4;
    } else
        return 77;
    return 0;
}
