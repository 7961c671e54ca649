/* See concept_tree.h. */
#include "client/lensctl/concept_tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEEPEST 64u /* levels: a daemon that names a cycle must not hold us up */

static char *make_key(const struct lens_concept_row *row)
{
    size_t size = row->name.length + 5;
    char *key = malloc(size);
    if (key != NULL)
        snprintf(key, size, "%.*s:%u", (int)row->name.length, row->name.data, row->layer);
    return key;
}

static int append_page(struct concept_tree *tree, const struct lens_concept_page *page)
{
    struct concept *concepts = realloc(tree->concepts, (tree->count + page->count + 1) * sizeof *concepts);
    if (concepts == NULL)
        return -ENOMEM;
    tree->concepts = concepts;
    for (uint32_t i = 0; i < page->count; i++) {
        const struct lens_concept_row *row = &page->rows[i];
        struct concept *c = &tree->concepts[tree->count];
        *c = (struct concept){.id = row->id,
                              .parent = row->parent,
                              .children = row->children,
                              .layer = row->layer,
                              .role = row->role,
                              .calibrated = row->calibrated,
                              .resident = row->resident,
                              .key = make_key(row)};
        if (c->key == NULL)
            return -ENOMEM;
        tree->count++;
    }
    return 0;
}

/* Which pack is meant and how large it is. */
static int begin(struct lens_client *client, const char *pack, struct concept_tree *tree)
{
    struct lens_msg msg;
    int exit_code;
    const struct lens_pack_row *row = ctl_find_pack(client, pack, &msg, &exit_code);
    if (row == NULL)
        return exit_code;
    tree->pack = strndup(row->name.data, row->name.length);
    tree->lenses = row->lenses;
    tree->dim = row->dim;
    tree->generation = row->generation;
    return tree->pack != NULL ? CTL_OK : ctl_fail(CTL_FAILED, "out of memory");
}

/* Fetches pages until the last. *stale: the pack was swapped meanwhile, begin again. */
static int fetch_pages(struct lens_client *client, struct concept_tree *tree, bool *stale)
{
    struct lens_msg msg;
    uint32_t next = 0;
    while (next < tree->lenses) {
        ctl_request(&msg, LENS_MSG_CONCEPTS);
        msg.u.concepts.pack = lens_text_of(tree->pack);
        msg.u.concepts.first = next;
        int r = ctl_call(client, &msg, LENS_MSG_CONCEPT_PAGE);
        if (r != CTL_OK)
            return r;
        const struct lens_concept_page *page = &msg.u.concept_page;
        *stale = page->generation != tree->generation;
        if (*stale)
            return CTL_OK;
        if (page->next <= next || page->next != tree->count + page->count)
            return ctl_fail(CTL_FAILED, "the daemon's list of concepts doesn't go on after lens %u of %u", next,
                            tree->lenses);
        if (append_page(tree, page) != 0)
            return ctl_fail(CTL_FAILED, "out of memory");
        next = page->next;
    }
    return CTL_OK;
}

int concept_tree_fetch(struct lens_client *client, const char *pack, struct concept_tree *out)
{
    int r = CTL_OK;
    bool stale = true;
    for (int attempt = 0; attempt < 3 && stale && r == CTL_OK; attempt++) {
        *out = (struct concept_tree){0};
        stale = false;
        r = begin(client, pack, out);
        if (r == CTL_OK)
            r = fetch_pages(client, out, &stale);
        if (r != CTL_OK || stale)
            concept_tree_free(out);
    }
    return stale ? ctl_fail(CTL_FAILED, "the pack is swapped again and again; try once more") : r;
}

void concept_tree_free(struct concept_tree *tree)
{
    for (size_t i = 0; i < tree->count; i++)
        free(tree->concepts[i].key);
    free(tree->concepts);
    free(tree->pack);
    *tree = (struct concept_tree){0};
}

const char *concept_tree_key(const struct concept_tree *tree, uint32_t id)
{
    return id < tree->count ? tree->concepts[id].key : "?";
}

json_t *concept_tree_path(const struct concept_tree *tree, uint32_t id)
{
    json_t *list = json_array();
    int64_t at = id;
    for (unsigned n = 0; n < DEEPEST && at >= 0 && (size_t)at < tree->count; n++, at = tree->concepts[at].parent)
        json_array_insert_new(list, 0, ctl_json_text(lens_text_of(tree->concepts[at].key)));
    return list;
}

static bool is_number(const char *text, size_t length)
{
    return length > 0 && length < 10 && strspn(text, "0123456789") >= length;
}

/* Whether `text` is the key, or the key without its layer. */
static bool names(const char *key, const char *text, size_t length)
{
    size_t whole = strlen(key);
    const char *colon = strrchr(key, ':');
    size_t name = colon != NULL ? (size_t)(colon - key) : whole;
    return (length == whole || length == name) && memcmp(key, text, length) == 0;
}

int concept_tree_find(const struct concept_tree *tree, const char *text, size_t length, uint32_t *id)
{
    unsigned found = 0;
    for (size_t i = 0; i < tree->count; i++) {
        const char *key = tree->concepts[i].key;
        if (!names(key, text, length))
            continue;
        *id = tree->concepts[i].id;
        found++;
        if (strlen(key) == length) /* a whole key is unique */
            return 0;
    }
    if (found == 0 && is_number(text, length) && strtoul(text, NULL, 10) < tree->count) {
        *id = (uint32_t)strtoul(text, NULL, 10);
        return 0;
    }
    return found == 1 ? 0 : found == 0 ? -ENOENT : -ENOTUNIQ;
}
