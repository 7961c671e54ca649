/* lensctl top: what fires now, live on a terminal, or one snapshot of it. */
#include "client/lensctl/commands.h"
#include "client/lensctl/daemon_link.h"
#include "client/lensctl/top.h"
#include "client/lensctl/waiting.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_NS     UINT64_C(100000000)
#define DEFAULT_MIN 0.1f /* most of what rows report scores next to nothing */

static int once(struct top *top)
{
    int signals, r = ctl_watch_signals(&signals), code = 0;
    if (r != CTL_OK)
        return r;
    uint64_t end = top->opened_ns + (uint64_t)(top->interval_s * 1e9);
    bool stopped = false;
    for (uint64_t at = ctl_now_ns(); at < end && code == 0 && !stopped; at = ctl_now_ns()) {
        stopped = ctl_wait_until(at + LOOK_NS < end ? at + LOOK_NS : end, signals);
        if (!stopped)
            code = top_poll(top);
    }
    close(signals);
    if (stopped)
        return ctl_fail(CTL_FAILED, "stopped before the interval was over");
    if (code == 0)
        code = top_close_interval(top);
    return code == 0 ? top_print(top) : ctl_link_failed(code, top->trouble);
}

static int take_flags(struct top *top)
{
    const struct ctl_value *interval = ctl_value(top->ctl, "--interval");
    const struct ctl_value *min = ctl_value(top->ctl, "--min");
    const char *filter = ctl_value(top->ctl, "--filter")->text;
    top->interval_s = interval->set ? interval->real : 1.0;
    top->min_score = min->set ? (float)min->real : DEFAULT_MIN;
    top->session = (uint32_t)ctl_value(top->ctl, "--session")->number;
    top->pack = ctl_value(top->ctl, "--pack")->text;
    top->sort = (enum top_sort)ctl_value(top->ctl, "--sort")->number;
    if (filter != NULL && strlen(filter) > TOP_FILTER_MAX)
        return ctl_fail(CTL_USAGE, "--filter takes %u bytes at most, found %zu", TOP_FILTER_MAX, strlen(filter));
    snprintf(top->filter, sizeof top->filter, "%s", filter != NULL ? filter : "");
    bool is_once = ctl_value(top->ctl, "--once")->set;
    if (top->ctl->json && !is_once)
        return ctl_fail(CTL_USAGE, "top --json is for one snapshot: add --once (or use `lensctl tail --json`)");
    return CTL_OK;
}

int ctl_run_top(struct ctl *ctl)
{
    struct top *top = calloc(1, sizeof *top);
    if (top == NULL)
        return ctl_fail(CTL_FAILED, "out of memory");
    top->ctl = ctl;
    rule_names_init(&top->rules, ctl->socket_path);
    int r = take_flags(top);
    bool is_once = ctl_value(ctl, "--once")->set;
    if (r == CTL_OK && !is_once)
        r = top_check_terminal();
    if (r == CTL_OK && top_model_init(&top->model, TOP_CAPACITY, top->pack) != 0)
        r = ctl_fail(CTL_FAILED, "out of memory");
    if (r == CTL_OK)
        r = ctl_connect(ctl, &top->client);
    if (r == CTL_OK)
        r = top_start(top);
    if (r == CTL_OK)
        r = is_once ? once(top) : top_show(top);
    lens_client_close(top->client);
    rule_names_free(&top->rules);
    top_model_free(&top->model);
    free(top);
    return r;
}
