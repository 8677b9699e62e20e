#include "descriptors.h"

#include <dirent.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 1024 };

size_t check_open_fds(void)
{
    size_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        abort();
    for (const struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count - 1; /* without the one that lists them */
}

typedef struct ends {
    int family, own_port, port; /* port -1: it is not connected */
    bool listens;
} ends;

static bool find_ends(int fd, ends *out)
{
    struct sockaddr_in own = {0}, other = {0};
    socklen_t own_size = sizeof own, other_size = sizeof other, size = sizeof(int);
    int listens = 0;
    if (getsockname(fd, (struct sockaddr *)&own, &own_size) != 0)
        return false;
    bool connected = getpeername(fd, (struct sockaddr *)&other, &other_size) == 0;
    (void)getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size);
    *out = (ends){own.sin_family, ntohs(own.sin_port), connected ? ntohs(other.sin_port) : -1, listens != 0};
    return true;
}

size_t check_shut_sockets(void)
{
    size_t count = 0;
    ends of;
    for (int fd = 0; fd < MOST; fd++)
        count += find_ends(fd, &of) && of.family == AF_INET && of.port < 0 && !of.listens;
    return count;
}

void check_print_fds(void)
{
    for (int fd = 0; fd < MOST; fd++) {
        char path[64], target[256];
        ends of;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t size = readlink(path, target, sizeof target);
        if (size <= 0)
            continue;
        fprintf(stderr, "open: %d %.*s", fd, (int)size, target);
        if (find_ends(fd, &of) && of.family == AF_INET)
            fprintf(stderr, ", port %d, to %d", of.own_port, of.port);
        fprintf(stderr, "\n");
    }
}
