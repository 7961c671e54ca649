/* See hatcat_layout.h. When a concept's lens lies in several places, the lowest rank wins: HatCat's own order of
 * looking, and {Concept}.pt before {Concept}_classifier.pt. */
#include "proto/import/hatcat_layout.h"

#include "proto/import/hatcat_json.h"
#include "proto/import/pt_file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum rank { /* each takes two: the second is for _classifier.pt */
            RANK_LAYER = 0,
            RANK_INDIVIDUAL = 2,
            RANK_BANK = 4,
            RANK_ACTIVATION_LAYER = 6,
            RANK_ACTIVATION_FLAT = 8
};

#define NO_LAYER 256u /* a folder without layers */

static bool ends_with(const char *text, size_t length, const char *end)
{
    size_t n = strlen(end);
    return length > n && memcmp(text + length - n, end, n) == 0;
}

static int give_lens(struct hatcat_tree *tree, uint32_t concept, const char *path, bool banked, int rank,
                     struct lens_error *err)
{
    struct hatcat_concept *to = &tree->concepts[concept];
    if (to->path != NULL && to->rank <= rank)
        return 0;
    char *copy = strdup(path);
    if (copy == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for a path");
    free(to->path);
    to->path = copy;
    to->banked = banked;
    to->rank = rank;
    return 0;
}

/* ---------------------------------------------------------------------------------------------- one file per lens */

/* A file without a layer folder stands for every listed concept of its name; unlisted, for a root of layer 0. */
static int give_every_layer(struct hatcat_tree *tree, const char *name, size_t length, const char *path, int rank,
                            struct lens_error *err)
{
    bool found = false;
    uint32_t concept;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < tree->count; i++) {
        const struct hatcat_concept *c = &tree->concepts[i];
        if (c->name_length != length || memcmp(c->key, name, length) != 0)
            continue;
        found = true;
        rc = give_lens(tree, i, path, false, rank, err);
    }
    if (rc == 0 && !found)
        rc = hatcat_tree_intern_name(tree, name, length, 0, &concept, err);
    return rc != 0 || found ? rc : give_lens(tree, concept, path, false, rank, err);
}

static int take_lens_file(struct hatcat_tree *tree, const char *path, const char *file, unsigned layer, int rank,
                          struct lens_error *err)
{
    uint32_t concept;
    size_t length = strlen(file);
    if (!ends_with(file, length, ".pt") || file[0] == '.')
        return 0;
    length -= strlen(".pt");
    if (ends_with(file, length, "_classifier")) {
        length -= strlen("_classifier");
        rank++;
    }
    if (layer == NO_LAYER)
        return give_every_layer(tree, file, length, path, rank, err);
    int rc = hatcat_tree_intern_name(tree, file, length, layer, &concept, err);
    if (rc == 0)
        rc = give_lens(tree, concept, path, false, rank, err);
    if (rc != 0)
        lens_error_prefix(err, "%s", path);
    return rc;
}

/* Calls `take` for each name in a folder, with the full path. A folder that isn't there is an empty one. */
typedef int (*take_fn)(struct hatcat_tree *tree, const char *path, const char *name, unsigned layer, int rank,
                       struct lens_error *err);

static int take_name(struct hatcat_tree *tree, const char *folder, const char *name, unsigned layer, int rank,
                     take_fn take, struct lens_error *err)
{
    char *path;
    if (asprintf(&path, "%s/%s", folder, name) < 0)
        return lens_error_set(err, -ENOMEM, "no memory for a path");
    int rc = take(tree, path, name, layer, rank, err);
    free(path);
    return rc;
}

