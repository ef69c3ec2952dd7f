// Copy, triad and dot over device memory in the manner of BabelStream (UoB-HPC/BabelStream, src/cuda, version 5.0):
// doubles, 1024 threads a block, a thread for each element (dot: four blocks a multiprocessor), the host's clock around
// one launch and its end, the first pass dropped, the figure from the fastest. Since that clock sees the launch too,
// every pass is timed once more between events of a full queue: the faster way of the two is what others have to reach.
//
// babel DEVICE ARRAY_BYTES PASSES; then copy, triad or dot per line
#include "peer.h"

static const int BLOCK = 1024;
static const double FACTOR = 0.4;

// small integers: every product is exact, and every sum of them below 2^53 in any order
__device__ double a_at(Word i) { return (double)(i & 1023); }
__device__ double b_at(Word i) { return (double)(i % 511); }

__global__ void lay(double* a, double* b, double* c, Word n) {
    Word i = blockIdx.x * (Word)blockDim.x + threadIdx.x;
    if (i < n) {
        a[i] = a_at(i);
        b[i] = b_at(i);
        c[i] = -1;
    }
}

__global__ void copy(const double* a, double* c, Word n) {
    Word i = blockIdx.x * (Word)blockDim.x + threadIdx.x;
    if (i < n) c[i] = a[i];
}

__global__ void triad(const double* a, const double* b, double* c, double factor, Word n) {
    Word i = blockIdx.x * (Word)blockDim.x + threadIdx.x;
    if (i < n) c[i] = a[i] + factor * b[i];
}

// a sum per thread; the host adds them up
__global__ void dot(const double* a, const double* b, double* sums, Word n) {
    double sum = 0;
    Word first = blockIdx.x * (Word)blockDim.x + threadIdx.x;
    for (Word i = first; i < n; i += (Word)gridDim.x * blockDim.x) sum += a[i] * b[i];
    sums[first] = sum;
}

__global__ void compare(const double* c, double factor, Word n, Word* wrong) {
    Word i = blockIdx.x * (Word)blockDim.x + threadIdx.x;
    if (i < n) {
        double wanted = a_at(i) + factor * b_at(i), off = c[i] - wanted;
        if (!(off <= 1e-12 * wanted && -off <= 1e-12 * wanted)) atomicAdd(wrong, (Word)1); // a fused product rounds once
    }
}

struct Arrays {
    double *a, *b, *c, *sums;
    Word* wrong;
    Word n;
    unsigned int blocks, sum_blocks;
    cudaStream_t stream;
};

static void pass(const Arrays& on, const char* loop) {
    if (!std::strcmp(loop, "copy")) LAUNCH(copy, on.blocks, BLOCK, on.stream, on.a, on.c, on.n);
    else if (!std::strcmp(loop, "triad")) LAUNCH(triad, on.blocks, BLOCK, on.stream, on.a, on.b, on.c, FACTOR, on.n);
    else LAUNCH(dot, on.sum_blocks, BLOCK, on.stream, on.a, on.b, on.sums, on.n);
    CUDA(cudaPeekAtLastError());
}

static Word wrong_in(const Arrays& on, const char* loop) {
    if (!std::strcmp(loop, "dot")) {
        std::vector<double> sums((size_t)on.sum_blocks * BLOCK);
        CUDA(cudaMemcpy(sums.data(), on.sums, sums.size() * sizeof(double), cudaMemcpyDeviceToHost));
        double sum = 0, wanted = 0;
        for (double part : sums) sum += part;
        for (Word i = 0; i < on.n; i++) wanted += (double)(i & 1023) * (double)(i % 511);
        return sum != wanted;
    }
    Word wrong = 0;
    CUDA(cudaMemset(on.wrong, 0, sizeof wrong));
    CUDA(cudaDeviceSynchronize()); // it is queued in another stream than ours, and may be under way still
    double factor = std::strcmp(loop, "copy") ? FACTOR : 0.0;
    LAUNCH(compare, on.blocks, BLOCK, on.stream, on.c, factor, on.n, on.wrong);
    CUDA(cudaStreamSynchronize(on.stream));
    CUDA(cudaMemcpy(&wrong, on.wrong, sizeof wrong, cudaMemcpyDeviceToHost));
    return wrong;
}

static double fastest_by_host(const Arrays& on, const char* loop, Word passes) {
    double best = 1e30;
    for (Word k = 0; k < passes; k++) {
        double start = host_s();
        pass(on, loop);
        CUDA(cudaStreamSynchronize(on.stream));
        if (k) best = std::min(best, host_s() - start);
    }
    return best;
}

static std::vector<double> by_events(const Arrays& on, const char* loop, Word passes) {
    std::vector<cudaEvent_t> marks(passes + 1);
    for (cudaEvent_t& mark : marks) CUDA(cudaEventCreate(&mark));
    CUDA(cudaEventRecord(marks[0], on.stream));
    for (Word k = 0; k < passes; k++) {
        pass(on, loop);
        CUDA(cudaEventRecord(marks[k + 1], on.stream));
    }
    CUDA(cudaStreamSynchronize(on.stream));
    std::vector<double> seconds;
    for (Word k = 1; k < passes; k++) seconds.push_back(elapsed_s(marks[k], marks[k + 1]));
    for (cudaEvent_t& mark : marks) CUDA(cudaEventDestroy(mark));
    return seconds;
}

int main(int count, char** arguments) {
    const char* usage = "babel DEVICE ARRAY_BYTES PASSES";
    int device = (int)number(count, arguments, 1, usage);
    Word bytes = number(count, arguments, 2, usage), passes = std::max<Word>(number(count, arguments, 3, usage), 3);
    begin(device);
    cudaDeviceProp about;
    CUDA(cudaGetDeviceProperties(&about, device));
    Arrays on = {};
    on.n = bytes / sizeof(double);
    on.blocks = (unsigned int)((on.n + BLOCK - 1) / BLOCK);
    on.sum_blocks = 4 * about.multiProcessorCount;
    for (double** array : {&on.a, &on.b, &on.c}) CUDA(cudaMalloc((void**)array, bytes));
    CUDA(cudaMalloc((void**)&on.sums, (size_t)on.sum_blocks * BLOCK * sizeof(double)));
    CUDA(cudaMalloc((void**)&on.wrong, sizeof(Word)));
    CUDA(cudaStreamCreateWithFlags(&on.stream, cudaStreamNonBlocking));
    for (char loop[32]; asked(loop);) {
        if (std::strcmp(loop, "copy") && std::strcmp(loop, "triad") && std::strcmp(loop, "dot")) return unknown(loop);
        LAUNCH(lay, on.blocks, BLOCK, on.stream, on.a, on.b, on.c, on.n);
        double host = fastest_by_host(on, loop, passes);
        std::vector<double> seconds = by_events(on, loop, passes);
        Word wrong = wrong_in(on, loop);
        double moved = (double)(on.n * sizeof(double)) * (std::strcmp(loop, "triad") ? 2 : 3);
        std::printf("{\"word\": \"%s\", \"value\": %.9g, \"best\": %.9g, \"best_by_host\": %.9g, \"passes\": %zu, "
                    "\"array_bytes\": %llu, \"wrong\": %llu}\n",
                    loop, moved / median(seconds), moved / *std::min_element(seconds.begin(), seconds.end()),
                    moved / host, seconds.size(), on.n * (Word)sizeof(double), wrong);
        std::fflush(stdout);
    }
    return 0;
}
