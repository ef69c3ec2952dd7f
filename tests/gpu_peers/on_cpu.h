// CUDA's runtime for one thread of a CPU: memory is the host's, a launch runs its whole grid and returns, an event is a
// moment. Enough for the programs of tests/gpu/peers, so that their arithmetic, checks and output are tested without a GPU.
#pragma once
#include "../kernels/cuda/shim.h"
#include <chrono>
#include <cstdlib>

#define LAUNCH(kernel, grid, block, stream, ...)                                             \
    do {                                                                                     \
        (void)(stream);                                                                      \
        gridDim.x = (grid);                                                                  \
        blockDim.x = (block);                                                                \
        for (blockIdx.x = 0; blockIdx.x < gridDim.x; blockIdx.x++)                           \
            for (threadIdx.x = 0; threadIdx.x < blockDim.x; threadIdx.x++) kernel(__VA_ARGS__); \
    } while (0)
#define HOLD_CYCLES 0LL // a launch that waited for a later line would wait for ever

enum cudaError_t { cudaSuccess, cudaErrorNoDevice, cudaErrorMemoryAllocation };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
enum { cudaStreamNonBlocking = 1, cudaHostAllocDefault = 0, cudaHostAllocMapped = 2 };
typedef int cudaStream_t;
typedef double* cudaEvent_t;
struct cudaDeviceProp {
    char name[32];
    int multiProcessorCount;
};

static inline const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaErrorNoDevice ? "no such device" : "out of memory";
}
static inline cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorNoDevice; }
static inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* about, int) {
    *about = {"emulated", 2};
    return cudaSuccess;
}
static inline cudaError_t cudaDriverGetVersion(int* version) { return *version = 13000, cudaSuccess; }
static inline cudaError_t cudaRuntimeGetVersion(int* version) { return *version = 13000, cudaSuccess; }
static inline cudaError_t cudaMalloc(void** memory, size_t bytes) {
    return posix_memalign(memory, 256, bytes) ? cudaErrorMemoryAllocation : cudaSuccess;
}
static inline cudaError_t cudaHostAlloc(void** memory, size_t bytes, int) { return cudaMalloc(memory, bytes); }
static inline cudaError_t cudaHostGetDevicePointer(void** there, void* here, int) { return *there = here, cudaSuccess; }
static inline cudaError_t cudaMemset(void* memory, int value, size_t bytes) { return std::memset(memory, value, bytes), cudaSuccess; }
static inline cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
    return std::memcpy(to, from, bytes), cudaSuccess;
}
static inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t) {
    return cudaMemcpy(to, from, bytes, kind);
}
static inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, int) { return *stream = 0, cudaSuccess; }
static inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
static inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
static inline cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, int) { return cudaSuccess; }
static inline cudaError_t cudaPeekAtLastError() { return cudaSuccess; }
static inline cudaError_t cudaEventCreate(cudaEvent_t* event) { return *event = new double, cudaSuccess; }
static inline cudaError_t cudaEventDestroy(cudaEvent_t event) { return delete event, cudaSuccess; }
static inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
    *event = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    return cudaSuccess;
}
static inline cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
    return *milliseconds = (float)((*end - *start) * 1e3), cudaSuccess;
}
