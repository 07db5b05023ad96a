// This file is empty. With it the package may declare functions without a body
// where it has no stubs for them.
