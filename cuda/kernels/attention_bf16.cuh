// What the kernels of attention in bf16 share: tiles of 64 rows in shared memory that tensor cores multiply, with sums in
// f32.
//
// A warp has 16 rows of a product. Of each 8 columns a thread has two that follow each other, of rows lane / 4 and
// 8 + lane / 4, as PTX lays out `mma.m16n8k16`.

// Rows of a tile, and of those of keys that meet queries of up to 256 columns.
#define SIDE 64u

#define LOG2_E 1.4426950408889634f
#define LN_2 0.6931471805599453f

// Between rows of a tile: the rows of a matrix of 8 x 8 then lie in different banks.
template <int WIDTH>
struct Tile {
    static const u32 STRIDE = WIDTH + 8;
    // Groups of 8 columns.
    static const int EIGHTS = WIDTH / 8;
};

DEVICE u32 lane_id() { return threadIdx.x & 31u; }

// Copies `count` of `rows` rows of `dim` values, `step` apart, to a tile while the thread goes on; zeros fill it up.
template <int WIDTH>
DEVICE void load_rows(u16* RESTRICT tile, u32 rows, const u16* RESTRICT from, u64 step, u32 count, u32 dim) {
    const u32 EIGHTS = WIDTH / 8;
    const uint4 zeros = {0u, 0u, 0u, 0u};
    for (u32 i = threadIdx.x; i < rows * EIGHTS; i += BLOCK_THREADS) {
        u32 row = i / EIGHTS, col = i % EIGHTS * 8;
        u16* to = tile + row * Tile<WIDTH>::STRIDE + col;
        if (row < count && col < dim)
            copy_later<16>(to, from + row * step + col);
        else
            *reinterpret_cast<uint4*>(to) = zeros;
    }
}

// sums[n] = the products of 16 rows from `a` on and 8 rows of each group n of `b`.
template <int WIDTH, int N>
DEVICE void multiply_rows(float (&sums)[N][4], const u16* a, const u16* b, u32 dim) {
    const u32 STRIDE = Tile<WIDTH>::STRIDE;
    u32 lane = lane_id();
    a += lane % 16 * STRIDE + lane / 16 * 8;
    b += (lane % 8 + lane / 16 * 8) * STRIDE + lane / 8 % 2 * 8;
    UNROLL for (int n = 0; n < N; ++n)
        UNROLL for (int i = 0; i < 4; ++i) sums[n][i] = 0.0f;
    UNROLL_BY(4) for (u32 k = 0; k < dim; k += 16) {
        u32 x[4];
        LOAD_MATRICES(x, a + k);
        UNROLL for (int n = 0; n < N; n += 2) {
            u32 y[4];
            LOAD_MATRICES(y, b + n * 8 * STRIDE + k);
            MULTIPLY_BF16(sums[n], x, y[0], y[1]);
            MULTIPLY_BF16(sums[n + 1], x, y[2], y[3]);
        }
    }
}

// Adds the product of 16 x 16 values and 16 rows from `b` on, of whose columns from `first` on N groups of 8.
template <int WIDTH, int N>
DEVICE void add_columns(float (&sums)[N][4], const u32 (&x)[4], const u16* b, u32 first, u32 dim) {
    u32 lane = lane_id();
    b += lane % 16 * Tile<WIDTH>::STRIDE + lane / 16 * 8 + first;
    UNROLL for (int n = 0; n < N; n += 2) {
        if (first + n * 8 >= dim) continue;
        u32 y[4];
        LOAD_TRANSPOSED(y, b + n * 8);
        MULTIPLY_BF16(sums[n], x, y[0], y[1]);
        MULTIPLY_BF16(sums[n + 1], x, y[2], y[3]);
    }
}

// The left factor of columns 16 k to 16 k + 15 of sums.
template <int N>
DEVICE void as_factor(u32 (&x)[4], const float (&sums)[N][4], int k) {
    x[0] = bf16_pair(sums[2 * k][0], sums[2 * k][1]);
    x[1] = bf16_pair(sums[2 * k][2], sums[2 * k][3]);
    x[2] = bf16_pair(sums[2 * k + 1][0], sums[2 * k + 1][1]);
    x[3] = bf16_pair(sums[2 * k + 1][2], sums[2 * k + 1][3]);
}

// Queries of a thread: rows `first` and `first + 8` of a tile, of which `count` are there.
struct RowPair {
    u32 row[2], position[2];
    u64 drop[2];
    bool there[2];
};

DEVICE RowPair row_pair(u32 first, u32 base, u32 count, const u32* positions, const u64* drop_keys, u32 head) {
    RowPair rows;
    UNROLL for (int i = 0; i < 2; ++i) {
        u32 row = first + 8 * i;
        rows.row[i] = base + row;
        rows.there[i] = row < count;
        rows.position[i] = rows.there[i] ? positions[base + row] : 0;
        rows.drop[i] = rows.there[i] && drop_keys ? drop_start(drop_keys[base + row], head) : 0;
    }
    return rows;
}

// Whether both queries see each of the keys from `from` to `last`.
DEVICE bool see_all(const RowPair& rows, u32 from, u32 last, u32 window) {
    bool all = true;
    UNROLL for (int i = 0; i < 2; ++i)
        all = all && rows.there[i] && last <= rows.position[i] && rows.position[i] - from < window;
    return all;
}

// Sum or largest over the 4 threads that share rows.
DEVICE float quad_sum(float value) {
    value += SHUFFLE_XOR(value, 1);
    return value + SHUFFLE_XOR(value, 2);
}

DEVICE float quad_largest(float value) {
    value = fmaxf(value, SHUFFLE_XOR(value, 1));
    return fmaxf(value, SHUFFLE_XOR(value, 2));
}

// Writes two rows of sums times `factors` and, unless it is null, their roundings. `to` is at the tile's first row.
template <int N>
DEVICE void store_pairs(float* RESTRICT to, u16* RESTRICT rounded, u64 step, u32 row, u32 count, u32 first, u32 dim,
                        const float (&sums)[N][4], const float (&factors)[2]) {
    u32 column = lane_id() % 4 * 2;
    UNROLL for (int i = 0; i < 2; ++i) {
        if (row + 8 * i >= count) continue;
        UNROLL for (int n = 0; n < N; ++n) {
            u32 col = first + 8 * n + column;
            if (col >= dim) continue;
            u64 at = (row + 8 * i) * step + col;
            float2 pair = {sums[n][2 * i] * factors[i], sums[n][2 * i + 1] * factors[i]};
            *reinterpret_cast<float2*>(to + at) = pair;
            if (rounded) *reinterpret_cast<u32*>(rounded + at) = bf16_pair(pair.x, pair.y);
        }
    }
}

// Instances for heads of up to 64, 128 and 256 columns, which are multiples of 8.
#define FOR_EACH_BF16_WIDTH(instance) instance(64) instance(128) instance(256)
