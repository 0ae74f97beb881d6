// Gradients of attention. The probabilities are computed again from the log-sums, in two kernels, one over tiles of
// queries and one over tiles of keys, so that no two blocks add to the same values.

// The product of each row's output and its gradient in each head, which is the mean of its probabilities' gradients.
// One warp a head of a row.
KERNEL attention_along(const float* RESTRICT grad, const float* RESTRICT out, float* RESTRICT along, u32 dim,
                       u64 count) {
    u64 i = flat_index() >> 5;
    float sum = 0.0f;
    if (i < count)
        for (u32 d = threadIdx.x & 31u; d < dim; d += 32) sum += grad[i * dim + d] * out[i * dim + d];
    sum = warp_sum(sum);
    if (i < count && (threadIdx.x & 31u) == 0) along[i] = sum;
}

// Tensors that the gradients are computed from.
struct AttentionSaved {
    const float *q, *grad, *log_sums, *along;
    const u32* positions;
    const u64* drop_keys;
};

// Of a thread's products of queries and keys, and of gradients and values: the weights after dropout and the
// gradients of the products.
template <int R>
DEVICE void slopes(float weights[R][R], float grads[R][R], const Rows<R>& rows, const float log_sum[R],
                   const float along[R], u32 from, u32 count, bool drops, const AttentionShape& shape) {
    UNROLL for (int i = 0; i < R; ++i)
        UNROLL for (int j = 0; j < R; ++j) {
            u32 column = lanes().x + 16 * j;
            float slope, s = score(weights[i][j], shape, &slope);
            bool seen = rows.there[i] && column < count && sees(rows.position[i], from + column, shape.window);
            float p = seen ? expf(s - log_sum[i]) : 0.0f;
            float factor = drops ? drop_factor(rows.drop[i], from + column, shape) : 1.0f;
            weights[i][j] = p * factor;
            grads[i][j] = p * (grads[i][j] * factor - along[i]) * slope;
        }
}

template <int R>
DEVICE void row_values(float to[R], const float* RESTRICT values, u32 first, const Rows<R>& rows, u32 head, u32 heads) {
    UNROLL for (int i = 0; i < R; ++i)
        to[i] = rows.there[i] ? values[((u64)first + lanes().y * R + i) * heads + head] : 0.0f;
}

// Gradient of the queries: one block for a tile of them (blockIdx.x) and a head (blockIdx.y).
template <int R, int NJ>
DEVICE void query_gradient(const AttentionSaved& saved, const AttentionTile& tile, float* RESTRICT dq,
                           const AttentionShape& shape) {
    const u32 SIDE = 16 * R;
    SHARED(float, queries);
    u32 head = blockIdx.y, dim = shape.dim, stride = padded(dim) + 4;
    u32 kv_head = head / (shape.query_heads / shape.kv_heads);
    float *grads = queries + SIDE * stride, *keys = grads + SIDE * stride, *values = keys + SIDE * stride;
    float* products = values + SIDE * stride;
    u64 wide = (u64)shape.query_heads * dim, narrow = (u64)shape.kv_heads * dim;
    Lanes at = lanes();
    u64 first = tile.first_query * wide + head * dim;
    load_tile(queries, SIDE, stride, saved.q + first, wide, tile.queries, dim);
    load_tile(grads, SIDE, stride, saved.grad + first, wide, tile.queries, dim);
    Rows<R> rows = rows_of<R>(tile.first_query, tile.queries, saved.positions, saved.drop_keys, head);
    float log_sum[R], along[R], sums[R][NJ], factors[R];
    row_values<R>(log_sum, saved.log_sums, tile.first_query, rows, head, shape.query_heads);
    row_values<R>(along, saved.along, tile.first_query, rows, head, shape.query_heads);
    UNROLL for (int i = 0; i < R; ++i) {
        factors[i] = sees_one(rows.position[i], shape.window) ? 0.0f : 1.0f;
        UNROLL for (int j = 0; j < NJ; ++j) sums[i][j] = 0.0f;
    }
    for (u32 from = tile.from; from < tile.to; from += SIDE) {
        u32 count = tile.to - from < SIDE ? tile.to - from : SIDE;
        u64 there = from * narrow + kv_head * dim;
        SYNC();
        load_tile(keys, SIDE, stride, reinterpret_cast<const float*>(tile.keys) + there, narrow, count, dim);
        load_tile(values, SIDE, stride, reinterpret_cast<const float*>(tile.values) + there, narrow, count, dim);
        SYNC();
        float weights[R][R], dproducts[R][R];
        UNROLL for (int i = 0; i < R; ++i)
            UNROLL for (int j = 0; j < R; ++j) weights[i][j] = dproducts[i][j] = 0.0f;
        add_scores<R>(weights, queries, keys, stride, dim);
        add_scores<R>(dproducts, grads, values, stride, dim);
        slopes<R>(weights, dproducts, rows, log_sum, along, from, count, saved.drop_keys != nullptr, shape);
        UNROLL for (int i = 0; i < R; ++i)
            UNROLL for (int j = 0; j < R; ++j)
                products[(at.y * R + i) * (SIDE + 4) + at.x + 16 * j] = dproducts[i][j];
        SYNC();
        add_product<R, NJ>(sums, products, keys, stride, dim);
    }
    store_rows<R, NJ>(dq + first, wide, tile.queries, dim, sums, factors);
}

