/* lensctl help [COMMAND]. */
#include "client/lensctl/commands.h"
#include "client/lensctl/help_json.h"

#include <string.h>

static void join_arguments(const struct ctl *ctl, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < ctl->n_arguments && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i == 0 ? "" : " ", ctl->arguments[i]);
}

/* Whether `name` is `words` or goes on after them; no words are the beginning of every name. */
static bool begins_with(const char *name, const char *words)
{
    size_t length = strlen(words);
    return length == 0 || (strncmp(name, words, length) == 0 && (name[length] == '\0' || name[length] == ' '));
}

static int print_json(const struct ctl *ctl, const char *words)
{
    size_t count;
    const struct ctl_command *commands = ctl_commands(&count);
    json_t *object = ctl_json_new(), *list = json_array();
    for (size_t i = 0; i < count; i++) {
        if (begins_with(commands[i].name, words))
            json_array_append_new(list, ctl_command_json(&commands[i]));
    }
    json_object_set_new(object, "commands", list);
    json_object_set_new(object, "flags_of_every_command", ctl_global_flags_json());
    return ctl_json_print(&ctl->out, object, false);
}

static void print_text(const struct ctl *ctl, const char *words, const struct ctl_command *first)
{
    if (words[0] == '\0')
        ctl_help_all(ctl->out.file);
    else if (strcmp(first->name, words) == 0)
        ctl_help_command(ctl->out.file, first);
    else
        ctl_help_prefix(ctl->out.file, words);
}

static int unknown(const char *words)
{
    const char *nearest = ctl_nearest_command(words);
    if (nearest != NULL)
        return ctl_fail(CTL_USAGE, "there is no command '%s'; did you mean '%s'?", words, nearest);
    return ctl_fail(CTL_USAGE, "there is no command '%s'; `lensctl --help` lists the commands", words);
}

int ctl_run_help(struct ctl *ctl)
{
    char words[128];
    size_t count;
    const struct ctl_command *commands = ctl_commands(&count);
    join_arguments(ctl, words, sizeof words);
    for (size_t i = 0; i < count; i++) {
        if (!begins_with(commands[i].name, words))
            continue;
        if (ctl->json)
            return print_json(ctl, words);
        print_text(ctl, words, &commands[i]);
        return CTL_OK;
    }
    return unknown(words);
}
