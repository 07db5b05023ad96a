package vspawn

// An attribute is one entry of the list of all that a child can be given.
type attribute struct {
	field string                  // the field of Attr that stands for it
	why   string                  // why it has its place in the order
	add   func(c *compiler) error // checks it, and appends the child's system calls
}

// attributes is the list, in the order in which the child applies it.
var attributes = []attribute{
	{"Cgroup", "part of clone3 itself", addCgroup},
	{"Cloneflags", "part of clone itself", addNamespaces},
	{"UIDMap", "before the calls that need an id, or a capability, in the new namespace", addIDMaps},
	{"DefaultSignals", "early: no handler of the parent's may run once the mask is lifted", addDispositions},
	{"Setsid", "before the terminal, which only a session leader can take", addSetsid},
	{"Pgid", "before the group is made the foreground", addPgid},
	{"TTY", "while the parent's descriptor of it is still open", addTTY},
	{"Scheduler", "while privileged; before Nice, which it sets as well", addScheduler},
	{"Nice", "while privileged, to lower it", addNice},
	{"IOPriority", "while privileged", addIOPriority},
	{"Affinity", "while privileged", addAffinity},
	{"CoreSched", "anywhere before exec", addCoreSched},
	{"TimerSlack", "anywhere before exec", addTimerSlack},
	{"OOMScoreAdj", "while privileged, and while /proc is the parent's; here if it lowers the parent's value", addOOMScoreAdj},
	{"Personality", "before exec, which heeds it", addPersonality},
	{"NewKeyring", "before the credentials: the keyring is the parent's user's", addKeyring},
	{"Setns", "while privileged, and while the parent's descriptors are still open", addSetns},
	{"Unshareflags", "after Setns, so that the new namespaces lie in those entered", addUnshare},
	{"Hostname", "in the new UTS namespace, while privileged", addHostname},
	{"Mounts", "in the new mount namespace, while privileged", addMounts},
	{"PivotRoot", "after Mounts, which may make its mount point", addPivotRoot},
	{"Chroot", "while privileged, and in the new root", addChroot},
	{"Umask", "before Path of Files creates one", addUmask},
	{"Files", "after the last use of the parent's descriptors by their own numbers", addFiles},
	{"Rlimits", "while privileged, to raise a hard limit", addRlimits},
	{"Bounding", "while privileged", addBounding},
	{"Securebits", "before UID, on which some of them bear", addSecurebits},
	{"KeepCaps", "before UID, which would drop the capabilities", addKeepCaps},
	{"Groups", "while privileged", addGroups},
	{"GID", "before UID, which gives up the right to change it", addGID},
	{"UID", "last of the ids", addUID},
	{"Dir", "in the new root, and with the child's own rights", addDir},
	{"Files.Path", "relative to Dir, and with the child's own rights", addOpens},
	{"NoNewPrivs", "before Landlock and Seccomp, to which it is the key", addNoNewPrivs},
	{"Landlock", "after Files.Path, which it would restrict", addLandlock},
	{"Capabilities", "after UID, which changes them, and after Landlock, which may need one", addCapabilities},
	{"Pdeathsig", "after the credentials, whose change clears it", addPdeathsig},
	{"Ptrace", "late: the tracer sees no more than the exec", addPtrace},
	{"Rlimits.NOFILE", "after the last descriptor is made, unless it takes privileges", addNofile},
	{"OOMScoreAdj.Raised", "late, if it is above the parent's: until the exec, who kills the child kills the parent too", addOOMScoreAdjRaised},
	{"SignalMask", "behind what can fail: a signal that was pending may end the child from here on, and hide it", addMask},
	{"Seccomp", "last: the filter needs to let pass no more than execve", addSeccomp},
}
