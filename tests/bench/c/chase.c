/* Pointer chase in C, the yardstick for our own: one Sattolo cycle, one node per 64-byte line.
 *
 *   gcc -O3 -march=native chase.c -o chase
 *   ./chase BYTES HOPS ROUNDS [4k]
 *
 * Prints one JSON object: {"median": s per hop, "best": s per hop, "page_bytes": obtained, "nodes": n}. The cycle lies on
 * 2 MiB pages, or on 4 KiB pages when the last argument says so. Pin it with taskset.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define NODE_WORDS 8
#define HUGE_PAGE ((size_t)2 << 20)

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint64_t state = 88172645463325252u;

static uint64_t random_below(uint64_t bound) { /* xorshift64 */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 32) * bound >> 32;
}

static int ascending(const void *x, const void *y) {
    const double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

/* AnonHugePages of the mapping that begins at or before `address` and ends after it, in bytes */
static size_t huge_bytes(const void *address) {
    FILE *file = fopen("/proc/self/smaps", "r");
    char line[512];
    uintptr_t begin, end, want = (uintptr_t)address;
    int inside = 0;
    size_t kib = 0;
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &begin, &end) == 2) inside = begin <= want && want < end;
        if (inside && sscanf(line, "AnonHugePages: %zu", &kib) == 1) break;
    }
    if (file) fclose(file);
    return kib << 10;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: %s BYTES HOPS ROUNDS [4k]\n", argv[0]);
        return 2;
    }
    const size_t bytes = strtoull(argv[1], NULL, 10), nodes = bytes / (8 * NODE_WORDS);
    const int64_t hops = strtoll(argv[2], NULL, 10) / 16 * 16;
    const int rounds = atoi(argv[3]);
    const int small = argc > 4 && strcmp(argv[4], "4k") == 0;

    char *raw = mmap(NULL, bytes + 2 * HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED) {
        perror("mmap");
        return 3;
    }
    raw = (char *)(((uintptr_t)raw + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
    const size_t whole = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    madvise(raw, whole, small ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);

    uint32_t *order = malloc(nodes * sizeof *order);
    for (size_t i = 0; i < nodes; i++) order[i] = (uint32_t)i;
    for (size_t i = nodes - 1; i > 0; i--) {
        const size_t j = random_below(i);
        const uint32_t t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    uintptr_t *words = (uintptr_t *)raw;
    for (size_t i = 0; i < nodes; i++) words[i * NODE_WORDS] = (uintptr_t)(words + (size_t)order[i] * NODE_WORDS);
    free(order);

    double *times = malloc(sizeof(double) * (size_t)rounds);
    uintptr_t *at = words;
    for (int r = -2; r < rounds; r++) { /* two rounds warm */
        const double start = now();
        for (int64_t h = 0; h < hops; h += 16) {
#pragma GCC unroll 16
            for (int k = 0; k < 16; k++) at = (uintptr_t *)*at;
        }
        if (r >= 0) times[r] = (now() - start) / (double)hops;
    }
    qsort(times, (size_t)rounds, sizeof(double), ascending);
    printf("{\"median\": %.6e, \"best\": %.6e, \"page_bytes\": %d, \"nodes\": %zu, \"end\": %zu}\n", times[rounds / 2],
           times[0], huge_bytes(raw) >= whole / 100 * 95 ? 2 << 20 : 4096, nodes, (size_t)(at - words) / NODE_WORDS);
    return 0;
}
