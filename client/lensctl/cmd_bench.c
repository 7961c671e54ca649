/* lensctl bench NAME: what this machine and pack are good for, measured through the running daemon. */
#include "client/lensctl/bench.h"
#include "client/lensctl/commands.h"
#include "client/lensctl/daemon_link.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_SECONDS  5.0
#define DEFAULT_SPIN_US  100
#define BATCH_ROWS       64u /* LENS_MAX_ROWS */
#define STREAM_ROWS      16u
#define STREAM_IN_FLIGHT 16u

const char *const bench_names[] = {"token", "base", "batch", "stream", NULL};

struct bench {
    const struct ctl *ctl;
    struct bench_plan plan;
    struct bench_rows rows;
    struct bench_result result;
    char pack[256], backend[32];
    uint64_t slot_bytes;
    uint32_t threads, dim;
    double floor_ns; /* of reading what one row scores; 0 = not known */
};

static void make_plan(struct bench *b)
{
    static const uint32_t rows[] = {1, 1, BATCH_ROWS, STREAM_ROWS};
    const struct ctl_value *seconds = ctl_value(b->ctl, "--seconds"), *n = ctl_value(b->ctl, "--rows");
    b->plan.kind = (enum bench_kind)ctl_argument_choice(b->ctl, 0);
    b->plan.rows = n->set ? (uint32_t)n->number : rows[b->plan.kind];
    b->plan.in_flight = b->plan.kind == BENCH_STREAM ? STREAM_IN_FLIGHT : 1;
    b->plan.ns = (uint64_t)((seconds->set ? seconds->real : DEFAULT_SECONDS) * 1e9);
}

static int attach(const struct bench *b, struct lens_client *client, struct lens_session **out)
{
    struct lens_session_params params;
    struct lens_client_error err = {0};
    const struct ctl_value *spin = ctl_value(b->ctl, "--spin");
    lens_session_params_default(&params);
    params.pack = b->pack;
    params.label = "lensctl bench";
    params.max_rows = b->plan.rows;
    params.queue_depth = b->plan.in_flight + 1;
    params.max_sequences = 1;
    params.spin_us = spin->set ? (uint32_t)spin->number : DEFAULT_SPIN_US;
    if (b->plan.kind == BENCH_BASE) {
        params.max_depth = 0;
        params.keep_top_k = 0;
    }
    int r = lens_session_open(client, &params, out, &err);
    return r == 0 ? CTL_OK : ctl_link_failed(r, err.text);
}

static int look_up(struct bench *b, struct lens_client *client, struct lens_msg *msg)
{
    int r;
    const struct lens_pack_row *row = ctl_find_pack(client, ctl_value(b->ctl, "--pack")->text, msg, &r);
    if (row == NULL)
        return r;
    snprintf(b->pack, sizeof b->pack, "%.*s", (int)row->name.length, row->name.data);
    b->slot_bytes = row->slot_bytes;
    b->dim = row->dim;
    ctl_request(msg, LENS_MSG_STATUS);
    r = ctl_call(client, msg, LENS_MSG_STATUS_IS);
    if (r != CTL_OK)
        return r;
    const struct lens_status *status = &msg->u.status_is;
    snprintf(b->backend, sizeof b->backend, "%.*s", (int)status->backend.length, status->backend.data);
    b->threads = status->threads;
    return CTL_OK;
}

/* A row reads the weights of all that it scores once. The rows of a submission share them, and how much can't be known
 * from here; nor can a card's memory be measured from here. */
static void find_floor(struct bench *b)
{
    if (b->plan.rows == 1 && b->plan.in_flight == 1 && b->result.rows > 0 && strcmp(b->backend, "cpu") == 0)
        b->floor_ns = bench_floor_ns(b->result.scored / b->result.rows * b->slot_bytes, b->threads);
}

static int measure(struct bench *b, struct lens_client *client)
{
    struct lens_session *session;
    int r = attach(b, client, &session);
    if (r != CTL_OK)
        return r;
    r = bench_run(session, &b->rows, &b->plan, &b->result);
    lens_session_close(session);
    if (r == CTL_OK && b->result.rows == 0)
        r = ctl_fail(CTL_FAILED, "no row was answered in that time: give more --seconds");
    if (r == CTL_OK)
        find_floor(b);
    return r;
}

