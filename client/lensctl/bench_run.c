/* The loop of lensctl bench; see bench.h. */
#include "client/lensctl/bench.h"
#include "client/lensctl/progress.h"
#include "client/lensctl/waiting.h"

#include <errno.h>
#include <string.h>

#define ANSWER_TIMEOUT_US 60000000u
#define WARM_MOST_NS      500000000u
#define MOST_IN_FLIGHT    64u

struct run {
    struct lens_session *session;
    struct bench_rows *rows;
    const struct bench_plan *plan;
    struct bench_result *result; /* NULL while it gets warm */
    struct ctl_progress progress;
    uint64_t submitted_ns[MOST_IN_FLIGHT]; /* by tag */
    uint64_t serial;
    uint32_t in_flight;
};

static int failed(int code, const char *doing)
{
    if (code == -ENOTCONN)
        return ctl_fail(CTL_NO_DAEMON, "the daemon went away while %s", doing);
    if (code == -ETIMEDOUT)
        return ctl_fail(CTL_FAILED, "no answer within a minute; `lensctl doctor` says how lensd is");
    return ctl_fail(CTL_FAILED, "%s failed: %s", doing, strerror(-code));
}

/* Sends one submission. *full: the ring has no room now. */
static int submit(struct run *run, bool *full)
{
    struct lens_slot slot;
    int r = lens_session_acquire(run->session, run->plan->rows, run->rows->type, 0, &slot);
    *full = r == -EAGAIN;
    if (*full && run->result != NULL)
        run->result->refused++;
    if (r != 0)
        return *full && run->in_flight > 0 ? CTL_OK : failed(r, "asking for room in the ring");
    bench_rows_take(run->rows, run->plan->rows, slot.rows);
    slot.tag = run->serial++;
    slot.first_position = slot.tag * run->plan->rows;
    run->submitted_ns[slot.tag % MOST_IN_FLIGHT] = ctl_now_ns();
    run->in_flight++;
    r = lens_session_submit(run->session, &slot);
    return r == 0 ? CTL_OK : failed(r, "sending");
}

static void account(struct run *run, const struct lens_answer *answer)
{
    struct bench_result *result = run->result;
    bool last = answer->row + 1 == answer->rows;
    run->in_flight -= last;
    if (result == NULL)
        return;
    result->rows++;
    result->invalid += answer->status == 2;
    result->scored += answer->counts.scored;
    result->loaded += answer->counts.loaded;
    result->missing += answer->counts.missing;
    lensd_histogram_record(&result->inside, answer->ns.total);
    if (!last)
        return;
    result->submissions++;
    lensd_histogram_record(&result->trip, ctl_now_ns() - run->submitted_ns[answer->tag % MOST_IN_FLIGHT]);
}

static int take_answer(struct run *run)
{
    struct lens_answer answer;
    int r = lens_session_wait(run->session, ANSWER_TIMEOUT_US, &answer);
    if (r != 0)
        return failed(r, "waiting for an answer");
    account(run, &answer);
    lens_session_release(run->session);
    return CTL_OK;
}

/* Sends until `end`, then takes what is on its way. */
static int run_until(struct run *run, uint64_t begin, uint64_t end)
{
    uint64_t now = begin;
    int r = CTL_OK;
    while (r == CTL_OK && (now < end || run->in_flight > 0)) {
        bool full = now >= end || run->in_flight >= run->plan->in_flight;
        if (!full)
            r = submit(run, &full);
        if (r == CTL_OK && (full || run->plan->in_flight == 1))
            r = take_answer(run);
        now = ctl_now_ns();
        ctl_progress_update(&run->progress, "bench", now < end ? now - begin : end - begin, end - begin);
    }
    return r;
}

int bench_run(struct lens_session *session, struct bench_rows *rows, const struct bench_plan *plan,
              struct bench_result *out)
{
    struct run run = {.session = session, .rows = rows, .plan = plan};
    uint64_t warm_ns = plan->ns / 5 < WARM_MOST_NS ? plan->ns / 5 : WARM_MOST_NS;
    memset(out, 0, sizeof *out);
    ctl_progress_begin(&run.progress);
    uint64_t begin = ctl_now_ns();
    int r = run_until(&run, begin, begin + warm_ns);
    begin = ctl_now_ns();
    run.result = out;
    if (r == CTL_OK)
        r = run_until(&run, begin, begin + plan->ns);
    out->ns = ctl_now_ns() - begin;
    ctl_progress_end(&run.progress);
    return r;
}
