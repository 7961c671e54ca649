/* Answers held against those of the CPU backend, where the gaps between logits are larger than the backends' errors. */
#ifndef GPU_COMPARE_CPU_H
#define GPU_COMPARE_CPU_H

#include "tests/gpu/job_set.h"

extern const struct conformance_target gpu_cpu_target;

struct gpu_comparison {
    double tolerance; /* in: no logit may differ by more */
    uint32_t rows, compared;
    uint64_t scored; /* lenses, of all rows */
    double largest;  /* difference of a logit */
};

/* Both sets are answered by one run each, everything resident: their views are valid. Ends the process when a logit
 * differs by more than the tolerance, or when a row whose gaps are wide enough was answered otherwise. */
void gpu_compare_with_cpu(const struct gpu_job_set *cpu, const struct gpu_job_set *ours, struct gpu_comparison *seen);

#endif
