/* lensctl: reads the command line, runs one command, makes sure that its output arrived. */
#include "client/lensctl/complete.h"
#include "client/lensctl/man_page.h"

#include <string.h>

static int print_version(struct ctl *ctl)
{
    if (ctl->json) {
        json_t *object = ctl_json_new();
        json_object_set_new(object, "lensctl", json_string(LENSD_VERSION));
        json_object_set_new(object, "protocol", json_integer(LENS_PROTOCOL_VERSION));
        return ctl_json_print(&ctl->out, object, false);
    }
    fprintf(ctl->out.file, "lensctl %s (protocol %u)\n", LENSD_VERSION, LENS_PROTOCOL_VERSION);
    return CTL_OK;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "__complete") == 0) /* any words may follow */
        return ctl_complete(&ctl->out, (unsigned)argc - 2, argv + 2);
    if (argc == 3 && strcmp(argv[1], "__man") == 0)
        return ctl_man(ctl->out.file, argv[2]);
    int r = ctl_parse(ctl, argc, argv);
    if (r != CTL_OK)
        return r;
    if (ctl->version)
        return print_version(ctl);
    if (!ctl->help)
        return ctl->command->run(ctl);
    if (ctl->command != NULL)
        ctl_help_command(ctl->out.file, ctl->command);
    else if (ctl->words[0] != '\0')
        ctl_help_prefix(ctl->out.file, ctl->words);
    else
        ctl_help_all(ctl->out.file);
    return CTL_OK;
}

int main(int argc, char **argv)
{
    struct ctl ctl = {0};
    ctl_output_init(&ctl.out, stdout);
    int r = run(&ctl, argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        int failed = ctl_fail(CTL_FAILED, "could not write all of the output: is the disk full or the reader gone?");
        r = r == CTL_OK ? failed : r;
    }
    return r;
}
