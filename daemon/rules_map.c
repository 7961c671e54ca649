/* A set of rules in terms of one pack: which rules watch a lens, and which lenses are scored on every row for them. */
#include "daemon/content.h"
#include "daemon/rules_private.h"
#include "daemon/sys.h"

#include <errno.h>
#include <string.h>

/* The very concept; lens_pack_find would also take a name without its layer. */
static bool find_concept(const struct lens_pack *pack, const char *key, uint32_t *lens)
{
    char found[LENSD_RULE_TEXT + 8];
    if (lens_pack_find(pack, key, lens) != 0)
        return false;
    lens_pack_key(pack, *lens, found, sizeof found);
    return strcmp(found, key) == 0;
}

/* False when the pack lacks the rule's concept. `below` is scratch of `words`. */
static bool add_rule(struct lensd_rule_map *map, const struct lensd_rule *rule, uint32_t bit,
                     const struct lens_pack *pack, uint64_t *below, size_t words)
{
    uint32_t top;
    if (!find_concept(pack, rule->on, &top))
        return false;
    map->rules_of[top] |= bit;
    if (!rule->branch)
        return true;
    memset(below, 0, words * sizeof *below);
    below[top / 64] |= UINT64_C(1) << (top % 64);
    lensd_content_mark_below(pack, below);
    for (uint32_t lens = 0; lens < pack->lenses; lens++)
        map->rules_of[lens] |= lensd_content_has(below, lens) ? bit : 0;
    return true;
}

static int add_pins(struct lensd_rule_map *map, uint32_t pinning, uint32_t lenses)
{
    uint32_t n = 0;
    for (uint32_t lens = 0; lens < lenses; lens++)
        n += (map->rules_of[lens] & pinning) != 0;
    if (n == 0)
        return 0;
    map->pins = lensd_calloc(n, sizeof *map->pins);
    if (map->pins == NULL)
        return -ENOMEM;
    for (uint32_t lens = 0; lens < lenses; lens++) {
        if ((map->rules_of[lens] & pinning) != 0)
            map->pins[map->n_pins++] = lens;
    }
    return 0;
}

static int fill(struct lensd_rule_map *map, const struct lensd_rules *rules, const struct lens_pack *pack,
                uint32_t *silent)
{
    size_t words = ((size_t)pack->lenses + 63) / 64;
    uint64_t *below = lensd_calloc(words, sizeof *below);
    uint32_t pinning = 0;
    map->rules_of = lensd_calloc(pack->lenses, sizeof *map->rules_of);
    if (below == NULL || map->rules_of == NULL) {
        lensd_free(below);
        return -ENOMEM;
    }
    for (uint32_t r = 0; r < rules->n; r++) {
        uint32_t bit = UINT32_C(1) << r;
        if (add_rule(map, &rules->rules[r], bit, pack, below, words))
            map->watching |= bit;
        else
            (*silent)++;
        pinning |= rules->rules[r].deviation > 0 ? bit : 0;
    }
    lensd_free(below);
    return add_pins(map, pinning, pack->lenses);
}

int lensd_rule_map_create(const struct lensd_rules *rules, const struct lens_pack *pack, struct lensd_rule_map **out,
                          uint32_t *silent)
{
    struct lensd_rule_map *map = lensd_calloc(1, sizeof *map);
    *out = NULL;
    *silent = 0;
    if (map == NULL)
        return -ENOMEM;
    int r = fill(map, rules, pack, silent);
    if (r != 0) {
        lensd_rule_map_destroy(map);
        return r;
    }
    *out = map;
    return 0;
}

void lensd_rule_map_destroy(struct lensd_rule_map *map)
{
    if (map == NULL)
        return;
    lensd_free(map->rules_of);
    lensd_free(map->pins);
    lensd_free(map);
}

const uint32_t *lensd_rule_map_pins(const struct lensd_rule_map *map, uint32_t *n)
{
    *n = map->n_pins;
    return map->pins;
}
