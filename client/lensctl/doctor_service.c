/* The running daemon: versions, rights, degradation, rows, latency, metrics, who restarts it; see doctor.h. */
#include "client/lensctl/doctor.h"
#include "client/lensctl/doctor_files.h"
#include "client/lensctl/doctor_http.h"
#include "client/lensctl/output.h"

#include <stdio.h>
#include <string.h>

#define ROWS_WORTH 1000u /* fewer say nothing about percentiles and rates */

static void check_version(struct doctor *doctor)
{
    if (strcmp(doctor->daemon.version, LENSD_VERSION) == 0) {
        doctor_find(&doctor->report, "daemon.version", DOCTOR_OK, "lensctl and lensd are both %s.", LENSD_VERSION);
        return;
    }
    doctor_find(&doctor->report, "daemon.version", DOCTOR_WARNING, "lensctl is %s, the running lensd %s.",
                LENSD_VERSION, doctor->daemon.version);
    doctor_advise(&doctor->report, "Restart lensd after an upgrade (clients attach again by themselves), or use the "
                                   "lensctl of its release.");
}

static void check_role(struct doctor *doctor)
{
    if (doctor->daemon.is_operator) {
        doctor_find(&doctor->report, "daemon.role", DOCTOR_OK, "This user is an operator of lensd.");
        return;
    }
    doctor_find(&doctor->report, "daemon.role", DOCTOR_NOTE,
                "This user isn't an operator: figures below are of its own sessions alone.");
    doctor_advise(&doctor->report, "Run lensctl doctor as root, or as a user in ipc.admin_uids, for those of all.");
}

static void check_degraded(struct doctor *doctor)
{
    const struct doctor_daemon *daemon = &doctor->daemon;
    if (daemon->degraded[0] == '\0')
        doctor_find(&doctor->report, "daemon.degraded", DOCTOR_OK, "Full service.");
    else {
        doctor_find(&doctor->report, "daemon.degraded", DOCTOR_PROBLEM, "Degraded: %s.", daemon->degraded);
        doctor_advise(&doctor->report, "lensd's log has the time and cause of each step; a lost card needs a restart.");
    }
    if (daemon->memory[0] != '\0') {
        doctor_find(&doctor->report, "daemon.memory", DOCTOR_WARNING, "Fewer slots than wanted: %s.", daemon->memory);
        doctor_advise(&doctor->report,
                      "Free memory of the card or machine, and load the pack anew; or bound pool.slots.");
    }
}

static void check_rows(struct doctor *doctor)
{
    const struct lens_status *s = &doctor->daemon.status;
    unsigned long long sent = s->rows;
    sent += s->dropped_rows;
    if (s->dropped_rows == 0) {
        doctor_find(&doctor->report, "daemon.dropped", DOCTOR_OK, "No row was dropped.");
    } else {
        doctor_find(&doctor->report, "daemon.dropped", DOCTOR_PROBLEM, "%llu rows were dropped, of %llu.",
                    (unsigned long long)s->dropped_rows, sent);
        doctor_advise(&doctor->report,
                      "Clients sent faster than rows were scored or results read: `lensctl sessions` shows whose. "
                      "Larger queue_depth for bursts; more engine.threads, or fewer base layers, for good.");
    }
    if (s->invalid_rows > 0) {
        doctor_find(&doctor->report, "daemon.invalid", DOCTOR_WARNING, "%llu rows could not be scored (INVALID_INPUT).",
                    (unsigned long long)s->invalid_rows);
        doctor_advise(&doctor->report,
                      "A client sends values that aren't finite, or zeros; the answer to each such row "
                      "names the reason.");
    }
}

/* The stage whose slow rows are slower than its usual ones by most. */
static unsigned widest_stage(const struct lens_statistics *s)
{
    unsigned widest = 0;
    uint64_t most = 0;
    for (unsigned i = 0; i + 1 < LENS_STAGES; i++) {
        uint64_t spread = s->stages[i].p99 - s->stages[i].p50;
        if (s->stages[i].p99 > s->stages[i].p50 && spread > most) {
            most = spread;
            widest = i;
        }
    }
    return widest;
}

static void advise_latency(struct doctor *doctor)
{
    static const char *const advice[LENS_STAGES - 1] = {
        "Rows wait behind others (queue): more engine.threads, smaller submissions, or fewer sessions.",
        "Copying rows in is slow (copy_in): see the findings on memory.",
        "The base layers vary (base): something else uses the processors; see cpu.quota and cpu.threads.",
        "Rows wait for lenses (load): see cache.slots; more pool.slots or cache.host_memory.",
        "Some rows expand far more concepts (expand): raise cascade.load_threshold or lower cascade.max_scored.",
        "Selecting is slow (select): lower cascade.keep_top_k or top_k.",
        "Results are written slowly (copy_out): clients hold results; see `lensctl sessions`."};
    doctor_advise(&doctor->report, "%s `lensctl latency` has all stages.",
                  advice[widest_stage(&doctor->daemon.statistics)]);
}

