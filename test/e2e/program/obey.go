package program

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bulkhead/broker/client"
	"bulkhead/test/e2e/outcome"
)

// obey does what it is told: each connection to the listening socket at
// descriptor 3 brings one line, a request to the broker, "file" and a call on files,
// "dial NETWORK ADDRESS", "execute PROGRAM ARGUMENT..." or "say WORD TIMES", and takes the outcome away. It ends when the broker's
// side of its socket does, for without it is of no use.
func obey([]string) int {
	b, err := client.Dial()
	if err != nil {
		fmt.Println("dial:", err)
		return 1
	}
	gone := make(chan string)
	go func() {
		for {
			fd, _, err := unix.Accept(3)
			if err != nil {
				gone <- "accept: " + err.Error()
				return
			}
			go func() {
				defer unix.Close(fd)
				var line [256]byte
				n, _ := unix.Read(fd, line[:])
				answer := obeyed(b, strings.Fields(string(line[:n])))
				unix.Write(fd, []byte(answer))
				if answer == client.ErrGone.Error() {
					gone <- answer
				}
			}()
		}
	}()
	fmt.Println(<-gone)
	return 1
}

func obeyed(b *client.Broker, words []string) string {
	if len(words) == 0 {
		return "told nothing"
	}
	if words[0] == "file" && len(words) > 1 && fileSteps[words[1]] != nil {
		got, err := fileSteps[words[1]](words[2:])
		if err != nil || got == "" {
			return outcome.Of(err)
		}
		return got
	}
	if words[0] == "dial" && len(words) == 3 {
		return dialed(words[1], words[2])
	}
	if words[0] == "say" && len(words) == 3 {
		times, _ := strconv.Atoi(words[2])
		go func() { // it may have to wait
			for range times {
				fmt.Println(words[1])
			}
		}()
		return "said"
	}
	if words[0] == "execute" && len(words) > 1 {
		command := exec.Command(words[1], words[2:]...)
		out, err := command.CombinedOutput()
		if command.ProcessState == nil {
			return err.Error()
		}
		return fmt.Sprintf("%s, wrote %q", command.ProcessState, out)
	}
	if f := requests[words[0]]; f != nil {
		return f(b, words[1:])
	}
	return "unknown: " + strings.Join(words, " ")
}
