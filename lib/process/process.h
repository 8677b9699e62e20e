/* process: the operating-system processes that a node starts, and the directories that it has to itself.
 *
 * Owns: a child from posix_spawn, or from the fork of a template, to the last look at it: its pidfd, the pipes of its
 * output and where their lines go, its limit of memory and the control group made for that, its environment and
 * arguments. And private directories, with the clearing away of those whose process is dead: folders, and the session,
 * a folder with sockets and logs.
 *
 * Invariants:
 * - on_end comes exactly once for each process that started, unless it is closed before. Nothing waits for a pipe's
 *   end: a grandchild may hold it open for ever.
 * - A process that has ended stays a zombie until it is closed: until then its pid and its group are nobody else's.
 * - When this process dies before, the kernel kills the group of each child that is not closed.
 * - Only the children named here are waited for, and no signal handler is installed. A host that reaps our child itself
 *   (SIGCHLD ignored, wait(-1)) takes its status away: then end->known is false, and nothing hangs.
 * - A child gets descriptors 0, 1, 2 and those named in its options, its own process group, default signals, an empty
 *   signal mask, and the environment without what belongs to this process alone: cluster key, role, the launcher's.
 * - Removal in a folder goes by descriptors, never through a symbolic link.
 * - What is cleared away is this user's, of this machine, named as here, and held by no process that lives.
 *
 * Everything is called on the thread of the event loop, except where said. Handles belong to the loop given at start.
 */
#ifndef RAYI_PROCESS_H
#define RAYI_PROCESS_H

#include "base/base.h"

#include <uv.h>

/* ---- output of all processes of a node ---- */

/* Where the lines of a node's processes meet on their way to the log: a line that several of them print within the
 * window is told once, and later "[repeated 7x across workers]", as Ray does. Numbers in it make no difference.
 * Outlives its processes. */
typedef struct rayi_process_outlet rayi_process_outlet;

/* node_id is copied and may be NULL. window_ms: 0: 5,000, or no deduplication where $RAY_DEDUP_LOGS is "0"; negative:
 * none. NO_MEMORY */
int rayi_process_outlet_open(uv_loop_t *loop, const char *node_id, int64_t window_ms, rayi_process_outlet **out);
/* Tells what is pending, closes its timer, and frees it when libuv has let go. Takes NULL. */
void rayi_process_outlet_close(rayi_process_outlet *outlet);

/* ---- one process ---- */

typedef struct rayi_process rayi_process;
typedef struct rayi_template rayi_template;

typedef struct rayi_process_end {
    bool known;    /* false: somebody else took its status; the rest is then -1, 0, false, but out_of_memory */
    int exit_code; /* -1: ended by a signal */
    int signal;    /* 0: none */
    bool core_dumped;
    bool out_of_memory; /* over its rayi_process_limit: killed for that here, or by the kernel */
} rayi_process_end;

typedef struct rayi_process_options {
    const char *const *command;     /* argv, NULL-terminated; command[0] is searched in PATH unless it has a slash */
    const char *wrapper;            /* words to put before the command, split at blanks, with '…', "…" and \ as in a
                                       shell: "gdb -q --args"; NULL or blank: none */
    const char *const *environment; /* "NAME=VALUE" over the inherited one, "NAME" unsets; NULL-terminated, or NULL */
    const int *fds;                 /* the child has fds[i] as descriptor 3 + i; they stay the caller's */
    size_t num_fds;
    rayi_process_outlet *outlet; /* shared by the processes of a node; NULL: its lines are not deduplicated */
    const char *label;           /* for output: "(worker pid=1) line", until rayi_process_label; NULL: "worker" */
    const char *log_path;        /* directory for worker-PID.out and .err, each at most 2 MiB; NULL: none */
    const char *node_id;         /* for log events, or NULL */
    rayi_template *from;         /* it is a copy of this one: no command, no wrapper; NULL: it is started */
    /* Once, on the loop, after the output so far was read. May kill and close the process. */
    void (*on_end)(rayi_process *process, void *arg, const rayi_process_end *end);
    void *arg;
} rayi_process_options;

