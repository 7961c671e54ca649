/* lensctl cache-sim: what each cache policy would have done with a recorded trace, against Belady's optimum. Needs no
 * daemon. */
#include "client/lensctl/commands.h"
#include "client/lensctl/progress.h"

#include "daemon/cache/simulate.h"

#include <stdlib.h>
#include <string.h>

#define MAX_SIZES     16
#define MAX_POLICIES  (LENSD_CACHE_SEQUENCE + 1)
#define DEFAULT_SIZES "2%,5%,10%"

struct sizes {
    uint32_t slots[MAX_SIZES];
    unsigned n;
};

/* One size simulated: Belady's optimum and every policy asked for. */
struct outcome {
    uint32_t slots;
    struct lensd_sim_figures belady, *policy; /* policy[by enum lensd_cache_kind] */
};

static int bad_sizes(const char *text)
{
    return ctl_fail(CTL_USAGE,
                    "--slots expects up to %d numbers of lenses or percentages of the pack, like 160,5%%,10%%; "
                    "found '%s'",
                    MAX_SIZES, text);
}

/* "160,5%": lenses, or percent of the pack rounded down, at least one lens. */
static int read_sizes(const char *text, uint32_t lenses, struct sizes *out)
{
    const char *at = text;
    for (out->n = 0; out->n < MAX_SIZES; at++) {
        char *end;
        bool digit = *at >= '0' && *at <= '9';
        double value = digit ? strtod(at, &end) : 0;
        bool percent = digit && *end == '%';
        if (!digit || !(value > 0) || value > (percent ? 100 : LENSD_TRACE_MAX_LENSES))
            return bad_sizes(text);
        double slots = percent ? value / 100 * lenses : value;
        if (!percent && slots != (double)(uint32_t)slots)
            return bad_sizes(text);
        out->slots[out->n++] = slots < 1 ? 1 : (uint32_t)slots;
        at = end + percent;
        if (*at == '\0')
            return CTL_OK;
        if (*at != ',')
            return bad_sizes(text);
    }
    return bad_sizes(text);
}

static bool wants_policy(struct ctl *ctl, int kind)
{
    const struct ctl_value *chosen = ctl_value(ctl, "--policy");
    return !chosen->set || chosen->number == kind;
}

/* How many of the runs are done, for the bar. */
struct runs {
    struct ctl_progress bar;
    uint64_t done, total;
};

static int simulate_size(struct ctl *ctl, const struct lensd_sim_input *input, struct runs *runs, struct outcome *out)
{
    struct lens_error err;
    struct lensd_predictor_config predictor;
    uint32_t budget = (uint32_t)ctl_value(ctl, "--prefetch")->number;
    int r = lensd_sim_belady(input, out->slots, &out->belady, &err);
    lensd_predictor_default(&predictor);
    for (int kind = 0; r == 0 && lensd_cache_policy_names[kind] != NULL; kind++) {
        const struct lensd_sim_config config = {.kind = (enum lensd_cache_kind)kind,
                                                .capacity = out->slots,
                                                .predictor = budget > 0 ? &predictor : NULL,
                                                .prefetch = budget};
        if (wants_policy(ctl, kind))
            r = lensd_sim_run(input, &config, &out->policy[kind], &err);
        ctl_progress_update(&runs->bar, "simulating", ++runs->done, runs->total);
    }
    return r == 0 ? CTL_OK : ctl_fail(CTL_FAILED, "%s", err.text);
}

static double against(const struct lensd_sim_figures *figures, const struct lensd_sim_figures *belady)
{
    return belady->misses > 0 ? (double)figures->misses / (double)belady->misses : 1;
}

/* ---- printing --------------------------------------------------------------------------------------------------- */

static void add_row(struct ctl_table *table, bool prefetch, uint32_t slots, const char *policy,
                    const struct lensd_sim_figures *f, const struct lensd_sim_figures *belady)
{
    ctl_table_add(table, "%u", slots);
    ctl_table_add(table, "%s", policy);
    ctl_table_add(table, "%llu", (unsigned long long)f->misses);
    ctl_table_add(table, "%.4f", lensd_sim_miss_ratio(f));
    ctl_table_add(table, "%.3f", against(f, belady));
    if (!prefetch)
        return;
    ctl_table_add(table, "%llu", (unsigned long long)f->prefetched);
    ctl_table_add(table, "%.3f", lensd_sim_precision(f));
    ctl_table_add(table, "%.3f", lensd_sim_recall(f));
    ctl_table_add(table, "%llu", (unsigned long long)f->prefetch_wasted);
}

static int print_text(struct ctl *ctl, const struct lensd_sim_input *input, const struct outcome *outcomes, unsigned n)
{
    static const struct ctl_column columns[] = {{"slots", true},     {"policy", false},  {"misses", true},
                                                {"ratio", true},     {"x Belady", true}, {"prefetched", true},
                                                {"precision", true}, {"recall", true},   {"wasted", true}};
    bool prefetch = ctl_value(ctl, "--prefetch")->set;
    struct ctl_table table;
    ctl_table_init(&table, columns, prefetch ? 9 : 5);
    for (unsigned i = 0; i < n; i++) {
        const struct outcome *o = &outcomes[i];
        add_row(&table, prefetch, o->slots, "belady", &o->belady, &o->belady);
        for (int kind = 0; lensd_cache_policy_names[kind] != NULL; kind++) {
            if (wants_policy(ctl, kind))
                add_row(&table, prefetch, o->slots, lensd_cache_policy_names[kind], &o->policy[kind], &o->belady);
        }
    }
    ctl_print_line(&ctl->out, 0,
                   "%llu rows, %llu lenses wanted beside the base (%u different, at most %u a row), pack of %u",
                   (unsigned long long)outcomes[0].belady.rows, (unsigned long long)outcomes[0].belady.requests,
                   input->distinct, input->most, input->trace->tables.lenses);
    return ctl_table_print(&table, &ctl->out) == 0 ? CTL_OK : ctl_fail(CTL_FAILED, "out of memory");
}

