package main

import "syscall"

/*
#define _GNU_SOURCE
#include <errno.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int ended(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return errno;
	return status ? EPROTO : 0;
}

static int by_vfork(char *path)
{
	char *argv[] = {path, 0};
	pid_t pid = vfork();

	if (pid == 0) {
		execve(path, argv, environ);
		_exit(127);
	}
	return pid < 0 ? errno : ended(pid);
}

static int by_fork(char *path)
{
	char *argv[] = {path, 0};
	pid_t pid = fork();

	if (pid == 0) {
		execve(path, argv, environ);
		_exit(127);
	}
	return pid < 0 ? errno : ended(pid);
}

static int by_spawn(char *path)
{
	char *argv[] = {path, 0};
	pid_t pid;
	int err = posix_spawn(&pid, path, 0, 0, argv, environ);

	return err ? err : ended(pid);
}
*/
import "C"

// cWays are the ways of C, in this process.
func cWays(path string) []way {
	p := C.CString(path) // for good
	by := func(name string, f func() C.int) way {
		return way{name: name, once: func() error {
			if errno := f(); errno != 0 {
				return syscall.Errno(errno)
			}
			return nil
		}}
	}
	return []way{
		by("C vfork", func() C.int { return C.by_vfork(p) }),
		by("C posix_spawn", func() C.int { return C.by_spawn(p) }),
		by("C fork", func() C.int { return C.by_fork(p) }),
	}
}
