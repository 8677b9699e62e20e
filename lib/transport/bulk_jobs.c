/* The threads that open objects: what takes a disk or another node's answer is not waited for on the bulk's own thread.
 *
 * They are started one by one as jobs find none idle, up to a few, and end with the bulk: libuv's pool would stay for
 * as long as the process. A job's count keeps the bulk's loop going. */
#include "transport/bulk_inside.h"

static rayi_bulk_job *take_first(rayi_bulk_job **list)
{
    rayi_bulk_job *job = *list;
    if (job)
        DL_DELETE(*list, job);
    return job;
}

static void *work(void *arg)
{
    rayi_bulk *bulk = arg;
    rayi_bulk_jobs *jobs = &bulk->jobs;
    pthread_mutex_lock(&bulk->lock);
    while (!jobs->over) {
        rayi_bulk_job *job = take_first(&jobs->waiting);
        if (!job) {
            jobs->num_idle++;
            pthread_cond_wait(&jobs->come, &bulk->lock);
            jobs->num_idle--;
            continue;
        }
        pthread_mutex_unlock(&bulk->lock);
        job->run(job);
        pthread_mutex_lock(&bulk->lock);
        DL_APPEND(jobs->done, job);
        uv_async_send(&bulk->wake);
    }
    pthread_mutex_unlock(&bulk->lock);
    rayi_error_settle_last();
    return NULL;
}

int rayi_bulk_job_begin(rayi_bulk *bulk, rayi_bulk_job *job)
{
    rayi_bulk_jobs *jobs = &bulk->jobs;
    pthread_mutex_lock(&bulk->lock);
    bool starts = jobs->num_idle == 0 && jobs->num_threads < RAYI_BULK_OPENERS;
    if (starts && pthread_create(&jobs->threads[jobs->num_threads], NULL, work, bulk) == 0)
        jobs->num_threads++;
    int r = jobs->num_threads > 0 ? 0 : RAY_ERR_SYSTEM;
    if (r == 0) {
        DL_APPEND(jobs->waiting, job);
        jobs->num_begun++;
        pthread_cond_signal(&jobs->come);
    }
    pthread_mutex_unlock(&bulk->lock);
    return r;
}

void rayi_bulk_jobs_end(rayi_bulk *bulk)
{
    rayi_bulk_job *job;
    do {
        pthread_mutex_lock(&bulk->lock);
        job = take_first(&bulk->jobs.done);
        bulk->jobs.num_begun -= job != NULL;
        pthread_mutex_unlock(&bulk->lock);
        if (job)
            job->done(job);
    } while (job);
}

bool rayi_bulk_jobs_are_over(rayi_bulk *bulk)
{
    pthread_mutex_lock(&bulk->lock);
    bool over = bulk->jobs.num_begun == 0;
    pthread_mutex_unlock(&bulk->lock);
    return over;
}

void rayi_bulk_jobs_join(rayi_bulk *bulk)
{
    rayi_bulk_jobs *jobs = &bulk->jobs;
    pthread_mutex_lock(&bulk->lock);
    jobs->over = true;
    pthread_cond_broadcast(&jobs->come);
    pthread_mutex_unlock(&bulk->lock);
    for (size_t i = 0; i < jobs->num_threads; i++)
        pthread_join(jobs->threads[i], NULL);
}
