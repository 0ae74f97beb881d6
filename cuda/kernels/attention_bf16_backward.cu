// Gradients of attention in bf16, as in attention_backward.cu: probabilities from the log-sums, one kernel over tiles of
// queries and one over tiles of keys.

// Tensors that the gradients are computed from.
struct RoundedSaved {
    const u16 *q, *grad;
    const float *log_sums, *along;
    const u32* positions;
    const u64* drop_keys;
};

// As `attention_along`. Both factors are those of the products that it is subtracted from, so that gradients that cancel
// do so but for the order of sums.
KERNEL attention_along_bf16(const u16* RESTRICT grad, const float* RESTRICT out, float* RESTRICT along, u32 dim,
                            u64 count) {
    u64 i = flat_index() >> 5;
    float sum = 0.0f;
    if (i < count)
        for (u32 d = 2 * lane_id(); d < dim; d += 64) {
            u32 pair = *reinterpret_cast<const u32*>(grad + i * dim + d);
            float2 of = *reinterpret_cast<const float2*>(out + i * dim + d);
            sum += float_of(pair << 16) * of.x + float_of(pair & 0xffff0000u) * of.y;
        }
    sum = warp_sum(sum);
    if (i < count && lane_id() == 0) along[i] = sum;
}

// The two values of a thread's queries in a head.
DEVICE void pair_values(float (&to)[2], const float* RESTRICT values, const RowPair& rows, u32 head, u32 heads) {
    UNROLL for (int i = 0; i < 2; ++i) to[i] = rows.there[i] ? values[(u64)rows.row[i] * heads + head] : 0.0f;
}

// Of a thread's products of queries and keys, and of gradients and values: the weights after dropout, but for their factor,
// and the gradients of the products. `from` is the place of the first of `count` keys, `column` the thread's first one.
template <int N>
DEVICE void bf16_slopes(float (&weights)[N][4], float (&grads)[N][4], const RowPair& rows, const float (&log_sum)[2],
                        const float (&along)[2], u32 from, u32 column, u32 count, bool drops,
                        const AttentionShape& shape) {
    SeenKeys seen = seen_keys(rows, from, count, shape.window);
    int first = (int)(column - column % 8);
    float log_sums[2] = {log_sum[0] * LOG2_E, log_sum[1] * LOG2_E};
    if (shape.cap > 0.0f || drops) {
        UNROLL for (int n = 0; n < N; ++n)
            UNROLL for (int j = 0; j < 4; ++j) {
                int key = (int)column + 8 * n + j % 2;
                bool there = key >= seen.first[j / 2] && key <= seen.last[j / 2];
                float slope, s = score(weights[n][j], shape, &slope) * LOG2_E;
                float p = there ? power_of_two(s - log_sums[j / 2]) : 0.0f;
                float factor = drops ? drop_factor(rows.drop[j / 2], from + key, shape) : 1.0f;
                weights[n][j] = factor == 0.0f ? 0.0f : p;
                grads[n][j] = p * (grads[n][j] * factor - along[j / 2]) * slope;
            }
        return;
    }
    float scale = shape.scale * LOG2_E;
    UNROLL for (int n = 0; n < N; ++n)
        UNROLL for (int j = 0; j < 4; ++j) weights[n][j] = weights[n][j] * scale - log_sums[j / 2];
    if (!are_all(seen, first, first + 8 * N - 1)) hide_unseen(weights, seen, (int)column);
    UNROLL for (int n = 0; n < N; ++n)
        UNROLL for (int j = 0; j < 4; ++j) {
            weights[n][j] = power_of_two(weights[n][j]);
            grads[n][j] = weights[n][j] * (grads[n][j] - along[j / 2]) * shape.scale;
        }
}

