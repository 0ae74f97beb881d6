// Norms of groups of columns, forward and backward. An RMS norm is a layer norm whose mean is taken to be zero.
// Statistics of a row: r = 1 / root of each group, then, of a layer norm, the means.

// Fours of a row that each thread keeps in registers.
#define KEPT_FOURS 2u

// Calls `each` for every four columns of a row that a thread has, with the number of the four and its first column. All
// that are not kept have the number KEPT_FOURS.
template <class Each>
DEVICE void each_four(u32 width, Each each) {
    u32 i = 4 * threadIdx.x;
    UNROLL for (u32 k = 0; k < KEPT_FOURS; ++k, i += 4 * BLOCK_THREADS) each(k, i);
    for (; i < width; i += 4 * BLOCK_THREADS) each(KEPT_FOURS, i);
}

struct KeptRow {
    const float* from;
    u32 width;
    Four kept[KEPT_FOURS];
};

DEVICE KeptRow keep_row(const float* from, u32 width) {
    KeptRow row = {from, width, {}};
    UNROLL for (u32 k = 0; k < KEPT_FOURS; ++k) {
        u32 i = 4 * (threadIdx.x + k * BLOCK_THREADS);
        row.kept[k] = read_four(from + i, in_four(i, width));
    }
    return row;
}

// Four columns of a row, by what `each_four` says of them.
DEVICE Four four_of(const KeptRow& row, u32 k, u32 i) {
    return k < KEPT_FOURS ? row.kept[k] : read_four(row.from + i, in_four(i, row.width));
}

// One block a group. `layer` is 1 for a layer norm. `rounded` has the nearest bf16 of `y`, unless it is null.
KERNEL norm_forward(const float* RESTRICT x, const float* RESTRICT weight, const float* RESTRICT bias,
                    float* RESTRICT y, float* RESTRICT stats, u16* RESTRICT rounded, u32 groups, u32 width, u32 layer,
                    float eps) {
    SHARED(float, scratch);
    u64 start = (u64)blockIdx.x * width;
    KeptRow row = keep_row(x + start, width);
    float mean = 0.0f;
    if (layer) {
        float sum = 0.0f;
        each_four(width, [&](u32 k, u32 i) {
            Four four = four_of(row, k, i);
            UNROLL for (u32 j = 0; j < 4; ++j) sum += four.at[j];
        });
        mean = block_sum(sum, scratch) / (float)width;
        // What rounding left over.
        sum = 0.0f;
        each_four(width, [&](u32 k, u32 i) {
            Four four = four_of(row, k, i);
            UNROLL for (u32 j = 0; j < 4; ++j) sum += i + j < width ? four.at[j] - mean : 0.0f;
        });
        mean += block_sum(sum, scratch) / (float)width;
    }
    float square = 0.0f;
    each_four(width, [&](u32 k, u32 i) {
        Four four = four_of(row, k, i);
        UNROLL for (u32 j = 0; j < 4; ++j) square += i + j < width ? (four.at[j] - mean) * (four.at[j] - mean) : 0.0f;
    });
    float r = 1.0f / sqrtf(block_sum(square, scratch) / (float)width + eps);
    each_four(width, [&](u32 k, u32 i) {
        u32 n = in_four(i, width);
        Four four = four_of(row, k, i), factor = read_four(weight + i, n), constant = {};
        if (bias) constant = read_four(bias + i, n);
        UNROLL for (u32 j = 0; j < 4; ++j) {
            float normed = (four.at[j] - mean) * r * factor.at[j];
            four.at[j] = bias ? normed + constant.at[j] : normed;
        }
        write_both(y, rounded, start + i, four, n);
    });
    if (threadIdx.x == 0) {
        stats += (blockIdx.x / groups) * (u64)groups * (1 + layer) + blockIdx.x % groups;
        stats[0] = r;
        if (layer) stats[groups] = mean;
    }
}

// With u = x - mean and d = grad * weight: r (d - mean(d)) - u r^3 mean(d u), the mean of d of a layer norm alone.
// Added to `dx` if `sums` is 1; `rounded` has the nearest bf16, unless it is null. One block a group.
KERNEL norm_backward(const float* RESTRICT grad, const float* RESTRICT x, const float* RESTRICT stats,
                     const float* RESTRICT weight, float* RESTRICT dx, u16* RESTRICT rounded, u32 groups, u32 width,
                     u32 layer, u32 sums) {
    SHARED(float, scratch);
    u64 start = (u64)blockIdx.x * width;
    KeptRow grads = keep_row(grad + start, width), row = keep_row(x + start, width);
    // Read before the sums are known, as all that is waited for.
    KeptRow before = keep_row(dx + start, sums ? width : 0);
    stats += (blockIdx.x / groups) * (u64)groups * (1 + layer) + blockIdx.x % groups;
    float r = stats[0], mean = layer ? stats[groups] : 0.0f;
    float along = 0.0f, level = 0.0f;
    each_four(width, [&](u32 k, u32 i) {
        Four g = four_of(grads, k, i), four = four_of(row, k, i), factor = read_four(weight + i, in_four(i, width));
        UNROLL for (u32 j = 0; j < 4; ++j) {
            // Zero beyond the row, where the factor is.
            float d = g.at[j] * factor.at[j];
            along += d * (four.at[j] - mean);
            level += d;
        }
    });
    along = block_sum(along, scratch) * r * r / (float)width;
    level = layer ? block_sum(level, scratch) / (float)width : 0.0f;
    each_four(width, [&](u32 k, u32 i) {
        u32 n = in_four(i, width);
        Four g = four_of(grads, k, i), four = four_of(row, k, i), factor = read_four(weight + i, n);
        Four sum = four_of(before, k, i);
        UNROLL for (u32 j = 0; j < 4; ++j) {
            float v = r * (g.at[j] * factor.at[j] - level - (four.at[j] - mean) * along);
            sum.at[j] = sums ? sum.at[j] + v : v;
        }
        write_both(dx, rounded, start + i, sum, n);
    });
}

// Adds the gradients of weight and bias of each sample's rows to its vector in `out`, at `offset` and `bias_offset`
// (all ones: nowhere). A block has 32 columns of a sample (blockIdx.y) and sums the groups of its rows in 8 parts.
KERNEL norm_grads(const float* RESTRICT grad, const float* RESTRICT x, const float* RESTRICT stats,
                  const u32* RESTRICT spans, float* RESTRICT out, u64 vector, u64 offset, u64 bias_offset, u32 groups,
                  u32 width, u32 layer) {
    SHARED(float, parts);
    u32 col = blockIdx.x * 32 + (threadIdx.x & 31u), part = threadIdx.x >> 5;
    u32 start = spans[2 * blockIdx.y] * groups, end = spans[2 * blockIdx.y + 1] * groups;
    float sum = 0.0f, bias_sum = 0.0f;
    if (col < width) {
        UNROLL_BY(4)
        for (u32 i = start + part; i < end; i += 8) {
            // Means of a layer norm follow the other statistics of their row.
            u64 stat = layer ? (u64)i + i / groups * groups : i, at = (u64)i * width + col;
            float mean = layer ? stats[stat + groups] : 0.0f, g = grad[at];
            sum += g * ((x[at] - mean) * stats[stat]);
            bias_sum += g;
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
