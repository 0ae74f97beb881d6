// Products of stored rows with query vectors, with the bits of the CPU (query/src/kernel): a product is 16 sums (number k
// mod 16, ascending k, fused multiply-add in f32, the last partial step padded with zeros), of which those 8, 4, 2 and 1
// apart are added.
//
// With many queries half a warp has a tile of rows x queries, and each of its threads one lane of all their products, in
// registers. With few two threads have it, and each of them half of the lanes.

#define LANES 16u

#define ROWS_F16 0u
#define ROWS_F32 1u
#define ROWS_I8 2u

DEVICE float stored(const u16* from) { return half_value(*from); }
DEVICE float stored(const float* from) { return *from; }
DEVICE float stored(const signed char* from) { return (float)*from; }

// Eight values that follow one another, as a thread reads them.
template <class T>
struct alignas(sizeof(T) == 1 ? 8 : 16) Eight {
    T values[8];
};

DEVICE void widen(const Eight<u16>& from, float (&to)[8]) {
    UNROLL
    for (u32 i = 0; i < 8; ++i) to[i] = half_value(from.values[i]);
}

DEVICE void widen(const Eight<float>& from, float (&to)[8]) {
    UNROLL
    for (u32 i = 0; i < 8; ++i) to[i] = from.values[i];
}

DEVICE void widen(const Eight<signed char>& from, float (&to)[8]) {
    UNROLL
    for (u32 i = 0; i < 8; ++i) to[i] = (float)from.values[i];
}

// Coordinates of a module group, and its place among the factors of a row.
struct RowGroup {
    u32 start, end, number;
};

// Adds coordinate `k` of a tile to its lane; zeros where it is not `there`.
template <u32 ROWS, u32 QUERIES, class T>
DEVICE void add_step(const T* const (&row)[ROWS], const float* const (&query)[QUERIES], u32 k, bool there,
                     float (&lanes)[ROWS * QUERIES]) {
    float x[ROWS], y[QUERIES];
    UNROLL
    for (u32 r = 0; r < ROWS; ++r) x[r] = there ? stored(row[r] + k) : 0.0f;
    UNROLL
    for (u32 q = 0; q < QUERIES; ++q) y[q] = there ? query[q][k] : 0.0f;
    UNROLL
    for (u32 r = 0; r < ROWS; ++r) {
        UNROLL
        for (u32 q = 0; q < QUERIES; ++q) lanes[r * QUERIES + q] = FUSED(x[r], y[q], lanes[r * QUERIES + q]);
    }
}

// Adds lanes `apart`: of two threads each hands on one half of the products that both have, and adds up the other.
template <u32 HALF, u32 ALL>
DEVICE void add_halves(float (&lanes)[ALL], u32 lane, u32 apart) {
    bool upper = (lane & apart) != 0u;
    UNROLL
    for (u32 i = 0; i < HALF; ++i) {
        float kept = upper ? lanes[i + HALF] : lanes[i], given = upper ? lanes[i] : lanes[i + HALF];
        lanes[i] = PLUS(kept, SHUFFLE_XOR(given, apart));
    }
}

// The operands of a call: `count` rows of `dim` values, each at its address, and `width` queries. `used` groups count, in
// order; a row has `columns` factors, one for each group that there is. `out` is [count, width].
struct RowJob {
    const u64* rows;
    u32 count, dim;
    const float* queries;
    u32 width;
    const RowGroup* groups;
    u32 used;
    const float* factors;
    u32 columns;
    float* out;
};