// Gradient of the queries: one block of 128 threads for a tile of them (blockIdx.x) and a head (blockIdx.y), 16 queries a
// warp, and KEYS keys at a time.
template <int WIDTH, int KEYS>
DEVICE void query_gradient_bf16(const RoundedSaved& saved, const AttentionTile& tile, u16* RESTRICT dq,
                                const AttentionShape& shape) {
    const u32 ROW = Tile<WIDTH>::ROW;
    SHARED(u16, shared);
    SharedPlace queries = shared_place(shared), grads = queries + Tile<WIDTH>::BYTES;
    SharedPlace keys = grads + Tile<WIDTH>::BYTES, values = keys + KEYS * ROW;
    u32 head = blockIdx.y, dim = shape.dim, warp = threadIdx.x >> 5, column = lane_id() % 4 * 2;
    u32 kv_head = head / (shape.query_heads / shape.kv_heads);
    u64 wide = (u64)shape.query_heads * dim, narrow = (u64)shape.kv_heads * dim;
    u64 first = tile.first_query * wide + head * dim;
    u32 row = 16 * warp + lane_id() / 4;
    RowPair rows = row_pair(row, tile.first_query, tile.queries, saved.positions, saved.drop_keys, head);
    load_rows<WIDTH, SIDE, 128>(queries, saved.q + first, wide, tile.queries, dim);
    load_rows<WIDTH, SIDE, 128>(grads, saved.grad + first, wide, tile.queries, dim);
    float log_sum[2], along[2], sums[WIDTH / 8][4];
    pair_values(log_sum, saved.log_sums, rows, head, shape.query_heads);
    pair_values(along, saved.along, rows, head, shape.query_heads);
    UNROLL for (int n = 0; n < WIDTH / 8; ++n)
        UNROLL for (int i = 0; i < 4; ++i) sums[n][i] = 0.0f;
    for (u32 from = tile.from; from < tile.to; from += KEYS) {
        u32 count = tile.to - from < KEYS ? tile.to - from : KEYS;
        u64 there = from * narrow + kv_head * dim;
        SYNC();
        load_rows<WIDTH, KEYS, 128>(keys, reinterpret_cast<const u16*>(tile.keys) + there, narrow, count, dim);
        load_rows<WIDTH, KEYS, 128>(values, reinterpret_cast<const u16*>(tile.values) + there, narrow, count, dim);
        COPIES_END();
        COPIES_WAIT(0);
        SYNC();
        float weights[KEYS / 8][4], dproducts[KEYS / 8][4];
        multiply_rows<WIDTH, KEYS / 8>(weights, queries + 16 * warp * ROW, keys);
        multiply_rows<WIDTH, KEYS / 8>(dproducts, grads + 16 * warp * ROW, values);
        bf16_slopes(weights, dproducts, rows, log_sum, along, from, column, count, saved.drop_keys != nullptr, shape);
        UNROLL for (int k = 0; k < KEYS / 16; ++k) {
            u32 x[4];
            as_factor(x, dproducts, k);
            add_columns<WIDTH, WIDTH / 8>(sums, x, keys + 16 * k * ROW);
        }
    }
    float factors[2], *none = nullptr;
    UNROLL for (int i = 0; i < 2; ++i) factors[i] = sees_one(rows.position[i], shape.window) ? 0.0f : 1.0f;
    store_pairs(none, dq + first, wide, row, tile.queries, 0, dim, sums, factors);
}

