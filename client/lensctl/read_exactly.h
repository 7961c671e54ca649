/* pread that reads all or fails. */
#ifndef LENSCTL_READ_EXACTLY_H
#define LENSCTL_READ_EXACTLY_H

#include <stddef.h>
#include <stdint.h>

/* 0, a negative errno, or -EIO when the file ends before `length` bytes. */
int read_exactly(int fd, void *buf, size_t length, uint64_t offset);

#endif
