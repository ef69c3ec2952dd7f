// Every word of a piece of memory gets a value that depends on its place and a nonce, and is read back: a cell that
// fails, two addresses that are one cell, and memory that is not there all show as words that differ.

// splitmix64 of the counter; a bijection for a given nonce, so no two places hold the same word
__device__ __forceinline__ unsigned long long word_at(unsigned long long place, unsigned long long nonce) {
    unsigned long long z = (place + 1) * 0x9E3779B97F4A7C15ULL + nonce;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

#define EACH(i, pairs)                                                                                             \
    for (unsigned long long i = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x,                         \
                            stride = (unsigned long long)gridDim.x * blockDim.x;                                   \
         i < (pairs); i += stride)

// `first`: the place of the piece's first word among all that are tested; `flip` is all ones or zero, so that two
// passes hold every bit at both of its values
extern "C" __global__ void pattern_write(ulonglong2* piece, unsigned long long pairs, unsigned long long first,
                                         unsigned long long nonce, unsigned long long flip) {
    EACH(i, pairs) {
        ulonglong2 both;
        both.x = word_at(first + 2 * i, nonce) ^ flip;
        both.y = word_at(first + 2 * i + 1, nonce) ^ flip;
        piece[i] = both;
    }
}

// found[0]: words that differ; found[1]: the lowest place of one; found[2]: all bits that differed anywhere
extern "C" __global__ void pattern_verify(const ulonglong2* piece, unsigned long long pairs, unsigned long long first,
                                          unsigned long long nonce, unsigned long long flip,
                                          unsigned long long* found) {
    EACH(i, pairs) {
        ulonglong2 both = piece[i];
        for (int half = 0; half < 2; half++) {
            unsigned long long place = first + 2 * i + half;
            unsigned long long wrong = (half ? both.y : both.x) ^ word_at(place, nonce) ^ flip;
            if (wrong) {
                atomicAdd(found, 1ULL);
                atomicMin(found + 1, place);
                atomicOr(found + 2, wrong);
            }
        }
    }
}
