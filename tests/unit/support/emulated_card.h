/* The CUDA backend on an emulated card, as a library that was built beside the tests (tests/gpu/emulator). */
#ifndef EMULATED_CARD_H
#define EMULATED_CARD_H

#include "kernels/backend.h"

/* Opens it; for struct conformance_target. -ENOTSUP where this build has
 * none: under ThreadSanitizer, which doesn't know the fibers that the card's threads are. */
int emulated_card_open(void *arg, uint32_t threads, struct lens_backend **out, struct lens_error *err);

#endif
