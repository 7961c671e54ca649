/* Settings as a whole: defaults, environment, precedence, names, reload, and the page for `lensctl config`. Values and
 * their bounds are settings_values.c's, the rows settings_table.c's, the file settings_file.c's, what holds between
 * settings settings_check.c's, --help and the man page settings_print.c's. */
#include "daemon/settings.h"

#include "daemon/sys.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define KEY_MAX 64u

const char *lensd_origin_name(enum lensd_origin origin)
{
    static const char *const names[] = {"default", "file", "environment", "flag"};
    return (unsigned)origin < sizeof names / sizeof names[0] ? names[origin] : "?";
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

/* '.', '-' and '_' are the same inside a name: the flag's dashes and the key's dot and underscores meet here. */
static char folded(char c)
{
    if (c == '-' || c == '.')
        return '_';
    return (char)tolower((unsigned char)c);
}

int lensd_setting_find(const char *name, size_t length)
{
    for (uint32_t row = 0; row < lensd_settings_count; row++) {
        const char *key = lensd_settings_table[row].key;
        size_t i = 0;
        while (i < length && key[i] != '\0' && folded(name[i]) == folded(key[i]))
            i++;
        if (i == length && key[i] == '\0')
            return (int)row;
    }
    return -1;
}

/* Levenshtein's distance between folded names of at most KEY_MAX bytes. */
static unsigned distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    unsigned row[KEY_MAX + 1];
    for (unsigned j = 0; j <= b_length; j++)
        row[j] = j;
    for (size_t i = 0; i < a_length; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i + 1;
        for (size_t j = 0; j < b_length; j++) {
            unsigned swap = diagonal + (folded(a[i]) != folded(b[j]));
            diagonal = row[j + 1];
            unsigned other = (diagonal < row[j] ? diagonal : row[j]) + 1;
            row[j + 1] = swap < other ? swap : other;
        }
    }
    return row[b_length];
}

