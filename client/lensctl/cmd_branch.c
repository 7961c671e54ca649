/* lensctl branch NAME: what the lenses of a concept and of all below it said last, as a tree. */
#include "client/lensctl/commands.h"
#include "client/lensctl/daemon_link.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX    264u /* a name of at most 255 bytes, ":255" and the terminator */
#define BAR_CELLS  20u
#define NO_READING UINT32_MAX

struct reading {
    struct lens_reading_row row; /* its key is not valid any more */
    char key[KEY_MAX];
    uint32_t parent, first_child, last_child, next; /* indices of readings, NO_READING = none */
};

struct branch {
    struct reading *readings; /* ids ascending */
    uint32_t count, capacity;
    uint32_t head; /* index of the concept that was asked for */
    uint32_t concept, generation;
    char pack[64];
};

/* ---- fetching --------------------------------------------------------------------------------------------------- */

static bool has_room(struct branch *branch, uint32_t more)
{
    if (branch->capacity - branch->count >= more)
        return true;
    uint32_t capacity = 2 * branch->capacity + more;
    struct reading *readings = realloc(branch->readings, capacity * sizeof *readings);
    if (readings == NULL)
        return false;
    branch->readings = readings;
    branch->capacity = capacity;
    return true;
}

static void copy(struct lens_text text, char *out, size_t size)
{
    snprintf(out, size, "%.*s", (int)text.length, text.data);
}

static int take_page(struct branch *branch, const struct lens_reading_page *page)
{
    if (branch->count > 0 && branch->generation != page->generation)
        return ctl_fail(CTL_FAILED, "the pack was swapped meanwhile: ask again");
    if (!has_room(branch, page->count))
        return ctl_fail(CTL_FAILED, "out of memory");
    branch->generation = page->generation;
    branch->concept = page->branch;
    copy(page->pack, branch->pack, sizeof branch->pack);
    for (uint32_t i = 0; i < page->count; i++) {
        struct reading *reading = &branch->readings[branch->count++];
        *reading = (struct reading){.row = page->rows[i],
                                    .parent = NO_READING,
                                    .first_child = NO_READING,
                                    .last_child = NO_READING,
                                    .next = NO_READING};
        copy(page->rows[i].key, reading->key, sizeof reading->key);
    }
    return CTL_OK;
}

static int fetch(struct lens_client *client, const char *pack, const char *concept, struct branch *branch)
{
    struct lens_msg msg;
    uint32_t first = 0, before;
    do {
        ctl_request(&msg, LENS_MSG_READINGS);
        msg.u.readings.pack = lens_text_of(pack != NULL ? pack : "");
        msg.u.readings.concept = lens_text_of(concept);
        msg.u.readings.first = before = first;
        int r = ctl_call(client, &msg, LENS_MSG_READING_PAGE);
        if (r == CTL_OK)
            r = take_page(branch, &msg.u.reading_page);
        if (r != CTL_OK)
            return r;
        first = msg.u.reading_page.next;
    } while (msg.u.reading_page.count == LENS_PAGE_ROWS && first > before);
    return CTL_OK;
}

/* ---- the tree --------------------------------------------------------------------------------------------------- */

static uint32_t find(const struct branch *branch, int64_t id)
{
    uint32_t from = 0, to = branch->count;
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        if (branch->readings[middle].row.id == id)
            return middle;
        if (branch->readings[middle].row.id < id)
            from = middle + 1;
        else
            to = middle;
    }
    return NO_READING;
}

/* False when the answer is no tree with that head. */
static bool make_tree(struct branch *branch)
{
    branch->head = find(branch, branch->concept);
    if (branch->head == NO_READING)
        return false;
    for (uint32_t i = 0; i < branch->count; i++) {
        struct reading *reading = &branch->readings[i];
        if (i == branch->head)
            continue;
        reading->parent = find(branch, reading->row.parent);
        if (reading->parent == NO_READING)
            return false;
        struct reading *parent = &branch->readings[reading->parent];
        if (parent->first_child == NO_READING)
            parent->first_child = i;
        else
            branch->readings[parent->last_child].next = i;
        parent->last_child = i;
    }
    return true;
}

/* The reading after `at`, depth first, or NO_READING; *depth follows. */
static uint32_t after(const struct branch *branch, uint32_t at, unsigned *depth)
{
    if (branch->readings[at].first_child != NO_READING) {
        (*depth)++;
        return branch->readings[at].first_child;
    }
    while (at != branch->head && branch->readings[at].next == NO_READING) {
        at = branch->readings[at].parent;
        (*depth)--;
    }
    return at == branch->head ? NO_READING : branch->readings[at].next;
}

/* ---- printing --------------------------------------------------------------------------------------------------- */

static double score_of(float logit)
{
    return 1.0 / (1.0 + exp(-(double)logit));
}

static void add_score(struct ctl_table *table, float logit)
{
    if (isnan(logit))
        ctl_table_add(table, "-");
    else
        ctl_table_add(table, "%.3f", score_of(logit));
}

