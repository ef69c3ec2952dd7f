// Copies between pinned host memory and a GPU by its copy engines, in the manner of nvbandwidth (NVIDIA/nvbandwidth,
// README "Measurement Details", tests *_memcpy_ce): the stream is held by a kernel that spins on a flag of the host
// until all is queued, an event, so many cudaMemcpyAsync, an event; a few such samples, of which the median counts.
// Its defaults are 512 MiB, 16 copies a sample, 4 copies beforehand, 3 samples.
//
// copies DEVICE BUFFER_BYTES COPIES WARM SAMPLES; then h2d, d2h or both per line
#include "peer.h"

struct Link {
    Word *host_source, *host_target, *device_source, *device_target;
    Word bytes;
    volatile unsigned int* flag;
    unsigned int* device_flag;
    cudaStream_t streams[2];
    cudaEvent_t start, ends[2];
};

static void copy(const Link& link, bool up, cudaStream_t stream) {
    if (up) CUDA(cudaMemcpyAsync(link.device_target, link.host_source, link.bytes, cudaMemcpyHostToDevice, stream));
    else CUDA(cudaMemcpyAsync(link.host_target, link.device_source, link.bytes, cudaMemcpyDeviceToHost, stream));
}

static void hold_stream(const Link& link) {
    *link.flag = 0;
    LAUNCH(hold, 1, 1, link.streams[0], (volatile unsigned int*)link.device_flag, HOLD_CYCLES);
    CUDA(cudaPeekAtLastError());
}

struct Times {
    double all; // until the last copy of either way
    double measured; // of the first stream: what nvbandwidth reports, also where the other way disturbs it
};

static Times sample(const Link& link, bool up, bool down, Word copies) {
    bool both = up && down;
    hold_stream(link);
    CUDA(cudaEventRecord(link.start, link.streams[0]));
    if (both) CUDA(cudaStreamWaitEvent(link.streams[1], link.start, 0));
    for (Word k = 0; k < copies; k++) {
        copy(link, up, link.streams[0]);
        if (both) copy(link, false, link.streams[1]);
    }
    for (int k = 0; k <= both; k++) CUDA(cudaEventRecord(link.ends[k], link.streams[k]));
    *link.flag = 1;
    for (int k = 0; k <= both; k++) CUDA(cudaStreamSynchronize(link.streams[k]));
    double first = elapsed_s(link.start, link.ends[0]);
    return {both ? std::max(first, elapsed_s(link.start, link.ends[1])) : first, first};
}

// words that did not arrive; the targets were spoiled before
static Word wrong_in(const Link& link, bool up, bool down) {
    Word wrong = 0, words = link.bytes / sizeof(Word);
    if (down)
        for (Word i = 0; i < words; i++) wrong += link.host_target[i] != mixed(i + words);
    if (up) {
        CUDA(cudaMemcpy(link.host_target, link.device_target, link.bytes, cudaMemcpyDeviceToHost));
        for (Word i = 0; i < words; i++) wrong += link.host_target[i] != mixed(i);
    }
    return wrong;
}

static void lay(Link& link) {
    Word words = link.bytes / sizeof(Word);
    CUDA(cudaHostAlloc((void**)&link.host_source, link.bytes, cudaHostAllocDefault));
    CUDA(cudaHostAlloc((void**)&link.host_target, link.bytes, cudaHostAllocDefault));
    CUDA(cudaMalloc((void**)&link.device_source, link.bytes));
    CUDA(cudaMalloc((void**)&link.device_target, link.bytes));
    for (Word i = 0; i < words; i++) link.host_source[i] = mixed(i + words);
    CUDA(cudaMemcpy(link.device_source, link.host_source, link.bytes, cudaMemcpyHostToDevice));
    for (Word i = 0; i < words; i++) link.host_source[i] = mixed(i);
    CUDA(cudaHostAlloc((void**)&link.flag, sizeof(unsigned int), cudaHostAllocMapped));
    CUDA(cudaHostGetDevicePointer((void**)&link.device_flag, (void*)link.flag, 0));
    CUDA(cudaDeviceSynchronize());
    CUDA(cudaEventCreate(&link.start));
    for (int k = 0; k < 2; k++) {
        CUDA(cudaStreamCreateWithFlags(&link.streams[k], cudaStreamNonBlocking));
        CUDA(cudaEventCreate(&link.ends[k]));
    }
    hold_stream(link); // loads the kernel: a first launch may wait for the device
    *link.flag = 1;
    CUDA(cudaStreamSynchronize(link.streams[0]));
}

int main(int count, char** arguments) {
    const char* usage = "copies DEVICE BUFFER_BYTES COPIES WARM SAMPLES";
    int device = (int)number(count, arguments, 1, usage);
    Link link = {};
    link.bytes = number(count, arguments, 2, usage) / sizeof(Word) * sizeof(Word);
    Word copies = number(count, arguments, 3, usage), warm = number(count, arguments, 4, usage);
    Word samples = std::max<Word>(number(count, arguments, 5, usage), 1);
    begin(device);
    lay(link);
    for (char word[32]; asked(word);) {
        bool both = !std::strcmp(word, "both"), up = both || !std::strcmp(word, "h2d");
        bool down = both || !std::strcmp(word, "d2h");
        if (!up && !down) return unknown(word);
        std::memset(link.host_target, 0, link.bytes);
        CUDA(cudaMemset(link.device_target, 0, link.bytes));
        CUDA(cudaDeviceSynchronize()); // it is queued in another stream than the copies, and may be under way still
        if (warm) sample(link, up, down, warm);
        std::vector<double> all, measured;
        for (Word k = 0; k < samples; k++) {
            Times times = sample(link, up, down, copies);
            all.push_back(times.all);
            measured.push_back(times.measured);
        }
        double moved = (double)link.bytes * copies;
        std::printf("{\"word\": \"%s\", \"value\": %.9g, \"best\": %.9g, \"measured_stream\": %.9g, \"samples\": %zu, "
                    "\"buffer_bytes\": %llu, \"wrong\": %llu}\n",
                    word, moved * (up + down) / median(all), moved * (up + down) / *std::min_element(all.begin(), all.end()),
                    moved / median(measured), all.size(), link.bytes, wrong_in(link, up, down));
        std::fflush(stdout);
    }
    return 0;
}
