/* Checksums of a lens pack: which bytes, in which order (the definition is in pack.h). The only file that knows
 * xxHash; it is compiled in whole, since the streaming state on the stack belongs to one version of the library. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "proto/pack_tables.h"

#include <string.h>

uint64_t pack_lens_checksum(const struct lens_pack *pack, uint32_t lens, const void *w1, const void *sign,
                            const void *w2)
{
    const size_t row = (size_t)lens * pack->h1;
    const size_t row_bytes = pack->h1 * sizeof(float);
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    XXH3_64bits_update(&state, w1, pack->w1_lens_bytes);
    if (pack->w1_dtype == LENS_LOG8) {
        XXH3_64bits_update(&state, sign, pack->w1_sign_bytes);
        XXH3_64bits_update(&state, pack->w1_log_min + row, row_bytes);
        XXH3_64bits_update(&state, pack->w1_log_max + row, row_bytes);
    }
    if (pack->w1_dtype == LENS_I8)
        XXH3_64bits_update(&state, pack->w1_scale + row, row_bytes);
    XXH3_64bits_update(&state, w2, (size_t)pack->h2 * pack->h1 * lens_dtype_bytes(pack->w2_dtype));
    return XXH3_64bits_digest(&state);
}

uint64_t pack_tables_checksum(const struct lens_pack *pack, const struct pack_layout *layout,
                              const struct st_entry *metadata, size_t metadata_count)
{
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    for (uint32_t i = 0; i < layout->count; i++) {
        const struct pack_table *table = &layout->tables[i];
        if (table->sums == PACK_SUM_TABLES)
            XXH3_64bits_update(&state, pack_table_data(pack, table), table->tensor.end - table->tensor.begin);
    }
    for (size_t i = 0; i < metadata_count; i++) {
        XXH3_64bits_update(&state, metadata[i].key, strlen(metadata[i].key));
        XXH3_64bits_update(&state, "=", 1);
        XXH3_64bits_update(&state, metadata[i].value, strlen(metadata[i].value));
        XXH3_64bits_update(&state, "\n", 1);
    }
    return XXH3_64bits_digest(&state);
}
