// A peer for the benchmark: reads "method count", starts that many children,
// one after the other, waits for each, and answers the nanoseconds it took.
#define _GNU_SOURCE
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv)
{
	char method[16], *child[] = {argv[1], NULL};
	int n, status;

	while (scanf("%15s %d", method, &n) == 2) {
		struct timespec a, b;
		clock_gettime(CLOCK_MONOTONIC, &a);
		for (int i = 0; i < n; i++) {
			pid_t pid = -1;
			if (!strcmp(method, "vfork")) {
				pid = vfork();
				if (pid == 0) {
					execve(child[0], child, environ);
					_exit(127);
				}
			} else if (!strcmp(method, "spawn")) {
				if (posix_spawn(&pid, child[0], NULL, NULL, child, environ))
					pid = -1;
			}
			if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
				return 1;
		}
		clock_gettime(CLOCK_MONOTONIC, &b);
		printf("%lld\n", (b.tv_sec - a.tv_sec) * 1000000000LL + b.tv_nsec - a.tv_nsec);
		fflush(stdout);
	}
	return 0;
}
