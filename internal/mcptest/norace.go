//go:build !race

package mcptest

// Raced is true in a build with the race detector.
const Raced = false
