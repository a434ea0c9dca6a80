//go:build tools

// Package tools names the program that this module pins. The tag keeps it out
// of every build.
package tools

import _ "github.com/versity/versitygw/cmd/versitygw"
