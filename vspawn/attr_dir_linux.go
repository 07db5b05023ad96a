package vspawn

func addUmask(c *compiler) error {
	if c.attr.Umask == nil {
		return nil
	}
	if *c.attr.Umask&^0o777 != 0 {
		return refuse("Umask", "%#o has bits beyond 0777", *c.attr.Umask)
	}
	c.op(op{field: "Umask", call: sysUmask, args: []arg{oct(uint32(*c.attr.Umask))}})
	return nil
}

func addChroot(c *compiler) error {
	if c.attr.Chroot == "" {
		return nil
	}
	c.path("Chroot", sysChroot, c.attr.Chroot)
	// The working directory is still outside, and a relative path a way there.
	c.path("Chroot", sysChdir, "/")
	return nil
}

func addDir(c *compiler) error {
	dir := c.attr.Dir
	switch {
	case c.attr.DirFD != nil && dir != "":
		return refuse("DirFD", "contradicts Dir")
	case c.attr.DirFD != nil:
		fd := c.fd("DirFD", sysFchdir, c.attr.DirFD)
		c.op(op{field: "DirFD", call: sysFchdir, args: []arg{numbered(c.at(fd))}, object: fd})
		return nil
	case dir != "":
		c.path("Dir", sysChdir, dir)
	}
	return nil
}
