/* The concepts of a HatCat pack and hierarchy.json; see hatcat_tree.h. Pack order is hatcat_order.c's. */
#include "proto/import/hatcat_tree.h"

#include "proto/import/hatcat_json.h"
#include "proto/pack_utf8.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME     255
#define MAX_CONCEPTS (1u << 20)
#define MAX_EDGES    (1u << 24)

void hatcat_tree_free(struct hatcat_tree *tree)
{
    for (uint32_t i = 0; i < tree->count; i++) {
        free(tree->concepts[i].key);
        free(tree->concepts[i].path);
    }
    free(tree->concepts);
    free(tree->edges);
    json_decref(tree->by_key);
    memset(tree, 0, sizeof *tree);
}

bool hatcat_tree_find(const struct hatcat_tree *tree, const char *key, uint32_t *concept)
{
    const json_t *place = json_object_get(tree->by_key, key);
    if (place == NULL)
        return false;
    *concept = (uint32_t)json_integer_value(place);
    return true;
}

static int add_concept(struct hatcat_tree *tree, const char *key, uint32_t name_length, unsigned layer,
                       struct lens_error *err)
{
    if (tree->count == tree->capacity) {
        uint32_t wanted = tree->capacity == 0 ? 256 : tree->capacity * 2;
        struct hatcat_concept *larger = realloc(tree->concepts, wanted * sizeof *larger);
        if (larger == NULL || tree->count == MAX_CONCEPTS) {
            tree->concepts = larger != NULL ? larger : tree->concepts;
            return lens_error_set(err, -ENOMEM, "more than %u concepts, or no memory for them", tree->count);
        }
        tree->concepts = larger;
        tree->capacity = wanted;
    }
    struct hatcat_concept concept = {
        .key = strdup(key), .name_length = name_length, .layer = (uint8_t)layer, .parent = -1};
    if (concept.key == NULL || json_object_set_new(tree->by_key, key, json_integer(tree->count)) != 0) {
        free(concept.key);
        return lens_error_set(err, -ENOMEM, "no memory for concept %s", key);
    }
    tree->concepts[tree->count++] = concept;
    return 0;
}

int hatcat_tree_intern_name(struct hatcat_tree *tree, const char *name, size_t length, unsigned layer,
                            uint32_t *concept, struct lens_error *err)
{
    char key[MAX_NAME + 8];
    if (length == 0 || length > MAX_NAME || !pack_utf8_is_name(name, length))
        return lens_error_set(err, -EBADMSG,
                              "a concept's name of %zu bytes is empty, longer than %d, not UTF-8, or holds control "
                              "characters",
                              length, MAX_NAME);
    snprintf(key, sizeof key, "%.*s:%u", (int)length, name, layer);
    if (hatcat_tree_find(tree, key, concept))
        return 0;
    int rc = add_concept(tree, key, (uint32_t)length, layer, err);
    if (rc != 0)
        return rc;
    *concept = tree->count - 1;
    return 0;
}

int hatcat_tree_intern(struct hatcat_tree *tree, const char *key, uint32_t *concept, struct lens_error *err)
{
    const char *colon = strrchr(key, ':');
    char *end = NULL;
    unsigned long layer = colon != NULL && colon[1] >= '0' && colon[1] <= '9' ? strtoul(colon + 1, &end, 10) : 256;
    if (end == NULL || *end != '\0' || layer > 255)
        return lens_error_set(err, -EBADMSG, "concept \"%.100s\" should read \"Name:layer\" with a layer of 0 to 255",
                              key);
    return hatcat_tree_intern_name(tree, key, (size_t)(colon - key), (unsigned)layer, concept, err);
}

/* ------------------------------------------------------------------------------------------------- hierarchy.json */

