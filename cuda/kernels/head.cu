// Losses of rows of logits, and the gradients of the logits in their place. One block a row. A cap of 0 is none.
//
// Without `weights` only losses are computed, and the logits stay.

// A logit as the softmax takes it.
DEVICE float capped(float z, float cap) { return cap > 0.0f ? cap * tanhf(z / cap) : z; }

DEVICE float cap_slope(float z, float cap) {
    if (cap <= 0.0f) return 1.0f;
    float bent = tanhf(z / cap);
    return 1.0f - bent * bent;
}

// The largest capped logit of a row but for that of `skip`, and the sum of the powers of the others less it.
DEVICE float row_max(const float* z, u32 vocab, u32 skip, float cap, float* scratch) {
    float largest = -INFINITY_F;
    for (u32 i = threadIdx.x; i < vocab; i += BLOCK_THREADS)
        if (i != skip) largest = fmaxf(largest, z[i]);
    // A cap keeps the order.
    return capped(block_max(largest, scratch), cap);
}

DEVICE float row_total(const float* z, u32 vocab, u32 skip, float cap, float largest, float* scratch) {
    float total = 0.0f;
    for (u32 i = threadIdx.x; i < vocab; i += BLOCK_THREADS)
        if (i != skip) total += expf(capped(z[i], cap) - largest);
    return block_sum(total, scratch);
}

#define NO_TOKEN 0xffffffffu

KERNEL head_entropy(const float* RESTRICT z, float* RESTRICT entropies, u32 vocab, float cap) {
    SHARED(float, scratch);
    z += (u64)blockIdx.x * vocab;
    float largest = row_max(z, vocab, NO_TOKEN, cap, scratch);
    float total = row_total(z, vocab, NO_TOKEN, cap, largest, scratch);
    float mean = 0.0f;
    for (u32 i = threadIdx.x; i < vocab; i += BLOCK_THREADS) {
        float below = capped(z[i], cap) - largest;
        mean += expf(below) * below;
    }
    mean = block_sum(mean, scratch);
    if (threadIdx.x == 0) entropies[blockIdx.x] = logf(total) - mean / total;
}

// The least number, which a largest one begins with: -infinity less it is no NaN.
#define LEAST_F float_of(0xff7fffffu)

// One pass for the loss, in which a thread's sum follows its largest logit, and one for the gradient. Neighbours are read
// by one thread.
template <int W>
DEVICE void cross_entropy(float* RESTRICT z, u16* RESTRICT rounded, u32 target, const float* RESTRICT weights,
                          float* RESTRICT losses, u32 vocab, float cap, float smoothing, float* scratch) {
    float largest = LEAST_F, total = 0.0f;
    for (u32 i = W * threadIdx.x; i < vocab; i += W * BLOCK_THREADS) {
        Neighbours<float, W> x = *reinterpret_cast<const Neighbours<float, W>*>(z + i);
        float before = largest;
        UNROLL for (int j = 0; j < W; ++j) {
            x.at[j] = capped(x.at[j], cap);
            largest = fmaxf(largest, x.at[j]);
        }
        if (largest > before) total *= expf(before - largest);
        UNROLL for (int j = 0; j < W; ++j) total += expf(x.at[j] - largest);
    }
    float own = largest;
    largest = block_max(own, scratch);
    total = block_sum(total * expf(own - largest), scratch);
    float uniform = smoothing / (float)vocab, mean = 0.0f;
    if (smoothing != 0.0f) {
        for (u32 i = threadIdx.x; i < vocab; i += BLOCK_THREADS) mean += capped(z[i], cap) - largest;
        mean = uniform * block_sum(mean, scratch);
    }
    if (threadIdx.x == 0)
        losses[blockIdx.x] = logf(total) - (1.0f - smoothing) * (capped(z[target], cap) - largest) - mean;
    if (!weights) return;
    // The target's logit has been read.
    SYNC();
    float weight = weights[blockIdx.x];
    for (u32 i = W * threadIdx.x; i < vocab; i += W * BLOCK_THREADS) {
        Neighbours<float, W>* place = reinterpret_cast<Neighbours<float, W>*>(z + i);
        Neighbours<float, W> x = *place;
        Neighbours<u16, W> halves;
        UNROLL for (int j = 0; j < W; ++j) {
            float wanted = i + j == target ? uniform + (1.0f - smoothing) : uniform;
            float slope = cap_slope(x.at[j], cap);
            x.at[j] = weight * (expf(capped(x.at[j], cap) - largest) / total - wanted) * slope;
            halves.at[j] = bf16_bits(x.at[j]);
        }
        *place = x;
        if (rounded) *reinterpret_cast<Neighbours<u16, W>*>(rounded + i) = halves;
    }
}

