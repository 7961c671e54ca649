/* lensctl packs | sessions | rules: lists that the daemon gives page by page. */
#include "client/lensctl/commands.h"
#include "client/lensctl/daemon_link.h"
#include "client/lensctl/rule_names.h"

#include <math.h>

/* One kind of list: how to ask for a page, how many rows it has, and what to do with each. */
struct list {
    enum lens_msg_type request, page;
    const char *json_key;
    const struct ctl_column *columns;
    unsigned n_columns;
    void (*extent)(const struct lens_msg *msg, uint32_t *count, uint32_t *total);
    void (*text)(struct ctl_table *table, const struct lens_msg *msg, uint32_t i);
    json_t *(*json)(const struct lens_msg *msg, uint32_t i);
    void (*ask)(const struct ctl *ctl,
                struct lens_msg *msg); /* fills the request of a list of one page; NULL = pages */
};

static int fetch_list(const struct ctl *ctl, struct lens_client *client, const struct list *list,
                      struct ctl_table *table, json_t *rows)
{
    struct lens_msg msg;
    uint32_t first = 0, count = 0, total = 0;
    do {
        ctl_request(&msg, list->request);
        if (list->ask != NULL)
            list->ask(ctl, &msg);
        else
            msg.u.page.first = first;
        int r = ctl_call(client, &msg, list->page);
        if (r != CTL_OK)
            return r;
        list->extent(&msg, &count, &total);
        for (uint32_t i = 0; i < count; i++) {
            list->text(table, &msg, i);
            json_array_append_new(rows, list->json(&msg, i));
        }
        first += count;
    } while (count > 0 && first < total);
    return CTL_OK;
}

static int run_list(const struct ctl *ctl, const struct list *list)
{
    struct lens_client *client;
    struct ctl_table table;
    json_t *object, *rows;
    int r = ctl_connect(ctl, &client);
    if (r != CTL_OK)
        return r;
    object = ctl_json_new();
    rows = json_array();
    json_object_set_new(object, list->json_key, rows);
    ctl_table_init(&table, list->columns, list->n_columns);
    r = fetch_list(ctl, client, list, &table, rows);
    lens_client_close(client);
    if (r == CTL_OK && ctl->json) {
        ctl_table_free(&table);
        return ctl_json_print(&ctl->out, object, false);
    }
    json_decref(object);
    if (r != CTL_OK)
        ctl_table_free(&table);
    else if (ctl_table_print(&table, &ctl->out) != 0)
        r = ctl_fail(CTL_FAILED, "out of memory");
    return r;
}

/* ---- packs ------------------------------------------------------------------------------------------------------ */

static void packs_extent(const struct lens_msg *msg, uint32_t *count, uint32_t *total)
{
    *count = msg->u.pack_page.count;
    *total = msg->u.pack_page.total;
}

/* What is pinned at run time. */
static void packs_pins(struct ctl_table *table, const struct lens_pack_row *row)
{
    if (row->pinned == 0)
        ctl_table_add(table, "-");
    else
        ctl_table_add(table, "%u: %.*s", row->pinned, (int)row->pins.length, row->pins.data);
}

static void packs_text(struct ctl_table *table, const struct lens_msg *msg, uint32_t i)
{
    const struct lens_pack_row *row = &msg->u.pack_page.rows[i];
    char size[32], slot[32];
    ctl_table_text(table, row->name);
    ctl_table_add(table, "%u", row->lenses);
    ctl_table_add(table, "%u", row->dim);
    ctl_table_text(table, row->model_id);
    ctl_table_add(table, "%.*s %.*s", (int)row->tap_layer.length, row->tap_layer.data, (int)row->tap_point.length,
                  row->tap_point.data);
    ctl_table_add(table, "%.*s/%.*s/%.*s", (int)row->dtype.length, row->dtype.data, (int)row->slab_dtype.length,
                  row->slab_dtype.data, (int)row->compute.length, row->compute.data);
    ctl_table_add(table, "%u/%u", row->resident, row->slots);
    ctl_table_add(table, "%u/%u", row->host_resident, row->host_slots);
    packs_pins(table, row);
    ctl_table_text(table, row->policy);
    ctl_table_add(table, "%s/%s", ctl_bytes_text(row->lens_bytes, size, sizeof size),
                  ctl_bytes_text(row->slot_bytes, slot, sizeof slot));
    ctl_table_add(table, "%u", row->sessions);
    ctl_table_add(table, "%u", row->generation);
    ctl_table_add(table, "%s", ctl_bytes_text(row->file_bytes, size, sizeof size));
    ctl_table_text(table, row->path);
}

