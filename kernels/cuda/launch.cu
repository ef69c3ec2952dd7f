// Kernels that do nothing: one that ends at once, and one that holds its stream.

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
