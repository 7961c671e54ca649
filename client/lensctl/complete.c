/* See complete.h. */
#include "client/lensctl/complete.h"

#include <string.h>

/* How far the words before the one at the cursor have come. */
struct place {
    const struct ctl_command *command;
    char words[64]; /* that begin or are its name */
    unsigned n_arguments;
    const struct ctl_flag *pending; /* whose value is next */
    bool only_arguments;            /* after "--" */
};

void ctl_propose(const struct ctl_completion *c, const char *word, const char *what)
{
    char shown[512];
    if (strncmp(word, c->typed, strlen(c->typed)) != 0)
        return;
    /* A name from a pack may hold anything; one that would break the answer's lines can't be typed anyway. */
    if (strcmp(ctl_printable(word, strlen(word), shown, sizeof shown), word) != 0)
        return;
    fprintf(c->file, "%.*s%s\t%s\n", (int)c->before_length, c->before, word, what);
}

/* ---- the words before ------------------------------------------------------------------------------------------- */

static const struct ctl_flag *find_flag(const struct place *place, const char *text)
{
    const struct ctl_flag *own = place->command != NULL ? ctl_flag_find(place->command->flags, text, NULL) : NULL;
    return own != NULL ? own : ctl_flag_find(ctl_global_flags(), text, NULL);
}

static void note_value(struct ctl_completion *c, const struct ctl_flag *flag, const char *value)
{
    if (strcmp(flag->name, "--socket") == 0)
        c->socket_path = value;
    else if (strcmp(flag->name, "--pack") == 0)
        c->pack = value;
}

static void pass_flag(struct place *place, struct ctl_completion *c, const char *word)
{
    const char *equals = strchr(word, '=');
    const struct ctl_flag *flag = find_flag(place, word);
    if (flag == NULL || flag->kind == CTL_SWITCH)
        return;
    if (equals == NULL)
        place->pending = flag;
    else
        note_value(c, flag, equals + 1);
}

static void pass_word(struct place *place, const char *word)
{
    size_t used = strlen(place->words), count;
    const struct ctl_command *commands = ctl_commands(&count);
    if (place->command != NULL) {
        place->n_arguments++;
        return;
    }
    snprintf(place->words + used, sizeof place->words - used, "%s%s", used > 0 ? " " : "", word);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(commands[i].name, place->words) == 0)
            place->command = &commands[i];
    }
}

static void pass(struct place *place, struct ctl_completion *c, const char *word)
{
    if (place->pending != NULL) {
        note_value(c, place->pending, word);
        place->pending = NULL;
    } else if (!place->only_arguments && strcmp(word, "--") == 0) {
        place->only_arguments = true;
    } else if (!place->only_arguments && word[0] == '-' && word[1] != '\0') {
        pass_flag(place, c, word);
    } else {
        pass_word(place, word);
    }
}

/* ---- the word at the cursor ------------------------------------------------------------------------------------- */

/* The next word of each command whose name begins with `words`, once. */
static void propose_commands(const struct ctl_completion *c, const char *words)
{
    size_t count, length = strlen(words);
    const struct ctl_command *commands = ctl_commands(&count);
    char last[64] = "";
    for (size_t i = 0; i < count; i++) {
        const char *name = commands[i].name;
        char next[64];
        if (strncmp(name, words, length) != 0 || (length > 0 && name[length] != ' '))
            continue;
        const char *rest = name + length + (length > 0);
        size_t n = strcspn(rest, " ");
        snprintf(next, sizeof next, "%.*s", (int)n, rest);
        if (strcmp(next, last) != 0)
            ctl_propose(c, next, rest[n] == '\0' ? commands[i].summary : "");
        snprintf(last, sizeof last, "%s", next);
    }
}

static void propose_choices(const struct ctl_completion *c, const char *const *choices)
{
    for (; *choices != NULL; choices++)
        ctl_propose(c, *choices, "");
}

/* Values that stand between commas are completed one by one. */
static void propose_concepts(struct ctl_completion c)
{
    const char *comma = strrchr(c.typed, ',');
    char before[1024];
    if (comma != NULL) {
        snprintf(before, sizeof before, "%.*s%.*s", (int)c.before_length, c.before, (int)(comma + 1 - c.typed),
                 c.typed);
        c.before = before;
        c.before_length = strlen(before);
        c.typed = comma + 1;
    }
    ctl_propose_from_daemon(&c, CTL_WORDS_CONCEPT);
    fputs(":nospace\n", c.file);
}

static void propose_words(const struct ctl_completion *c, enum ctl_words words)
{
    switch (words) {
    case CTL_WORDS_NONE:
        break;
    case CTL_WORDS_FILE:
        fputs(":file\n", c->file);
        break;
    case CTL_WORDS_FILE_OR_SESSION:
        ctl_propose_from_daemon(c, CTL_WORDS_SESSION);
        fputs(":file\n", c->file);
        break;
    case CTL_WORDS_DIRECTORY:
        fputs(":directory\n", c->file);
        break;
    case CTL_WORDS_COMMAND:
        propose_commands(c, "");
        break;
    case CTL_WORDS_CONCEPTS:
        propose_concepts(*c);
        break;
    case CTL_WORDS_PACK:
    case CTL_WORDS_SESSION:
    case CTL_WORDS_SETTING:
    case CTL_WORDS_CONCEPT:
        ctl_propose_from_daemon(c, words);
        break;
    }
}

static void propose_value(struct ctl_completion *c, const struct ctl_flag *flag)
{
    if (flag->kind == CTL_CHOICE)
        propose_choices(c, flag->choices);
    else
        propose_words(c, flag->words);
}

static void propose_flags(const struct ctl_completion *c, const struct ctl_flag *flags)
{
    for (const struct ctl_flag *f = ctl_flag_first(flags); f != NULL; f = ctl_flag_next(f))
        ctl_propose(c, f->name, f->help);
}

static void propose_argument(const struct ctl_completion *c, const struct place *place)
{
    const struct ctl_argument *arguments = place->command->arguments;
    unsigned n = 0;
    while (n < place->n_arguments && arguments[n].name != NULL && !arguments[n].many)
        n++;
    if (arguments[n].name == NULL)
        return;
    if (arguments[n].choices != NULL)
        propose_choices(c, arguments[n].choices);
    else
        propose_words(c, arguments[n].words);
}

static void propose(struct ctl_completion *c, const struct place *place)
{
    const char *equals = c->typed[0] == '-' && !place->only_arguments ? strchr(c->typed, '=') : NULL;
    if (place->pending != NULL) {
        propose_value(c, place->pending);
    } else if (equals != NULL) {
        const struct ctl_flag *flag = find_flag(place, c->typed);
        c->before = c->typed;
        c->before_length = (size_t)(equals + 1 - c->typed);
        c->typed = equals + 1;
        if (flag != NULL)
            propose_value(c, flag);
    } else if (c->typed[0] == '-' && !place->only_arguments) {
        propose_flags(c, place->command != NULL ? place->command->flags : NULL);
        propose_flags(c, ctl_global_flags());
    } else if (place->command == NULL) {
        propose_commands(c, place->words);
    } else {
        propose_argument(c, place);
    }
}

int ctl_complete(struct ctl_output *out, unsigned n_words, char **words)
{
    struct place place = {0};
    struct ctl_completion c = {.file = out->file, .before = "", .typed = ""};
    for (unsigned i = 0; i + 1 < n_words; i++)
        pass(&place, &c, words[i]);
    if (n_words > 0)
        c.typed = words[n_words - 1];
    propose(&c, &place);
    return CTL_OK;
}
