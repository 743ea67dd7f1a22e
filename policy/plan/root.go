package plan

// Proc says what /proc a worker sees.
type Proc uint8

// The /proc views.
const (
	ProcNone Proc = iota + 1 // no /proc at all
	ProcOwn                  // its own processes only (proc(5), subset=pid)
	ProcFull                 // also the system-wide files, read-only, dangerous ones hidden
)

// EntryKind is a kind of Entry.
type EntryKind uint8

// The kinds of Entry.
const (
	EntryBind      EntryKind = iota + 1 // a file or directory of the host
	EntrySymlink                        // a symbolic link with text Source
	EntryData                           // a read-only file with Content
	EntryTemporary                      // an empty tmpfs of its own for each worker
	EntryDevice                         // a device node of the host
	EntryHidden                         // an empty, unreadable place over something that a bind shows
	EntryDirectory                      // an empty read-only directory
	EntryStub                           // the stub, in the place of a program that another component replaces
)

// Access is what may be done with an Entry or a file grant; a bit set.
type Access uint8

// The access bits.
const (
	Read    Access = 1 << iota // open for reading, list
	Write                      // open for writing, create, remove
	Execute                    // execve
	Append                     // open for writing at the end only
)

// Entry is one thing that exists in a compartment's root file system. Entries
// are sorted by Target, so that parents stand before children.
type Entry struct {
	Kind     EntryKind `json:"kind"`
	Source   string    `json:"source,omitempty"` // host path (bind, device), link text (symlink)
	Target   string    `json:"target"`           // absolute, clean path inside
	Dir      bool      `json:"dir,omitempty"`    // Source is a directory
	Access   Access    `json:"access,omitempty"`
	Content  string    `json:"content,omitempty"` // EntryData
	Size     uint64    `json:"size,omitempty"`    // EntryTemporary: bytes
	Mode     uint32    `json:"mode,omitempty"`    // EntryTemporary, EntryData: permission bits
	Reason   string    `json:"reason"`            // "needed by /usr/bin/djpeg", "files.read"
	Position Position  `json:"position"`
}
