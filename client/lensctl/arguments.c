/* Reads the command line by the command table. Flags may stand anywhere, as "--flag VALUE" or "--flag=VALUE"; "--"
 * ends them. What is wrong is said with what was expected and, for a misspelt name, the nearest one that exists. */
#include "client/lensctl/command.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 32

/* Letters to change, add or drop to make `a` of `b`. */
static unsigned edit_distance(const char *a, const char *b)
{
    unsigned row[NAME_MAX_BYTES + 1];
    size_t n = strlen(b);
    if (n > NAME_MAX_BYTES || strlen(a) > NAME_MAX_BYTES)
        return NAME_MAX_BYTES;
    for (unsigned j = 0; j <= n; j++)
        row[j] = j;
    for (unsigned i = 1; a[i - 1] != '\0'; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            unsigned change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            unsigned least = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
            row[j] = change < least ? change : least;
        }
    }
    return row[n];
}

/* Keeps the nearer of *best and `name`; names further than a third of the text (without a flag's dashes, which all
 * have) away don't count. */
static void consider(const char *text, const char *name, const char **best, unsigned *distance)
{
    unsigned d = edit_distance(text, name);
    if (d < *distance && d <= 1 + strlen(text + strspn(text, "-")) / 3) {
        *best = name;
        *distance = d;
    }
}

/* As many words of `name` as `words` has. */
static void cut_words(const char *name, const char *words, char *out, size_t size)
{
    unsigned spaces = 0;
    for (const char *p = words; *p != '\0'; p++)
        spaces += *p == ' ';
    size_t n = 0;
    for (; name[n] != '\0' && n + 1 < size && (name[n] != ' ' || spaces-- > 0); n++)
        out[n] = name[n];
    out[n] = '\0';
}

const char *ctl_nearest_command(const char *words)
{
    size_t count;
    const struct ctl_command *commands = ctl_commands(&count);
    const char *best = NULL;
    unsigned least = NAME_MAX_BYTES;
    for (size_t i = 0; i < count; i++) {
        char begin[NAME_MAX_BYTES + 1];
        const char *near = NULL;
        cut_words(commands[i].name, words, begin, sizeof begin);
        consider(words, begin, &near, &least);
        best = near != NULL ? commands[i].name : best;
    }
    return best;
}

static void consider_flags(const char *text, const struct ctl_flag *flags, const char **best, unsigned *distance)
{
    for (const struct ctl_flag *f = ctl_flag_first(flags); f != NULL; f = ctl_flag_next(f))
        consider(text, f->name, best, distance);
}

static int unknown_flag(const struct ctl *ctl, const char *flag)
{
    const char *best = NULL;
    unsigned distance = NAME_MAX_BYTES;
    consider_flags(flag, ctl_global_flags(), &best, &distance);
    consider_flags(flag, ctl->command != NULL ? ctl->command->flags : NULL, &best, &distance);
    const char *command = ctl->command != NULL ? ctl->command->name : NULL;
    if (best != NULL)
        return ctl_fail(CTL_USAGE, "unknown flag '%s'; did you mean '%s'?", flag, best);
    if (command == NULL)
        return ctl_fail(CTL_USAGE, "unknown flag '%s' before the command; a command's own flags come after its name",
                        flag);
    return ctl_fail(CTL_USAGE, "unknown flag '%s'; `lensctl help %s` lists those that %s takes", flag, command,
                    command);
}

static int unknown_command(const char *words)
{
    const char *best = ctl_nearest_command(words);
    if (best != NULL)
        return ctl_fail(CTL_USAGE, "unknown command '%s'; did you mean '%s'?", words, best);
    return ctl_fail(CTL_USAGE, "unknown command '%s'; `lensctl --help` lists the commands", words);
}

