/* lensctl explain CONCEPT: where a concept stands, what its scores mean, and what it did lately; see explain.h. */
#include "client/lensctl/commands.h"
#include "client/lensctl/explain.h"
#include "proto/pack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const field_names[LENS_CALIBRATION_FIELDS] = {"self_mean",  "cross_mean", "self_std",  "cross_std",
                                                                 "cross_fire", "gen_fire",   "noise_fire"};
static const double example_raws[] = {0.1, 0.3, 0.5, 0.7, 0.9, 0.99};
#define EXAMPLES (sizeof example_raws / sizeof example_raws[0])

struct account {
    const struct ctl *ctl;
    const struct lens_explanation *e; /* in msg */
    struct lens_msg msg;
    struct explain_rules rules;
    struct explain_recent recent;
    struct explain_steps steps; /* of the score asked about */
    bool asked;
    struct sentences why, shown, score, lately;
};

static double calibrated(const struct lens_explanation *e, double raw)
{
    struct explain_steps steps;
    explain_calibrate(e, log(raw / (1 - raw)), &steps);
    return steps.result;
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
                                              ctl_json_number(calibrated(e, example_raws[i]))));
    return list;
}

static json_t *sentences_json(const struct sentences *s)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < s->count; i++)
        json_array_append_new(list, ctl_json_text(lens_text_of(s->text[i])));
    return list;
}

static json_t *score_json(const struct account *a)
{
    json_t *object = json_object();
    json_object_set_new(object, "raw", ctl_json_number(a->steps.raw));
    json_object_set_new(object, "logit", ctl_json_number(a->steps.logit));
    json_object_set_new(object, "calibrated", ctl_json_number(a->steps.result));
    json_object_set_new(object, "steps", sentences_json(&a->score));
    return object;
}

static int print_json(const struct account *a)
{
    const struct lens_explanation *e = a->e;
    json_t *object = ctl_json_new();
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
    json_object_set_new(object, "why", sentences_json(&a->why));
    json_object_set_new(object, "when", sentences_json(&a->shown));
    json_object_set_new(object, "examples", examples_json(e));
    if (a->asked)
        json_object_set_new(object, "score", score_json(a));
    json_object_set_new(object, "recent", explain_recent_json(&a->recent));
    return ctl_json_print(&a->ctl->out, object, false);
}

/* ---- text ------------------------------------------------------------------------------------------------------- */

static void print_key(FILE *file, const char *before, struct lens_text key)
{
    char text[512];
    fprintf(file, "%s%s", before, ctl_printable(key.data, key.length, text, sizeof text));
}

static void print_path(FILE *text, const struct lens_explanation *e)
{
    for (uint32_t i = 0; i < e->n_path; i++)
        print_key(text, i == 0 ? "path: " : " > ", e->path_keys[i]);
}

static void print_children(FILE *text, const struct lens_explanation *e)
{
    fprintf(text, "children:%s", e->n_children == 0 ? " none" : "");
    for (uint32_t i = 0; i < e->count; i++)
        print_key(text, i == 0 ? " " : ", ", e->child_keys[i]);
    if (e->n_children > e->count)
        fprintf(text, " and %u more", e->n_children - e->count);
}

/* A line of names, as long as it gets, broken between them. */
static void print_names(const struct ctl *ctl, const struct lens_explanation *e,
                        void (*print)(FILE *text, const struct lens_explanation *e))
{
    char *line = NULL;
    size_t length = 0;
    FILE *text = open_memstream(&line, &length);
    if (text == NULL)
        return;
    print(text, e);
    if (fclose(text) == 0)
        ctl_print_line(&ctl->out, 0, "%s", line);
    free(line);
}

static void print_place(const struct ctl *ctl, const struct lens_explanation *e)
{
    FILE *file = ctl->out.file;
    print_key(file, ctl_style(&ctl->out, CTL_BOLD), e->key);
    fprintf(file, "%s  id %u, layer %u, %s, %s\n", ctl_style(&ctl->out, CTL_PLAIN), e->id, e->layer, role_name(e->role),
            e->resident ? "in a slot" : "not in a slot");
    print_names(ctl, e, print_path);
    print_names(ctl, e, print_children);
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
        ctl_table_add(&table, "%.3f", calibrated(e, example_raws[i]));
    }
    return ctl_table_print(&table, &ctl->out);
}

