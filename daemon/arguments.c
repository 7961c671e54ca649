/* See arguments.h. */
#include "daemon/arguments.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One flag being read: its name without dashes, its value after '=' or in the next word. */
struct cursor {
    char *const *argv;
    int argc, at;
    const char *name;
    size_t length;
    const char *value; /* after '=', or NULL */
};

static bool is(const struct cursor *c, const char *name)
{
    return strlen(name) == c->length && strncmp(c->name, name, c->length) == 0;
}

static int take_value(struct cursor *c, const char **out, struct lens_error *err)
{
    if (c->value == NULL && c->at + 1 < c->argc)
        c->value = c->argv[++c->at];
    if (c->value == NULL)
        return lens_error_set(err, -EINVAL, "--%.*s needs a value", (int)c->length, c->name);
    *out = c->value;
    return 0;
}

static int add_pack(struct lensd_arguments *out, struct cursor *c, struct lens_error *err)
{
    if (out->n_packs == LENSD_PACKS_MAX)
        return lens_error_set(err, -EINVAL, "at most %u packs can be served", LENSD_PACKS_MAX);
    return take_value(c, &out->packs[out->n_packs++], err);
}

static int set_backend(struct lensd_arguments *out, struct cursor *c, struct lens_error *err)
{
    static const char *const names[] = {"auto", "cpu", "cuda", NULL};
    const char *text = NULL;
    int r = take_value(c, &text, err);
    if (r != 0)
        return r;
    r = lens_option_parse(names, text);
    if (r < 0)
        return lens_error_set(err, -EINVAL, "--backend: expected auto, cpu or cuda, found \"%s\"", text);
    out->backend = (enum lensd_backend_choice)r;
    return 0;
}

/* Parses the value right away, so that a wrong one is an error of usage. */
static int add_setting(struct lensd_arguments *out, struct cursor *c, uint32_t row, struct lens_error *err)
{
    const char *text = NULL;
    struct lensd_settings *scratch;
    int r = take_value(c, &text, err);
    if (r != 0)
        return r;
    if (out->n_flags == sizeof out->flags / sizeof out->flags[0])
        return lens_error_set(err, -EINVAL, "too many flags");
    scratch = calloc(1, sizeof *scratch);
    if (scratch == NULL)
        return lens_error_set(err, -ENOMEM, "no memory to read the command line");
    r = lensd_settings_set(scratch, row, text, LENSD_ORIGIN_FLAG, err);
    lensd_settings_free(scratch);
    free(scratch);
    out->flags[out->n_flags].row = row;
    out->flags[out->n_flags++].text = text;
    return r;
}

static int unknown(const struct cursor *c, struct lens_error *err)
{
    const char *nearest = lensd_setting_nearest(c->name, c->length);
    return lens_error_set(err, -EINVAL, "no flag --%.*s%s%s%s; see lensd --help", (int)c->length, c->name,
                          nearest != NULL ? " (the nearest setting is " : "", nearest != NULL ? nearest : "",
                          nearest != NULL ? ")" : "");
}

static int parse_switch(const struct cursor *c, bool *out, struct lens_error *err)
{
    if (c->value != NULL)
        return lens_error_set(err, -EINVAL, "--%.*s takes no value", (int)c->length, c->name);
    *out = true;
    return 0;
}

static int parse_flag(struct lensd_arguments *out, struct cursor *c, struct lens_error *err)
{
    if (is(c, "config"))
        return take_value(c, &out->config, err);
    if (is(c, "fault-script"))
        return take_value(c, &out->fault_script, err);
    if (is(c, "pack"))
        return add_pack(out, c, err);
    if (is(c, "backend"))
        return set_backend(out, c, err);
    if (is(c, "check-config"))
        return parse_switch(c, &out->check_config, err);
    if (is(c, "print-man"))
        return take_value(c, &out->print_man, err);
    if (is(c, "version"))
        return parse_switch(c, &out->version, err);
    if (is(c, "help"))
        return parse_switch(c, &out->help, err);
    int row = is(c, "socket") ? lensd_setting_find("ipc.socket", 10) : lensd_setting_find(c->name, c->length);
    return row >= 0 ? add_setting(out, c, (uint32_t)row, err) : unknown(c, err);
}

int lensd_arguments_parse(struct lensd_arguments *out, int argc, char *const argv[], struct lens_error *err)
{
    struct cursor c = {.argv = argv, .argc = argc};
    memset(out, 0, sizeof *out);
    for (c.at = 1; c.at < argc; c.at++) {
        const char *word = argv[c.at];
        if (strcmp(word, "-h") == 0)
            word = "--help";
        if (strncmp(word, "--", 2) != 0 || word[2] == '\0')
            return lens_error_set(err, -EINVAL, "expected flags such as --pack FILE, found \"%s\"", word);
        c.name = word + 2;
        c.length = strcspn(c.name, "=");
        c.value = c.name[c.length] == '=' ? c.name + c.length + 1 : NULL;
        int r = parse_flag(out, &c, err);
        if (r != 0)
            return r;
    }
    return 0;
}

int lensd_arguments_settings(const struct lensd_arguments *arguments, char *const *environment,
                             struct lensd_settings *out, struct lens_error *err)
{
    int r = lensd_settings_init(out, err);
    if (r != 0)
        return r;
    if (arguments->config != NULL)
        r = lensd_settings_read_file(out, arguments->config, err);
    if (r == 0)
        r = lensd_settings_read_environment(out, environment, err);
    for (uint32_t i = 0; r == 0 && i < arguments->n_flags; i++)
        r = lensd_settings_set(out, arguments->flags[i].row, arguments->flags[i].text, LENSD_ORIGIN_FLAG, err);
    if (r == 0)
        r = lensd_settings_check(out, err);
    if (r != 0)
        lensd_settings_free(out);
    return r;
}
