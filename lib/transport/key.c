/* A key's file holds one line. It is written under another name and linked to its own, so that who finds it finds it
 * whole, and of two that make one at once, one fails. Who loads it looks at what was opened, not at what the name said
 * a moment before. Symbolic links are followed: the file at their end must be ours and closed to others, which is what
 * counts.
 *
 * The text of a key is never part of an error. */
#include "transport/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "ray-cluster-key-1:"

enum {
    BASE64_SIZE = sodium_base64_ENCODED_LEN(RAYI_KEY_BYTES, sodium_base64_VARIANT_ORIGINAL), /* with its NUL */
    FILE_MAX = 256
};

_Static_assert(sizeof PREFIX - 1 + BASE64_SIZE <= RAYI_KEY_TEXT_SIZE, "a key fits its text");

int rayi_sodium_start(void)
{
    return sodium_init() >= 0 ? 0 : rayi_fail(RAY_ERR_SYSTEM, "libsodium cannot start: no random numbers");
}

static void name(rayi_key *key)
{
    static const char label[] = "ray-cluster-key-id";
    uint8_t hash[crypto_hash_sha512_BYTES];
    crypto_hash_sha512_state state;
    crypto_hash_sha512_init(&state);
    crypto_hash_sha512_update(&state, (const uint8_t *)label, sizeof label);
    crypto_hash_sha512_update(&state, key->bytes, sizeof key->bytes);
    crypto_hash_sha512_final(&state, hash);
    memcpy(key->id, hash, sizeof key->id);
    sodium_memzero(&state, sizeof state);
    sodium_memzero(hash, sizeof hash);
}

int rayi_key_make(rayi_key *out)
{
    int r = rayi_sodium_start();
    if (r < 0)
        return r;
    rayi_random_bytes(out->bytes, sizeof out->bytes);
    name(out);
    return 0;
}

void rayi_key_wipe(rayi_key *key)
{
    sodium_memzero(key, sizeof *key);
}

/* ---- text ---- */

void rayi_key_print(const rayi_key *key, char out[RAYI_KEY_TEXT_SIZE])
{
    memcpy(out, PREFIX, sizeof PREFIX - 1);
    sodium_bin2base64(out + sizeof PREFIX - 1, RAYI_KEY_TEXT_SIZE - sizeof PREFIX + 1, key->bytes, sizeof key->bytes,
                      sodium_base64_VARIANT_ORIGINAL);
}

int rayi_key_parse(const char *text, const char *where, rayi_key *out)
{
    rayi_key key;
    size_t size = strlen(text), decoded = 0;
    int r = rayi_sodium_start();
    if (r < 0)
        return r;
    while (size > 0 && strchr(" \t\r\n", text[size - 1]))
        size--;
    if (size != sizeof PREFIX - 1 + BASE64_SIZE - 1 || strncmp(text, PREFIX, sizeof PREFIX - 1) != 0 ||
        sodium_base642bin(key.bytes, sizeof key.bytes, text + sizeof PREFIX - 1, BASE64_SIZE - 1, NULL, &decoded, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0 ||
        decoded != sizeof key.bytes) {
        rayi_key_wipe(&key);
        return rayi_fail(RAY_ERR_ARGUMENT,
                         "%s holds no cluster key: expected \"" PREFIX "\" and %d base64 digits, got %zu characters",
                         where, (int)BASE64_SIZE - 1, size);
    }
    name(&key);
    *out = key;
    rayi_key_wipe(&key);
    return 0;
}

/* ---- files ---- */

static int check_file(const char *path, const struct stat *status)
{
    if (!S_ISREG(status->st_mode))
        return rayi_fail(RAY_ERR_ARGUMENT, "the cluster key %s is no file", path);
    if (status->st_uid != geteuid())
        return rayi_fail(RAY_ERR_ARGUMENT,
                         "the cluster key %s belongs to user %lld, expected it to be ours (user %lld)", path,
                         (long long)status->st_uid, (long long)geteuid());
    if (status->st_mode & 077)
        return rayi_fail(RAY_ERR_ARGUMENT, "the cluster key %s is open to others (mode %04o): chmod 600 it", path,
                         (unsigned)status->st_mode & 07777);
    return 0;
}

static ssize_t read_all(int fd, char *out, size_t room)
{
    size_t size = 0;
    while (size < room) {
        ssize_t n = read(fd, out + size, room - size);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n == 0)
            break;
        size += n > 0 ? (size_t)n : 0;
    }
    return (ssize_t)size;
}

