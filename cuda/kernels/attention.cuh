// What the kernels of attention share: tiles of queries and keys in shared memory, and products of tiles.
//
// A block has 256 threads as 16 x 16 (`Lanes`). A tile has SIDE = 16 * R rows; of a product of two tiles a thread has
// R rows that follow each other and every 16th column. Of a row of a head it has groups of 4 columns, NJ in all.

struct AttentionShape {
    u32 query_heads, kv_heads, dim;
    // Keys up to its own position that a query sees, at most; all ones: all.
    u32 window;
    float scale;
    // 0: none.
    float cap;
    // Weights are dropped whose number is below `drop_limit`, and the others times `drop_scale`.
    float drop_scale;
    u32 unused;
    u64 drop_limit;
};

// Some queries of one sequence and the keys from the first to the last that they see.
struct AttentionTile {
    // Addresses of the sequence's keys and values, at place 0.
    u64 keys, values;
    u32 first_query, queries;
    // Places of keys in the sequence.
    u32 from, to;
    // Row of place 0 in tensors of all keys.
    u32 key_row, unused;
};

// Some keys of one sequence and all of its queries.
struct KeyTile {
    u32 key_row, keys, place, first_query, end_query, unused;
};

struct Lanes {
    u32 x, y;
};

DEVICE Lanes lanes() {
    Lanes at = {threadIdx.x & 15u, threadIdx.x >> 4};
    return at;
}

DEVICE u32 padded(u32 dim) { return (dim + 3) & ~3u; }

// Copies `count` rows of `dim` values, `step` apart, to a tile whose rows are `stride` apart; zeros fill it up.
DEVICE void load_tile(float* RESTRICT tile, u32 side, u32 stride, const float* RESTRICT from, u64 step, u32 count,
                      u32 dim) {
    u32 wide = padded(dim);
    for (u32 i = threadIdx.x; i < side * wide; i += 256) {
        u32 row = i / wide, col = i % wide;
        tile[row * stride + col] = row < count && col < dim ? from[row * step + col] : 0.0f;
    }
}

// sums[i][j] += the product of row i of `a` and row j of `b`.
template <int R>
DEVICE void add_scores(float sums[R][R], const float* a, const float* b, u32 stride, u32 dim) {
    Lanes at = lanes();
    for (u32 d = 0; d < padded(dim); d += 4) {
        float4 x[R], y[R];
        UNROLL for (int i = 0; i < R; ++i) x[i] = *reinterpret_cast<const float4*>(a + (at.y * R + i) * stride + d);
        UNROLL for (int j = 0; j < R; ++j) y[j] = *reinterpret_cast<const float4*>(b + (at.x + 16 * j) * stride + d);
        UNROLL for (int i = 0; i < R; ++i)
            UNROLL for (int j = 0; j < R; ++j)
                sums[i][j] += x[i].x * y[j].x + x[i].y * y[j].y + x[i].z * y[j].z + x[i].w * y[j].w;
    }
}

// sums[i][j] += the product of row i of `a`, of SIDE values, and column j of `b`.
template <int R, int NJ>
DEVICE void add_product(float sums[R][NJ], const float* a, const float* b, u32 stride, u32 dim) {
    const u32 SIDE = 16 * R;
    Lanes at = lanes();
    for (u32 k = 0; k < SIDE; k += 4) {
        float x[R][4];
        UNROLL for (int i = 0; i < R; ++i) {
            float4 four = *reinterpret_cast<const float4*>(a + (at.y * R + i) * (SIDE + 4) + k);
            x[i][0] = four.x;
            x[i][1] = four.y;
            x[i][2] = four.z;
            x[i][3] = four.w;
        }
        UNROLL for (int g = 0; g < NJ / 4; ++g) {
            u32 col = 64 * g + 4 * at.x;
            if (col >= dim) continue;
            UNROLL for (int s = 0; s < 4; ++s) {
                float4 y = *reinterpret_cast<const float4*>(b + (k + s) * stride + col);
                UNROLL for (int i = 0; i < R; ++i) {
                    sums[i][4 * g + 0] += x[i][s] * y.x;
                    sums[i][4 * g + 1] += x[i][s] * y.y;
                    sums[i][4 * g + 2] += x[i][s] * y.z;
                    sums[i][4 * g + 3] += x[i][s] * y.w;
                }
            }
        }
    }
}

