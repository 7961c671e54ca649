/* lensctl concepts [GLOB]: the hierarchy, or the concepts that match. */
#include "client/lensctl/commands.h"
#include "client/lensctl/concept_tree.h"

#include <fnmatch.h>
#include <stdlib.h>

static const char *role_name(uint8_t role)
{
    static const char *const names[] = {"concept", "simplex", "behavioural", "category"};
    return role < sizeof names / sizeof names[0] ? names[role] : "?";
}

static bool matches(const struct concept *c, const char *glob)
{
    return glob == NULL || fnmatch(glob, c->key, 0) == 0;
}

static const char *parent_key(const struct concept_tree *tree, const struct concept *c)
{
    return c->parent >= 0 ? concept_tree_key(tree, (uint32_t)c->parent) : NULL;
}

static json_t *concept_json(const struct concept_tree *tree, const struct concept *c)
{
    const char *parent = parent_key(tree, c);
    json_t *object = json_object();
    ctl_json_set_text(object, "concept", lens_text_of(c->key));
    ctl_json_set_count(object, "id", c->id);
    json_object_set_new(object, "parent", parent == NULL ? json_null() : ctl_json_text(lens_text_of(parent)));
    json_object_set_new(object, "parent_id", parent == NULL ? json_null() : json_integer(c->parent));
    ctl_json_set_count(object, "layer", c->layer);
    json_object_set_new(object, "role", json_string(role_name(c->role)));
    ctl_json_set_count(object, "children", c->children);
    json_object_set_new(object, "calibrated", json_boolean(c->calibrated));
    json_object_set_new(object, "resident", json_boolean(c->resident));
    return object;
}

static int print_json(const struct ctl *ctl, const struct concept_tree *tree, const char *glob)
{
    json_t *object = ctl_json_new(), *list = json_array();
    ctl_json_set_text(object, "pack", lens_text_of(tree->pack));
    ctl_json_set_count(object, "generation", tree->generation);
    for (size_t i = 0; i < tree->count; i++) {
        if (matches(&tree->concepts[i], glob))
            json_array_append_new(list, concept_json(tree, &tree->concepts[i]));
    }
    json_object_set_new(object, "concepts", list);
    return ctl_json_print(&ctl->out, object, false);
}

static void add_row(struct ctl_table *table, const struct concept_tree *tree, uint32_t id, unsigned depth)
{
    const struct concept *c = &tree->concepts[id];
    const char *parent = parent_key(tree, c);
    ctl_table_add(table, "%*s%s", (int)(2 * depth), "", c->key);
    ctl_table_add(table, "%u", c->id);
    ctl_table_add(table, "%s", parent == NULL ? "-" : parent);
    ctl_table_add(table, "%u", c->children);
    ctl_table_add(table, "%s", role_name(c->role));
    ctl_table_add(table, "%s", c->calibrated ? "yes" : "no");
    ctl_table_add(table, "%s", c->resident ? "slot" : "-");
}

/* Primary children of each concept: ids stand breadth first, so a family is the run of ids with that parent. */
struct families {
    uint32_t *first, *last; /* [lenses]: first..last-1 */
};

static bool find_families(const struct concept_tree *tree, struct families *f)
{
    f->first = calloc(tree->count + 1, sizeof *f->first);
    f->last = calloc(tree->count + 1, sizeof *f->last);
    if (f->first == NULL || f->last == NULL)
        return false;
    for (uint32_t i = 0; i < tree->count; i++) {
        int32_t parent = tree->concepts[i].parent;
        if (parent < 0 || (size_t)parent >= tree->count)
            continue;
        if (f->last[parent] == 0)
            f->first[parent] = i;
        f->last[parent] = i + 1;
    }
    return true;
}

/* Walks from `root` down in print order without recursion; parents always have the lower id, so it ends. */
static void add_below(struct ctl_table *table, const struct concept_tree *tree, const struct families *f, uint32_t root,
                      bool indent)
{
    uint32_t at = root;
    unsigned depth = 0;
    for (;;) {
        add_row(table, tree, at, indent ? depth : 0);
        if (f->last[at] > f->first[at] && f->first[at] > at) {
            at = f->first[at];
            depth++;
            continue;
        }
        while (at != root && at + 1 >= f->last[tree->concepts[at].parent]) {
            at = (uint32_t)tree->concepts[at].parent;
            depth--;
        }
        if (at == root)
            return;
        at++;
    }
}

static void add_hierarchy(const struct ctl *ctl, struct ctl_table *table, const struct concept_tree *tree)
{
    struct families f;
    if (!find_families(tree, &f))
        table->no_memory = true;
    for (uint32_t i = 0; i < tree->count && !table->no_memory; i++) {
        if (tree->concepts[i].parent < 0)
            add_below(table, tree, &f, i, ctl->out.terminal);
    }
    free(f.first);
    free(f.last);
}

static int print_text(const struct ctl *ctl, const struct concept_tree *tree, const char *glob)
{
    static const struct ctl_column columns[] = {{"concept", false}, {"id", true},    {"parent", false},
                                                {"children", true}, {"role", false}, {"calibrated", false},
                                                {"where", false}};
    struct ctl_table table;
    ctl_table_init(&table, columns, 7);
    if (glob == NULL)
        add_hierarchy(ctl, &table, tree);
    for (uint32_t i = 0; glob != NULL && i < tree->count; i++) {
        if (matches(&tree->concepts[i], glob))
            add_row(&table, tree, i, 0);
    }
    if (table.n_cells == 0 && glob != NULL)
        return ctl_fail(CTL_FAILED,
                        "no concept of %s matches '%s'; patterns match the whole \"Name:layer\", as in '%s*'",
                        tree->pack, glob, glob);
    return ctl_table_print(&table, &ctl->out) == 0 ? CTL_OK : ctl_fail(CTL_FAILED, "out of memory");
}

int ctl_run_concepts(struct ctl *ctl)
{
    struct lens_client *client;
    struct concept_tree tree;
    const char *glob = ctl_argument(ctl, 0);
    int r = ctl_connect(ctl, &client);
    if (r != CTL_OK)
        return r;
    r = concept_tree_fetch(client, ctl_value(ctl, "--pack")->text, &tree);
    lens_client_close(client);
    if (r != CTL_OK)
        return r;
    r = ctl->json ? print_json(ctl, &tree, glob) : print_text(ctl, &tree, glob);
    concept_tree_free(&tree);
    return r;
}
