/* lensctl config [GLOB]: every setting, where its value came from, and what of it waits. */
#include "client/lensctl/commands.h"
#include "client/lensctl/daemon_link.h"

#include <fnmatch.h>
#include <string.h>

#define VALUE_COLUMNS 32 /* of a value in a table on a terminal; the whole is below it, or in a pipe */

/* What is made of the rows that match. */
struct listing {
    const char *glob; /* NULL = all */
    bool terminal;
    struct ctl_table table;
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

static void add_text(struct ctl_table *table, const struct lens_setting_row *row, bool terminal)
{
    ctl_table_text(table, row->name);
    add_value(table, row->value, terminal);
    ctl_table_add(table, "%.*s%s%.*s", (int)row->origin.length, row->origin.data, row->place.length > 0 ? " " : "",
                  (int)row->place.length, row->place.data);
    ctl_table_text(table, row->fallback);
    ctl_table_text(table, row->applies);
    add_waits(table, row);
    if (!terminal)
        ctl_table_text(table, row->help);
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

int ctl_run_config(struct ctl *ctl)
{
    static const struct ctl_column columns[] = {{"setting", false},   {"value", false},  {"from", false},
                                                {"default", false},   {"reload", false}, {"waits", false},
                                                {"what it is", false}};
    struct listing listing = {.glob = ctl_argument(ctl, 0), .terminal = ctl->out.terminal, .rows = json_array()};
    struct lens_client *client;
    int r = ctl_connect(ctl, &client);
    if (r != CTL_OK) {
        json_decref(listing.rows);
        return r;
    }
    ctl_table_init(&listing.table, columns, listing.terminal ? 6 : 7);
    r = fetch(client, &listing);
    lens_client_close(client);
    json_t *object = ctl_json_new();
    json_object_set_new(object, "settings", listing.rows);
    if (r == CTL_OK && ctl->json) {
        ctl_table_free(&listing.table);
        return ctl_json_print(&ctl->out, object, false);
    }
    if (r != CTL_OK)
        ctl_table_free(&listing.table);
    else if (ctl_table_print(&listing.table, &ctl->out) != 0)
        r = ctl_fail(CTL_FAILED, "out of memory");
    else if (listing.terminal && listing.glob != NULL)
        print_details(&ctl->out, listing.rows);
    json_decref(object);
    return r;
}
