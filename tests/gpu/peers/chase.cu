// A pointer chase by one thread, as plain as it can be written: a shuffled list of nodes, each with the address of the
// next, the last with that of the first; one load after the other, timed by events and by the SM's counter.
//
// chase DEVICE SIZE_BYTES HOPS NEAR SAMPLES; NEAR = 1: through the first-level cache, filled by a round beforehand;
// then walk per line
#include "peer.h"

static const Word NODE_BYTES = 128;

__global__ void near_walk(Word* state, Word warm, Word hops) {
    const Word* at = (const Word*)state[0];
    for (Word k = 0; k < warm; k++) at = (const Word*)__ldca(at);
    long long start = clock64();
#pragma unroll 16
    for (Word k = 0; k < hops; k++) at = (const Word*)__ldca(at);
    state[0] = (Word)at;
    state[1] = (Word)(clock64() - start);
}

__global__ void far_walk(Word* state, Word warm, Word hops) {
    const Word* at = (const Word*)state[0];
    for (Word k = 0; k < warm; k++) at = (const Word*)__ldcg(at);
    long long start = clock64();
#pragma unroll 16
    for (Word k = 0; k < hops; k++) at = (const Word*)__ldcg(at);
    state[0] = (Word)at;
    state[1] = (Word)(clock64() - start);
}

// the nodes in the order of the walk: a shuffled list (Fisher and Yates), closed to one cycle
static std::vector<unsigned int> shuffled(Word nodes) {
    std::vector<unsigned int> order(nodes);
    for (Word k = 0; k < nodes; k++) order[k] = (unsigned int)k;
    for (Word k = nodes - 1; k > 0; k--) std::swap(order[k], order[mixed(k) % (k + 1)]);
    return order;
}

int main(int count, char** arguments) {
    const char* usage = "chase DEVICE SIZE_BYTES HOPS NEAR SAMPLES";
    int device = (int)number(count, arguments, 1, usage);
    Word nodes = std::max<Word>(number(count, arguments, 2, usage) / NODE_BYTES, 2);
    Word hops = std::max<Word>(number(count, arguments, 3, usage), 1);
    bool near = number(count, arguments, 4, usage) != 0;
    Word samples = std::max<Word>(number(count, arguments, 5, usage), 1), warm = near ? nodes : 0;
    begin(device);
    std::vector<unsigned int> order = shuffled(nodes);
    Word *memory, *state, step = NODE_BYTES / sizeof(Word);
    CUDA(cudaMalloc((void**)&memory, nodes * NODE_BYTES));
    CUDA(cudaMalloc((void**)&state, 2 * sizeof(Word)));
    {
        std::vector<Word> laid(nodes * step);
        for (Word k = 0; k < nodes; k++) laid[order[k] * step] = (Word)(memory + order[(k + 1) % nodes] * step);
        CUDA(cudaMemcpy(memory, laid.data(), nodes * NODE_BYTES, cudaMemcpyHostToDevice));
    }
    Word found[2] = {(Word)(memory + order[0] * step), 0}, walked = 0;
    CUDA(cudaMemcpy(state, found, sizeof found, cudaMemcpyHostToDevice));
    CUDA(cudaDeviceSynchronize()); // a copy from pageable memory may return before it has arrived
    cudaStream_t stream;
    cudaEvent_t start, end;
    CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    CUDA(cudaEventCreate(&start));
    CUDA(cudaEventCreate(&end));
    auto walk = [&](Word before, Word timed) {
        if (near) LAUNCH(near_walk, 1, 1, stream, state, before, timed);
        else LAUNCH(far_walk, 1, 1, stream, state, before, timed);
        CUDA(cudaPeekAtLastError());
        walked += before + timed;
    };
    walk(0, std::min<Word>(nodes, 1 << 20)); // a round where the caches can hold one
    CUDA(cudaStreamSynchronize(stream));
    for (char word[32]; asked(word);) {
        if (std::strcmp(word, "walk")) return unknown(word);
        std::vector<double> seconds;
        for (Word k = 0; k < samples; k++) {
            CUDA(cudaEventRecord(start, stream));
            walk(warm, hops);
            CUDA(cudaEventRecord(end, stream));
            CUDA(cudaStreamSynchronize(stream));
            seconds.push_back(elapsed_s(start, end) / (double)(warm + hops));
        }
        CUDA(cudaMemcpy(found, state, sizeof found, cudaMemcpyDeviceToHost));
        Word wrong = found[0] != (Word)(memory + order[walked % nodes] * step);
        std::printf("{\"word\": \"walk\", \"value\": %.9g, \"best\": %.9g, \"cycles\": %.9g, \"samples\": %zu, "
                    "\"size_bytes\": %llu, \"wrong\": %llu}\n",
                    median(seconds), *std::min_element(seconds.begin(), seconds.end()), (double)found[1] / (double)hops,
                    seconds.size(), nodes * NODE_BYTES, wrong);
        std::fflush(stdout);
    }
    return 0;
}
