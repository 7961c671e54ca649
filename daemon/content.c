/* See content.h. From patterns and a pack to bitmaps; knows no session and no setting. */
#include "daemon/content.h"

#include "daemon/glob.h"
#include "daemon/sys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define KEY_MAX     264u /* a name of at most 255 bytes, ":255" and the terminator */
#define LAYER_BYTES 5u   /* ":255" and the terminator */

enum level { CONFIGURED, ASKED, LEVELS };

static const char *const list_names[] = {"include", "exclude", "filter"};

struct pattern {
    char text[LENSD_CONTENT_PATTERN_MAX + 1]; /* as written */
    uint32_t glob_length;                     /* of its glob: without what makes it a branch */
    uint32_t literal;                         /* bytes of the glob that stand for themselves, from its start */
    uint8_t level, list;
    bool branch;
};

struct lensd_content {
    uint32_t n, capacity;
    struct pattern patterns[];
};

/* ---- comma-separated lists -------------------------------------------------------------------------------------- */

static const char blanks[] = " \t\r\n";

bool lensd_list_next(const char **at, struct lens_text *item)
{
    if (*at == NULL || **at == '\0')
        return false;
    *at += strspn(*at, blanks);
    size_t whole = strcspn(*at, ","), length = whole;
    while (length > 0 && strchr(blanks, (*at)[length - 1]) != NULL)
        length--;
    *item = (struct lens_text){*at, (uint32_t)length};
    *at += whole;
    if (**at == ',') {
        (*at)++;
        (*at) += strspn(*at, blanks);
    }
    return true;
}

static int check_item(struct lens_text item, struct lens_error *err)
{
    if (item.length == 0)
        return lens_error_set(err, -EINVAL, "expected something between two commas, found nothing");
    if (item.length > LENSD_CONTENT_PATTERN_MAX)
        return lens_error_set(err, -EINVAL, "expected at most %u bytes each, found %u: \"%.40s..\"",
                              LENSD_CONTENT_PATTERN_MAX, item.length, item.data);
    return 0;
}

int lensd_list_check(const char *list, struct lens_error *err)
{
    struct lens_text item;
    uint32_t n = 0;
    while (lensd_list_next(&list, &item)) {
        int r = check_item(item, err);
        if (r != 0)
            return r;
        if (++n > LENSD_CONTENT_PATTERNS)
            return lens_error_set(err, -EINVAL, "expected at most %u items, found more", LENSD_CONTENT_PATTERNS);
    }
    return 0;
}

uint32_t lensd_list_length(const char *list)
{
    struct lens_text item;
    uint32_t n = 0;
    while (lensd_list_next(&list, &item))
        n++;
    return n;
}

/* ---- making ----------------------------------------------------------------------------------------------------- */

static int add_pattern(struct lensd_content *content, enum level level, enum lensd_content_list list,
                       struct lens_text text, struct lens_error *err)
{
    struct pattern *p = &content->patterns[content->n];
    if (check_item(text, err) != 0 || text.length >= sizeof p->text) {
        lens_error_prefix(err, "%s pattern", list_names[list]);
        return -EINVAL;
    }
    memcpy(p->text, text.data, text.length);
    p->text[text.length] = '\0';
    p->level = (uint8_t)level;
    p->list = (uint8_t)list;
    p->branch = text.length > 2 && strcmp(p->text + text.length - 2, "/*") == 0;
    p->glob_length = p->branch ? text.length - 2 : text.length;
    p->literal = (uint32_t)strcspn(p->text, "*?[\\");
    if (p->literal > p->glob_length)
        p->literal = p->glob_length;
    content->n++;
    return 0;
}

static int add_configured(struct lensd_content *content, enum lensd_content_list list, const char *text,
                          struct lens_error *err)
{
    struct lens_text item;
    int r = 0;
    while (r == 0 && lensd_list_next(&text, &item))
        r = add_pattern(content, CONFIGURED, list, item, err);
    return r;
}

static int add_all(struct lensd_content *content, const struct lensd_content_source *source, struct lens_error *err)
{
    int r = 0;
    for (unsigned list = 0; list < LENSD_CONTENT_LISTS && r == 0; list++) {
        r = add_configured(content, list, source->configured[list], err);
        for (uint32_t i = 0; i < source->n_asked[list] && r == 0; i++)
            r = add_pattern(content, ASKED, list, source->asked[list][i], err);
    }
    return r;
}

