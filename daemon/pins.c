/* See pins.h. */
#include "daemon/pins.h"

#include "daemon/branch.h"
#include "daemon/sys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define KEY_MAX  264u /* a name of at most 255 bytes, ":255" and the terminator */
#define MORE_MAX 32u  /* ", and 4294967295 more" */

/* ---- making ----------------------------------------------------------------------------------------------------- */

static int mark(const struct lensd_pin *pin, const struct lens_pack *pack, bool *marks)
{
    struct lensd_branch branch;
    int r = lensd_branch_find(pack, pin->concept, pin->alone, &branch);
    for (uint32_t lens = 0; r == 0 && lens < pack->lenses; lens++)
        marks[lens] = marks[lens] || lensd_branch_has(&branch, lens);
    lensd_branch_free(&branch);
    return r;
}

/* Puts down which lenses the branches hold. */
static int collect(struct lensd_pins *pins, const struct lens_pack *pack)
{
    bool *marks = lensd_calloc(pack->lenses, sizeof *marks);
    pins->lenses = lensd_calloc(pack->lenses, sizeof *pins->lenses);
    int r = marks != NULL && pins->lenses != NULL ? 0 : -ENOMEM;
    for (uint32_t i = 0; r == 0 && i < pins->n_items; i++)
        r = mark(&pins->items[i], pack, marks);
    for (uint32_t lens = 0; r == 0 && lens < pack->lenses; lens++)
        if (marks[lens])
            pins->lenses[pins->n++] = lens;
    lensd_free(marks);
    return r;
}

/* `items` as a list; none of them are no list. */
static int make(const struct lensd_pin *items, uint32_t n_items, const struct lens_pack *pack, struct lensd_pins **out,
                struct lens_error *err)
{
    *out = NULL;
    if (n_items == 0)
        return 0;
    struct lensd_pins *pins = lensd_calloc(1, sizeof *pins);
    int r = -ENOMEM;
    if (pins != NULL) {
        memcpy(pins->items, items, n_items * sizeof *items);
        pins->n_items = n_items;
        r = collect(pins, pack);
    }
    if (r != 0) {
        lensd_pins_free(pins);
        return lens_error_set(err, r, "no memory for the lenses that are pinned");
    }
    *out = pins;
    return 0;
}

void lensd_pins_free(struct lensd_pins *pins)
{
    if (pins == NULL)
        return;
    lensd_free(pins->lenses);
    lensd_free(pins);
}

/* ---- changing --------------------------------------------------------------------------------------------------- */

/* The items of `pins`, into out[LENSD_PINS_BRANCHES], but for `without`. */
static uint32_t copy_items(const struct lensd_pins *pins, const struct lensd_pin *without, struct lensd_pin *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; pins != NULL && i < pins->n_items; i++) {
        const struct lensd_pin *item = &pins->items[i];
        if (without == NULL || item->concept != without->concept || item->alone != without->alone)
            out[n++] = *item;
    }
    return n;
}

int lensd_pins_add(const struct lensd_pins *old, const struct lens_pack *pack, struct lensd_pin pin,
                   struct lensd_pins **out, struct lens_error *err)
{
    char text[KEY_MAX + 8];
    struct lensd_pin items[LENSD_PINS_BRANCHES];
    uint32_t before = old != NULL ? old->n_items : 0, n = copy_items(old, &pin, items);
    *out = NULL;
    lensd_pin_text(pin, pack, text, sizeof text);
    if (n < before)
        return lens_error_set(err, -EEXIST, "%s is pinned already", text);
    if (n == LENSD_PINS_BRANCHES)
        return lens_error_set(err, -E2BIG, "%u branches are pinned, which is all there may be: unpin one first", n);
    items[n++] = pin;
    return make(items, n, pack, out, err);
}

int lensd_pins_remove(const struct lensd_pins *old, const struct lens_pack *pack, struct lensd_pin pin,
                      struct lensd_pins **out, struct lens_error *err)
{
    char text[KEY_MAX + 8];
    struct lensd_pin items[LENSD_PINS_BRANCHES];
    uint32_t before = old != NULL ? old->n_items : 0, n = copy_items(old, &pin, items);
    *out = NULL;
    lensd_pin_text(pin, pack, text, sizeof text);
    if (n == before)
        return lens_error_set(err, -ENOENT, "%s isn't pinned by itself: lensctl packs says which branches are", text);
    return make(items, n, pack, out, err);
}

int lensd_pins_carry(const struct lensd_pins *old, const struct lens_pack *from, const struct lens_pack *to,
                     struct lensd_pins **out, uint32_t *lost, struct lens_error *err)
{
    char key[KEY_MAX];
    struct lensd_pin items[LENSD_PINS_BRANCHES];
    uint32_t all = copy_items(old, NULL, items), n = 0;
    for (uint32_t i = 0; i < all; i++) {
        uint32_t lens;
        lens_pack_key(from, items[i].concept, key, sizeof key);
        if (lens_pack_find(to, key, &lens) == 0)
            items[n++] = (struct lensd_pin){lens, items[i].alone};
    }
    *lost = all - n;
    return make(items, n, to, out, err);
}

/* ---- asking ----------------------------------------------------------------------------------------------------- */

bool lensd_pins_has(const struct lensd_pins *pins, uint32_t lens)
{
    uint32_t from = 0, to = lensd_pins_count(pins);
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        if (pins->lenses[middle] == lens)
            return true;
        if (pins->lenses[middle] < lens)
            from = middle + 1;
        else
            to = middle;
    }
    return false;
}

void lensd_pin_text(struct lensd_pin pin, const struct lens_pack *pack, char *out, size_t size)
{
    char key[KEY_MAX];
    lens_pack_key(pack, pin.concept, key, sizeof key);
    snprintf(out, size, "%s%s", key, pin.alone ? " alone" : "");
}

void lensd_pins_text(const struct lensd_pins *pins, const struct lens_pack *pack, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (uint32_t i = 0; pins != NULL && i < pins->n_items; i++) {
        char text[KEY_MAX + 8];
        lensd_pin_text(pins->items[i], pack, text, sizeof text);
        if (used + strlen(text) + MORE_MAX > size) {
            snprintf(out + used, size - used, "%sand %u more", i > 0 ? ", " : "", pins->n_items - i);
            return;
        }
        used += (size_t)snprintf(out + used, size - used, "%s%s", i > 0 ? ", " : "", text);
    }
}
