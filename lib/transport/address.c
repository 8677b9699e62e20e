/* "HOST:PORT", as people write it and as the system does. */
#include "transport/inside.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_port(const char *text)
{
    size_t size = strspn(text, "0123456789");
    return size > 0 && size <= 5 && text[size] == 0 && strtol(text, NULL, 10) <= UINT16_MAX;
}

int rayi_place_parse(const char *address, rayi_place *out)
{
    const char *colon = strrchr(address, ':'), *host = address, *end = colon;
    if (colon && host[0] == '[' && colon > host + 1 && colon[-1] == ']') {
        host++;
        end--;
    } else if (colon && memchr(address, ':', (size_t)(colon - address))) {
        colon = NULL; /* an IPv6 address without brackets: its last number is no port */
    }
    if (!colon || end == host || (size_t)(end - host) >= sizeof out->host || !is_port(colon + 1))
        return rayi_fail(RAY_ERR_ARGUMENT, "expected an address HOST:PORT ([HOST]:PORT for IPv6), got \"%.300s\"",
                         address);
    memcpy(out->host, host, (size_t)(end - host));
    out->host[end - host] = 0;
    strcpy(out->port, colon + 1);
    return 0;
}

int rayi_place_look_up(const rayi_place *place, int flags, struct addrinfo **out)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
    return getaddrinfo(place->host, place->port, &hints, out);
}

bool rayi_address_is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24 == 127;
    if (address->sa_family != AF_INET6)
        return false;
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127);
}

bool rayi_address_is_dialled(const char *address, bool loopback_only)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:";
    struct addrinfo *found = NULL;
    rayi_place place;
    if (rayi_place_parse(address, &place) < 0 || place.host[strspn(place.host, letters)] != 0 ||
        place.port[strspn(place.port, "0")] == 0)
        return false;
    if (!loopback_only)
        return true;
    if (rayi_place_look_up(&place, AI_NUMERICHOST, &found) != 0)
        return false;
    bool is = rayi_address_is_loopback(found->ai_addr);
    freeaddrinfo(found);
    return is;
}

void rayi_address_print(const struct sockaddr *address, char out[RAYI_ADDRESS_SIZE])
{
    char host[64], port[8];
    socklen_t size = address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (getnameinfo(address, size, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        strcpy(out, "?");
    else
        snprintf(out, RAYI_ADDRESS_SIZE, address->sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

int rayi_address_needs_key(const char *address)
{
    return rayi_fail(RAY_ERR_ARGUMENT,
                     "%s is no loopback address: without a cluster key only those of this machine are allowed",
                     address);
}
