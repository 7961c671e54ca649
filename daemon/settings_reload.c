/* What a reload does to the settings in force. See settings.h. */
#include "daemon/settings.h"

#include "daemon/sys.h"

#include <stdio.h>
#include <string.h>

#define SHOWN_VALUE 40 /* bytes of a value that the sentence shows */

const char *lensd_setting_applies_name(enum lensd_setting_applies applies)
{
    static const char *const names[] = {"restart", "at once", "new sessions", "new packs"};
    return (unsigned)applies < sizeof names / sizeof names[0] ? names[applies] : "?";
}

/* ---- the sentence ----------------------------------------------------------------------------------------------- */

/* A line that grows as far as it has room; what doesn't fit is only counted. */
struct sentence {
    char *text;
    size_t size, used;
    uint32_t left_out;
};

static const char *shown(const char *value, char out[SHOWN_VALUE + 4])
{
    int length = (int)strlen(value);
    if (length == 0)
        return "empty";
    snprintf(out, SHOWN_VALUE + 4, "%.*s%s", SHOWN_VALUE, value, length > SHOWN_VALUE ? ".." : "");
    return out;
}

/* Leaves room for "; and N more". */
static void add_change(struct sentence *s, const char *before, const struct lensd_setting *row, const char *from,
                       const char *to)
{
    char old[SHOWN_VALUE + 4], new[SHOWN_VALUE + 4], change[256];
    const char *reach = row->applies > LENSD_APPLIES_NOW ? lensd_setting_applies_name(row->applies) : "";
    int n = snprintf(change, sizeof change, "%s%s %s -> %s%s%s%s", before, row->key, shown(from, old), shown(to, new),
                     reach[0] != '\0' ? " (" : "", reach, reach[0] != '\0' ? ")" : "");
    if (n < 0 || s->used + (size_t)n + 24 > s->size) {
        s->left_out++;
        return;
    }
    memcpy(s->text + s->used, change, (size_t)n + 1);
    s->used += (size_t)n;
}

/* ---- the change ------------------------------------------------------------------------------------------------- */

/* The row's value, text and origin go over. The text of a TEXT or LIST is its value, too. */
static void take_row(struct lensd_settings *settings, struct lensd_settings *from, uint32_t row)
{
    const struct lensd_setting *setting = &lensd_settings_table[row];
    memcpy((char *)settings + setting->offset, (const char *)from + setting->offset, lensd_setting_size(setting->type));
    lensd_free(settings->text[row]);
    lensd_free(settings->pending[row]);
    settings->text[row] = from->text[row];
    settings->pending[row] = NULL;
    settings->origin[row] = from->origin[row];
    settings->line[row] = from->line[row];
    from->text[row] = NULL;
}

/* The value in force is no longer what the file says on that line. */
static void wait_for_restart(struct lensd_settings *settings, struct lensd_settings *from, uint32_t row)
{
    lensd_free(settings->pending[row]);
    settings->pending[row] = from->text[row];
    settings->line[row] = 0;
    from->text[row] = NULL;
}

static bool differs(const struct lensd_settings *settings, const struct lensd_settings *from, uint32_t row)
{
    return strcmp(settings->text[row], from->text[row]) != 0;
}

/* Before anything is taken: what changes at once, then what has to wait. */
static uint32_t describe(const struct lensd_settings *settings, const struct lensd_settings *from, struct sentence *s)
{
    uint32_t waiting = 0;
    for (uint32_t row = 0; row < lensd_settings_count; row++) {
        const struct lensd_setting *setting = &lensd_settings_table[row];
        if (setting->applies != LENSD_APPLIES_RESTART && differs(settings, from, row))
            add_change(s, s->used > 0 ? ", " : "", setting, settings->text[row], from->text[row]);
    }
    for (uint32_t row = 0; row < lensd_settings_count; row++) {
        const struct lensd_setting *setting = &lensd_settings_table[row];
        const char *before = s->used > 0 ? "; needs a restart: " : "needs a restart: ";
        if (setting->applies != LENSD_APPLIES_RESTART || !differs(settings, from, row))
            continue;
        add_change(s, waiting > 0 ? ", " : before, setting, settings->text[row], from->text[row]);
        waiting++;
    }
    if (s->left_out > 0)
        snprintf(s->text + s->used, s->size - s->used, "; and %u more", s->left_out);
    return waiting;
}

uint32_t lensd_settings_take_live(struct lensd_settings *settings, struct lensd_settings *from, uint32_t generation,
                                  char *out, size_t size)
{
    struct sentence sentence = {.text = out, .size = size};
    out[0] = '\0';
    uint32_t waiting = describe(settings, from, &sentence);
    settings->file = from->file;
    for (uint32_t row = 0; row < lensd_settings_count; row++) {
        enum lensd_setting_applies applies = lensd_settings_table[row].applies;
        bool change = differs(settings, from, row);
        if (change && applies == LENSD_APPLIES_RESTART) {
            wait_for_restart(settings, from, row);
            continue;
        }
        if (change && applies == LENSD_APPLIES_PACKS)
            settings->older[row] = generation;
        take_row(settings, from, row);
    }
    return waiting;
}