int lensd_content_create(const struct lensd_content_source *source, struct lensd_content **out, struct lens_error *err)
{
    uint32_t n = 0;
    *out = NULL;
    for (unsigned list = 0; list < LENSD_CONTENT_LISTS; list++)
        n += lensd_list_length(source->configured[list]) + source->n_asked[list];
    if (n == 0)
        return 0;
    struct lensd_content *content = lensd_calloc(1, sizeof *content + n * sizeof content->patterns[0]);
    if (content == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for %u patterns", n);
    content->capacity = n;
    int r = add_all(content, source, err);
    if (r != 0) {
        lensd_content_free(content);
        return r;
    }
    *out = content;
    return 0;
}

void lensd_content_free(struct lensd_content *content)
{
    lensd_free(content);
}

/* ---- matching --------------------------------------------------------------------------------------------------- */

static bool pattern_matches(const struct pattern *p, const struct lensd_glob *glob, const char *key, size_t key_length)
{
    if (key_length < p->literal || memcmp(p->text, key, p->literal) != 0)
        return false;
    if (p->literal == p->glob_length)
        return key_length == p->literal;
    return lensd_glob_matches(glob, key, key_length);
}

static void set_bit(uint64_t *map, uint32_t lens)
{
    map[lens / 64] |= UINT64_C(1) << (lens % 64);
}

/* What goes on while lists are resolved. */
struct resolving {
    const struct lensd_content *content;
    const struct lens_pack *pack;
    size_t words;
    char *keys; /* every "Name:layer", terminated, one behind the other: patterns are many, keys are made once */
    uint64_t *list, *one; /* scratch: what a list, a pattern means */
    uint32_t unmatched;
    const struct pattern *first_unmatched;
};

static size_t words_of(const struct lens_pack *pack)
{
    return ((size_t)pack->lenses + 63) / 64;
}

static void end_resolving(struct resolving *r)
{
    lensd_free(r->keys);
    lensd_free(r->list);
    lensd_free(r->one);
}

static int begin_resolving(struct resolving *r, const struct lensd_content *content, const struct lens_pack *pack,
                           struct lens_error *err)
{
    size_t bytes = (size_t)pack->name_offsets[pack->lenses] + (size_t)pack->lenses * LAYER_BYTES, used = 0;
    *r = (struct resolving){.content = content, .pack = pack, .words = words_of(pack)};
    r->keys = lensd_calloc(bytes + 1, 1);
    r->list = lensd_calloc(r->words, sizeof *r->list);
    r->one = lensd_calloc(r->words, sizeof *r->one);
    if (r->keys == NULL || r->list == NULL || r->one == NULL) {
        end_resolving(r);
        return lens_error_set(err, -ENOMEM, "no memory to look up %u patterns", content->n);
    }
    for (uint32_t lens = 0; lens < pack->lenses; lens++)
        used += (size_t)lens_pack_key(pack, lens, r->keys + used, bytes + 1 - used) + 1;
    return 0;
}

/* Marks what the pattern's glob matches. True when that is anything. */
static bool mark_matches(const struct resolving *r, const struct pattern *p, uint64_t *map)
{
    struct lensd_glob glob;
    lensd_glob_read(&glob, p->text, p->glob_length);
    bool any = false;
    const char *key = r->keys;
    for (uint32_t lens = 0; lens < r->pack->lenses; lens++) {
        size_t length = strlen(key);
        if (pattern_matches(p, &glob, key, length)) {
            set_bit(map, lens);
            any = true;
        }
        key += length + 1;
    }
    return any;
}

/* Until nothing is new. Ids rise from parent to primary child, so that one pass
 * does nearly all; only other parents may stand behind their children. */
void lensd_content_mark_below(const struct lens_pack *pack, uint64_t *map)
{
    bool changed = true;
    while (changed) {
        changed = false;
        for (uint32_t lens = 0; lens < pack->lenses; lens++) {
            if (!lensd_content_has(map, lens))
                continue;
            for (int32_t e = pack->child_offsets[lens]; e < pack->child_offsets[lens + 1]; e++) {
                uint32_t child = (uint32_t)pack->child_ids[e];
                changed = changed || (child < lens && !lensd_content_has(map, child));
                set_bit(map, child);
            }
        }
    }
}

/* Marks every parent of a marked lens, until nothing is new. */
static void mark_above(const struct lens_pack *pack, uint64_t *map)
{
    bool changed = true;
    while (changed) {
        changed = false;
        for (uint32_t lens = pack->lenses; lens-- > 0;) {
            for (int32_t e = pack->child_offsets[lens]; e < pack->child_offsets[lens + 1]; e++) {
                uint32_t child = (uint32_t)pack->child_ids[e];
                if (!lensd_content_has(map, child) || lensd_content_has(map, lens))
                    continue;
                changed = true;
                set_bit(map, lens);
            }
        }
    }
}

/* ---- resolving -------------------------------------------------------------------------------------------------- */

static bool has_list(const struct lensd_content *content, enum level level, enum lensd_content_list list)
{
    for (uint32_t i = 0; content != NULL && i < content->n; i++) {
        if (content->patterns[i].level == level && content->patterns[i].list == list)
            return true;
    }
    return false;
}

static void join(uint64_t *onto, const uint64_t *from, size_t words)
{
    for (size_t w = 0; w < words; w++)
        onto[w] |= from[w];
}

/* r->list becomes what one list of one level means. False when it has no pattern. */
static bool resolve_list(struct resolving *r, enum level level, enum lensd_content_list list)
{
    bool any = false;
    memset(r->list, 0, r->words * sizeof *r->list);
    for (uint32_t i = 0; i < r->content->n; i++) {
        const struct pattern *p = &r->content->patterns[i];
        if (p->level != level || p->list != list)
            continue;
        any = true;
        memset(r->one, 0, r->words * sizeof *r->one);
        if (!mark_matches(r, p, r->one) && r->unmatched++ == 0)
            r->first_unmatched = p;
        if (p->branch)
            lensd_content_mark_below(r->pack, r->one);
        join(r->list, r->one, r->words);
    }
    return any;
}

static void resolve_level(struct resolving *r, enum level level, const struct lensd_content_maps *out)
{
    if (out->allowed != NULL && resolve_list(r, level, LENSD_CONTENT_INCLUDE)) {
        mark_above(r->pack, r->list);
        for (size_t w = 0; w < r->words; w++)
            out->allowed[w] &= r->list[w];
    }
    if (out->allowed != NULL && resolve_list(r, level, LENSD_CONTENT_EXCLUDE)) {
        for (size_t w = 0; w < r->words; w++)
            out->allowed[w] &= ~r->list[w];
    }
    if (out->reported != NULL && resolve_list(r, level, LENSD_CONTENT_FILTER)) {
        for (size_t w = 0; w < r->words; w++)
            out->reported[w] &= r->list[w];
    }
}

static const char *list_title(const struct pattern *p, char *out, size_t size)
{
    if (p->level == CONFIGURED)
        snprintf(out, size, "the daemon's cascade.%s", list_names[p->list]);
    else
        snprintf(out, size, "the session's %s", list_names[p->list]);
    return out;
}

static int refuse_unmatched(const struct resolving *r, struct lens_error *err)
{
    const struct pattern *p = r->first_unmatched;
    char title[64];
    return lens_error_set(
        err, -ENOENT,
        "no concept of this pack matches \"%s\" of %s: patterns match the whole \"Name:layer\", as in "
        "\"Name:*\" (lensctl concepts GLOB shows what one matches), and may end in /* for all below",
        p->text, list_title(p, title, sizeof title));
}

static void note_unmatched(const struct resolving *r, char *note)
{
    char title[64];
    note[0] = '\0';
    if (r->unmatched == 0)
        return;
    int n = snprintf(note, LENSD_CONTENT_NOTE, "\"%.80s\" of %s", r->first_unmatched->text,
                     list_title(r->first_unmatched, title, sizeof title));
    if (r->unmatched > 1)
        n += snprintf(note + n, LENSD_CONTENT_NOTE - (size_t)n, " and %u more", r->unmatched - 1);
    snprintf(note + n, LENSD_CONTENT_NOTE - (size_t)n, " match%s nothing in this pack", r->unmatched > 1 ? "" : "es");
}

static int check_work(const struct lensd_content *content, const struct lens_pack *pack, struct lens_error *err)
{
    uint64_t globs = 0;
    for (uint32_t i = 0; i < content->n; i++) {
        const struct pattern *p = &content->patterns[i];
        globs += p->level == ASKED && p->literal < p->glob_length;
    }
    if (globs * pack->lenses <= LENSD_CONTENT_WORK)
        return 0;
    return lens_error_set(err, -EINVAL,
                          "a session may ask for %u patterns with wildcards on a pack of %u lenses, found %llu: name "
                          "concepts in full, or branches",
                          LENSD_CONTENT_WORK / pack->lenses, pack->lenses, (unsigned long long)globs);
}

static bool limits_scoring(const struct lensd_content *content)
{
    bool limits = false;
    for (int level = 0; level < LEVELS; level++)
        limits = limits || has_list(content, level, LENSD_CONTENT_INCLUDE) ||
                 has_list(content, level, LENSD_CONTENT_EXCLUDE);
    return limits;
}

static bool limits_report(const struct lensd_content *content)
{
    return has_list(content, CONFIGURED, LENSD_CONTENT_FILTER) || has_list(content, ASKED, LENSD_CONTENT_FILTER);
}

/* A map of all lenses, or NULL when it isn't wanted. */
static int new_map(bool wanted, const struct lens_pack *pack, uint64_t **out)
{
    *out = wanted ? lensd_calloc(words_of(pack), sizeof **out) : NULL;
    for (uint32_t lens = 0; *out != NULL && lens < pack->lenses; lens++)
        set_bit(*out, lens);
    return wanted && *out == NULL ? -ENOMEM : 0;
}

static int new_maps(const struct lensd_content *content, const struct lens_pack *pack, struct lensd_content_maps *out)
{
    int r = new_map(limits_scoring(content), pack, &out->allowed);
    return r == 0 ? new_map(limits_report(content), pack, &out->reported) : r;
}

int lensd_content_resolve(const struct lensd_content *content, const struct lens_pack *pack,
                          struct lensd_content_maps *out, char *note, struct lens_error *err)
{
    *out = (struct lensd_content_maps){NULL, NULL};
    if (note != NULL)
        note[0] = '\0';
    if (content == NULL)
        return 0;
    int r = check_work(content, pack, err);
    if (r != 0)
        return r;
    struct resolving resolving;
    r = begin_resolving(&resolving, content, pack, err);
    if (r != 0)
        return r;
    if (new_maps(content, pack, out) != 0) {
        r = lens_error_set(err, -ENOMEM, "no memory to look up %u patterns", content->n);
    } else {
        resolve_level(&resolving, CONFIGURED, out);
        resolve_level(&resolving, ASKED, out);
        if (note != NULL)
            note_unmatched(&resolving, note);
        else if (resolving.unmatched > 0)
            r = refuse_unmatched(&resolving, err);
    }
    end_resolving(&resolving);
    if (r != 0)
        lensd_content_maps_free(out);
    return r;
}

void lensd_content_maps_free(struct lensd_content_maps *maps)
{
    lensd_free(maps->allowed);
    lensd_free(maps->reported);
    *maps = (struct lensd_content_maps){NULL, NULL};
}

uint64_t lensd_content_map_bytes(const struct lensd_content *content, const struct lens_pack *pack)
{
    uint64_t maps = (uint64_t)limits_scoring(content) + (uint64_t)limits_report(content);
    return maps * words_of(pack) * sizeof(uint64_t);
}

/* ---- pins ------------------------------------------------------------------------------------------------------- */

static int refuse_pin(const struct lens_pack *pack, uint32_t lens, bool configured, struct lens_error *err)
{
    char key[KEY_MAX];
    lens_pack_key(pack, lens, key, sizeof key);
    return lens_error_set(err, -EINVAL,
                          "%s is pinned by %s, but the exclude or include lists of this session or of the daemon don't "
                          "let it be scored: exclusion wins, so leave out the pin or change the list",
                          key, configured ? "the daemon's cascade.pin" : "this session");
}

static int find_pin(struct lens_text item, const struct lens_pack *pack, uint32_t *lens, struct lens_error *err)
{
    char key[LENSD_CONTENT_PATTERN_MAX + 1];
    if (check_item(item, err) != 0 || item.length >= sizeof key) {
        lens_error_prefix(err, "the daemon's cascade.pin");
        return -EINVAL;
    }
    memcpy(key, item.data, item.length);
    key[item.length] = '\0';
    int r = lens_pack_find(pack, key, lens);
    if (r == -ENOTUNIQ)
        return lens_error_set(err, -ENOENT,
                              "the daemon's cascade.pin names \"%s\", a concept of several layers of this "
                              "pack: add the layer, as in \"%s:1\"",
                              key, key);
    if (r != 0)
        return lens_error_set(err, -ENOENT, "this pack has no concept \"%s\", which the daemon's cascade.pin names",
                              key);
    return 0;
}

static bool is_among(const uint32_t *ids, uint32_t n, uint32_t id)
{
    for (uint32_t i = 0; i < n; i++) {
        if (ids[i] == id)
            return true;
    }
    return false;
}

int lensd_content_pins(const uint32_t *asked, uint32_t n_asked, const char *configured, const struct lens_pack *pack,
                       const struct lensd_content_maps *maps, uint32_t *out, uint32_t *n_out, struct lens_error *err)
{
    struct lens_text item;
    uint32_t n = 0, lens;
    *n_out = 0;
    for (uint32_t i = 0; i < n_asked; i++) {
        if (asked[i] >= pack->lenses)
            return lens_error_set(err, -EINVAL, "pinned lens %u is outside the pack, which has %u lenses", asked[i],
                                  pack->lenses);
        if (!lensd_content_has(maps->allowed, asked[i]))
            return refuse_pin(pack, asked[i], false, err);
        out[n++] = asked[i];
    }
    for (uint32_t i = 0; i < LENSD_CONTENT_PATTERNS && lensd_list_next(&configured, &item); i++) {
        int r = find_pin(item, pack, &lens, err);
        if (r != 0)
            return r;
        if (!lensd_content_has(maps->allowed, lens))
            return refuse_pin(pack, lens, true, err);
        if (!is_among(out, n, lens))
            out[n++] = lens;
    }
    *n_out = n;
    return 0;
}

/* ---- explaining ------------------------------------------------------------------------------------------------- */

/* The text of the configured pattern of that list that covers `lens`, or NULL. */
static const char *covering(struct resolving *r, enum lensd_content_list list, uint32_t lens)
{
    for (uint32_t i = 0; i < r->content->n; i++) {
        const struct pattern *p = &r->content->patterns[i];
        if (p->list != list)
            continue;
        memset(r->one, 0, r->words * sizeof *r->one);
        mark_matches(r, p, r->one);
        if (p->branch)
            lensd_content_mark_below(r->pack, r->one);
        if (lensd_content_has(r->one, lens))
            return p->text;
    }
    return NULL;
}

static void explain_maps(struct resolving *r, const struct lensd_content_maps *maps, uint32_t lens, char *out,
                         size_t size)
{
    const char *pattern = covering(r, LENSD_CONTENT_EXCLUDE, lens);
    if (pattern != NULL)
        snprintf(out, size, "It is never scored: \"%.80s\" of the daemon's cascade.exclude matches it.", pattern);
    else if (!lensd_content_has(maps->allowed, lens))
        snprintf(out, size, "It is never scored: the daemon's cascade.include names neither it nor anything below it.");
    else if (!lensd_content_has(maps->reported, lens))
        snprintf(out, size, "It is scored but never reported: the daemon's cascade.filter doesn't name it.");
}

static void explain_pin(const char *pin, const struct lens_pack *pack, uint32_t lens, char *out, size_t size)
{
    struct lens_text item;
    uint32_t pinned;
    while (lensd_list_next(&pin, &item)) {
        if (find_pin(item, pack, &pinned, NULL) == 0 && pinned == lens)
            snprintf(out, size, "It is scored on every row: the daemon's cascade.pin names it.");
    }
}

static int explain_lists(const struct lensd_content *content, const struct lens_pack *pack, uint32_t lens, char *out,
                         size_t size, struct lens_error *err)
{
    struct lensd_content_maps maps = {NULL, NULL};
    char note[LENSD_CONTENT_NOTE];
    struct resolving resolving;
    int r = lensd_content_resolve(content, pack, &maps, note, err);
    if (r != 0)
        return r;
    r = begin_resolving(&resolving, content, pack, err);
    if (r == 0) {
        explain_maps(&resolving, &maps, lens, out, size);
        end_resolving(&resolving);
    }
    lensd_content_maps_free(&maps);
    return r;
}

int lensd_content_explain(const struct lensd_content_source *source, const char *pin, const struct lens_pack *pack,
                          uint32_t lens, char *out, size_t size, struct lens_error *err)
{
    struct lensd_content *content;
    out[0] = '\0';
    explain_pin(pin, pack, lens, out, size);
    int r = lensd_content_create(source, &content, err);
    if (r == 0 && content != NULL)
        r = explain_lists(content, pack, lens, out, size, err);
    lensd_content_free(content);
    return r;
}

int lensd_content_check(const struct lensd_content_source *source, const char *pin, const struct lens_pack *pack,
                        struct lens_error *err)
{
    struct lensd_content *content;
    struct lensd_content_maps maps = {NULL, NULL};
    uint32_t pins[LENSD_CONTENT_PATTERNS], n;
    int r = lensd_content_create(source, &content, err);
    if (r == 0)
        r = lensd_content_resolve(content, pack, &maps, NULL, err);
    if (r == 0)
        r = lensd_content_pins(NULL, 0, pin, pack, &maps, pins, &n, err);
    lensd_content_maps_free(&maps);
    lensd_content_free(content);
    return r;
}
