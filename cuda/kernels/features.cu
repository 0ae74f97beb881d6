// Forms of gradients, value by value, and their projections, with the bits of the CPU: each operation is rounded by itself,
// and sums run in the order of the coordinates. A flat projection sums in f32 inside a piece (what a block of 65,536
// coordinates has of one tensor) and in f64 over pieces; that of a module sums in f64 and rounds once.
//
// A sample's vectors of all forms lie one after the other; `step` is what lies between two samples' vectors of a form.

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

// A piece with a number that is larger is scaled down by 2^-64 before it is summed in f32, and its sum up again.
#define LARGE 1.2676506e30f
#define DOWN 5.421010862427522e-20f
#define UP 18446744073709551616.0

// Coordinates of a block of the whole gradient, and of what one block of threads forms.
#define BLOCK_VALUES 65536u
#define FORM_VALUES 256u

DEVICE bool is_finite(float x) { return (float_bits(x) & 0x7fffffffu) < 0x7f800000u; }

DEVICE float formed(const GradForm& form, float g, float m, float v) {
    if (form.kind == PLAIN) return g;
    if (form.kind == SIGN) return g > 0.0f ? 1.0f : g < 0.0f ? -1.0f : TIMES(g, 0.0f);
    if (form.kind == NORMALISED) return g / PLUS(sqrtf(v), form.eps);
    m = PLUS(TIMES(form.m_old, m), TIMES(form.m_new, g));
    v = PLUS(TIMES(form.v_old, v), TIMES(TIMES(form.v_new, g), g));
    return form.inside ? m / sqrtf(PLUS(v, form.eps)) : m / PLUS(sqrtf(v), form.eps);
}

// Writes the form of `len` values of each sample (blockIdx.y), which are `vector` apart, without gaps, unless `out` is null.
// The values are those from coordinate `start` of the whole gradient on, for which `m` and `v` have a value each. Where
// `order` is not null, row i of `width` values is found in row `order[i]`.
//
// A block has FORM_VALUES coordinates of the whole gradient, so none has values of two pieces. Its mark has bit 0 if a form
// is too large to be summed in f32, and bit 1 if a gradient is not sound.
KERNEL form_gradients(const float* RESTRICT grads, u64 vector, u64 offset, const u32* RESTRICT order, u32 width,
                      const float* RESTRICT m, const float* RESTRICT v, float* RESTRICT out, u32* RESTRICT marks,
                      GradForm form, u64 start, u64 len) {
    SHARED(float, scratch);
    float large = 0.0f, broken = 0.0f;
    u64 at = flat_index(), before = start % FORM_VALUES;
    if (at >= before && at - before < len) {
        u64 i = at - before;
        u64 from = order ? (u64)order[i / width] * width + i % width : i;
        float g = grads[blockIdx.y * vector + offset + from];
        float value = formed(form, g, m ? m[start + i] : 0.0f, v ? v[start + i] : 0.0f);
        if (out) out[blockIdx.y * len + i] = value;
        large = fabsf(value) > LARGE ? 1.0f : 0.0f;
        broken = is_finite(form.kind == ADAM ? TIMES(g, g) : g) ? 0.0f : 1.0f;
    }
    large = block_max(large, scratch);
    broken = block_max(broken, scratch);
    if (threadIdx.x == 0) marks[blockIdx.y * gridDim.x + blockIdx.x] = (u32)large | (u32)broken << 1;
}

// Says of each piece (blockIdx.x) of each sample (blockIdx.y) whether it has a form that is too large, by the marks of
// `blocks` blocks that begin with coordinate `start`; `sound` of a sample becomes 0 where a gradient is not.
KERNEL fold_marks(const u32* RESTRICT marks, u32 blocks, u64 start, u32* RESTRICT large, u32* RESTRICT sound, u64 step) {
    SHARED(float, scratch);
    u64 block = (start / BLOCK_VALUES + blockIdx.x) * (BLOCK_VALUES / FORM_VALUES) + threadIdx.x;
    u64 first = start / FORM_VALUES;
    bool there = block >= first && block - first < blocks;
    u32 mark = there ? marks[(u64)blockIdx.y * blocks + (block - first)] : 0u;
    float any_large = block_max((float)(mark & 1u), scratch);
    float any_broken = block_max((float)(mark >> 1), scratch);
    if (threadIdx.x > 0) return;
    large[(u64)blockIdx.y * gridDim.x + blockIdx.x] = (u32)any_large;
    // Pieces of a sample write the same value.
    if (any_broken > 0.0f) sound[blockIdx.y * step] = 0u;
}

// Pieces of a projection, one after the other: the first coordinate of each among the values that are projected.
struct SignPiece {
    // Where the piece's `dim + 1` starts are, and its first coordinate.
    u64 starts, first;
};

