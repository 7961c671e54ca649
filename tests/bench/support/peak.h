/* What the arithmetic of this processor tops out at: multiply-adds per second of one thread, from registers alone.
 * 0 when the processor lacks the instruction. */
#ifndef LENS_BENCH_PEAK_H
#define LENS_BENCH_PEAK_H

enum bench_instruction { BENCH_FMA_F32, BENCH_DP_BF16, BENCH_DP_INT8, BENCH_INSTRUCTIONS };

const char *bench_instruction_name(enum bench_instruction instruction);
double bench_peak(enum bench_instruction instruction);

#endif