static json_t *packs_json(const struct lens_msg *msg, uint32_t i)
{
    const struct lens_pack_row *row = &msg->u.pack_page.rows[i];
    json_t *object = json_object();
    ctl_json_set_text(object, "name", row->name);
    ctl_json_set_text(object, "path", row->path);
    ctl_json_set_text(object, "model_id", row->model_id);
    ctl_json_set_text(object, "tap_layer", row->tap_layer);
    ctl_json_set_text(object, "tap_point", row->tap_point);
    ctl_json_set_text(object, "dtype", row->dtype);
    ctl_json_set_text(object, "slab_dtype", row->slab_dtype);
    ctl_json_set_text(object, "compute", row->compute);
    ctl_json_set_count(object, "lenses", row->lenses);
    ctl_json_set_count(object, "dim", row->dim);
    ctl_json_set_count(object, "h1", row->h1);
    ctl_json_set_count(object, "h2", row->h2);
    ctl_json_set_count(object, "generation", row->generation);
    ctl_json_set_count(object, "sessions", row->sessions);
    ctl_json_set_count(object, "slots", row->slots);
    ctl_json_set_count(object, "resident", row->resident);
    ctl_json_set_count(object, "file_bytes", row->file_bytes);
    ctl_json_set_text(object, "policy", row->policy);
    ctl_json_set_count(object, "lens_bytes", row->lens_bytes);
    ctl_json_set_count(object, "slot_bytes", row->slot_bytes);
    ctl_json_set_count(object, "host_resident", row->host_resident);
    ctl_json_set_count(object, "host_slots", row->host_slots);
    ctl_json_set_count(object, "pinned", row->pinned);
    ctl_json_set_text(object, "pins", row->pins);
    return object;
}

int ctl_run_packs(struct ctl *ctl)
{
    static const struct ctl_column columns[] = {
        {"pack", false},      {"lenses", true},         {"dim", true},
        {"model", false},     {"tap", false},           {"file/slab/compute", false},
        {"slots", true},      {"host", true},           {"pinned", false},
        {"policy", false},    {"lens file/slot", true}, {"sessions", true},
        {"generation", true}, {"size", true},           {"path", false}};
    static const struct list list = {LENS_MSG_PACKS, LENS_MSG_PACK_PAGE, "packs",    columns, 15,
                                     packs_extent,   packs_text,         packs_json, NULL};
    return run_list(ctl, &list);
}

/* ---- sessions --------------------------------------------------------------------------------------------------- */

static void sessions_extent(const struct lens_msg *msg, uint32_t *count, uint32_t *total)
{
    *count = msg->u.session_page.count;
    *total = msg->u.session_page.total;
}

static void sessions_text(struct ctl_table *table, const struct lens_msg *msg, uint32_t i)
{
    const struct lens_session_row *row = &msg->u.session_page.rows[i];
    char text[32];
    ctl_table_add(table, "%u", row->session);
    ctl_table_text(table, row->label);
    ctl_table_add(table, "%u", row->pid);
    ctl_table_add(table, "%u", row->uid);
    ctl_table_text(table, row->pack);
    ctl_table_add(table, "%u", row->sequences);
    ctl_table_add(table, "%llu", (unsigned long long)row->rows);
    ctl_table_add(table, "%llu", (unsigned long long)row->dropped);
    ctl_table_add(table, "%s", ctl_latency_text(row->p50_ns, text, sizeof text));
    ctl_table_add(table, "%s", ctl_latency_text(row->p99_ns, text, sizeof text));
    ctl_table_add(table, "%s", ctl_bytes_text(row->memory_bytes, text, sizeof text));
    ctl_table_add(table, "%s", ctl_duration_text(row->age_ns, text, sizeof text));
}

static json_t *sessions_json(const struct lens_msg *msg, uint32_t i)
{
    const struct lens_session_row *row = &msg->u.session_page.rows[i];
    json_t *object = json_object();
    ctl_json_set_count(object, "session", row->session);
    ctl_json_set_text(object, "label", row->label);
    ctl_json_set_count(object, "pid", row->pid);
    ctl_json_set_count(object, "uid", row->uid);
    ctl_json_set_text(object, "pack", row->pack);
    ctl_json_set_count(object, "sequences", row->sequences);
    ctl_json_set_count(object, "rows", row->rows);
    ctl_json_set_count(object, "dropped", row->dropped);
    ctl_json_set_count(object, "memory_bytes", row->memory_bytes);
    ctl_json_set_count(object, "p50_ns", row->p50_ns);
    ctl_json_set_count(object, "p99_ns", row->p99_ns);
    ctl_json_set_count(object, "age_ns", row->age_ns);
    return object;
}

int ctl_run_sessions(struct ctl *ctl)
{
    static const struct ctl_column columns[] = {
        {"session", true}, {"label", false},  {"pid", true}, {"uid", true}, {"pack", false},  {"sequences", true},
        {"rows", true},    {"dropped", true}, {"p50", true}, {"p99", true}, {"memory", true}, {"age", true}};
    static const struct list list = {LENS_MSG_SESSIONS, LENS_MSG_SESSION_PAGE, "sessions",    columns, 12,
                                     sessions_extent,   sessions_text,         sessions_json, NULL};
    return run_list(ctl, &list);
}

