// Operations on single elements: sums, copies of rows, activations, rotary positions, precisions.

KERNEL add(float* RESTRICT acc, const float* RESTRICT x, u64 count) {
    u64 i = flat_index();
    if (i < count) acc[i] += x[i];
}

// Adds a row to every row.
KERNEL add_row(float* RESTRICT y, const float* RESTRICT row, u32 cols, u64 count) {
    u64 i = flat_index();
    if (i < count) y[i] += row[i % cols];
}

KERNEL gather(const float* RESTRICT x, const u32* RESTRICT rows, float* RESTRICT y, u32 cols, u64 count) {
    u64 i = flat_index();
    if (i < count) y[i] = x[(u64)rows[i / cols] * cols + i % cols];
}

// `rows` are distinct, so no two threads add to one value.
KERNEL scatter_add(float* RESTRICT acc, const u32* RESTRICT rows, const float* RESTRICT x, u32 cols, u64 count) {
    u64 i = flat_index();
    if (i < count) acc[(u64)rows[i / cols] * cols + i % cols] += x[i];
}

KERNEL to_bf16(const float* RESTRICT x, u16* RESTRICT y, u64 count) {
    u64 i = flat_index();
    if (i < count) y[i] = bf16_bits(x[i]);
}

// Bytes of a matrix, each row with a factor of its own, as the nearest bf16.
KERNEL spread_bytes(const signed char* RESTRICT x, const float* RESTRICT scales, u16* RESTRICT y, u32 cols, u64 count) {
    u64 i = flat_index();
    if (i < count) y[i] = bf16_bits((float)x[i] * scales[i / cols]);
}

// Turns the pairs (i, i + half) of each head by the angles of its row; `sign` is -1 to turn back. One thread a pair.
KERNEL rope(float* RESTRICT x, const float* RESTRICT cosines, const float* RESTRICT sines, u32 heads, u32 dim, u32 half,
            float sign, u64 count) {
    u64 i = flat_index();
    if (i >= count) return;
    u32 pair = (u32)(i % half);
    u64 head = i / half;
    u64 row = head / heads;
    float c = cosines[row * half + pair], s = sign * sines[row * half + pair];
    float* low = x + head * dim + pair;
    float a = low[0], b = low[half];
    low[0] = a * c - b * s;
    low[half] = b * c + a * s;
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

KERNEL activate(const float* RESTRICT x, float* RESTRICT y, u32 act, u64 count) {
    u64 i = flat_index();
    float slope;
    if (i < count) y[i] = activation(act, x[i], &slope);
}

KERNEL activate_backward(float* RESTRICT grad, const float* RESTRICT x, u32 act, u64 count) {
    u64 i = flat_index();
    if (i >= count) return;
    float slope;
    activation(act, x[i], &slope);
    grad[i] *= slope;
}

KERNEL gated(const float* RESTRICT gate, const float* RESTRICT up, float* RESTRICT y, u32 act, u64 count) {
    u64 i = flat_index();
    float slope;
    if (i < count) y[i] = activation(act, gate[i], &slope) * up[i];
}

KERNEL gated_backward(const float* RESTRICT grad, const float* RESTRICT gate, const float* RESTRICT up,
                      float* RESTRICT dgate, float* RESTRICT dup, u32 act, u64 count) {
    u64 i = flat_index();
    if (i >= count) return;
    float slope;
    float value = activation(act, gate[i], &slope);
    dgate[i] = grad[i] * up[i] * slope;
    dup[i] = grad[i] * value;
}