// Writes the first `count` rows of `sums` times `factors`.
template <int R, int NJ>
DEVICE void store_rows(float* RESTRICT to, u64 step, u32 count, u32 dim, const float sums[R][NJ],
                       const float factors[R]) {
    Lanes at = lanes();
    UNROLL for (int i = 0; i < R; ++i) {
        u32 row = at.y * R + i;
        if (row >= count) continue;
        UNROLL for (int j = 0; j < NJ; ++j) {
            u32 col = 64 * (j / 4) + 4 * at.x + j % 4;
            if (col < dim) to[row * step + col] = sums[i][j] * factors[i];
        }
    }
}

// A scaled score, capped, and the slope of both with respect to the product of query and key.
DEVICE float score(float product, const AttentionShape& shape, float* slope) {
    float s = product * shape.scale;
    *slope = shape.scale;
    if (shape.cap <= 0.0f) return s;
    float bent = tanhf(s / shape.cap);
    *slope = shape.scale * (1.0f - bent * bent);
    return shape.cap * bent;
}

// Whether the query at `position` sees the key at `place`.
DEVICE bool sees(u32 position, u32 place, u32 window) { return place <= position && position - place < window; }

// Whether the query at `position` sees a single key, whose weight is 1 for any score: the score has no gradient, and the
// gradient of the weight differs from the mean by rounding alone.
DEVICE bool sees_one(u32 position, u32 window) { return position == 0 || window == 1; }

// Whether queries up to this position come before all keys of a tile.
DEVICE bool all_before(const KeyTile& tile, u32 last_position) { return last_position < tile.place; }

// Whether queries from this position on are so far behind the keys of a tile that none is in the window.
DEVICE bool all_behind(const KeyTile& tile, u32 first_position, u32 window) {
    return first_position >= tile.place + tile.keys && first_position - (tile.place + tile.keys - 1) >= window;
}

// The number from which on those of a query's keys in a head count.
DEVICE u64 drop_start(u64 key, u32 head) { return mixed(key ^ mixed(head)); }

// Factor of the weight of the key at `place`: 0 if it is dropped (model/src/backend/dropout.rs).
DEVICE float drop_factor(u64 start, u32 place, const AttentionShape& shape) {
    return (mixed(start + place) >> 32) < shape.drop_limit ? 0.0f : shape.drop_scale;
}

// Sum or largest over the 16 threads that share rows.
DEVICE float row_sum(float value) {
    for (u32 mask = 8; mask > 0; mask >>= 1) value += SHUFFLE_XOR(value, mask);
    return value;
}

DEVICE float row_largest(float value) {
    for (u32 mask = 8; mask > 0; mask >>= 1) value = fmaxf(value, SHUFFLE_XOR(value, mask));
    return value;
}

// The queries that a thread has of a tile.
template <int R>
struct Rows {
    u32 position[R];
    u64 drop[R];
    bool there[R];
};

template <int R>
DEVICE Rows<R> rows_of(u32 first, u32 count, const u32* positions, const u64* drop_keys, u32 head) {
    Rows<R> rows;
    UNROLL for (int i = 0; i < R; ++i) {
        u32 row = lanes().y * R + i;
        rows.there[i] = row < count;
        rows.position[i] = rows.there[i] ? positions[first + row] : 0;
        rows.drop[i] = rows.there[i] && drop_keys ? drop_start(drop_keys[first + row], head) : 0;
    }
    return rows;
}

// Instances for heads of up to 64, 128 and 256 columns.
#define FOR_EACH_WIDTH(instance) instance(64, 4, 4) instance(128, 2, 8) instance(256, 2, 16)
