/* The settings table as text for people: --help, and the tables of the man page lensd.conf(5). See settings.h. */
#include "daemon/man_text.h"
#include "daemon/settings.h"

#include <stdio.h>
#include <string.h>

#define KEY_MAX    64u
#define HELP_WIDTH 100u

/* Where the lines go. */
struct printer {
    void (*print)(void *arg, const char *line);
    void *arg;
};

static const char *shown_default(const struct lensd_setting *row)
{
    return row->fallback[0] != '\0' ? row->fallback : "empty";
}

static void print_bounds(const struct lensd_setting *row, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    if (row->type == LENSD_SETTING_COUNT || row->type == LENSD_SETTING_INTEGER || row->type == LENSD_SETTING_NUMBER)
        snprintf(out, size, "%.10g..%.10g", row->min, row->max);
    for (int i = 0; row->type == LENSD_SETTING_CHOICE && row->choices[i] != NULL && used < size; i++) {
        int n = snprintf(out + used, size - used, "%s%s", i > 0 ? "|" : "", row->choices[i]);
        used += n > 0 ? (size_t)n : 0;
    }
}

void lensd_setting_flag(const struct lensd_setting *row, char *out, size_t size)
{
    size_t i = 0;
    for (; i + 1 < size && row->key[i] != '\0'; i++)
        out[i] = row->key[i] == '.' || row->key[i] == '_' ? '-' : row->key[i];
    out[i] = '\0';
}

/* What a reload does, as the rest of a sentence. */
static const char *reload_text(const struct lensd_setting *row)
{
    static const char *const texts[] = {
        [LENSD_APPLIES_RESTART] = "change needs a restart",
        [LENSD_APPLIES_NOW] = "reload changes it",
        [LENSD_APPLIES_SESSIONS] = "reload changes it for new sessions",
        [LENSD_APPLIES_PACKS] = "reload changes it for packs that are loaded or swapped from then on",
    };
    return texts[row->applies];
}

/* ---- --help ----------------------------------------------------------------------------------------------------- */

/* Words of `text` on lines of HELP_WIDTH, each indented by six. */
static void print_wrapped(const struct printer *to, const char *text)
{
    while (*text != '\0') {
        char line[HELP_WIDTH + 16];
        size_t length = strlen(text);
        if (length > HELP_WIDTH) {
            length = HELP_WIDTH;
            while (length > 1 && text[length] != ' ')
                length--;
        }
        snprintf(line, sizeof line, "      %.*s\n", (int)length, text);
        to->print(to->arg, line);
        text += length;
        text += *text == ' ';
    }
}

void lensd_settings_print_help(void (*print)(void *arg, const char *line), void *arg)
{
    const struct printer to = {print, arg};
    for (uint32_t i = 0; i < lensd_settings_count; i++) {
        const struct lensd_setting *row = &lensd_settings_table[i];
        char flag[KEY_MAX], bounds[256], line[1024];
        lensd_setting_flag(row, flag, sizeof flag);
        print_bounds(row, bounds, sizeof bounds);
        snprintf(line, sizeof line, "  --%s %s\n", flag, row->value_name);
        print(arg, line);
        snprintf(line, sizeof line, "%s (default %s%s%s; a %s)", row->help, shown_default(row),
                 bounds[0] != '\0' ? ", " : "", bounds, reload_text(row));
        print_wrapped(&to, line);
    }
}

/* ---- the man page ----------------------------------------------------------------------------------------------- */

static void print_row(const struct printer *to, const struct lensd_setting *row)
{
    char line[1024], bounds[256], name[KEY_MAX];
    const char *dot = strchr(row->key, '.');
    lensd_man_escape(row->value_name, bounds, sizeof bounds);
    snprintf(line, sizeof line, ".It Ic %s No = Ar %s\n", dot + 1, bounds);
    to->print(to->arg, line);
    lensd_man_sentences(row->help, to->print, to->arg);
    print_bounds(row, bounds, sizeof bounds);
    lensd_man_escape(shown_default(row), name, sizeof name);
    snprintf(line, sizeof line, "Default: %s%s%s.\n", name, bounds[0] != '\0' ? "; one of " : "", bounds);
    if (row->type != LENSD_SETTING_CHOICE && bounds[0] != '\0')
        snprintf(line, sizeof line, "Default: %s; bounds %s.\n", name, bounds);
    to->print(to->arg, line);
    snprintf(line, sizeof line, "A %s.\n", reload_text(row));
    to->print(to->arg, line);
}

void lensd_settings_print_man(void (*print)(void *arg, const char *line), void *arg)
{
    const struct printer to = {print, arg};
    const char *before = "";
    size_t last = 0;
    for (uint32_t i = 0; i < lensd_settings_count; i++) {
        const struct lensd_setting *row = &lensd_settings_table[i];
        size_t length = strcspn(row->key, ".");
        if (length != last || strncmp(row->key, before, length) != 0) {
            char line[KEY_MAX + 64];
            snprintf(line, sizeof line, "%s.Ss Section [%.*s]\n.Bl -tag -width Ds\n", i > 0 ? ".El\n" : "", (int)length,
                     row->key);
            print(arg, line);
        }
        print_row(&to, row);
        before = row->key;
        last = length;
    }
    print(arg, ".El\n");
}
