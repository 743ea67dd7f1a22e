package calls

// TruncatesUnwritten says whether a call can truncate a file that it does not open
// for writing, whatever a filter asks of its arguments: it goes by a path, or has
// its flags in memory.
func TruncatesUnwritten(call string) bool {
	switch call {
	case "truncate", "openat2", "open_by_handle_at", "io_uring_setup", "io_uring_enter", "io_uring_register":
		return true
	}
	return false
}

// OpenFlags says which argument of a call that opens a file are its flags
// (open(2)), and whether it is such a call. creat(2) has none: it writes.
func OpenFlags(call string) (argument uint, ok bool) {
	switch call {
	case "open":
		return 1, true
	case "openat":
		return 2, true
	}
	return 0, false
}
