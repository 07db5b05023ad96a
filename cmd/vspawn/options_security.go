//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/vspawn"
)

func setCapabilities(r *request, value string) error {
	parts := strings.Split(value, "/")
	if len(parts) > 3 {
		return errors.New("want PERMITTED[/EFFECTIVE[/INHERITABLE]]")
	}
	var sets [3]vspawn.CapSet
	for i, part := range parts {
		var err error
		if sets[i], err = parseCaps(part); err != nil {
			return err
		}
	}
	if len(parts) == 1 {
		sets[1] = sets[0]
	}
	r.attr.Capabilities = &vspawn.Capabilities{Permitted: sets[0], Effective: sets[1], Inheritable: sets[2]}
	return nil
}

func setAmbient(r *request, value string) (err error) {
	r.attr.Ambient, err = parseCaps(value)
	return err
}

func setBounding(r *request, value string) error {
	set, err := parseCaps(value)
	r.attr.Bounding = &set
	return err
}

// parseCaps takes names, with or without their cap_, and all; a minus before
// one takes it away from those to its left.
func parseCaps(value string) (set vspawn.CapSet, err error) {
	for _, item := range split(value) {
		name, minus := strings.CutPrefix(strings.ToLower(item), "-")
		some, all := allCaps, name == "all"
		if !all {
			n, ok := capabilities[strings.TrimPrefix(name, "cap_")]
			if !ok {
				return 0, fmt.Errorf("%q is not a capability", item)
			}
			some = vspawn.Caps(n)
		}
		if minus {
			set &^= some
		} else {
			set |= some
		}
	}
	return set, nil
}

const allCaps vspawn.CapSet = 1<<(unix.CAP_LAST_CAP+1) - 1

// capabilities are those of capabilities(7), without their prefix.
var capabilities = map[string]int{
	"audit_control": unix.CAP_AUDIT_CONTROL, "audit_read": unix.CAP_AUDIT_READ, "audit_write": unix.CAP_AUDIT_WRITE,
	"block_suspend": unix.CAP_BLOCK_SUSPEND, "bpf": unix.CAP_BPF, "checkpoint_restore": unix.CAP_CHECKPOINT_RESTORE,
	"chown": unix.CAP_CHOWN, "dac_override": unix.CAP_DAC_OVERRIDE, "dac_read_search": unix.CAP_DAC_READ_SEARCH,
	"fowner": unix.CAP_FOWNER, "fsetid": unix.CAP_FSETID, "ipc_lock": unix.CAP_IPC_LOCK, "ipc_owner": unix.CAP_IPC_OWNER,
	"kill": unix.CAP_KILL, "lease": unix.CAP_LEASE, "linux_immutable": unix.CAP_LINUX_IMMUTABLE,
	"mac_admin": unix.CAP_MAC_ADMIN, "mac_override": unix.CAP_MAC_OVERRIDE, "mknod": unix.CAP_MKNOD,
	"net_admin": unix.CAP_NET_ADMIN, "net_bind_service": unix.CAP_NET_BIND_SERVICE, "net_broadcast": unix.CAP_NET_BROADCAST,
	"net_raw": unix.CAP_NET_RAW, "perfmon": unix.CAP_PERFMON, "setfcap": unix.CAP_SETFCAP, "setgid": unix.CAP_SETGID,
	"setpcap": unix.CAP_SETPCAP, "setuid": unix.CAP_SETUID, "sys_admin": unix.CAP_SYS_ADMIN, "sys_boot": unix.CAP_SYS_BOOT,
	"sys_chroot": unix.CAP_SYS_CHROOT, "sys_module": unix.CAP_SYS_MODULE, "sys_nice": unix.CAP_SYS_NICE,
	"sys_pacct": unix.CAP_SYS_PACCT, "sys_ptrace": unix.CAP_SYS_PTRACE, "sys_rawio": unix.CAP_SYS_RAWIO,
	"sys_resource": unix.CAP_SYS_RESOURCE, "sys_time": unix.CAP_SYS_TIME, "sys_tty_config": unix.CAP_SYS_TTY_CONFIG,
	"syslog": unix.CAP_SYSLOG, "wake_alarm": unix.CAP_WAKE_ALARM,
}

func setSecurebits(r *request, value string) error {
	set, err := bits(value, "securebit", securebits)
	r.attr.Securebits = vspawn.Ptr(int(set))
	return err
}

// securebits are setpriv's names.
var securebits = map[string]uint64{
	"noroot": vspawn.SECBIT_NOROOT, "noroot_locked": vspawn.SECBIT_NOROOT_LOCKED,
	"no_setuid_fixup": vspawn.SECBIT_NO_SETUID_FIXUP, "no_setuid_fixup_locked": vspawn.SECBIT_NO_SETUID_FIXUP_LOCKED,
	"keep_caps": vspawn.SECBIT_KEEP_CAPS, "keep_caps_locked": vspawn.SECBIT_KEEP_CAPS_LOCKED,
	"no_cap_ambient_raise": vspawn.SECBIT_NO_CAP_AMBIENT_RAISE, "no_cap_ambient_raise_locked": vspawn.SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED,
}

