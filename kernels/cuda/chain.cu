// The row-separable exact chain (kernels/chain) on a GPU: key streams, mixes, steps through a pool, digests, trees.
// Every kernel has a thread per item and ends where the items do; none needs another thread's result.

typedef unsigned int u32;
typedef unsigned long long u64;

#define ROW_STEP 0x9E3779B1u // between the keys of neighbouring rows
#define ITEM (blockIdx.x * (u64)blockDim.x + threadIdx.x)

__device__ __forceinline__ u32 turned(u32 x, int left) { return x << left | x >> (32 - left); }
__device__ __forceinline__ u32 swapped(u32 x) { return x << 24 | (x & 0xff00) << 8 | (x >> 8 & 0xff00) | x >> 24; }

// ChaCha20's key stream (RFC 8439): item i is block i % each of the stream whose nonce is first + i / each
#define QUARTER(a, b, c, d)            \
    a += b, d = turned(d ^ a, 16);     \
    c += d, b = turned(b ^ c, 12);     \
    a += b, d = turned(d ^ a, 8);      \
    c += d, b = turned(b ^ c, 7);

extern "C" __global__ void chain_stream(uint4* out, const u32* key, u64 blocks, u64 each, u64 first) {
    u64 item = ITEM;
    if (item >= blocks) return;
    u64 nonce = first + item / each;
    u32 start[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, key[0], key[1], key[2], key[3],
                     key[4], key[5], key[6], key[7], (u32)(item % each), (u32)nonce, (u32)(nonce >> 32), 0};
    u32 x[16];
#pragma unroll
    for (int i = 0; i < 16; i++) x[i] = start[i];
#pragma unroll 2
    for (int twice = 0; twice < 10; twice++) {
        QUARTER(x[0], x[4], x[8], x[12])
        QUARTER(x[1], x[5], x[9], x[13])
        QUARTER(x[2], x[6], x[10], x[14])
        QUARTER(x[3], x[7], x[11], x[15])
        QUARTER(x[0], x[5], x[10], x[15])
        QUARTER(x[1], x[6], x[11], x[12])
        QUARTER(x[2], x[7], x[8], x[13])
        QUARTER(x[3], x[4], x[9], x[14])
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        uint4 four;
        four.x = x[4 * i] + start[4 * i], four.y = x[4 * i + 1] + start[4 * i + 1];
        four.z = x[4 * i + 2] + start[4 * i + 2], four.w = x[4 * i + 3] + start[4 * i + 3];
        out[4 * item + i] = four;
    }
}

// lowbias32 by C. Wellons
__device__ __forceinline__ u32 mixed(u32 x) {
    x ^= x >> 16;
    x *= 0x7feb352d;
    x ^= x >> 15;
    x *= 0x846ca68b;
    return x ^ x >> 16;
}

// bfloat16 holds whole numbers up to 256 exactly: the upper half of a float's bits
__device__ __forceinline__ u32 to_bf16(int number) { return (u32)__float_as_int((float)number) >> 16; }
__device__ __forceinline__ int from_bf16(u32 bits) { return (int)__int_as_float((int)(bits << 16)); }

// bytes to numbers from -15 to 15, and 16-bit words to numbers from -255 to 255, as bfloat16
extern "C" __global__ void chain_small(const unsigned char* raw, unsigned short* out, u64 count) {
    u64 item = ITEM;
    if (item < count) out[item] = (unsigned short)to_bf16(((int)raw[item] * 31 >> 8) - 15);
}

extern "C" __global__ void chain_wide(const unsigned short* raw, unsigned short* out, u64 count) {
    u64 item = ITEM;
    if (item < count) out[item] = (unsigned short)to_bf16(((int)raw[item] * 511 >> 16) - 255);
}

// Q8 of four int32 sums an item, to int8. A row has 1 << shift items; `key` is that of the first, `step` lies between
// the keys of two.
extern "C" __global__ void chain_q8(const int4* __restrict__ sums, u32* __restrict__ into, u64 quads, u64 key, u64 step,
                                    u64 shift) {
    u64 item = ITEM;
    if (item >= quads) return;
    int4 y = sums[item];
    u32 k = (u32)key + (u32)step * (u32)(item >> shift);
    into[item] = (mixed((u32)y.x + k) & 255) | (mixed((u32)y.y + k) & 255) << 8 | (mixed((u32)y.z + k) & 255) << 16 |
                 mixed((u32)y.w + k) << 24;
}

__device__ __forceinline__ u32 q9(float sum, u32 key) {
    return to_bf16((int)((mixed((u32)(int)sum + key) >> 16) * 511 >> 16) - 255);
}

