/* Inside of process: what its files share. */
#ifndef RAYI_PROCESS_INSIDE_H
#define RAYI_PROCESS_INSIDE_H

#include "process/process.h"

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/types.h>

enum {
    RAYI_PROCESS_LABEL_MAX = 127,
    RAYI_PROCESS_LINE_MAX = 8 << 10, /* a longer line is cut into parts */
    RAYI_PROCESS_TAIL_MAX = 2 << 10, /* bytes of last words */
    RAYI_PROCESS_TAIL_LINES = 20,
    RAYI_PROCESS_FILE_MAX = 1 << 20, /* of an output file, before it is rotated */
    RAYI_PROCESS_BURST_LINES = 1000,
    RAYI_PROCESS_LINE_MS = 5, /* a line in 5 ms is what a process may print for long: 200 a second */
    RAYI_PROCESS_NOTICE_MS = 1000,
    RAYI_PROCESS_TICK_MS = 20,
    RAYI_PROCESS_LOOK_SHARE = 50, /* looking at a group takes at most one part in so many of the time */
    RAYI_PROCESS_STUCK_MS = 10000 /* how long close waits for a killed process that does not end */
};

/* A pipe that the child writes into. */
typedef struct rayi_process_stream {
    rayi_process *process;
    uv_poll_t poll;
    int fd; /* -1: at its end, or closed */
    bool is_error;
    char *partial; /* the line that has no end yet; made when first needed */
    size_t partial_size;
    bool continued; /* parts of the line were told already */
    uint64_t num_dropped;
    uint64_t file_bytes;
    bool has_file;
} rayi_process_stream;

/* Nobody may print without end: each line costs some credit, which time restores. */
typedef struct rayi_process_bucket {
    uint64_t credit_ms, filled_at_ms;
} rayi_process_bucket;

struct rayi_process {
    uv_loop_t *loop;
    rayi_process_outlet *outlet;    /* or NULL */
    pid_t pid;                      /* 0: not started */
    int pidfd;                      /* -1: the system gives none */
    int leash[2];                   /* -1: not made */
    uv_poll_t watch;                /* of pidfd; not initialized without one */
    uv_timer_t tick;                /* looks at memory, and at the end where no pidfd tells of it */
    uv_timer_t notice;              /* tells of lines that were not told */
    rayi_process_stream streams[2]; /* stdout, stderr */
    unsigned num_handles;           /* that libuv has not let go of */
    bool has_watch, polls_end, ended, in_end, closing;
    bool reaped; /* the pid may be somebody else's */
    int64_t close_at_ms;
    uint64_t limit_bytes;     /* 0: not watched */
    int64_t group_look_at_ns; /* when the whole group's memory is looked at next */
    bool over_limit;
    char *group; /* path of its control group, or NULL */
    bool no_group;
    rayi_process_bucket bucket;
    char tail[RAYI_PROCESS_TAIL_MAX]; /* of stderr, as it came */
    size_t tail_size;
    bool tail_cut;
    char *log_path, *node_id; /* or NULL */
    void (*on_end)(rayi_process *process, void *arg, const rayi_process_end *end);
    void *arg;
    void (*closed)(void *arg);
    void *closed_arg;
    pthread_mutex_t label_lock; /* a leaf */
    char label[RAYI_PROCESS_LABEL_MAX + 1];
};

/* ---- command.c ---- */

/* The words of a wrapper and the command behind them, NULL-terminated, one allocation. ARGUMENT NO_MEMORY */
int rayi_process_argv(const char *wrapper, const char *const *command, char ***out);
/* The environment of this process, stripped, and with the changes made; one allocation. NO_MEMORY */
int rayi_process_environment(const char *wrapper, const char *const *changes, char ***out);

/* ---- spawn.c ---- */

/* Starts it with stdout and stderr as given. LOAD SYSTEM NO_MEMORY ARGUMENT */
int rayi_process_spawn(const rayi_process_options *options, int out_fd, int err_fd, pid_t *out_pid);
/* A pipe whose reader [0] is none of 0, 1, 2: a host that lacks one of these must not get ours as such. */
int rayi_process_pipe(int fds[2]);
int rayi_process_pidfd(pid_t pid); /* or -1 with errno */

/* ---- template.c and fork.c: packets between a node and its template ---- */

enum {
    RAYI_TEMPLATE_PROTOCOL = 1, /* u32: the template's first packet */
    RAYI_TEMPLATE_FDS_MAX = 8,
    RAYI_TEMPLATE_BYTES_MAX = 4096 /* a request: changes of the environment, each with its NUL; and descriptors */
};
typedef struct rayi_template_answer {
    int32_t pid;
    int32_t failed; /* an error number */
    uint32_t num_threads;
} rayi_template_answer;

/* As rayi_process_spawn. SYSTEM UNSUPPORTED */
int rayi_template_copy(rayi_template *template, const rayi_process_options *options, int out_fd, int err_fd,
                       pid_t *out_pid);

