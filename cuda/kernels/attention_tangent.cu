// The tangent of attention's outputs along tangents of queries, keys and values: with the weights p and the tangents t
// of the scores, the sum over the keys of p (t - mean of t) v + p dv. A first pass over the keys has the mean, and the sum of
// the weights: log-sums are those of rounded scores where the outputs were computed in bf16.

// One block for a tile of queries (blockIdx.x) and a head (blockIdx.y).
template <int R, int NJ>
DEVICE void attention_moves(const float* RESTRICT q, const float* RESTRICT dq, const float* RESTRICT dk,
                            const float* RESTRICT dv, const float* RESTRICT log_sums, const AttentionTile& tile,
                            const u32* RESTRICT positions, float* RESTRICT out, const AttentionShape& shape) {
    const u32 SIDE = 16 * R;
    SHARED(float, queries);
    u32 head = blockIdx.y, dim = shape.dim, stride = padded(dim) + 4;
    u32 kv_head = head / (shape.query_heads / shape.kv_heads);
    float *moved_queries = queries + SIDE * stride, *keys = moved_queries + SIDE * stride;
    float *moved_keys = keys + SIDE * stride, *weights = moved_keys + SIDE * stride;
    float* moved_weights = weights + SIDE * (SIDE + 4);
    u64 wide = (u64)shape.query_heads * dim, narrow = (u64)shape.kv_heads * dim;
    Lanes at = lanes();
    u64 first = tile.first_query * wide + head * dim;
    load_tile(queries, SIDE, stride, q + first, wide, tile.queries, dim);
    load_tile(moved_queries, SIDE, stride, dq + first, wide, tile.queries, dim);
    Rows<R> rows = rows_of<R>(tile.first_query, tile.queries, positions, nullptr, head);
    float log_sum[R], mean[R], total[R], sums[R][NJ];
    row_values<R>(log_sum, log_sums, tile.first_query, rows, head, shape.query_heads);
    UNROLL for (int i = 0; i < R; ++i) {
        total[i] = mean[i] = 0.0f;
        UNROLL for (int j = 0; j < NJ; ++j) sums[i][j] = 0.0f;
    }
    for (int pass = 0; pass < 2; ++pass) {
        for (u32 from = tile.from; from < tile.to; from += SIDE) {
            u32 count = tile.to - from < SIDE ? tile.to - from : SIDE;
            u64 inside = from * narrow + kv_head * dim;
            u64 there = tile.key_row * narrow + inside;
            SYNC();
            load_tile(keys, SIDE, stride, reinterpret_cast<const float*>(tile.keys) + inside, narrow, count, dim);
            load_tile(moved_keys, SIDE, stride, dk + there, narrow, count, dim);
            SYNC();
            float products[R][R], moves[R][R];
            UNROLL for (int i = 0; i < R; ++i)
                UNROLL for (int j = 0; j < R; ++j) products[i][j] = moves[i][j] = 0.0f;
            add_scores<R>(products, queries, keys, stride, dim);
            add_scores<R>(moves, moved_queries, keys, stride, dim);
            add_scores<R>(moves, queries, moved_keys, stride, dim);
            UNROLL for (int i = 0; i < R; ++i) {
                float sum = 0.0f, weight_sum = 0.0f;
                UNROLL for (int j = 0; j < R; ++j) {
                    u32 column = at.x + 16 * j;
                    float slope, s = score(products[i][j], shape, &slope);
                    bool seen = rows.there[i] && column < count && sees(rows.position[i], from + column, shape.window);
                    float p = seen ? expf(s - log_sum[i]) : 0.0f, move = moves[i][j] * slope;
                    sum += p * move;
                    weight_sum += p;
                    u32 to = (at.y * R + i) * (SIDE + 4) + column;
                    weights[to] = p;
                    moved_weights[to] = p * (move - mean[i]);
                }
                if (pass == 0) {
                    mean[i] += row_sum(sum);
                    total[i] += row_sum(weight_sum);
                }
            }
            if (pass == 0) continue;
            SYNC();
            load_tile(keys, SIDE, stride, reinterpret_cast<const float*>(tile.values) + inside, narrow, count, dim);
            load_tile(moved_keys, SIDE, stride, dv + there, narrow, count, dim);
            SYNC();
            add_product<R, NJ>(sums, moved_weights, keys, stride, dim);
            add_product<R, NJ>(sums, weights, moved_keys, stride, dim);
        }
        if (pass == 0) {
            UNROLL for (int i = 0; i < R; ++i) {
                total[i] = rows.there[i] ? 1.0f / total[i] : 0.0f;
                mean[i] *= total[i];
            }
        }
    }
    store_rows<R, NJ>(out + first, wide, tile.queries, dim, sums, total);
}

#define INSTANCE(width, R, NJ)                                                                                     \
    KERNEL attention_tangent_##width(const float* RESTRICT q, const float* RESTRICT dq, const float* RESTRICT dk,  \
                                     const float* RESTRICT dv, const float* RESTRICT log_sums,                     \
                                     const u32* RESTRICT positions, const AttentionTile* RESTRICT tiles,           \
                                     float* RESTRICT out, AttentionShape shape) {                                  \
        attention_moves<R, NJ>(q, dq, dk, dv, log_sums, tiles[blockIdx.x], positions, out, shape);                 \
    }
FOR_EACH_WIDTH(INSTANCE)
#undef INSTANCE
