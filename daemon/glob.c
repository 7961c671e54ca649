/* See glob.h. */
#include "daemon/glob.h"

#include <ctype.h>
#include <string.h>

/* A step is a kind and, in its low byte, which byte or set. */
enum kind { BYTE = 0x000, SET = 0x100, ANY = 0x200, STAR = 0x300, KIND = 0x300 };

/* The pattern's text while it is read. */
struct text {
    const char *at, *end;
    const char *last; /* ], or NULL: a [ behind it isn't closed, which need not be found out again and again */
};

/* ---- brackets --------------------------------------------------------------------------------------------------- */

static void add_range(uint64_t *set, unsigned first, unsigned last)
{
    for (unsigned c = first; c <= last; c++)
        set[c / 64] |= UINT64_C(1) << (c % 64);
}

static bool add_class(uint64_t *set, const char *name, size_t length)
{
    static const struct {
        const char *name;
        int (*has)(int c);
    } classes[] = {{"alnum", isalnum}, {"alpha", isalpha}, {"blank", isblank}, {"cntrl", iscntrl},
                   {"digit", isdigit}, {"graph", isgraph}, {"lower", islower}, {"print", isprint},
                   {"punct", ispunct}, {"space", isspace}, {"upper", isupper}, {"xdigit", isxdigit}};
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        if (strlen(classes[i].name) != length || memcmp(classes[i].name, name, length) != 0)
            continue;
        for (int c = 0; c < 256; c++)
            if (classes[i].has(c) != 0)
                add_range(set, (unsigned)c, (unsigned)c);
        return true;
    }
    return false;
}

/* "[:name:]" at the text's place. False when it is none that is known. */
static bool take_class(struct text *t, uint64_t *set)
{
    const char *end = t->at + 2;
    if (t->end - t->at < 4 || t->at[0] != '[' || t->at[1] != ':')
        return false;
    while (end < t->end && islower((unsigned char)*end) != 0)
        end++;
    if (t->end - end < 2 || end[0] != ':' || end[1] != ']' || !add_class(set, t->at + 2, (size_t)(end - t->at) - 2))
        return false;
    t->at = end + 2;
    return true;
}

/* One byte inside brackets; false at the end of the pattern. */
static bool take_byte(struct text *t, unsigned *out)
{
    if (t->at < t->end && *t->at == '\\')
        t->at++;
    if (t->at == t->end)
        return false;
    *out = (unsigned char)*t->at++;
    return true;
}

/* A byte or a range of them; one that ends before it begins holds nothing. */
static bool take_range(struct text *t, uint64_t *set)
{
    unsigned first, last;
    if (!take_byte(t, &first))
        return false;
    last = first;
    if (t->end - t->at >= 2 && t->at[0] == '-' && t->at[1] != ']') {
        t->at++;
        if (!take_byte(t, &last))
            return false;
    }
    add_range(set, first, last);
    return true;
}

/* What stands between [ and ]. False, and the text is where it was, when it isn't closed. */
static bool take_set(struct text *t, uint64_t *set)
{
    struct text inner = *t;
    bool negated = inner.at < inner.end && (*inner.at == '!' || *inner.at == '^');
    inner.at += negated;
    if (t->last == NULL || t->last <= inner.at)
        return false;
    memset(set, 0, 4 * sizeof *set);
    for (const char *begin = inner.at; inner.at < inner.end;) {
        if (*inner.at == ']' && inner.at > begin) {
            t->at = inner.at + 1;
            for (unsigned i = 0; i < 4; i++)
                set[i] = negated ? ~set[i] : set[i];
            return true;
        }
        if (!take_class(&inner, set) && !take_range(&inner, set))
            break;
    }
    return false;
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static uint16_t take_step(struct lensd_glob *glob, struct text *t)
{
    char c = *t->at++;
    if (c == '*')
        return STAR;
    if (c == '?')
        return ANY;
    if (c == '[' && take_set(t, glob->members[glob->sets]))
        return (uint16_t)(SET | glob->sets++);
    if (c == '\\') {
        glob->never = glob->never || t->at == t->end;
        c = t->at < t->end ? *t->at++ : c;
    }
    return (uint16_t)(BYTE | (unsigned char)c);
}

void lensd_glob_read(struct lensd_glob *glob, const char *pattern, size_t length)
{
    glob->n = glob->sets = 0;
    glob->never = length > LENSD_GLOB_MAX;
    if (length == 0 || glob->never)
        return;
    struct text t = {pattern, pattern + length, memrchr(pattern, ']', length)};
    while (t.at < t.end) {
        uint16_t step = take_step(glob, &t);
        if (step != STAR || glob->n == 0 || glob->steps[glob->n - 1] != STAR)
            glob->steps[glob->n++] = step;
    }
}

/* ---- matching --------------------------------------------------------------------------------------------------- */

static bool fits(const struct lensd_glob *glob, uint16_t step, unsigned char c)
{
    unsigned which = step & 0xffu;
    switch (step & KIND) {
    case BYTE:
        return which == c;
    case SET:
        return (glob->members[which][c / 64] >> (c % 64) & 1) != 0;
    default:
        return true;
    }
}

/* What was taken before the last star need never be looked at again: a later place for it leaves less to match. */
bool lensd_glob_matches(const struct lensd_glob *glob, const char *text, size_t length)
{
    size_t step = 0, at = 0, star = SIZE_MAX, star_at = 0;
    while (at < length) {
        if (step < glob->n && glob->steps[step] == STAR) {
            star = step++;
            star_at = at;
        } else if (step < glob->n && fits(glob, glob->steps[step], (unsigned char)text[at])) {
            step++;
            at++;
        } else if (star != SIZE_MAX) {
            step = star + 1;
            at = ++star_at;
        } else {
            return false;
        }
    }
    while (step < glob->n && glob->steps[step] == STAR)
        step++;
    return step == glob->n && !glob->never;
}
