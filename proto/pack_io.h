/* Whole reads and writes at a place in a file, for the pack's code. Private to proto/. Any thread. */
#ifndef LENS_PACK_IO_H
#define LENS_PACK_IO_H

#include "proto/lens_error.h"

#include <stddef.h>
#include <stdint.h>

/* All of `count` bytes or an error; -EIO at the end of the file. */
int pack_pread(int fd, void *out, size_t count, uint64_t offset, struct lens_error *err);
int pack_pwrite(int fd, const void *bytes, size_t count, uint64_t offset, struct lens_error *err);

#endif
