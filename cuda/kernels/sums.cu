// Sums over the rows of samples, and maps of columns. `spans` has the first row of each sample and the one after its
// last.

// Sums of rows times `weights`, a vector for each span. Blocks as of `norm_grads`.
KERNEL span_sums(const float* RESTRICT x, const float* RESTRICT weights, const u32* RESTRICT spans, float* RESTRICT out,
                 u32 cols) {
    SHARED(float, parts);
    u32 col = blockIdx.x * 32 + (threadIdx.x & 31u), part = threadIdx.x >> 5;
    u32 start = spans[2 * blockIdx.y], end = spans[2 * blockIdx.y + 1];
    float sum = 0.0f;
    if (col < cols) {
        UNROLL_BY(4)
        for (u32 row = start + part; row < end; row += 8) sum += weights[row] * x[(u64)row * cols + col];
    }
    parts[threadIdx.x] = sum;
    SYNC();
    if (part > 0 || col >= cols) return;
    sum = 0.0f;
    for (u32 i = threadIdx.x; i < 256; i += 32) sum += parts[i];
    out[(u64)blockIdx.y * cols + col] = sum;
}

// Columns of a tile of both operands, the rows that a block takes at a time, and the rows that a thread reads before it
// multiplies any of them.
#define PRODUCT_SIDE 16u
#define PRODUCT_ROWS 32u
#define PRODUCT_AHEAD 8u

// Four values of a row, of which there are `count`, and zeros. With ALIGNED all four are there or none.
template <bool ALIGNED>
DEVICE Four four_of_row(const float* row, u32 count) {
    Four four = {};
    if (ALIGNED) {
        if (count) four = *reinterpret_cast<const Four*>(row);
    } else {
        UNROLL for (u32 i = 0; i < 4; ++i) if (i < count) four.at[i] = row[i];
    }
    return four;
}

// Adds a[t][i] b[t][j] of every 32nd row `t` from `row` to `end` to four by four values. `a` and `b` start at column i
// and j, `have_a` and `have_b` columns from there on exist.
template <bool ALIGNED>
DEVICE void sum_products(Four (&sums)[4], const float* RESTRICT a, const float* RESTRICT b, u32 m, u32 n, u32 have_a,
                         u32 have_b, u64 row, u64 end) {
    for (; row < end; row += PRODUCT_AHEAD * PRODUCT_ROWS) {
        Four left[PRODUCT_AHEAD], right[PRODUCT_AHEAD];
        UNROLL for (u32 k = 0; k < PRODUCT_AHEAD; ++k) {
            u64 t = row + k * PRODUCT_ROWS;
            left[k] = four_of_row<ALIGNED>(a + t * m, t < end ? have_a : 0);
            right[k] = four_of_row<ALIGNED>(b + t * n, t < end ? have_b : 0);
        }
        UNROLL for (u32 k = 0; k < PRODUCT_AHEAD; ++k)
            UNROLL for (u32 i = 0; i < 4; ++i)
                UNROLL for (u32 j = 0; j < 4; ++j) sums[i].at[j] += left[k].at[i] * right[k].at[j];
    }
}

// Adds sum_t a[t][i] b[t][j] of each span's rows to [m, n] values of its vector. A block of 512 threads has a tile of
// 16 x 16 values of a span (blockIdx.z), a thread four by four of them and every 32nd row: with few spans there are few
// blocks, which wait for memory. The 32 parts of a value are then added in order.
KERNEL_FOR(512, 1) span_products(const float* RESTRICT a, const float* RESTRICT b, const u32* RESTRICT spans,
                                 float* RESTRICT out, u64 vector, u64 offset, u32 m, u32 n) {
    SHARED(float, parts);
    u32 part = threadIdx.x >> 4, four_i = threadIdx.x >> 2 & 3u, four_j = threadIdx.x & 3u;
    u32 i = blockIdx.y * PRODUCT_SIDE + 4 * four_i, j = blockIdx.x * PRODUCT_SIDE + 4 * four_j;
    u64 start = spans[2 * blockIdx.z], end = spans[2 * blockIdx.z + 1];
    Four sums[4] = {};
    if (((m | n) & 3u) == 0 && (((u64)a | (u64)b) & 15u) == 0)
        sum_products<true>(sums, a + i, b + j, m, n, in_four(i, m), in_four(j, n), start + part, end);
    else
        sum_products<false>(sums, a + i, b + j, m, n, in_four(i, m), in_four(j, n), start + part, end);
    // Of each part, rows 0, 4, 8 and 12 of the tile come first, then those after them, so that threads that follow each
    // other write without gaps.
    UNROLL for (u32 k = 0; k < 4; ++k)
        *reinterpret_cast<Four*>(parts + part * 256 + k * 64 + (threadIdx.x & 15u) * 4) = sums[k];
    SYNC();
    if (threadIdx.x >= 256) return;
    i = blockIdx.y * PRODUCT_SIDE + 4 * (threadIdx.x >> 4 & 3u) + (threadIdx.x >> 6);
    j = blockIdx.x * PRODUCT_SIDE + (threadIdx.x & 15u);
    if (i >= m || j >= n) return;
    float sum = 0.0f;
    UNROLL for (u32 k = 0; k < PRODUCT_ROWS; ++k) sum += parts[k * 256 + threadIdx.x];
    out[(u64)blockIdx.z * vector + offset + (u64)i * n + j] += sum;
}

// Adds `scale` times the rows of each span to the rows `ids` of a table, in order: a thread has one column, and of the
// table the rows whose numbers end with the bits of blockIdx.z. gridDim.z is a power of two, and changes no sum.
KERNEL table_grads(const u32* RESTRICT ids, const float* RESTRICT grad, const u32* RESTRICT spans, float* RESTRICT out,
                   u64 vector, u64 offset, u32 width, float scale) {
    u32 col = blockIdx.x * BLOCK_THREADS + threadIdx.x, last_bits = gridDim.z - 1;
    if (col >= width) return;
    out += (u64)blockIdx.y * vector + offset + col;
    u64 end = spans[2 * blockIdx.y + 1];
    for (u64 first = spans[2 * blockIdx.y]; first < end; first += 8) {
        // Read together: sums wait for each other, numbers need not.
        u32 id[8];
        UNROLL for (u32 k = 0; k < 8; ++k) id[k] = first + k < end ? ids[first + k] : 0;
        UNROLL for (u32 k = 0; k < 8; ++k)
            if (first + k < end && (id[k] & last_bits) == blockIdx.z)
                out[(u64)id[k] * width] += scale * grad[(first + k) * width + col];
    }
}

// Columns mapped by a sparse matrix: output column o is the sum over the entries `starts[o]..starts[o + 1]`, plus
// `value` for the column `constant`. A block has one row (blockIdx.x) and a warp 1 of its columns at a time.
KERNEL map_columns(const float* RESTRICT x, const u32* RESTRICT starts, const u32* RESTRICT columns,
                   const float* RESTRICT factors, float* RESTRICT y, u32 input, u32 out, u32 constant, float value) {
    u32 lane = threadIdx.x & 31u, warps = BLOCK_THREADS >> 5;
    x += (u64)blockIdx.x * input;
    y += (u64)blockIdx.x * out;
    for (u32 o = threadIdx.x >> 5; o < out; o += warps) {
        float sum = 0.0f;
        for (u32 e = starts[o] + lane; e < starts[o + 1]; e += 32) sum += x[columns[e]] * factors[e];
        sum = warp_sum(sum);
        if (lane == 0) y[o] = o == constant ? sum + value : sum;
    }
}
