/* The zip around a .pt file: entries by name, stored and in the clear, read by place. A thin layer over libzip that
 * refuses what PyTorch never writes (compression, encryption, entries that claim more bytes than the file has).
 * Private to proto/import. Threads: one per zip. */
#ifndef LENS_IMPORT_PT_ZIP_H
#define LENS_IMPORT_PT_ZIP_H

#include "proto/lens_error.h"

#include <stddef.h>
#include <stdint.h>

struct pt_zip;

/* -EBADMSG with a sentence for anything but a sound zip of stored entries. */
int pt_zip_open(const char *path, struct pt_zip **out, struct lens_error *err);
void pt_zip_close(struct pt_zip *zip);

/* Folder of the one "{folder}/data.pkl", valid until close. */
const char *pt_zip_folder(const struct pt_zip *zip);

/* Index and size of "{folder}/{name}"; -ENOENT without a sentence when there is none. */
int pt_zip_find(struct pt_zip *zip, const char *name, uint64_t *index, uint64_t *bytes);

/* Reads `count` bytes of an entry from `offset`. A whole entry's CRC-32 is checked too. */
int pt_zip_read(struct pt_zip *zip, uint64_t index, uint64_t offset, uint64_t count, void *out, struct lens_error *err);

#endif
