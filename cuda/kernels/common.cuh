// What all kernels share. They are compiled by nvcc and NVRTC for a device, and by an ordinary C++ compiler for the
// emulator (emulator/emulate.h), so they use what is defined here in place of CUDA's own words.
//
// Invariants
// - no atomics on floats: every sum has a fixed order, which depends on the sizes of an operation alone
// - tensors are row-major, in f32, with roundings to bf16 next to some of them, or in bf16; flat indices are 64-bit
#pragma once

#ifdef GSTORE_EMULATE
#include "../emulator/emulate.h"
#define UNROLL
#define UNROLL_BY(n)
#define TIMES(a, b) ((a) * (b))
#define PLUS(a, b) ((a) + (b))
#define TIMES64(a, b) ((a) * (b))
#define PLUS64(a, b) ((a) + (b))
#define FUSED(a, b, c) fmaf(a, b, c)
#else
#define KERNEL extern "C" __global__ void
// Of at most so many threads a block, and registers for so many blocks at a time.
#define KERNEL_FOR(threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks)
#define DEVICE static __device__ __forceinline__
#define RESTRICT __restrict__
#define BLOCK_THREADS blockDim.x
#define UNROLL _Pragma("unroll")
#define PRAGMA(text) _Pragma(#text)
#define UNROLL_BY(n) PRAGMA(unroll n)
extern __shared__ float4 gstore_shared[];
#define SHARED(type, name) type* name = reinterpret_cast<type*>(gstore_shared)
#define SYNC() __syncthreads()
#define SYNC_WARP() __syncwarp()
#define SHUFFLE_XOR(value, mask) __shfl_xor_sync(0xffffffffu, value, mask)
DEVICE unsigned float_bits(float value) { return __float_as_uint(value); }
DEVICE float float_of(unsigned bits) { return __uint_as_float(bits); }
// A product and a sum that are each rounded, never fused.
#define TIMES(a, b) __fmul_rn(a, b)
#define PLUS(a, b) __fadd_rn(a, b)
#define TIMES64(a, b) __dmul_rn(a, b)
#define PLUS64(a, b) __dadd_rn(a, b)
// A product and a sum that are rounded once.
#define FUSED(a, b, c) __fmaf_rn(a, b, c)
DEVICE float half_value(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
// The value of a bf16.
DEVICE float bf16_value(unsigned short bits) { return float_of((unsigned)bits << 16); }
// f16 nearest to a value, ties to even.
DEVICE unsigned short half_bits(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
// A place in shared memory, in bytes.
typedef unsigned SharedPlace;
DEVICE SharedPlace shared_place(const void* at) { return (SharedPlace)__cvta_generic_to_shared(at); }
// Copies 16 bytes to shared memory while the thread goes on: a part of what COPIES_END ends next.
DEVICE void copy_later(SharedPlace to, const void* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
#define COPIES_END() asm volatile("cp.async.commit_group;" ::: "memory")
// Waits for all that this thread copies but for what the last so many ends ended.
#define COPIES_WAIT(but) asm volatile("cp.async.wait_group %0;" ::"n"(but) : "memory")
// Adds the product of 16 x 16 and 16 x 8 values of half precision, of which threads of a warp have parts, to their parts of
// a sum in f32, as PTX lays out `mma.m16n8k16`.
DEVICE void multiply_halves(float (&sums)[4], unsigned a, unsigned b, unsigned c, unsigned d, unsigned x, unsigned y) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a), "r"(b), "r"(c), "r"(d), "r"(x), "r"(y));
}
#define MULTIPLY_HALVES(sums, a, b, c, d, x, y) multiply_halves(sums, a, b, c, d, x, y)
// The same of bf16.
DEVICE void multiply_bf16(float (&sums)[4], const unsigned (&left)[4], unsigned x, unsigned y) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(x), "r"(y));
}
#define MULTIPLY_BF16(sums, left, x, y) multiply_bf16(sums, left, x, y)
DEVICE void zero_16_bytes(SharedPlace to) {
    asm volatile("st.shared.v4.u32 [%0], {%1, %1, %1, %1};" ::"r"(to), "r"(0) : "memory");
}
// Four matrices of 8 x 8 values of 16 bits in shared memory, as the product above takes them: thread 8 i + j has the
// place of row j of matrix i, and gets of row i / 4 of each matrix the values 2 (i % 4) and the one after it.
DEVICE void load_matrices(unsigned (&to)[4], SharedPlace row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row));
}
#define LOAD_MATRICES(to, row) load_matrices(to, row)
// The same of the transposes of the matrices.
DEVICE void load_transposed(unsigned (&to)[4], SharedPlace row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row));
}
#define LOAD_TRANSPOSED(to, row) load_transposed(to, row)
// 2 to the power of a value, off by 2^-22 of it at most.
DEVICE float power_of_two(float x) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
    return power;
}
// Two values rounded to bf16, the first in the lower half.
DEVICE unsigned bf16_pair(float low, float high) {
    unsigned pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}
#endif

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define INFINITY_F float_of(0x7f800000u)

// The element of a grid of one dimension that a thread computes.
DEVICE u64 flat_index() { return (u64)blockIdx.x * BLOCK_THREADS + threadIdx.x; }

DEVICE float warp_sum(float value) {
    for (u32 mask = 16; mask > 0; mask >>= 1) value += SHUFFLE_XOR(value, mask);
    return value;
}

DEVICE float warp_max(float value) {
    for (u32 mask = 16; mask > 0; mask >>= 1) value = fmaxf(value, SHUFFLE_XOR(value, mask));
    return value;
}

// The sum over all threads of a block of whole warps, for each of them. `scratch` has 32 values.
DEVICE float block_sum(float value, float* scratch) {
    value = warp_sum(value);
    if (BLOCK_THREADS == 32) return value;
    u32 lane = threadIdx.x & 31u;
    if (lane == 0) scratch[threadIdx.x >> 5] = value;
    SYNC();
    value = lane < BLOCK_THREADS >> 5 ? scratch[lane] : 0.0f;
    SYNC();
    return warp_sum(value);
}

DEVICE float block_max(float value, float* scratch) {
    value = warp_max(value);
    if (BLOCK_THREADS == 32) return value;
    u32 lane = threadIdx.x & 31u;
    if (lane == 0) scratch[threadIdx.x >> 5] = value;
    SYNC();
    value = lane < BLOCK_THREADS >> 5 ? scratch[lane] : -INFINITY_F;
    SYNC();
    return warp_max(value);
}

// The output of SplitMix64 in a state (core/src/mix.rs).
DEVICE u64 mix(u64 state) {
    u64 z = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

// The number of SplitMix64, seeded with 0, at a counter (model/src/backend/dropout.rs).
DEVICE u64 mixed(u64 counter) { return mix((counter + 1) * 0x9e3779b97f4a7c15ull); }

// bf16 nearest to a value, ties to even; a NaN stays one.
DEVICE u16 bf16_bits(float value) {
    u32 bits = float_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (u16)((bits >> 16) | 0x40u);
    return (u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

#ifdef GSTORE_EMULATE
DEVICE u32 bf16_pair(float low, float high) { return bf16_bits(low) | (u32)bf16_bits(high) << 16; }
#endif