// A block has tiles of ROWS x QUERIES, ACROSS of them beside each other and the others below. Blocks with the same rows
// follow one another, so that what one reads of them is in the cache for the next.
template <u32 ROWS, u32 QUERIES, u32 ACROSS, class T>
DEVICE void products_of_many(const RowJob& job) {
    const u32 KEPT = ROWS * QUERIES / LANES;
    u32 lane = threadIdx.x % LANES, tile = threadIdx.x / LANES, below = BLOCK_THREADS / LANES / ACROSS;
    u32 beside = (job.width + ACROSS * QUERIES - 1) / (ACROSS * QUERIES);
    u32 first_row = (blockIdx.x / beside * below + tile / ACROSS) * ROWS;
    u32 first_query = (blockIdx.x % beside * ACROSS + tile % ACROSS) * QUERIES;
    // Beyond the last row or query the last one is multiplied again, and not written.
    u32 last_row = job.count - 1, last_query = job.width - 1;
    const T* row[ROWS];
    const float* query[QUERIES];
    UNROLL
    for (u32 r = 0; r < ROWS; ++r) row[r] = (const T*)job.rows[first_row + r < last_row ? first_row + r : last_row];
    UNROLL
    for (u32 q = 0; q < QUERIES; ++q) {
        u32 at = first_query + q < last_query ? first_query + q : last_query;
        query[q] = job.queries + (u64)at * job.dim;
    }
    float sums[KEPT];
    UNROLL
    for (u32 i = 0; i < KEPT; ++i) sums[i] = 0.0f;
    for (u32 g = 0; g < job.used; ++g) {
        RowGroup group = job.groups[g];
        float lanes[ROWS * QUERIES];
        UNROLL
        for (u32 i = 0; i < ROWS * QUERIES; ++i) lanes[i] = 0.0f;
        u32 from = group.start;
        for (; from + LANES <= group.end; from += LANES) add_step<ROWS, QUERIES, T>(row, query, from + lane, true, lanes);
        if (from < group.end) add_step<ROWS, QUERIES, T>(row, query, from + lane, from + lane < group.end, lanes);
        add_halves<8 * KEPT>(lanes, lane, 8);
        add_halves<4 * KEPT>(lanes, lane, 4);
        add_halves<2 * KEPT>(lanes, lane, 2);
        add_halves<KEPT>(lanes, lane, 1);
        // What is left to a thread are the products KEPT * lane and those that follow.
        UNROLL
        for (u32 i = 0; i < KEPT; ++i) {
            u32 at = first_row + (KEPT * lane + i) / QUERIES;
            float factor = job.factors[(u64)(at < last_row ? at : last_row) * job.columns + group.number];
            sums[i] = PLUS(sums[i], TIMES(lanes[i], factor));
        }
    }
    UNROLL
    for (u32 i = 0; i < KEPT; ++i) {
        u32 at = first_row + (KEPT * lane + i) / QUERIES, q = first_query + (KEPT * lane + i) % QUERIES;
        if (at < job.count && q < job.width) job.out[(u64)at * job.width + q] = sums[i];
    }
}

// Half of a step's lanes, which a thread has of each of its products with few queries.
#define HALF 8u

// Adds `count` coordinates, fewer only in a group's last step, to half of the lanes of the products of a row.
template <u32 QUERIES, class T>
DEVICE void add_singly(const T* row, const float* const (&query)[QUERIES], u32 k, u32 count, float (*lanes)[HALF]) {
    UNROLL
    for (u32 i = 0; i < HALF; ++i) {
        bool there = i < count;
        float x = there ? stored(row + k + i) : 0.0f;
        UNROLL
        for (u32 q = 0; q < QUERIES; ++q) lanes[q][i] = FUSED(x, there ? query[q][k + i] : 0.0f, lanes[q][i]);
    }
}

// Has a step of rows copied to this thread's places, which have those of other threads between them; nothing unless it is
// `there`.
template <u32 ROWS, class T>
DEVICE void copy_step(const T* const (&row)[ROWS], u32 k, bool there, Eight<T>* places) {
    const int PIECE = sizeof(Eight<T>) < 16 ? 8 : 16;
    if (there) {
        UNROLL
        for (u32 r = 0; r < ROWS; ++r) {
            UNROLL
            for (u32 at = 0; at < sizeof(Eight<T>); at += PIECE)
                copy_later<PIECE>((char*)(places + r * BLOCK_THREADS) + at, (const char*)(row[r] + k) + at);
        }
    }
    COPIES_END();
}