// Q9 of four float32 sums an item, which are whole and below 2^24, to bfloat16
extern "C" __global__ void chain_q9(const float4* __restrict__ sums, uint2* __restrict__ into, u64 quads, u64 key,
                                    u64 step, u64 shift) {
    u64 item = ITEM;
    if (item >= quads) return;
    float4 y = sums[item];
    u32 k = (u32)key + (u32)step * (u32)(item >> shift);
    uint2 both;
    both.x = q9(y.x, k) | q9(y.y, k) << 16;
    both.y = q9(y.z, k) | q9(y.w, k) << 16;
    into[item] = both;
}

// Tiles (row by row) to the layout that chain_step reads: [k / 16][j][k % 16], so that the threads of neighbouring
// columns load neighbouring 16 bytes, and each load holds 16 numbers of one column. An item is one such load.
extern "C" __global__ void chain_lay(const unsigned char* __restrict__ tiles, uint4* __restrict__ pool, u64 items,
                                     u64 n) {
    u64 item = ITEM;
    if (item >= items) return;
    u64 each = n * n / 16, tile = item / each, rest = item % each;
    const unsigned char* from = tiles + tile * n * n + rest / n * 16 * n + rest % n;
    u32 words[4] = {0, 0, 0, 0};
#pragma unroll
    for (int k = 0; k < 16; k++) words[k / 4] |= (u32)from[k * n] << 8 * (k % 4);
    uint4 four;
    four.x = words[0], four.y = words[1], four.z = words[2], four.w = words[3];
    pool[item] = four;
}

// A round of a memory chain. An item is a column of a unit: its thread reads that column of the tile which the unit's
// own state tells. `order` holds the word and the key of round `number`; `first`: the number of the first unit.
template <int ROWS>
__device__ __forceinline__ void step(const int4* __restrict__ states, const int4* __restrict__ pool,
                                     unsigned char* __restrict__ into, const u32* __restrict__ order, u64 number,
                                     u64 units, u64 rows, u64 n, u64 tiles, u64 first) {
    u64 item = ITEM;
    if (item >= units * n) return;
    u64 unit = item / n, column = item % n, loads = n / 16;
    const int4* state = states + unit * rows * loads;
    u32 head = mixed((u32)state[0].x ^ order[2 * number]);
    u32 key = order[2 * number + 1] + ROW_STEP * (u32)((first + unit) * rows);
    const int4* tile = pool + ((u64)head * tiles >> 32) * loads * n + column;
    for (u64 row = 0; row < rows; row += ROWS) {
        int sums[ROWS];
#pragma unroll
        for (int r = 0; r < ROWS; r++) sums[r] = 0;
#pragma unroll 4
        for (u64 k = 0; k < loads; k++) {
            int4 w = tile[k * n];
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                int4 x = state[(row + r) * loads + k];
                sums[r] = __dp4a(x.x, w.x, sums[r]);
                sums[r] = __dp4a(x.y, w.y, sums[r]);
                sums[r] = __dp4a(x.z, w.z, sums[r]);
                sums[r] = __dp4a(x.w, w.w, sums[r]);
            }
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            into[(unit * rows + row + r) * n + column] = (unsigned char)mixed((u32)sums[r] + key + ROW_STEP * (u32)(row + r));
    }
}

// All rows of a unit at a time, at most 16, whose sums are kept in registers: the tile is then read once.
extern "C" __global__ void chain_step_1(const int4* states, const int4* pool, unsigned char* into, const u32* order,
                                        u64 number, u64 units, u64 rows, u64 n, u64 tiles, u64 first) {
    step<1>(states, pool, into, order, number, units, rows, n, tiles, first);
}
extern "C" __global__ void chain_step_2(const int4* states, const int4* pool, unsigned char* into, const u32* order,
                                        u64 number, u64 units, u64 rows, u64 n, u64 tiles, u64 first) {
    step<2>(states, pool, into, order, number, units, rows, n, tiles, first);
}
extern "C" __global__ void chain_step_4(const int4* states, const int4* pool, unsigned char* into, const u32* order,
                                        u64 number, u64 units, u64 rows, u64 n, u64 tiles, u64 first) {
    step<4>(states, pool, into, order, number, units, rows, n, tiles, first);
}
extern "C" __global__ void chain_step_8(const int4* states, const int4* pool, unsigned char* into, const u32* order,
                                        u64 number, u64 units, u64 rows, u64 n, u64 tiles, u64 first) {
    step<8>(states, pool, into, order, number, units, rows, n, tiles, first);
}
extern "C" __global__ void chain_step_16(const int4* states, const int4* pool, unsigned char* into, const u32* order,
                                         u64 number, u64 units, u64 rows, u64 n, u64 tiles, u64 first) {
    step<16>(states, pool, into, order, number, units, rows, n, tiles, first);
}

