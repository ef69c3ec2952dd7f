// The loops of STREAM, with read and write by themselves, in 128-bit accesses; the values are a closed form of their
// index, so that every element of a result can be compared, bit by bit, on the device that computed it.
// Grid-stride: any grid covers any length. Four accesses are in flight per thread before the first is used.

// a double in [1, 2) whose 52 bits of mantissa are a mix of its index and a seed (splitmix64: Steele et al., OOPSLA 2014)
__device__ __forceinline__ double value_at(unsigned long long index, unsigned long long seed) {
    unsigned long long z = (index + 1) * 0x9E3779B97F4A7C15ULL + seed;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    z ^= z >> 31;
    return __longlong_as_double((long long)((z >> 12) | 0x3FF0000000000000ULL));
}

#define FIRST (blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x)
#define STRIDE ((unsigned long long)gridDim.x * blockDim.x)
#define EACH(i, pairs) for (unsigned long long i = FIRST; i < (pairs); i += STRIDE)
// four accesses a turn while whole turns are left, then one
#define FOUR(i, pairs) for (; i + 3 * stride < (pairs); i += 4 * stride)
#define REST(i, pairs) for (; i < (pairs); i += stride)

extern "C" __global__ void stream_fill(double2* a, unsigned long long pairs, unsigned long long seed) {
    EACH(i, pairs) {
        double2 both;
        both.x = value_at(2 * i, seed);
        both.y = value_at(2 * i + 1, seed);
        a[i] = both;
    }
}

extern "C" __global__ void stream_write(double2* __restrict__ a, unsigned long long pairs, double value) {
    double2 both;
    both.x = value;
    both.y = value;
    EACH(i, pairs) a[i] = both;
}

extern "C" __global__ void stream_read(const ulonglong2* __restrict__ a, unsigned long long pairs,
                                       unsigned long long* __restrict__ sums) {
    unsigned long long stride = STRIDE, i = FIRST, sum = 0;
    FOUR(i, pairs) {
        ulonglong2 p = a[i], q = a[i + stride], r = a[i + 2 * stride], s = a[i + 3 * stride];
        sum += p.x + p.y + q.x + q.y + r.x + r.y + s.x + s.y;
    }
    REST(i, pairs) sum += a[i].x + a[i].y;
    sums[FIRST] = sum;
}

// the same again and again, past the first level: what stays in the second does not come from memory
extern "C" __global__ void stream_again(const ulonglong2* a, unsigned long long pairs, unsigned long long passes,
                                        unsigned long long* __restrict__ sums) {
    unsigned long long sum = 0;
    for (unsigned long long pass = 0; pass < passes; pass++) {
        unsigned long long stride = STRIDE, i = FIRST;
        FOUR(i, pairs) {
            ulonglong2 p = __ldcg(a + i), q = __ldcg(a + i + stride);
            ulonglong2 r = __ldcg(a + i + 2 * stride), s = __ldcg(a + i + 3 * stride);
            sum += p.x + p.y + q.x + q.y + r.x + r.y + s.x + s.y;
        }
        REST(i, pairs) {
            ulonglong2 p = __ldcg(a + i);
            sum += p.x + p.y;
        }
    }
    sums[FIRST] = sum;
}

extern "C" __global__ void stream_copy(const double2* __restrict__ a, double2* __restrict__ c,
                                       unsigned long long pairs) {
    unsigned long long stride = STRIDE, i = FIRST;
    FOUR(i, pairs) {
        double2 p = a[i], q = a[i + stride], r = a[i + 2 * stride], s = a[i + 3 * stride];
        c[i] = p, c[i + stride] = q, c[i + 2 * stride] = r, c[i + 3 * stride] = s;
    }
    REST(i, pairs) c[i] = a[i];
}

