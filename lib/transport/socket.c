/* A socket is watched by uv_poll and not owned by uv_tcp: libuv writes without MSG_NOSIGNAL, and a library that
 * installs no signal handler must not cause a SIGPIPE; who accepts here chooses when; and what is read goes where we
 * say. */
#include "transport/inside.h"

#include <unistd.h>

static void on_poll(uv_poll_t *poll, int status, int events)
{
    rayi_socket *socket = rayi_container_of(poll, rayi_socket, poll);
    if (status < 0) { /* POLLERR: libuv has stopped */
        socket->events = 0;
        events = UV_READABLE | UV_WRITABLE | UV_DISCONNECT;
    }
    if (socket->arg)
        socket->on_ready(socket->arg, events);
}

static void on_closed(uv_handle_t *handle)
{
    rayi_free(rayi_container_of((uv_poll_t *)handle, rayi_socket, poll));
}

int rayi_socket_open(uv_loop_t *loop, int fd, void (*on_ready)(void *arg, int events), void *arg, rayi_socket **out)
{
    rayi_socket *socket = rayi_alloc(sizeof *socket);
    if (!socket) {
        close(fd);
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a socket");
    }
    *socket = (rayi_socket){.fd = fd, .on_ready = on_ready, .arg = arg};
    int r = uv_poll_init(loop, &socket->poll, fd);
    if (r < 0) {
        close(fd);
        rayi_free(socket);
        return rayi_fail(RAY_ERR_SYSTEM, "a socket cannot be watched: %s", uv_strerror(r));
    }
    *out = socket;
    return 0;
}

void rayi_socket_watch(rayi_socket *socket, int events)
{
    if (events == socket->events)
        return;
    socket->events = events;
    if (events)
        uv_poll_start(&socket->poll, events, on_poll);
    else
        uv_poll_stop(&socket->poll);
}

void rayi_socket_close(rayi_socket *socket)
{
    if (!socket)
        return;
    socket->arg = NULL;
    uv_close((uv_handle_t *)&socket->poll, on_closed);
    close(socket->fd);
}
