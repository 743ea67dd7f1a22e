package calls

import "testing"

func TestNamesAndNumbersAgree(t *testing.T) {
	for number, name := range map[int]string{0: "read", 59: "execve", 101: "ptrace", 317: "seccomp", 435: "clone3", 449: "futex_waitv", Last: "file_setattr"} {
		if got := Name(number); got != name {
			t.Errorf("Name(%d) = %q, want %q", number, got, name)
		}
		if got, ok := Number(name); !ok || got != number {
			t.Errorf("Number(%q) = %d, %v, want %d", name, got, ok, number)
		}
	}
	if Name(-1) != "" || Name(Last+1) != "" {
		t.Error("numbers outside the table have a name")
	}
	if _, ok := Number("no_such_call"); ok {
		t.Error("an unknown name has a number")
	}
}

func TestNoNumberIsMissingAmongTheNewOnes(t *testing.T) {
	// 335 to 423 were left out by the kernel so that all architectures share
	// the numbers from 424 on.
	for number := 424; number <= Last; number++ {
		if Name(number) == "" {
			t.Errorf("number %d has no name", number)
		}
	}
	if got := len(Names()); got != len(numbers()) {
		t.Errorf("Names has %d names, the table %d: one name stands twice", got, len(numbers()))
	}
}
