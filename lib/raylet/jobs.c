/* Jobs: each driver that joins is one. It tells the head, as often as it becomes a member; the head sees its end, which
 * is that of its node. */
#include "raylet/inside.h"

#include <string.h>

/* ---- a driver ---- */

static void on_told(void *arg, const rayi_said *answer, rayi_error *error)
{
    rayi_node *node = arg;

    (void)answer;
    if (error)
        node->job_told = false; /* with the next table */
}

void rayi_jobs_tell(rayi_node *node)
{
    rayi_writer writer;

    if (!node->is_driver || node->job_told)
        return;
    rayi_writer_init(&writer);
    rayi_put_text(&writer, rayi_executor_job_id(node->executor));
    rayi_put_text(&writer, rayi_executor_ns(node->executor));
    rayi_put_i64(&writer, node->started_ms);
    node->job_told = !writer.failed &&
                     rayi_head_ask_later(node, RAYI_OP_JOB, &(rayi_said){.bytes = writer.data, .size = writer.size},
                                         on_told, node) == 0;
    rayi_writer_fini(&writer);
}

/* ---- the head ---- */

int rayi_jobs_take(rayi_node *node, const rayi_node_id *driver, rayi_reader *in)
{
    const char *id = rayi_take_text(in), *ns = rayi_take_text(in);
    char driver_id[RAYI_ID_SIZE];
    rayi_gcs_job job = {.id = id, .ns = ns, .start_ms = rayi_take_i64(in), .driver = driver_id};

    if (in->failed || !job.id || !job.ns)
        return rayi_fail(RAY_ERR_ARGUMENT, "a job without a name");
    rayi_hex(driver_id, driver->bytes, sizeof driver->bytes);
    if (rayi_gcs_job_put(node->gcs, &job) < 0)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: job %s", job.id);
    return 0;
}

typedef struct ending {
    char driver[RAYI_ID_SIZE];
    rayi_gcs_job row; /* that runs; id NULL: none */
} ending;

static void look_for(void *arg, const rayi_gcs_job *row)
{
    ending *e = arg;

    if (row->end_ms == 0 && row->driver && strcmp(row->driver, e->driver) == 0)
        e->row = *row;
}

void rayi_jobs_gone(rayi_node *node, const rayi_node_id *driver)
{
    ending e = {0};

    rayi_hex(e.driver, driver->bytes, sizeof driver->bytes);
    rayi_gcs_jobs(node->gcs, look_for, &e);
    if (!e.row.id)
        return;
    e.row.end_ms = rayi_wall_ms();
    (void)rayi_gcs_job_put(node->gcs, &e.row); /* no memory: it seems to run */
}
