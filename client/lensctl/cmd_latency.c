/* lensctl latency: where the time of a row goes, as a table of stages (SEEDS.md row H18). */
#include "client/lensctl/commands.h"
#include "client/lensctl/daemon_link.h"
#include "client/lensctl/field_stages.h"

/* In the order of struct lens_row_timing. */
static const char *const stage_names[] = {"queue", "copy_in", "base", "load", "expand", "select", "copy_out", "total"};
_Static_assert(sizeof stage_names / sizeof stage_names[0] == LENS_STAGES, "a name for each stage");

static json_t *stage_json(const struct lens_stage_row *row)
{
    json_t *object = json_object();
    ctl_json_set_count(object, "count", row->count);
    ctl_json_set_count(object, "p50", row->p50);
    ctl_json_set_count(object, "p90", row->p90);
    ctl_json_set_count(object, "p99", row->p99);
    ctl_json_set_count(object, "p99.9", row->p999);
    ctl_json_set_count(object, "max", row->max);
    ctl_json_set_count(object, "mean", row->mean);
    return object;
}

static int print_json(const struct ctl *ctl, uint32_t session, const struct lens_statistics *s)
{
    json_t *object = ctl_json_new(), *stages = json_object();
    json_object_set_new(object, "session", session == 0 ? json_null() : json_integer(session));
    ctl_json_set_count(object, "rows", s->rows);
    ctl_json_set_count(object, "dropped_rows", s->dropped_rows);
    ctl_json_set_count(object, "invalid_rows", s->invalid_rows);
    ctl_json_set_count(object, "partial_rows", s->partial_rows);
    ctl_json_set_count(object, "capped_rows", s->capped_rows);
    ctl_json_set_count(object, "degraded_rows", s->degraded_rows);
    ctl_json_set_count(object, "lenses_scored", s->lenses_scored);
    ctl_json_set_count(object, "lenses_expanded", s->lenses_expanded);
    ctl_json_set_count(object, "lenses_loaded", s->lenses_loaded);
    ctl_json_set_count(object, "slot_hits", s->slot_hits);
    ctl_json_set_count(object, "host_hits", s->host_hits);
    ctl_json_set_count(object, "cold", s->cold);
    ctl_json_set_count(object, "batches", s->batches);
    ctl_json_set_count(object, "batch_rows", s->batch_rows);
    for (unsigned i = 0; i < LENS_STAGES; i++)
        json_object_set_new(stages, stage_names[i], stage_json(&s->stages[i]));
    json_object_set_new(object, "stages_ns", stages);
    json_object_set_new(object, "hatcat_stages_ns", field_stages_json(s));
    return ctl_json_print(&ctl->out, object, false);
}

static void add_us(struct ctl_table *table, uint64_t ns)
{
    ctl_table_add(table, "%.1f", (double)ns / 1e3);
}

static int print_stages(const struct ctl *ctl, const struct lens_statistics *s)
{
    static const struct ctl_column columns[] = {{"us", false},   {"p50", true}, {"p90", true}, {"p99", true},
                                                {"p99.9", true}, {"max", true}, {"mean", true}};
    struct ctl_table table;
    ctl_table_init(&table, columns, 7);
    for (unsigned i = 0; i < LENS_STAGES; i++) {
        const struct lens_stage_row *row = &s->stages[i];
        ctl_table_add(&table, "%s", stage_names[i]);
        add_us(&table, row->p50);
        add_us(&table, row->p90);
        add_us(&table, row->p99);
        add_us(&table, row->p999);
        add_us(&table, row->max);
        add_us(&table, row->mean);
    }
    return ctl_table_print(&table, &ctl->out);
}

/* The mean of `sum` over the rows, as text. */
static double per_row(uint64_t sum, uint64_t rows)
{
    return rows == 0 ? 0.0 : (double)sum / (double)rows;
}

static int print_text(const struct ctl *ctl, const struct lens_statistics *s)
{
    char slot[32], host[32], cold[32];
    uint64_t lookups = s->slot_hits + s->host_hits + s->cold;
    FILE *file = ctl->out.file;
    int r = print_stages(ctl, s);
    fputc('\n', file);
    if (r == 0)
        r = field_stages_print(s, &ctl->out);
    fputc('\n', file);
    ctl_print_line(
        &ctl->out, 0,
        "%llu rows (%llu invalid, %llu partial, %llu capped, %llu degraded, %llu dropped), %.1f rows a batch",
        (unsigned long long)s->rows, (unsigned long long)s->invalid_rows, (unsigned long long)s->partial_rows,
        (unsigned long long)s->capped_rows, (unsigned long long)s->degraded_rows, (unsigned long long)s->dropped_rows,
        per_row(s->batch_rows, s->batches));
    fprintf(file, "a row: %.1f lenses scored, %.1f expanded, %.2f loaded\n", per_row(s->lenses_scored, s->rows),
            per_row(s->lenses_expanded, s->rows), per_row(s->lenses_loaded, s->rows));
    fprintf(file, "hits: slot %s, host %s, cold %s\n", ctl_percent_text(s->slot_hits, lookups, slot, sizeof slot),
            ctl_percent_text(s->host_hits, lookups, host, sizeof host),
            ctl_percent_text(s->cold, lookups, cold, sizeof cold));
    return r == 0 ? CTL_OK : ctl_fail(CTL_FAILED, "out of memory");
}

int ctl_run_latency(struct ctl *ctl)
{
    struct lens_client *client;
    struct lens_msg msg;
    uint32_t session = (uint32_t)ctl_value(ctl, "--session")->number;
    int r = ctl_connect(ctl, &client);
    if (r != CTL_OK)
        return r;
    ctl_request(&msg, LENS_MSG_STATISTICS);
    msg.u.statistics.session = session;
    r = ctl_call(client, &msg, LENS_MSG_STATISTICS_ARE);
    if (r == CTL_OK)
        r = ctl->json ? print_json(ctl, session, &msg.u.statistics_are.all)
                      : print_text(ctl, &msg.u.statistics_are.all);
    lens_client_close(client);
    return r;
}
