//go:build !race

package mcpauthbridge_test

const raced = false
