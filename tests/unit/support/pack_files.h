/* Temporary folders, whole files in memory, and small packs of random weights, for tests of the pack and its importers.
 * Test support: aborts the test program when the file system fails. */
#ifndef LENS_TEST_PACK_FILES_H
#define LENS_TEST_PACK_FILES_H

#include "proto/pack_writer.h"

/* A fresh folder, and its removal with all that is in it. `path` has 64 bytes. */
void temp_folder(char *path);
void remove_folder(const char *path);
unsigned count_names(const char *folder); /* files and folders in it */

/* Whole files. read_file's result is the caller's to free. */
unsigned char *read_file(const char *path, size_t *length);
void write_file(const char *path, const void *bytes, size_t length);
void copy_file(const char *from, const char *to);
void copy_folder(const char *from, const char *to); /* with its folders */

/* A pack of 6 lenses, D=13, H1=6, H2=3 (odd on purpose): A:0 with children B:1, C:1 and É:2; B with D:2, É:2;
 * F:0 alone. Ids 0..5 are A F B C D É. B and F are calibrated. */
#define SMALL_LENSES 6u
#define SMALL_DIM    13u
#define SMALL_H1     6u
#define SMALL_H2     3u

struct small_lens {
    float w1[SMALL_H1 * SMALL_DIM], b1[SMALL_H1], w2[SMALL_H2 * SMALL_H1], b2[SMALL_H2], w3[SMALL_H2], b3;
};

struct small_pack {
    struct lens_pack_plan plan;
    int32_t parent[SMALL_LENSES], child_offsets[SMALL_LENSES + 1], child_ids[8], name_offsets[SMALL_LENSES + 1];
    uint8_t layer[SMALL_LENSES], role[SMALL_LENSES];
    char names[32];
    float calibration[SMALL_LENSES * LENS_CALIBRATION_FIELDS];
    struct small_lens lens[SMALL_LENSES];
};

void small_pack_fill(struct small_pack *out, enum lens_dtype dtype, unsigned seed);
struct lens_weights small_weights(const struct small_lens *lens);
/* Creates, adds and finishes; 0 or the first error. */
int small_pack_write(const struct small_pack *pack, const char *path, struct lens_error *err);

#endif
