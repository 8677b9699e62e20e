/* The session directory: what is made, what is cleared away, what is refused; and who sees whom. */
#include "helper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char *base, home[128];

static void make_base(void)
{
    base = make_folder();
    snprintf(home, sizeof home, "%s/ray-%u", base, (unsigned)geteuid());
}

static void remove_base(void)
{
    remove_folder(base);
}

#define SESSION_TEST(name) TEST_AROUND(session, name, make_base, remove_base)

static void put(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
    cr_assert_eq(write(fd, "x", 1), 1);
    close(fd);
}

static bool exists(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* A folder in the session, as for what it may hold besides logs. */
static const char *more_in(rayi_session *session)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/more", rayi_session_path(session));
    return mkdir(path, 0700) == 0 ? path : NULL;
}

static size_t count_in(const char *folder)
{
    size_t count = 0;
    DIR *dir = opendir(folder);
    while (dir && readdir(dir))
        count++;
    if (dir)
        closedir(dir);
    return count < 2 ? 0 : count - 2;
}

static unsigned mode_of(const char *folder, const char *name)
{
    char path[4096];
    struct stat status;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    cr_assert_eq(lstat(path, &status), 0, "%s", path);
    return status.st_mode & 07777;
}

SESSION_TEST(opens_and_closes)
{
    rayi_session *session = NULL;
    char prefix[64];
    size_t before = check_open_fds();
    umask(0);
    CHECK_OK(rayi_session_open(base, &session));
    snprintf(prefix, sizeof prefix, "/s-%ld-", (long)getpid());
    cr_assert(strncmp(rayi_session_path(session), home, strlen(home)) == 0 &&
              strncmp(rayi_session_path(session) + strlen(home), prefix, strlen(prefix)) == 0);
    cr_assert_eq(mode_of(home, ""), 0700);
    cr_assert_eq(mode_of(rayi_session_path(session), ""), 0700);
    cr_assert_eq(mode_of(rayi_session_logs(session), ""), 0700);
    cr_assert_eq(mode_of(rayi_session_path(session), "lock"), 0600);
    cr_assert_eq(count_in(rayi_session_path(session)), 2);
    put(more_in(session), "file");
    put(rayi_session_logs(session), "worker-1.out");
    put(rayi_session_path(session), "socket");
    char *path = strdup(rayi_session_path(session));
    for (int fd = 0; fd < 64; fd++)
        if (fcntl(fd, F_GETFD) >= 0 && fd > 2) {
            char link[64], target[256] = "";
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            if (readlink(link, target, sizeof target - 1) > 0 && strstr(target, home))
                cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC, "%s", target);
        }
    rayi_session_close(session, false);
    cr_assert_not(exists(path, ""));
    cr_assert_eq(count_in(home), 0);
    cr_assert_eq(check_open_fds(), before);
    free(path);
    rayi_session_close(NULL, true);
}

SESSION_TEST(two_at_once)
{
    rayi_session *one, *two;
    CHECK_OK(rayi_session_open(base, &one));
    CHECK_OK(rayi_session_open(base, &two));
    cr_assert_str_neq(rayi_session_path(one), rayi_session_path(two));
    cr_assert(exists(rayi_session_logs(one), ""), "the second left the first alone");
    rayi_session_close(one, false);
    cr_assert(exists(rayi_session_logs(two), ""));
    rayi_session_close(two, false);
    cr_assert_eq(count_in(home), 0);
}

/* Leaves a session as a killed node does. */
static void die_in_session(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        rayi_session *session;
        if (rayi_session_open(base, &session) < 0)
            _exit(1);
        put(rayi_session_logs(session), "worker-1.out");
        put(more_in(session), "file");
        raise(SIGKILL);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status));
}

SESSION_TEST(dead_ones_are_cleared_away)
{
    rayi_session *session, *living;
    CHECK_OK(rayi_session_open(base, &living));
    die_in_session();
    cr_assert_eq(count_in(home), 2);
    die_in_session(); /* clears the one before, and then dies itself */
    cr_assert_eq(count_in(home), 2);
    put(home, "notes");
    CHECK_OK(rayi_session_open(base, &session));
    cr_assert_eq(count_in(home), 3, "the living, the new one, and what is not a session");
    cr_assert(exists(rayi_session_logs(living), ""));
    cr_assert(exists(home, "notes"));
    unlinkat(AT_FDCWD, rayi_session_path(living), 0); /* a directory: nothing happens */
    rayi_session_close(session, false);
    rayi_session_close(living, false);
}

