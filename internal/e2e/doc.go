// Package e2e tests the built program as a user meets it: its exit codes, what
// it prints, the files that it writes and those that it must not. It has no code
// of its own; the tests run build/trtact and skip where that is not built.
package e2e
