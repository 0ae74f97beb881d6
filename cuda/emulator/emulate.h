// What the kernels need of CUDA, for an ordinary C++ compiler: the blocks of a grid run one after the other, the
// threads of a block as fibers of the calling thread that switch at barriers and shuffles.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#define KERNEL static void
#define DEVICE static inline
#define RESTRICT __restrict__

struct Index3 {
    unsigned x, y, z;
};

struct alignas(16) float4 {
    float x, y, z, w;
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
