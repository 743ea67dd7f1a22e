// Package files runs real programs that nobody changed on nothing but granted
// files and directories: what they name by the host's paths does not exist in
// their compartments.
package files
