// Packed causal attention of queries, keys and values in bf16, tile by tile with a running softmax.

// One block of 128 threads for a tile of queries (blockIdx.x) and a head (blockIdx.y): a warp has 16 queries.
template <int WIDTH>
DEVICE void attend_bf16(const u16* RESTRICT q, const AttentionTile& tile, const u32* RESTRICT positions,
                        const u64* RESTRICT drop_keys, float* RESTRICT out, u16* RESTRICT rounded,
                        float* RESTRICT log_sums, const AttentionShape& shape) {
    const int GROUPS = SIDE / 8;
    SHARED(u16, shared);
    SharedPlace queries = shared_place(shared), keys = queries + Tile<WIDTH>::BYTES;
    SharedPlace values = keys + Tile<WIDTH>::BYTES;
    u32 head = blockIdx.y, dim = shape.dim, warp = threadIdx.x >> 5, column = lane_id() % 4 * 2;
    u32 kv_head = head / (shape.query_heads / shape.kv_heads);
    u64 wide = (u64)shape.query_heads * dim, narrow = (u64)shape.kv_heads * dim;
    u64 first = tile.first_query * wide + head * dim;
    const u16* all_keys = reinterpret_cast<const u16*>(tile.keys) + kv_head * dim;
    const u16* all_values = reinterpret_cast<const u16*>(tile.values) + kv_head * dim;
    u32 row = 16 * warp + lane_id() / 4;
    RowPair rows = row_pair(row, tile.first_query, tile.queries, positions, drop_keys, head);
    load_rows<WIDTH, SIDE, 128>(queries, q + first, wide, tile.queries, dim);
    u32 count = tile.to - tile.from < SIDE ? tile.to - tile.from : SIDE;
    load_rows<WIDTH, SIDE, 128>(keys, all_keys + tile.from * narrow, narrow, count, dim);
    COPIES_END();
    float largest[2] = {-INFINITY_F, -INFINITY_F}, total[2] = {0.0f, 0.0f};
    float sums[WIDTH / 8][4];
    UNROLL for (int n = 0; n < WIDTH / 8; ++n)
        UNROLL for (int i = 0; i < 4; ++i) sums[n][i] = 0.0f;
    for (u32 from = tile.from; from < tile.to; from += SIDE) {
        count = tile.to - from < SIDE ? tile.to - from : SIDE;
        // The keys are there, and no warp multiplies the values before.
        COPIES_WAIT(0);
        SYNC();
        load_rows<WIDTH, SIDE, 128>(values, all_values + from * narrow, narrow, count, dim);
        COPIES_END();
        float weights[GROUPS][4];
        multiply_rows<WIDTH, GROUPS>(weights, queries + 16 * warp * Tile<WIDTH>::ROW, keys);
        // Scores in powers of two.
        if (shape.cap > 0.0f) {
            float slope;
            UNROLL for (int n = 0; n < GROUPS; ++n)
                UNROLL for (int j = 0; j < 4; ++j) weights[n][j] = score(weights[n][j], shape, &slope) * LOG2_E;
        } else {
            float scale = shape.scale * LOG2_E;
            UNROLL for (int n = 0; n < GROUPS; ++n)
                UNROLL for (int j = 0; j < 4; ++j) weights[n][j] *= scale;
        }
        SeenKeys seen = seen_keys(rows, from, count, shape.window);
        if (!are_all(seen, 0, SIDE - 1)) hide_unseen(weights, seen, column);
        float before[2];
        UNROLL for (int i = 0; i < 2; ++i) {
            float most = -INFINITY_F, sum = 0.0f;
            UNROLL for (int n = 0; n < GROUPS; ++n)
                most = fmaxf(most, fmaxf(weights[n][2 * i], weights[n][2 * i + 1]));
            most = fmaxf(largest[i], quad_largest(most));
            // Before the first key that is seen there is nothing to scale down.
            float shift = most == -INFINITY_F ? 0.0f : most;
            before[i] = power_of_two(largest[i] - shift);
            UNROLL for (int n = 0; n < GROUPS; ++n)
                UNROLL for (int j = 2 * i; j < 2 * i + 2; ++j) {
                    weights[n][j] = power_of_two(weights[n][j] - shift);
                    sum += weights[n][j];
                }
            total[i] = total[i] * before[i] + quad_sum(sum);
            largest[i] = most;
        }
        if (drop_keys) {
            UNROLL for (int n = 0; n < GROUPS; ++n)
                UNROLL for (int j = 0; j < 4; ++j) {
                    u32 place = from + 8 * n + column + j % 2;
                    if (drop_factor(rows.drop[j / 2], place, shape) == 0.0f) weights[n][j] = 0.0f;
                }
        }
        if (before[0] != 1.0f || before[1] != 1.0f) {
            UNROLL for (int n = 0; n < WIDTH / 8; ++n)
                UNROLL for (int i = 0; i < 4; ++i) sums[n][i] *= before[i / 2];
        }
        // The values are there, and no warp multiplies the keys any more.
        COPIES_WAIT(0);
        SYNC();
        if (tile.to - from > SIDE) {
            u32 next = from + SIDE, left = tile.to - next < SIDE ? tile.to - next : SIDE;
            load_rows<WIDTH, SIDE, 128>(keys, all_keys + next * narrow, narrow, left, dim);
            COPIES_END();
        }
        UNROLL for (int k = 0; k < GROUPS / 2; ++k) {
            u32 x[4];
            as_factor(x, weights, k);
            add_columns<WIDTH, WIDTH / 8>(sums, x, values + 16 * k * Tile<WIDTH>::ROW);
        }
    }
    float inverse[2];
    UNROLL for (int i = 0; i < 2; ++i) {
        // The factor of weights that are not dropped would be rounded with them.
        inverse[i] = shape.drop_scale / total[i];
        if (rows.there[i] && column == 0)
            log_sums[(u64)rows.row[i] * shape.query_heads + head] = largest[i] * LN_2 + logf(total[i]);
    }
    u16* rounded_first = rounded ? rounded + first : nullptr;
    store_pairs(out + first, rounded_first, wide, row, tile.queries, 0, dim, sums, inverse);
}

#define INSTANCE(width)                                                                                           \
    KERNEL_FOR(128, width == 64 ? 4 : width == 128 ? 3 : 2)                                                       \
    attention_forward_bf16_##width(const u16* RESTRICT q, const AttentionTile* RESTRICT tiles,                    \
                                   const u32* RESTRICT positions, const u64* RESTRICT drop_keys,                  \
                                   float* RESTRICT out, u16* RESTRICT rounded, float* RESTRICT log_sums,          \
                                   AttentionShape shape) {                                                        \
        attend_bf16<width>(q, tiles[blockIdx.x], positions, drop_keys, out, rounded, log_sums, shape);            \
    }
FOR_EACH_BF16_WIDTH(INSTANCE)
#undef INSTANCE
