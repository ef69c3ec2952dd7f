// What the programs that we compare ourselves with share: errors in a sentence, launches, a held stream, medians.
// They are programs by themselves and know nothing of gridmark: arguments, then a word per line on stdin, a line of
// JSON for each. A program that cannot begin says why on stderr and ends with 3.
#pragma once
#ifndef LAUNCH // the tests supply their own CUDA, which runs on a CPU
#include <cuda_runtime.h>
#define LAUNCH(kernel, grid, block, stream, ...) kernel<<<(grid), (block), 0, (stream)>>>(__VA_ARGS__)
#define HOLD_CYCLES 7000000000LL // two seconds at 3.5 GHz: a held stream goes on by itself
#endif
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

typedef unsigned long long Word;

#define CUDA(call)                                                                               \
    do {                                                                                         \
        cudaError_t outcome = (call);                                                            \
        if (outcome != cudaSuccess) {                                                            \
            std::fprintf(stderr, "%s: %s\n", #call, cudaGetErrorString(outcome));                \
            std::exit(3);                                                                        \
        }                                                                                        \
    } while (0)

// splitmix64 of a counter
static inline Word mixed(Word place) {
    Word z = (place + 1) * 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

// ends when the host sets the flag, or by itself
__global__ void hold(volatile unsigned int* flag, long long cycles) {
    long long start = clock64();
    while (*flag == 0 && clock64() - start < cycles) {}
}

static inline double host_s() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

static inline double elapsed_s(cudaEvent_t start, cudaEvent_t end) {
    float milliseconds = 0;
    CUDA(cudaEventElapsedTime(&milliseconds, start, end));
    return milliseconds * 1e-3;
}

static inline double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    size_t half = values.size() / 2;
    return values.size() % 2 ? values[half] : 0.5 * (values[half - 1] + values[half]);
}

// the number in argument `place`, or the end of the program
static inline Word number(int count, char** arguments, int place, const char* usage) {
    char* rest = nullptr;
    Word value = place < count ? std::strtoull(arguments[place], &rest, 10) : 0;
    if (!rest || *rest || rest == arguments[place]) {
        std::fprintf(stderr, "usage: %s\n", usage);
        std::exit(2);
    }
    return value;
}

// takes the device and says which it is
static inline void begin(int device) {
    cudaDeviceProp about;
    int driver = 0, runtime = 0;
    CUDA(cudaSetDevice(device));
    CUDA(cudaGetDeviceProperties(&about, device));
    CUDA(cudaDriverGetVersion(&driver));
    CUDA(cudaRuntimeGetVersion(&runtime));
    std::printf("{\"device\": \"%s\", \"sms\": %d, \"driver\": %d, \"runtime\": %d}\n", about.name,
                about.multiProcessorCount, driver, runtime);
    std::fflush(stdout);
}

// the next word on stdin; false at its end
static inline bool asked(char (&word)[32]) { return std::scanf("%31s", word) == 1; }

static inline int unknown(const char* word) {
    std::fprintf(stderr, "unknown word %s\n", word);
    return 2;
}
