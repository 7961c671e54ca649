/* From the text of alerts.rules to a set of rules. See rules.h for how a rule is written. */
#include "daemon/content.h"
#include "daemon/rules_private.h"
#include "daemon/sys.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char blanks[] = " \t\r\n";

enum word { ON, ABOVE, BELOW, TOKENS, WINDOW, SMOOTH, DEVIATION, ACTION, WORDS };
static const char *const words[WORDS] = {"on", "above", "below", "tokens", "window", "smooth", "deviation", "action"};

/* What is known of a rule while its words are read. */
struct parsing {
    struct lensd_rule *rule;
    bool given[WORDS];
};

/* A word of a rule: "name=value", taken apart. */
struct assignment {
    enum word word;
    char value[LENSD_RULE_TEXT];
};

/* ---- values ------------------------------------------------------------------------------------------------------ */

/* Decimal numbers alone. */
static int read_number(const struct assignment *a, double min, double max, float *out, struct lens_error *err)
{
    char *end = NULL;
    bool decimal = a->value[0] != '\0' && a->value[strspn(a->value, "0123456789.eE+-")] == '\0';
    double value = decimal ? strtod(a->value, &end) : NAN;
    if (!decimal || *end != '\0' || !isfinite(value))
        return lens_error_set(err, -EINVAL, "expected a number for %s, found \"%.60s\"", words[a->word], a->value);
    if (value < min || value > max)
        return lens_error_set(err, -EINVAL, "expected %s from %g to %g, found %.60s", words[a->word], min, max,
                              a->value);
    *out = (float)value;
    return 0;
}

static int read_count(const struct assignment *a, uint32_t *out, struct lens_error *err)
{
    size_t length = strlen(a->value);
    bool digits = length > 0 && strspn(a->value, "0123456789") == length;
    unsigned long value = digits && length < 10 ? strtoul(a->value, NULL, 10) : 0;
    if (value < 1 || value > LENSD_RULE_WINDOW)
        return lens_error_set(err, -EINVAL, "expected %s from 1 to %u, found \"%.60s\"", words[a->word],
                              LENSD_RULE_WINDOW, a->value);
    *out = (uint32_t)value;
    return 0;
}

/* "Name:layer", or that and what makes it a branch. */
static int read_concept(const struct assignment *a, struct lensd_rule *rule, struct lens_error *err)
{
    size_t length = strlen(a->value);
    rule->branch = length > 2 && strcmp(a->value + length - 2, "/*") == 0;
    snprintf(rule->on, sizeof rule->on, "%.*s", (int)(rule->branch ? length - 2 : length), a->value);
    const char *colon = strrchr(rule->on, ':');
    size_t digits = colon != NULL ? strspn(colon + 1, "0123456789") : 0;
    if (colon == NULL || colon == rule->on || digits == 0 || colon[1 + digits] != '\0')
        return lens_error_set(err, -EINVAL, "expected on=Name:layer (or that and /* for all below), found \"%.120s\"",
                              a->value);
    return 0;
}

static int read_action(const struct assignment *a, struct lensd_rule *rule, struct lens_error *err)
{
    if (strcmp(a->value, "flag") == 0)
        rule->action = LENS_VERDICT_FLAG;
    else if (strcmp(a->value, "stop") == 0)
        rule->action = LENS_VERDICT_STOP;
    else
        return lens_error_set(err, -EINVAL, "expected action=flag or action=stop, found \"%.60s\"", a->value);
    return 0;
}

static int read_value(const struct assignment *a, struct lensd_rule *rule, struct lens_error *err)
{
    switch (a->word) {
    case ON:
        return read_concept(a, rule, err);
    case ABOVE:
        return read_number(a, 0, 1, &rule->above, err);
    case BELOW:
        return read_number(a, 0, 1, &rule->below, err);
    case TOKENS:
        return read_count(a, &rule->tokens, err);
    case WINDOW:
        return read_count(a, &rule->window, err);
    case SMOOTH:
        return read_number(a, 0, 0.99, &rule->smooth, err);
    case DEVIATION:
        return read_number(a, 0.1, 100, &rule->deviation, err);
    case ACTION:
        return read_action(a, rule, err);
    case WORDS:
        break;
    }
    return -EINVAL;
}