// Gradients of keys and values: one block for a tile of keys (blockIdx.x) and a head of theirs (blockIdx.y).
template <int R, int NJ>
DEVICE void key_gradients(const AttentionSaved& saved, const KeyTile& tile, const float* RESTRICT k,
                          const float* RESTRICT v, float* RESTRICT dk, float* RESTRICT dv,
                          const AttentionShape& shape) {
    const u32 SIDE = 16 * R;
    SHARED(float, queries);
    u32 kv_head = blockIdx.y, dim = shape.dim, stride = padded(dim) + 4, group = shape.query_heads / shape.kv_heads;
    float *grads = queries + SIDE * stride, *keys = grads + SIDE * stride, *values = keys + SIDE * stride;
    float *by_key = values + SIDE * stride, *products = by_key + SIDE * (SIDE + 4);
    u64 wide = (u64)shape.query_heads * dim, narrow = (u64)shape.kv_heads * dim;
    Lanes at = lanes();
    u64 there = tile.key_row * narrow + kv_head * dim;
    load_tile(keys, SIDE, stride, k + there, narrow, tile.keys, dim);
    load_tile(values, SIDE, stride, v + there, narrow, tile.keys, dim);
    float ones[R], key_sums[R][NJ], value_sums[R][NJ];
    UNROLL for (int i = 0; i < R; ++i) {
        ones[i] = 1.0f;
        UNROLL for (int j = 0; j < NJ; ++j) key_sums[i][j] = value_sums[i][j] = 0.0f;
    }
    for (u32 head = kv_head * group; head < (kv_head + 1) * group; ++head)
        for (u32 query = tile.first_query; query < tile.end_query; query += SIDE) {
            u32 count = tile.end_query - query < SIDE ? tile.end_query - query : SIDE;
            if (all_before(tile, saved.positions[query + count - 1])) continue;
            if (all_behind(tile, saved.positions[query], shape.window)) break;
            u64 first = query * wide + head * dim;
            SYNC();
            load_tile(queries, SIDE, stride, saved.q + first, wide, count, dim);
            load_tile(grads, SIDE, stride, saved.grad + first, wide, count, dim);
            SYNC();
            Rows<R> rows = rows_of<R>(query, count, saved.positions, saved.drop_keys, head);
            float log_sum[R], along[R], weights[R][R], dproducts[R][R];
            row_values<R>(log_sum, saved.log_sums, query, rows, head, shape.query_heads);
            row_values<R>(along, saved.along, query, rows, head, shape.query_heads);
            UNROLL for (int i = 0; i < R; ++i)
                UNROLL for (int j = 0; j < R; ++j) weights[i][j] = dproducts[i][j] = 0.0f;
            add_scores<R>(weights, queries, keys, stride, dim);
            add_scores<R>(dproducts, grads, values, stride, dim);
            slopes<R>(weights, dproducts, rows, log_sum, along, tile.place, tile.keys, saved.drop_keys != nullptr,
                      shape);
            UNROLL for (int i = 0; i < R; ++i)
                UNROLL for (int j = 0; j < R; ++j) {
                    u32 to = (at.x + 16 * j) * (SIDE + 4) + at.y * R + i;
                    by_key[to] = weights[i][j];
                    products[to] = sees_one(rows.position[i], shape.window) ? 0.0f : dproducts[i][j];
                }
            SYNC();
            add_product<R, NJ>(value_sums, by_key, grads, stride, dim);
            add_product<R, NJ>(key_sums, products, queries, stride, dim);
        }
    store_rows<R, NJ>(dk + there, narrow, tile.keys, dim, key_sums, ones);
    store_rows<R, NJ>(dv + there, narrow, tile.keys, dim, value_sums, ones);
}

#define INSTANCE(width, R, NJ)                                                                                       \
    KERNEL attention_queries_##width(const float* RESTRICT q, const float* RESTRICT grad,                            \
                                     const float* RESTRICT log_sums, const float* RESTRICT along,                    \
                                     const u32* RESTRICT positions, const u64* RESTRICT drop_keys,                   \
                                     const AttentionTile* RESTRICT tiles, float* RESTRICT dq,                        \
                                     AttentionShape shape) {                                                         \
        AttentionSaved saved = {q, grad, log_sums, along, positions, drop_keys};                                     \
        query_gradient<R, NJ>(saved, tiles[blockIdx.x], dq, shape);                                                  \
    }                                                                                                                \
    KERNEL attention_keys_##width(const float* RESTRICT q, const float* RESTRICT grad,                               \
                                  const float* RESTRICT log_sums, const float* RESTRICT along,                       \
                                  const u32* RESTRICT positions, const u64* RESTRICT drop_keys,                      \
                                  const KeyTile* RESTRICT tiles, const float* RESTRICT k, const float* RESTRICT v,   \
                                  float* RESTRICT dk, float* RESTRICT dv, AttentionShape shape) {                    \
        AttentionSaved saved = {q, grad, log_sums, along, positions, drop_keys};                                     \
        key_gradients<R, NJ>(saved, tiles[blockIdx.x], k, v, dk, dv, shape);                                         \
    }
FOR_EACH_WIDTH(INSTANCE)
#undef INSTANCE