static void check_latency(struct doctor *doctor)
{
    const struct lens_statistics *s = &doctor->daemon.statistics;
    const struct lens_stage_row *total = &s->stages[LENS_STAGES - 1];
    char p50[32], p99[32];
    if (total->count < ROWS_WORTH || total->p50 == 0)
        return;
    ctl_latency_text(total->p50, p50, sizeof p50);
    ctl_latency_text(total->p99, p99, sizeof p99);
    double ratio = (double)total->p99 / (double)total->p50;
    if (ratio < 4.0) {
        doctor_find(&doctor->report, "daemon.latency", DOCTOR_OK, "Rows take %s (p50) to %s (p99).", p50, p99);
        return;
    }
    doctor_find(&doctor->report, "daemon.latency", ratio < 10.0 ? DOCTOR_NOTE : DOCTOR_WARNING,
                "One row in a hundred takes over %s, %.0f times as long as usual (p50 %s).", p99, ratio, p50);
    advise_latency(doctor);
}

/* Asks where lensd says that it listens: "http://ADDRESS:PORT/metrics" or "unix:PATH". */
static void ask_health(struct doctor *doctor, const char *where)
{
    static const char scheme[] = "http://", page[] = "/metrics";
    char address[512], why[256];
    size_t skipped = strncmp(where, scheme, sizeof scheme - 1) == 0 ? sizeof scheme - 1 : 0;
    snprintf(address, sizeof address, "%s", where + skipped);
    size_t length = strlen(address);
    if (skipped > 0 && length > sizeof page && strcmp(address + length - (sizeof page - 1), page) == 0)
        address[length - (sizeof page - 1)] = '\0';
    int status = doctor_http_get(address, "/healthz", why, sizeof why);
    if (status == 200) {
        doctor_find(&doctor->report, "daemon.metrics", DOCTOR_OK, "Metrics are served on %s.", where);
    } else if (status > 0) {
        doctor_find(&doctor->report, "daemon.metrics", DOCTOR_WARNING, "%s answers /healthz with status %d: %s",
                    address, status, why);
        doctor_advise(&doctor->report, "lensd's log has more; when its engine hangs, the service manager restarts it.");
    } else {
        doctor_find(&doctor->report, "daemon.metrics", DOCTOR_PROBLEM,
                    "lensd serves metrics on %s, and nobody answers there: %s.", where, why);
        doctor_advise(&doctor->report,
                      "If lensd runs in a container or a network namespace, look from inside; else its "
                      "log says more.");
    }
}

static void check_metrics(struct doctor *doctor)
{
    const char *where = doctor->daemon.metrics;
    if (where[0] == '\0')
        return;
    if (strcmp(where, "off") == 0) {
        doctor_find(&doctor->report, "daemon.metrics", DOCTOR_NOTE, "Metrics are off (http.listen = off).");
    } else if (strncmp(where, "http://", 7) != 0 && strncmp(where, "unix:", 5) != 0) {
        doctor_find(&doctor->report, "daemon.metrics", DOCTOR_WARNING, "Metrics are %s.", where);
        doctor_advise(&doctor->report, "Give http.listen an address of its own, or off, and reload lensd.");
    } else {
        ask_health(doctor, where);
    }
}

/* A reload that failed left the old configuration in force. */
static void check_config(struct doctor *doctor)
{
    if (doctor->daemon.config[0] == '\0')
        return;
    doctor_find(&doctor->report, "daemon.config", DOCTOR_PROBLEM, "The last reload failed: %s", doctor->daemon.config);
    doctor_advise(&doctor->report, "Correct the file (lensd --check-config --config FILE), and reload; a restart would "
                                   "end with that error.");
}

/* Where the last ".service" stands: a user's units are below user@UID.service. */
static const char *last_service(const char *text)
{
    const char *last = NULL;
    for (const char *at = strstr(text, ".service"); at != NULL; at = strstr(at + 1, ".service"))
        last = at;
    return last;
}

/* Who starts the daemon again when it ends. */
static void check_unit(struct doctor *doctor)
{
    char path[64], text[DOCTOR_TEXT];
    if (!doctor_sees_daemon(doctor) || !doctor_exists(doctor->root, "/run/systemd/system"))
        return;
    snprintf(path, sizeof path, "/proc/%llu/cgroup", (unsigned long long)doctor->daemon.status.pid);
    if (!doctor_read(doctor->root, path, text, sizeof text))
        return;
    const char *end = last_service(text), *begin = end;
    while (begin != NULL && begin > text && begin[-1] != '/')
        begin--;
    if (begin != NULL && strncmp(begin, "lensd", 5) == 0) {
        doctor_find(&doctor->report, "daemon.unit", DOCTOR_OK, "systemd runs it as %.*s.", (int)(end + 8 - begin),
                    begin);
        return;
    }
    doctor_find(&doctor->report, "daemon.unit", DOCTOR_NOTE,
                "lensd runs without a unit of its own: nobody starts it again if it ends.");
    doctor_advise(&doctor->report, "systemctl enable --now lensd, for a service.");
}

void doctor_check_service(struct doctor *doctor)
{
    if (!doctor->daemon.running)
        return;
    check_version(doctor);
    check_role(doctor);
    check_unit(doctor);
    check_degraded(doctor);
    check_rows(doctor);
    check_latency(doctor);
    check_config(doctor);
    check_metrics(doctor);
}