/* The base is shared with another machine, where locks do not reach. */
SESSION_TEST(those_of_other_machines_are_left_alone)
{
    rayi_session *session;
    char path[512], text[256] = "", name[65] = "";
    const char *const texts[] = {"other other\n", "", "broken"};
    CHECK_OK(rayi_session_open(base, &session));
    snprintf(path, sizeof path, "%s/lock", rayi_session_path(session));
    int fd = open(path, O_RDONLY);
    cr_assert_gt(read(fd, text, sizeof text - 1), 38);
    close(fd);
    gethostname(name, sizeof name - 1);
    cr_assert(strstr(text, name), "%s", text);
    rayi_session_close(session, false);
    for (size_t i = 0; i < 3 + 2; i++) {
        char dead[300], mine[256];
        snprintf(dead, sizeof dead, "%s/s-1-abcdef", home);
        mkdir(dead, 0700);
        snprintf(path, sizeof path, "%s/lock", dead);
        snprintf(mine, sizeof mine, i == 3 ? "other %s\n" : "%.36s other\n", i == 3 ? name : text);
        fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
        const char *words = i < 3 ? texts[i] : mine;
        cr_assert_eq(write(fd, words, strlen(words)), (ssize_t)strlen(words));
        close(fd);
        CHECK_OK(rayi_session_open(base, &session));
        cr_assert_eq(exists(dead, ""), i == 0, "%s", words);
        rayi_session_close(session, false);
        remove_folder(dead);
    }
}

/* A cleaner of /tmp took the lock file of one that lives. */
SESSION_TEST(a_lost_lock_file)
{
    rayi_session *session, *living;
    char path[256];
    CHECK_OK(rayi_session_open(base, &living));
    snprintf(path, sizeof path, "%s/lock", rayi_session_path(living));
    cr_assert_eq(unlink(path), 0);
    CHECK_OK(rayi_session_open(base, &session));
    cr_assert(exists(rayi_session_logs(living), ""));
    rayi_session_close(session, false);
    rayi_session_close(living, false);
}

SESSION_TEST(keeps_the_logs_of_five)
{
    rayi_session *session;
    char paths[8][256];
    for (int i = 0; i < 8; i++) {
        CHECK_OK(rayi_session_open(base, &session));
        snprintf(paths[i], sizeof paths[i], "%s", rayi_session_path(session));
        put(rayi_session_logs(session), "worker-1.out");
        put(more_in(session), "file");
        rayi_session_close(session, true);
        cr_assert(exists(paths[i], "logs/worker-1.out") && exists(paths[i], "keep-logs"));
        cr_assert_eq(count_in(paths[i]), 2, "only they stay");
    }
    CHECK_OK(rayi_session_open(base, &session));
    for (int i = 0; i < 8; i++)
        cr_assert_eq(exists(paths[i], "logs/worker-1.out"), i >= 3, "session %d", i);
    cr_assert_eq(count_in(home), 6);
    rayi_session_close(session, true); /* it has no logs: nothing to keep */
    cr_assert_eq(count_in(home), 5);
}

SESSION_TEST(an_unfinished_one)
{
    rayi_session *session;
    char path[256];
    struct timespec long_ago[2] = {{.tv_sec = time(NULL) - 7200}, {.tv_sec = time(NULL) - 7200}};
    CHECK_OK(rayi_session_open(base, &session));
    rayi_session_close(session, false);
    snprintf(path, sizeof path, "%s/n-1-abcdef", home);
    mkdir(path, 0700);
    CHECK_OK(rayi_session_open(base, &session));
    rayi_session_close(session, false);
    cr_assert(exists(path, ""), "its maker may be at it");
    utimensat(AT_FDCWD, path, long_ago, 0);
    CHECK_OK(rayi_session_open(base, &session));
    rayi_session_close(session, false);
    cr_assert_not(exists(path, ""));
}

