// The kernels of kernels/cuda that the emulated card can launch.
#include "kernel.hpp"

#include "kernels/cuda/device.h"
#include "kernels/cuda/write.h"

extern "C" {
void cu_fetch(struct cu_state *state);
void cu_begin(struct cu_state *state);
void cu_score(struct cu_state *state);
void cu_expand(struct cu_state *state);
void cu_finish(struct cu_state *state);
void cu_lost(struct cu_state *state);
void cu_write(struct cu_write_args args);
}

EMULATED_KERNEL(cu_fetch, struct cu_state *)
EMULATED_KERNEL(cu_begin, struct cu_state *)
EMULATED_KERNEL(cu_score, struct cu_state *)
EMULATED_KERNEL(cu_expand, struct cu_state *)
EMULATED_KERNEL(cu_finish, struct cu_state *)
EMULATED_KERNEL(cu_lost, struct cu_state *)
EMULATED_KERNEL(cu_write, struct cu_write_args)
