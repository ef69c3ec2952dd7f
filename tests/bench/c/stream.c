/* STREAM in C, the yardstick for our own: six loops, plain and streaming stores, OpenMP, 2 MiB pages.
 *
 *   gcc -O3 -march=native -fopenmp stream.c -o stream
 *   ./stream BYTES_PER_ARRAY REPEATS [KERNEL | -]
 *
 * Prints one JSON object (with "-" one for each kernel named on a line of stdin): {"triad": {"plain": {"median": B/s, "best": B/s}, "streaming": {...}}, ...,
 * "wrong": elements that differ from the closed form}. Bytes are counted as STREAM counts them.
 */
#define _GNU_SOURCE
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#if defined(__AVX512F__) || defined(__AVX__) || defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
typedef __m512d vec;
#define LOAD(p) _mm512_load_pd(p)
#define STORE(p, v) _mm512_store_pd(p, v)
#define STREAM(p, v) _mm512_stream_pd(p, v)
#define SET(x) _mm512_set1_pd(x)
#define ADD(x, y) _mm512_add_pd(x, y)
#define MUL(x, y) _mm512_mul_pd(x, y)
#define FENCE() _mm_sfence()
#elif defined(__AVX__)
typedef __m256d vec;
#define LOAD(p) _mm256_load_pd(p)
#define STORE(p, v) _mm256_store_pd(p, v)
#define STREAM(p, v) _mm256_stream_pd(p, v)
#define SET(x) _mm256_set1_pd(x)
#define ADD(x, y) _mm256_add_pd(x, y)
#define MUL(x, y) _mm256_mul_pd(x, y)
#define FENCE() _mm_sfence()
#elif defined(__SSE2__)
typedef __m128d vec;
#define LOAD(p) _mm_load_pd(p)
#define STORE(p, v) _mm_store_pd(p, v)
#define STREAM(p, v) _mm_stream_pd(p, v)
#define SET(x) _mm_set1_pd(x)
#define ADD(x, y) _mm_add_pd(x, y)
#define MUL(x, y) _mm_mul_pd(x, y)
#define FENCE() _mm_sfence()
#else /* no portable streaming store: both figures are of plain stores */
typedef double vec;
#define LOAD(p) (*(p))
#define STORE(p, v) (*(p) = (v))
#define STREAM(p, v) (*(p) = (v))
#define SET(x) (x)
#define ADD(x, y) ((x) + (y))
#define MUL(x, y) ((x) * (y))
#define FENCE() __sync_synchronize()
#endif

#define LANES ((int64_t)(sizeof(vec) / sizeof(double)))
#define FACTOR 3.0
#define HUGE_PAGE ((size_t)2 << 20)

enum kind { READ, WRITE, COPY, SCALE, ADD_, TRIAD, KINDS };
static const char *const names[KINDS] = {"read", "write", "copy", "scale", "add", "triad"};
static const double bytes_each[KINDS] = {8, 8, 16, 16, 24, 24};