/* ---- rules ------------------------------------------------------------------------------------------------------ */

static void rules_extent(const struct lens_msg *msg, uint32_t *count, uint32_t *total)
{
    *count = msg->u.rule_page.count;
    *total = msg->u.rule_page.total;
}

static void rules_text(struct ctl_table *table, const struct lens_msg *msg, uint32_t i)
{
    const struct lens_rule_row *row = &msg->u.rule_page.rows[i];
    ctl_table_text(table, row->name);
    ctl_table_add(table, "%s", verdict_action(row->action));
    ctl_table_add(table, "%llu", (unsigned long long)row->raised);
    ctl_table_text(table, row->text.length > 0 ? row->text : lens_text_of("not configured any more"));
}

static json_t *rules_json(const struct lens_msg *msg, uint32_t i)
{
    const struct lens_rule_row *row = &msg->u.rule_page.rows[i];
    json_t *object = json_object();
    ctl_json_set_text(object, "name", row->name);
    json_object_set_new(object, "action", json_string(verdict_action(row->action)));
    ctl_json_set_count(object, "raised", row->raised);
    json_object_set_new(object, "rule", row->text.length > 0 ? ctl_json_text(row->text) : json_null());
    ctl_json_set_count(object, "id", row->id);
    return object;
}

static void readings_ask(const struct ctl *ctl, struct lens_msg *msg)
{
    msg->u.rule_readings.session = (uint32_t)ctl_value(ctl, "--session")->number;
    msg->u.rule_readings.sequence = (uint64_t)ctl_value(ctl, "--sequence")->number;
}

static void readings_extent(const struct lens_msg *msg, uint32_t *count, uint32_t *total)
{
    *count = *total = msg->u.rule_reading_page.count;
}

static void add_reading(struct ctl_table *table, const char *format, float value)
{
    char text[32];
    snprintf(text, sizeof text, format, (double)value);
    ctl_table_add(table, "%s", isnan(value) ? "-" : text);
}

static void readings_text(struct ctl_table *table, const struct lens_msg *msg, uint32_t i)
{
    const struct lens_rule_reading_row *row = &msg->u.rule_reading_page.rows[i];
    ctl_table_text(table, row->name);
    ctl_table_add(table, "%s", verdict_action(row->action));
    ctl_table_add(table, "%s", row->raised ? "yes" : "no");
    add_reading(table, "%.3f", row->reading);
    add_reading(table, "%.3f", row->smoothed);
    add_reading(table, "%+.2f", row->deviation);
    add_reading(table, "%+.3f", row->trend);
}

static json_t *readings_json(const struct lens_msg *msg, uint32_t i)
{
    const struct lens_rule_reading_row *row = &msg->u.rule_reading_page.rows[i];
    json_t *object = json_object();
    ctl_json_set_text(object, "name", row->name);
    json_object_set_new(object, "action", json_string(verdict_action(row->action)));
    json_object_set_new(object, "raised", json_boolean(row->raised));
    json_object_set_new(object, "reading", ctl_json_number((double)row->reading));
    json_object_set_new(object, "smoothed", ctl_json_number((double)row->smoothed));
    json_object_set_new(object, "deviation", ctl_json_number((double)row->deviation));
    json_object_set_new(object, "trend", ctl_json_number((double)row->trend));
    ctl_json_set_count(object, "id", row->id);
    return object;
}

/* What a session's rules last read in one of its sequences. */
static int run_readings(const struct ctl *ctl)
{
    static const struct ctl_column columns[] = {{"name", false},   {"action", false},  {"raised", false},
                                                {"reading", true}, {"smoothed", true}, {"deviation", true},
                                                {"trend", true}};
    static const struct list list = {LENS_MSG_RULE_READINGS,
                                     LENS_MSG_RULE_READING_PAGE,
                                     "readings",
                                     columns,
                                     7,
                                     readings_extent,
                                     readings_text,
                                     readings_json,
                                     readings_ask};
    return run_list(ctl, &list);
}

int ctl_run_rules(struct ctl *ctl)
{
    static const struct ctl_column columns[] = {{"name", false}, {"action", false}, {"raised", true}, {"rule", false}};
    static const struct list list = {LENS_MSG_RULES, LENS_MSG_RULE_PAGE, "rules",    columns, 4,
                                     rules_extent,   rules_text,         rules_json, NULL};
    if (ctl_value(ctl, "--session")->set)
        return run_readings(ctl);
    if (ctl_value(ctl, "--sequence")->set)
        return ctl_fail(CTL_USAGE, "--sequence is one of a session: give --session, too");
    return run_list(ctl, &list);
}
