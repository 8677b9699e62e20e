/* Who runs what the node offers.
 *
 * Jobs wait in queues: one, or with an actor one for each concurrency group, of which so many run at once. The thread
 * in ray_init takes them, and for an actor with several calls at once threads more: one is started when all others are
 * in user code and there could be another call, so that calls whose results come later need no thread each. Of those
 * that have nothing to do one leads: it receives messages and sleeps on the channel; the others wait for work. When the
 * leader finds work it calls another one to lead.
 *
 * A thread that waits inside a task runs jobs that may be nested, out of order, if its stack has room. */
#include "worker/inside.h"

#include <sched.h>
#include <unistd.h>

#define SPIN_NS     50000
#define HESITATE_NS 200000

_Thread_local bool rayi_waits_quietly;

/* ---- queues; queue_lock is held ---- */

static void append(rayi_jobs *jobs, rayi_job *job)
{
    job->next = NULL;
    if (jobs->last)
        jobs->last->next = job;
    else
        jobs->first = job;
    jobs->last = job;
}

static rayi_job *take_first(rayi_worker *worker, rayi_jobs *jobs)
{
    rayi_job *job = jobs->first;

    jobs->first = job->next;
    if (!jobs->first)
        jobs->last = NULL;
    if (job->head.flags & RAYI_WORK_NESTED)
        atomic_fetch_sub_explicit(&worker->num_nested, 1, memory_order_relaxed);
    return job;
}

static rayi_jobs *eligible(rayi_worker *worker)
{
    for (uint32_t i = 0; i < worker->num_jobs; i++)
        if (worker->jobs[i].first && worker->jobs[i].running < worker->jobs[i].limit)
            return &worker->jobs[i];
    return NULL;
}

void rayi_serve_add(rayi_worker *worker, rayi_job *job)
{
    bool nested = job->head.flags & RAYI_WORK_NESTED;
    uint32_t group = job->head.work == RAYI_WORK_CALL ? job->head.group : 0;

    pthread_mutex_lock(&worker->queue_lock);
    append(&worker->jobs[group < worker->num_jobs ? group : 0], job);
    if (nested)
        atomic_fetch_add_explicit(&worker->num_nested, 1, memory_order_release);
    if (worker->idle > 0)
        pthread_cond_signal(&worker->work_came);
    pthread_mutex_unlock(&worker->queue_lock);
    /* A thread that waits in a task has perhaps looked at num_nested already, and sleeps: the bell moves after it. */
    if (nested)
        rayi_channel_stir(worker->channel);
}

void rayi_serve_exit(rayi_worker *worker)
{
    pthread_mutex_lock(&worker->queue_lock);
    atomic_store(&worker->exiting, true);
    pthread_cond_broadcast(&worker->work_came);
    pthread_mutex_unlock(&worker->queue_lock);
    rayi_channel_stir(worker->channel);
}

/* ---- running ---- */

static bool has_room(const rayi_thread *thread)
{
    return (char *)__builtin_frame_address(0) >= thread->stack_low;
}

bool rayi_serve_nested(rayi_worker *worker, rayi_thread *thread)
{
    rayi_job *job = NULL, *before = NULL;

    if (atomic_load_explicit(&worker->num_nested, memory_order_acquire) == 0 || !thread->frame || rayi_waits_quietly)
        return false;
    pthread_mutex_lock(&worker->queue_lock);
    for (job = worker->jobs[0].first; job && !(job->head.flags & RAYI_WORK_NESTED); job = job->next)
        before = job;
    if (job) {
        if (before)
            before->next = job->next;
        else
            worker->jobs[0].first = job->next;
        if (worker->jobs[0].last == job)
            worker->jobs[0].last = before;
        atomic_fetch_sub_explicit(&worker->num_nested, 1, memory_order_relaxed);
        job->queue = UINT32_MAX;
        worker->running++;
    }
    pthread_mutex_unlock(&worker->queue_lock);
    if (job) {
        job->too_deep = !has_room(thread);
        (void)rayi_job_run(worker, thread, job);
    }
    return job != NULL;
}

