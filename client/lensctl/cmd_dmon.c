/* lensctl dmon: one line of figures per interval, CSV or JSON, for logs and spreadsheets. */
#include "client/lensctl/commands.h"
#include "client/lensctl/daemon_link.h"
#include "client/lensctl/figures.h"
#include "client/lensctl/waiting.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct monitor {
    const struct ctl *ctl;
    struct lens_client *client;
    uint32_t session;
    int signals;
    struct ctl_sample before, after;
    struct ctl_figures figures;
};

/* A column between the time and the text about degradation: its number out of the figures or the second look. */
struct column {
    const char *name;
    int decimals;
    double (*value)(const struct monitor *m);
};

static double rows(const struct monitor *m)
{
    return m->figures.rows_per_s;
}
static double p50(const struct monitor *m)
{
    return m->figures.p50_ns / 1e3;
}
static double p99(const struct monitor *m)
{
    return m->figures.p99_ns / 1e3;
}
static double batch(const struct monitor *m)
{
    return m->figures.batch_rows;
}
static double queue(const struct monitor *m)
{
    return m->figures.queue_ns / 1e3;
}
static double queued(const struct monitor *m)
{
    return (double)m->after.queued;
}
static double dropped(const struct monitor *m)
{
    return m->figures.dropped_per_s;
}
static double invalid(const struct monitor *m)
{
    return m->figures.invalid_per_s;
}
static double scored(const struct monitor *m)
{
    return m->figures.scored_per_row;
}
static double hits(const struct monitor *m)
{
    return m->figures.hit_rate;
}
static double loads(const struct monitor *m)
{
    return m->figures.loads_per_s;
}
static double load_bytes(const struct monitor *m)
{
    return m->figures.load_bytes_per_s / 1e6;
}
static double evictions(const struct monitor *m)
{
    return m->figures.evictions_per_s;
}
static double sessions(const struct monitor *m)
{
    return m->after.sessions;
}
static double resident(const struct monitor *m)
{
    return m->after.resident;
}
static double slots(const struct monitor *m)
{
    return m->after.slots;
}
static double heap(const struct monitor *m)
{
    return (double)m->after.heap_bytes;
}
static double slab(const struct monitor *m)
{
    return (double)m->after.slab_bytes;
}

static const struct column columns[] = {
    {"rows_per_s", 1, rows},
    {"p50_us", 1, p50},
    {"p99_us", 1, p99},
    {"batch_rows", 2, batch},
    {"queued", 0, queued},
    {"queue_us", 1, queue},
    {"dropped_per_s", 1, dropped},
    {"invalid_per_s", 1, invalid},
    {"scored_per_row", 1, scored},
    {"hit_rate", 4, hits},
    {"loads_per_s", 1, loads},
    {"load_mb_per_s", 3, load_bytes},
    {"evictions_per_s", 1, evictions},
    {"sessions", 0, sessions},
    {"slots_resident", 0, resident},
    {"slots", 0, slots},
    {"heap_bytes", 0, heap},
    {"device_bytes", 0, slab},
};
#define COLUMNS (sizeof columns / sizeof columns[0])

/* "2026-11-30T22:14:09.123Z" */
static char *time_text(char *out, size_t size)
{
    struct timespec now;
    struct tm utc;
    char seconds[24];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out, size, "%s.%03ldZ", seconds, now.tv_nsec / 1000000);
    return out;
}

static void print_header(const struct monitor *m)
{
    FILE *file = m->ctl->out.file;
    fputs("time", file);
    for (size_t i = 0; i < COLUMNS; i++)
        fprintf(file, ",%s", columns[i].name);
    fputs(",degraded\n", file);
}

/* A text as RFC 4180 has it; one that needs no quotes gets none. */
static void print_text(FILE *file, const char *text)
{
    if (strpbrk(text, ",\"") == NULL) {
        fputs(text, file);
        return;
    }
    fputc('"', file);
    for (; *text != '\0'; text++)
        fprintf(file, *text == '"' ? "\"\"" : "%c", *text);
    fputc('"', file);
}