/* Adds a word to ctl->words; it must name a command or begin one. */
static int take_word(struct ctl *ctl, const char *word)
{
    size_t used = strlen(ctl->words), count;
    if (used + strlen(word) + 2 > sizeof ctl->words)
        return unknown_command(word);
    snprintf(ctl->words + used, sizeof ctl->words - used, "%s%s", used ? " " : "", word);
    const struct ctl_command *commands = ctl_commands(&count);
    size_t length = strlen(ctl->words);
    bool begins = false;
    for (size_t i = 0; i < count; i++) {
        if (strncmp(commands[i].name, ctl->words, length) != 0)
            continue;
        if (commands[i].name[length] == '\0')
            ctl->command = &commands[i];
        begins = begins || commands[i].name[length] == ' ' || commands[i].name[length] == '\0';
    }
    return begins ? CTL_OK : unknown_command(ctl->words);
}

static unsigned count_arguments(const struct ctl_command *command, bool required_only)
{
    unsigned n = 0;
    while (n < CTL_MAX_ARGUMENTS && command->arguments[n].name != NULL &&
           !(required_only && command->arguments[n].optional))
        n++;
    return n > 0 && !required_only && command->arguments[n - 1].many ? CTL_MAX_ARGUMENTS : n;
}

static int find_choice(const char *const *choices, const char *text)
{
    for (int i = 0; choices[i] != NULL; i++) {
        if (strcmp(choices[i], text) == 0)
            return i;
    }
    return -1;
}

/* "f32, bf16" into out[size]. */
static void list_choices(const char *const *choices, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (int i = 0; choices[i] != NULL && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i == 0 ? "" : ", ", choices[i]);
}

static int check_choice(const struct ctl *ctl, unsigned n)
{
    const struct ctl_argument *argument = &ctl->command->arguments[n];
    char all[256];
    if (argument->name == NULL || argument->choices == NULL || find_choice(argument->choices, ctl->arguments[n]) >= 0)
        return CTL_OK;
    list_choices(argument->choices, all, sizeof all);
    return ctl_fail(CTL_USAGE, "%s expects one of %s as %s; found '%s'", ctl->command->name, all, argument->name,
                    ctl->arguments[n]);
}

static int take_argument(struct ctl *ctl, const char *word)
{
    if (ctl->command == NULL)
        return take_word(ctl, word);
    if (ctl->n_arguments == count_arguments(ctl->command, false))
        return ctl_fail(CTL_USAGE, "%s takes no further argument, found '%s'; see `lensctl help %s`",
                        ctl->command->name, word, ctl->command->name);
    ctl->arguments[ctl->n_arguments++] = word;
    return check_choice(ctl, ctl->n_arguments - 1);
}

static int bad_number(const struct ctl_flag *flag, const char *text)
{
    const char *kind = flag->kind == CTL_INTEGER ? "a whole number" : "a number";
    return ctl_fail(CTL_USAGE, "%s expects %s from %.10g to %.10g, found '%s'", flag->name, kind, flag->min, flag->max,
                    text);
}

static int read_number(const struct ctl_flag *flag, const char *text, struct ctl_value *value)
{
    char *end;
    errno = 0;
    value->real = strtod(text, &end);
    bool whole = value->real == floor(value->real);
    if (end == text || *end != '\0' || errno != 0 || !(value->real >= flag->min && value->real <= flag->max) ||
        (flag->kind == CTL_INTEGER && !whole))
        return bad_number(flag, text);
    value->number = flag->kind == CTL_INTEGER ? (int64_t)value->real : 0;
    return CTL_OK;
}

static int read_choice(const struct ctl_flag *flag, const char *text, struct ctl_value *value)
{
    char all[256];
    value->number = find_choice(flag->choices, text);
    if (value->number >= 0)
        return CTL_OK;
    list_choices(flag->choices, all, sizeof all);
    return ctl_fail(CTL_USAGE, "%s expects one of %s; found '%s'", flag->name, all, text);
}

static int read_value(const struct ctl_flag *flag, const char *text, struct ctl_value *value)
{
    if (value->set)
        return ctl_fail(CTL_USAGE, "%s is given twice; say it once", flag->name);
    value->set = true;
    value->text = text;
    if (flag->kind == CTL_INTEGER || flag->kind == CTL_REAL)
        return read_number(flag, text, value);
    return flag->kind == CTL_CHOICE ? read_choice(flag, text, value) : CTL_OK;
}