void rayi_serve_ended(rayi_worker *worker, const rayi_job *job)
{
    bool others;

    pthread_mutex_lock(&worker->queue_lock);
    worker->running--;
    if (job->queue != UINT32_MAX)
        worker->jobs[job->queue].running--;
    others = eligible(worker) || atomic_load(&worker->exiting);
    if (others)
        pthread_cond_broadcast(&worker->work_came);
    pthread_mutex_unlock(&worker->queue_lock);
    if (others)
        rayi_channel_stir(worker->channel); /* the leader has read the bell before it looked at the queues */
}

static void *serve_more(void *arg)
{
    rayi_worker *worker = arg;
    rayi_thread *thread = rayi_lane_attach(worker->lane);

    pthread_mutex_lock(&worker->queue_lock);
    worker->num_starting--;
    pthread_mutex_unlock(&worker->queue_lock);
    if (thread)
        rayi_serve(worker, thread);
    pthread_mutex_lock(&worker->queue_lock);
    worker->num_threads--;
    pthread_mutex_unlock(&worker->queue_lock);
    return NULL;
}

/* This thread has got work; queue_lock is held. Somebody else is to look for messages and for what work is left. A
 * thread that cannot be started is not missed: those that are there do its work. */
static void call_another(rayi_worker *worker)
{
    pthread_t one;

    if (worker->idle > 0 && (eligible(worker) || !worker->leader)) {
        pthread_cond_signal(&worker->work_came);
    } else if (!worker->leader && worker->num_starting == 0 && worker->num_threads < worker->max_threads &&
               pthread_create(&one, NULL, serve_more, worker) == 0) {
        pthread_detach(one);
        worker->num_threads++;
        worker->num_starting++;
    }
}

/* Who takes work and leaves nobody to lead has another thread started. Before that, others who are in user code have a
 * moment to come back for it: many short calls, or calls whose results come later, need no thread each. */
static bool should_hesitate(const rayi_worker *worker, bool has_worked)
{
    return !has_worked && worker->idle == 0 && !worker->leader && worker->num_threads > 1 &&
           worker->num_threads < worker->max_threads;
}

/* Leads meanwhile; queue_lock is held before and after. */
static void hesitate(rayi_worker *worker, rayi_thread *thread, uint32_t bell)
{
    worker->leader = true;
    pthread_mutex_unlock(&worker->queue_lock);
    (void)rayi_channel_sleep(worker->channel, bell, rayi_now_ns() + HESITATE_NS);
    (void)rayi_worker_receive(worker, thread);
    pthread_mutex_lock(&worker->queue_lock);
    worker->leader = false;
}

/* queue_lock is held before and after. A call counts until its result is there, a task until it has returned. */
static void run_one(rayi_worker *worker, rayi_thread *thread, rayi_jobs *jobs)
{
    uint32_t index = (uint32_t)(jobs - worker->jobs); /* a constructor makes other queues */
    rayi_job *job = take_first(worker, jobs);
    bool is_task = job->head.work == RAYI_WORK_TASK;

    job->queue = is_task ? UINT32_MAX : index;
    jobs->running++;
    worker->running++;
    call_another(worker);
    pthread_mutex_unlock(&worker->queue_lock);
    (void)rayi_job_run(worker, thread, job);
    (void)rayi_worker_receive(worker, thread);
    pthread_mutex_lock(&worker->queue_lock);
    if (is_task)
        worker->jobs[index].running--;
}

static void pause_a_little(void)
{
#if defined __x86_64__ || defined __i386__
    __builtin_ia32_pause();
#else
    __asm__ volatile("yield" ::: "memory");
#endif
}

static bool has_news(rayi_worker *worker)
{
    return rayi_channel_has_mail(worker->channel) || atomic_load_explicit(&worker->exiting, memory_order_relaxed);
}

/* The leader's: until there is a message, which it receives, or the bell has moved. Work often follows upon work. */
static void await_message(rayi_worker *worker, rayi_thread *thread, bool has_worked, uint32_t bell)
{
    int64_t end = worker->num_cpus > 1 && has_worked ? rayi_now_ns() + SPIN_NS : 0;

    while (end && !has_news(worker)) {
        for (int i = 0; i < 200 && !has_news(worker); i++)
            pause_a_little();
        if (has_news(worker) || rayi_now_ns() >= end)
            break;
        sched_yield();
    }
    if (!has_news(worker))
        (void)rayi_channel_sleep(worker->channel, bell, INT64_MAX);
    (void)rayi_worker_receive(worker, thread);
}