/* ---- one rule ---------------------------------------------------------------------------------------------------- */

static bool is_name_byte(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '.' || c == '-';
}

/* The name and its colon; *at moves behind them. */
static int read_name(const char **at, struct lensd_rule *rule, struct lens_error *err)
{
    size_t length = 0;
    while (is_name_byte((*at)[length]))
        length++;
    if (length == 0 || (*at)[length] != ':')
        return lens_error_set(err, -EINVAL,
                              "expected NAME: on=CONCEPT above=P .., the name of A-Z a-z 0-9 _ . - alone, found "
                              "\"%.60s\"",
                              *at);
    if (length >= LENSD_RULE_NAME)
        return lens_error_set(err, -EINVAL, "expected a name of at most %u bytes, found %zu: \"%.*s\"",
                              LENSD_RULE_NAME - 1, length, (int)(length < 60 ? length : 60), *at);
    memcpy(rule->name, *at, length);
    rule->name[length] = '\0';
    rule->id = lens_rule_id_of(rule->name);
    *at += length + 1;
    return 0;
}

static int unknown_word(const char *at, size_t length, struct lens_error *err)
{
    return lens_error_set(err, -EINVAL,
                          "expected on=, above=, below=, tokens=, window=, smooth=, deviation= or action=, found "
                          "\"%.*s\"",
                          (int)(length < 60 ? length : 60), at);
}

/* The value, which stands in double quotes when it has blanks in it. */
static int take_value(const char **at, struct assignment *out, struct lens_error *err)
{
    bool quoted = **at == '"';
    *at += quoted;
    size_t length = strcspn(*at, quoted ? "\"" : blanks);
    const char *behind = *at + length + quoted;
    if (quoted && ((*at)[length] == '\0' || (*behind != '\0' && strchr(blanks, *behind) == NULL)))
        return lens_error_set(err, -EINVAL, "expected a blank after a second \", found \"%.60s\"", *at - 1);
    memcpy(out->value, *at, length);
    out->value[length] = '\0';
    *at = behind;
    return 0;
}

static int take_assignment(const char **at, struct assignment *out, struct lens_error *err)
{
    size_t length = strcspn(*at, "= \t\r\n");
    unsigned word = 0;
    while (word < WORDS && (strlen(words[word]) != length || memcmp(words[word], *at, length) != 0))
        word++;
    if (word == WORDS || (*at)[length] != '=')
        return unknown_word(*at, strcspn(*at, blanks), err);
    out->word = word;
    *at += length + 1;
    return take_value(at, out, err);
}

/* What only holds between the words of a rule, and what the words not given mean. */
static int complete(struct parsing *p, struct lens_error *err)
{
    struct lensd_rule *rule = p->rule;
    if (!p->given[ON])
        return lens_error_set(err, -EINVAL, "expected on=CONCEPT, found none");
    if (p->given[ABOVE] == p->given[DEVIATION])
        return lens_error_set(err, -EINVAL, "expected either above= or deviation=, found %s",
                              p->given[ABOVE] ? "both" : "neither");
    if (p->given[BELOW] && p->given[DEVIATION])
        return lens_error_set(err, -EINVAL,
                              "expected no below= with deviation=: such a rule is quiet again when no "
                              "token of its window counts");
    if (!p->given[BELOW])
        rule->below = rule->above;
    if (rule->below > rule->above)
        return lens_error_set(err, -EINVAL, "expected below at most as high as above (%g), found %g",
                              (double)rule->above, (double)rule->below);
    if (!p->given[WINDOW])
        rule->window = rule->tokens;
    if (rule->tokens > rule->window)
        return lens_error_set(err, -EINVAL, "expected tokens of at most the window (%u), found %u", rule->window,
                              rule->tokens);
    return 0;
}