const char *lensd_setting_nearest(const char *name, size_t length)
{
    const char *nearest = NULL;
    unsigned best = (unsigned)length / 2 + 1;
    if (length > KEY_MAX)
        return NULL;
    for (uint32_t row = 0; row < lensd_settings_count; row++) {
        const char *key = lensd_settings_table[row].key;
        unsigned d = distance(name, length, key, strlen(key));
        if (d < best) {
            best = d;
            nearest = key;
        }
    }
    return nearest;
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

/* Room for a value of any type. */
union any_value {
    bool boolean;
    uint64_t bits;
    int choice;
    struct lensd_ids ids;
    const char *text;
};

static char *copy_text(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = lensd_calloc(1, size);
    return copy != NULL ? memcpy(copy, text, size) : NULL;
}

static bool is_text(const struct lensd_setting *setting)
{
    return setting->type == LENSD_SETTING_TEXT || setting->type == LENSD_SETTING_LIST;
}

static void store(struct lensd_settings *settings, uint32_t row, const union any_value *value, char *text,
                  enum lensd_origin origin)
{
    const struct lensd_setting *setting = &lensd_settings_table[row];
    const void *from = is_text(setting) ? (const void *)&text : (const void *)value;
    memcpy((char *)settings + setting->offset, from, lensd_setting_size(setting->type));
    lensd_free(settings->text[row]);
    settings->text[row] = text;
    settings->origin[row] = origin;
    settings->line[row] = 0;
}

int lensd_settings_set(struct lensd_settings *settings, uint32_t row, const char *text, enum lensd_origin origin,
                       struct lens_error *err)
{
    const struct lensd_setting *setting = &lensd_settings_table[row];
    union any_value value = {0};
    int r = lensd_setting_parse(setting, text, &value, err);
    if (r == 0 && setting->check != NULL)
        r = setting->check(text, err);
    if (r != 0) {
        lens_error_prefix(err, "%s", setting->key);
        return r;
    }
    if (settings->text[row] != NULL && settings->origin[row] > origin)
        return 0;
    char *copy = copy_text(text);
    if (copy == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for %s", setting->key);
    store(settings, row, &value, copy, origin);
    return 0;
}

int lensd_settings_init(struct lensd_settings *settings, struct lens_error *err)
{
    memset(settings, 0, sizeof *settings);
    for (uint32_t row = 0; row < lensd_settings_count; row++) {
        int r = lensd_settings_set(settings, row, lensd_settings_table[row].fallback, LENSD_ORIGIN_DEFAULT, err);
        if (r != 0) {
            lensd_settings_free(settings);
            return r;
        }
    }
    return 0;
}

void lensd_settings_free(struct lensd_settings *settings)
{
    for (uint32_t row = 0; row < LENSD_SETTINGS_MAX; row++) {
        lensd_free(settings->text[row]);
        lensd_free(settings->pending[row]);
        settings->text[row] = settings->pending[row] = NULL;
    }
}

/* ---- environment ------------------------------------------------------------------------------------------------ */

/* True for LENSD_SECTION_.. of a section that exists: other LENSD_ variables belong to somebody else. */
static bool names_a_section(const char *name, size_t length)
{
    for (uint32_t row = 0; row < lensd_settings_count; row++) {
        size_t section = strcspn(lensd_settings_table[row].key, ".");
        if (length > section && name[section] == '_' && strncasecmp(name, lensd_settings_table[row].key, section) == 0)
            return true;
    }
    return false;
}

static int read_variable(struct lensd_settings *settings, const char *name, size_t length, const char *value,
                         struct lens_error *err)
{
    int row = lensd_setting_find(name, length);
    if (row < 0 && !names_a_section(name, length))
        return 0;
    if (row < 0) {
        const char *nearest = lensd_setting_nearest(name, length);
        return lens_error_set(err, -EINVAL, "no setting has the variable LENSD_%.*s%s%s%s", (int)length, name,
                              nearest != NULL ? " (the nearest setting is " : "", nearest != NULL ? nearest : "",
                              nearest != NULL ? ")" : "");
    }
    int r = lensd_settings_set(settings, (uint32_t)row, value, LENSD_ORIGIN_ENVIRONMENT, err);
    if (r != 0)
        lens_error_prefix(err, "environment variable LENSD_%.*s", (int)length, name);
    return r;
}

int lensd_settings_read_environment(struct lensd_settings *settings, char *const *environment, struct lens_error *err)
{
    static const char prefix[] = "LENSD_";
    for (; *environment != NULL; environment++) {
        const char *name = *environment + sizeof prefix - 1;
        const char *equals = strchr(*environment, '=');
        if (equals == NULL || equals <= name || strncmp(*environment, prefix, sizeof prefix - 1) != 0)
            continue;
        int r = read_variable(settings, name, (size_t)(equals - name), equals + 1, err);
        if (r != 0)
            return r;
    }
    return 0;
}

/* ---- the page ---------------------------------------------------------------------------------------------------- */

#define PAGE_BYTES 28000u /* of LENS_ANSWER_MAX: texts and what the encoding adds */
#define ROW_BYTES  160u   /* that a row takes beside its texts */

/* Where a value came from, in `space`: "/etc/lensd/lensd.conf:12", "LENSD_POOL_SLOTS", "--pool-slots"; "" = default.
 * Returns the bytes it takes there. */
static size_t write_place(const struct lensd_settings *settings, uint32_t row, char *space, size_t size)
{
    char name[KEY_MAX];
    int n = 0;
    lensd_setting_flag(&lensd_settings_table[row], name, sizeof name);
    space[0] = '\0';
    switch (settings->origin[row]) {
    case LENSD_ORIGIN_DEFAULT:
        break;
    case LENSD_ORIGIN_FILE:
        if (settings->line[row] != 0)
            n = snprintf(space, size, "%s:%u", settings->file, settings->line[row]);
        break;
    case LENSD_ORIGIN_ENVIRONMENT:
        n = snprintf(space, size, "LENSD_%s", name);
        for (char *c = space; *c != '\0'; c++)
            *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
        break;
    case LENSD_ORIGIN_FLAG:
        n = snprintf(space, size, "--%s", name);
        break;
    }
    return n > 0 ? (size_t)n + 1 : 1;
}

static size_t row_bytes(const struct lens_setting_row *row)
{
    return (size_t)row->name.length + row->value.length + row->origin.length + row->help.length + row->place.length +
           row->fallback.length + row->applies.length + row->pending.length + ROW_BYTES;
}

void lensd_settings_page(const struct lensd_settings *settings, uint32_t first, char *space,
                         struct lens_setting_page *out)
{
    size_t used = 0, bytes = 0;
    out->first = first;
    out->total = lensd_settings_count;
    out->count = 0;
    for (uint32_t i = first; i < lensd_settings_count && out->count < LENS_PAGE_ROWS; i++) {
        const struct lensd_setting *row = &lensd_settings_table[i];
        char *place = space + used;
        used += write_place(settings, i, place, LENSD_SETTING_SPACE - used);
        if (used > LENSD_SETTING_SPACE)
            return;
        const struct lens_setting_row shown = {
            .name = lens_text_of(row->key),
            .value = lens_text_of(settings->text[i]),
            .origin = lens_text_of(lensd_origin_name(settings->origin[i])),
            .help = lens_text_of(row->help),
            .live = row->applies != LENSD_APPLIES_RESTART,
            .place = lens_text_of(place),
            .fallback = lens_text_of(row->fallback),
            .applies = lens_text_of(lensd_setting_applies_name(row->applies)),
            .pending = lens_text_of(settings->pending[i] != NULL ? settings->pending[i] : ""),
            .waits = settings->pending[i] != NULL,
            .older_packs = settings->older[i],
        };
        bytes += row_bytes(&shown);
        if (bytes > PAGE_BYTES && out->count > 0)
            return;
        out->rows[out->count++] = shown;
    }
}