void rayi_serve(rayi_worker *worker, rayi_thread *thread)
{
    bool has_worked = false;
    rayi_jobs *jobs;
    uint32_t bell;

    pthread_mutex_lock(&worker->queue_lock);
    for (;;) {
        bell = rayi_channel_bell(worker->channel);
        jobs = atomic_load(&worker->exiting) ? NULL : eligible(worker);
        if (jobs && should_hesitate(worker, has_worked)) {
            hesitate(worker, thread, bell);
            has_worked = true; /* once */
        } else if (jobs) {
            run_one(worker, thread, jobs);
            has_worked = true;
        } else if (atomic_load(&worker->exiting) && worker->running == 0) {
            break;
        } else if (!worker->leader) {
            worker->leader = true;
            pthread_mutex_unlock(&worker->queue_lock);
            await_message(worker, thread, has_worked, bell);
            pthread_mutex_lock(&worker->queue_lock);
            worker->leader = false;
            has_worked = false;
        } else {
            worker->idle++;
            pthread_cond_wait(&worker->work_came, &worker->queue_lock);
            worker->idle--;
        }
    }
    pthread_cond_broadcast(&worker->work_came);
    pthread_mutex_unlock(&worker->queue_lock);
}

int rayi_serve_init(rayi_worker *worker)
{
    worker->jobs = rayi_zalloc(sizeof *worker->jobs);
    if (!worker->jobs)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the queue of a worker process");
    worker->num_jobs = 1;
    worker->jobs[0].limit = 1;
    worker->num_threads = worker->max_threads = 1;
    pthread_mutex_init(&worker->queue_lock, NULL);
    pthread_cond_init(&worker->work_came, NULL);
    return 0;
}

/* ---- a thread that does nothing else ---- */

static void *attend(void *arg)
{
    rayi_worker *worker = arg;
    rayi_thread *thread = rayi_lane_attach(worker->lane);

    while (thread) {
        uint32_t bell = rayi_channel_bell(worker->channel);
        (void)rayi_worker_receive(worker, thread);
        (void)rayi_channel_sleep(worker->channel, bell, INT64_MAX);
    }
    return NULL;
}

/* Without memory for it somebody must call libray now and then, as before. */
void rayi_serve_attend(rayi_worker *worker)
{
    pthread_t one;

    pthread_mutex_lock(&worker->queue_lock);
    if (!worker->attended && pthread_create(&one, NULL, attend, worker) == 0) {
        pthread_detach(one);
        worker->attended = true;
    }
    pthread_mutex_unlock(&worker->queue_lock);
}

/* ---- the queues of an actor ---- */

int rayi_serve_widen(rayi_worker *worker, uint32_t concurrency, const uint32_t *groups, uint32_t num_groups)
{
    rayi_jobs *jobs = rayi_zalloc((1 + (size_t)num_groups) * sizeof *jobs), *before;
    uint64_t threads = RAYI_MAX(concurrency, 1);

    if (!jobs)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the queues of an actor");
    for (uint32_t i = 0; i < num_groups; i++) {
        jobs[1 + i].limit = RAYI_MAX(groups[i], 1);
        threads += jobs[1 + i].limit;
    }
    pthread_mutex_lock(&worker->queue_lock);
    before = worker->jobs;
    jobs[0] = before[0]; /* the constructor runs there */
    jobs[0].limit = RAYI_MAX(concurrency, 1);
    worker->jobs = jobs;
    worker->num_jobs = 1 + num_groups;
    worker->max_threads = (uint32_t)RAYI_MIN(threads, UINT32_MAX);
    pthread_mutex_unlock(&worker->queue_lock);
    rayi_free(before);
    return 0;
}

void rayi_serve_thin(rayi_worker *worker, uint32_t most)
{
    pthread_mutex_lock(&worker->queue_lock);
    worker->max_threads = RAYI_MIN(worker->max_threads, most);
    pthread_mutex_unlock(&worker->queue_lock);
}
