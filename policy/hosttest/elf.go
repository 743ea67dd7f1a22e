package hosttest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// ELF describes a file that has only what ld.so reads before it loads it.
type ELF struct {
	Interpreter string
	Needed      []string
	Soname      string
	RPath       string
	RunPath     string
}

// Bytes returns the file: header, program headers, then the interpreter's
// name, the dynamic section and its strings, all in one segment at address 0.
func (e ELF) Bytes() string {
	text := []byte{0}
	name := func(s string) uint64 {
		offset := uint64(len(text))
		text = append(append(text, s...), 0)
		return offset
	}
	var dynamic []elf.Dyn64
	for _, needed := range e.Needed {
		dynamic = append(dynamic, elf.Dyn64{Tag: int64(elf.DT_NEEDED), Val: name(needed)})
	}
	for _, entry := range []struct {
		tag  elf.DynTag
		text string
	}{{elf.DT_SONAME, e.Soname}, {elf.DT_RPATH, e.RPath}, {elf.DT_RUNPATH, e.RunPath}} {
		if entry.text != "" {
			dynamic = append(dynamic, elf.Dyn64{Tag: int64(entry.tag), Val: name(entry.text)})
		}
	}
	const headerSize, programSize, entrySize = 64, 56, 16
	interpreter := append([]byte(e.Interpreter), 0)
	at := uint64(headerSize + 3*programSize)
	dynamicAt := at + uint64(len(interpreter))
	dynamicSize := uint64(entrySize * (len(dynamic) + 2))
	stringsAt := dynamicAt + dynamicSize
	dynamic = append(dynamic, elf.Dyn64{Tag: int64(elf.DT_STRTAB), Val: stringsAt}, elf.Dyn64{Tag: int64(elf.DT_NULL)})
	size := stringsAt + uint64(len(text))

	programs := []elf.Prog64{{Type: uint32(elf.PT_LOAD), Filesz: size, Memsz: size}}
	if e.Interpreter != "" {
		programs = append(programs, elf.Prog64{Type: uint32(elf.PT_INTERP), Off: at, Vaddr: at, Filesz: uint64(len(interpreter))})
	}
	if len(dynamic) > 2 {
		programs = append(programs, elf.Prog64{Type: uint32(elf.PT_DYNAMIC), Off: dynamicAt, Vaddr: dynamicAt, Filesz: dynamicSize})
	}
	header := elf.Header64{Type: uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: 1, Phoff: headerSize,
		Ehsize: headerSize, Phentsize: programSize, Phnum: uint16(len(programs))}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	header.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	header.Ident[elf.EI_VERSION] = 1

	var b bytes.Buffer
	write := func(value any) {
		if err := binary.Write(&b, binary.LittleEndian, value); err != nil {
			panic(err) // a bytes.Buffer takes all
		}
	}
	write(header)
	write(programs)
	b.Write(make([]byte, int(at)-b.Len()))
	b.Write(interpreter)
	write(dynamic)
	b.Write(text)
	return b.String()
}
