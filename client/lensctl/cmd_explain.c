/* lensctl explain CONCEPT: where a concept stands, and why its calibrated score differs from the raw one
 * (SEEDS.md row H11). */
#include "client/lensctl/commands.h"
#include "client/lensctl/daemon_link.h"
#include "proto/pack.h"

#include <math.h>
#include <stdarg.h>

#define MAX_SENTENCES   7
#define SENTENCE_BYTES  640
#define CLEAN_FIRE_RATE 0.05 /* below it HatCat's formula takes the other branch */

struct sentences {
    char text[MAX_SENTENCES][SENTENCE_BYTES];
    unsigned count;
};

static const char *const field_names[LENS_CALIBRATION_FIELDS] = {"self_mean",  "cross_mean", "self_std",  "cross_std",
                                                                 "cross_fire", "gen_fire",   "noise_fire"};
static const double example_raws[] = {0.1, 0.3, 0.5, 0.7, 0.9, 0.99};
#define EXAMPLES (sizeof example_raws / sizeof example_raws[0])

static bool is_clean(const float *c)
{
    return (double)c[LENS_CAL_CROSS_FIRE] < CLEAN_FIRE_RATE && (double)c[LENS_CAL_GEN_FIRE] < CLEAN_FIRE_RATE;
}

static bool has_gap(const float *c)
{
    return c[LENS_CAL_CROSS_MEAN] > 0 && c[LENS_CAL_SELF_MEAN] > c[LENS_CAL_CROSS_MEAN];
}

static double trust(const float *c)
{
    return (1.0 - (double)c[LENS_CAL_CROSS_FIRE]) * (1.0 - (double)c[LENS_CAL_GEN_FIRE]) *
           (1.0 - (double)c[LENS_CAL_NOISE_FIRE]);
}

/* H11 for one raw score, for showing; the daemon's own is in kernels/. */
static double calibrated(const float *c, double raw)
{
    double m = (double)c[LENS_CAL_CROSS_MEAN], gap = (double)c[LENS_CAL_SELF_MEAN] - m, w;
    if (is_clean(c)) {
        w = 0.5 + (raw - 0.5) * (double)fmaxf(c[LENS_CAL_CROSS_FIRE], c[LENS_CAL_GEN_FIRE]) / CLEAN_FIRE_RATE;
    } else if (!has_gap(c)) {
        w = 0.5 + (raw - 0.5) * trust(c);
    } else {
        double stretched = raw >= m ? 0.5 + 0.5 * (raw - m) / gap : 0.5 * raw / m;
        w = 0.5 + (stretched - 0.5) * trust(c) * fmin(1.0, gap / 0.2);
    }
    return 1.0 / (1.0 + exp(-6.0 * (w - 0.5)));
}

static void say(struct sentences *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct sentences *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (s->count < MAX_SENTENCES)
        vsnprintf(s->text[s->count++], SENTENCE_BYTES, format, args);
    va_end(args);
}

static void say_clean(struct sentences *s, const float *c)
{
    double most = (double)fmaxf(c[LENS_CAL_CROSS_FIRE], c[LENS_CAL_GEN_FIRE]);
    say(s,
        "It hardly fires where it shouldn't: on %.1f%% of other concepts' texts and %.1f%% of generated text, both "
        "below 5%%.",
        100.0 * (double)c[LENS_CAL_CROSS_FIRE], 100.0 * (double)c[LENS_CAL_GEN_FIRE]);
    if (most > 0)
        say(s,
            "HatCat's formula then keeps only %.0f%% of the raw score's distance from 0.5, so calibration pulls "
            "this clean lens towards 0.5: trust raw.",
            100.0 * most / CLEAN_FIRE_RATE);
    else
        say(s, "HatCat's formula then gives 0.5 whatever the raw score is: trust raw.");
}