static volatile double sink;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double *room(size_t bytes) {
    char *raw = mmap(NULL, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED) {
        perror("mmap");
        exit(3);
    }
    raw = (char *)(((uintptr_t)raw + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
    madvise(raw, bytes, MADV_HUGEPAGE);
    return (double *)raw;
}

#define LOOP(body)                                     \
    _Pragma("omp for schedule(static) nowait")         \
    for (int64_t i = 0; i < n; i += LANES) { body; }

/* one pass; a kernel of STREAM is one parallel region, its time includes the barrier that ends it */
static void pass(enum kind kind, int streaming, double *restrict c, const double *restrict a,
                 const double *restrict b, int64_t n) {
    const vec s = SET(FACTOR);
    double sum = 0;
#pragma omp parallel reduction(+ : sum)
    {
        if (kind == READ) {
            vec x0 = SET(0), x1 = SET(0), x2 = SET(0), x3 = SET(0);
            _Pragma("omp for schedule(static) nowait")
            for (int64_t i = 0; i < n; i += 4 * LANES) {
                x0 = ADD(x0, LOAD(a + i));
                x1 = ADD(x1, LOAD(a + i + LANES));
                x2 = ADD(x2, LOAD(a + i + 2 * LANES));
                x3 = ADD(x3, LOAD(a + i + 3 * LANES));
            }
            double out[sizeof(vec) / sizeof(double)] __attribute__((aligned(64)));
            STORE(out, ADD(ADD(x0, x1), ADD(x2, x3)));
            for (int64_t i = 0; i < LANES; i++) sum += out[i];
        } else if (!streaming) {
            if (kind == WRITE) { LOOP(STORE(c + i, s)) }
            if (kind == COPY) { LOOP(STORE(c + i, LOAD(a + i))) }
            if (kind == SCALE) { LOOP(STORE(c + i, MUL(s, LOAD(a + i)))) }
            if (kind == ADD_) { LOOP(STORE(c + i, ADD(LOAD(a + i), LOAD(b + i)))) }
            if (kind == TRIAD) { LOOP(STORE(c + i, ADD(LOAD(a + i), MUL(s, LOAD(b + i))))) }
        } else {
            if (kind == WRITE) { LOOP(STREAM(c + i, s)) }
            if (kind == COPY) { LOOP(STREAM(c + i, LOAD(a + i))) }
            if (kind == SCALE) { LOOP(STREAM(c + i, MUL(s, LOAD(a + i)))) }
            if (kind == ADD_) { LOOP(STREAM(c + i, ADD(LOAD(a + i), LOAD(b + i)))) }
            if (kind == TRIAD) { LOOP(STREAM(c + i, ADD(LOAD(a + i), MUL(s, LOAD(b + i))))) }
            FENCE();
        }
    }
    sink = sum;
}

static int64_t wrong(enum kind kind, double *c, const double *a, const double *b, int64_t n) {
    int64_t bad = 0;
    if (kind == READ) return sink != (double)n * 1.0;
#pragma omp parallel for schedule(static) reduction(+ : bad)
    for (int64_t i = 0; i < n; i++) {
        const double want[KINDS] = {0, FACTOR, a[i], FACTOR * a[i], a[i] + b[i], a[i] + FACTOR * b[i]};
        bad += c[i] != want[kind];
        c[i] = -1;
    }
    return bad;
}

static int ascending(const void *x, const void *y) {
    const double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

/* Measure one loop, print its JSON; wrong elements are returned. */
static int64_t measure(enum kind kind, double *c, const double *a, const double *b, int64_t n, double *rates,
                       int repeats) {
    int64_t bad = 0;
    printf("\"%s\": {", names[kind]);
    for (int streaming = 0; streaming < (kind == READ ? 1 : 2); streaming++) {
        for (int r = -2; r < repeats; r++) { /* two passes warm */
            const double start = now();
            pass(kind, streaming, c, a, b, n);
            if (r >= 0) rates[r] = bytes_each[kind] * (double)n / (now() - start);
        }
        bad += wrong(kind, c, a, b, n);
        qsort(rates, (size_t)repeats, sizeof(double), ascending);
        printf("%s\"%s\": {\"median\": %.6e, \"best\": %.6e}", streaming ? ", " : "",
               streaming ? "streaming" : "plain", rates[repeats / 2], rates[repeats - 1]);
    }
    printf("}, ");
    return bad;
}

static int kind_of(const char *name) {
    for (int kind = 0; kind < KINDS; kind++) {
        if (strcmp(name, names[kind]) == 0) return kind;
    }
    return -1;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: %s BYTES_PER_ARRAY REPEATS [KERNEL | -]\n", argv[0]);
        return 2;
    }
    const size_t bytes = strtoull(argv[1], NULL, 10) / 4096 * 4096;
    const int repeats = atoi(argv[2]);
    const char *only = argc > 3 ? argv[3] : "";
    const int64_t n = (int64_t)(bytes / sizeof(double));
    double *a = room(bytes), *b = room(bytes), *c = room(bytes);
    double *rates = malloc(sizeof(double) * (size_t)repeats);
    int64_t bad = 0;

#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) a[i] = 1.0, b[i] = 2.0, c[i] = -1.0;

    if (strcmp(only, "-") == 0) { /* answer one name a line, so that another program can take turns with us */
        char name[32];
        while (scanf("%31s", name) == 1) {
            const int kind = kind_of(name);
            if (kind < 0) return 2;
            printf("{");
            bad += measure((enum kind)kind, c, a, b, n, rates, repeats);
            printf("\"threads\": %d, \"wrong\": %lld}\n", omp_get_max_threads(), (long long)bad);
            fflush(stdout);
        }
        return bad ? 1 : 0;
    }
    printf("{");
    for (int kind = 0; kind < KINDS; kind++) {
        if (!*only || strcmp(only, names[kind]) == 0) bad += measure((enum kind)kind, c, a, b, n, rates, repeats);
    }
    printf("\"threads\": %d, \"wrong\": %lld}\n", omp_get_max_threads(), (long long)bad);
    return bad ? 1 : 0;
}
