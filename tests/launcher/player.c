/* player ROLE ADDRESS [stubborn]: plays a node as others on this host see it: a session that is announced, with a log,
 * until SIGTERM (stubborn: that is not enough). Prints the session's path. */
#include "process/process.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    rayi_session *session;
    sigset_t set;
    char path[256];
    int signal;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    if (argc < 3 || rayi_session_open(NULL, &session) < 0)
        return 1;
    snprintf(path, sizeof path, "%s/worker-1.out", rayi_session_logs(session));
    FILE *log = fopen(path, "we");
    if (!log || fprintf(log, "%s was here\n", argv[1]) < 0 || fclose(log) != 0)
        return 1;
    if (rayi_session_announce(session, argv[1], *argv[2] ? argv[2] : NULL) < 0)
        return 1;
    printf("%s\n", rayi_session_path(session));
    fclose(stdout);
    do
        sigwait(&set, &signal);
    while (argc > 3);
    rayi_session_close(session, true);
    return 0;
}
