//go:build linux

package main

import (
	"errors"
	"os/user"
	"strconv"
)

func setUID(r *request, value string) error {
	id, err := parseID(value, lookupUser)
	r.attr.UID = &id
	return err
}

func setGID(r *request, value string) error {
	id, err := parseID(value, lookupGroup)
	r.attr.GID = &id
	return err
}

func setGroups(r *request, value string) error {
	if r.attr.Groups == nil {
		r.attr.Groups = []int{}
	}
	for _, name := range split(value) {
		id, err := parseID(name, lookupGroup)
		if err != nil {
			return err
		}
		r.attr.Groups = append(r.attr.Groups, id)
	}
	return nil
}

// parseID takes a number as it is, since an image may have no /etc/passwd.
func parseID(s string, lookup func(name string) (string, error)) (int, error) {
	id, err := strconv.ParseUint(s, 10, 32)
	if errors.Is(err, strconv.ErrSyntax) {
		var found string
		if found, err = lookup(s); err == nil {
			id, err = strconv.ParseUint(found, 10, 32)
		}
	}
	if err != nil {
		return 0, cause(err)
	}
	return int(id), nil
}

func lookupUser(name string) (string, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return "", err
	}
	return u.Uid, nil
}

func lookupGroup(name string) (string, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return "", err
	}
	return g.Gid, nil
}
