// What the kernels of attention in bf16 share: tiles of 64 rows in shared memory that tensor cores multiply, with sums in
// f32.
//
// A warp has 16 rows of a product. Of each 8 columns a thread has two that follow each other, of rows lane / 4 and
// 8 + lane / 4, as PTX lays out `mma.m16n8k16`.

// Rows of a tile. The gradient of queries of more than 128 columns takes 32 keys at a time.
#define SIDE 64u

#define LOG2_E 1.4426950408889634f
#define LN_2 0.6931471805599453f

// A tile of rows of WIDTH values, in bytes of shared memory. What lies between rows puts those of a matrix of 8 x 8 into
// different banks.
template <int WIDTH>
struct Tile {
    static const u32 ROW = 2 * (WIDTH + 8);
    static const u32 BYTES = SIDE * ROW;
};

DEVICE u32 lane_id() { return threadIdx.x & 31u; }

// Copies `count` of ROWS rows of `dim` values, `step` apart, to a tile while the THREADS threads of a block go on; zeros fill
// it up.
template <int WIDTH, int ROWS, int THREADS>
DEVICE void load_rows(SharedPlace tile, const u16* RESTRICT from, u64 step, u32 count, u32 dim) {
    const u32 EIGHTS = WIDTH / 8, BELOW = THREADS / EIGHTS;
    u32 first = threadIdx.x / EIGHTS, col = threadIdx.x % EIGHTS * 8;
    u32 there = col < dim ? count : 0;
    from += first * step + col;
    tile += first * Tile<WIDTH>::ROW + 2 * col;
    UNROLL for (u32 row = 0; row < ROWS; row += BELOW, from += BELOW * step) {
        if (first + row < there)
            copy_later(tile + row * Tile<WIDTH>::ROW, from);
        else
            zero_16_bytes(tile + row * Tile<WIDTH>::ROW);
    }
}

// sums[n] = the products of 16 rows from `a` on and 8 rows of each group n of `b`.
template <int WIDTH, int N>
DEVICE void multiply_rows(float (&sums)[N][4], SharedPlace a, SharedPlace b) {
    const u32 ROW = Tile<WIDTH>::ROW;
    u32 lane = lane_id();
    a += lane % 16 * ROW + lane / 16 * 16;
    b += (lane % 8 + lane / 16 * 8) * ROW + lane / 8 % 2 * 16;
    UNROLL for (int n = 0; n < N; ++n)
        UNROLL for (int i = 0; i < 4; ++i) sums[n][i] = 0.0f;
    UNROLL for (u32 k = 0; k < 2 * WIDTH; k += 32) {
        u32 x[4];
        LOAD_MATRICES(x, a + k);
        UNROLL for (u32 n = 0; n < N; n += 2) {
            u32 y[4];
            LOAD_MATRICES(y, b + n * 8 * ROW + k);
            MULTIPLY_BF16(sums[n], x, y[0], y[1]);
            MULTIPLY_BF16(sums[n + 1], x, y[2], y[3]);
        }
    }
}

// Adds the product of 16 x 16 values and 16 rows from `b` on, of N groups of 8 columns each.
template <int WIDTH, int N>
DEVICE void add_columns(float (&sums)[N][4], const u32 (&x)[4], SharedPlace b) {
    u32 lane = lane_id();
    b += lane % 16 * Tile<WIDTH>::ROW + lane / 16 * 16;
    UNROLL for (u32 n = 0; n < N; n += 2) {
        u32 y[4];
        LOAD_TRANSPOSED(y, b + n * 16);
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

// The first and the last of some keys that a thread's queries see. A row that is no query, and a query that sees none of the
// keys, has its last one before its first.
struct SeenKeys {
    int first[2], last[2];
};

// Of `count` keys from the place `from` on.
DEVICE SeenKeys seen_keys(const RowPair& rows, u32 from, u32 count, u32 window) {
    SeenKeys seen;
    UNROLL for (int i = 0; i < 2; ++i) {
        u32 position = rows.position[i];
        int last = (int)position - (int)from;
        seen.first[i] = position < window ? 0 : last - (int)(window - 1);
        seen.last[i] = !rows.there[i] ? -1 : last < (int)count ? last : (int)count - 1;
    }
    return seen;
}

// Whether these are all keys from `first` to `last`.
DEVICE bool are_all(const SeenKeys& seen, int first, int last) {
    return seen.first[0] <= first && seen.first[1] <= first && seen.last[0] >= last && seen.last[1] >= last;
}

// Products with keys that are not seen become -infinity. The first ones are those with keys `column` and the next one.
template <int N>
DEVICE void hide_unseen(float (&products)[N][4], const SeenKeys& seen, int column) {
    UNROLL for (int n = 0; n < N; ++n)
        UNROLL for (int j = 0; j < 4; ++j) {
            int key = column + 8 * n + j % 2;
            bool there = key >= seen.first[j / 2] && key <= seen.last[j / 2];
            if (!there) products[n][j] = -INFINITY_F;
        }
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

// Writes two rows of sums times `factors`, and their roundings, to those of both places that are not null, which are at the
// tile's first row.
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
            if (to) *reinterpret_cast<float2*>(to + at) = pair;
            if (rounded) *reinterpret_cast<u32*>(rounded + at) = bf16_pair(pair.x, pair.y);
        }
    }
}

// Instances for heads of up to 64, 128 and 256 columns, which are multiples of 8.
#define FOR_EACH_BF16_WIDTH(instance) instance(64) instance(128) instance(256)
