/* Instruction sets of the processor, and what lacking them costs; see doctor.h. */
#include "client/lensctl/doctor.h"
#include "client/lensctl/doctor_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CPUINFO_BYTES 65536 /* the flags of the first processor lie far before that */

enum isa { ISA_SCALAR, ISA_AVX2, ISA_AVX512 };
static const char *const isa_names[] = {"scalar", "avx2", "avx512"};

static bool has_all(const char *flags, const char *const *wanted)
{
    for (; *wanted != NULL; wanted++) {
        if (!doctor_has_word(flags, *wanted))
            return false;
    }
    return true;
}

/* As kernels/cpu chooses. */
static enum isa best(const char *flags)
{
    static const char *const avx2[] = {"avx2", "fma", "f16c", NULL};
    static const char *const avx512[] = {"avx512f", "avx512bw", "avx512vl", "avx512dq", "fma", "f16c", NULL};
    return has_all(flags, avx512) ? ISA_AVX512 : has_all(flags, avx2) ? ISA_AVX2 : ISA_SCALAR;
}

static void say_best(struct doctor *doctor, enum isa isa, bool vnni, bool bf16)
{
    if (isa == ISA_SCALAR) {
        doctor_find(&doctor->report, "cpu.isa", DOCTOR_WARNING,
                    "The processor has no AVX2 (or hides it): plain C scores, ten times slower and more.");
        doctor_advise(&doctor->report, "In a virtual machine pass the host's processor through (-cpu host); else take "
                                       "another machine, or a card.");
    } else if (isa == ISA_AVX2) {
        doctor_find(&doctor->report, "cpu.isa", DOCTOR_NOTE,
                    "The processor has AVX2 but no AVX-512: single rows, which wait for memory, are as fast; many rows "
                    "at once (prompts) take up to twice as long.");
    } else if (!vnni || !bf16) {
        doctor_find(&doctor->report, "cpu.isa", DOCTOR_NOTE,
                    "The processor has AVX-512 without %s%s%s: pool.compute %s goes the slower way.",
                    vnni ? "" : "VNNI", !vnni && !bf16 ? " and " : "", bf16 ? "" : "BF16",
                    !vnni && !bf16 ? "int8 or bf16"
                    : !vnni        ? "int8"
                                   : "bf16");
    } else {
        doctor_find(&doctor->report, "cpu.isa", DOCTOR_OK, "The processor has AVX-512 with VNNI and BF16.");
    }
}

/* A setting can hold lensd back from what the processor can. */
static void check_variant(struct doctor *doctor, enum isa isa)
{
    const struct doctor_daemon *daemon = &doctor->daemon;
    if (!daemon->running || doctor_on_card(daemon) || !doctor_sees_daemon(doctor))
        return;
    for (int i = 0; i < (int)isa; i++) {
        if (strcmp(daemon->variant, isa_names[i]) != 0)
            continue;
        doctor_find(&doctor->report, "cpu.variant", DOCTOR_WARNING,
                    "lensd uses its %s kernels (engine.cpu_variant), and the processor has what %s needs.",
                    isa_names[i], isa_names[isa]);
        doctor_advise(&doctor->report, "Set engine.cpu_variant = auto and restart lensd.");
        return;
    }
}

void doctor_check_isa(struct doctor *doctor)
{
    char *text = malloc(CPUINFO_BYTES), *flags = malloc(CPUINFO_BYTES);
    if (text != NULL && flags != NULL && doctor_read(doctor->root, "/proc/cpuinfo", text, CPUINFO_BYTES) &&
        doctor_line(text, "flags", flags, CPUINFO_BYTES)) {
        enum isa isa = best(flags);
        say_best(doctor, isa, doctor_has_word(flags, "avx512_vnni"), doctor_has_word(flags, "avx512_bf16"));
        check_variant(doctor, isa);
    }
    free(text);
    free(flags);
}