/* Index in `flags` of the one that `text` names (up to an '='), or -1. */
static void set_global(struct ctl *ctl, const struct ctl_flag *flag, const char *text)
{
    if (strcmp(flag->name, "--socket") == 0)
        ctl->socket_path = text;
    else if (strcmp(flag->name, "--json") == 0)
        ctl->json = true;
    else if (strcmp(flag->name, "--version") == 0)
        ctl->version = true;
    else
        ctl->help = true;
}

/* Takes the flag at argv[*i] and its value; *i ends at the last word used. */
static int take_flag(struct ctl *ctl, int argc, char **argv, int *i)
{
    const char *text = argv[*i], *equals = strchr(text, '=');
    unsigned place = 0;
    const struct ctl_flag *flag = ctl_flag_find(ctl->command != NULL ? ctl->command->flags : NULL, text, &place);
    bool global = flag == NULL;
    if (global)
        flag = ctl_flag_find(ctl_global_flags(), text, NULL);
    if (flag == NULL)
        return unknown_flag(ctl, text);
    const char *value = equals != NULL ? equals + 1 : NULL;
    if (flag->kind == CTL_SWITCH && value != NULL)
        return ctl_fail(CTL_USAGE, "%s takes no value, found '%s'", flag->name, value);
    if (flag->kind != CTL_SWITCH && value == NULL) {
        if (*i + 1 >= argc)
            return ctl_fail(CTL_USAGE, "%s expects a value (%s) after it", flag->name, flag->value);
        value = argv[++*i];
    }
    if (!global)
        return read_value(flag, value, &ctl->values[place]);
    set_global(ctl, flag, value);
    return CTL_OK;
}

static int check_complete(const struct ctl *ctl)
{
    const struct ctl_command *command = ctl->command;
    if (command == NULL) {
        if (ctl->words[0] == '\0')
            ctl_help_all(stderr);
        else
            ctl_help_prefix(stderr, ctl->words);
        return CTL_USAGE;
    }
    unsigned wanted = count_arguments(command, true);
    if (ctl->n_arguments < wanted)
        return ctl_fail(CTL_USAGE, "%s expects %s; see `lensctl help %s`", command->name,
                        command->arguments[ctl->n_arguments].name, command->name);
    for (const struct ctl_flag *f = ctl_flag_first(command->flags); f != NULL; f = ctl_flag_next(f)) {
        if (f->required && !ctl_value(ctl, f->name)->set)
            return ctl_fail(CTL_USAGE, "%s expects %s%s%s; see `lensctl help %s`", command->name, f->name,
                            f->value != NULL ? " " : "", f->value != NULL ? f->value : "", command->name);
    }
    return CTL_OK;
}

int ctl_parse(struct ctl *ctl, int argc, char **argv)
{
    bool flags = true;
    for (int i = 1; i < argc; i++) {
        int r;
        if (flags && strcmp(argv[i], "--") == 0) {
            flags = false;
            continue;
        }
        if (flags && argv[i][0] == '-' && argv[i][1] != '\0')
            r = take_flag(ctl, argc, argv, &i);
        else
            r = take_argument(ctl, argv[i]);
        if (r != CTL_OK)
            return r;
    }
    return ctl->help || ctl->version ? CTL_OK : check_complete(ctl);
}

const struct ctl_value *ctl_value(const struct ctl *ctl, const char *flag)
{
    static const struct ctl_value unset;
    unsigned place;
    return ctl_flag_find(ctl->command->flags, flag, &place) != NULL ? &ctl->values[place] : &unset;
}

const char *ctl_argument(const struct ctl *ctl, unsigned n)
{
    return n < ctl->n_arguments ? ctl->arguments[n] : NULL;
}

int ctl_argument_choice(const struct ctl *ctl, unsigned n)
{
    const char *text = ctl_argument(ctl, n);
    return text == NULL ? -1 : find_choice(ctl->command->arguments[n].choices, text);
}