// `rounded`, unless it is null, gets the gradient rounded to bf16.
KERNEL_FOR(1024, 2)
head_cross_entropy(float* RESTRICT z, u16* RESTRICT rounded, const u32* RESTRICT targets, const float* RESTRICT weights,
                   float* RESTRICT losses, u32 vocab, float cap, float smoothing) {
    SHARED(float, scratch);
    u64 row = (u64)blockIdx.x * vocab;
    u16* halves = rounded ? rounded + row : rounded;
    u32 target = targets[blockIdx.x];
    // The rows of other vocabularies do not all begin at a multiple of 16 bytes.
    if (vocab % 4u == 0)
        cross_entropy<4>(z + row, halves, target, weights, losses, vocab, cap, smoothing, scratch);
    else
        cross_entropy<1>(z + row, halves, target, weights, losses, vocab, cap, smoothing, scratch);
}

// Minus the margin of the target's logit over the log-sum of all others: not by way of p, as near 1 nothing would be
// left of 1 - p.
KERNEL head_margin(float* RESTRICT z, const u32* RESTRICT targets, const float* RESTRICT weights,
                   float* RESTRICT losses, u32 vocab, float cap) {
    SHARED(float, scratch);
    z += (u64)blockIdx.x * vocab;
    u32 target = targets[blockIdx.x];
    float largest = row_max(z, vocab, target, cap, scratch);
    float total = row_total(z, vocab, target, cap, largest, scratch);
    if (threadIdx.x == 0) losses[blockIdx.x] = (largest + logf(total)) - capped(z[target], cap);
    if (!weights) return;
    SYNC();
    float weight = weights[blockIdx.x];
    for (u32 i = threadIdx.x; i < vocab; i += BLOCK_THREADS) {
        float share = i == target ? -1.0f : expf(capped(z[i], cap) - largest) / total;
        z[i] = weight * share * cap_slope(z[i], cap);
    }
}

// KL(p || q) of the rows of `z` and of `other`, which both are capped.
KERNEL head_divergence(float* RESTRICT z, const float* RESTRICT other, const float* RESTRICT weights,
                       float* RESTRICT losses, u32 vocab, float cap) {
    SHARED(float, scratch);
    z += (u64)blockIdx.x * vocab;
    other += (u64)blockIdx.x * vocab;
    float largest = row_max(z, vocab, NO_TOKEN, cap, scratch);
    float total = row_total(z, vocab, NO_TOKEN, cap, largest, scratch);
    float log_sum = largest + logf(total);
    float other_largest = row_max(other, vocab, NO_TOKEN, cap, scratch);
    float other_log_sum =
        other_largest + logf(row_total(other, vocab, NO_TOKEN, cap, other_largest, scratch));
    float loss = 0.0f;
    for (u32 i = threadIdx.x; i < vocab; i += BLOCK_THREADS) {
        float of = capped(z[i], cap);
        loss += expf(of - largest) * ((of - log_sum) - (capped(other[i], cap) - other_log_sum));
    }
    loss = block_sum(loss, scratch) / total;
    if (threadIdx.x == 0) losses[blockIdx.x] = loss;
    if (!weights) return;
    float weight = weights[blockIdx.x];
    for (u32 i = threadIdx.x; i < vocab; i += BLOCK_THREADS) {
        float of = capped(z[i], cap);
        float ratio = (of - log_sum) - (capped(other[i], cap) - other_log_sum);
        z[i] = weight * (expf(of - largest) / total) * (ratio - loss) * cap_slope(z[i], cap);
    }
}