// Adds the values of some pieces, `vector` apart for the samples (blockIdx.y), to the totals of the sample, one row a
// thread. A row's entries are coordinates of the piece, ascending, with the sign in the highest bit. `large` says of each
// piece of each sample whether it is scaled down.
KERNEL add_signed(const float* RESTRICT values, u64 vector, const SignPiece* RESTRICT pieces, u32 count,
                  const u32* RESTRICT starts, const u32* RESTRICT entries, const u32* RESTRICT large,
                  double* RESTRICT totals, u64 step, u32 dim) {
    u32 row = blockIdx.x * BLOCK_THREADS + threadIdx.x;
    if (row >= dim) return;
    values += blockIdx.y * vector;
    totals += blockIdx.y * step + row;
    double total = *totals;
    for (u32 piece = 0; piece < count; ++piece) {
        const u32* of = starts + pieces[piece].starts + row;
        const float* from = values + pieces[piece].first;
        bool scaled = large[(u64)blockIdx.y * count + piece] > 0u;
        float sum = 0.0f;
        for (u32 e = of[0]; e < of[1]; ++e) {
            u32 entry = entries[e];
            float value = from[entry & 0x7fffffffu];
            if (scaled) value = TIMES(value, DOWN);
            sum += float_of(float_bits(value) ^ (entry & 0x80000000u));
        }
        total = PLUS64(total, scaled ? TIMES64((double)sum, UP) : (double)sum);
    }
    *totals = total;
}

// Rows of a matrix (blockIdx.y) by a gradient of each sample (blockIdx.z): row r of `folded` is the sum over its entries
// `starts[r]..starts[r + 1]` of a factor times a row of `weight`. Of a module with a bias, which is then not null, the
// bias is one more column after the `width` of the weight. One thread a column.
KERNEL fold_rows(const float* RESTRICT weight, u64 weight_vector, const float* RESTRICT bias, u64 bias_vector,
                 const u32* RESTRICT starts, const u32* RESTRICT sources, const float* RESTRICT factors,
                 double* RESTRICT folded, u32 width) {
    u32 columns = bias ? width + 1 : width;
    u32 column = blockIdx.x * BLOCK_THREADS + threadIdx.x;
    if (column >= columns) return;
    bool is_bias = column == width;
    const float* from = is_bias ? bias + blockIdx.z * bias_vector : weight + blockIdx.z * weight_vector + column;
    u64 row_step = is_bias ? 1 : width;
    double sum = 0.0;
    for (u32 e = starts[blockIdx.y]; e < starts[blockIdx.y + 1]; ++e)
        sum = PLUS64(sum, TIMES64((double)factors[e], (double)from[sources[e] * row_step]));
    folded[((u64)blockIdx.z * gridDim.y + blockIdx.y) * columns + column] = sum;
}

// The other side: cell c of a row of `folded` (blockIdx.y, of a sample blockIdx.z) is the sum over the entries of c of a
// factor times a column, and what `constants`, if they are not null, make of the bias. `lanes` threads a cell have
// interleaved sums of as many whole groups as there are, which are added in order, and then what is left.
KERNEL fold_columns(const double* RESTRICT folded, const u32* RESTRICT starts, const u32* RESTRICT sources,
                    const float* RESTRICT factors, const float* RESTRICT constants, double* RESTRICT cells, u32 width,
                    u32 count, u32 lanes) {
    SHARED(double, sums);
    u32 lane = threadIdx.x % lanes, cell = (blockIdx.x * BLOCK_THREADS + threadIdx.x) / lanes;
    u64 row = (u64)blockIdx.z * gridDim.y + blockIdx.y;
    folded += row * (constants ? width + 1 : width);
    u32 first = cell < count ? starts[cell] : 0u, end = cell < count ? starts[cell + 1] : 0u;
    u32 whole = first + (end - first) / lanes * lanes;
    double sum = 0.0;
    for (u32 e = first + lane; e < whole; e += lanes)
        sum = PLUS64(sum, TIMES64((double)factors[e], folded[sources[e]]));
    sums[threadIdx.x] = sum;
    SYNC();
    if (lane > 0 || cell >= count) return;
    for (u32 i = 1; i < lanes; ++i) sum = PLUS64(sum, sums[threadIdx.x + i]);
    double rest = 0.0;
    for (u32 e = whole; e < end; ++e) rest = PLUS64(rest, TIMES64((double)factors[e], folded[sources[e]]));
    sum = PLUS64(sum, rest);
    if (constants) sum = PLUS64(sum, TIMES64((double)constants[cell], folded[width]));
    cells[row * count + cell] = sum;
}

// Coordinates of a module in the vector of each sample (blockIdx.y): the values with a row's signs added in order and
// rounded once, or, if `starts` is null, the values. They are `cells` if that is not null, else `values`; those of two
// samples are `vector` apart.
KERNEL sum_signed(const float* RESTRICT values, const double* RESTRICT cells, u64 vector, const u32* RESTRICT starts,
                  const u32* RESTRICT entries, float* RESTRICT out, u64 step, u32 dim) {
    u32 row = blockIdx.x * BLOCK_THREADS + threadIdx.x;
    if (row >= dim) return;
    u64 from = blockIdx.y * vector;
    out += blockIdx.y * step + row;
    if (!starts) {
        *out = cells ? (float)cells[from + row] : values[from + row];
        return;
    }
    double sum = 0.0;
    for (u32 e = starts[row]; e < starts[row + 1]; ++e) {
        u64 at = from + (entries[e] & 0x7fffffffu);
        double value = cells ? cells[at] : (double)values[at];
        sum = PLUS64(sum, entries[e] >> 31 ? -value : value);
    }
    *out = (float)sum;
}