/* --- attacks ------------------------------------------------------------------------------------------------------ */

static void check_refused(const char *words)
{
    rayi_session *session = NULL;
    CHECK_FAILS(rayi_session_open(base, &session), RAY_ERR_SYSTEM);
    cr_assert(strstr(rayi_error_last_public()->message, words), "%s", rayi_error_last_public()->message);
    cr_assert(strstr(rayi_error_last_public()->message, home), "%s", rayi_error_last_public()->message);
    cr_assert_null(session);
}

SESSION_TEST(refuses_what_is_not_its_own)
{
    char path[256];
    snprintf(path, sizeof path, "%s/target", base);
    mkdir(path, 0700);
    cr_assert_eq(symlink(path, home), 0);
    check_refused("link");
    cr_assert_eq(count_in(path), 0);
    unlink(home);
    put(base, home + strlen(base) + 1);
    check_refused("link or a file");
    unlink(home);
    mkdir(home, 0700);
    chmod(home, 0750);
    check_refused("open to others");
    chmod(home, 0700);
    if (geteuid() == 0) {
        cr_assert_eq(chown(home, 65534, 65534), 0);
        check_refused("someone else");
        cr_assert_eq(chown(home, 0, 0), 0);
    }
}

SESSION_TEST(follows_no_links)
{
    rayi_session *session;
    char target[256], path[512], dead[256];
    snprintf(target, sizeof target, "%s/precious", base);
    mkdir(target, 0700);
    put(target, "file");
    /* links in a session, at every place where removal comes by */
    CHECK_OK(rayi_session_open(base, &session));
    snprintf(path, sizeof path, "%s/away", rayi_session_path(session));
    cr_assert_eq(symlink(target, path), 0);
    snprintf(path, sizeof path, "%s/away", more_in(session));
    cr_assert_eq(symlink(target, path), 0);
    rayi_session_close(session, false);
    cr_assert(exists(target, "file"));
    /* a session that is one, and one whose parts are */
    snprintf(path, sizeof path, "%s/s-1-abcdef", home);
    cr_assert_eq(symlink(target, path), 0);
    snprintf(dead, sizeof dead, "%s/s-2-abcdef", home);
    mkdir(dead, 0700);
    snprintf(path, sizeof path, "%s/logs", dead);
    cr_assert_eq(symlink(target, path), 0);
    snprintf(path, sizeof path, "%s/lock", dead);
    cr_assert_eq(symlink("../../precious/file", path), 0);
    put(dead, "keep-logs");
    CHECK_OK(rayi_session_open(base, &session));
    cr_assert(exists(target, "file"));
    cr_assert(exists(home, "s-1-abcdef"), "a link is none of ours");
    cr_assert_not(exists(home, "s-2-abcdef"));
    rayi_session_close(session, false);
    cr_assert(exists(target, "file"));
}

/* --- where it stands ---------------------------------------------------------------------------------------------- */

