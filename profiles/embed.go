// Package profiles holds the policies that ship with the project. A policy
// extends one by its name, without ".yaml".
package profiles

import "embed"

// FS holds the profiles, one file each.
//
//go:embed *.yaml
var FS embed.FS