static void print_csv(const struct monitor *m)
{
    FILE *file = m->ctl->out.file;
    char now[40];
    fputs(time_text(now, sizeof now), file);
    for (size_t i = 0; i < COLUMNS; i++) {
        double value = columns[i].value(m);
        if (isfinite(value))
            fprintf(file, ",%.*f", columns[i].decimals, value);
        else
            fputc(',', file);
    }
    fputc(',', file);
    print_text(file, m->after.degraded);
    fputc('\n', file);
}

static int print_json(const struct monitor *m)
{
    char now[40];
    json_t *object = ctl_json_new();
    json_object_set_new(object, "time", json_string(time_text(now, sizeof now)));
    json_object_set_new(object, "seconds", ctl_json_number(m->figures.seconds));
    for (size_t i = 0; i < COLUMNS; i++) {
        double value = columns[i].value(m);
        bool whole = columns[i].decimals == 0;
        json_object_set_new(object, columns[i].name, whole ? json_integer((json_int_t)value) : ctl_json_number(value));
    }
    ctl_json_set_text(object, "degraded", lens_text_of(m->after.degraded));
    return ctl_json_print(&m->ctl->out, object, true);
}

static int take(struct monitor *m, struct ctl_sample *out)
{
    struct lens_client_error err = {0};
    int r = ctl_sample_take(m->client, m->session, out, &err);
    return r == 0 ? CTL_OK : ctl_link_failed(r, err.text);
}

static int one_line(struct monitor *m)
{
    int r = take(m, &m->after);
    if (r != CTL_OK)
        return r;
    if (ctl_sample_restarted(&m->before, &m->after))
        fputs("lensctl: lensd was restarted: the next line counts from its start\n", stderr);
    ctl_figures_between(&m->before, &m->after, &m->figures);
    if (m->ctl->json)
        r = print_json(m);
    else
        print_csv(m);
    m->before = m->after;
    FILE *file = m->ctl->out.file;
    bool lost = fflush(file) != 0 || ferror(file);
    return r != CTL_OK || lost ? CTL_FAILED : CTL_OK; /* main says that the output is closed */
}

static int go_on(struct monitor *m, uint64_t interval_ns, int64_t count)
{
    int r = take(m, &m->before);
    if (r == CTL_OK && !m->ctl->json) {
        print_header(m);
        fflush(m->ctl->out.file);
    }
    uint64_t next = ctl_now_ns();
    for (int64_t i = 0; r == CTL_OK && (count == 0 || i < count); i++) {
        uint64_t now = ctl_now_ns();
        next = next + interval_ns > now ? next + interval_ns : now + interval_ns;
        if (ctl_wait_until(next, m->signals))
            break; /* ^C is how it usually ends */
        r = one_line(m);
    }
    return r;
}

static int check_role(const struct monitor *m)
{
    struct lens_hello_ok hello;
    lens_control_daemon(m->client, &hello);
    if (hello.role == LENS_PEER_OPERATOR)
        return CTL_OK;
    return ctl_fail(CTL_FAILED,
                    "dmon has everyone's figures, which are for operators (ipc.admin_uids), found a user who "
                    "isn't one: `lensctl top` shows your own user's rows");
}

int ctl_run_dmon(struct ctl *ctl)
{
    const struct ctl_value *interval = ctl_value(ctl, "-d");
    struct monitor *m = calloc(1, sizeof *m);
    if (m == NULL)
        return ctl_fail(CTL_FAILED, "out of memory");
    m->ctl = ctl;
    m->session = (uint32_t)ctl_value(ctl, "--session")->number;
    m->signals = -1;
    int r = ctl_connect(ctl, &m->client);
    if (r == CTL_OK)
        r = check_role(m);
    if (r == CTL_OK)
        r = ctl_watch_signals(&m->signals);
    if (r == CTL_OK)
        r = go_on(m, (uint64_t)((interval->set ? interval->real : 1.0) * 1e9), ctl_value(ctl, "-c")->number);
    lens_client_close(m->client);
    if (m->signals >= 0)
        close(m->signals);
    free(m);
    return r;
}
