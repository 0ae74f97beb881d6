// Products of stored rows with query vectors, with the bits of the CPU (query/src/kernel): a product is 16 sums (number k
// mod 16, ascending k, fused multiply-add in f32, the last partial step padded with zeros), of which those 8, 4, 2 and 1
// apart are added.
//
// Half a warp has a tile of rows x queries, and each of its threads one lane of all their products, in registers.

#define LANES 16u

#define ROWS_F16 0u
#define ROWS_F32 1u
#define ROWS_I8 2u

DEVICE float stored(const u16* from) { return half_value(*from); }
DEVICE float stored(const float* from) { return *from; }
DEVICE float stored(const signed char* from) { return (float)*from; }

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

// The operands of a call: `count` rows of `dim` values, those at `chosen` unless that is null, and `width` queries. `used`
// groups count, in order; a row has `columns` factors, one for each group that there is. `out` is [count, width].
struct RowJob {
    const u32* chosen;
    u32 count, dim;
    const float* queries;
    u32 width;
    const RowGroup* groups;
    u32 used;
    const float* factors;
    u32 columns;
    float* out;
};

// A block has tiles of ROWS x QUERIES, ACROSS of them beside each other and the others below.
template <u32 ROWS, u32 QUERIES, u32 ACROSS, class T>
DEVICE void row_products(const T* rows, const RowJob& job) {
    const u32 KEPT = ROWS * QUERIES / LANES;
    u32 lane = threadIdx.x % LANES, tile = threadIdx.x / LANES, below = BLOCK_THREADS / LANES / ACROSS;
    u32 first_row = (blockIdx.x * below + tile / ACROSS) * ROWS;
    u32 first_query = (blockIdx.y * ACROSS + tile % ACROSS) * QUERIES;
    // Beyond the last row or query the last one is multiplied again, and not written.
    u32 last_row = job.count - 1, last_query = job.width - 1;
    const T* row[ROWS];
    const float* query[QUERIES];
    UNROLL
    for (u32 r = 0; r < ROWS; ++r) {
        u32 at = first_row + r < last_row ? first_row + r : last_row;
        row[r] = rows + (u64)(job.chosen ? job.chosen[at] : at) * job.dim;
    }
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

template <u32 ROWS, u32 QUERIES, u32 ACROSS>
DEVICE void row_products_of(const void* rows, u32 type, const RowJob& job) {
    if (type == ROWS_F16) row_products<ROWS, QUERIES, ACROSS>((const u16*)rows, job);
    if (type == ROWS_F32) row_products<ROWS, QUERIES, ACROSS>((const float*)rows, job);
    if (type == ROWS_I8) row_products<ROWS, QUERIES, ACROSS>((const signed char*)rows, job);
}

// 256 threads have 64 rows and 4 queries: as many rows as possible are on their way from memory.
KERNEL row_products_few(const void* rows, u32 type, const u32* chosen, u32 count, u32 dim, const float* queries, u32 width,
                        const RowGroup* groups, u32 used, const float* factors, u32 columns, float* out) {
    RowJob job = {chosen, count, dim, queries, width, groups, used, factors, columns, out};
    row_products_of<4, 4, 1>(rows, type, job);
}

// 256 threads have 32 rows and 32 queries: few values are read for each that is multiplied.
KERNEL row_products_many(const void* rows, u32 type, const u32* chosen, u32 count, u32 dim, const float* queries, u32 width,
                         const RowGroup* groups, u32 used, const float* factors, u32 columns, float* out) {
    RowJob job = {chosen, count, dim, queries, width, groups, used, factors, columns, out};
    row_products_of<8, 8, 4>(rows, type, job);
}