// Adds a step of rows that was copied.
template <u32 ROWS, u32 QUERIES, class T>
DEVICE void add_copied(const Eight<T>* places, const float* const (&query)[QUERIES], u32 k,
                       float (&lanes)[ROWS * QUERIES][HALF]) {
    float x[ROWS][HALF];
    UNROLL
    for (u32 r = 0; r < ROWS; ++r) {
        Eight<T> read = places[r * BLOCK_THREADS];
        widen(read, x[r]);
    }
    UNROLL
    for (u32 q = 0; q < QUERIES; ++q) {
        const float4* from = (const float4*)(query[q] + k);
        float4 low = from[0], high = from[1];
        float y[HALF] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
        UNROLL
        for (u32 r = 0; r < ROWS; ++r) {
            UNROLL
            for (u32 i = 0; i < HALF; ++i)
                lanes[r * QUERIES + q][i] = FUSED(x[r][i], y[i], lanes[r * QUERIES + q][i]);
        }
    }
}

// Two threads have ROWS rows and QUERIES queries, and each of them half of the lanes: eight values that follow one another.
// It has those of STEPS steps on their way to places of its own in shared memory, whatever registers there are.
template <u32 ROWS, u32 QUERIES, u32 STEPS, class T>
DEVICE void products_of_few(const RowJob& job) {
    const u32 ALL = ROWS * QUERIES, KEPT = ALL > 1 ? ALL / 2 : 1;
    u32 upper = threadIdx.x % 2, beside = (job.width + QUERIES - 1) / QUERIES;
    u32 first_row = (blockIdx.x / beside * (BLOCK_THREADS / 2) + threadIdx.x / 2) * ROWS;
    u32 first_query = blockIdx.x % beside * QUERIES;
    // Beyond the last row or query the last one is multiplied again, and not written.
    u32 last_row = job.count - 1, last_query = job.width - 1;
    const T* row[ROWS];
    const float* query[QUERIES];
    u64 ends = 0;
    UNROLL
    for (u32 r = 0; r < ROWS; ++r) {
        u64 place = job.rows[first_row + r < last_row ? first_row + r : last_row];
        row[r] = (const T*)place;
        ends |= place;
    }
    UNROLL
    for (u32 q = 0; q < QUERIES; ++q) {
        query[q] = job.queries + (u64)(first_query + q < last_query ? first_query + q : last_query) * job.dim;
        ends |= (u64)query[q];
    }
    SHARED(Eight<T>, all_places);
    Eight<T>* places = all_places + threadIdx.x;
    float sums[KEPT];
    UNROLL
    for (u32 i = 0; i < KEPT; ++i) sums[i] = 0.0f;
    for (u32 g = 0; g < job.used; ++g) {
        RowGroup group = job.groups[g];
        float lanes[ALL][HALF];
        UNROLL
        for (u32 p = 0; p < ALL; ++p) {
            UNROLL
            for (u32 i = 0; i < HALF; ++i) lanes[p][i] = 0.0f;
        }
        u32 whole = (group.end - group.start) / LANES, left = (group.end - group.start) % LANES, step = 0;
        u32 k = group.start + upper * HALF;
        if (((ends | group.start * sizeof(T) | group.start * sizeof(float)) & 15u) == 0u) {
            UNROLL
            for (u32 s = 0; s < STEPS; ++s)
                copy_step<ROWS, T>(row, k + s * LANES, s < whole, places + s * ROWS * BLOCK_THREADS);
            UNROLL_BY(4)
            for (; step < whole; ++step, k += LANES) {
                Eight<T>* own = places + step % STEPS * ROWS * BLOCK_THREADS;
                COPIES_WAIT(STEPS - 1);
                add_copied<ROWS, QUERIES, T>(own, query, k, lanes);
                copy_step<ROWS, T>(row, k + STEPS * LANES, step + STEPS < whole, own);
            }
        }
        UNROLL_BY(1)
        for (; step < whole; ++step, k += LANES) {
            UNROLL
            for (u32 r = 0; r < ROWS; ++r) add_singly<QUERIES, T>(row[r], query, k, HALF, lanes + r * QUERIES);
        }
        if (left > 0) {
            u32 before = upper * HALF, count = left > before ? left - before : 0u;
            UNROLL
            for (u32 r = 0; r < ROWS; ++r) add_singly<QUERIES, T>(row[r], query, k, count, lanes + r * QUERIES);
        }
        // Of the products that both threads have, each adds up one half and hands on the other's lanes.
        UNROLL
        for (u32 i = 0; i < KEPT; ++i) {
            float both[HALF];
            UNROLL
            for (u32 l = 0; l < HALF; ++l) {
                float low = lanes[i][l], high = lanes[ALL - KEPT + i][l];
                both[l] = PLUS(upper ? high : low, SHUFFLE_XOR(upper ? low : high, 1));
            }
            float four[4];
            UNROLL
            for (u32 l = 0; l < 4; ++l) four[l] = PLUS(both[l], both[l + 4]);
            u32 at = first_row + (upper * (ALL - KEPT) + i) / QUERIES;
            float factor = job.factors[(u64)(at < last_row ? at : last_row) * job.columns + group.number];
            sums[i] = PLUS(sums[i], TIMES(PLUS(PLUS(four[0], four[2]), PLUS(four[1], four[3])), factor));
        }
    }
    // The only product of two threads is that of both.
    if (ALL == 1 && upper) return;
    UNROLL
    for (u32 i = 0; i < KEPT; ++i) {
        u32 product = upper * (ALL - KEPT) + i, at = first_row + product / QUERIES, q = first_query + product % QUERIES;
        if (at < job.count && q < job.width) job.out[(u64)at * job.width + q] = sums[i];
    }
}

