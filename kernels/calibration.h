/* SEEDS H11: what a raw score is worth, by a lens's calibration. Pure; on processors and on cards alike, and the same
 * but for the last bits of exp. */
#ifndef LENS_CALIBRATION_H
#define LENS_CALIBRATION_H

#include "proto/pack.h"

#include <math.h>

LENS_BOTH_SIDES static inline double lens_sigmoid(double logit)
{
    return 1.0 / (1.0 + exp(-logit));
}

/* How far a raw score may leave 0.5, in 0..1: the part of H11 before the final sigmoid. */
LENS_BOTH_SIDES static inline double lens_calibrated_weight(double c, double g, double n, double s, double m, double p)
{
    if (c < 0.05 && g < 0.05)
        return 0.5 + (p - 0.5) * (c > g ? c : g) / 0.05;
    double k = (1 - c) * (1 - g) * (1 - n);
    if (m <= 0 || s <= m)
        return 0.5 + (p - 0.5) * k;
    double gap = s - m;
    k *= gap / 0.2 < 1 ? gap / 0.2 : 1;
    double r = p >= m ? 0.5 + 0.5 * (p - m) / gap : 0.5 * p / m;
    return 0.5 + (r - 0.5) * k;
}

LENS_BOTH_SIDES static inline double lens_calibration_or(float value, double fallback)
{
    return value == value ? (double)value : fallback;
}

/* One row of a pack's calibration table [LENS_CALIBRATION_FIELDS]; missing keys are NaN there. `raw` in 0..1. */
LENS_BOTH_SIDES static inline double lens_calibrate(const float *calibration, double raw)
{
    double s = lens_calibration_or(calibration[LENS_CAL_SELF_MEAN], 0.9);
    double m = lens_calibration_or(calibration[LENS_CAL_CROSS_MEAN], 0);
    double c = lens_calibration_or(calibration[LENS_CAL_CROSS_FIRE], 0);
    double g = lens_calibration_or(calibration[LENS_CAL_GEN_FIRE], 0);
    double n = lens_calibration_or(calibration[LENS_CAL_NOISE_FIRE], 0);
    return lens_sigmoid(6 * (lens_calibrated_weight(c, g, n, s, m, raw) - 0.5));
}

#endif
