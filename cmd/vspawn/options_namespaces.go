//go:build linux

package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/vspawn"
)

func namespaceFlags(field func(*request) *uintptr) func(*request, string) error {
	return func(r *request, value string) error {
		set, err := bits(value, "namespace", namespaces)
		*field(r) |= uintptr(set)
		return err
	}
}

var namespaces = map[string]uint64{
	"cgroup": unix.CLONE_NEWCGROUP, "ipc": unix.CLONE_NEWIPC, "mount": unix.CLONE_NEWNS, "net": unix.CLONE_NEWNET,
	"pid": unix.CLONE_NEWPID, "time": unix.CLONE_NEWTIME, "user": unix.CLONE_NEWUSER, "uts": unix.CLONE_NEWUTS,
}

func setSetns(r *request, value string) error {
	number, list, _ := strings.Cut(value, ":")
	if pid, err := strconv.Atoi(number); err == nil {
		set, err := bits(list, "namespace", namespaces)
		if err == nil && pid < 1 {
			err = fmt.Errorf("%d is not a pid", pid)
		}
		r.attr.Setns = append(r.attr.Setns, vspawn.Namespace{Pid: pid, Flags: uintptr(set)})
		return err
	}
	f, err := r.open(value, unix.O_RDONLY)
	r.attr.Setns = append(r.attr.Setns, vspawn.Namespace{FD: f})
	return err
}

func idMap(field func(*request) *[]vspawn.IDMap) func(*request, string) error {
	return func(r *request, value string) error {
		parts := strings.Split(value, ":")
		var n [3]int
		if len(parts) != len(n) {
			return errors.New("want INSIDE:OUTSIDE:SIZE")
		}
		for i, part := range parts {
			v, err := strconv.ParseUint(part, 10, 32)
			if err != nil {
				return fmt.Errorf("%q: %w", part, cause(err))
			}
			n[i] = int(v)
		}
		list := field(r)
		*list = append(*list, vspawn.IDMap{Inside: n[0], Outside: n[1], Size: n[2]})
		return nil
	}
}

func setMount(r *request, value string) error {
	parts := strings.SplitN(value, ":", 4)
	if len(parts) < 3 {
		return errors.New("want SOURCE:TARGET:TYPE[:OPTIONS]")
	}
	m := vspawn.Mount{Source: parts[0], Target: parts[1], Type: parts[2]}
	if len(parts) == 4 {
		var data []string
		for _, option := range split(parts[3]) {
			if flag, ok := mountFlags[option]; ok {
				m.Flags |= flag
			} else {
				data = append(data, option)
			}
		}
		m.Data = strings.Join(data, ",")
	}
	r.attr.Mounts = append(r.attr.Mounts, m)
	return nil
}

// mountFlags are the options of mount(8) that mount(2) has a flag for. All
// others are the file system's.
var mountFlags = map[string]uintptr{
	"bind": unix.MS_BIND, "rbind": unix.MS_BIND | unix.MS_REC, "move": unix.MS_MOVE, "remount": unix.MS_REMOUNT,
	"private": unix.MS_PRIVATE, "rprivate": unix.MS_PRIVATE | unix.MS_REC, "shared": unix.MS_SHARED, "rshared": unix.MS_SHARED | unix.MS_REC,
	"slave": unix.MS_SLAVE, "rslave": unix.MS_SLAVE | unix.MS_REC, "unbindable": unix.MS_UNBINDABLE, "runbindable": unix.MS_UNBINDABLE | unix.MS_REC,
	"ro": unix.MS_RDONLY, "rw": 0, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC,
	"nosymfollow": unix.MS_NOSYMFOLLOW, "sync": unix.MS_SYNCHRONOUS, "dirsync": unix.MS_DIRSYNC, "silent": unix.MS_SILENT,
	"noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME, "relatime": unix.MS_RELATIME, "strictatime": unix.MS_STRICTATIME,
	"lazytime": unix.MS_LAZYTIME, "defaults": 0,
}
