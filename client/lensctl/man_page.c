/* See man_page.h. Texts of the table are plain sentences; whatever roff would take for itself is escaped. */
#include "client/lensctl/man_page.h"

#include <string.h>

static void put_char(FILE *file, const char *at, const char *line)
{
    if (*at == '\\')
        fputs("\\e", file);
    else if (*at == '-' && (at[1] == '-' || (at > line && at[-1] == '-') || at == line || at[-1] == ' '))
        fputs("\\-", file); /* flags, not hyphens */
    else if (*at == '`')
        fputs("\\(ga", file);
    else if (*at == '~')
        fputs("\\(ti", file);
    else if (*at == '^')
        fputs("\\(ha", file);
    else if (*at == '\'')
        fputs("\\(aq", file);
    else
        fputc(*at, file);
}

/* Whether a sentence ends with line[i]: roff wants the next one on a line of its own. */
static bool ends_sentence(const char *line, size_t i, size_t length)
{
    return i > 1 && i + 2 < length && !(line[i + 2] >= 'a' && line[i + 2] <= 'z') && strchr(".?!", line[i]) != NULL &&
           line[i + 1] == ' ' && line[i - 1] != '.';
}

/* One line of text. A dot or an apostrophe at its beginning would be a request. */
static void put_line(FILE *file, const char *line, size_t length, bool literal)
{
    bool begins = true;
    for (size_t i = 0; i < length; i++) {
        if (begins && (line[i] == '.' || line[i] == '\''))
            fputs("\\&", file);
        put_char(file, line + i, line);
        begins = !literal && ends_sentence(line, i, length);
        if (!begins)
            continue;
        fputc('\n', file);
        i++; /* the blank */
    }
    fputc('\n', file);
}

/* Lines that are set in by four blanks are examples, and stay as they are. */
static void put_text(FILE *file, const char *text)
{
    bool literal = false;
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        bool example = strncmp(text, "    ", 4) == 0;
        if (example != literal)
            fputs(example ? ".Bd -literal -offset indent\n" : ".Ed\n", file);
        literal = example;
        size_t skipped = example ? 4 : 0;
        put_line(file, text + skipped, length - skipped, example);
        text += length + (text[length] == '\n');
    }
    if (literal)
        fputs(".Ed\n", file);
}

/* One word as a macro's argument; \& keeps it from being taken for a macro or for punctuation. */
static void put_word(FILE *file, const char *macro, const char *word)
{
    fprintf(file, " %s \\&", macro);
    for (const char *at = word; *at != '\0'; at++)
        put_char(file, at, word);
}

static void put_choices(FILE *file, const char *const *choices)
{
    char all[256];
    size_t used = 0;
    all[0] = '\0';
    for (int i = 0; choices[i] != NULL && used < sizeof all; i++)
        used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", i == 0 ? "" : "|", choices[i]);
    put_word(file, "Cm", all);
}

static void put_flag_name(FILE *file, const struct ctl_flag *flag)
{
    fprintf(file, " Fl %s", flag->name[1] == '-' ? "\\-" : "");
    fputs(flag->name + (flag->name[1] == '-' ? 2 : 1), file);
    if (flag->kind == CTL_CHOICE)
        put_choices(file, flag->choices);
    else if (flag->value != NULL)
        put_word(file, "Ar", flag->value);
}

static void put_flag(FILE *file, const struct ctl_flag *flag)
{
    char bounds[128];
    ctl_flag_bounds(flag, bounds, sizeof bounds);
    fputs(".It", file);
    put_flag_name(file, flag);
    fputc('\n', file);
    put_text(file, flag->help);
    if (bounds[0] != '\0')
        put_text(file, bounds);
}

static void put_flags(FILE *file, const struct ctl_flag *flags)
{
    if (ctl_flag_first(flags) == NULL)
        return;
    fputs(".Bl -tag -width Ds\n", file);
    for (const struct ctl_flag *f = ctl_flag_first(flags); f != NULL; f = ctl_flag_next(f))
        put_flag(file, f);
    fputs(".El\n", file);
}

static void put_argument(FILE *file, const struct ctl_argument *argument)
{
    if (argument->optional)
        fputs(" Op", file);
    if (argument->choices != NULL)
        put_choices(file, argument->choices);
    else
        put_word(file, "Ar", argument->name);
}

static void put_command(FILE *file, const struct ctl_command *command)
{
    fprintf(file, ".It Ic %s", command->name);
    for (const struct ctl_argument *a = command->arguments; a->name != NULL; a++)
        put_argument(file, a);
    for (const struct ctl_flag *f = ctl_flag_first(command->flags); f != NULL; f = ctl_flag_next(f)) {
        if (f->required)
            put_flag_name(file, f);
    }
    fputc('\n', file);
    put_text(file, command->summary);
    if (command->details != NULL) {
        fputs(".Pp\n", file);
        put_text(file, command->details);
    }
    if (command->json != NULL) {
        fputs(".Pp\nJSON:\n", file);
        put_text(file, command->json);
    }
    put_flags(file, command->flags);
}

int ctl_man(FILE *file, const char *part)
{
    size_t count;
    const struct ctl_command *commands = ctl_commands(&count);
    if (strcmp(part, "flags") == 0) {
        put_flags(file, ctl_global_flags());
        return CTL_OK;
    }
    if (strcmp(part, "commands") != 0)
        return ctl_fail(CTL_USAGE, "__man expects commands or flags, found '%s'", part);
    fputs(".Bl -tag -width Ds\n", file);
    for (size_t i = 0; i < count; i++)
        put_command(file, &commands[i]);
    fputs(".El\n", file);
    return CTL_OK;
}
