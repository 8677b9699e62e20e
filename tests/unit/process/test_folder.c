/* Directories of one process: two that want the same dead one's, what is none of ours, what cannot be made. */
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PREFIX "ray-spill-"
#define CANNOT "nothing can go to"

static char *base;

static void make_base(void)
{
    base = make_folder();
}

static void remove_base(void)
{
    remove_folder(base);
}

#define FOLDER_TEST(name) TEST_AROUND(folder, name, make_base, remove_base)

static int open_one(rayi_folder **out)
{
    return rayi_folder_open(base, PREFIX, CANNOT, out);
}

/* Asserts nothing, for it is called in children as well. */
static bool put_in(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    bool done = fd >= 0 && write(fd, "x", 1) == 1;
    if (fd >= 0)
        close(fd);
    return done;
}

static bool is_there(const char *path)
{
    return faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Leaves a directory as a killed process does; out is where. */
static void die_in_one(char out[256])
{
    int fds[2], status;
    cr_assert_eq(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        rayi_folder *folder;
        if (open_one(&folder) < 0 || !put_in(rayi_folder_path(folder), "spill-1"))
            _exit(1);
        if (write(fds[1], rayi_folder_path(folder), strlen(rayi_folder_path(folder))) > 0)
            raise(SIGKILL);
        _exit(1);
    }
    close(fds[1]);
    ssize_t size = read(fds[0], out, 255);
    close(fds[0]);
    cr_assert(size > 0 && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    out[size] = 0;
    cr_assert(is_there(out));
}

static void look_around(void)
{
    rayi_folder *folder;
    CHECK_OK(open_one(&folder));
    rayi_folder_close(folder, NULL);
}

FOLDER_TEST(opens_and_closes)
{
    rayi_folder *folder;
    struct stat status;
    char path[256], prefix[256];
    size_t before = check_open_fds();
    umask(0);
    CHECK_OK(open_one(&folder));
    snprintf(path, sizeof path, "%s", rayi_folder_path(folder));
    snprintf(prefix, sizeof prefix, "%s/" PREFIX "s-%ld-", base, (long)getpid());
    cr_assert_eq(strncmp(path, prefix, strlen(prefix)), 0, "%s", path);
    cr_assert(stat(path, &status) == 0 && (status.st_mode & 07777) == 0700);
    cr_assert(put_in(path, "spill-1"));
    rayi_folder_close(folder, NULL);
    cr_assert_not(is_there(path));
    cr_assert_eq(check_open_fds(), before);
    rayi_folder_close(NULL, NULL);
}

FOLDER_TEST(the_next_clears_away_what_a_killed_one_left)
{
    rayi_folder *folder;
    char dead[256];
    die_in_one(dead);
    CHECK_OK(rayi_folder_open(base, "not-spill-", CANNOT, &folder));
    cr_assert(is_there(dead), "it has another prefix");
    rayi_folder_close(folder, NULL);
    look_around();
    cr_assert_not(is_there(dead));
}

/* Another process is about to clear it away, and has one of the locks or both. */
FOLDER_TEST(who_comes_second_leaves_it)
{
    char dead[256], path[512];
    die_in_one(dead);
    snprintf(path, sizeof path, "%s/lock", dead);
    const char *const locked[] = {dead, path};
    for (size_t i = 0; i < RAYI_COUNT_OF(locked); i++) {
        int fd = open(locked[i], O_RDONLY | O_CLOEXEC);
        cr_assert(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0);
        look_around();
        snprintf(path, sizeof path, "%s/spill-1", dead);
        cr_assert(is_there(path));
        snprintf(path, sizeof path, "%s/lock", dead);
        close(fd);
    }
    look_around();
    cr_assert_not(is_there(dead));
}

/* Opens while others do, and looks whether they leave it alone. */
static void race(int start)
{
    char byte, path[512];
    if (read(start, &byte, 1) != 0) /* the end of file starts them all */
        _exit(1);
    for (int i = 0; i < 20; i++) {
        rayi_folder *folder;
        if (open_one(&folder) < 0 || !put_in(rayi_folder_path(folder), "spill-1"))
            _exit(2);
        usleep(500);
        snprintf(path, sizeof path, "%s/spill-1", rayi_folder_path(folder));
        if (!is_there(path))
            _exit(3);
        if (i == 19) /* the others find it dead */
            _exit(0);
        rayi_folder_close(folder, NULL);
    }
}

FOLDER_TEST(processes_that_race_for_the_dead)
{
    enum { RACERS = 6 };
    char dead[RACERS][256];
    int fds[2], status;
    pid_t racers[RACERS];
    cr_assert_eq(pipe(fds), 0);
    for (int i = 0; i < RACERS; i++)
        die_in_one(dead[i]);
    for (int i = 0; i < RACERS; i++) {
        racers[i] = fork();
        if (racers[i] == 0) {
            close(fds[1]);
            race(fds[0]);
        }
    }
    close(fds[0]);
    close(fds[1]);
    for (int i = 0; i < RACERS; i++) {
        cr_assert_eq(waitpid(racers[i], &status, 0), racers[i]);
        cr_assert_eq(status, 0, "%d", WEXITSTATUS(status));
        cr_assert_not(is_there(dead[i]));
    }
    look_around();
    cr_assert_eq(rmdir(base), 0, "the racers' own are gone as well");
    cr_assert_eq(mkdir(base, 0700), 0);
}

/* Somebody put a link where a dead one's directory was, a living one's, or a part of it. */
FOLDER_TEST(links_are_not_followed)
{
    rayi_folder *folder;
    char dead[256], living[256], precious[256], path[512];
    snprintf(precious, sizeof precious, "%s/precious", base);
    cr_assert_eq(mkdir(precious, 0700), 0);
    cr_assert(put_in(precious, "spill-1"));
    cr_assert(put_in(precious, "lock"));
    die_in_one(dead);
    snprintf(path, sizeof path, "%s/away", base);
    cr_assert(rename(dead, path) == 0 && symlink("precious", dead) == 0);
    CHECK_OK(open_one(&folder));
    cr_assert(is_there(dead), "a link is none of ours");
    snprintf(living, sizeof living, "%s", rayi_folder_path(folder));
    snprintf(path, sizeof path, "%s/spill-1", living);
    cr_assert_eq(symlink(precious, path), 0);
    snprintf(path, sizeof path, "%s/moved", base);
    cr_assert(rename(living, path) == 0 && symlink("precious", living) == 0);
    rayi_folder_close(folder, NULL);
    cr_assert_eq(rmdir(path), 0, "it was emptied where it is");
    cr_assert(is_there(living));
    snprintf(path, sizeof path, "%s/spill-1", precious);
    cr_assert(is_there(path));
    snprintf(path, sizeof path, "%s/lock", precious);
    cr_assert(is_there(path));
}

/* Named almost as ours are, or another user's, or another machine's. */
FOLDER_TEST(what_is_not_ours_stays)
{
    static const char *const names[] = {"notes",      "s-1-abcdef", "s-1-abcdeg", "s-x-abcdef",   "s-1-abcdef.old",
                                        "s-2-abcdef", "s-3-abcdef", "n-1-abcdef", "s-1-abcdef\n", "t-1-abcdef..."};
    char paths[RAYI_COUNT_OF(names)][256], lock[512];
    for (size_t i = 0; i < RAYI_COUNT_OF(names); i++) {
        snprintf(paths[i], sizeof paths[i], "%s/" PREFIX "%s", base, names[i]);
        cr_assert_eq(mkdir(paths[i], 0700), 0);
        cr_assert(put_in(paths[i], "spill-1"));
    }
    if (geteuid() == 0)
        cr_assert_eq(chown(paths[5], 65534, 65534), 0);
    snprintf(lock, sizeof lock, "%s/lock", paths[6]);
    int fd = open(lock, O_CREAT | O_WRONLY, 0600);
    cr_assert_eq(write(fd, "other other\n", 12), 12);
    close(fd);
    look_around();
    for (size_t i = 0; i < RAYI_COUNT_OF(names); i++)
        cr_assert_eq(is_there(paths[i]), i != 1 && (i != 5 || geteuid() == 0), "%s", names[i]);
}

static void check_refused(const char *path, int code, int reason)
{
    rayi_folder *folder = NULL;
    char words[600];
    size_t before = check_open_fds();
    snprintf(words, sizeof words, CANNOT " %s: %s", path, strerror(reason));
    CHECK_FAILS(rayi_folder_open(path, PREFIX, CANNOT, &folder), code);
    cr_assert_str_eq(rayi_error_last_public()->message, words);
    cr_assert_null(folder);
    cr_assert_eq(check_open_fds(), before);
}

FOLDER_TEST(says_what_cannot_be_made)
{
    char path[256];
    snprintf(path, sizeof path, "%s/file", base);
    check_refused(path, RAY_ERR_SYSTEM, ENOENT);
    cr_assert(put_in(base, "file"));
    check_refused(path, RAY_ERR_SYSTEM, ENOTDIR);
    if (geteuid() != 0) {
        cr_assert_eq(chmod(base, 0500), 0);
        check_refused(base, RAY_ERR_SYSTEM, EACCES);
        cr_assert_eq(chmod(base, 0700), 0);
    }
}

/* Of the disk, first not even the directory fits, then it does and its lock file does not. */
FOLDER_TEST(a_full_disk)
{
    if (mount("none", base, "tmpfs", 0, "nr_inodes=2") != 0) {
        cr_log_info("no tmpfs can be mounted here: %s", strerror(errno));
        return;
    }
    cr_assert(put_in(base, "file"));
    check_refused(base, RAY_ERR_DISK_FULL, ENOSPC);
    char path[256];
    snprintf(path, sizeof path, "%s/file", base);
    cr_assert_eq(unlink(path), 0);
    check_refused(base, RAY_ERR_DISK_FULL, ENOSPC);
    cr_assert(put_in(base, "file")); /* nothing was left there */
    cr_assert_eq(umount(base), 0, "%s", strerror(errno));
}
