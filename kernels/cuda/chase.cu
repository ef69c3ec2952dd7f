// A pointer chase through one random cycle: every load gives the address of the next, so its time is a latency.

// lays the cycle out: node k, at k * stride words, holds the address of the node that follows it
extern "C" __global__ void chase_lay(unsigned long long* nodes, const unsigned int* successor, unsigned long long count,
                                     unsigned long long stride) {
    unsigned long long step = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long k = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x; k < count; k += step)
        nodes[k * stride] = (unsigned long long)(nodes + successor[k] * stride);
}

// state[0]: the address to begin at, and where the walk ended; state[1]: clock cycles of the timed hops.
// `warm` hops come first, untimed: the first-level cache is empty whenever a kernel begins.
#define WALK(name, LOAD)                                                                                   \
    extern "C" __global__ void name(unsigned long long* state, unsigned long long warm, unsigned long long hops) { \
        if (blockIdx.x * blockDim.x + threadIdx.x != 0) return;                                            \
        const unsigned long long* at = (const unsigned long long*)state[0];                                \
        for (unsigned long long hop = 0; hop < warm; hop++) at = (const unsigned long long*)LOAD(at);      \
        long long start = clock64();                                                                       \
        for (unsigned long long hop = 0; hop < hops; hop += 8) {                                           \
            at = (const unsigned long long*)LOAD(at);                                                      \
            at = (const unsigned long long*)LOAD(at);                                                      \
            at = (const unsigned long long*)LOAD(at);                                                      \
            at = (const unsigned long long*)LOAD(at);                                                      \
            at = (const unsigned long long*)LOAD(at);                                                      \
            at = (const unsigned long long*)LOAD(at);                                                      \
            at = (const unsigned long long*)LOAD(at);                                                      \
            at = (const unsigned long long*)LOAD(at);                                                      \
        }                                                                                                  \
        state[0] = (unsigned long long)at; /* at most the last load's time is missed: the one before gave its address */ \
        state[1] = (unsigned long long)(clock64() - start);                                                \
    }

WALK(chase_near, __ldca) // through the first-level cache
WALK(chase_far, __ldcg)  // past it: the second level, then memory
