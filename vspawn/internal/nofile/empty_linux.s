// With an assembly file in the package, the compiler accepts a function
// without a body, here one that is linked by name.
