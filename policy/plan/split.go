package plan

// Split is a program that another component replaces.
type Split struct {
	Path      string `json:"path"`      // in the root, where it is the stub
	Component string `json:"component"` // who replaces it
}

// Replaced is what runs in the place of one program.
type Replaced struct {
	Path      string   `json:"path"` // of the program that is replaced, without symbolic links
	Program   string   `json:"program"`
	Arguments []string `json:"arguments"` // argv, [0] included; the passed ones follow
	// Named: argv[0] is what the caller called it.
	Named bool `json:"named,omitempty"`
}

// Pass says what goes from a caller to the program that it executed. Patterns
// are texts with * for any text and ? for any character.
type Pass struct {
	Arguments   []string    `json:"arguments,omitempty"`   // patterns, each argument must match one; none: none is passed
	Environment []string    `json:"environment,omitempty"` // patterns of names
	Withheld    []string    `json:"withheld,omitempty"`    // patterns of names that pass only where Environment has them literally
	Descriptors Descriptors `json:"descriptors,omitempty"`
	Directories []string    `json:"directories,omitempty"` // whose descriptors may pass
	// KeepDirectory and KeepUmask: the plan's stay, whatever the caller's are.
	KeepDirectory bool `json:"keep-directory,omitempty"`
	KeepUmask     bool `json:"keep-umask,omitempty"`
}

// Descriptors are kinds of descriptors; a bit set.
type Descriptors uint8

// The kinds of descriptors.
const (
	PassFiles   Descriptors = 1 << iota // regular files of a file system
	PassPipes                           // pipes and FIFOs
	PassSockets                         // sockets
	PassDevices                         // devices, terminals among them
	PassMemory                          // memfd_create(2)
	PassEvents                          // eventfd, timerfd, signalfd, epoll, inotify
)

// PassWords are the words for the kinds of descriptors, by their bits' places.
var PassWords = []string{"files", "pipes", "sockets", "devices", "memory", "events"}
