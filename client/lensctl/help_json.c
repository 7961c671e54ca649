/* `lensctl help --json`: the command table as data, for tools and for the test that walks it. */
#include "client/lensctl/help_json.h"

static const char *kind_name(enum ctl_flag_kind kind)
{
    static const char *const names[] = {"switch", "text", "integer", "real", "choice"};
    return names[kind];
}

static json_t *text_or_null(const char *text)
{
    return text != NULL ? json_string(text) : json_null();
}

static json_t *choices_json(const char *const *choices)
{
    json_t *list = json_array();
    for (; choices != NULL && *choices != NULL; choices++)
        json_array_append_new(list, json_string(*choices));
    return list;
}

static json_t *flag_json(const struct ctl_flag *flag)
{
    bool number = flag->kind == CTL_INTEGER || flag->kind == CTL_REAL;
    json_t *object = json_object();
    json_object_set_new(object, "name", json_string(flag->name));
    json_object_set_new(object, "kind", json_string(kind_name(flag->kind)));
    json_object_set_new(object, "value", text_or_null(flag->value));
    json_object_set_new(object, "min", number ? json_real(flag->min) : json_null());
    json_object_set_new(object, "max", number ? json_real(flag->max) : json_null());
    json_object_set_new(object, "choices", choices_json(flag->choices));
    json_object_set_new(object, "required", json_boolean(flag->required));
    json_object_set_new(object, "default", text_or_null(flag->fallback));
    json_object_set_new(object, "help", json_string(flag->help));
    return object;
}

static json_t *flags_json(const struct ctl_flag *flags)
{
    json_t *list = json_array();
    for (const struct ctl_flag *f = ctl_flag_first(flags); f != NULL; f = ctl_flag_next(f))
        json_array_append_new(list, flag_json(f));
    return list;
}

static json_t *arguments_json(const struct ctl_argument *arguments)
{
    json_t *list = json_array();
    for (; arguments->name != NULL; arguments++) {
        json_t *object = json_object();
        json_object_set_new(object, "name", json_string(arguments->name));
        json_object_set_new(object, "optional", json_boolean(arguments->optional));
        json_object_set_new(object, "choices", choices_json(arguments->choices));
        json_array_append_new(list, object);
    }
    return list;
}

json_t *ctl_command_json(const struct ctl_command *command)
{
    json_t *object = json_object();
    json_object_set_new(object, "name", json_string(command->name));
    json_object_set_new(object, "summary", json_string(command->summary));
    json_object_set_new(object, "details", text_or_null(command->details));
    json_object_set_new(object, "json", text_or_null(command->json));
    json_object_set_new(object, "arguments", arguments_json(command->arguments));
    json_object_set_new(object, "flags", flags_json(command->flags));
    return object;
}

json_t *ctl_global_flags_json(void)
{
    return flags_json(ctl_global_flags());
}