SESSION_TEST(base)
{
    rayi_session *session = NULL;
    char path[256], longest[200];
    setenv("RAY_TMPDIR", base, 1);
    setenv("TMPDIR", "/no/such/folder", 1);
    CHECK_OK(rayi_session_open(NULL, &session));
    cr_assert_eq(strncmp(rayi_session_path(session), home, strlen(home)), 0);
    rayi_session_close(session, false);
    setenv("RAY_TMPDIR", "/no/such/folder", 1);
    CHECK_FAILS(rayi_session_open(NULL, &session), RAY_ERR_SYSTEM);
    cr_assert(strstr(rayi_error_last_public()->message, "/no/such/folder"));
    unsetenv("RAY_TMPDIR"); /* TMPDIR is for all programs: one that is not there is passed over */
    CHECK_OK(rayi_session_open(NULL, &session));
    cr_assert_eq(strncmp(rayi_session_path(session), "/tmp/ray-", 9), 0);
    rayi_session_close(session, false);
    setenv("TMPDIR", base, 1);
    CHECK_OK(rayi_session_open(NULL, &session));
    cr_assert_eq(strncmp(rayi_session_path(session), home, strlen(home)), 0);
    rayi_session_close(session, false);
    snprintf(path, sizeof path, "%s/link", base); /* the base itself may be reached through links */
    cr_assert_eq(symlink(base, path), 0);
    CHECK_OK(rayi_session_open(path, &session));
    cr_assert_eq(strncmp(rayi_session_path(session), home, strlen(home)), 0);
    rayi_session_close(session, false);
    snprintf(longest, sizeof longest, "%s/%0*d", base, 60, 0);
    cr_assert_eq(mkdir(longest, 0700), 0);
    CHECK_OK(rayi_session_open(longest, &session));
    cr_assert_eq(strncmp(rayi_session_path(session), "/tmp/ray-", 9), 0);
    rayi_session_close(session, false);
    /* the longest that fits */
    int added = snprintf(path, sizeof path, "/ray-%u/s-%ld-XXXXXX", (unsigned)geteuid(), (long)getpid());
    snprintf(longest, sizeof longest, "%s/%0*d", base, 87 - added - (int)strlen(base) - 1, 0);
    cr_assert_eq(mkdir(longest, 0700), 0);
    CHECK_OK(rayi_session_open(longest, &session));
    cr_assert_eq(strlen(rayi_session_path(session)), 87);
    cr_assert_eq(strncmp(rayi_session_path(session), longest, strlen(longest)), 0);
    rayi_session_close(session, false);
}

SESSION_TEST(removes_deep_trees)
{
    rayi_session *session;
    CHECK_OK(rayi_session_open(base, &session));
    int at = open(rayi_session_path(session), O_RDONLY | O_DIRECTORY);
    for (int depth = 0; depth < 20; depth++) {
        for (int i = 0; i < 20; i++) {
            char name[16];
            snprintf(name, sizeof name, "file%d", i);
            close(openat(at, name, O_CREAT | O_WRONLY, 0400));
        }
        cr_assert_eq(mkdirat(at, "deeper", 0700), 0);
        int next = openat(at, "deeper", O_RDONLY | O_DIRECTORY);
        close(at);
        at = next;
    }
    close(at);
    rayi_session_close(session, false);
    cr_assert_eq(count_in(home), 0);
}

static void *open_and_close(void *arg)
{
    for (int i = 0; i < 30; i++) {
        rayi_session *session;
        if (rayi_session_open(base, &session) < 0 || !exists(rayi_session_logs(session), ""))
            return arg;
        usleep(200);
        if (!exists(rayi_session_logs(session), ""))
            return arg;
        rayi_session_close(session, i % 2);
    }
    return NULL;
}

SESSION_TEST(many_open_and_close)
{
    pthread_t threads[4];
    void *failed;
    for (size_t i = 0; i < RAYI_COUNT_OF(threads); i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, open_and_close, threads), 0);
    for (size_t i = 0; i < RAYI_COUNT_OF(threads); i++) {
        pthread_join(threads[i], &failed);
        cr_assert_null(failed, "a living session was touched");
    }
    cr_assert_eq(count_in(home), 0);
}

/* --- who is there ------------------------------------------------------------------------------------------------- */

typedef struct seen {
    size_t count;
    char path[256], role[64], address[512];
    int64_t pid;
} seen;

static void see(void *arg, const rayi_session_row *row)
{
    seen *all = arg;
    all->count++;
    all->pid = row->pid;
    snprintf(all->path, sizeof all->path, "%s", row->path);
    snprintf(all->role, sizeof all->role, "%s", row->role ? row->role : "-");
    snprintf(all->address, sizeof all->address, "%s", row->address ? row->address : "-");
}

static seen look_around(void)
{
    seen all = {0};
    CHECK_OK(rayi_sessions_each(base, see, &all));
    return all;
}

