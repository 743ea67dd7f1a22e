package launch

// #include "early.h"
import "C"

// earlyBuilder returns the builder that was started before Go's runtime was
// (early.c); nil where there is none, or it is not this program.
func earlyBuilder(program string) *builder {
	if C.early.socket < 0 {
		return nil
	}
	b := &builder{program: C.GoString(&C.early.program[0]), socket: int(C.early.socket), pid: int(C.early.pid)}
	C.early.socket = -1
	if b.program != program {
		b.end()
		return nil
	}
	return b
}
