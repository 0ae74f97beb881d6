// Forms of gradients, value by value, and their flat projection by sparse signs, with the bits of the CPU: each value's
// operations are rounded one by one, and sums run in the order of the coordinates, in f32 inside a piece (what a block of
// 65,536 coordinates has of one tensor) and in f64 over pieces.

#define PLAIN 0u
#define ADAM 1u
#define SIGN 2u
#define NORMALISED 3u

// As ingest/src/gradient/forms.rs has them, rounded to f32. `inside`: eps stands inside the root.
struct GradForm {
    u32 kind;
    float m_old, m_new, v_old, v_new, eps;
    u32 inside;
};

// No larger number enters a sum in f32 as it is.
#define LARGE 1.2676506e30f

DEVICE bool is_finite(float x) { return (float_bits(x) & 0x7fffffffu) < 0x7f800000u; }

DEVICE float formed(const GradForm& form, float g, float m, float v) {
    if (form.kind == PLAIN) return g;
    if (form.kind == SIGN) return g > 0.0f ? 1.0f : g < 0.0f ? -1.0f : TIMES(g, 0.0f);
    if (form.kind == NORMALISED) return g / PLUS(sqrtf(v), form.eps);
    m = PLUS(TIMES(form.m_old, m), TIMES(form.m_new, g));
    v = PLUS(TIMES(form.v_old, v), TIMES(TIMES(form.v_new, g), g));
    return form.inside ? m / sqrtf(PLUS(v, form.eps)) : m / PLUS(sqrtf(v), form.eps);
}

// Writes the form of `len` values of each sample (blockIdx.y), which are `vector` apart, without gaps. `marks` has for
// each block 2 if a gradient is not sound, else 1 if a form is too large to be summed in f32.
KERNEL form_gradients(const float* RESTRICT grads, u64 vector, u64 offset, const float* RESTRICT m,
                      const float* RESTRICT v, float* RESTRICT out, u32* RESTRICT marks, GradForm form, u64 len) {
    SHARED(float, scratch);
    float mark = 0.0f;
    u64 i = flat_index();
    if (i < len) {
        float g = grads[blockIdx.y * vector + offset + i];
        float value = formed(form, g, m ? m[i] : 0.0f, v ? v[i] : 0.0f);
        out[blockIdx.y * len + i] = value;
        bool sound = is_finite(form.kind == ADAM ? TIMES(g, g) : g);
        mark = !sound ? 2.0f : fabsf(value) > LARGE || !is_finite(value) ? 1.0f : 0.0f;
    }
    mark = block_max(mark, scratch);
    if (threadIdx.x == 0) marks[blockIdx.y * gridDim.x + blockIdx.x] = (u32)mark;
}

// Pieces of a projection, one after the other: the first coordinate of each among the values that are projected.
struct SignPiece {
    // Where the piece's `dim + 1` starts are, and its first coordinate.
    u64 starts, first;
};

// Adds the values of some pieces, `len` of each sample (blockIdx.y), to the totals of the sample, one row a thread. A
// row's entries are coordinates of the piece, ascending, with the sign in the highest bit.
KERNEL add_signed(const float* RESTRICT values, u64 len, const SignPiece* RESTRICT pieces, u32 count,
                  const u32* RESTRICT starts, const u32* RESTRICT entries, double* RESTRICT totals, u32 dim,
                  u32 totals_step) {
    u32 row = blockIdx.x * BLOCK_THREADS + threadIdx.x;
    if (row >= dim) return;
    values += blockIdx.y * len;
    totals += (u64)blockIdx.y * totals_step + row;
    double total = *totals;
    for (u32 piece = 0; piece < count; ++piece) {
        const u32* of = starts + pieces[piece].starts + row;
        const float* from = values + pieces[piece].first;
        float sum = 0.0f;
        for (u32 e = of[0]; e < of[1]; ++e) {
            u32 entry = entries[e];
            sum += float_of(float_bits(from[entry & 0x7fffffffu]) ^ (entry & 0x80000000u));
        }
        total += (double)sum;
    }
    *totals = total;
}

// Adds up the squares of each row in f64, and writes the row over its norm (or as it is, if `normed` is 0) in f16.
// One block a row. A row of zeros stays one.
KERNEL pack_rows(const float* RESTRICT rows, float* RESTRICT norms, u16* RESTRICT halves, u32 width, u32 normed) {
    SHARED(double, sums);
    const float* row = rows + (u64)blockIdx.x * width;
    double square = 0.0;
    for (u32 i = threadIdx.x; i < width; i += BLOCK_THREADS) square += (double)row[i] * (double)row[i];
    sums[threadIdx.x] = square;
    SYNC();
    for (u32 half = BLOCK_THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
        SYNC();
    }
    double norm = sqrt(sums[0]);
    if (threadIdx.x == 0) norms[blockIdx.x] = (float)norm;
    float factor = normed && norm > 0.0 ? (float)(1.0 / norm) : 1.0f;
    for (u32 i = threadIdx.x; i < width; i += BLOCK_THREADS)
        halves[(u64)blockIdx.x * width + i] = f16_bits(TIMES(row[i], factor));
}