static int add_edge(struct hatcat_tree *tree, uint32_t parent, uint32_t child, struct lens_error *err)
{
    if (tree->edge_count == tree->edge_capacity) {
        uint32_t wanted = tree->edge_capacity == 0 ? 256 : tree->edge_capacity * 2;
        if (tree->edge_count >= MAX_EDGES)
            return lens_error_set(err, -EBADMSG, "more than %u links between concepts", MAX_EDGES);
        struct hatcat_edge *larger = realloc(tree->edges, wanted * sizeof *larger);
        if (larger == NULL)
            return lens_error_set(err, -ENOMEM, "no memory for %u links between concepts", wanted);
        tree->edges = larger;
        tree->edge_capacity = wanted;
    }
    tree->edges[tree->edge_count++] = (struct hatcat_edge){parent, child};
    return 0;
}

/* Both ends of a link. */
static int intern_link(struct hatcat_tree *tree, const char *parent_key, const json_t *child_key, uint32_t *parent,
                       uint32_t *child, struct lens_error *err)
{
    if (parent_key == NULL || !json_is_string(child_key))
        return lens_error_set(err, -EBADMSG, "concept \"%.100s\": its parent or one of its children is no text",
                              parent_key != NULL ? parent_key : json_string_value(child_key));
    int rc = hatcat_tree_intern(tree, parent_key, parent, err);
    if (rc == 0)
        rc = hatcat_tree_intern(tree, json_string_value(child_key), child, err);
    if (rc != 0)
        return rc;
    tree->concepts[*parent].listed = true;
    tree->concepts[*child].listed = true;
    return add_edge(tree, *parent, *child, err);
}

static int take_parents(struct hatcat_tree *tree, json_t *child_to_parent, struct lens_error *err)
{
    const char *child_key;
    json_t *parent_key;
    int rc = 0;
    json_object_foreach(child_to_parent, child_key, parent_key)
    {
        uint32_t child = 0;
        uint32_t parent = 0;
        if (rc == 0)
            rc = hatcat_tree_intern(tree, child_key, &child, err);
        if (rc != 0)
            return rc;
        tree->concepts[child].listed = true;
        if (json_is_null(parent_key) || (json_is_string(parent_key) && json_string_length(parent_key) == 0))
            continue; /* a root that is listed as such */
        json_t *child_text = json_string(child_key);
        rc = intern_link(tree, json_string_value(parent_key), child_text, &parent, &child, err);
        json_decref(child_text);
        if (rc == 0)
            tree->concepts[child].parent = (int32_t)parent;
    }
    return rc;
}

static int take_children(struct hatcat_tree *tree, json_t *parent_to_children, struct lens_error *err)
{
    const char *parent_key;
    json_t *children;
    json_object_foreach(parent_to_children, parent_key, children)
    {
        uint32_t parent = 0;
        uint32_t child = 0;
        if (!json_is_array(children))
            return lens_error_set(err, -EBADMSG, "parent_to_children of \"%.100s\" is no list", parent_key);
        int rc = hatcat_tree_intern(tree, parent_key, &parent, err);
        if (rc != 0)
            return rc;
        tree->concepts[parent].listed = true;
        for (size_t i = 0; i < json_array_size(children); i++) {
            rc = intern_link(tree, parent_key, json_array_get(children, i), &parent, &child, err);
            if (rc != 0)
                return rc;
        }
    }
    return 0;
}

int hatcat_tree_load(const char *directory, struct hatcat_tree *tree, struct lens_error *err)
{
    json_t *root;
    memset(tree, 0, sizeof *tree);
    tree->by_key = json_object();
    if (tree->by_key == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for the hierarchy");
    int rc = hatcat_json_load(directory, "hierarchy.json", &root, err);
    if (rc != 0 || root == NULL)
        return rc;
    rc = take_parents(tree, hatcat_json_object(root, "child_to_parent"), err);
    if (rc == 0)
        rc = take_children(tree, hatcat_json_object(root, "parent_to_children"), err);
    if (rc != 0)
        lens_error_prefix(err, "%s/hierarchy.json", directory);
    json_decref(root);
    return rc;
}
