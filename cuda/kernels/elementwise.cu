// Operations on single elements: sums, copies of rows, activations, rotary positions, precisions. They wait for memory
// alone, so a thread has four values, and none divides an index of 64 bits.

// Values that are next to each other, and read or written at once.
template <class T, int W>
struct alignas(sizeof(T) * W) Neighbours {
    T at[W];
};

typedef Neighbours<float, 4> Four;
typedef Neighbours<u16, 4> RoundedFour;

// How many of the four values from `at` on there are among `count`.
DEVICE u32 in_four(u64 at, u64 count) { return at >= count ? 0u : count - at < 4 ? (u32)(count - at) : 4u; }

// The first `count` of four values, and zeros: in one step where all are there and aligned.
DEVICE Four read_four(const float* x, u32 count) {
    if (count == 4 && ((u64)x & 15u) == 0) return *reinterpret_cast<const Four*>(x);
    Four four = {};
    UNROLL for (u32 i = 0; i < 4; ++i) if (i < count) four.at[i] = x[i];
    return four;
}

DEVICE void write_four(float* y, const Four& four, u32 count) {
    if (count == 4 && ((u64)y & 15u) == 0) {
        *reinterpret_cast<Four*>(y) = four;
        return;
    }
    UNROLL for (u32 i = 0; i < 4; ++i) if (i < count) y[i] = four.at[i];
}

// Writes the nearest bf16.
DEVICE void round_four(u16* y, const Four& four, u32 count) {
    RoundedFour rounded;
    UNROLL for (u32 i = 0; i < 4; ++i) rounded.at[i] = bf16_bits(four.at[i]);
    if (count == 4 && ((u64)y & 7u) == 0) {
        *reinterpret_cast<RoundedFour*>(y) = rounded;
        return;
    }
    UNROLL for (u32 i = 0; i < 4; ++i) if (i < count) y[i] = rounded.at[i];
}

// Four values of a tensor in f32 or, where `wide` is null, in bf16.
DEVICE Four read_either(const float* wide, const u16* narrow, u64 at, u32 count) {
    if (wide) return read_four(wide + at, count);
    Four four = {};
    if (count == 4 && ((u64)(narrow + at) & 7u) == 0) {
        RoundedFour rounded = *reinterpret_cast<const RoundedFour*>(narrow + at);
        UNROLL for (u32 i = 0; i < 4; ++i) four.at[i] = bf16_value(rounded.at[i]);
        return four;
    }
    UNROLL for (u32 i = 0; i < 4; ++i) if (i < count) four.at[i] = bf16_value(narrow[at + i]);
    return four;
}

// Writes four values to those of two places that are not null, to the second in bf16.
DEVICE void write_both(float* wide, u16* narrow, u64 at, const Four& four, u32 count) {
    if (wide) write_four(wide + at, four, count);
    if (narrow) round_four(narrow + at, four, count);
}

KERNEL add(float* RESTRICT acc, const float* RESTRICT x, u64 count) {
    u64 i = 4 * flat_index();
    u32 n = in_four(i, count);
    Four sum = read_four(acc + i, n), four = read_four(x + i, n);
    UNROLL for (u32 j = 0; j < 4; ++j) sum.at[j] += four.at[j];
    write_four(acc + i, sum, n);
}

// The sums of a row and each row of `x`, which are zeros if it is null. One block a row.
KERNEL add_row(const float* RESTRICT x, const float* RESTRICT row, float* RESTRICT y, u32 cols) {
    u64 first = (u64)blockIdx.x * cols;
    for (u32 i = 4 * threadIdx.x; i < cols; i += 4 * BLOCK_THREADS) {
        u32 n = in_four(i, cols);
        Four sum = read_four(row + i, n);
        if (x) {
            Four four = read_four(x + first + i, n);
            UNROLL for (u32 j = 0; j < 4; ++j) sum.at[j] += four.at[j];
        }
        write_four(y + first + i, sum, n);
    }
}

