// Norms of groups of columns, forward and backward. An RMS norm is a layer norm whose mean is taken to be zero.
// Statistics of a row: r = 1 / root of each group, then, of a layer norm, the means.

// One block a group. `layer` is 1 for a layer norm.
KERNEL norm_forward(const float* RESTRICT x, const float* RESTRICT weight, const float* RESTRICT bias,
                    float* RESTRICT y, float* RESTRICT stats, u32 groups, u32 width, u32 layer, float eps) {
    SHARED(float, scratch);
    u64 row = blockIdx.x / groups;
    u32 group = blockIdx.x % groups;
    x += (u64)blockIdx.x * width;
    y += (u64)blockIdx.x * width;
    stats += row * groups * (1 + layer);
    float mean = 0.0f;
    if (layer) {
        float sum = 0.0f;
        for (u32 i = threadIdx.x; i < width; i += BLOCK_THREADS) sum += x[i];
        mean = block_sum(sum, scratch) / (float)width;
        // What rounding left over.
        sum = 0.0f;
        for (u32 i = threadIdx.x; i < width; i += BLOCK_THREADS) sum += x[i] - mean;
        mean += block_sum(sum, scratch) / (float)width;
    }
    float square = 0.0f;
    for (u32 i = threadIdx.x; i < width; i += BLOCK_THREADS) square += (x[i] - mean) * (x[i] - mean);
    float r = 1.0f / sqrtf(block_sum(square, scratch) / (float)width + eps);
    for (u32 i = threadIdx.x; i < width; i += BLOCK_THREADS) {
        float normed = (x[i] - mean) * r * weight[i];
        y[i] = bias ? normed + bias[i] : normed;
    }
    if (threadIdx.x == 0) {
        stats[group] = r;
        if (layer) stats[groups + group] = mean;
    }
}

// With u = x - mean and d = grad * weight: r (d - mean(d)) - u r^3 mean(d u), the mean of d of a layer norm alone.
// Added to `dx` if `sums` is 1. One block a group.
KERNEL norm_backward(const float* RESTRICT grad, const float* RESTRICT x, const float* RESTRICT stats,
                     const float* RESTRICT weight, float* RESTRICT dx, u32 groups, u32 width, u32 layer, u32 sums) {
    SHARED(float, scratch);
    u64 row = blockIdx.x / groups;
    u32 group = blockIdx.x % groups;
    u64 start = (u64)blockIdx.x * width;
    grad += start;
    x += start;
    dx += start;
    stats += row * groups * (1 + layer);
    float r = stats[group], mean = layer ? stats[groups + group] : 0.0f;
    float along = 0.0f, level = 0.0f;
    for (u32 i = threadIdx.x; i < width; i += BLOCK_THREADS) {
        float d = grad[i] * weight[i];
        along += d * (x[i] - mean);
        level += d;
    }
    along = block_sum(along, scratch) * r * r / (float)width;
    level = layer ? block_sum(level, scratch) / (float)width : 0.0f;
    for (u32 i = threadIdx.x; i < width; i += BLOCK_THREADS) {
        float v = r * (grad[i] * weight[i] - level - (x[i] - mean) * along);
        dx[i] = sums ? dx[i] + v : v;
    }
}

// Adds the gradients of weight and bias of each sample's rows to its vector in `out`, at `offset` and `bias_offset`
// (all ones: nowhere). A block has 32 columns of a sample (blockIdx.y) and sums its rows in 8 parts.
KERNEL norm_grads(const float* RESTRICT grad, const float* RESTRICT x, const float* RESTRICT stats,
                  const u32* RESTRICT spans, float* RESTRICT out, u64 vector, u64 offset, u64 bias_offset, u32 groups,
                  u32 width, u32 layer) {
    SHARED(float, parts);
    u32 col = blockIdx.x * 32 + (threadIdx.x & 31u), part = threadIdx.x >> 5;
    u32 start = spans[2 * blockIdx.y], end = spans[2 * blockIdx.y + 1];
    float sum = 0.0f, bias_sum = 0.0f;
    if (col < width) {
        for (u32 row = start + part; row < end; row += 8) {
            const float* stat = stats + (u64)row * groups * (1 + layer);
            for (u32 group = 0; group < groups; ++group) {
                u64 at = ((u64)row * groups + group) * width + col;
                float mean = layer ? stat[groups + group] : 0.0f;
                sum += grad[at] * ((x[at] - mean) * stat[group]);
                bias_sum += grad[at];
            }
        }
    }
    parts[threadIdx.x] = sum;
    parts[256 + threadIdx.x] = bias_sum;
    SYNC();
    if (part > 0 || col >= width) return;
    sum = 0.0f;
    bias_sum = 0.0f;
    for (u32 i = threadIdx.x; i < 256; i += 32) {
        sum += parts[i];
        bias_sum += parts[256 + i];
    }
    out += (u64)blockIdx.y * vector + col;
    if (offset != ~0ull) out[offset] += sum;
    if (bias_offset != ~0ull) out[bias_offset] += bias_sum;
}
