/* lensctl config [GLOB]: every setting, where its value came from, and what of it waits. On a terminal that is too
 * narrow for all of that in a line, the table has what each setting is, and a second one what isn't the default. */
#include "client/lensctl/commands.h"
#include "client/lensctl/daemon_link.h"

#include <fnmatch.h>
#include <string.h>

#define VALUE_COLUMNS 32 /* of a value in a table on a terminal; the whole is below it, or in a pipe */

/* What is made of the rows that match. */
struct listing {
    const char *glob; /* NULL = all */
    bool terminal;
    struct ctl_table table, brief, changed;
    json_t *rows;
    uint32_t found;
};

static bool matches(const struct listing *listing, struct lens_text name)
{
    char key[64];
    if (listing->glob == NULL)
        return true;
    if (name.length >= sizeof key)
        return false;
    memcpy(key, name.data, name.length);
    key[name.length] = '\0';
    return fnmatch(listing->glob, key, 0) == 0;
}

static void add_waits(struct ctl_table *table, const struct lens_setting_row *row)
{
    if (row->waits)
        ctl_table_add(table, "%.*s after a restart", (int)row->pending.length, row->pending.data);
    else if (row->older_packs > 0)
        ctl_table_add(table, "%u loaded pack%s older", row->older_packs, row->older_packs == 1 ? " is" : "s are");
    else
        ctl_table_add(table, "-");
}

static void add_value(struct ctl_table *table, struct lens_text value, bool cut)
{
    if (!cut || value.length <= VALUE_COLUMNS)
        ctl_table_text(table, value);
    else
        ctl_table_add(table, "%.*s..", VALUE_COLUMNS - 2, value.data);
}

static void add_origin(struct ctl_table *table, const struct lens_setting_row *row)
{
    ctl_table_add(table, "%.*s%s%.*s", (int)row->origin.length, row->origin.data, row->place.length > 0 ? " " : "",
                  (int)row->place.length, row->place.data);
}

static void add_text(struct ctl_table *table, const struct lens_setting_row *row, bool terminal)
{
    ctl_table_text(table, row->name);
    add_value(table, row->value, terminal);
    add_origin(table, row);
    ctl_table_text(table, row->fallback);
    ctl_table_text(table, row->applies);
    add_waits(table, row);
    if (!terminal)
        ctl_table_text(table, row->help);
}

static void add_brief(struct listing *listing, const struct lens_setting_row *row)
{
    static const char by_default[] = "default";
    bool other =
        row->origin.length != strlen(by_default) || memcmp(row->origin.data, by_default, row->origin.length) != 0;
    ctl_table_text(&listing->brief, row->name);
    add_value(&listing->brief, row->value, true);
    ctl_table_text(&listing->brief, row->applies);
    if (!other && !row->waits && row->older_packs == 0)
        return;
    ctl_table_text(&listing->changed, row->name);
    add_origin(&listing->changed, row);
    ctl_table_text(&listing->changed, row->fallback);
    add_waits(&listing->changed, row);
}

static json_t *row_json(const struct lens_setting_row *row)
{
    json_t *object = json_object();
    ctl_json_set_text(object, "name", row->name);
    ctl_json_set_text(object, "value", row->value);
    ctl_json_set_text(object, "origin", row->origin);
    ctl_json_set_text(object, "place", row->place);
    ctl_json_set_text(object, "default", row->fallback);
    json_object_set_new(object, "live", json_boolean(row->live));
    ctl_json_set_text(object, "applies", row->applies);
    json_object_set_new(object, "pending", row->waits ? ctl_json_text(row->pending) : json_null());
    ctl_json_set_count(object, "older_packs", row->older_packs);
    ctl_json_set_text(object, "help", row->help);
    return object;
}

static void take_row(void *arg, const struct lens_setting_row *row)
{
    struct listing *listing = arg;
    if (!matches(listing, row->name))
        return;
    listing->found++;
    add_text(&listing->table, row, listing->terminal);
    add_brief(listing, row);
    json_array_append_new(listing->rows, row_json(row));
}

static int fetch(struct lens_client *client, struct listing *listing)
{
    int r = ctl_each_setting(client, take_row, listing);
    if (r != CTL_OK)
        return r;
    if (listing->found == 0 && listing->glob != NULL)
        return ctl_fail(CTL_FAILED,
                        "expected a pattern of setting names such as 'cache.*', found \"%s\", which matches "
                        "none: lensctl config lists all",
                        listing->glob);
    return CTL_OK;
}

/* On a terminal, for what was asked for by name: values that the table cut, and what the settings are. */
static void print_details(const struct ctl_output *out, const json_t *rows)
{
    size_t i;
    const json_t *row;
    json_array_foreach(rows, i, row)
    {
        const char *texts[] = {json_string_value(json_object_get(row, "value")),
                               json_string_value(json_object_get(row, "help"))};
        fprintf(out->file, "\n%s%s%s\n", ctl_style(out, CTL_BOLD), json_string_value(json_object_get(row, "name")),
                ctl_style(out, CTL_PLAIN));
        for (size_t t = 0; t < 2; t++) {
            char text[20000];
            if (texts[t] == NULL || (t == 0 && strlen(texts[t]) <= VALUE_COLUMNS))
                continue;
            fputs("  ", out->file);
            (void)ctl_print_wrapped(out, ctl_printable(texts[t], strlen(texts[t]), text, sizeof text), 2);
            fputc('\n', out->file);
        }
    }
}

static void init_tables(struct listing *listing)
{
    static const struct ctl_column columns[] = {{"setting", false},   {"value", false},  {"from", false},
                                                {"default", false},   {"reload", false}, {"waits", false},
                                                {"what it is", false}};
    static const struct ctl_column brief[] = {{"setting", false}, {"value", false}, {"reload", false}};
    static const struct ctl_column changed[] = {
        {"not the default", false}, {"from", false}, {"default", false}, {"waits", false}};
    ctl_table_init(&listing->table, columns, listing->terminal ? 6 : 7);
    ctl_table_init(&listing->brief, brief, 3);
    ctl_table_init(&listing->changed, changed, 4);
}

static void free_tables(struct listing *listing)
{
    ctl_table_free(&listing->table);
    ctl_table_free(&listing->brief);
    ctl_table_free(&listing->changed);
}

static int print_tables(const struct ctl_output *out, struct listing *listing)
{
    if (ctl_table_fits(&listing->table, out))
        return ctl_table_print(&listing->table, out);
    int r = ctl_table_print(&listing->brief, out);
    if (r != 0 || listing->changed.n_cells == 0)
        return r;
    fputc('\n', out->file);
    return ctl_table_print(&listing->changed, out);
}

int ctl_run_config(struct ctl *ctl)
{
    struct listing listing = {.glob = ctl_argument(ctl, 0), .terminal = ctl->out.terminal, .rows = json_array()};
    struct lens_client *client;
    json_t *object = ctl_json_new();
    json_object_set_new(object, "settings", listing.rows);
    int r = ctl_connect(ctl, &client);
    if (r != CTL_OK) {
        json_decref(object);
        return r;
    }
    init_tables(&listing);
    r = fetch(client, &listing);
    lens_client_close(client);
    if (r == CTL_OK && ctl->json)
        r = ctl_json_print(&ctl->out, json_incref(object), false);
    else if (r == CTL_OK && print_tables(&ctl->out, &listing) != 0)
        r = ctl_fail(CTL_FAILED, "out of memory");
    else if (r == CTL_OK && listing.terminal && listing.glob != NULL)
        print_details(&ctl->out, listing.rows);
    free_tables(&listing);
    json_decref(object);
    return r;
}
