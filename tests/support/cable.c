#include "cable.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int this_side(void)
{
    return open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
}

static int make_side(void)
{
    return unshare(CLONE_NEWNET) == 0 && system("ip link set lo up") == 0 ? this_side() : -1;
}

const char *cable_make_sides(cable *c)
{
    if (system("ip -V >/dev/null 2>&1") != 0)
        return "there is no ip command (package iproute2)";
    c->far = make_side();
    c->near = c->far >= 0 ? make_side() : -1;
    return c->near >= 0 ? NULL : "no network namespace can be made here (not root)";
}

const char *cable_lay(cable *c)
{
    char command[256];
    const char *why = cable_make_sides(c);
    if (why)
        return why;
    snprintf(command, sizeof command,
             "ip link add near type veth peer name far netns /proc/%d/fd/%d 2>/dev/null && "
             "ip address add " CABLE_NEAR "/24 dev near && ip link set near up",
             (int)getpid(), c->far);
    if (system(command) != 0)
        return "no pair of network devices can be made here";
    if (cable_enter(c->far) != 0 || system("ip address add " CABLE_FAR "/24 dev far && ip link set far up") != 0 ||
        cable_enter(c->near) != 0)
        return "the far network device cannot be set up here";
    return NULL;
}

void cable_remove(cable *c)
{
    close(c->near);
    close(c->far);
}

int cable_enter(int side)
{
    return setns(side, CLONE_NEWNET);
}

int cable_pull(void)
{
    return system("ip link set near down") == 0 ? 0 : -1;
}

int cable_plug_in(void)
{
    return system("ip link set near up") == 0 ? 0 : -1;
}
