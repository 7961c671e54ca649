/* Where a HatCat pack keeps its lenses: the directory layouts of SEEDS.md. Private to proto/import. */
#ifndef LENS_IMPORT_HATCAT_LAYOUT_H
#define LENS_IMPORT_HATCAT_LAYOUT_H

#include "proto/import/hatcat_tree.h"

/* Sets path, banked and rank of every concept that has a lens file; concepts the hierarchy doesn't list are added.
 * `activation_lenses` is the folder that pack.json names. Needs the hierarchy already in `tree`: it tells the layer of
 * a concept in a bank and of a file without a layer folder. */
int hatcat_layout_find(const char *directory, const char *activation_lenses, struct hatcat_tree *tree,
                       struct lens_error *err);

#endif
