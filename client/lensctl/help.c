/* Help texts, made from the command table. */
#include "client/lensctl/command.h"

#include <string.h>

static size_t format_flag(const struct ctl_flag *flag, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "%s", flag->name);
    if (flag->kind != CTL_CHOICE)
        return used + (size_t)(flag->value != NULL ? snprintf(out + used, size - used, " %s", flag->value) : 0);
    for (int i = 0; flag->choices[i] != NULL && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i == 0 ? " " : "|", flag->choices[i]);
    return used;
}

void ctl_flag_text(const struct ctl_flag *flag, char *out, size_t size)
{
    (void)format_flag(flag, out, size);
}

/* "1 to 64"; a bound that no one reaches isn't worth saying. */
static void format_range(const struct ctl_flag *flag, char *out, size_t size)
{
    bool number = flag->kind == CTL_INTEGER || flag->kind == CTL_REAL;
    if (!number)
        out[0] = '\0';
    else if (flag->max >= INT32_MAX)
        snprintf(out, size, "at least %.10g", flag->min);
    else
        snprintf(out, size, "%.10g to %.10g", flag->min, flag->max);
}

void ctl_flag_bounds(const struct ctl_flag *flag, char *out, size_t size)
{
    char range[64];
    const char *fallback = flag->required ? "required" : flag->fallback;
    format_range(flag, range, sizeof range);
    out[0] = '\0';
    if (fallback != NULL || range[0] != '\0')
        snprintf(out, size, "(%s%s%s%s)",
                 flag->required || fallback == NULL ? "" : "default: ", fallback != NULL ? fallback : "",
                 fallback != NULL && range[0] != '\0' ? "; " : "", range);
}

void ctl_usage_text(const struct ctl_command *command, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "%s", command->name);
    for (const struct ctl_argument *a = command->arguments; a->name != NULL && used < size; a++)
        used += (size_t)snprintf(out + used, size - used, a->optional ? " [%s]" : " %s", a->name);
    for (const struct ctl_flag *f = ctl_flag_first(command->flags); f != NULL && used < size; f = ctl_flag_next(f)) {
        if (!f->required || used + 1 >= size)
            continue;
        out[used++] = ' ';
        used += format_flag(f, out + used, size - used);
    }
}

/* A name and what it is, from a column on; below the name when that is too long for a terminal. */
static void print_entry(FILE *file, const char *name, const char *text)
{
    struct ctl_output out;
    ctl_output_init(&out, file);
    unsigned indent = ctl_width(&out) == 0 || ctl_width(&out) > 100 ? 37 : 24;
    fprintf(file, "  %-*s ", (int)indent - 3, name);
    if (strlen(name) > indent - 3 && ctl_width(&out) > 0)
        fprintf(file, "\n%*s", (int)indent, "");
    (void)ctl_print_wrapped(&out, text, indent);
    fputc('\n', file);
}

static void print_row(FILE *file, const struct ctl_command *command)
{
    char usage[96];
    ctl_usage_text(command, usage, sizeof usage);
    print_entry(file, usage, command->summary);
}

static void print_flag(FILE *file, const struct ctl_flag *flag)
{
    char left[96], bounds[128], text[1024];
    (void)format_flag(flag, left, sizeof left);
    ctl_flag_bounds(flag, bounds, sizeof bounds);
    snprintf(text, sizeof text, "%s%s%s", flag->help, bounds[0] != '\0' ? " " : "", bounds);
    print_entry(file, left, text);
}

static void print_choices(FILE *file, const struct ctl_command *command)
{
    for (const struct ctl_argument *a = command->arguments; a->name != NULL; a++) {
        if (a->choices == NULL)
            continue;
        fprintf(file, "\n%s is one of", a->name);
        for (int i = 0; a->choices[i] != NULL; i++)
            fprintf(file, "%s %s", i == 0 ? "" : ",", a->choices[i]);
        fputc('\n', file);
    }
}

static void print_flags(FILE *file, const char *title, const struct ctl_flag *flags)
{
    if (flags == NULL)
        return;
    fprintf(file, "\n%s\n", title);
    for (const struct ctl_flag *f = ctl_flag_first(flags); f != NULL; f = ctl_flag_next(f))
        print_flag(file, f);
}

void ctl_help_all(FILE *file)
{
    size_t count;
    struct ctl_output out;
    const struct ctl_command *commands = ctl_commands(&count);
    fputs("lensctl: looks into a running lensd and works on lens packs\n\n"
          "usage: lensctl [--socket PATH] [--json] COMMAND [ARGUMENT..] [FLAG..]\n\ncommands\n",
          file);
    for (size_t i = 0; i < count; i++)
        print_row(file, &commands[i]);
    print_flags(file, "flags of every command", ctl_global_flags());
    fputs("\nexit codes\n"
          "  0  ok\n"
          "  1  failed\n"
          "  2  wrong usage\n"
          "  3  no daemon answers\n\n",
          file);
    ctl_output_init(&out, file);
    ctl_print_paragraphs(&out, "Output is coloured and aligned on a terminal (NO_COLOR is honoured) and tab-separated "
                               "elsewhere.\n`lensctl help COMMAND` says more about a command.");
}

void ctl_help_command(FILE *file, const struct ctl_command *command)
{
    char usage[96];
    struct ctl_output out;
    ctl_output_init(&out, file);
    ctl_usage_text(command, usage, sizeof usage);
    ctl_print_line(&out, 0, "usage: lensctl %s%s", usage, command->flags != NULL ? " [FLAG..]" : "");
    fputc('\n', file);
    ctl_print_paragraphs(&out, command->summary);
    if (command->details != NULL) {
        fputc('\n', file);
        ctl_print_paragraphs(&out, command->details);
    }
    if (command->json != NULL) {
        fputc('\n', file);
        ctl_print_line(&out, 0, "JSON: %s", command->json);
    }
    print_choices(file, command);
    print_flags(file, "flags", command->flags);
    print_flags(file, "flags of every command", ctl_global_flags());
}

void ctl_help_prefix(FILE *file, const char *words)
{
    size_t count, length = strlen(words);
    const struct ctl_command *commands = ctl_commands(&count);
    fprintf(file, "'%s' is the beginning of these commands:\n", words);
    for (size_t i = 0; i < count; i++) {
        if (strncmp(commands[i].name, words, length) == 0 && commands[i].name[length] == ' ')
            print_row(file, &commands[i]);
    }
}
