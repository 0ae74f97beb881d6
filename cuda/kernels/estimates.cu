// Estimates of products of stored rows in f16 with many query vectors, by the units that multiply matrices, with what
// bounds their errors; and scores of rows from such estimates (src/backend/estimates.rs).

// Queries that a warp has, and rows.
#define ESTIMATED_QUERIES 64u
#define ESTIMATED_ROWS 32u

// Exponents that a query's greatest value is scaled to, and that it is assumed to have at least.
#define NARROWED_GREATEST 14
#define NARROWED_LEAST (-80)

// Queries in half precision as `row_estimates` takes them, each scaled by a power of two of which `units` has the inverse.
// A block of 256 threads has a query (blockIdx.x), one of zeros from `width` on, and a module group (blockIdx.y), of which
// `number` is the first of its `steps` of 32 coordinates. `squares` is for each query and group the sum of the squares of its
// values, of those that they were rounded to, and of the differences.
KERNEL_FOR(256, 1) narrow_queries(const float* queries, u32 dim, u32 width, const RowGroup* groups, u32 used, u32 steps,
                                  u32* tiles, float* units, double* squares) {
    SHARED(double, sums);
    u32 q = blockIdx.x, thread = threadIdx.x;
    const float* query = queries + (u64)q * dim;
    float most = 0.0f;
    for (u32 g = 0; g < used && q < width; ++g)
        for (u32 k = groups[g].start + thread; k < groups[g].end; k += BLOCK_THREADS) most = fmaxf(most, fabsf(query[k]));
    most = block_max(most, reinterpret_cast<float*>(sums));
    int exponent = (int)(float_bits(most) >> 23) - 127;
    exponent = exponent < NARROWED_LEAST ? NARROWED_LEAST : exponent > 127 ? 127 : exponent;
    float scale = float_of((u32)(NARROWED_GREATEST - exponent + 127) << 23);
    float unit = float_of((u32)(exponent - NARROWED_GREATEST + 127) << 23);
    if (thread == 0 && blockIdx.y == 0) units[q] = unit;
    // Of the 32 values of a step each of four threads that multiply it has two of each eight.
    RowGroup group = groups[blockIdx.y];
    u32 pair = thread % 16, place = pair % 4 * 4 + pair / 4;
    double own[3] = {0.0, 0.0, 0.0};
    for (u32 step = thread / 16; 32 * step < group.end - group.start; step += BLOCK_THREADS / 16) {
        u32 k = group.start + 32 * step + 2 * place, halves = 0;
        UNROLL
        for (u32 i = 0; i < 2; ++i) {
            float value = q < width && k + i < group.end ? query[k + i] : 0.0f;
            u16 rounded = half_bits(value * scale);
            halves |= (u32)rounded << 16 * i;
            double exact = value, near = (double)half_value(rounded) * unit;
            own[0] += exact * exact;
            own[1] += near * near;
            own[2] += (exact - near) * (exact - near);
        }
        u32 tile = (q / ESTIMATED_QUERIES * steps + group.number + step) * 8 + q % ESTIMATED_QUERIES / 8;
        tiles[(u64)tile * 128 + q % 8 * 16 + pair] = halves;
    }
    for (u32 s = 0; s < 3; ++s) sums[s * BLOCK_THREADS + thread] = own[s];
    for (u32 half = BLOCK_THREADS / 2; half > 0; half /= 2) {
        SYNC();
        for (u32 s = 0; s < 3 && thread < half; ++s)
            sums[s * BLOCK_THREADS + thread] += sums[s * BLOCK_THREADS + thread + half];
    }
    if (thread == 0 && q < width)
        for (u32 s = 0; s < 3; ++s) squares[((u64)q * used + blockIdx.y) * 3 + s] = sums[s * BLOCK_THREADS];
}

// Adds the squares of two values.
DEVICE float squares_of(u32 pair, float sum) {
    float low = half_value((u16)pair), high = half_value((u16)(pair >> 16));
    return FUSED(high, high, FUSED(low, low, sum));
}

// Coordinates of a piece, which are 128 bytes of a row and two steps of 32 of the queries; and coordinates after which sums
// begin anew, since errors grow with what is added up (CHAIN in src/backend/halves.rs).
#define ESTIMATED_PIECE 64u
#define ESTIMATED_CHAIN 256u
static_assert(ESTIMATED_CHAIN % ESTIMATED_PIECE == 0, "sums begin anew between pieces");