static void say_stretch(struct sentences *s, const float *c)
{
    double self = (double)c[LENS_CAL_SELF_MEAN], cross = (double)c[LENS_CAL_CROSS_MEAN], gap = self - cross;
    if (!has_gap(c)) {
        if (cross <= 0)
            say(s, "Its mean score on other concepts' texts isn't known (or 0), so raw isn't stretched, only pulled "
                   "towards 0.5.");
        else
            say(s,
                "It scores its own texts (mean %.3g) no higher than others' (mean %.3g), so raw isn't stretched, "
                "only pulled towards 0.5.",
                self, cross);
        return;
    }
    say(s,
        "Raw is stretched so that %.3g, its mean on other concepts' texts, becomes 0.5, and %.3g, its mean on its "
        "own, becomes 1.",
        cross, self);
    if (gap < 0.2)
        say(s, "The two means are only %.3g apart, under 0.2, so the trust is multiplied by %.2f.", gap, gap / 0.2);
}

static void explain(struct sentences *s, const struct lens_explanation *e)
{
    const float *c = e->calibration;
    if (e->content.length > 0)
        say(s, "%.*s", (int)e->content.length, e->content.data);
    if (!e->calibrated) {
        say(s, "It has no calibration: with --rank calibrated its raw score is reported as it is (or 0.5 with "
               "--uncalibrated half).");
        return;
    }
    if (is_clean(c)) {
        say_clean(s, c);
    } else {
        say(s,
            "It fires on %.1f%% of other concepts' texts, %.1f%% of generated text and %.1f%% of noise: the "
            "distance from 0.5 is multiplied by a trust of %.3f.",
            100.0 * (double)c[LENS_CAL_CROSS_FIRE], 100.0 * (double)c[LENS_CAL_GEN_FIRE],
            100.0 * (double)c[LENS_CAL_NOISE_FIRE], trust(c));
        say_stretch(s, c);
    }
    say(s, "Last, sigmoid(6 (x - 0.5)) compresses: x = 0 becomes 0.047 and x = 1 becomes 0.953.");
}

static const char *role_name(uint8_t role)
{
    static const char *const names[] = {"concept", "simplex", "behavioural", "category"};
    return role < sizeof names / sizeof names[0] ? names[role] : "?";
}

/* ---- JSON ------------------------------------------------------------------------------------------------------- */

