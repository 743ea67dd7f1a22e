package sandbox

import (
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"encoding/hex"
	"runtime"

	"bulkhead/policy/plan"
)

// What libseccomp made of filters that nearly every start needs, the
// supervisor's and that of sandbox wrap without flags: compiling them takes
// longer than everything else that the launcher does. A file's name is the hash
// of the rules that it was compiled from, so one that does not belong to a
// component's rules is never found; a test in cmd/sandbox compiles them again
// and compares (-update writes them).
//
//go:embed compiled/*.bpf
var compiled embed.FS

// precompiled is the compiled filter of these rules, nil where there is none.
func precompiled(s plan.Syscalls) []byte {
	program, err := compiled.ReadFile("compiled/" + Fingerprint(s) + ".bpf")
	if err != nil {
		return nil
	}
	return program
}

// Fingerprint is the name of a set of rules on this architecture.
func Fingerprint(s plan.Syscalls) string {
	b := append([]byte(runtime.GOARCH), 0, byte(s.Default))
	for _, r := range s.Rules {
		b = append(append(b, r.Call...), 0, byte(r.Action))
		b = binary.LittleEndian.AppendUint32(b, uint32(r.Errno))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(r.Conditions)))
		for _, c := range r.Conditions {
			b = append(b, byte(c.Argument), byte(c.Comparison))
			b = binary.LittleEndian.AppendUint64(b, c.Value)
			b = binary.LittleEndian.AppendUint64(b, c.Mask)
		}
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
