/* Cluster keys: text, files, and where they are looked for. */
#include "helper.h"

#include <fcntl.h>
#include <sys/stat.h>

static char folder[64];

static void make_folder(void)
{
    strcpy(folder, "/tmp/ray-test-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    unsetenv("RAY_KEY_FILE");
    unsetenv("RAY_CLUSTER_KEY");
    setenv("HOME", folder, 1);
    count_heap();
}

static void remove_folder(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    cr_assert_eq(system(command), 0);
    cr_assert_eq(heap_blocks, 0);
}

#define KEY_TEST(name) TEST_AROUND(key, name, make_folder, remove_folder)

/* A path inside; static, four of them. */
static const char *at(const char *name)
{
    static char paths[4][256];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void write_text(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fchmod(fd, mode) == 0);
    close(fd);
}

KEY_TEST(text)
{
    rayi_key key, other, again;
    char text[RAYI_KEY_TEXT_SIZE];
    CHECK_OK(rayi_key_make(&key));
    CHECK_OK(rayi_key_make(&other));
    cr_assert(memcmp(&key.bytes, &other.bytes, 32) != 0 && memcmp(&key.id, &other.id, 8) != 0);
    rayi_key_print(&key, text);
    cr_assert_eq(strlen(text), 18 + 44);
    cr_assert_eq(strncmp(text, "ray-cluster-key-1:", 18), 0);
    CHECK_OK(rayi_key_parse(text, "here", &again));
    cr_assert_eq(memcmp(&key, &again, sizeof key), 0);
    strcat(text, "\r");
    CHECK_OK(rayi_key_parse(text, "here", &again));
}

KEY_TEST(malformed_text)
{
    static const char *const bad[] = {
        "",
        "\n",
        "x",
        "ray-cluster-key-1:",
        "ray-cluster-key-2:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "ray-cluster-key-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "ray-cluster-key-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "ray-cluster-key-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA===",
        "ray-cluster-key-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=",
        "ray-cluster-key-1:AAAAAAAAAAAAAAAAAAAAAAAAA*AAAAAAAAAAAAAAAAA=",
        "ray-cluster-key-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= x",
        " ray-cluster-key-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    };
    rayi_key key;
    CHECK_OK(rayi_key_parse("ray-cluster-key-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "x", &key));
    for (size_t i = 0; i < RAYI_COUNT_OF(bad); i++) {
        CHECK_FAILS(rayi_key_parse(bad[i], "the letter", &key), RAY_ERR_ARGUMENT);
        CHECK_WORDS("the letter holds no cluster key");
        cr_assert_null(strstr(rayi_error_last_public()->message, "AAAA"), "an error tells the key");
    }
}

KEY_TEST(file)
{
    rayi_key key, again;
    struct stat status;
    umask(0);
    CHECK_OK(rayi_key_make(&key));
    CHECK_OK(rayi_key_save(&key, at("k")));
    cr_assert(stat(at("k"), &status) == 0 && (status.st_mode & 07777) == 0600 && status.st_size == 63);
    CHECK_OK(rayi_key_load(at("k"), &again));
    cr_assert_eq(memcmp(&key, &again, sizeof key), 0);
    CHECK_FAILS(rayi_key_save(&key, at("k")), RAY_ERR_EXISTS);
    CHECK_FAILS(rayi_key_save(&key, at("no/k")), RAY_ERR_SYSTEM);
    cr_assert_eq(symlink("k", at("link")), 0);
    CHECK_OK(rayi_key_load(at("link"), &again));
    cr_assert_eq(system("test $(ls $HOME | wc -l) = 2"), 0, "a draft is left");
}

KEY_TEST(refused_files)
{
    static const mode_t open_modes[] = {0640, 0604, 0660, 0610, 0601, 0620};
    char text[RAYI_KEY_TEXT_SIZE];
    rayi_key key;
    CHECK_OK(rayi_key_make(&key));
    rayi_key_print(&key, text);
    CHECK_FAILS(rayi_key_load(at("none"), &key), RAY_ERR_NOT_FOUND);
    CHECK_FAILS(rayi_key_load(folder, &key), RAY_ERR_ARGUMENT);
    CHECK_WORDS("is no file");
    for (size_t i = 0; i < RAYI_COUNT_OF(open_modes); i++) {
        write_text(at("k"), text, open_modes[i]);
        CHECK_FAILS(rayi_key_load(at("k"), &key), RAY_ERR_ARGUMENT);
        CHECK_WORDS("is open to others");
    }
    write_text(at("k"), text, 0400);
    CHECK_OK(rayi_key_load(at("k"), &key));
    cr_assert_eq(mkfifo(at("pipe"), 0600), 0);
    CHECK_FAILS(rayi_key_load(at("pipe"), &key), RAY_ERR_ARGUMENT);
    cr_assert_eq(symlink("round", at("round")), 0);
    CHECK_FAILS(rayi_key_load(at("round"), &key), RAY_ERR_SYSTEM);
    write_text(at("empty"), "", 0600);
    CHECK_FAILS(rayi_key_load(at("empty"), &key), RAY_ERR_ARGUMENT);
    cr_assert_eq(truncate(at("empty"), 1 << 20), 0);
    CHECK_FAILS(rayi_key_load(at("empty"), &key), RAY_ERR_ARGUMENT);
    if (geteuid() == 0) {
        write_text(at("other"), text, 0600);
        cr_assert_eq(chown(at("other"), 12345, 0), 0);
        CHECK_FAILS(rayi_key_load(at("other"), &key), RAY_ERR_ARGUMENT);
        CHECK_WORDS("belongs to user 12345");
    }
}

static void check_found(const char *path, const char *session, const rayi_key *want, const char *want_where)
{
    rayi_key key;
    char *where;
    CHECK_OK(rayi_key_find(path, session, &key, &where));
    cr_assert_eq(memcmp(&key, want, sizeof key), 0);
    cr_assert_str_eq(where, want_where);
    rayi_free(where);
    CHECK_OK(rayi_key_find(path, session, &key, NULL));
}

KEY_TEST(order)
{
    rayi_key keys[5], key;
    char text[RAYI_KEY_TEXT_SIZE], where[256];
    for (int i = 0; i < 5; i++)
        CHECK_OK(rayi_key_make(&keys[i]));
    CHECK_FAILS(rayi_key_find(NULL, NULL, &key, NULL), RAY_ERR_NOT_FOUND);
    CHECK_FAILS(rayi_key_find(NULL, at("session"), &key, NULL), RAY_ERR_NOT_FOUND);
    cr_assert_eq(system("mkdir -p $HOME/.config/ray $HOME/session"), 0);
    CHECK_OK(rayi_key_save(&keys[0], at(".config/ray/cluster-key")));
    check_found(NULL, at("session"), &keys[0], at(".config/ray/cluster-key"));
    CHECK_OK(rayi_key_save(&keys[1], at("session/cluster-key")));
    check_found(NULL, at("session"), &keys[1], at("session/cluster-key"));
    rayi_key_print(&keys[2], text);
    setenv("RAY_CLUSTER_KEY", text, 1);
    check_found(NULL, at("session"), &keys[2], "$RAY_CLUSTER_KEY");
    CHECK_OK(rayi_key_save(&keys[3], at("k3")));
    setenv("RAY_KEY_FILE", at("k3"), 1);
    check_found(NULL, at("session"), &keys[3], at("k3"));
    CHECK_OK(rayi_key_save(&keys[4], at("k4")));
    check_found(at("k4"), at("session"), &keys[4], at("k4"));
    snprintf(where, sizeof where, "%s", at("none"));
    CHECK_FAILS(rayi_key_find(where, at("session"), &key, NULL), RAY_ERR_NOT_FOUND);
    setenv("RAY_KEY_FILE", where, 1);
    CHECK_FAILS(rayi_key_find(NULL, at("session"), &key, NULL), RAY_ERR_NOT_FOUND);
    setenv("RAY_KEY_FILE", "", 1);
    setenv("RAY_CLUSTER_KEY", "rubbish", 1);
    CHECK_FAILS(rayi_key_find(NULL, at("session"), &key, NULL), RAY_ERR_ARGUMENT);
    CHECK_WORDS("$RAY_CLUSTER_KEY holds no cluster key");
    unsetenv("RAY_CLUSTER_KEY");
    cr_assert_eq(chmod(at("session/cluster-key"), 0644), 0);
    CHECK_FAILS(rayi_key_find(NULL, at("session"), &key, NULL), RAY_ERR_ARGUMENT);
}