static json_t *figures_json(const char *policy, const struct lensd_sim_figures *f,
                            const struct lensd_sim_figures *belady)
{
    json_t *object = json_object();
    json_object_set_new(object, "policy", json_string(policy));
    ctl_json_set_count(object, "hits", f->hits);
    ctl_json_set_count(object, "misses", f->misses);
    json_object_set_new(object, "miss_ratio", ctl_json_number(lensd_sim_miss_ratio(f)));
    json_object_set_new(object, "times_belady", ctl_json_number(against(f, belady)));
    ctl_json_set_count(object, "prefetched", f->prefetched);
    ctl_json_set_count(object, "prefetch_used", f->prefetch_used);
    ctl_json_set_count(object, "prefetch_wasted", f->prefetch_wasted);
    json_object_set_new(object, "precision", ctl_json_number(lensd_sim_precision(f)));
    json_object_set_new(object, "recall", ctl_json_number(lensd_sim_recall(f)));
    return object;
}

static int print_json(struct ctl *ctl, const struct lensd_sim_input *input, const struct outcome *outcomes, unsigned n)
{
    json_t *object = ctl_json_new(), *sizes = json_array();
    ctl_json_set_count(object, "lenses", input->trace->tables.lenses);
    ctl_json_set_count(object, "rows", outcomes[0].belady.rows);
    ctl_json_set_count(object, "requests", outcomes[0].belady.requests);
    ctl_json_set_count(object, "distinct", input->distinct);
    ctl_json_set_count(object, "most_a_row", input->most);
    json_object_set_new(object, "cut", json_boolean(input->trace->cut));
    json_object_set_new(object, "prefetch", json_integer(ctl_value(ctl, "--prefetch")->number));
    for (unsigned i = 0; i < n; i++) {
        json_t *size = json_object(), *policies = json_array();
        ctl_json_set_count(size, "slots", outcomes[i].slots);
        json_object_set_new(size, "belady", figures_json("belady", &outcomes[i].belady, &outcomes[i].belady));
        for (int kind = 0; lensd_cache_policy_names[kind] != NULL; kind++) {
            if (wants_policy(ctl, kind))
                json_array_append_new(policies, figures_json(lensd_cache_policy_names[kind], &outcomes[i].policy[kind],
                                                             &outcomes[i].belady));
        }
        json_object_set_new(size, "policies", policies);
        json_array_append_new(sizes, size);
    }
    json_object_set_new(object, "sizes", sizes);
    return ctl_json_print(&ctl->out, object, false);
}

/* ---- the command ------------------------------------------------------------------------------------------------ */

static int simulate(struct ctl *ctl, const struct lensd_sim_input *input)
{
    struct lensd_sim_figures figures[MAX_SIZES][MAX_POLICIES] = {0};
    struct outcome outcomes[MAX_SIZES] = {0};
    struct sizes sizes;
    const struct ctl_value *asked = ctl_value(ctl, "--slots");
    struct runs runs = {.total = 0};
    int r = read_sizes(asked->set ? asked->text : DEFAULT_SIZES, input->trace->tables.lenses, &sizes);
    ctl_progress_begin(&runs.bar);
    for (int kind = 0; r == CTL_OK && lensd_cache_policy_names[kind] != NULL; kind++)
        runs.total += sizes.n;
    for (unsigned i = 0; r == CTL_OK && i < sizes.n; i++) {
        outcomes[i] = (struct outcome){.slots = sizes.slots[i], .policy = figures[i]};
        r = simulate_size(ctl, input, &runs, &outcomes[i]);
    }
    ctl_progress_end(&runs.bar);
    if (r != CTL_OK)
        return r;
    return ctl->json ? print_json(ctl, input, outcomes, sizes.n) : print_text(ctl, input, outcomes, sizes.n);
}

int ctl_run_cache_sim(struct ctl *ctl)
{
    struct lensd_trace trace;
    struct lensd_sim_input input;
    struct lens_error err;
    const char *path = ctl_argument(ctl, 0);
    if (lensd_trace_read(path, &trace, &err) < 0)
        return ctl_fail(CTL_FAILED, "%s", err.text);
    if (trace.cut)
        fprintf(stderr, "lensctl: %s ends inside a record; the %llu whole rows before it are simulated\n", path,
                (unsigned long long)trace.rows);
    int r = CTL_FAILED;
    if (trace.rows == 0)
        ctl_fail(CTL_FAILED, "%s holds no row; record while rows are answered", path);
    else if (lensd_sim_open(&trace, &input, &err) < 0)
        ctl_fail(CTL_FAILED, "%s", err.text);
    else {
        r = simulate(ctl, &input);
        lensd_sim_close(&input);
    }
    lensd_trace_free(&trace);
    return r;
}