/* Texts and lists are read during the call only. The child's life is tied to the calling *thread* if it calls
 * rayi_process_bind_to_parent: call on a thread that lives as long as the node. If it fails, on_end never comes.
 * LOAD (no such file, not executable; names the file), SYSTEM, NO_MEMORY, ARGUMENT (a wrapper with an open quote) */
int rayi_process_start(uv_loop_t *loop, const rayi_process_options *options, rayi_process **out);

int64_t rayi_process_pid(const rayi_process *process);
bool rayi_process_ended(const rayi_process *process); /* on_end was or is being called */
/* SIGKILL goes to the whole group, also after the end (what it left behind); other signals to the process only. */
void rayi_process_kill(rayi_process *process, int signal);
/* What it runs now, for "(name pid=…)"; copied, cut at 127 bytes. Any thread, until it is closed. */
void rayi_process_label(rayi_process *process, const char *name);
/* The last lines of its stderr, at most 20 and 2 KiB, NUL-terminated, whole characters only; reads what is there
 * first. Returns the length; with less room the end of them is given. */
size_t rayi_process_last_words(rayi_process *process, char *out, size_t size);
int64_t rayi_process_rss_bytes(const rayi_process *process); /* resident, shared pages included; 0 when gone */
char rayi_process_state(const rayi_process *process);        /* of /proc/PID/stat: 'R' 'S' 'T' 'Z' …; 0 when gone */
/* From now on at most memory_bytes of its own beyond what it has now (what ran there before may have left much behind);
 * 0: no limit any more. By a control group of its own where this process
 * may make one, which also counts pages of the object store that it writes first; else the private resident size of its
 * process group (without what it maps of the object store) is looked at every 20 ms. Over it the group is killed and
 * end->out_of_memory is set. SYSTEM when it has ended. */
int rayi_process_limit(rayi_process *process, uint64_t memory_bytes);
/* Closes its handles and reaps it; closed(arg) (may be NULL) when it is freed. Before on_end: kills the group first,
 * and on_end never comes. Must not be called twice. */
void rayi_process_close(rayi_process *process, void (*closed)(void *arg), void *arg);

/* The same for processes that see each other's ids: of one boot of one host and one namespace of processes. Any thread.
 */
uint64_t rayi_process_host(void);

/* ---- templates ---- */

/* A process to make others from. It is started as others are, does what each of them would do first, and waits; a copy
 * then costs a fork. Copies are children of this process as those that it has started: what is said above of their end,
 * their group and their output holds for them. What they begin with is the template's, as it is by then: environment
 * (changed as options->environment says, which must change something), working directory, limits, signal handlers, and
 * whatever else it has open. */
typedef enum rayi_template_state {
    RAYI_TEMPLATE_STARTING,
    RAYI_TEMPLATE_READY,
    RAYI_TEMPLATE_ENDED
} rayi_template_state;

/* options: fds, on_end and arg are not looked at; it has a socket as descriptor 3. changed(arg): on the loop, when it
 * is ready and when it has ended, which may close it. As rayi_process_start. */
int rayi_template_start(uv_loop_t *loop, const rayi_process_options *options, void (*changed)(void *arg), void *arg,
                        rayi_template **out);
/* When READY, rayi_process_start with options->from waits for it, a second at most, and fails with SYSTEM, or with
 * UNSUPPORTED when no copy can be made of it ever; it may have ENDED then. */
rayi_template_state rayi_template_look(const rayi_template *template);
void rayi_template_close(rayi_template *template, void (*closed)(void *arg), void *arg); /* kills it; its copies stay */

/* In the template, with one thread, on its descriptor 3. First rayi_template_ready; then rayi_template_serve waits to
 * be asked for a copy, and returns 0 in that, and 1 here, where it is called again. NODE_DIED */
int rayi_template_ready(int socket);
int rayi_template_serve(int socket);

/* ---- commands ---- */

/* How to start this very executable again: its path ("/proc/self/exe" when the file has gone or is another) and the
 * arguments of this process. One allocation: rayi_free(argv). Any thread. SYSTEM NO_MEMORY */
int rayi_process_own_command(char ***out_argv);

