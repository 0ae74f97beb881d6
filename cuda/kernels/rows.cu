// Products of stored rows with query vectors, with the bits of the CPU (query/src/kernel): a product is 16 sums (number k
// mod 16, ascending k, fused multiply-add in f32, the last partial step padded with zeros), of which those 8, 4, 2 and 1
// apart are added.
//
// With many queries half a warp has a tile of rows x queries, and each of its threads one lane of all their products, in
// registers. With few two threads have it, and each of them half of the lanes; a warp copies the rows to shared memory ahead,
// by lines of memory.

#define LANES 16u

#define ROWS_F16 0u
#define ROWS_F32 1u
#define ROWS_I8 2u

DEVICE float stored(const u16* from) { return half_value(*from); }
DEVICE float stored(const float* from) { return *from; }
DEVICE float stored(const signed char* from) { return (float)*from; }

// Values that follow one another, as a thread reads them: eight, or 16 bytes of them.
template <class T>
struct alignas(sizeof(T) == 1 ? 8 : 16) Few {
    static const u32 COUNT = sizeof(T) == 4 ? 4 : 8;
    T values[COUNT];
};

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

// Bytes that follow one another of each row that a warp reads at a time: so many are a line of memory. They are in shared
// memory, 16 at a time.
#define PIECE 128u
#define PIECE_UNITS 8u

// Steps of a piece of values of some type.
template <class T>
struct Piece {
    static const u32 STEPS = PIECE / (LANES * sizeof(T));
};

// Where a unit of a row is among those of its piece: threads that read together read different banks.
template <class T>
DEVICE u32 unit_at(u32 row, u32 unit) {
    if (sizeof(T) == 2) return row * PIECE_UNITS + (unit ^ row % 4 * 2);
    if (sizeof(T) == 4) return row * PIECE_UNITS + (unit ^ (row % 2 + row / 2 % 2 * 4));
    return row * PIECE_UNITS + (unit ^ row % 8);
}

// Has a piece of 16 x ROWS rows of a warp copied to its places, each row's 8 units by 8 threads: from byte `from` of the rows
// on, of which those before `end` are whole steps.
template <u32 ROWS, class T>
DEVICE void copy_piece(const u64* rows, u32 from, u32 end, uint4* places) {
    u32 lane = threadIdx.x % 32, unit = lane % PIECE_UNITS;
    if (from + unit * 16 < end) {
        UNROLL
        for (u32 i = 0; i < 4 * ROWS; ++i) {
            u32 row = 4 * i + lane / PIECE_UNITS;
            copy_later(shared_place(places + unit_at<T>(row, unit)), (const char*)rows[row] + from + unit * 16);
        }
    }
    COPIES_END();
}

