// Package stats counts and remembers what happens at an endpoint, and has the words that it
// is counted by. Logs, metrics, events, placeholders and the status all use these words, so
// that they cannot disagree.
package stats
