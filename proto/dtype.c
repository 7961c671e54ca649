/* Names of number formats; see dtype.h. */
#include "proto/dtype.h"

#include <errno.h>

static const char *const names[LENS_DTYPES] = {"f32", "f16", "bf16", "int8", "log8", "fp8"};

const char *lens_dtype_name(enum lens_dtype dtype)
{
    return (unsigned)dtype < LENS_DTYPES ? names[dtype] : "?";
}

int lens_dtype_parse(const char *text, enum lens_dtype *out)
{
    for (int i = 0; i < LENS_DTYPES; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (enum lens_dtype)i;
            return 0;
        }
    }
    return -EINVAL;
}