// Has the piece from coordinate `k` of a group that ends before `end` copied to a stage: `queries` from there on, and the 32
// rows of a warp, which are at these addresses. Coordinates of a piece beyond the end are zeros; a piece
// wholly beyond it copies nothing.
DEVICE void copy_estimated(const uint4* queries, const u64* rows, u32 k, u32 end, uint4* stage) {
    u32 lane = threadIdx.x % 32, unit = lane % 8, steps = end > k ? (end - k + 31) / 32 : 0;
    uint4* own = stage + 512 + threadIdx.x / 32 * 256;
    for (u32 i = threadIdx.x; i < 512 && i < 256 * steps; i += BLOCK_THREADS) copy_later(shared_place(stage + i), queries + i);
    // Rows that are read together have different banks.
    uint4 *place = own + lane / 8 * 8, none = {0u, 0u, 0u, 0u};
    if (k + 8 * unit < end) {
        UNROLL
        for (u32 i = 0; i < 8; ++i)
            copy_later(shared_place(place + 32 * i + (unit ^ (4 * i + lane / 8) % 8)),
                       (const u16*)rows[4 * i + lane / 8] + k + 8 * unit);
    } else if (steps > 0) {
        UNROLL
        for (u32 i = 0; i < 8; ++i) place[32 * i + (unit ^ (4 * i + lane / 8) % 8)] = none;
    }
    COPIES_END();
}

// Adds the products of 32 coordinates, the units from `unit` on of 32 rows, and the squares of the rows.
DEVICE void add_tile(const uint4* rows, u32 unit, const uint4* queries, float (&sums)[2][8][4], float (&squares)[4]) {
    u32 lane = threadIdx.x % 32, row = lane % 16;
    u32 x[2][2][4];
    UNROLL
    for (u32 i = 0; i < 4; ++i) {
        u32(&own)[4] = x[i / 2][i % 2];
        LOAD_MATRICES(own, shared_place(rows + (i / 2 * 16 + row) * 8 + ((unit + i % 2 * 2 + lane / 16) ^ row % 8)));
        UNROLL
        for (u32 j = 0; j < 4; ++j) squares[i / 2 * 2 + j % 2] = squares_of(own[j], squares[i / 2 * 2 + j % 2]);
    }
    UNROLL
    for (u32 q = 0; q < 8; ++q) {
        uint4 y = queries[32 * q];
        UNROLL
        for (u32 r = 0; r < 2; ++r) {
            const u32(&low)[4] = x[r][0], (&high)[4] = x[r][1];
            MULTIPLY_HALVES(sums[r][q], low[0], low[1], low[2], low[3], y.x, y.y);
            MULTIPLY_HALVES(sums[r][q], high[0], high[1], high[2], high[3], y.z, y.w);
        }
    }
}