/* Words as a shell splits them: blanks, '…', "…" and \; NULL-terminated, one allocation: rayi_free. Any thread.
 * ARGUMENT (an open quote, no word) NO_MEMORY */
int rayi_process_split(const char *words, char ***out_argv);
/* In the child: die with the thread that started it. NODE_DIED when the parent is no longer parent_pid: it died
 * before. Behind a wrapper ($RAY_WORKER_WRAPPER is set in the child exactly then) the parent is the wrapper, maybe, and
 * any will do. SYSTEM */
int rayi_process_bind_to_parent(int64_t parent_pid);

/* ---- directories of this process alone. Any thread, one at a time for one folder or session. ---- */

typedef struct rayi_folder rayi_folder;

/* Makes PATH/PREFIXs-PID-XXXXXX/ with the file lock, for this user only, and clears away what processes that are dead
 * left under this prefix (at most 10 bytes). An error says CANNOT PATH: and why. DISK_FULL SYSTEM NO_MEMORY */
int rayi_folder_open(const char *path, const char *prefix, const char *cannot, rayi_folder **out);
void rayi_folder_clear_dead(const char *path, const char *prefix); /* the first half of that alone; never fails */
/* Removes it with all that is in it, but the names in keep (NULL-terminated, or NULL). Takes NULL. */
void rayi_folder_close(rayi_folder *folder, const char *const *keep);
const char *rayi_folder_path(const rayi_folder *folder);

typedef struct rayi_session rayi_session;

/* Makes BASE/ray-UID/s-PID-XXXXXX/ with lock and logs/, all for this user only, and clears away what sessions that are
 * dead left there, except the logs of the last five that wanted theirs kept. base NULL: $RAY_TMPDIR, else $TMPDIR,
 * else /tmp; /tmp also when base is so long that a socket's path would not fit. SYSTEM (no such directory, BASE/ray-UID
 * is a link, someone else's or open to others: says which and what to do), DISK_FULL, NO_MEMORY */
int rayi_session_open(const char *base, rayi_session **out);
/* Removes it all; keep_logs: leaves logs/, for the next sessions to keep or remove. Takes NULL. */
void rayi_session_close(rayi_session *session, bool keep_logs);
const char *rayi_session_path(const rayi_session *session); /* at most 87 bytes: 20 more fit into a socket's name */
const char *rayi_session_logs(const rayi_session *session);
#define RAYI_SESSION_NAME_MAX 100
/* A file in a folder of the session's, until that ends; it is whole when it appears, and replaces one of its name.
 * path: where it is. Any thread. DISK_FULL LIMIT SYSTEM */
int rayi_session_keep(const rayi_session *session, const char *folder, const char *name, const void *bytes,
                      size_t size_bytes, char *path, size_t path_size);

enum { RAYI_SESSION_WORD_MAX = 300 };

/* Tells this user's other processes on this host what the node is: a file in the session, for this user only, whole
 * when it appears; again: another one. role ("head") and address ("10.0.0.1:6379", NULL: none) are at most
 * RAYI_SESSION_WORD_MAX bytes without blanks. ARGUMENT DISK_FULL SYSTEM */
int rayi_session_announce(const rayi_session *session, const char *role, const char *address);

typedef struct rayi_session_row {
    const char *path;           /* of its directory */
    int64_t pid;                /* of its process, which lives */
    const char *role, *address; /* as announced; NULL: not, or none */
    int64_t since_ns;           /* of its announcement, since 1970; else 0 */
} rayi_session_row;

/* Visits the sessions of this user on this host that are alive, in no order; base as in rayi_session_open. One whose
 * process is not seen from here, in another container, is left out. SYSTEM, as there */
int rayi_sessions_each(const char *base, void (*visit)(void *arg, const rayi_session_row *row), void *arg);
typedef struct rayi_session_place {
    char path[88], address[RAYI_SESSION_WORD_MAX + 1];
    int64_t pid;
} rayi_session_place;
/* Of those that were announced as "head", with an address, the latest. NOT_FOUND (says where it has looked) SYSTEM */
int rayi_session_find_head(const char *base, rayi_session_place *out);

#endif
