// What the kernels need of CUDA, for an ordinary C++ compiler: the blocks of a grid run one after the other, the
// threads of a block as fibers of the calling thread that switch at barriers and shuffles.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#define KERNEL static void
#define KERNEL_FOR(threads, blocks) static void
#define DEVICE static inline
#define RESTRICT __restrict__

struct Index3 {
    unsigned x, y, z;
};

struct alignas(8) float2 {
    float x, y;
};

struct alignas(16) float4 {
    float x, y, z, w;
};

struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

namespace emulator {

// The thread that runs, and its block and grid.
struct Place {
    Index3 thread, block, blocks;
    unsigned threads;
};

Place& place();
void* shared_memory();
// Waits for the other threads of the block, all of which have to wait at the same line.
void block_barrier(int line);
// What a thread hands to the others of its warp at a time.
struct Words {
    uint64_t of[3];
};

// Hands words to the threads of the warp, and returns those of all 32 threads, which all have to ask. They are valid until
// the next call.
const Words* share(const Words& own, int line);
// Hands `value` to the threads of the warp, and returns that of `lane`, which all 32 threads have to ask.
uint64_t exchange(uint64_t value, unsigned lane, int line);

template <class T>
T exchanged(T value, unsigned lane, int line) {
    static_assert(sizeof(T) <= sizeof(uint64_t), "values of a shuffle are words");
    uint64_t word = 0;
    std::memcpy(&word, &value, sizeof(T));
    word = exchange(word, lane, line);
    std::memcpy(&value, &word, sizeof(T));
    return value;
}

}  // namespace emulator

#define threadIdx (emulator::place().thread)
#define blockIdx (emulator::place().block)
#define gridDim (emulator::place().blocks)
#define BLOCK_THREADS (emulator::place().threads)
#define SHARED(type, name) type* name = static_cast<type*>(emulator::shared_memory())
#define SYNC() emulator::block_barrier(__LINE__)
#define SYNC_WARP() emulator::exchange(0, 0, __LINE__)
#define SHUFFLE_XOR(value, mask) emulator::exchanged(value, (threadIdx.x & 31u) ^ (mask), __LINE__)

DEVICE uint32_t float_bits(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    return bits;
}

DEVICE float float_of(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
}

// The value of 16 bits of half precision, which f32 has exactly.
DEVICE float half_value(uint16_t bits) {
    uint32_t sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31u, fraction = bits & 0x3ffu;
    if (exponent == 0) return float_of(sign | float_bits(static_cast<float>(fraction) * 5.9604644775390625e-8f));
    return float_of(sign | (exponent == 31 ? 255u : exponent + 112u) << 23 | fraction << 13);
}

// f16 nearest to a value, ties to even.
DEVICE uint16_t half_bits(float value) {
    uint32_t bits = float_bits(value), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
    if (size > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
    if (size >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
    // Multiples of 2^-24 below the least normal number; rounding may reach it.
    if (size < 0x38800000u) return static_cast<uint16_t>(sign | static_cast<uint32_t>(std::nearbyint(float_of(size) * 16777216.0f)));
    return static_cast<uint16_t>(sign | (size + 0xfffu + (size >> 13 & 1u) - 0x38000000u) >> 13);
}

#define COPIES_END()
#define COPIES_WAIT(but) static_cast<void>(but)

// A thread has of rows i and i + 8 of the left factor the columns 2j and 2j + 8 with those that follow, of column i of the
// right one the same rows, and of rows i and i + 8 of the sum columns 2j and 2j + 1: i is its number by 4, j the rest.
template <float (*VALUE)(uint16_t)>
DEVICE void multiply_tiles(float (&sums)[4], const unsigned (&left)[4], unsigned x, unsigned y, int line) {
    unsigned lane = threadIdx.x & 31u, row = lane / 4, column = lane % 4 * 2;
    auto both = [](unsigned low, unsigned high) { return low | static_cast<uint64_t>(high) << 32; };
    const emulator::Words* all =
        emulator::share({{both(left[0], left[2]), both(left[1], left[3]), both(x, y)}}, line);
    for (unsigned j = 0; j < 4; ++j) {
        const uint64_t* rows = all[row * 4 + j].of;
        uint64_t columns[2] = {all[column * 4 + j].of[2], all[column * 4 + 4 + j].of[2]};
        for (unsigned term = 0; term < 64; term += 16)
            for (unsigned i = 0; i < 4; ++i)
                sums[i] += VALUE(static_cast<uint16_t>(rows[i / 2] >> term)) *
                           VALUE(static_cast<uint16_t>(columns[i % 2] >> term));
    }
}

DEVICE void multiply_halves(float (&sums)[4], unsigned a, unsigned b, unsigned c, unsigned d, unsigned x, unsigned y,
                            int line) {
    multiply_tiles<half_value>(sums, {a, b, c, d}, x, y, line);
}

#define MULTIPLY_HALVES(sums, a, b, c, d, x, y) multiply_halves(sums, a, b, c, d, x, y, __LINE__)

DEVICE float bf16_value(uint16_t bits) { return float_of(static_cast<uint32_t>(bits) << 16); }

DEVICE void multiply_bf16(float (&sums)[4], const unsigned (&left)[4], unsigned x, unsigned y, int line) {
    multiply_tiles<bf16_value>(sums, left, x, y, line);
}

#define MULTIPLY_BF16(sums, left, x, y) multiply_bf16(sums, left, x, y, __LINE__)

using SharedPlace = uintptr_t;

DEVICE SharedPlace shared_place(const void* at) { return reinterpret_cast<uintptr_t>(at); }
DEVICE void copy_later(SharedPlace to, const void* from) { std::memcpy(reinterpret_cast<void*>(to), from, 16); }
DEVICE void zero_16_bytes(SharedPlace to) { std::memset(reinterpret_cast<void*>(to), 0, 16); }

// Two values of a matrix: `at` in one row and `at + step` in the next or the same; `rows` has the places of rows.
DEVICE unsigned matrix_pair(const emulator::Words* rows, unsigned row, unsigned next, unsigned at, unsigned step) {
    auto values = [&](unsigned of) { return reinterpret_cast<const uint16_t*>(static_cast<uintptr_t>(rows[of].of[0])); };
    return values(row)[at] | static_cast<unsigned>(values(next)[at + step]) << 16;
}

DEVICE void load_matrices(unsigned (&to)[4], SharedPlace own, int line) {
    unsigned lane = threadIdx.x & 31u;
    const emulator::Words* rows = emulator::share({{own, 0, 0}}, line);
    for (unsigned i = 0; i < 4; ++i)
        to[i] = matrix_pair(rows, 8 * i + lane / 4, 8 * i + lane / 4, lane % 4 * 2, 1);
}

DEVICE void load_transposed(unsigned (&to)[4], SharedPlace own, int line) {
    unsigned lane = threadIdx.x & 31u, row = lane % 4 * 2;
    const emulator::Words* rows = emulator::share({{own, 0, 0}}, line);
    for (unsigned i = 0; i < 4; ++i) to[i] = matrix_pair(rows, 8 * i + row, 8 * i + row + 1, lane / 4, 0);
}

#define LOAD_MATRICES(to, row) load_matrices(to, row, __LINE__)
#define LOAD_TRANSPOSED(to, row) load_transposed(to, row, __LINE__)

DEVICE float power_of_two(float x) { return exp2f(x); }
