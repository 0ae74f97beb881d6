// Sums over the rows of samples, and maps of columns. `spans` has the first row of each sample and the one after its
// last.

// Sums of rows times `weights`, a vector for each span. Blocks as of `norm_grads`.
KERNEL span_sums(const float* RESTRICT x, const float* RESTRICT weights, const u32* RESTRICT spans, float* RESTRICT out,
                 u32 cols) {
    SHARED(float, parts);
    u32 col = blockIdx.x * 32 + (threadIdx.x & 31u), part = threadIdx.x >> 5;
    u32 start = spans[2 * blockIdx.y], end = spans[2 * blockIdx.y + 1];
    float sum = 0.0f;
    if (col < cols)
        for (u32 row = start + part; row < end; row += 8) sum += weights[row] * x[(u64)row * cols + col];
    parts[threadIdx.x] = sum;
    SYNC();
    if (part > 0 || col >= cols) return;
    sum = 0.0f;
    for (u32 i = threadIdx.x; i < 256; i += 32) sum += parts[i];
    out[(u64)blockIdx.y * cols + col] = sum;
}

#define TILE 32u

// Adds sum_t a[t][i] b[t][j] of each span's rows to [m, n] values of its vector. A block of 256 threads has a tile of
// 32 x 32 values of a span (blockIdx.z), and goes over the rows in order, 32 at a time.
KERNEL span_products(const float* RESTRICT a, const float* RESTRICT b, const u32* RESTRICT spans, float* RESTRICT out,
                     u64 vector, u64 offset, u32 m, u32 n) {
    SHARED(float, left);
    float* right = left + TILE * TILE;
    u32 column = threadIdx.x & 31u, part = threadIdx.x >> 5;
    u32 first_i = blockIdx.y * TILE, first_j = blockIdx.x * TILE;
    u32 start = spans[2 * blockIdx.z], end = spans[2 * blockIdx.z + 1];
    float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    for (u32 from = start; from < end; from += TILE) {
        for (u32 t = part; t < TILE; t += 8) {
            u64 row = (u64)from + t;
            bool there = row < end;
            left[t * TILE + column] = there && first_i + column < m ? a[row * m + first_i + column] : 0.0f;
            right[t * TILE + column] = there && first_j + column < n ? b[row * n + first_j + column] : 0.0f;
        }
        SYNC();
        for (u32 t = 0; t < TILE; ++t) {
            float r = right[t * TILE + column];
            for (u32 s = 0; s < 4; ++s) sums[s] += left[t * TILE + part + 8 * s] * r;
        }
        SYNC();
    }
    if (first_j + column >= n) return;
    out += (u64)blockIdx.z * vector + offset;
    for (u32 s = 0; s < 4; ++s) {
        u32 i = first_i + part + 8 * s;
        if (i < m) out[(u64)i * n + first_j + column] += sums[s];
    }
}

// Adds `scale` times the rows of each span to the rows `ids` of a table, in order: a thread has one column.
KERNEL table_grads(const u32* RESTRICT ids, const float* RESTRICT grad, const u32* RESTRICT spans, float* RESTRICT out,
                   u64 vector, u64 offset, u32 width, float scale) {
    u32 col = blockIdx.x * BLOCK_THREADS + threadIdx.x;
    if (col >= width) return;
    out += (u64)blockIdx.y * vector + offset + col;
    for (u32 row = spans[2 * blockIdx.y]; row < spans[2 * blockIdx.y + 1]; ++row)
        out[(u64)ids[row] * width] += scale * grad[(u64)row * width + col];
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
