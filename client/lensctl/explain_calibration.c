/* Why a calibrated score differs from the raw one (SEEDS.md row H11), in sentences and step by step. For showing: what
 * the daemon computes with is in kernels/. */
#include "client/lensctl/explain.h"

#include "proto/pack.h"

#include <math.h>
#include <stdarg.h>

#define CLEAN_FIRE_RATE 0.05 /* below it HatCat's formula takes the other branch */
#define WIDE_GAP        0.2

void explain_say(struct sentences *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (s->count < EXPLAIN_SENTENCES)
        vsnprintf(s->text[s->count++], sizeof s->text[0], format, args);
    va_end(args);
}

/* Keys that a pack's calibration doesn't have are NaN there, and have defaults. */
static double field(const struct lens_explanation *e, unsigned i, double otherwise)
{
    float value = e->calibration[i];
    return isnan(value) ? otherwise : (double)value;
}

static void read_fields(const struct lens_explanation *e, struct explain_steps *s)
{
    s->self_mean = field(e, LENS_CAL_SELF_MEAN, 0.9);
    s->cross_mean = field(e, LENS_CAL_CROSS_MEAN, 0);
    s->cross = field(e, LENS_CAL_CROSS_FIRE, 0);
    s->gen = field(e, LENS_CAL_GEN_FIRE, 0);
    s->noise = field(e, LENS_CAL_NOISE_FIRE, 0);
    s->most = fmax(s->cross, s->gen);
    s->gap = s->self_mean - s->cross_mean;
    s->clean = s->cross < CLEAN_FIRE_RATE && s->gen < CLEAN_FIRE_RATE;
    s->stretched = !s->clean && s->cross_mean > 0 && s->self_mean > s->cross_mean;
    s->trust = (1 - s->cross) * (1 - s->gen) * (1 - s->noise);
    s->k = s->stretched ? s->trust * fmin(1, s->gap / WIDE_GAP) : s->trust;
}

void explain_calibrate(const struct lens_explanation *e, double logit, struct explain_steps *s)
{
    *s = (struct explain_steps){.logit = logit, .raw = 1 / (1 + exp(-logit)), .calibrated = e->calibrated};
    s->result = s->raw;
    if (!e->calibrated)
        return;
    read_fields(e, s);
    if (s->stretched)
        s->r = s->raw >= s->cross_mean ? 0.5 + 0.5 * (s->raw - s->cross_mean) / s->gap : 0.5 * s->raw / s->cross_mean;
    if (s->clean)
        s->w = 0.5 + (s->raw - 0.5) * s->most / CLEAN_FIRE_RATE;
    else
        s->w = 0.5 + ((s->stretched ? s->r : s->raw) - 0.5) * s->k;
    s->result = 1 / (1 + exp(-6 * (s->w - 0.5)));
}

/* ---- whatever the score is -------------------------------------------------------------------------------------- */

static void say_clean(struct sentences *out, const struct explain_steps *s)
{
    explain_say(out,
                "It hardly fires where it shouldn't: on %.1f%% of other concepts' texts and %.1f%% of generated text, "
                "both below 5%%.",
                100.0 * s->cross, 100.0 * s->gen);
    if (s->most > 0)
        explain_say(out,
                    "HatCat's formula then keeps only %.0f%% of the raw score's distance from 0.5, so calibration "
                    "pulls this clean lens towards 0.5: trust raw.",
                    100.0 * s->most / CLEAN_FIRE_RATE);
    else
        explain_say(out, "HatCat's formula then gives 0.5 whatever the raw score is: trust raw.");
}

static void say_stretch(struct sentences *out, const struct explain_steps *s)
{
    if (!s->stretched && s->cross_mean <= 0) {
        explain_say(out, "Its mean score on other concepts' texts isn't known (or 0), so raw isn't stretched, only "
                         "pulled towards 0.5.");
        return;
    }
    if (!s->stretched) {
        explain_say(out,
                    "It scores its own texts (mean %.3g) no higher than others' (mean %.3g), so raw isn't stretched, "
                    "only pulled towards 0.5.",
                    s->self_mean, s->cross_mean);
        return;
    }
    explain_say(out,
                "Raw is stretched so that %.3g, its mean on other concepts' texts, becomes 0.5, and %.3g, its mean on "
                "its own, becomes 1.",
                s->cross_mean, s->self_mean);
    if (s->gap < WIDE_GAP)
        explain_say(out, "The two means are only %.3g apart, under 0.2, so the trust is multiplied by %.2f.", s->gap,
                    s->gap / WIDE_GAP);
}

void explain_calibration(const struct lens_explanation *e, struct sentences *out)
{
    struct explain_steps s;
    explain_calibrate(e, 0, &s);
    if (!e->calibrated) {
        explain_say(out, "It has no calibration: with --rank calibrated its raw score is reported as it is (or 0.5 "
                         "with --uncalibrated half).");
        return;
    }
    if (s.clean) {
        say_clean(out, &s);
    } else {
        explain_say(out,
                    "It fires on %.1f%% of other concepts' texts, %.1f%% of generated text and %.1f%% of noise: the "
                    "distance from 0.5 is multiplied by a trust of %.3f.",
                    100.0 * s.cross, 100.0 * s.gen, 100.0 * s.noise, s.trust);
        say_stretch(out, &s);
    }
    explain_say(out, "Last, sigmoid(6 (x - 0.5)) compresses: x = 0 becomes 0.047 and x = 1 becomes 0.953.");
}

/* ---- one score -------------------------------------------------------------------------------------------------- */

static void say_stretched_steps(const struct explain_steps *s, struct sentences *out)
{
    explain_say(out, "gap = self_mean - cross_mean = %.4g - %.4g = %.4g", s->self_mean, s->cross_mean, s->gap);
    explain_say(out, "k = (1 - cross_fire)(1 - gen_fire)(1 - noise_fire) * min(1, gap / 0.2) = %.4f * %.4f = %.4f",
                s->trust, fmin(1, s->gap / WIDE_GAP), s->k);
    if (s->raw >= s->cross_mean)
        explain_say(out, "raw is at least cross_mean: r = 0.5 + 0.5 (raw - cross_mean) / gap = %.4f", s->r);
    else
        explain_say(out, "raw is below cross_mean: r = 0.5 raw / cross_mean = %.4f", s->r);
    explain_say(out, "w = 0.5 + (r - 0.5) k = %.4f", s->w);
}

void explain_say_steps(const struct explain_steps *steps, struct sentences *s)
{
    explain_say(s, "raw = sigmoid(%.4f) = %.4f", steps->logit, steps->raw);
    if (!steps->calibrated) {
        explain_say(s, "There is no calibration: calibrated = raw (or 0.5 with uncalibrated = half).");
        return;
    }
    if (steps->clean) {
        explain_say(s, "cross_fire %.4f and gen_fire %.4f are both below 0.05: only the higher of them counts",
                    steps->cross, steps->gen);
        explain_say(s, "w = 0.5 + (raw - 0.5) * %.4f / 0.05 = %.4f", steps->most, steps->w);
    } else if (steps->stretched) {
        say_stretched_steps(steps, s);
    } else {
        explain_say(s, "k = (1 - cross_fire)(1 - gen_fire)(1 - noise_fire) = %.4f; no gap between the means counts",
                    steps->k);
        explain_say(s, "w = 0.5 + (raw - 0.5) k = %.4f", steps->w);
    }
    explain_say(s, "calibrated = sigmoid(6 (w - 0.5)) = %.4f", steps->result);
}