// change * (L(z) - L(z0)) - linear * <z - z0, dL(z0) / dz0>; `from` are logits as the softmax takes them. `factors` has
// change and linear of each row.
KERNEL head_perturbed(float* RESTRICT z, const float* RESTRICT from, const u32* RESTRICT targets,
                      const float* RESTRICT factors, const float* RESTRICT weights, float* RESTRICT losses, u32 vocab,
                      float cap) {
    SHARED(float, scratch);
    z += (u64)blockIdx.x * vocab;
    from += (u64)blockIdx.x * vocab;
    u32 target = targets[blockIdx.x];
    float change = factors[2 * blockIdx.x], linear = factors[2 * blockIdx.x + 1];
    float largest = row_max(z, vocab, NO_TOKEN, cap, scratch);
    float total = row_total(z, vocab, NO_TOKEN, cap, largest, scratch);
    float from_largest = row_max(from, vocab, NO_TOKEN, 0.0f, scratch);
    float from_total = row_total(from, vocab, NO_TOKEN, 0.0f, from_largest, scratch);
    float moved = 0.0f;
    for (u32 i = threadIdx.x; i < vocab; i += BLOCK_THREADS) {
        float slope = expf(from[i] - from_largest) / from_total - (i == target ? 1.0f : 0.0f);
        moved += (capped(z[i], cap) - from[i]) * slope;
    }
    moved = block_sum(moved, scratch);
    if (threadIdx.x == 0) {
        float before = (from[target] - from_largest) - logf(from_total);
        float now = (capped(z[target], cap) - largest) - logf(total);
        losses[blockIdx.x] = change * (before - now) - linear * moved;
    }
    if (!weights) return;
    SYNC();
    float weight = weights[blockIdx.x];
    for (u32 i = threadIdx.x; i < vocab; i += BLOCK_THREADS) {
        float wanted = i == target ? 1.0f : 0.0f;
        float slope = expf(from[i] - from_largest) / from_total - wanted;
        float of = expf(capped(z[i], cap) - largest) / total - wanted;
        z[i] = weight * (change * of - linear * slope) * cap_slope(z[i], cap);
    }
}

// Half the curvature of the cross-entropy along `tangent`, the tangent of the logits before a cap, and its gradient.
KERNEL head_gauss_newton(float* RESTRICT z, const float* RESTRICT tangent, const float* RESTRICT weights,
                         float* RESTRICT losses, u32 vocab, float cap) {
    SHARED(float, scratch);
    z += (u64)blockIdx.x * vocab;
    tangent += (u64)blockIdx.x * vocab;
    float largest = row_max(z, vocab, NO_TOKEN, cap, scratch);
    float total = row_total(z, vocab, NO_TOKEN, cap, largest, scratch);
    float mean = 0.0f;
    for (u32 i = threadIdx.x; i < vocab; i += BLOCK_THREADS)
        mean += expf(capped(z[i], cap) - largest) * tangent[i] * cap_slope(z[i], cap);
    mean = block_sum(mean, scratch) / total;
    float loss = 0.0f;
    for (u32 i = threadIdx.x; i < vocab; i += BLOCK_THREADS) {
        float centred = tangent[i] * cap_slope(z[i], cap) - mean;
        loss += expf(capped(z[i], cap) - largest) * centred * centred;
    }
    loss = block_sum(loss, scratch) / total;
    if (threadIdx.x == 0) losses[blockIdx.x] = 0.5f * loss;
    if (!weights) return;
    float weight = weights[blockIdx.x];
    for (u32 i = threadIdx.x; i < vocab; i += BLOCK_THREADS) {
        float slope = cap_slope(z[i], cap);
        z[i] = weight * (expf(capped(z[i], cap) - largest) / total) * (tangent[i] * slope - mean) * slope;
    }
}