SESSION_TEST(announced)
{
    rayi_session *session;
    size_t before = check_open_fds();
    cr_assert_eq(look_around().count, 0);
    cr_assert_not(exists(home, ""), "looking makes nothing");
    CHECK_OK(rayi_session_open(base, &session));
    seen all = look_around();
    cr_assert(all.count == 1 && all.pid == getpid());
    cr_assert_str_eq(all.path, rayi_session_path(session));
    cr_assert(strcmp(all.role, "-") == 0 && strcmp(all.address, "-") == 0);
    CHECK_OK(rayi_session_announce(session, "worker", NULL));
    all = look_around();
    cr_assert(strcmp(all.role, "worker") == 0 && strcmp(all.address, "-") == 0);
    umask(0);
    CHECK_OK(rayi_session_announce(session, "head", "[::1]:6379"));
    all = look_around();
    cr_assert_eq(all.count, 1);
    cr_assert(strcmp(all.role, "head") == 0 && strcmp(all.address, "[::1]:6379") == 0);
    cr_assert_eq(mode_of(rayi_session_path(session), "cluster"), 0600);
    cr_assert_not(exists(rayi_session_path(session), "cluster.new"));
    rayi_session_close(session, false);
    cr_assert_eq(look_around().count, 0);
    cr_assert_eq(count_in(home), 0);
    cr_assert_eq(check_open_fds(), before);
}

SESSION_TEST(words_that_cannot_be_announced)
{
    rayi_session *session;
    char longest[RAYI_SESSION_WORD_MAX + 2];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    CHECK_OK(rayi_session_open(base, &session));
    CHECK_FAILS(rayi_session_announce(session, "", "a:1"), RAY_ERR_ARGUMENT);
    CHECK_FAILS(rayi_session_announce(session, "head\nrole", "a:1"), RAY_ERR_ARGUMENT);
    CHECK_FAILS(rayi_session_announce(session, "head", "a b:1"), RAY_ERR_ARGUMENT);
    CHECK_FAILS(rayi_session_announce(session, "head", longest), RAY_ERR_ARGUMENT);
    cr_assert_str_eq(look_around().role, "-");
    longest[RAYI_SESSION_WORD_MAX] = 0;
    CHECK_OK(rayi_session_announce(session, longest, longest));
    cr_assert_str_eq(look_around().address, longest);
    rayi_session_close(session, false);
}

SESSION_TEST(dead_ones_are_not_seen)
{
    rayi_session *session;
    die_in_session();
    CHECK_OK(rayi_session_open(base, &session)); /* clears it away */
    die_in_session();
    cr_assert_eq(count_in(home), 2);
    cr_assert_eq(look_around().count, 1);
    rayi_session_close(session, false);
}

/* Its pid is another process's now, or counts elsewhere: the lock alone, which who clears away holds too, is not
 * enough. */
SESSION_TEST(another_process_is_not_taken_for_it)
{
    rayi_session *session;
    char path[512], text[512] = "";
    CHECK_OK(rayi_session_open(base, &session));
    CHECK_OK(rayi_session_announce(session, "head", "a:1"));
    snprintf(path, sizeof path, "%s/cluster", rayi_session_path(session));
    int fd = open(path, O_RDWR);
    ssize_t size = read(fd, text, sizeof text - 1);
    cr_assert_gt(size, 2);
    cr_assert_eq(look_around().count, 1);
    text[size - 2] = text[size - 2] == '0' ? '1' : '0'; /* when it started */
    cr_assert_eq(pwrite(fd, text, (size_t)size, 0), size);
    cr_assert_eq(look_around().count, 0);
    close(fd);
    rayi_session_close(session, false);
}

/* Somebody put something else there. */
SESSION_TEST(rubbish_for_an_announcement)
{
    static const char *const texts[] = {"", "x", "role\n", "role", "\n\n\n", "role head", "address a:1\n"};
    rayi_session *session;
    char path[512];
    CHECK_OK(rayi_session_open(base, &session));
    snprintf(path, sizeof path, "%s/cluster", rayi_session_path(session));
    for (size_t i = 0; i < RAYI_COUNT_OF(texts); i++) {
        int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
        cr_assert_eq(write(fd, texts[i], strlen(texts[i])), (ssize_t)strlen(texts[i]));
        close(fd);
        seen all = look_around();
        cr_assert_eq(all.count, 1);
        cr_assert_str_eq(all.role, "-");
        cr_assert_str_eq(all.address, i == 6 ? "a:1" : "-");
    }
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_assert_str_eq(look_around().role, "-");
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(symlink("/etc/passwd", path), 0);
    cr_assert_str_eq(look_around().role, "-");
    rayi_session_close(session, false);
}

