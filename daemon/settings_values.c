/* From the text of one setting to its value: parsing and bounds by type. Knows no setting by name. */
#include "daemon/settings.h"

#include "daemon/content.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

size_t lensd_setting_size(enum lensd_setting_type type)
{
    switch (type) {
    case LENSD_SETTING_BOOL:
        return sizeof(bool);
    case LENSD_SETTING_COUNT:
    case LENSD_SETTING_INTEGER:
        return sizeof(uint32_t);
    case LENSD_SETTING_NUMBER:
        return sizeof(float);
    case LENSD_SETTING_SIZE:
    case LENSD_SETTING_LAYERS:
        return sizeof(uint64_t);
    case LENSD_SETTING_CHOICE:
        return sizeof(int);
    case LENSD_SETTING_IDS:
        return sizeof(struct lensd_ids);
    case LENSD_SETTING_TEXT:
    case LENSD_SETTING_LIST:
        return sizeof(const char *);
    }
    return 0;
}

bool lensd_ids_have(const struct lensd_ids *list, uint32_t id)
{
    for (uint32_t i = 0; i < list->n; i++) {
        if (list->ids[i] == id)
            return true;
    }
    return list->any;
}

static int parse_bool(const char *text, bool *out, struct lens_error *err)
{
    static const char *const names[] = {"off", "on", "no", "yes", "false", "true", "0", "1"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcasecmp(names[i], text) == 0) {
            *out = i % 2 == 1;
            return 0;
        }
    }
    return lens_error_set(err, -EINVAL, "expected on or off, found \"%s\"", text);
}

/* Decimal integers alone: no spaces, no hex, no exponents. */
static int parse_integer(const struct lensd_setting *row, const char *text, long long *out, struct lens_error *err)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    bool digits = isdigit((unsigned char)text[0]) || (text[0] == '-' && isdigit((unsigned char)text[1]));
    if (!digits || *end != '\0')
        return lens_error_set(err, -EINVAL, "expected a whole number, found \"%s\"", text);
    if (errno == ERANGE || (double)value < row->min || (double)value > row->max)
        return lens_error_set(err, -EINVAL, "expected %.0f to %.0f, found %s", row->min, row->max, text);
    *out = value;
    return 0;
}

static int parse_number(const struct lensd_setting *row, const char *text, float *out, struct lens_error *err)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || isspace((unsigned char)text[0]) || !isfinite(value))
        return lens_error_set(err, -EINVAL, "expected a number, found \"%s\"", text);
    if (value < row->min || value > row->max)
        return lens_error_set(err, -EINVAL, "expected %g to %g, found %s", row->min, row->max, text);
    *out = (float)value;
    return 0;
}

static uint64_t size_unit(const char *suffix)
{
    static const char units[] = "KMGT";
    if (*suffix == '\0')
        return 1;
    const char *unit = strchr(units, toupper((unsigned char)*suffix));
    if (unit == NULL || (suffix[1] != '\0' && strcasecmp(suffix + 1, "iB") != 0))
        return 0;
    return UINT64_C(1) << (10 * (unit - units + 1));
}

static int parse_size(const struct lensd_setting *row, const char *text, uint64_t *out, struct lens_error *err)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    uint64_t unit = isdigit((unsigned char)text[0]) ? size_unit(end) : 0;
    if (unit == 0)
        return lens_error_set(err, -EINVAL, "expected a size in bytes such as 4096, 64K, 256M or 2G, found \"%s\"",
                              text);
    if (errno == ERANGE || value > UINT64_MAX / unit || (double)(value * unit) < row->min ||
        (double)(value * unit) > row->max)
        return lens_error_set(err, -EINVAL, "expected %.0f to %.0f bytes, found %s", row->min, row->max, text);
    *out = value * unit;
    return 0;
}

static int parse_choice(const struct lensd_setting *row, const char *text, int *out, struct lens_error *err)
{
    int index = lens_option_parse(row->choices, text);
    if (index >= 0) {
        *out = index;
        return 0;
    }
    char names[256];
    size_t used = 0;
    names[0] = '\0';
    for (int i = 0; row->choices[i] != NULL && used < sizeof names; i++) {
        int n = snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? ", " : "", row->choices[i]);
        used += n > 0 ? (size_t)n : 0;
    }
    return lens_error_set(err, -EINVAL, "expected one of %s, found \"%s\"", names, text);
}