func setLandlockAccess(r *request, value string) error {
	l := r.landlock()
	kind, list, _ := strings.Cut(value, ":")
	rights, names := &l.FS, fsRights
	switch kind {
	case "fs":
	case "net":
		rights, names = &l.Net, netRights
	case "scope":
		rights, names = &l.Scope, scopes
	default:
		return fmt.Errorf("%q is neither fs, net nor scope", kind)
	}
	set, err := bits(list, "right of "+kind, names)
	*rights |= set
	return err
}

func setLandlockRule(r *request, value string) error {
	l := r.landlock()
	parts := strings.SplitN(value, ":", 3)
	if len(parts) != 3 {
		return errors.New("want KIND:RIGHT,...:OBJECT")
	}
	kind, list, object := parts[0], parts[1], parts[2]
	switch kind {
	case "path":
		set, err := bits(list, "right of fs", fsRights)
		l.Paths = append(l.Paths, vspawn.LandlockPath{Path: object, Allow: set})
		return err
	case "port":
		port, err := strconv.ParseUint(object, 10, 16)
		if err != nil {
			return fmt.Errorf("%q: %w", object, cause(err))
		}
		set, err := bits(list, "right of net", netRights)
		l.Ports = append(l.Ports, vspawn.LandlockPort{Port: int(port), Allow: set})
		return err
	}
	return fmt.Errorf("%q is neither path nor port", kind)
}

func (r *request) landlock() *vspawn.Landlock {
	if r.attr.Landlock == nil {
		r.attr.Landlock = &vspawn.Landlock{}
	}
	return r.attr.Landlock
}

// The rights of landlock(7), with setpriv's names. A kernel that does not know
// one of them refuses the lot.
var (
	fsRights = map[string]uint64{
		"execute": unix.LANDLOCK_ACCESS_FS_EXECUTE, "write-file": unix.LANDLOCK_ACCESS_FS_WRITE_FILE,
		"read-file": unix.LANDLOCK_ACCESS_FS_READ_FILE, "read-dir": unix.LANDLOCK_ACCESS_FS_READ_DIR,
		"remove-dir": unix.LANDLOCK_ACCESS_FS_REMOVE_DIR, "remove-file": unix.LANDLOCK_ACCESS_FS_REMOVE_FILE,
		"make-char": unix.LANDLOCK_ACCESS_FS_MAKE_CHAR, "make-dir": unix.LANDLOCK_ACCESS_FS_MAKE_DIR,
		"make-reg": unix.LANDLOCK_ACCESS_FS_MAKE_REG, "make-sock": unix.LANDLOCK_ACCESS_FS_MAKE_SOCK,
		"make-fifo": unix.LANDLOCK_ACCESS_FS_MAKE_FIFO, "make-block": unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK,
		"make-sym": unix.LANDLOCK_ACCESS_FS_MAKE_SYM, "refer": unix.LANDLOCK_ACCESS_FS_REFER,
		"truncate": unix.LANDLOCK_ACCESS_FS_TRUNCATE, "ioctl-dev": unix.LANDLOCK_ACCESS_FS_IOCTL_DEV,
		"all": unix.LANDLOCK_ACCESS_FS_IOCTL_DEV<<1 - 1,
	}
	netRights = map[string]uint64{
		"bind-tcp": unix.LANDLOCK_ACCESS_NET_BIND_TCP, "connect-tcp": unix.LANDLOCK_ACCESS_NET_CONNECT_TCP,
		"all": unix.LANDLOCK_ACCESS_NET_CONNECT_TCP<<1 - 1,
	}
	scopes = map[string]uint64{
		"abstract-unix-socket": unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET, "signal": unix.LANDLOCK_SCOPE_SIGNAL,
		"all": unix.LANDLOCK_SCOPE_SIGNAL<<1 - 1,
	}
)

// setSeccomp reads an array of struct sock_filter, as seccomp_export_bpf(3)
// writes it.
func setSeccomp(r *request, value string) error {
	const size, most = 8, 4096 // BPF_MAXINSNS
	f, err := os.Open(value)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, size*most+1))
	switch {
	case err != nil:
		return err
	case len(b) == 0 || len(b) > size*most || len(b)%size != 0:
		return fmt.Errorf("want 1 to %d instructions of %d bytes", most, size)
	}
	native := binary.NativeEndian
	r.attr.Seccomp = make([]vspawn.BPF, len(b)/size)
	for i := range r.attr.Seccomp {
		r.attr.Seccomp[i] = vspawn.BPF{Op: native.Uint16(b), Jt: b[2], Jf: b[3], K: native.Uint32(b[4:])}
		b = b[size:]
	}
	return nil
}
