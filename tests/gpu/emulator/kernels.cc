// The kernels of kernels/cuda that the emulated card can launch.
#include "kernel.hpp"

#include "kernels/cuda/device.h"
#if __has_include("kernels/cuda/write.h")
#include "kernels/cuda/write.h"
#endif

#pragma weak cu_begin
#pragma weak cu_score
#pragma weak cu_expand
#pragma weak cu_finish
#pragma weak cu_lost

extern "C" {
void cu_begin(struct cu_state *state);
void cu_score(struct cu_state *state);
void cu_expand(struct cu_state *state);
void cu_finish(struct cu_state *state);
void cu_lost(struct cu_state *state);
#if __has_include("kernels/cuda/write.h")
void cu_write(struct cu_write_args args);
#endif
}

EMULATED_KERNEL(cu_begin, struct cu_state *)
EMULATED_KERNEL(cu_score, struct cu_state *)
EMULATED_KERNEL(cu_expand, struct cu_state *)
EMULATED_KERNEL(cu_finish, struct cu_state *)
EMULATED_KERNEL(cu_lost, struct cu_state *)
#if __has_include("kernels/cuda/write.h")
EMULATED_KERNEL(cu_write, struct cu_write_args)
#endif