static int parse_layers(const char *text, uint64_t *out, struct lens_error *err)
{
    if (lens_base_layers_parse(text, out) == 0)
        return 0;
    return lens_error_set(err, -EINVAL, "expected layers between 0 and 63 such as 0,1 (each once), found \"%s\"", text);
}

static uint32_t own_id(const struct lensd_setting *row)
{
    return row->offset == offsetof(struct lensd_settings, ipc.allow_gids) ? getegid() : geteuid();
}

/* One item of a list of ids: "self", "*" or a number. */
static int parse_id(const struct lensd_setting *row, const char *item, struct lensd_ids *out, struct lens_error *err)
{
    char *end = NULL;
    bool self = strcmp(item, "self") == 0;
    if (strcmp(item, "*") == 0) {
        out->any = true;
        return row->max > 0 ? 0 : lens_error_set(err, -EINVAL, "expected user ids, found \"*\": name each of them");
    }
    errno = 0;
    unsigned long long id = self ? own_id(row) : strtoull(item, &end, 10);
    bool number = end != NULL && isdigit((unsigned char)item[0]) && *end == '\0' && id < UINT32_MAX;
    if (!self && !number)
        return lens_error_set(err, -EINVAL, "expected numeric ids, self or *, found \"%s\"", item);
    if (out->n == LENSD_IDS_MAX)
        return lens_error_set(err, -EINVAL, "expected at most %u ids, found more", LENSD_IDS_MAX);
    out->ids[out->n++] = (uint32_t)id;
    return 0;
}

static int parse_ids(const struct lensd_setting *row, const char *text, struct lensd_ids *out, struct lens_error *err)
{
    struct lensd_ids list = {0};
    const char *p = text;
    while (*p != '\0') {
        char item[32];
        size_t length = strcspn(p, ",");
        if (length == 0 || length >= sizeof item)
            return lens_error_set(err, -EINVAL, "expected ids separated by commas, found \"%s\"", text);
        memcpy(item, p, length);
        item[length] = '\0';
        int r = parse_id(row, item, &list, err);
        if (r != 0)
            return r;
        p += length;
        if (*p == ',' && *++p == '\0')
            return lens_error_set(err, -EINVAL, "expected an id after the last comma, found \"%s\"", text);
    }
    *out = list;
    return 0;
}

int lensd_setting_parse(const struct lensd_setting *row, const char *text, void *out, struct lens_error *err)
{
    long long integer = 0;
    int r = 0;
    switch (row->type) {
    case LENSD_SETTING_BOOL:
        return parse_bool(text, out, err);
    case LENSD_SETTING_COUNT:
        r = parse_integer(row, text, &integer, err);
        if (r == 0)
            *(uint32_t *)out = (uint32_t)integer;
        return r;
    case LENSD_SETTING_INTEGER:
        r = parse_integer(row, text, &integer, err);
        if (r == 0)
            *(int32_t *)out = (int32_t)integer;
        return r;
    case LENSD_SETTING_NUMBER:
        return parse_number(row, text, out, err);
    case LENSD_SETTING_SIZE:
        return parse_size(row, text, out, err);
    case LENSD_SETTING_CHOICE:
        return parse_choice(row, text, out, err);
    case LENSD_SETTING_LAYERS:
        return parse_layers(text, out, err);
    case LENSD_SETTING_IDS:
        return parse_ids(row, text, out, err);
    case LENSD_SETTING_TEXT:
    case LENSD_SETTING_LIST:
        if ((double)strlen(text) > row->max)
            return lens_error_set(err, -EINVAL, "expected at most %.0f bytes, found %zu", row->max, strlen(text));
        return row->type == LENSD_SETTING_LIST ? lensd_list_check(text, err) : 0;
    }
    return lens_error_set(err, -EINVAL, "unknown type");
}