static int for_each_name(struct hatcat_tree *tree, const char *folder, unsigned layer, int rank, take_fn take,
                         struct lens_error *err)
{
    struct dirent **names;
    int rc = 0;
    const int count = scandir(folder, &names, NULL, alphasort);
    if (count < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    if (count < 0)
        return lens_error_set(err, -errno, "%s: can't list it: %s", folder, strerror(errno));
    for (int i = 0; i < count; i++) {
        rc = rc != 0 ? rc : take_name(tree, folder, names[i]->d_name, layer, rank, take, err);
        free(names[i]);
    }
    free(names);
    return rc;
}

/* The N of "layerN", NO_LAYER for any other name. */
static unsigned layer_of_folder(const char *name)
{
    unsigned layer = 0;
    if (strncmp(name, "layer", 5) != 0 || name[5] == '\0')
        return NO_LAYER;
    for (const char *at = name + 5; *at != '\0'; at++) {
        if (*at < '0' || *at > '9')
            return NO_LAYER;
        layer = layer * 10 + (unsigned)(*at - '0');
        layer = layer > NO_LAYER ? NO_LAYER : layer;
    }
    return layer;
}

static int take_layer_folder(struct hatcat_tree *tree, const char *path, const char *name, unsigned layer, int rank,
                             struct lens_error *err)
{
    layer = layer_of_folder(name);
    return layer == NO_LAYER ? 0 : for_each_name(tree, path, layer, rank, take_lens_file, err);
}

/* "{directory}/{folder}/layer{N}/{Concept}.pt"; `folder` "" is the directory itself. */
static int take_layers(struct hatcat_tree *tree, const char *directory, const char *folder, int rank,
                       struct lens_error *err)
{
    char *path;
    if (asprintf(&path, "%s%s%s", directory, folder[0] != '\0' ? "/" : "", folder) < 0)
        return lens_error_set(err, -ENOMEM, "no memory for a path");
    int rc = for_each_name(tree, path, 0, rank, take_layer_folder, err);
    free(path);
    return rc;
}

static int take_flat(struct hatcat_tree *tree, const char *directory, const char *folder, int rank,
                     struct lens_error *err)
{
    char *path;
    if (asprintf(&path, "%s/%s", directory, folder) < 0)
        return lens_error_set(err, -ENOMEM, "no memory for a path");
    int rc = for_each_name(tree, path, NO_LAYER, rank, take_lens_file, err);
    free(path);
    return rc;
}

/* ---------------------------------------------------------------------------------------------------------- banks */

/* The layer of a concept in its parent's bank: that of the listed child of this name. HatCat names banks by the
 * parent's layer + 1, which also decides when nothing or several layers are listed. */
static unsigned layer_in_bank(const struct hatcat_tree *tree, uint32_t parent, const char *name, size_t length)
{
    const unsigned usual = tree->concepts[parent].layer + 1u;
    unsigned found = NO_LAYER;
    for (uint32_t i = 0; i < tree->edge_count; i++) {
        const struct hatcat_concept *child = &tree->concepts[tree->edges[i].child];
        if (tree->edges[i].parent != parent || child->name_length != length || memcmp(child->key, name, length) != 0)
            continue;
        if (found == NO_LAYER || child->layer == usual)
            found = child->layer;
    }
    return found != NO_LAYER ? found : usual;
}

static int take_bank_concept(struct hatcat_tree *tree, uint32_t parent, const char *name, size_t length,
                             const char *path, struct lens_error *err)
{
    uint32_t concept;
    const unsigned layer = layer_in_bank(tree, parent, name, length);
    if (layer > 255)
        return lens_error_set(err, -EBADMSG, "its concepts would have layer %u; layers are 0 to 255", layer);
    int rc = hatcat_tree_intern_name(tree, name, length, layer, &concept, err);
    return rc != 0 ? rc : give_lens(tree, concept, path, true, RANK_BANK, err);
}

/* Gives the lens to every concept "Concept/..." of the bank. */
static int take_bank(struct hatcat_tree *tree, const char *path, const char *parent_key, struct lens_error *err)
{
    struct lens_pt_file *file;
    uint32_t parent;
    const char *before = "";
    size_t before_length = 0;
    int rc = hatcat_tree_intern(tree, parent_key, &parent, err);
    if (rc == 0)
        rc = lens_pt_open(path, &file, err);
    if (rc != 0)
        return rc;
    for (size_t i = 0; rc == 0 && i < lens_pt_count(file); i++) {
        const char *name = lens_pt_tensor_at(file, i)->name;
        const char *slash = strrchr(name, '/');
        if (slash == NULL) {
            rc = lens_error_set(err, -EBADMSG, "%s: a bank should be {concept: {key: tensor}}, but %s is a tensor",
                                path, name);
            break;
        }
        size_t length = (size_t)(slash - name);
        if (length != before_length || memcmp(name, before, length) != 0)
            rc = take_bank_concept(tree, parent, name, length, path, err);
        before = name;
        before_length = length;
    }
    lens_pt_close(file);
    return rc;
}

static int take_indexed_bank(struct hatcat_tree *tree, const char *directory, const char *parent_key,
                             const json_t *entry, struct lens_error *err)
{
    const char *bank_path = json_string_value(json_object_get(entry, "bank_path"));
    char *path;
    if (bank_path == NULL || !hatcat_path_stays_inside(bank_path))
        return lens_error_set(err, -EBADMSG,
                              "%s/bank_index.json: bank_path of %.80s is \"%.100s\"; it must be a path inside the pack",
                              directory, parent_key, bank_path != NULL ? bank_path : "");
    if (asprintf(&path, "%s/%s", directory, bank_path) < 0)
        return lens_error_set(err, -ENOMEM, "no memory for a path");
    int rc = take_bank(tree, path, parent_key, err);
    free(path);
    return rc;
}

static int take_banks(struct hatcat_tree *tree, const char *directory, struct lens_error *err)
{
    json_t *index;
    const char *parent_key;
    json_t *entry;
    int rc = hatcat_json_load(directory, "bank_index.json", &index, err);
    if (rc != 0 || index == NULL)
        return rc;
    json_object_foreach(index, parent_key, entry)
    {
        rc = take_indexed_bank(tree, directory, parent_key, entry, err);
        if (rc != 0)
            break;
    }
    json_decref(index);
    return rc;
}

int hatcat_layout_find(const char *directory, const char *activation_lenses, struct hatcat_tree *tree,
                       struct lens_error *err)
{
    DIR *there = opendir(directory);
    if (there == NULL)
        return lens_error_set(err, -errno, "%s: can't open this directory: %s", directory, strerror(errno));
    closedir(there);
    int rc = take_layers(tree, directory, "", RANK_LAYER, err);
    if (rc == 0)
        rc = take_layers(tree, directory, "individual", RANK_INDIVIDUAL, err);
    if (rc == 0)
        rc = take_banks(tree, directory, err);
    if (rc == 0)
        rc = take_layers(tree, directory, activation_lenses, RANK_ACTIVATION_LAYER, err);
    return rc != 0 ? rc : take_flat(tree, directory, activation_lenses, RANK_ACTIVATION_FLAT, err);
}