// SHA-256 (FIPS 180-4): one block of sixteen words into the eight of `h`
__device__ __forceinline__ void compress(u32* h, u32* w) {
    const u32 constants[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    u32 a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], last = h[7];
#pragma unroll
    for (int i = 0; i < 64; i++) {
        if (i >= 16) { // the last sixteen words of the schedule are all that is needed of it
            u32 x = w[(i + 1) & 15], y = w[(i + 14) & 15];
            w[i & 15] += (turned(x, 25) ^ turned(x, 14) ^ x >> 3) + w[(i + 9) & 15] +
                         (turned(y, 15) ^ turned(y, 13) ^ y >> 10);
        }
        u32 one = last + (turned(e, 26) ^ turned(e, 21) ^ turned(e, 7)) + ((e & f) ^ (~e & g)) + constants[i] + w[i & 15];
        u32 two = (turned(a, 30) ^ turned(a, 19) ^ turned(a, 10)) + ((a & b) ^ (a & c) ^ (b & c));
        last = g, g = f, f = e, e = d + one, d = c, c = b, b = a, a = one + two;
    }
    h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e, h[5] += f, h[6] += g, h[7] += last;
}

__device__ __forceinline__ void begin(u32* h) {
    h[0] = 0x6a09e667, h[1] = 0xbb67ae85, h[2] = 0x3c6ef372, h[3] = 0xa54ff53a;
    h[4] = 0x510e527f, h[5] = 0x9b05688c, h[6] = 0x1f83d9ab, h[7] = 0x5be0cd19;
}

// sixteen words of a message from 64 bytes, which are read as four times 16
__device__ __forceinline__ void take(u32* w, const uint4* from, int fours) {
#pragma unroll
    for (int i = 0; i < fours; i++) {
        uint4 four = from[i];
        w[4 * i] = swapped(four.x), w[4 * i + 1] = swapped(four.y);
        w[4 * i + 2] = swapped(four.z), w[4 * i + 3] = swapped(four.w);
    }
}

__device__ __forceinline__ void put(uint4* out, const u32* h) {
    uint4 four;
    four.x = swapped(h[0]), four.y = swapped(h[1]), four.z = swapped(h[2]), four.w = swapped(h[3]);
    out[0] = four;
    four.x = swapped(h[4]), four.y = swapped(h[5]), four.z = swapped(h[6]), four.w = swapped(h[7]);
    out[1] = four;
}

__device__ __forceinline__ void pad(u32* w, int from, u64 bits) {
#pragma unroll
    for (int i = 0; i < 14; i++)
        if (i >= from) w[i] = i == from ? 0x80000000 : 0;
    w[14] = (u32)(bits >> 32), w[15] = (u32)bits;
}

// two bfloat16 as two int16
__device__ __forceinline__ u32 as_words(u32 two) {
    return ((u32)from_bf16(two & 0xffff) & 0xffff) | (u32)from_bf16(two >> 16) << 16;
}

// The digest of every leaf. An item is one: unit item / commits, commit item % commits, whose state of `fours` times 16
// bytes (a multiple of 4) lies at [commit][unit]. `wide`: the states are bfloat16, hashed as int16.
extern "C" __global__ void chain_leaves(const uint4* __restrict__ states, const uint4* __restrict__ context,
                                        uint4* __restrict__ out, u64 leaves, u64 commits, u64 fours, u64 segment,
                                        u64 wide) {
    u64 item = ITEM;
    if (item >= leaves) return;
    u64 unit = item / commits, commit = item % commits;
    const uint4* state = states + (commit * (leaves / commits) + unit) * fours;
    u32 h[8], w[16];
    begin(h);
    u64 last = fours / 4 + 1;
#pragma unroll 1
    for (u64 block = 0; block <= last; block++) { // the header, the state, what ends a message
        if (block == 0) {
            take(w, context, 2);
            w[8] = swapped((u32)segment), w[9] = swapped((u32)(segment >> 32));
            w[10] = swapped((u32)unit), w[11] = swapped((u32)commit);
            w[12] = w[13] = w[14] = w[15] = 0;
        } else if (block == last) {
            pad(w, 0, 512 + fours * 128);
        } else {
            take(w, state + 4 * (block - 1), 4);
            if (wide)
#pragma unroll
                for (int i = 0; i < 16; i++) w[i] = swapped(as_words(swapped(w[i])));
        }
        compress(h, w);
    }
    put(out + 2 * item, h);
}

// The digest of every pair of digests: one level of the tree.
extern "C" __global__ void chain_nodes(const uint4* __restrict__ below, const uint4* __restrict__ context,
                                       uint4* __restrict__ out, u64 nodes) {
    u64 item = ITEM;
    if (item >= nodes) return;
    u32 h[8], w[16];
    begin(h);
#pragma unroll 1
    for (int block = 0; block < 2; block++) {
        take(w, block ? below + 4 * item + 2 : context, 2);
        if (block)
            pad(w, 8, 768);
        else
            take(w + 8, below + 4 * item, 2);
        compress(h, w);
    }
    put(out + 2 * item, h);
}
