// Kernels that do nothing of use: one ends at once, one holds its stream, one tells where it ran.

extern "C" __global__ void empty() {}

// holds the stream until the host sets flag[0], for at most `cycles` clock cycles: it can never hang the device.
// flag[1] becomes 1 when it gave up.
extern "C" __global__ void hold(volatile unsigned int* flag, long long cycles) {
    long long start = clock64();
    while (flag[0] == 0) {
        if (clock64() - start > cycles) {
            flag[1] = 1;
            return;
        }
    }
}

// seen[n] becomes 1 where multiprocessor n ran a block; each stays for `cycles`, so that the others must go elsewhere
extern "C" __global__ void mark_sm(unsigned int* seen, unsigned int length, long long cycles) {
    unsigned int id;
    asm("mov.u32 %0, %%smid;" : "=r"(id));
    if (threadIdx.x == 0 && id < length) seen[id] = 1;
    long long start = clock64();
    while (clock64() - start < cycles) {
    }
}