extern "C" __global__ void stream_scale(const double2* __restrict__ a, double2* __restrict__ c,
                                        unsigned long long pairs, double factor) {
    unsigned long long stride = STRIDE, i = FIRST;
    FOUR(i, pairs) {
        double2 p = a[i], q = a[i + stride], r = a[i + 2 * stride], s = a[i + 3 * stride];
        p.x *= factor, p.y *= factor, q.x *= factor, q.y *= factor;
        r.x *= factor, r.y *= factor, s.x *= factor, s.y *= factor;
        c[i] = p, c[i + stride] = q, c[i + 2 * stride] = r, c[i + 3 * stride] = s;
    }
    REST(i, pairs) {
        double2 p = a[i];
        p.x *= factor, p.y *= factor;
        c[i] = p;
    }
}

extern "C" __global__ void stream_add(const double2* __restrict__ a, const double2* __restrict__ b,
                                      double2* __restrict__ c, unsigned long long pairs) {
    unsigned long long stride = STRIDE, i = FIRST;
    for (; i + stride < pairs; i += 2 * stride) {
        double2 p = a[i], q = a[i + stride], r = b[i], s = b[i + stride];
        p.x += r.x, p.y += r.y, q.x += s.x, q.y += s.y;
        c[i] = p, c[i + stride] = q;
    }
    REST(i, pairs) {
        double2 p = a[i], r = b[i];
        p.x += r.x, p.y += r.y;
        c[i] = p;
    }
}

extern "C" __global__ void stream_triad(const double2* __restrict__ a, const double2* __restrict__ b,
                                        double2* __restrict__ c, unsigned long long pairs, double factor) {
    unsigned long long stride = STRIDE, i = FIRST;
    for (; i + stride < pairs; i += 2 * stride) {
        double2 p = a[i], q = a[i + stride], r = b[i], s = b[i + stride];
        p.x = fma(factor, r.x, p.x), p.y = fma(factor, r.y, p.y);
        q.x = fma(factor, s.x, q.x), q.y = fma(factor, s.y, q.y);
        c[i] = p, c[i + stride] = q;
    }
    REST(i, pairs) {
        double2 p = a[i], r = b[i];
        p.x = fma(factor, r.x, p.x), p.y = fma(factor, r.y, p.y);
        c[i] = p;
    }
}

// what `c` must hold at an index, for the operation whose number is given (see kernels/cuda/streams.py)
__device__ __forceinline__ double expected_at(unsigned long long index, int operation, unsigned long long seed_a,
                                              unsigned long long seed_b, double factor) {
    double a = value_at(index, seed_a);
    if (operation == 1) return factor;                                  // write
    if (operation == 2) return a * factor;                              // scale
    if (operation == 3) return a + value_at(index, seed_b);             // add
    if (operation == 4) return fma(factor, value_at(index, seed_b), a); // triad
    return a;                                                           // copy
}

// found[0]: how many elements differ; found[1]: the lowest index of one, all ones while there is none
extern "C" __global__ void stream_check(const double2* c, unsigned long long pairs, int operation,
                                        unsigned long long seed_a, unsigned long long seed_b, double factor,
                                        unsigned long long* found) {
    EACH(i, pairs) {
        double2 both = c[i];
        for (int half = 0; half < 2; half++) {
            unsigned long long index = 2 * i + half;
            double wanted = expected_at(index, operation, seed_a, seed_b, factor);
            if (__double_as_longlong(half ? both.y : both.x) != __double_as_longlong(wanted)) {
                atomicAdd(found, 1ULL);
                atomicMin(found + 1, index);
            }
        }
    }
}

// the sum of the bits of all values, mod 2^64, from the closed form alone: what the parts of stream_read must add up to
extern "C" __global__ void stream_total(unsigned long long pairs, unsigned long long seed, unsigned long long* total) {
    unsigned long long sum = 0;
    EACH(i, pairs) {
        sum += (unsigned long long)__double_as_longlong(value_at(2 * i, seed));
        sum += (unsigned long long)__double_as_longlong(value_at(2 * i + 1, seed));
    }
    atomicAdd(total, sum);
}