// Adds step `step` of a piece of rows, of which this thread has every 16th from `first` on.
template <u32 ROWS, u32 QUERIES, class T>
DEVICE void add_copied(const uint4* places, u32 first, u32 step, const float* const (&query)[QUERIES], u32 k,
                       float (&lanes)[ROWS * QUERIES][HALF]) {
    float x[ROWS][HALF];
    UNROLL
    for (u32 r = 0; r < ROWS; ++r) {
        UNROLL
        for (u32 i = 0; i < HALF; i += Few<T>::COUNT) {
            u32 byte = (step * LANES + threadIdx.x % 2 * HALF + i) * sizeof(T);
            Few<T> read = *(const Few<T>*)((const char*)(places + unit_at<T>(first + 16 * r, byte / 16)) + byte % 16);
            UNROLL
            for (u32 j = 0; j < Few<T>::COUNT; ++j) x[r][i + j] = stored(read.values + j);
        }
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
// A warp has pieces of its rows on their way to shared memory of its own, STAGES of 16 x ROWS pieces, whatever registers
// there are.
template <u32 ROWS, u32 QUERIES, u32 STAGES, class T>
DEVICE void products_of_few(const RowJob& job) {
    const u32 ALL = ROWS * QUERIES, KEPT = ALL > 1 ? ALL / 2 : 1, STEPS = Piece<T>::STEPS, STAGE = 16 * ROWS * PIECE_UNITS;
    u32 lane = threadIdx.x % 32, upper = lane % 2, beside = (job.width + QUERIES - 1) / QUERIES;
    u32 warp_row = (blockIdx.x / beside * (BLOCK_THREADS / 2) + threadIdx.x / 32 * 16) * ROWS;
    u32 own_row = lane / 2, first_row = warp_row + own_row;
    u32 first_query = blockIdx.x % beside * QUERIES;
    // Beyond the last row or query the last one is multiplied again, and not written.
    u32 last_row = job.count - 1, last_query = job.width - 1;
    SHARED(uint4, all_places);
    uint4* places = all_places + threadIdx.x / 32 * STAGES * STAGE;
    u64* rows = (u64*)(all_places + BLOCK_THREADS / 32 * STAGES * STAGE) + threadIdx.x / 32 * 16 * ROWS;
    const float* query[QUERIES];
    u32 ends = 0;
    for (u32 i = lane; i < 16 * ROWS; i += 32) {
        u64 place = job.rows[warp_row + i < last_row ? warp_row + i : last_row];
        ends |= (u32)place;
        rows[i] = place;
    }
    UNROLL
    for (u32 apart = 1; apart < 32; apart *= 2) ends |= SHUFFLE_XOR(ends, apart);
    // All have the addresses.
    SYNC_WARP();
    UNROLL
    for (u32 q = 0; q < QUERIES; ++q) {
        query[q] = job.queries + (u64)(first_query + q < last_query ? first_query + q : last_query) * job.dim;
        ends |= (u32)(u64)query[q];
    }
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
            u32 start = group.start * sizeof(T), end = start + whole * LANES * sizeof(T), copy = 0;
            // All have read the pieces of the last group.
            SYNC_WARP();
            for (; copy < STAGES - 1; ++copy) copy_piece<ROWS, T>(rows, start + copy * PIECE, end, places + copy * STAGE);
            for (u32 stage = 0; step < whole; ++copy) {
                COPIES_WAIT(STAGES - 2);
                // All have the piece, and have read the one before, which the next one replaces.
                SYNC_WARP();
                u32 next = stage == 0 ? STAGES - 1 : stage - 1;
                copy_piece<ROWS, T>(rows, start + copy * PIECE, end, places + next * STAGE);
                const uint4* own = places + stage * STAGE;
                if (step + STEPS <= whole) {
                    UNROLL
                    for (u32 i = 0; i < STEPS; ++i) add_copied<ROWS, QUERIES, T>(own, own_row, i, query, k + i * LANES, lanes);
                    step += STEPS;
                    k += STEPS * LANES;
                } else {
                    UNROLL_BY(1)
                    for (u32 i = 0; step < whole; ++i, ++step, k += LANES)
                        add_copied<ROWS, QUERIES, T>(own, own_row, i, query, k, lanes);
                }
                stage = stage + 1 == STAGES ? 0 : stage + 1;
            }
        }
        if (step < whole || left > 0) {
            UNROLL
            for (u32 r = 0; r < ROWS; ++r) {
                u32 before = upper * HALF;
                const T* row = (const T*)rows[own_row + 16 * r];
                UNROLL_BY(1)
                for (u32 i = step; i < whole; ++i)
                    add_singly<QUERIES, T>(row, query, k + (i - step) * LANES, HALF, lanes + r * QUERIES);
                u32 last = k + (whole - step) * LANES, count = left > before ? left - before : 0u;
                add_singly<QUERIES, T>(row, query, last, count, lanes + r * QUERIES);
            }
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
            u32 at = first_row + (upper * (ALL - KEPT) + i) / QUERIES * 16;
            float factor = job.factors[(u64)(at < last_row ? at : last_row) * job.columns + group.number];
            sums[i] = PLUS(sums[i], TIMES(PLUS(PLUS(four[0], four[2]), PLUS(four[1], four[3])), factor));
        }
    }
    // The only product of two threads is that of both.
    if (ALL == 1 && upper) return;
    UNROLL
    for (u32 i = 0; i < KEPT; ++i) {
        u32 product = upper * (ALL - KEPT) + i, at = first_row + product / QUERIES * 16, q = first_query + product % QUERIES;
        if (at < job.count && q < job.width) job.out[(u64)at * job.width + q] = sums[i];
    }
}

// 256 threads have 128 rows and one query, and 5 x 16 KiB of shared memory after 1 KiB of addresses.
KERNEL_FOR(256, 2) row_products_one(const u64* rows, u32 type, u32 count, u32 dim, const float* queries, u32 width,
                                    const RowGroup* groups, u32 used, const float* factors, u32 columns, float* out) {
    RowJob job = {rows, count, dim, queries, width, groups, used, factors, columns, out};
    if (type == ROWS_F16) products_of_few<1, 1, 5, u16>(job);
    if (type == ROWS_F32) products_of_few<1, 1, 5, float>(job);
    if (type == ROWS_I8) products_of_few<1, 1, 5, signed char>(job);
}

// 128 threads have 128 rows and 4 queries, and 4 x 16 KiB of shared memory after 1 KiB of addresses.
KERNEL_FOR(128, 3) row_products_few(const u64* rows, u32 type, u32 count, u32 dim, const float* queries, u32 width,
                                    const RowGroup* groups, u32 used, const float* factors, u32 columns, float* out) {
    RowJob job = {rows, count, dim, queries, width, groups, used, factors, columns, out};
    if (type == ROWS_F16) products_of_few<2, 4, 4, u16>(job);
    if (type == ROWS_F32) products_of_few<2, 4, 4, float>(job);
    if (type == ROWS_I8) products_of_few<2, 4, 4, signed char>(job);
}

// 256 threads have 32 rows and 32 queries: few values are read for each that is multiplied.
KERNEL row_products_many(const u64* rows, u32 type, u32 count, u32 dim, const float* queries, u32 width,
                         const RowGroup* groups, u32 used, const float* factors, u32 columns, float* out) {
    RowJob job = {rows, count, dim, queries, width, groups, used, factors, columns, out};
    if (type == ROWS_F16) products_of_many<8, 8, 4, u16>(job);
    if (type == ROWS_F32) products_of_many<8, 8, 4, float>(job);
    if (type == ROWS_I8) products_of_many<8, 8, 4, signed char>(job);
}
