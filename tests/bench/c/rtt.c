/* TCP round trip on loopback in C: one byte there, one byte back, TCP_NODELAY, client and server in two processes.
 *
 *   gcc -O3 -march=native rtt.c -o rtt
 *   ./rtt ROUND_TRIPS [BYTES]
 *
 * Prints one JSON object: {"median_ns": ..., "p95_ns": ..., "p99_ns": ..., "n": ...}.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST_BYTES 65536
#define WARM 200

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void fail(const char *what) {
    perror(what);
    exit(3);
}

static void no_delay(int link) {
    const int one = 1;
    if (setsockopt(link, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one)) fail("TCP_NODELAY");
}

static void move_all(int link, char *buffer, size_t bytes, int sends) {
    for (size_t done = 0; done < bytes;) {
        const ssize_t got = sends ? send(link, buffer + done, bytes - done, 0) : recv(link, buffer + done, bytes - done, 0);
        if (got <= 0) {
            if (!sends && got == 0) exit(0); /* the client is done */
            fail(sends ? "send" : "recv");
        }
        done += (size_t)got;
    }
}

static int ascending(const void *x, const void *y) {
    const int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return (a > b) - (a < b);
}

int main(int argc, char **argv) {
    const int trips = argc > 1 ? atoi(argv[1]) : 0;
    const size_t bytes = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    static char buffer[MOST_BYTES];
    if (trips < 1 || bytes < 1 || bytes > MOST_BYTES) {
        fprintf(stderr, "usage: %s ROUND_TRIPS [BYTES <= %d]\n", argv[0], MOST_BYTES);
        return 2;
    }
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof place;
    if (listener < 0 || bind(listener, (struct sockaddr *)&place, size) || listen(listener, 1)) fail("listen");
    if (getsockname(listener, (struct sockaddr *)&place, &size)) fail("getsockname");

    const pid_t server = fork();
    if (server < 0) fail("fork");
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        const int link = accept(listener, NULL, NULL);
        if (link < 0) fail("accept");
        no_delay(link);
        for (;;) {
            move_all(link, buffer, bytes, 0);
            move_all(link, buffer, bytes, 1);
        }
    }
    const int link = socket(AF_INET, SOCK_STREAM, 0);
    if (link < 0 || connect(link, (struct sockaddr *)&place, size)) fail("connect");
    no_delay(link);

    int64_t *times = malloc(sizeof(int64_t) * (size_t)trips);
    for (int trip = -WARM; trip < trips; trip++) {
        const int64_t start = now_ns();
        move_all(link, buffer, bytes, 1);
        move_all(link, buffer, bytes, 0);
        if (trip >= 0) times[trip] = now_ns() - start;
    }
    close(link);
    waitpid(server, NULL, 0);
    qsort(times, (size_t)trips, sizeof(int64_t), ascending);
    printf("{\"median_ns\": %lld, \"p95_ns\": %lld, \"p99_ns\": %lld, \"n\": %d}\n", (long long)times[trips / 2],
           (long long)times[(int)(trips * 0.95)], (long long)times[(int)(trips * 0.99)], trips);
    return 0;
}
