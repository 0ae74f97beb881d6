// Packed causal attention, tile by tile with a running softmax: memory is linear in the rows.

// One block for a tile of queries (blockIdx.x) and a head (blockIdx.y).
template <int R, int NJ>
DEVICE void attend(const float* RESTRICT q, const AttentionTile& tile, const u32* RESTRICT positions,
                   const u64* RESTRICT drop_keys, float* RESTRICT out, float* RESTRICT log_sums,
                   const AttentionShape& shape) {
    const u32 SIDE = 16 * R;
    SHARED(float, queries);
    u32 head = blockIdx.y, dim = shape.dim, stride = padded(dim) + 4;
    u32 kv_head = head / (shape.query_heads / shape.kv_heads);
    float *keys = queries + SIDE * stride, *weights = keys + SIDE * stride;
    u64 wide = (u64)shape.query_heads * dim, narrow = (u64)shape.kv_heads * dim;
    Lanes at = lanes();
    u64 first = tile.first_query * wide + head * dim;
    load_tile(queries, SIDE, stride, q + first, wide, tile.queries, dim);
    Rows<R> rows = rows_of<R>(tile.first_query, tile.queries, positions, drop_keys, head);
    float largest[R], total[R], sums[R][NJ];
    UNROLL for (int i = 0; i < R; ++i) {
        largest[i] = -INFINITY_F;
        total[i] = 0.0f;
        UNROLL for (int j = 0; j < NJ; ++j) sums[i][j] = 0.0f;
    }
    for (u32 from = tile.from; from < tile.to; from += SIDE) {
        u32 count = tile.to - from < SIDE ? tile.to - from : SIDE;
        u64 there = from * narrow + kv_head * dim;
        SYNC();
        load_tile(keys, SIDE, stride, reinterpret_cast<const float*>(tile.keys) + there, narrow, count, dim);
        SYNC();
        float products[R][R];
        UNROLL for (int i = 0; i < R; ++i)
            UNROLL for (int j = 0; j < R; ++j) products[i][j] = 0.0f;
        add_scores<R>(products, queries, keys, stride, dim);
        UNROLL for (int i = 0; i < R; ++i) {
            float most = -INFINITY_F, slope;
            bool seen[R];
            UNROLL for (int j = 0; j < R; ++j) {
                u32 column = at.x + 16 * j;
                seen[j] = rows.there[i] && column < count && sees(rows.position[i], from + column, shape.window);
                products[i][j] = score(products[i][j], shape, &slope);
                if (seen[j]) most = fmaxf(most, products[i][j]);
            }
            most = fmaxf(largest[i], row_largest(most));
            // Before the first key that is seen there is nothing to scale down.
            float shift = most == -INFINITY_F ? 0.0f : most;
            float before = expf(largest[i] - shift), sum = 0.0f;
            UNROLL for (int j = 0; j < R; ++j) {
                u32 column = at.x + 16 * j;
                float weight = seen[j] ? expf(products[i][j] - shift) : 0.0f;
                sum += weight;
                if (drop_keys) weight *= drop_factor(rows.drop[i], from + column, shape);
                weights[(at.y * R + i) * (SIDE + 4) + column] = weight;
            }
            total[i] = total[i] * before + row_sum(sum);
            largest[i] = most;
            UNROLL for (int j = 0; j < NJ; ++j) sums[i][j] *= before;
        }
        SYNC();
        load_tile(keys, SIDE, stride, reinterpret_cast<const float*>(tile.values) + there, narrow, count, dim);
        SYNC();
        add_product<R, NJ>(sums, weights, keys, stride, dim);
    }
    float inverse[R];
    UNROLL for (int i = 0; i < R; ++i) {
        inverse[i] = 1.0f / total[i];
        u64 row = tile.first_query + at.y * R + i;
        if (rows.there[i] && at.x == 0) log_sums[row * shape.query_heads + head] = largest[i] + logf(total[i]);
    }
    store_rows<R, NJ>(out + first, wide, tile.queries, dim, sums, inverse);
}

#define INSTANCE(width, R, NJ)                                                                               \
    KERNEL attention_forward_##width(const float* RESTRICT q, const AttentionTile* RESTRICT tiles,           \
                                     const u32* RESTRICT positions, const u64* RESTRICT drop_keys,           \
                                     float* RESTRICT out, float* RESTRICT log_sums, AttentionShape shape) {  \
        attend<R, NJ>(q, tiles[blockIdx.x], positions, drop_keys, out, log_sums, shape);                     \
    }
FOR_EACH_WIDTH(INSTANCE)
#undef INSTANCE
