/* See field_stages.h. */
#include "client/lensctl/field_stages.h"

/* In the order of struct lens_row_timing. */
enum stage { QUEUE, COPY_IN, BASE, LOAD, EXPAND, SELECT, COPY_OUT, TOTAL, STAGES };
_Static_assert(STAGES == LENS_STAGES, "our stages");

static const struct field_stage {
    const char *title, *key, *ours;
    enum stage stage;
} field_stages[] = {
    {"initial detection", "initial_detection", "base", BASE},
    {"child loading", "child_loading", "load", LOAD},
    {"child detection", "child_detection", "expand", EXPAND},
    {"cache management", "cache_management", "select", SELECT},
};
#define FIELD_STAGES (sizeof field_stages / sizeof field_stages[0])

static const char *const rest_names[] = {"queue", "copy_in", "copy_out"};

static uint64_t rest_mean(const struct lens_statistics *s)
{
    return s->stages[QUEUE].mean + s->stages[COPY_IN].mean + s->stages[COPY_OUT].mean;
}

static double share(uint64_t mean, const struct lens_statistics *s)
{
    uint64_t whole = s->stages[TOTAL].mean;
    return whole == 0 ? 0.0 : (double)mean / (double)whole;
}

static json_t *stage_json(const struct lens_statistics *s, const char *ours, enum stage stage)
{
    json_t *object = json_object();
    json_object_set_new(object, "stages", json_pack("[s]", ours));
    ctl_json_set_count(object, "p50", s->stages[stage].p50);
    ctl_json_set_count(object, "p99", s->stages[stage].p99);
    ctl_json_set_count(object, "mean", s->stages[stage].mean);
    json_object_set_new(object, "share", ctl_json_number(share(s->stages[stage].mean, s)));
    return object;
}

static json_t *rest_json(const struct lens_statistics *s)
{
    json_t *object = json_object(), *names = json_array();
    for (unsigned i = 0; i < 3; i++)
        json_array_append_new(names, json_string(rest_names[i]));
    json_object_set_new(object, "stages", names);
    ctl_json_set_count(object, "mean", rest_mean(s));
    json_object_set_new(object, "share", ctl_json_number(share(rest_mean(s), s)));
    return object;
}

json_t *field_stages_json(const struct lens_statistics *s)
{
    json_t *object = json_object();
    for (unsigned i = 0; i < FIELD_STAGES; i++)
        json_object_set_new(object, field_stages[i].key, stage_json(s, field_stages[i].ours, field_stages[i].stage));
    json_object_set_new(object, "rest", rest_json(s));
    json_object_set_new(object, "total", stage_json(s, "total", TOTAL));
    return object;
}

static void add_us(struct ctl_table *table, uint64_t ns)
{
    ctl_table_add(table, "%.1f", (double)ns / 1e3);
}

static void add_stage(struct ctl_table *table, const struct lens_statistics *s, const char *title, const char *ours,
                      enum stage stage)
{
    ctl_table_add(table, "%s", title);
    ctl_table_add(table, "%s", ours);
    add_us(table, s->stages[stage].p50);
    add_us(table, s->stages[stage].p99);
    add_us(table, s->stages[stage].mean);
    ctl_table_add(table, "%.1f%%", 100.0 * share(s->stages[stage].mean, s));
}

int field_stages_print(const struct lens_statistics *s, const struct ctl_output *out)
{
    static const struct ctl_column columns[] = {
        {"HatCat's stages, us", false}, {"ours", false}, {"p50", true}, {"p99", true}, {"mean", true}, {"share", true}};
    struct ctl_table table;
    ctl_table_init(&table, columns, 6);
    for (unsigned i = 0; i < FIELD_STAGES; i++)
        add_stage(&table, s, field_stages[i].title, field_stages[i].ours, field_stages[i].stage);
    ctl_table_add(&table, "(rest)");
    ctl_table_add(&table, "queue, copy_in, copy_out");
    ctl_table_add(&table, "-");
    ctl_table_add(&table, "-");
    add_us(&table, rest_mean(s));
    ctl_table_add(&table, "%.1f%%", 100.0 * share(rest_mean(s), s));
    add_stage(&table, s, "total", "total", TOTAL);
    return ctl_table_print(&table, out);
}