static json_t *keys_json(const struct lens_text *keys, const uint32_t *ids, uint32_t count)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++) {
        json_t *object = json_object();
        ctl_json_set_text(object, "concept", keys[i]);
        ctl_json_set_count(object, "id", ids[i]);
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *calibration_json(const struct lens_explanation *e)
{
    json_t *object = e->calibrated ? json_object() : json_null();
    for (unsigned i = 0; e->calibrated && i < LENS_CALIBRATION_FIELDS; i++)
        json_object_set_new(object, field_names[i], ctl_json_number((double)e->calibration[i]));
    return object;
}

static json_t *examples_json(const struct lens_explanation *e)
{
    json_t *list = json_array();
    for (unsigned i = 0; e->calibrated && i < EXAMPLES; i++)
        json_array_append_new(list, json_pack("{s:f,s:o}", "raw", example_raws[i], "calibrated",
                                              ctl_json_number(calibrated(e->calibration, example_raws[i]))));
    return list;
}

static int print_json(const struct ctl *ctl, const struct lens_explanation *e, const struct sentences *why)
{
    json_t *object = ctl_json_new(), *sentences = json_array();
    for (unsigned i = 0; i < why->count; i++)
        json_array_append_new(sentences, json_string(why->text[i]));
    ctl_json_set_text(object, "concept", e->key);
    ctl_json_set_count(object, "id", e->id);
    ctl_json_set_count(object, "generation", e->generation);
    ctl_json_set_count(object, "layer", e->layer);
    json_object_set_new(object, "role", json_string(role_name(e->role)));
    json_object_set_new(object, "resident", json_boolean(e->resident));
    json_object_set_new(object, "path", keys_json(e->path_keys, e->path, e->n_path));
    ctl_json_set_count(object, "children_total", e->n_children);
    json_object_set_new(object, "children", keys_json(e->child_keys, e->children, e->count));
    json_object_set_new(object, "calibration", calibration_json(e));
    json_object_set_new(object, "why", sentences);
    json_object_set_new(object, "examples", examples_json(e));
    return ctl_json_print(&ctl->out, object, false);
}

/* ---- text ------------------------------------------------------------------------------------------------------- */

static void print_key(FILE *file, const char *before, struct lens_text key)
{
    char text[512];
    fprintf(file, "%s%s", before, ctl_printable(key.data, key.length, text, sizeof text));
}

static void print_place(const struct ctl *ctl, const struct lens_explanation *e)
{
    FILE *file = ctl->out.file;
    print_key(file, ctl_style(&ctl->out, CTL_BOLD), e->key);
    fprintf(file, "%s  id %u, layer %u, %s, %s\n", ctl_style(&ctl->out, CTL_PLAIN), e->id, e->layer, role_name(e->role),
            e->resident ? "in a slot" : "not in a slot");
    fputs("path: ", file);
    for (uint32_t i = 0; i < e->n_path; i++)
        print_key(file, i == 0 ? "" : " > ", e->path_keys[i]);
    fprintf(file, "\nchildren: %s", e->n_children == 0 ? "none" : "");
    for (uint32_t i = 0; i < e->count; i++)
        print_key(file, i == 0 ? "" : ", ", e->child_keys[i]);
    if (e->n_children > e->count)
        fprintf(file, " and %u more", e->n_children - e->count);
    fputc('\n', file);
}

static int print_calibration(const struct ctl *ctl, const struct lens_explanation *e)
{
    struct ctl_column columns[LENS_CALIBRATION_FIELDS];
    struct ctl_table table;
    for (unsigned i = 0; i < LENS_CALIBRATION_FIELDS; i++)
        columns[i] = (struct ctl_column){field_names[i], true};
    ctl_table_init(&table, columns, LENS_CALIBRATION_FIELDS);
    for (unsigned i = 0; i < LENS_CALIBRATION_FIELDS; i++)
        ctl_table_add(&table, "%.4g", (double)e->calibration[i]);
    return ctl_table_print(&table, &ctl->out);
}

static int print_examples(const struct ctl *ctl, const struct lens_explanation *e)
{
    static const struct ctl_column columns[] = {{"raw", true}, {"calibrated", true}};
    struct ctl_table table;
    ctl_table_init(&table, columns, 2);
    for (unsigned i = 0; i < EXAMPLES; i++) {
        ctl_table_add(&table, "%.2f", example_raws[i]);
        ctl_table_add(&table, "%.3f", calibrated(e->calibration, example_raws[i]));
    }
    return ctl_table_print(&table, &ctl->out);
}

static int print_text(const struct ctl *ctl, const struct lens_explanation *e, const struct sentences *why)
{
    int r = 0;
    print_place(ctl, e);
    fputc('\n', ctl->out.file);
    if (e->calibrated) {
        r = print_calibration(ctl, e);
        fputc('\n', ctl->out.file);
    }
    for (unsigned i = 0; i < why->count; i++)
        fprintf(ctl->out.file, "%s\n", why->text[i]);
    if (e->calibrated && r == 0) {
        fputc('\n', ctl->out.file);
        r = print_examples(ctl, e);
    }
    return r == 0 ? CTL_OK : ctl_fail(CTL_FAILED, "out of memory");
}

int ctl_run_explain(struct ctl *ctl)
{
    struct lens_client *client;
    struct lens_msg msg;
    struct sentences why = {.count = 0};
    const char *pack = ctl_value(ctl, "--pack")->text;
    int r = ctl_connect(ctl, &client);
    if (r != CTL_OK)
        return r;
    ctl_request(&msg, LENS_MSG_EXPLAIN);
    msg.u.explain.pack = lens_text_of(pack != NULL ? pack : "");
    msg.u.explain.concept = lens_text_of(ctl_argument(ctl, 0));
    r = ctl_call(client, &msg, LENS_MSG_EXPLANATION);
    if (r == CTL_OK) {
        const struct lens_explanation *e = &msg.u.explanation;
        explain(&why, e);
        r = ctl->json ? print_json(ctl, e, &why) : print_text(ctl, e, &why);
    }
    lens_client_close(client);
    return r;
}
