/* Policies on content: which concepts of a pack a session may score, and which of those it reports.
 *
 * A pattern is a glob over "Name:layer" as `lensctl concepts` takes it (fnmatch: * ? [..]), or such a glob and a slash
 * and a star behind it (the concept, then "/", then "*"): what the glob matches and everything below
 * it, through any parent.
 *
 *   include  when there are any, only matching lenses and all their ancestors are scored
 *   exclude  matching lenses are never scored (not as base, not as children, not as retained) and never reported, and
 *            what can only be reached through them isn't reached. Exclusion wins over inclusion and over pins
 *   filter   when there are any, only matching lenses are reported. Scoring, expansion and the retained set stay as
 *            they are; suppress_parents looks at what is left after the filter
 *   pin      keys, not patterns: always scored; a pin that is excluded or not included is refused
 *
 * To a cascade a lens that isn't allowed is as if the pack didn't have it: a lens whose children are all excluded has
 * no children, is never expanded, and counts as a leaf.
 *
 * There are two levels, the daemon's configuration and the session's own lists. Each level decides by itself; a lens is
 * scored (reported) when both levels allow it. Pins are united.
 *
 * When a session attaches, each pattern must match something in its pack: a typo must not silently watch nothing. After
 * a swap a pattern may match nothing; the caller gets a sentence to log. The lists are those of the moment of the
 * attach for as long as the session lives.
 *
 * Threads: plain functions over the caller's data; the loop thread's in practice. Nothing here is on the hot path. */
#ifndef LENSD_CONTENT_H
#define LENSD_CONTENT_H

#include "proto/codec.h"
#include "proto/pack.h"

#define LENSD_CONTENT_PATTERN_MAX LENS_PATTERN_MAX /* bytes of a pattern */
#define LENSD_CONTENT_PATTERNS    256u             /* patterns of one list of the configuration at most */
#define LENSD_CONTENT_WORK        (1u << 21u) /* a session's globs times the pack's lenses: bounds what an attach costs */
#define LENSD_CONTENT_NOTE        320u

enum lensd_content_list {
    LENSD_CONTENT_INCLUDE,
    LENSD_CONTENT_EXCLUDE,
    LENSD_CONTENT_FILTER,
    LENSD_CONTENT_LISTS,
};

/* Where the lists come from; lent for the call. */
struct lensd_content_source {
    const char *configured[LENSD_CONTENT_LISTS];        /* comma-separated, as settings have them; NULL or "" = none */
    const struct lens_text *asked[LENSD_CONTENT_LISTS]; /* the session's own */
    uint32_t n_asked[LENSD_CONTENT_LISTS];
};

struct lensd_content; /* both levels' lists, copied */

/* -EINVAL: an empty or too long pattern, or too many. -ENOMEM. *out may be NULL: no list has a pattern. */
int lensd_content_create(const struct lensd_content_source *source, struct lensd_content **out, struct lens_error *err);
void lensd_content_free(struct lensd_content *content); /* NULL is fine */

/* What a set of lists means in one pack: bitmaps [(N+63)/64], owned by the caller; NULL = all lenses. */
struct lensd_content_maps {
    uint64_t *allowed, *reported;
};

/* Resolves the lists (NULL: none). With `note` NULL a pattern that matches nothing is refused (-ENOENT); else the lists
 * are taken as they are, and note[LENSD_CONTENT_NOTE] gets a sentence about such patterns, or "". -EINVAL: more work
 * than LENSD_CONTENT_WORK. -ENOMEM. On error *out holds NULLs. */
int lensd_content_resolve(const struct lensd_content *content, const struct lens_pack *pack,
                          struct lensd_content_maps *out, char *note, struct lens_error *err);
void lensd_content_maps_free(struct lensd_content_maps *maps);

/* Bytes the bitmaps of such lists take, for accounting before they exist. */
uint64_t lensd_content_map_bytes(const struct lensd_content *content, const struct lens_pack *pack);

static inline bool lensd_content_has(const uint64_t *map, uint32_t lens)
{
    return map == NULL || (map[lens / 64] >> (lens % 64) & 1) != 0;
}

/* Marks, in a bitmap of the pack's lenses, everything below what is marked, through any parent. */
void lensd_content_mark_below(const struct lens_pack *pack, uint64_t *map);

/* The pins of a session: ids it asked for, then those of the configured keys ("Name:layer", or "Name" when one layer
 * alone has it) that aren't among them. out[] has room for n_asked + LENSD_CONTENT_PATTERNS ids. -EINVAL: an id outside
 * the pack, or a pin that isn't allowed; -ENOENT: a configured key that the pack lacks. */
int lensd_content_pins(const uint32_t *asked, uint32_t n_asked, const char *configured, const struct lens_pack *pack,
                       const struct lensd_content_maps *maps, uint32_t *out, uint32_t *n_out, struct lens_error *err);

/* Writes why the configured lists keep `lens` from being scored or reported: sentences, or "" when they don't. `pin` is
 * the configured list of keys. -EINVAL, -ENOMEM as create. */
int lensd_content_explain(const struct lensd_content_source *source, const char *pin, const struct lens_pack *pack,
                          uint32_t lens, char *out, size_t size, struct lens_error *err);

/* Whether sessions without lists of their own could attach to the pack. -ENOENT, -EINVAL, -ENOMEM as the calls above.
 */
int lensd_content_check(const struct lensd_content_source *source, const char *pin, const struct lens_pack *pack,
                        struct lens_error *err);

/* ---- comma-separated lists ------------------------------------------------------------------------------------------
 */

/* The next item at *at, without blanks around it; moves *at behind its comma. False at the end. */
bool lensd_list_next(const char **at, struct lens_text *item);
uint32_t lensd_list_length(const char *list); /* how many items that are */
/* Checks such a list: -EINVAL with a sentence that doesn't name the setting. One comma at the end is fine. */
int lensd_list_check(const char *list, struct lens_error *err);

#endif