// 256 threads have 128 rows and one query, and 128 bytes of shared memory each.
KERNEL row_products_one(const u64* rows, u32 type, u32 count, u32 dim, const float* queries, u32 width,
                        const RowGroup* groups, u32 used, const float* factors, u32 columns, float* out) {
    RowJob job = {rows, count, dim, queries, width, groups, used, factors, columns, out};
    if (type == ROWS_F16) products_of_few<1, 1, 8, u16>(job);
    if (type == ROWS_F32) products_of_few<1, 1, 4, float>(job);
    if (type == ROWS_I8) products_of_few<1, 1, 16, signed char>(job);
}

// 256 threads have 256 rows and 4 queries, and 128 bytes of shared memory each.
KERNEL row_products_few(const u64* rows, u32 type, u32 count, u32 dim, const float* queries, u32 width,
                        const RowGroup* groups, u32 used, const float* factors, u32 columns, float* out) {
    RowJob job = {rows, count, dim, queries, width, groups, used, factors, columns, out};
    if (type == ROWS_F16) products_of_few<2, 4, 4, u16>(job);
    if (type == ROWS_F32) products_of_few<2, 4, 2, float>(job);
    if (type == ROWS_I8) products_of_few<2, 4, 8, signed char>(job);
}

// 256 threads have 32 rows and 32 queries: few values are read for each that is multiplied.
KERNEL row_products_many(const u64* rows, u32 type, u32 count, u32 dim, const float* queries, u32 width,
                         const RowGroup* groups, u32 used, const float* factors, u32 columns, float* out) {
    RowJob job = {rows, count, dim, queries, width, groups, used, factors, columns, out};
    if (type == ROWS_F16) products_of_many<8, 8, 4, u16>(job);
    if (type == ROWS_F32) products_of_many<8, 8, 4, float>(job);
    if (type == ROWS_I8) products_of_many<8, 8, 4, signed char>(job);
}
