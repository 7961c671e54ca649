/* lensctl pack quantize: a pack stored in another number format. No daemon is needed. */
#include "client/lensctl/commands.h"
#include "client/lensctl/progress.h"
#include "proto/pack_convert.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

/* ---- interruption: signals wait until the half-made file is gone ------------------------------------------------- */

struct held_signals {
    sigset_t ours, before;
};

static void hold_signals(struct held_signals *held)
{
    sigemptyset(&held->ours);
    sigaddset(&held->ours, SIGINT);
    sigaddset(&held->ours, SIGTERM);
    sigaddset(&held->ours, SIGHUP);
    sigprocmask(SIG_BLOCK, &held->ours, &held->before);
}

static bool signal_waits(void *arg)
{
    const struct held_signals *held = arg;
    sigset_t waiting;
    if (sigpending(&waiting) != 0)
        return false;
    const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (int i = 0; i < 3; i++)
        if (sigismember(&held->ours, numbers[i]) == 1 && sigismember(&waiting, numbers[i]) == 1)
            return true;
    return false;
}

/* Whoever sent one gets what the signal does by default: we end by it. */
static void release_signals(const struct held_signals *held)
{
    sigprocmask(SIG_SETMASK, &held->before, NULL);
}

/* ---- the summary ------------------------------------------------------------------------------------------------ */

static void add_error_row(struct ctl_table *table, const char *tensor, const struct lens_convert_error *error)
{
    ctl_table_add(table, "%s", tensor);
    ctl_table_add(table, "%s", lens_dtype_name(error->from));
    ctl_table_add(table, "%s", lens_dtype_name(error->to));
    ctl_table_add(table, "%.3g%%", 100 * error->mean_relative);
    ctl_table_add(table, "%.3g%%", 100 * error->largest_relative);
    ctl_table_add(table, "%.3g%%", 100 * error->largest_of_row);
    ctl_table_add(table, "%llu", (unsigned long long)error->lost);
}

static int print_errors(const struct ctl *ctl, const struct lens_conversion *done)
{
    static const struct ctl_column columns[] = {{"weights", false},      {"from", false},
                                                {"to", false},           {"mean error", true},
                                                {"largest error", true}, {"of the row's largest", true},
                                                {"became 0", true}};
    struct ctl_table table;
    ctl_table_init(&table, columns, 7);
    add_error_row(&table, "w1", &done->w1);
    add_error_row(&table, "w2", &done->w2);
    return ctl_table_print(&table, &ctl->out) == 0 ? CTL_OK : ctl_fail(CTL_FAILED, "out of memory");
}

static int print_text(const struct ctl *ctl, const char *path, const struct lens_conversion *done)
{
    char before[32], after[32];
    const char *from = lens_dtype_name(done->w1.from), *to = lens_dtype_name(done->w1.to);
    ctl_bytes_text(done->bytes_before, before, sizeof before);
    ctl_bytes_text(done->bytes_after, after, sizeof after);
    if (done->copied) {
        ctl_print_line(&ctl->out, 0, "%s: %u lenses, %s: the pack was stored as %s already; copied byte for byte", path,
                       done->lenses, after, to);
        return CTL_OK;
    }
    ctl_print_line(&ctl->out, 0, "%s: %u lenses, %s as %s -> %s as %s (%.2f times the size)", path, done->lenses,
                   before, from, after, to, (double)done->bytes_after / (double)done->bytes_before);
    if (done->widened)
        ctl_print_line(&ctl->out, 2, "the weights are what the %s pack says: precision lost there isn't regained",
                       from);
    return print_errors(ctl, done);
}

static json_t *error_json(const struct lens_convert_error *error)
{
    return json_pack("{s:s,s:s,s:I,s:I,s:I,s:f,s:f,s:f}", "from", lens_dtype_name(error->from), "to",
                     lens_dtype_name(error->to), "weights", (json_int_t)error->weights, "nonzero",
                     (json_int_t)error->nonzero, "became_zero", (json_int_t)error->lost, "mean_relative_error",
                     error->mean_relative, "largest_relative_error", error->largest_relative,
                     "largest_error_of_row_largest", error->largest_of_row);
}

static int print_json(const struct ctl *ctl, const char *path, const struct lens_conversion *done)
{
    json_t *object = ctl_json_new();
    json_object_set_new(object, "file", ctl_json_text(lens_text_of(path)));
    json_object_set_new(object, "from", json_string(lens_dtype_name(done->w1.from)));
    json_object_set_new(object, "dtype", json_string(lens_dtype_name(done->w1.to)));
    ctl_json_set_count(object, "lenses", done->lenses);
    ctl_json_set_count(object, "bytes_before", done->bytes_before);
    ctl_json_set_count(object, "bytes", done->bytes_after);
    json_object_set_new(object, "copied", json_boolean(done->copied));
    json_object_set_new(object, "widened", json_boolean(done->widened));
    if (!done->copied) {
        json_object_set_new(object, "w1", error_json(&done->w1));
        json_object_set_new(object, "w2", error_json(&done->w2));
    }
    return ctl_json_print(&ctl->out, object, false);
}

int ctl_run_pack_quantize(struct ctl *ctl)
{
    const char *path = ctl_value(ctl, "-o")->text, *dtype = ctl_value(ctl, "--dtype")->text;
    struct held_signals held;
    struct ctl_progress progress;
    struct lens_convert_options options = {
        .progress = ctl_progress_update,
        .progress_arg = &progress,
        .cancelled = signal_waits,
        .cancelled_arg = &held,
    };
    struct lens_conversion done;
    struct lens_error err = {0};
    if (lens_dtype_parse(dtype, &options.dtype) != 0)
        return ctl_fail(CTL_USAGE, "--dtype: lenses are not stored as '%s'", dtype);
    hold_signals(&held);
    ctl_progress_begin(&progress);
    int r = lens_pack_convert(ctl_argument(ctl, 0), path, &options, &done, &err);
    ctl_progress_end(&progress);
    if (r != 0)
        r = ctl_fail(CTL_FAILED, "%s (nothing was written to %s)", err.text, path);
    else
        r = ctl->json ? print_json(ctl, path, &done) : print_text(ctl, path, &done);
    release_signals(&held);
    return r;
}
