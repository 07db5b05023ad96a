// This file is empty. It lets the package compile where it has no stubs.
