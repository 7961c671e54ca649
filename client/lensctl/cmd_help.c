/* lensctl help [COMMAND]. */
#include "client/lensctl/commands.h"

#include <string.h>

static void join_arguments(const struct ctl *ctl, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < ctl->n_arguments && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i == 0 ? "" : " ", ctl->arguments[i]);
}

int ctl_run_help(struct ctl *ctl)
{
    char words[128];
    size_t count, length;
    const struct ctl_command *commands = ctl_commands(&count);
    join_arguments(ctl, words, sizeof words);
    length = strlen(words);
    if (length == 0) {
        ctl_help_all(ctl->out.file);
        return CTL_OK;
    }
    for (size_t i = 0; i < count; i++) {
        if (strncmp(commands[i].name, words, length) != 0)
            continue;
        if (commands[i].name[length] == '\0')
            ctl_help_command(ctl->out.file, &commands[i]);
        else if (commands[i].name[length] == ' ')
            ctl_help_prefix(ctl->out.file, words);
        else
            continue;
        return CTL_OK;
    }
    const char *nearest = ctl_nearest_command(words);
    if (nearest != NULL)
        return ctl_fail(CTL_USAGE, "there is no command '%s'; did you mean '%s'?", words, nearest);
    return ctl_fail(CTL_USAGE, "there is no command '%s'; `lensctl --help` lists the commands", words);
}