static void print_sentences(const struct ctl *ctl, unsigned indent, const struct sentences *s)
{
    char text[1024];
    for (unsigned i = 0; i < s->count; i++)
        ctl_print_line(&ctl->out, indent, "%s", ctl_printable(s->text[i], strlen(s->text[i]), text, sizeof text));
}

static int print_text(const struct account *a)
{
    const struct ctl *ctl = a->ctl;
    const struct lens_explanation *e = a->e;
    int r = 0;
    print_place(ctl, e);
    fputc('\n', ctl->out.file);
    print_sentences(ctl, 0, &a->shown);
    print_sentences(ctl, 0, &a->lately);
    fputc('\n', ctl->out.file);
    if (e->calibrated) {
        r = print_calibration(ctl, e);
        fputc('\n', ctl->out.file);
    }
    print_sentences(ctl, 0, &a->why);
    if (a->asked) {
        fprintf(ctl->out.file, "\n%sa score of %.4f%s\n", ctl_style(&ctl->out, CTL_BOLD), a->steps.raw,
                ctl_style(&ctl->out, CTL_PLAIN));
        print_sentences(ctl, 2, &a->score);
    } else if (e->calibrated && r == 0) {
        fputc('\n', ctl->out.file);
        r = print_examples(ctl, e);
    }
    return r == 0 ? CTL_OK : ctl_fail(CTL_FAILED, "out of memory");
}

/* ---- the command ------------------------------------------------------------------------------------------------ */

/* The score that the flags ask about, as a logit. */
static int take_score(struct account *a, double *logit)
{
    const struct ctl_value *score = ctl_value(a->ctl, "--score"), *given = ctl_value(a->ctl, "--logit");
    a->asked = score->set || given->set;
    if (score->set && given->set)
        return ctl_fail(CTL_USAGE, "--score and --logit say the same thing twice: give one of them");
    if (score->set && (score->real <= 0 || score->real >= 1))
        return ctl_fail(CTL_USAGE, "--score expects a raw score between 0 and 1; for one that is all but 0 or 1 give "
                                   "--logit");
    *logit = score->set ? log(score->real / (1 - score->real)) : given->real;
    return CTL_OK;
}

static void tell(struct account *a, double logit)
{
    const struct lens_explanation *e = a->e;
    if (e->content.length > 0)
        explain_say(&a->why, "%.*s", (int)e->content.length, e->content.data);
    explain_calibration(e, &a->why);
    explain_say_rules(e, &a->rules, &a->shown);
    explain_say_recent(&a->recent, &a->lately);
    if (a->asked) {
        explain_calibrate(e, logit, &a->steps);
        explain_say_steps(&a->steps, &a->score);
        explain_say_thresholds(e, &a->rules, a->steps.raw, &a->score);
    }
}

/* `second` asks for what it did: the texts of the explanation are lost when its own client asks again. */
static int explain(struct account *a, struct lens_client *client, struct lens_client *second)
{
    struct lens_msg *msg = &a->msg;
    const char *pack = ctl_value(a->ctl, "--pack")->text;
    double logit = 0;
    int r = take_score(a, &logit);
    if (r == CTL_OK)
        r = explain_rules_ask(client, &a->rules);
    if (r != CTL_OK)
        return r;
    ctl_request(msg, LENS_MSG_EXPLAIN);
    msg->u.explain.pack = lens_text_of(pack != NULL ? pack : "");
    msg->u.explain.concept = lens_text_of(ctl_argument(a->ctl, 0));
    r = ctl_call(client, msg, LENS_MSG_EXPLANATION);
    a->e = &msg->u.explanation;
    if (r == CTL_OK)
        r = explain_recent_ask(second, a->e->key, &a->recent);
    if (r != CTL_OK)
        return r;
    tell(a, logit);
    return a->ctl->json ? print_json(a) : print_text(a);
}

int ctl_run_explain(struct ctl *ctl)
{
    struct lens_client *client = NULL, *second = NULL;
    struct account *account = calloc(1, sizeof *account);
    if (account == NULL)
        return ctl_fail(CTL_FAILED, "out of memory");
    account->ctl = ctl;
    int r = ctl_connect(ctl, &client);
    if (r == CTL_OK)
        r = ctl_connect(ctl, &second);
    if (r == CTL_OK)
        r = explain(account, client, second);
    lens_client_close(second);
    lens_client_close(client);
    free(account);
    return r;
}