static void add_bar(struct ctl_table *table, float logit)
{
    char bar[3 * BAR_CELLS + 1] = "";
    unsigned cells = isnan(logit) ? 0 : (unsigned)(score_of(logit) * BAR_CELLS + 0.5);
    for (unsigned i = 0; i < cells; i++)
        memcpy(bar + (size_t)3 * i, "\xe2\x96\x88", 4); /* a full block, and the terminator */
    ctl_table_add(table, "%s", bar);
}

static void add_row(struct ctl_table *table, const struct reading *reading, unsigned indent, bool bars)
{
    const struct lens_reading_row *row = &reading->row;
    char text[32];
    ctl_table_add(table, "%*s%s", (int)indent, "", reading->key);
    add_score(table, row->last_logit);
    if (bars)
        add_bar(table, row->last_logit);
    add_score(table, row->peak_logit);
    ctl_table_add(table, "%s", row->rows > 0 ? ctl_duration_text(row->age_ns, text, sizeof text) : "-");
    ctl_table_add(table, "%llu", (unsigned long long)row->rows);
    ctl_table_add(table, "%llu", (unsigned long long)row->hits);
    ctl_table_add(table, "%s%s", row->resident ? "slot" : "-", row->pinned ? " pinned" : "");
}

static int print_text(const struct ctl *ctl, const struct branch *branch)
{
    static const struct ctl_column with_bars[] = {{"concept", false}, {"last", true}, {"", false},    {"peak", true},
                                                  {"ago", true},      {"rows", true}, {"hits", true}, {"where", false}};
    static const struct ctl_column plain[] = {{"concept", false}, {"last", true}, {"peak", true},  {"ago", true},
                                              {"rows", true},     {"hits", true}, {"where", false}};
    bool terminal = ctl->out.terminal;
    struct ctl_table table;
    ctl_table_init(&table, terminal ? with_bars : plain, terminal ? 8 : 7);
    unsigned depth = 0;
    for (uint32_t at = branch->head; at != NO_READING; at = after(branch, at, &depth))
        add_row(&table, &branch->readings[at], terminal ? 2 * depth : 0, terminal);
    return ctl_table_print(&table, &ctl->out) == 0 ? CTL_OK : ctl_fail(CTL_FAILED, "out of memory");
}

/* A logit and its raw score; null where there is none. */
static void set_score(json_t *object, const char *score, const char *logit, float value)
{
    json_object_set_new(object, score, isnan(value) ? json_null() : ctl_json_number(score_of(value)));
    json_object_set_new(object, logit, ctl_json_number((double)value));
}

static json_t *reading_json(const struct branch *branch, const struct reading *reading)
{
    const struct lens_reading_row *row = &reading->row;
    json_t *object = json_object();
    bool has_parent = reading->parent != NO_READING;
    ctl_json_set_text(object, "concept", lens_text_of(reading->key));
    ctl_json_set_count(object, "id", row->id);
    json_object_set_new(object, "parent",
                        has_parent ? ctl_json_text(lens_text_of(branch->readings[reading->parent].key)) : json_null());
    ctl_json_set_count(object, "layer", row->layer);
    set_score(object, "last_score", "last_logit", row->last_logit);
    set_score(object, "peak_score", "peak_logit", row->peak_logit);
    json_object_set_new(object, "age_s", row->rows > 0 ? json_real((double)row->age_ns / 1e9) : json_null());
    ctl_json_set_count(object, "rows", row->rows);
    ctl_json_set_count(object, "hits", row->hits);
    json_object_set_new(object, "resident", json_boolean(row->resident));
    json_object_set_new(object, "pinned", json_boolean(row->pinned));
    return object;
}

static int print_json(const struct ctl *ctl, const struct branch *branch)
{
    json_t *object = ctl_json_new(), *list = json_array();
    ctl_json_set_text(object, "pack", lens_text_of(branch->pack));
    ctl_json_set_count(object, "generation", branch->generation);
    unsigned depth = 0;
    for (uint32_t at = branch->head; at != NO_READING; at = after(branch, at, &depth))
        json_array_append_new(list, reading_json(branch, &branch->readings[at]));
    json_object_set_new(object, "concepts", list);
    return ctl_json_print(&ctl->out, object, false);
}

int ctl_run_branch(struct ctl *ctl)
{
    struct lens_client *client;
    struct branch branch = {0};
    int r = ctl_connect(ctl, &client);
    if (r != CTL_OK)
        return r;
    r = fetch(client, ctl_value(ctl, "--pack")->text, ctl_argument(ctl, 0), &branch);
    lens_client_close(client);
    if (r == CTL_OK && !make_tree(&branch))
        r = ctl_fail(CTL_FAILED, "the daemon's answer is no branch: are lensctl and lensd of one version?");
    if (r == CTL_OK)
        r = ctl->json ? print_json(ctl, &branch) : print_text(ctl, &branch);
    free(branch.readings);
    return r;
}
