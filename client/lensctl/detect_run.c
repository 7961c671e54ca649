/* The hidden states of a file through the running daemon, one submission at a time as a model that generates would
 * send them; see detect.h. */
#include "client/lensctl/detect.h"
#include "client/lensctl/progress.h"
#include "client/lensctl/waiting.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_TIMEOUT_US 60000000u

/* enum lens_type has the same values for the types that rows may have. */
_Static_assert((int)LENS_TYPE_F32 == (int)LENS_F32 && (int)LENS_TYPE_F16 == (int)LENS_F16 &&
                   (int)LENS_TYPE_BF16 == (int)LENS_BF16,
               "row types of liblens and of the wire");

static int link_failed(int code, uint64_t row, const char *doing)
{
    if (code == -ENOTCONN)
        return ctl_fail(CTL_NO_DAEMON, "the daemon went away at row %llu, while %s", (unsigned long long)row, doing);
    if (code == -ETIMEDOUT)
        return ctl_fail(CTL_FAILED, "no answer to row %llu within a minute; `lensctl status` says how lensd is",
                        (unsigned long long)row);
    return ctl_fail(CTL_FAILED, "%s failed at row %llu: %s", doing, (unsigned long long)row, strerror(-code));
}

/* Sends rows [first, first + n) as one submission. */
static int submit(const struct detect *d, uint64_t first, uint32_t n)
{
    struct lens_slot slot;
    struct lens_error err = {0};
    int r = lens_session_acquire(d->session, n, (enum lens_type)d->states.dtype, 0, &slot);
    if (r != 0)
        return link_failed(r, first, "asking for room in the ring");
    if (hidden_states_read(&d->states, first, n, slot.rows, &err) != 0)
        return ctl_fail(CTL_FAILED, "%s: %s", ctl_argument(d->ctl, 0), err.text);
    slot.first_position = first;
    slot.deadline_ns = d->deadline_ns != 0 ? ctl_now_ns() + d->deadline_ns : 0;
    slot.flags = first + n == d->states.rows ? LENS_SLOT_LAST : 0;
    r = lens_session_submit(d->session, &slot);
    return r == 0 ? CTL_OK : link_failed(r, first, "sending");
}

/* Another pack under the same name has other ids: fetch its concepts before printing any. */
static int follow_swap(struct detect *d, const struct lens_answer *answer)
{
    if (answer->generation == d->tree.generation || answer->n_hits + answer->n_expanded_stored == 0)
        return CTL_OK;
    struct lens_session_info info;
    lens_session_get_info(d->session, &info);
    concept_tree_free(&d->tree);
    return concept_tree_fetch(d->client, info.pack, &d->tree);
}

/* Waits for the answers to rows [first, first + n) and hands them on. */
static int collect(struct detect *d, uint64_t first, uint32_t n)
{
    int r = CTL_OK;
    for (uint32_t i = 0; i < n && r == CTL_OK; i++) {
        struct lens_answer answer;
        int code = lens_session_wait(d->session, ANSWER_TIMEOUT_US, &answer);
        if (code != 0)
            return link_failed(code, first + i, "waiting");
        r = follow_swap(d, &answer);
        if (r == CTL_OK)
            r = d->on_row(d, first + answer.row, &answer);
        lens_session_release(d->session);
    }
    return r;
}

static int send_all(struct detect *d)
{
    int r = CTL_OK;
    struct ctl_progress progress;
    bool prints =
        d->ctl->out.terminal && !d->everything; /* rows on the screen tell enough, and a bar would cut them up */
    ctl_progress_begin(&progress);
    for (uint64_t first = 0; first < d->states.rows && r == CTL_OK; first += d->rows) {
        uint64_t left = d->states.rows - first;
        uint32_t n = left < d->rows ? (uint32_t)left : d->rows;
        r = submit(d, first, n);
        if (r == CTL_OK)
            r = collect(d, first, n);
        if (!prints)
            ctl_progress_update(&progress, "rows", first, d->states.rows);
    }
    ctl_progress_end(&progress);
    return r;
}

static int check_dim(const struct detect *d, uint32_t dim)
{
    if (d->states.dim == dim)
        return CTL_OK;
    return ctl_fail(CTL_FAILED,
                    "%s holds hidden states of %u values, but pack %s takes %u: were they read from another model, or "
                    "is another --pack meant?",
                    ctl_argument(d->ctl, 0), d->states.dim, d->tree.pack, dim);
}

static int attach(struct detect *d)
{
    struct lens_session_params params;
    struct lens_client_error err = {0};
    struct lens_session_info info;
    int r = detect_options(d, &params);
    if (r != CTL_OK)
        return r;
    int code = lens_session_open(d->client, &params, &d->session, &err);
    if (code != 0)
        return ctl_link_failed(code, err.text);
    lens_session_get_info(d->session, &info);
    return check_dim(d, info.dim);
}

static int run_connected(struct detect *d)
{
    int r = concept_tree_fetch(d->client, ctl_value(d->ctl, "--pack")->text, &d->tree);
    if (r == CTL_OK)
        r = check_dim(d, d->tree.dim);
    if (r == CTL_OK)
        r = attach(d);
    if (r == CTL_OK)
        r = send_all(d);
    lens_session_close(d->session);
    concept_tree_free(&d->tree);
    free(d->patterns);
    return r;
}

int detect_run(const struct ctl *ctl, bool everything, detect_row_fn on_row, void *arg)
{
    struct detect d = {.ctl = ctl, .everything = everything, .on_row = on_row, .arg = arg};
    struct lens_error err = {0};
    if (hidden_states_open(ctl_argument(ctl, 0), &d.states, &err) != 0)
        return ctl_fail(CTL_FAILED, "%s", err.text);
    int r = ctl_connect(ctl, &d.client);
    if (r == CTL_OK) {
        r = run_connected(&d);
        lens_client_close(d.client);
    }
    hidden_states_close(&d.states);
    return r;
}