// Gradients of keys and values: one block of 256 threads for a tile of keys (blockIdx.x) and a head of theirs
// (blockIdx.y). Of the products a warp has 16 queries and half of the keys, of the gradients 16 keys and half of the columns.
template <int WIDTH>
DEVICE void key_gradients_bf16(const RoundedSaved& saved, const KeyTile& tile, const u16* RESTRICT k,
                               const u16* RESTRICT v, u16* RESTRICT dk, u16* RESTRICT dv, const AttentionShape& shape) {
    const u32 ROW = Tile<WIDTH>::ROW, BYTES = Tile<WIDTH>::BYTES, PRODUCTS = Tile<SIDE>::ROW;
    const int GROUPS = SIDE / 16, COLUMNS = WIDTH / 16;
    SHARED(u16, shared);
    u16 *weight_tile = shared + 2 * BYTES, *product_tile = weight_tile + Tile<SIDE>::BYTES / 2;
    SharedPlace queries = shared_place(shared), grads = queries + BYTES, keys = grads + BYTES, values = keys + BYTES;
    u32 kv_head = blockIdx.y, dim = shape.dim, group = shape.query_heads / shape.kv_heads;
    u32 warp = threadIdx.x >> 5, lane = lane_id(), part = warp / 4, sixteen = 16 * (warp % 4);
    u32 row = sixteen + lane / 4, column = SIDE / 2 * part + lane % 4 * 2;
    u64 wide = (u64)shape.query_heads * dim, narrow = (u64)shape.kv_heads * dim;
    u64 there = tile.key_row * narrow + kv_head * dim;
    load_rows<WIDTH, SIDE, 256>(keys, k + there, narrow, tile.keys, dim);
    load_rows<WIDTH, SIDE, 256>(values, v + there, narrow, tile.keys, dim);
    float key_sums[COLUMNS][4], value_sums[COLUMNS][4];
    UNROLL for (int n = 0; n < COLUMNS; ++n)
        UNROLL for (int i = 0; i < 4; ++i) key_sums[n][i] = value_sums[n][i] = 0.0f;
    for (u32 head = kv_head * group; head < (kv_head + 1) * group; ++head)
        for (u32 query = tile.first_query; query < tile.end_query; query += SIDE) {
            u32 count = tile.end_query - query < SIDE ? tile.end_query - query : SIDE;
            if (all_before(tile, saved.positions[query + count - 1])) continue;
            if (all_behind(tile, saved.positions[query], shape.window)) break;
            u64 first = query * wide + head * dim;
            SYNC();
            load_rows<WIDTH, SIDE, 256>(queries, saved.q + first, wide, count, dim);
            load_rows<WIDTH, SIDE, 256>(grads, saved.grad + first, wide, count, dim);
            COPIES_END();
            RowPair rows = row_pair(row, query, count, saved.positions, saved.drop_keys, head);
            float log_sum[2], along[2], weights[GROUPS][4], dproducts[GROUPS][4];
            pair_values(log_sum, saved.log_sums, rows, head, shape.query_heads);
            pair_values(along, saved.along, rows, head, shape.query_heads);
            COPIES_WAIT(0);
            SYNC();
            u32 half = SIDE / 2 * part * ROW;
            multiply_rows<WIDTH, GROUPS>(weights, queries + sixteen * ROW, keys + half);
            multiply_rows<WIDTH, GROUPS>(dproducts, grads + sixteen * ROW, values + half);
            bf16_slopes(weights, dproducts, rows, log_sum, along, tile.place, column, tile.keys,
                        saved.drop_keys != nullptr, shape);
            UNROLL for (int n = 0; n < GROUPS; ++n)
                UNROLL for (int i = 0; i < 2; ++i) {
                    u32 to = (row + 8 * i) * (PRODUCTS / 2) + column + 8 * n;
                    *reinterpret_cast<u32*>(weight_tile + to) = bf16_pair(weights[n][2 * i], weights[n][2 * i + 1]);
                    *reinterpret_cast<u32*>(product_tile + to) =
                        sees_one(rows.position[i], shape.window)
                            ? 0
                            : bf16_pair(dproducts[n][2 * i], dproducts[n][2 * i + 1]);
                }
            SYNC();
            // Transposed: rows of the tiles are queries, over which the gradients sum.
            u32 left = (lane % 8 + lane / 16 * 8) * PRODUCTS + lane / 8 % 2 * 16 + 2 * sixteen;
            SharedPlace left_weights = shared_place(weight_tile) + left, left_products = shared_place(product_tile) + left;
            UNROLL for (u32 q = 0; q < SIDE; q += 16) {
                u32 x[4];
                LOAD_TRANSPOSED(x, left_weights + q * PRODUCTS);
                add_columns<WIDTH, COLUMNS>(value_sums, x, grads + q * ROW + WIDTH * part);
                LOAD_TRANSPOSED(x, left_products + q * PRODUCTS);
                add_columns<WIDTH, COLUMNS>(key_sums, x, queries + q * ROW + WIDTH * part);
            }
        }
    // Copies of keys that no query sees.
    COPIES_END();
    COPIES_WAIT(0);
    const float ones[2] = {1.0f, 1.0f}, factors[2] = {shape.drop_scale, shape.drop_scale};
    float* none = nullptr;
    store_pairs(none, dk + there, narrow, row, tile.keys, WIDTH / 2 * part, dim, key_sums, ones);
    store_pairs(none, dv + there, narrow, row, tile.keys, WIDTH / 2 * part, dim, value_sums, factors);
}

#define INSTANCE(width)                                                                                               \
    KERNEL_FOR(128, width == 64 ? 3 : 2)                                                                              \
    attention_queries_bf16_##width(const u16* RESTRICT q, const u16* RESTRICT grad, const float* RESTRICT log_sums,   \
                                   const float* RESTRICT along, const u32* RESTRICT positions,                        \
                                   const u64* RESTRICT drop_keys, const AttentionTile* RESTRICT tiles,                \
                                   u16* RESTRICT dq, AttentionShape shape) {                                          \
        RoundedSaved saved = {q, grad, log_sums, along, positions, drop_keys};                                        \
        query_gradient_bf16<width, width == 256 ? 32 : 64>(saved, tiles[blockIdx.x], dq, shape);                      \
    }                                                                                                                 \
    KERNEL_FOR(256, width == 256 ? 1 : 2)                                                                             \
    attention_keys_bf16_##width(const u16* RESTRICT q, const u16* RESTRICT grad, const float* RESTRICT log_sums,      \
                                const float* RESTRICT along, const u32* RESTRICT positions,                           \
                                const u64* RESTRICT drop_keys, const KeyTile* RESTRICT tiles, const u16* RESTRICT k,  \
                                const u16* RESTRICT v, u16* RESTRICT dk, u16* RESTRICT dv, AttentionShape shape) {    \
        RoundedSaved saved = {q, grad, log_sums, along, positions, drop_keys};                                        \
        key_gradients_bf16<width>(saved, tiles[blockIdx.x], k, v, dk, dv, shape);                                     \
    }
FOR_EACH_BF16_WIDTH(INSTANCE)
#undef INSTANCE
