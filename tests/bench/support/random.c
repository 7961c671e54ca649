/* Counter-based random numbers (splitmix64) and a fast filler for bulk weights; see random.h. */
#include "tests/bench/support/random.h"

#include <math.h>

#define LANES 16

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t bench_stream_of(const char *text, size_t length)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3u;
    return mix(hash);
}

uint64_t bench_substream(uint64_t stream, uint64_t which)
{
    return mix(stream + mix(which + 1));
}

uint64_t bench_random(uint64_t stream, uint64_t index)
{
    return mix(stream + (index + 1) * 0x9e3779b97f4a7c15u);
}

double bench_random_unit(uint64_t stream, uint64_t index)
{
    return (double)(bench_random(stream, index) >> 11) * 0x1p-53;
}

uint32_t bench_random_below(uint64_t stream, uint64_t index, uint32_t bound)
{
    return (uint32_t)(bench_random_unit(stream, index) * bound);
}

void bench_random_normals(uint64_t stream, float *out, size_t n)
{
    for (size_t i = 0; i < n; i += 2) { /* Box-Muller: two at a time */
        double radius = sqrt(-2.0 * log(1.0 - bench_random_unit(stream, i)));
        double angle = 6.283185307179586 * bench_random_unit(stream, i + 1);
        out[i] = (float)(radius * cos(angle));
        if (i + 1 < n)
            out[i + 1] = (float)(radius * sin(angle));
    }
}

/* One step of LANES independent xorshift32 generators; compilers turn it into vector instructions. */
static void step(uint32_t *state, float scale, float *out)
{
    for (int i = 0; i < LANES; i++) {
        uint32_t x = state[i];
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        state[i] = x;
        out[i] = (float)(int32_t)x * scale;
    }
}

void bench_random_uniform(uint64_t stream, float half_width, float *out, size_t n)
{
    uint32_t state[LANES];
    float tail[LANES];
    float scale = half_width * 0x1p-31f;
    for (int i = 0; i < LANES; i++)
        state[i] = (uint32_t)bench_random(stream, (uint64_t)i) | 1u;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        step(state, scale, out + i);
    if (i == n)
        return;
    step(state, scale, tail);
    for (size_t k = 0; i + k < n; k++)
        out[i + k] = tail[k];
}