int rayi_key_load(const char *path, rayi_key *out)
{
    char text[FILE_MAX];
    struct stat status;
    ssize_t size = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a pipe must not hold us up */
    if (fd < 0)
        return rayi_fail(errno == ENOENT || errno == ENOTDIR ? RAY_ERR_NOT_FOUND : RAY_ERR_SYSTEM,
                         "the cluster key %s cannot be read: %s", path, strerror(errno));
    int r = fstat(fd, &status) == 0 ? check_file(path, &status) : RAY_ERR_SYSTEM;
    if (r == 0)
        size = read_all(fd, text, sizeof text - 1);
    if (r == RAY_ERR_SYSTEM || (r == 0 && size < 0))
        r = rayi_fail(RAY_ERR_SYSTEM, "the cluster key %s cannot be read: %s", path, strerror(errno));
    close(fd);
    if (r == 0) {
        text[size] = 0;
        r = rayi_key_parse(text, path, out);
    }
    sodium_memzero(text, sizeof text);
    return r;
}

/* 0 or an errno. */
static int write_file(int fd, const char *text)
{
    size_t size = strlen(text), done = 0;
    if (fchmod(fd, 0600) < 0)
        return errno;
    while (done < size) {
        ssize_t n = write(fd, text + done, size - done);
        if (n < 0 && errno != EINTR)
            return errno;
        done += n > 0 ? (size_t)n : 0;
    }
    return fsync(fd) < 0 ? errno : 0;
}

static int save_failed(const char *path, int reason)
{
    int code = reason == EEXIST                       ? RAY_ERR_EXISTS
               : reason == ENOSPC || reason == EDQUOT ? RAY_ERR_DISK_FULL
                                                      : RAY_ERR_SYSTEM;
    return rayi_fail(code, "the cluster key %s cannot be written: %s", path, strerror(reason));
}

int rayi_key_save(const rayi_key *key, const char *path)
{
    char line[RAYI_KEY_TEXT_SIZE + 1], draft[4096];
    uint8_t chance[8];
    char digits[2 * sizeof chance + 1];
    int reason = 0;
    rayi_random_bytes(chance, sizeof chance);
    rayi_hex(digits, chance, sizeof chance);
    if ((size_t)snprintf(draft, sizeof draft, "%s.%s", path, digits) >= sizeof draft)
        return save_failed(path, ENAMETOOLONG);
    int fd = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return save_failed(path, errno);
    rayi_key_print(key, line);
    strcat(line, "\n");
    reason = write_file(fd, line);
    sodium_memzero(line, sizeof line);
    close(fd);
    if (reason == 0 && link(draft, path) < 0)
        reason = errno;
    unlink(draft);
    return reason == 0 ? 0 : save_failed(path, reason);
}

/* ---- where it may be ---- */

/* A file that need not be there. NOT_FOUND: it is not. */
static int try_file(const char *folder, const char *name_in_it, rayi_key *out, char **out_where)
{
    rayi_text path;
    int r = RAY_ERR_NOT_FOUND;
    rayi_text_init(&path, rayi_heap);
    rayi_text_printf(&path, "%s/%s", folder, name_in_it);
    if (path.failed)
        r = rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the path of a cluster key");
    else if (access(path.data, F_OK) == 0 || errno != ENOENT)
        r = rayi_key_load(path.data, out);
    if (r == 0)
        *out_where = path.data;
    else
        rayi_text_fini(&path);
    return r;
}

static const char *home(void)
{
    const char *path = getenv("HOME");
    const struct passwd *user = path && *path ? NULL : getpwuid(geteuid());
    return user ? user->pw_dir : path && *path ? path : NULL;
}

static const char *setting(const char *variable)
{
    const char *value = getenv(variable);
    return value && *value ? value : NULL;
}

static int find(const char *path, const char *session, rayi_key *out, char **out_where)
{
    const char *text;
    int r;
    if (path || (path = setting("RAY_KEY_FILE"))) {
        r = rayi_key_load(path, out);
        *out_where = r == 0 ? rayi_strdup(path) : NULL;
        return r;
    }
    if ((text = setting("RAY_CLUSTER_KEY"))) {
        r = rayi_key_parse(text, "$RAY_CLUSTER_KEY", out);
        *out_where = r == 0 ? rayi_strdup("$RAY_CLUSTER_KEY") : NULL;
        return r;
    }
    r = session ? try_file(session, "cluster-key", out, out_where) : RAY_ERR_NOT_FOUND;
    if (r == RAY_ERR_NOT_FOUND && home())
        r = try_file(home(), ".config/ray/cluster-key", out, out_where);
    if (r == RAY_ERR_NOT_FOUND)
        r = rayi_fail(RAY_ERR_NOT_FOUND, "there is no cluster key: neither $RAY_KEY_FILE nor $RAY_CLUSTER_KEY is set, "
                                         "and ~/.config/ray/cluster-key is not there");
    return r;
}

int rayi_key_find(const char *path, const char *session, rayi_key *out, char **out_where)
{
    rayi_key key;
    char *where = NULL;
    int r = find(path, session, &key, &where);
    if (r == 0 && !where)
        r = rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the path of a cluster key");
    if (r == 0)
        *out = key;
    if (r == 0 && out_where)
        *out_where = where;
    else
        rayi_free(where);
    rayi_key_wipe(&key);
    return r;
}
