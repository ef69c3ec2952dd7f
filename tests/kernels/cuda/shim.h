// The CUDA words our kernels use, for a C++ compiler: one thread after the other, block after block. Enough for kernels
// without barriers, which all of ours are.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <ctime>

#define __global__
#define __device__ static
#define __forceinline__ inline

struct dim3_t { unsigned int x; };
static dim3_t threadIdx, blockIdx, blockDim, gridDim;
struct alignas(16) double2 { double x, y; };
struct alignas(16) ulonglong2 { unsigned long long x, y; };
struct alignas(8) uint2 { unsigned int x, y; };
struct alignas(16) uint4 { unsigned int x, y, z, w; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };

static inline long long __double_as_longlong(double value) { long long bits; std::memcpy(&bits, &value, 8); return bits; }
static inline double __longlong_as_double(long long bits) { double value; std::memcpy(&value, &bits, 8); return value; }
static inline int __float_as_int(float value) { int bits; std::memcpy(&bits, &value, 4); return bits; }
static inline float __int_as_float(int bits) { float value; std::memcpy(&value, &bits, 4); return value; }
static inline int __dp4a(int a, int b, int sum) {
    for (int byte = 0; byte < 32; byte += 8) sum += (signed char)(a >> byte) * (signed char)(b >> byte);
    return sum;
}
template <typename T> static inline T __ldca(const T* at) { return *at; }
template <typename T> static inline T __ldcg(const T* at) { return *at; }
typedef unsigned long long word_t;
static inline word_t atomicAdd(word_t* at, word_t more) { word_t old = *at; *at += more; return old; }
static inline word_t atomicMin(word_t* at, word_t other) { word_t old = *at; if (other < old) *at = other; return old; }
static inline word_t atomicOr(word_t* at, word_t bits) { word_t old = *at; *at |= bits; return old; }
static inline long long clock64() { timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000LL + t.tv_nsec; }
// our only assembly asks for the number of the multiprocessor: there are two here, and blocks take turns
#define asm(question) (id = blockIdx.x % 2)