SESSION_TEST(the_latest_head)
{
    rayi_session *sessions[4];
    rayi_session_place place = {.pid = -1};
    CHECK_FAILS(rayi_session_find_head(base, &place), RAY_ERR_NOT_FOUND);
    cr_assert(strstr(rayi_error_last_public()->message, home), "%s", rayi_error_last_public()->message);
    for (size_t i = 0; i < RAYI_COUNT_OF(sessions); i++)
        CHECK_OK(rayi_session_open(base, &sessions[i]));
    CHECK_OK(rayi_session_announce(sessions[0], "worker", "a:1"));
    CHECK_OK(rayi_session_announce(sessions[3], "head", NULL));
    CHECK_FAILS(rayi_session_find_head(base, &place), RAY_ERR_NOT_FOUND);
    cr_assert_eq(place.pid, -1);
    CHECK_OK(rayi_session_announce(sessions[2], "head", "a:2"));
    usleep(20000);
    CHECK_OK(rayi_session_announce(sessions[1], "head", "a:3"));
    CHECK_OK(rayi_session_find_head(base, &place));
    cr_assert_str_eq(place.address, "a:3");
    cr_assert_str_eq(place.path, rayi_session_path(sessions[1]));
    cr_assert_eq(place.pid, getpid());
    rayi_session_close(sessions[1], false);
    CHECK_OK(rayi_session_find_head(base, &place));
    cr_assert_str_eq(place.address, "a:2");
    for (size_t i = 0; i < RAYI_COUNT_OF(sessions); i++)
        if (i != 1)
            rayi_session_close(sessions[i], false);
}

SESSION_TEST(looking_where_others_rule)
{
    cr_assert_eq(mkdir(home, 0700), 0);
    cr_assert_eq(chmod(home, 0755), 0);
    CHECK_FAILS(rayi_sessions_each(base, see, &(seen){0}), RAY_ERR_SYSTEM);
    cr_assert(strstr(rayi_error_last_public()->message, "open to others"));
}

/* ---- files that it keeps ---- */

SESSION_TEST(keeps_files_for_its_owner_only)
{
    rayi_session *session;
    char path[300], other[300], got[8] = "";
    struct stat status;

    cr_assert_eq(rayi_session_open(base, &session), 0);
    cr_assert_eq(rayi_session_keep(session, "code", "a.so", "old", 3, path, sizeof path), 0);
    cr_assert_eq(rayi_session_keep(session, "code", "a.so", "new!", 4, path, sizeof path), 0); /* in its place */
    cr_assert_eq(rayi_session_keep(session, "code", "b.so", "", 0, other, sizeof other), 0);
    cr_assert_eq(stat(path, &status), 0);
    cr_expect_eq(status.st_mode & 07777, 0700);
    FILE *file = fopen(path, "re");
    cr_assert(file && fread(got, 1, sizeof got, file) == 4 && strcmp(got, "new!") == 0);
    fclose(file);
    *strrchr(other, '/') = 0;
    cr_expect_eq(count_in(other), 2, "no draft is left");
    cr_expect_eq(rayi_session_keep(session, "code", "a.so", "x", 1, path, 10), RAY_ERR_LIMIT);
    rayi_session_close(session, false);
    cr_expect_eq(stat(other, &status), -1);
}

/* Whoever has put a link there gets nothing through it. */
SESSION_TEST(keeps_nothing_behind_a_link)
{
    rayi_session *session;
    char path[300];

    cr_assert_eq(rayi_session_open(base, &session), 0);
    snprintf(path, sizeof path, "%s/code", rayi_session_path(session));
    cr_assert_eq(symlink(base, path), 0);
    cr_expect_eq(rayi_session_keep(session, "code", "a.so", "x", 1, path, sizeof path), RAY_ERR_SYSTEM);
    cr_expect_not(exists(base, "a.so"));
    rayi_session_close(session, false);
}