/* ---- output ------------------------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    double quantile;
} quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}};
#define QUANTILES (sizeof quantiles / sizeof quantiles[0])

static double rows_per_s(const struct bench *b)
{
    return (double)b->result.rows * 1e9 / (double)b->result.ns;
}

static double per_row(const struct bench *b, uint64_t sum)
{
    return (double)sum / (double)b->result.rows;
}

static json_t *histogram_json(const struct lensd_histogram *h)
{
    json_t *object = json_object();
    for (size_t i = 0; i < QUANTILES; i++)
        ctl_json_set_count(object, quantiles[i].name, lensd_histogram_quantile(h, quantiles[i].quantile));
    ctl_json_set_count(object, "max", h->max);
    ctl_json_set_count(object, "mean", lensd_histogram_mean(h));
    return object;
}

static int print_json(const struct bench *b)
{
    const struct bench_result *r = &b->result;
    json_t *object = ctl_json_new();
    json_object_set_new(object, "bench", json_string(bench_names[b->plan.kind]));
    ctl_json_set_text(object, "pack", lens_text_of(b->pack));
    ctl_json_set_text(object, "backend", lens_text_of(b->backend));
    json_object_set_new(object, "random_rows", json_boolean(!ctl_value(b->ctl, "--states")->set));
    json_object_set_new(object, "seconds", ctl_json_number((double)r->ns / 1e9));
    ctl_json_set_count(object, "rows_a_submission", b->plan.rows);
    ctl_json_set_count(object, "in_flight", b->plan.in_flight);
    ctl_json_set_count(object, "submissions", r->submissions);
    ctl_json_set_count(object, "rows", r->rows);
    ctl_json_set_count(object, "invalid_rows", r->invalid);
    json_object_set_new(object, "rows_per_s", ctl_json_number(rows_per_s(b)));
    json_object_set_new(object, "round_trip_ns", histogram_json(&r->trip));
    json_object_set_new(object, "in_lensd_ns", histogram_json(&r->inside));
    json_object_set_new(object, "scored_per_row", ctl_json_number(per_row(b, r->scored)));
    json_object_set_new(object, "loaded_per_row", ctl_json_number(per_row(b, r->loaded)));
    json_object_set_new(object, "missing_per_row", ctl_json_number(per_row(b, r->missing)));
    json_object_set_new(object, "floor_ns", b->floor_ns > 0 ? ctl_json_number(b->floor_ns) : json_null());
    return ctl_json_print(&b->ctl->out, object, false);
}

static void add_times(struct ctl_table *table, const char *what, const struct lensd_histogram *h)
{
    ctl_table_add(table, "%s", what);
    for (size_t i = 0; i < QUANTILES; i++)
        ctl_table_add(table, "%.1f", (double)lensd_histogram_quantile(h, quantiles[i].quantile) / 1e3);
    ctl_table_add(table, "%.1f", (double)h->max / 1e3);
    ctl_table_add(table, "%.1f", (double)lensd_histogram_mean(h) / 1e3);
}

static void print_floor(const struct bench *b)
{
    char bytes[32];
    if (b->floor_ns <= 0)
        return;
    uint64_t read = b->result.scored / b->result.rows * b->slot_bytes;
    ctl_print_line(&b->ctl->out, 0,
                   "floor: reading those weights (%s) takes %.1f us with %u threads; p50 is %.2f times that",
                   ctl_bytes_text(read, bytes, sizeof bytes), b->floor_ns / 1e3, b->threads,
                   (double)lensd_histogram_quantile(&b->result.trip, 0.5) / b->floor_ns);
}

static int print_text(const struct bench *b)
{
    static const struct ctl_column columns[] = {{"us", false},   {"p50", true}, {"p90", true}, {"p99", true},
                                                {"p99.9", true}, {"max", true}, {"mean", true}};
    const struct bench_result *r = &b->result;
    FILE *file = b->ctl->out.file;
    struct ctl_table table;
    ctl_table_init(&table, columns, 7);
    add_times(&table, "submission, there and back", &r->trip);
    add_times(&table, "a row, within lensd", &r->inside);
    if (ctl_table_print(&table, &b->ctl->out) != 0)
        return ctl_fail(CTL_FAILED, "out of memory");
    fprintf(file, "\n%.0f rows/s: %llu rows in %.2f s, %u a submission, %u in flight\n", rows_per_s(b),
            (unsigned long long)r->rows, (double)r->ns / 1e9, b->plan.rows, b->plan.in_flight);
    fprintf(file, "a row: %.1f lenses scored, %.2f loaded, %.2f missing\n", per_row(b, r->scored),
            per_row(b, r->loaded), per_row(b, r->missing));
    if (r->invalid > 0)
        fprintf(file, "%llu rows couldn't be scored (INVALID_INPUT)\n", (unsigned long long)r->invalid);
    print_floor(b);
    return CTL_OK;
}

static int run_connected(struct bench *b, struct lens_client *client)
{
    struct lens_msg msg;
    int r = look_up(b, client, &msg);
    if (r == CTL_OK)
        r = bench_rows_open(ctl_value(b->ctl, "--states")->text, b->dim, &b->rows);
    if (r != CTL_OK)
        return r;
    r = measure(b, client);
    bench_rows_close(&b->rows);
    if (r == CTL_OK)
        r = b->ctl->json ? print_json(b) : print_text(b);
    return r;
}

int ctl_run_bench(struct ctl *ctl)
{
    struct lens_client *client;
    struct bench *b = calloc(1, sizeof *b);
    if (b == NULL)
        return ctl_fail(CTL_FAILED, "out of memory");
    b->ctl = ctl;
    make_plan(b);
    int r = ctl_connect(ctl, &client);
    if (r == CTL_OK) {
        r = run_connected(b, client);
        lens_client_close(client);
    }
    free(b);
    return r;
}