// `rows` are the addresses of `count` rows, of which groups begin and end at multiples of 8. `queries` has, for each 64 of
// them and each 32 coordinates of a group, of which there are `steps` in all, what the 32 threads of a warp have of each
// eight queries; `units` by what products with each are multiplied. `weights` is for each group what an error is relative to
// the product of a row's length and factor, and `up` covers the rounding of lengths. Values, [count, width], and errors,
// [count], are added to what is there if `adds`. A block of 256 threads has 256 rows and 64 queries, and shared memory of
// two or four `stages`, each of 8 KiB of queries and 4 KiB for the rows of each warp, and of an address for each row.
KERNEL_FOR(256, 1) row_estimates(const u64* rows, u32 count, const uint4* queries, u32 steps, const float* units, u32 width,
                     const RowGroup* groups, u32 used, const float* factors, u32 columns, const float* weights, float up,
                     u32 adds, u32 stages, float* values, float* errors) {
    u32 lane = threadIdx.x % 32, place = lane / 4, part = lane % 4;
    u32 beside = (width + ESTIMATED_QUERIES - 1) / ESTIMATED_QUERIES;
    u32 first_row = blockIdx.x / beside * BLOCK_THREADS + threadIdx.x / 32 * ESTIMATED_ROWS;
    u32 first_query = blockIdx.x % beside * ESTIMATED_QUERIES, stage_units = 512 + BLOCK_THREADS * 8;
    const uint4* query = queries + (u64)(first_query / ESTIMATED_QUERIES) * steps * 256;
    SHARED(uint4, pieces);
    u64* addresses = (u64*)(pieces + stages * stage_units) + threadIdx.x / 32 * ESTIMATED_ROWS;
    // Beyond the last row the last one is multiplied again, and not written.
    addresses[lane] = rows[first_row + lane < count ? first_row + lane : count - 1];
    for (u32 g = 0; g < used; ++g) {
        RowGroup group = groups[g];
        bool first = g == 0 && adds == 0;
        float sums[2][8][4], totals[2][8][4], squares[4];
        UNROLL
        for (u32 r = 0; r < 4; ++r) squares[r] = 0.0f;
        UNROLL
        for (u32 i = 0; i < 64; ++i) sums[i / 32][i / 4 % 8][i % 4] = totals[i / 32][i / 4 % 8][i % 4] = 0.0f;
        // The addresses are there, and all have read the pieces of the last group.
        SYNC();
        u32 to = 0, ahead = group.start;
        for (; to < stages - 1; ++to, ahead += ESTIMATED_PIECE)
            copy_estimated(query + (ahead - group.start) * 8, addresses, ahead, group.end, pieces + to * stage_units);
        u32 from = 0;
        for (u32 k = group.start; k < group.end; k += ESTIMATED_PIECE, ahead += ESTIMATED_PIECE) {
            if (stages > 2)
                COPIES_WAIT(2);
            else
                COPIES_WAIT(0);
            // All have the piece, and have read the one before, which the next one replaces.
            SYNC();
            copy_estimated(query + (ahead - group.start) * 8, addresses, ahead, group.end, pieces + to * stage_units);
            const uint4 *tile = pieces + from * stage_units + lane, *own = tile - lane + 512 + threadIdx.x / 32 * 256;
            UNROLL
            for (u32 s = 0; s < 2; ++s) {
                if (k + 32 * s >= group.end) break;
                add_tile(own, 4 * s, tile + 256 * s, sums, squares);
            }
            if ((k - group.start) % ESTIMATED_CHAIN == ESTIMATED_CHAIN - ESTIMATED_PIECE || k + ESTIMATED_PIECE >= group.end) {
                UNROLL
                for (u32 i = 0; i < 64; ++i) {
                    float &total = totals[i / 32][i / 4 % 8][i % 4], &sum = sums[i / 32][i / 4 % 8][i % 4];
                    total = PLUS(total, sum);
                    sum = 0.0f;
                }
            }
            from = from + 1 == stages ? 0 : from + 1;
            to = to + 1 == stages ? 0 : to + 1;
        }
        query += (group.end - group.start + 31) / 32 * 256;
        UNROLL
        for (u32 r = 0; r < 4; ++r) {
            float square = PLUS(squares[r], SHUFFLE_XOR(squares[r], 1));
            square = PLUS(square, SHUFFLE_XOR(square, 2));
            u32 at = first_row + 8 * r + place;
            if (at >= count) continue;
            float factor = factors[(u64)at * columns + group.number];
            u32 own = first_query + 2 * part;
            float* value = values + (u64)at * width + own;
            const float* unit = units + own;
            UNROLL
            for (u32 i = 0; i < 16; ++i) {
                const u32 q = i / 2 * 8 + i % 2;
                if (own + q >= width) continue;
                float product = TIMES(TIMES(totals[r / 2][i / 2][r % 2 * 2 + i % 2], unit[q]), factor);
                value[q] = first ? product : PLUS(value[q], product);
            }
            if (part == 0 && first_query == 0) {
                float size = fabsf(factor), length = TIMES(size, sqrtf(TIMES(square, up)));
                // 2^-100: what underflow may take. From 2^60 on something may overflow; false for NaN too.
                bool bounded = size < 1.152921504606846976e18f && length < 1.152921504606846976e18f;
                float error = PLUS(TIMES(length, weights[g]), TIMES(PLUS(size, 1.0f), 7.88860905221011805e-31f));
                error = bounded ? TIMES(error, 1.000001f) : INFINITY_F;
                errors[at] = first ? error : TIMES(PLUS(errors[at], error), 1.000001f);
            }
        }
    }
}

#define COMBINE_MEAN 0u
#define COMBINE_SUM 1u
#define COMBINE_MAX 2u
#define COMBINE_MIN 3u

DEVICE float combined_start(u32 how) {
    return how == COMBINE_MAX ? -INFINITY_F : how == COMBINE_MIN ? INFINITY_F : 0.0f;
}

DEVICE float combined(u32 how, float so_far, float value) {
    return how == COMBINE_MAX ? fmaxf(so_far, value) : how == COMBINE_MIN ? fminf(so_far, value) : PLUS(so_far, value);
}

DEVICE float combined_end(u32 how, float sum, u32 count) { return how == COMBINE_MEAN ? sum / (float)count : sum; }

// The scores of rows from their values, [count, width]: those of each span combined, and those of the spans. An error of all
// values counts `most` times, and the greatest value `slack` times, for rounding. `out` has score and error of each row.
KERNEL row_scores(const float* values, u32 count, u32 width, const u32* spans, u32 parts, u32 within, u32 across,
                  const float* errors, float most, float slack, float* out) {
    u64 row = flat_index();
    if (row >= count) return;
    const float* own = values + row * width;
    float score = combined_start(across), greatest = 0.0f;
    bool finite = true;
    for (u32 s = 0; s < parts; ++s) {
        u32 start = spans[2 * s], end = spans[2 * s + 1];
        float part = combined_start(within);
        for (u32 i = start; i < end; ++i) {
            float value = own[i];
            finite = finite && value - value == 0.0f;
            greatest = fmaxf(greatest, fabsf(value));
            part = combined(within, part, value);
        }
        score = combined(across, score, combined_end(within, part, end - start));
    }
    float error = TIMES(PLUS(TIMES(errors[row], most), TIMES(greatest, slack)), 1.000001f);
    out[2 * row] = combined_end(across, score, parts);
    out[2 * row + 1] = finite ? error : INFINITY_F;
}