/* ---- leash.c ---- */

/* The same descriptor under a number that is none of 0, 1, 2; closes fd. -1 with errno. */
int rayi_process_lift(int fd);
int rayi_process_pair(int type, int ends[2]); /* of sockets, likewise. SYSTEM */
/* From now on the kernel kills the group when this process has died. */
void rayi_process_leash_tie(const int ends[2], pid_t group);
void rayi_process_leash_close(int ends[2]); /* kills nobody; idempotent */

/* ---- output.c ---- */

void rayi_process_on_output(uv_poll_t *poll, int status, int events);
/* Reads what is there, at most what the pipe holds, and tells an unfinished line too. */
void rayi_process_drain(rayi_process *process, bool finish);
void rayi_process_stream_close(rayi_process_stream *stream); /* idempotent */

/* The most of size bytes that does not end inside a character. */
size_t rayi_process_whole(const char *text, size_t size);
/* Makes valid UTF-8 without NUL of it: what is not becomes '?'. */
void rayi_process_clean(char *text, size_t size);

/* ---- outlet.c ---- */

void rayi_process_tell(rayi_process_stream *stream, const char *line, size_t size);
void rayi_process_tell_dropped(rayi_process *process);
void rayi_process_on_notice(uv_timer_t *timer);
/* The output file of a stream, also when nothing is in it yet; suffix as in ".1". Its length, as of snprintf. */
int rayi_process_file(const rayi_process_stream *stream, const char *suffix, char *out, size_t size);

/* ---- limit.c ---- */

/* Looks whether its group's private memory is over the limit, and kills it. */
void rayi_process_watch_memory(rayi_process *process);
bool rayi_process_was_limited(const rayi_process *process); /* at its end: was it killed for its memory? */
void rayi_process_limit_close(rayi_process *process);       /* removes the group; when the process is reaped */

/* A control group below the one that the file (/proc/self/cgroup) names in root (/sys/fs/cgroup), with the process in
 * it. out: its path, for rayi_free. Without a word when the system refuses: RAY_ERR_UNSUPPORTED. */
int rayi_process_group_make(const char *file, const char *root, pid_t pid, uint64_t memory_bytes, char **out);
int rayi_process_group_limit(const char *group, uint64_t memory_bytes); /* 0: none. -1: refused */
bool rayi_process_group_killed(const char *group);

/* ---- process.c ---- */

void rayi_process_handle_closed(uv_handle_t *handle);
void rayi_process_set_tick(rayi_process *process);

/* ---- measure.c ---- */

/* A file of /proc/PID, NUL-terminated; false when it has gone. */
bool rayi_process_read(pid_t pid, const char *name, char *out, size_t size);
int64_t rayi_process_private_bytes(const rayi_process *process); /* resident, without what is shared; 0 when gone */
/* The same of all in its group, what they share counted once. As long as it is at most enough it may be too high. */
int64_t rayi_process_group_bytes(const rayi_process *process, int64_t enough);

/* ---- folder.c ---- */

enum { RAYI_FOLDER_NAME_SIZE = 40 }; /* with prefix and NUL */

/* Asked for each dead one, which is locked meanwhile: the names in it that stay; NULL: none, and neither does it. */
typedef const char *const *rayi_folder_keeps(void *arg, int parent, const char *name, int dir);

/* Told of each one that lives: somebody of this machine holds its lock. dir is its descriptor, lent. */
typedef void rayi_folder_visit(void *arg, const char *name, int dir);
void rayi_folder_each(int parent, const char *prefix, rayi_folder_visit *visit, void *arg);

/* The two halves of rayi_folder_open, in a directory that is open; path is where it is. keeps may be NULL. make takes
 * the descriptor, also when it fails. */
void rayi_folder_clear(int parent, const char *prefix, rayi_folder_keeps *keeps, void *arg);
int rayi_folder_make(int parent, const char *path, const char *prefix, const char *cannot, rayi_folder **out);
int rayi_folder_dir(const rayi_folder *folder);                          /* its descriptor */
int rayi_folder_fails(const char *cannot, const char *path, int reason); /* an error number: DISK_FULL, else SYSTEM */

/* ---- session.c ---- */

int rayi_session_dir(const rayi_session *session); /* its descriptor */
/* BASE/ray-UID, as rayi_session_open has it, and its descriptor; out_fd -1: there is none yet (make: it is made). */
int rayi_session_home(const char *base, bool make, char out[PATH_MAX], int *out_fd);

/* ---- remove.c ---- */

/* Removes what stands in the directory, but not the names in keep (NULL-terminated, or NULL). Follows no links and
 * enters no other file system. False: something is left. */
bool rayi_remove_inside(int dir, const char *const *keep);
/* Removes the entry with all that is in it. */
bool rayi_remove_at(int dir, const char *name);

/* ---- keep.c ---- */

int rayi_write_all(int fd, const char *bytes, size_t size_bytes); /* 0, or errno */

#endif