static int read_words(const char *at, struct parsing *p, struct lens_error *err)
{
    struct assignment a = {.word = WORDS};
    for (at += strspn(at, blanks); *at != '\0'; at += strspn(at, blanks)) {
        int r = take_assignment(&at, &a, err);
        if (r == 0 && p->given[a.word])
            r = lens_error_set(err, -EINVAL, "expected %s= once, found it twice", words[a.word]);
        if (r == 0)
            r = read_value(&a, p->rule, err);
        if (r != 0)
            return r;
        p->given[a.word] = true;
    }
    return complete(p, err);
}

static int read_rule(struct lens_text item, struct lensd_rule *rule, struct lens_error *err)
{
    char text[LENSD_RULE_NAME + LENSD_RULE_TEXT];
    struct parsing p = {.rule = rule};
    const char *at = text;
    if (item.length >= sizeof text)
        return lens_error_set(err, -EINVAL, "expected a rule of at most %zu bytes, found %u: \"%.40s..\"",
                              sizeof text - 1, item.length, item.data);
    snprintf(text, sizeof text, "%.*s", (int)item.length, item.data);
    int r = read_name(&at, rule, err);
    if (r != 0)
        return r;
    at += strspn(at, blanks);
    if (strlen(at) >= sizeof rule->text)
        r = lens_error_set(err, -EINVAL, "expected at most %zu bytes after the name, found %zu", sizeof rule->text - 1,
                           strlen(at));
    rule->tokens = 1;
    rule->action = LENS_VERDICT_FLAG;
    if (r == 0) {
        memcpy(rule->text, at, strlen(at) + 1);
        r = read_words(at, &p, err);
    }
    if (r != 0)
        lens_error_prefix(err, "rule %s", rule->name);
    return r;
}

/* ---- the list ---------------------------------------------------------------------------------------------------- */

/* The last rule against those before it. */
static int check_name(const struct lensd_rules *rules, struct lens_error *err)
{
    const struct lensd_rule *last = &rules->rules[rules->n - 1];
    for (uint32_t i = 0; i + 1 < rules->n; i++) {
        const struct lensd_rule *other = &rules->rules[i];
        if (strcmp(other->name, last->name) == 0)
            return lens_error_set(err, -EINVAL, "expected names that differ, found two rules %s", last->name);
        if (other->id == last->id)
            return lens_error_set(err, -EINVAL,
                                  "rules %s and %s have the same number (%u) in results: rename one of them",
                                  other->name, last->name, last->id);
    }
    return 0;
}

static int read_list(const char *list, struct lensd_rules *rules, struct lens_error *err)
{
    struct lens_text item;
    while (lensd_list_next(&list, &item)) {
        if (rules->n == LENSD_RULES_MAX)
            return lens_error_set(err, -EINVAL, "expected at most %u rules, found more", LENSD_RULES_MAX);
        int r = read_rule(item, &rules->rules[rules->n], err);
        if (r != 0)
            return r;
        rules->n++;
        r = check_name(rules, err);
        if (r != 0)
            return r;
    }
    return 0;
}

int lensd_rules_parse(const char *list, struct lensd_rule_totals *totals, struct lensd_rules **out,
                      struct lens_error *err)
{
    *out = NULL;
    if (lensd_list_length(list) == 0)
        return 0;
    struct lensd_rules *rules = lensd_calloc(1, sizeof *rules);
    if (rules == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for rules");
    rules->references = 1;
    int r = read_list(list, rules, err);
    if (r == 0 && totals != NULL)
        r = lensd_rules_count_in(rules, totals, err);
    if (r != 0) {
        lensd_rules_drop(rules);
        return r;
    }
    *out = rules;
    return 0;
}