// One block a row of `y`.
KERNEL gather(const float* RESTRICT x, const u32* RESTRICT rows, float* RESTRICT y, u32 cols) {
    u64 from = (u64)rows[blockIdx.x] * cols, to = (u64)blockIdx.x * cols;
    for (u32 i = 4 * threadIdx.x; i < cols; i += 4 * BLOCK_THREADS) {
        u32 n = in_four(i, cols);
        write_four(y + to + i, read_four(x + from + i, n), n);
    }
}

// One block a row of `x`. `rows` are distinct, so no two threads add to one value.
KERNEL scatter_add(float* RESTRICT acc, const u32* RESTRICT rows, const float* RESTRICT x, u32 cols) {
    u64 from = (u64)blockIdx.x * cols, to = (u64)rows[blockIdx.x] * cols;
    for (u32 i = 4 * threadIdx.x; i < cols; i += 4 * BLOCK_THREADS) {
        u32 n = in_four(i, cols);
        Four sum = read_four(acc + to + i, n), four = read_four(x + from + i, n);
        UNROLL for (u32 j = 0; j < 4; ++j) sum.at[j] += four.at[j];
        write_four(acc + to + i, sum, n);
    }
}

KERNEL to_bf16(const float* RESTRICT x, u16* RESTRICT y, u64 count) {
    u64 i = 4 * flat_index();
    u32 n = in_four(i, count);
    round_four(y + i, read_four(x + i, n), n);
}

KERNEL from_bf16(const u16* RESTRICT x, float* RESTRICT y, u64 count) {
    u64 i = 4 * flat_index();
    u32 n = in_four(i, count);
    write_four(y + i, read_either(nullptr, x, i, n), n);
}

// A row in bf16 as each row of `y`. One block a row.
KERNEL repeat_row(const u16* RESTRICT row, u16* RESTRICT y, u32 cols) {
    u64 first = (u64)blockIdx.x * cols;
    for (u32 i = threadIdx.x; i < cols; i += BLOCK_THREADS) y[first + i] = row[i];
}

// Bytes of a matrix, each row with a factor of its own, as the nearest bf16. One block a row.
KERNEL spread_bytes(const signed char* RESTRICT x, const float* RESTRICT scales, u16* RESTRICT y, u32 cols) {
    u64 first = (u64)blockIdx.x * cols;
    float scale = scales[blockIdx.x];
    for (u32 i = threadIdx.x; i < cols; i += BLOCK_THREADS) y[first + i] = bf16_bits((float)x[first + i] * scale);
}

// Turns the pairs (i, i + half) of each head by the angles of its row; `sign` is -1 to turn back. One block a row. The values
// are those of `x` or, if it is null, in bf16.
KERNEL rope(float* RESTRICT x, u16* RESTRICT narrow, const float* RESTRICT cosines, const float* RESTRICT sines, u32 heads,
            u32 dim, u32 half, float sign) {
    u64 row = blockIdx.x;
    for (u32 i = threadIdx.x; i < heads * half; i += BLOCK_THREADS) {
        u32 head = i / half, pair = i % half;
        float c = cosines[row * half + pair], s = sign * sines[row * half + pair];
        u64 at = (row * heads + head) * dim + pair;
        float a = x ? x[at] : bf16_value(narrow[at]), b = x ? x[at + half] : bf16_value(narrow[at + half]);
        float low = a * c - b * s, high = b * c + a * s;
        if (x) {
            x[at] = low;
            x[at + half] = high;
        } else {
            narrow[at] = bf16_bits(low);
            narrow[at + half] = bf16_bits(high);
        }
    }
}

#define SILU 0u
#define GELU 1u
#define GELU_TANH 2u
#define RELU 3u

DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// The share of x that a smooth activation lets through, and its slope.
DEVICE float share(u32 act, float x, float* slope) {
    if (act == GELU) {
        *slope = 0.3989422804f * expf(-0.5f * x * x);
        return 0.5f * erfcf(-0.7071067812f * x);
    }
    // (1 + tanh(u)) / 2 = sigmoid(2 u), which keeps its relative accuracy where the tanh nears -1.
    float twice = act == GELU_TANH ? 1.595769122f : 1.0f;
    float cubic = act == GELU_TANH ? 0.044715f : 0.0f;
    float s = sigmoid(twice * (x + cubic * x * x * x));
    // Where the cube overflows, s (1 - s) is zero and the product must be too.
    *slope = fabsf(x) < 32.0f || act == SILU ? s * (1.0f - s) * (twice * (1.0f + 3.0f * cubic * x * x)) : 0.0f;
    return s;
}

DEVICE float activation(u32 act, float x, float* slope) {
    if (act == RELU) {
        *slope = x > 0.0f ? 1.0f : 0.0f;
        return x < 0.0f ? 0.0f : x;
    }
    float bend;
    float s = share(act, x, &bend);
    *slope = bend == 0.0f ? s : s + x * bend;
    return x * s;
}

// The operands of the kernels below are in f32 or, where that is null, in bf16; results are in those of both that are not null.
KERNEL activate(const float* RESTRICT x, const u16* RESTRICT narrow_x, float* RESTRICT y, u16* RESTRICT narrow_y, u32 act,
                u64 count) {
    u64 i = 4 * flat_index();
    u32 n = in_four(i, count);
    Four four = read_either(x, narrow_x, i, n);
    float slope;
    UNROLL for (u32 j = 0; j < 4; ++j) four.at[j] = activation(act, four.at[j], &slope);
    write_both(y, narrow_y, i, four, n);
}

// The gradient may be written to where it was.
KERNEL activate_backward(const float* grad, const u16* narrow_grad, const float* RESTRICT x, const u16* RESTRICT narrow_x,
                         float* dx, u16* narrow_dx, u32 act, u64 count) {
    u64 i = 4 * flat_index();
    u32 n = in_four(i, count);
    Four product = read_either(grad, narrow_grad, i, n), four = read_either(x, narrow_x, i, n);
    UNROLL for (u32 j = 0; j < 4; ++j) {
        float slope;
        activation(act, four.at[j], &slope);
        product.at[j] *= slope;
    }
    write_both(dx, narrow_dx, i, product, n);
}

KERNEL gated(const float* RESTRICT gate, const u16* RESTRICT narrow_gate, const float* RESTRICT up,
             const u16* RESTRICT narrow_up, float* RESTRICT y, u16* RESTRICT narrow_y, u32 act, u64 count) {
    u64 i = 4 * flat_index();
    u32 n = in_four(i, count);
    Four product = read_either(up, narrow_up, i, n), four = read_either(gate, narrow_gate, i, n);
    float slope;
    UNROLL for (u32 j = 0; j < 4; ++j) product.at[j] *= activation(act, four.at[j], &slope);
    write_both(y, narrow_y, i, product, n);
}

KERNEL gated_backward(const float* RESTRICT grad, const u16* RESTRICT narrow_grad, const float* RESTRICT gate,
                      const u16* RESTRICT narrow_gate, const float* RESTRICT up, const u16* RESTRICT narrow_up,
                      float* RESTRICT dgate, u16* RESTRICT narrow_dgate, float* RESTRICT dup, u16* RESTRICT narrow_dup,
                      u32 act, u64 count) {
    u64 i = 4 * flat_index();
    u32 n = in_four(i, count);
    Four through = read_either(grad, narrow_grad, i, n), four = read_either(gate, narrow_gate, i, n);
    Four other = read_either(up, narrow_up, i, n);
    UNROLL for (u32 j = 0; j < 4; ++j) {
        float slope, g = through.at[j];
        float value = activation(act, four.at[j], &slope);
        four.at[j] = g * other.at[j] * slope;
        other.at[j] = g * value;
    }
    write_both(dgate, narrow_dgate, i, four, n);
    write_both(dup, narrow_dup, i, other, n);
}
