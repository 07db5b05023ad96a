package vspawn

// An attribute is one entry of the list of all that a child can be given.
type attribute struct {
	field string                  // the field of Attr that stands for it
	with  fields                  // those that belong to it
	why   string                  // why it has its place in the order
	add   func(c *compiler) error // checks it, and appends the child's system calls
}

type fields []string

// attributes is the list, in the order in which the child applies it. Env and ExecFD
// are arguments of the exec behind it, and Syscalls go before the fields that they name.
var attributes = []attribute{
	{"Cgroup", nil, "part of clone3 itself", addCgroup},
	{"Cloneflags", nil, "part of clone itself", addNamespaces},
	{"UIDMap", fields{"GIDMap", "AllowSetgroups"}, "before the calls that need an id, or a capability, in the new namespace", addIDMaps},
	{"DefaultSignals", fields{"IgnoreSignals"}, "early: no handler of the parent's may run once the mask is lifted", addDispositions},
	{"Setsid", nil, "before the terminal, which only a session leader can take", addSetsid},
	{"Pgid", nil, "before the group is made the foreground", addPgid},
	{"TTY", fields{"ControllingTTY", "Foreground"}, "while the parent's descriptor of it is still open", addTTY},
	{"Scheduler", nil, "while privileged; before Nice, which it sets as well", addScheduler},
	{"Nice", nil, "while privileged, to lower it", addNice},
	{"IOPriority", nil, "while privileged", addIOPriority},
	{"Affinity", nil, "while privileged", addAffinity},
	{"CoreSched", nil, "anywhere before exec", addCoreSched},
	{"TimerSlack", nil, "anywhere before exec", addTimerSlack},
	{"OOMScoreAdj", nil, "while privileged, and while /proc is the parent's; here if it lowers the parent's value", addOOMScoreAdj},
	{"Personality", nil, "before exec, which heeds it", addPersonality},
	{"NewKeyring", nil, "before the credentials: the keyring is the parent's user's", addKeyring},
	{"Setns", nil, "while privileged, and while the parent's descriptors are still open", addSetns},
	{"Unshareflags", nil, "after Setns, so that the new namespaces lie in those entered", addUnshare},
	{"Hostname", nil, "in the new UTS namespace, while privileged", addHostname},
	{"Mounts", fields{"PrivateMounts"}, "in the new mount namespace, while privileged", addMounts},
	{"PivotRoot", nil, "after Mounts, which may make its mount point", addPivotRoot},
	{"Chroot", nil, "while privileged, and in the new root", addChroot},
	{"Umask", nil, "before Path of Files creates one", addUmask},
	{"Files", fields{"InheritFiles", "CloseRanges"}, "after the last use of the parent's descriptors by their own numbers", addFiles},
	{"Rlimits", nil, "while privileged, to raise a hard limit", addRlimits},
	{"Bounding", nil, "while privileged", addBounding},
	{"Securebits", nil, "before UID, on which some of them bear", addSecurebits},
	{"KeepCaps", nil, "before UID, which would drop the capabilities", addKeepCaps},
	{"Groups", fields{"KeepGroups"}, "while privileged", addGroups},
	{"GID", nil, "before UID, which gives up the right to change it", addGID},
	{"UID", nil, "last of the ids", addUID},
	{"Dir", fields{"DirFD"}, "in the new root, and with the child's own rights", addDir},
	{"Files.Path", nil, "relative to Dir, and with the child's own rights", addOpens},
	{"NoNewPrivs", nil, "before Landlock and Seccomp, to which it is the key", addNoNewPrivs},
	{"Landlock", nil, "after Files.Path, which it would restrict", addLandlock},
	{"Capabilities", fields{"Ambient"}, "after UID, which changes them, and after Landlock, which may need one", addCapabilities},
	{"Pdeathsig", fields{"DieWithParent"}, "after the credentials, whose change clears it", addPdeathsig},
	{"Ptrace", fields{"StartStopped"}, "late: the tracer sees no more than the exec", addPtrace},
	{"Rlimits.NOFILE", nil, "after the last descriptor is made, unless it takes privileges", addNofile},
	{"OOMScoreAdj.Raised", nil, "late, if it is above the parent's: until the exec, who kills the child kills the parent too", addOOMScoreAdjRaised},
	{"SignalMask", nil, "behind what can fail: a signal that was pending may end the child from here on, and hide it", addMask},
	{"Seccomp", nil, "last: the filter needs to let pass no more than execve", addSeccomp},
}
