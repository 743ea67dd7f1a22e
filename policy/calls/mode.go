package calls

// Mode says which argument of a call that changes the mode of a file is the new
// one (chmod(2); fchmodat2 is of Linux 6.6), and whether it is such a call.
func Mode(call string) (argument uint, ok bool) {
	switch call {
	case "chmod", "fchmod":
		return 1, true
	case "fchmodat", "fchmodat2":
		return 2, true
	}
	return 0, false
}
