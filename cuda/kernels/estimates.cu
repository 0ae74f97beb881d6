// Estimates of products of stored rows in f16 with many query vectors, by the units that multiply matrices, with what
// bounds their errors; and scores of rows from such estimates (src/backend/estimates.rs).

// Queries that a warp has, and rows.
#define ESTIMATED_QUERIES 64u
#define ESTIMATED_ROWS 32u

// Adds the squares of eight values.
DEVICE float squares_of(const uint4& values, float sum) {
    u32 words[4] = {values.x, values.y, values.z, values.w};
    UNROLL
    for (u32 i = 0; i < 4; ++i) {
        float low = half_value((u16)words[i]), high = half_value((u16)(words[i] >> 16));
        sum = FUSED(high, high, FUSED(low, low, sum));
    }
    return sum;
}

// Steps of 32 coordinates whose rows are on their way at a time.
#define ESTIMATED_STEPS 4u

// Has eight values of each of four rows, from `k` on, copied to this thread's places, unless they are not `there`.
DEVICE void copy_eights(const u16* const (&row)[4], u32 k, bool there, uint4* places) {
    if (there) {
        UNROLL
        for (u32 r = 0; r < 4; ++r) copy_later<16>(places + r * BLOCK_THREADS, row[r] + k);
    }
    COPIES_END();
}

// Adds the products of 32 coordinates. Of those of a row or query that follow one another four threads have eight each. The
// units would have a thread hold coordinates 2, 8 and 10 apart; which terms of a sum are where does not matter for an
// estimate, if both factors have them alike.
DEVICE void add_tile(const uint4 (&x)[4], const uint4* queries, float (&sums)[2][8][4]) {
    UNROLL
    for (u32 q = 0; q < 8; ++q) {
        uint4 y = queries[32 * q];
        UNROLL
        for (u32 r = 0; r < 2; ++r) {
            const uint4 &up = x[2 * r], &low = x[2 * r + 1];
            MULTIPLY_HALVES(sums[r][q], up.x, low.x, up.y, low.y, y.x, y.y);
            MULTIPLY_HALVES(sums[r][q], up.z, low.z, up.w, low.w, y.z, y.w);
        }
    }
}

// `rows` are the addresses of `count` rows, of which groups begin and end at multiples of 8. `queries` has, for each 64 of
// them and each 32 coordinates of a group, of which there are `steps` in all, what the 32 threads of a warp have of each
// eight queries; `units` by what products with each are multiplied. `weights` is for each group what an error is relative to
// the product of a row's length and factor, and `up` covers the rounding of lengths. Values, [count, width], and errors,
// [count], are added to what is there if `adds`. A thread has 256 bytes of shared memory.
KERNEL_FOR(256, 2) row_estimates(const u64* rows, u32 count, const uint4* queries, u32 steps, const float* units, u32 width,
                     const RowGroup* groups, u32 used, const float* factors, u32 columns, const float* weights, float up,
                     u32 adds, float* values, float* errors) {
    u32 lane = threadIdx.x % 32, place = lane / 4, part = lane % 4;
    u32 beside = (width + ESTIMATED_QUERIES - 1) / ESTIMATED_QUERIES;
    u32 first_row = (blockIdx.x / beside * (BLOCK_THREADS / 32) + threadIdx.x / 32) * ESTIMATED_ROWS;
    u32 first_query = blockIdx.x % beside * ESTIMATED_QUERIES;
    if (first_row >= count) return;
    const u16* row[4];
    u32 at[4];
    UNROLL
    for (u32 r = 0; r < 4; ++r) {
        at[r] = first_row + 8 * r + place;
        // Beyond the last row the last one is multiplied again, and not written.
        row[r] = (const u16*)rows[at[r] < count ? at[r] : count - 1];
    }
    const uint4* query = queries + (u64)(first_query / ESTIMATED_QUERIES) * steps * 256 + lane;
    SHARED(uint4, all_places);
    uint4* places = all_places + threadIdx.x;
    for (u32 g = 0; g < used; ++g) {
        RowGroup group = groups[g];
        bool first = g == 0 && adds == 0;
        float sums[2][8][4], squares[4];
        UNROLL
        for (u32 r = 0; r < 4; ++r) squares[r] = 0.0f;
        UNROLL
        for (u32 i = 0; i < 64; ++i) sums[i / 32][i / 4 % 8][i % 4] = 0.0f;
        u32 k = group.start + 8 * part;
        UNROLL
        for (u32 s = 0; s < ESTIMATED_STEPS; ++s)
            copy_eights(row, k + 32 * s, k + 32 * s < group.end, places + 4 * s * BLOCK_THREADS);
        UNROLL_BY(2)
        for (u32 step = 0; group.start + 32 * step < group.end; ++step, k += 32, query += 256) {
            uint4* own = places + step % ESTIMATED_STEPS * 4 * BLOCK_THREADS;
            COPIES_WAIT(ESTIMATED_STEPS - 1);
            uint4 x[4], none = {0u, 0u, 0u, 0u};
            UNROLL
            for (u32 r = 0; r < 4; ++r) x[r] = k < group.end ? own[r * BLOCK_THREADS] : none;
            u32 next = k + 32 * ESTIMATED_STEPS;
            copy_eights(row, next, next < group.end, own);
            UNROLL
            for (u32 r = 0; r < 4; ++r) squares[r] = squares_of(x[r], squares[r]);
            add_tile(x, query, sums);
        }
        UNROLL
        for (u32 r = 0; r < 4; ++r) {
            float square = PLUS(squares[r], SHUFFLE_XOR(squares[r], 1));
            square = PLUS(square, SHUFFLE_XOR(square, 2));
            if (at[r] >= count) continue;
            float factor = factors[(u64)at[r] * columns + group.number];
            u32 own = first_query + 2 * part;
            float* value = values + (u64)at[r] * width + own;
            const float* unit = units + own;
            UNROLL
            for (u32 i = 0; i < 16; ++i) {
                const u32 q = i / 2 * 8 + i % 2;
                if (own + q >= width) continue;
                float product = TIMES(TIMES(sums[r / 2][i / 2][r % 2 * 2 + i % 2], unit[q]), factor);
                value[q] = first ? product : PLUS(value[q], product);
            }
            if (part == 0 && first_query == 0) {
                float size = fabsf(factor), length = TIMES(size, sqrtf(TIMES(square, up)));
                // 2^-100: what underflow may take. From 2^60 on something may overflow; false for NaN too.
                bool bounded = size < 1.152921504606846976e18f && length < 1.152921504606846976e18f;
                float error = PLUS(TIMES(length, weights[g]), TIMES(PLUS(size, 1.0f), 7.88860905221011805e-31f));
                error = bounded ? TIMES(error, 1.000001f) : INFINITY_F;
                errors[at[r]] = first ? error : TIMES(PLUS(errors[at[r]], error), 1.000001f);
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
