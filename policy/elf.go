package policy

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// image is what the kernel and ld.so read of an ELF file before it runs. It is
// read from the program headers, as they do it: a stripped file may have no
// section headers at all.
type image struct {
	interpreter string // PT_INTERP
	needed      []string
	soname      string
	rpath       string
	runpath     string
}

var errNotELF = errors.New("it is not an ELF file")

// readImage reads an image. All counts and offsets come from the file, which
// anybody may have written, and are bounded.
func readImage(file io.ReaderAt) (*image, error) {
	const (
		mostHeaders = 256
		mostDynamic = 64 << 10
	)
	var header elf.Header64
	if err := readStruct(file, 0, &header); err != nil || !bytes.Equal(header.Ident[:4], []byte(elf.ELFMAG)) {
		return nil, errNotELF
	}
	switch {
	case elf.Class(header.Ident[elf.EI_CLASS]) != elf.ELFCLASS64 || elf.Data(header.Ident[elf.EI_DATA]) != elf.ELFDATA2LSB || elf.Machine(header.Machine) != elf.EM_X86_64:
		return nil, errors.New("it is not a program for x86-64")
	case elf.Type(header.Type) != elf.ET_EXEC && elf.Type(header.Type) != elf.ET_DYN:
		return nil, errors.New("it is an ELF file that cannot run")
	case header.Phnum > mostHeaders || header.Phnum > 0 && header.Phentsize != 56:
		return nil, errors.New("its program headers are damaged")
	}
	headers := make([]elf.Prog64, header.Phnum)
	if err := readStruct(file, int64(header.Phoff), headers); err != nil {
		return nil, errors.New("its program headers are damaged")
	}
	result := &image{}
	for _, h := range headers {
		switch elf.ProgType(h.Type) {
		case elf.PT_INTERP:
			text := make([]byte, min(h.Filesz, 4096))
			if _, err := file.ReadAt(text, int64(h.Off)); err != nil {
				return nil, errors.New("its interpreter's name is damaged")
			}
			result.interpreter = string(bytes.TrimRight(text, "\x00"))
		case elf.PT_DYNAMIC:
			entries := make([]elf.Dyn64, min(h.Filesz, mostDynamic)/16)
			if err := readStruct(file, int64(h.Off), entries); err != nil {
				return nil, errors.New("its dynamic section is damaged")
			}
			if err := result.dynamic(file, headers, entries); err != nil {
				return nil, err
			}
		}
	}
	return result, nil
}

func readStruct(file io.ReaderAt, offset int64, target any) error {
	if offset < 0 {
		return io.ErrUnexpectedEOF
	}
	return binary.Read(io.NewSectionReader(file, offset, int64(binary.Size(target))), binary.LittleEndian, target)
}

func (m *image) dynamic(file io.ReaderAt, headers []elf.Prog64, entries []elf.Dyn64) error {
	var strings uint64
	for _, entry := range entries {
		if elf.DynTag(entry.Tag) == elf.DT_STRTAB {
			strings = entry.Val
		}
	}
	table := int64(-1)
	for _, h := range headers {
		if elf.ProgType(h.Type) == elf.PT_LOAD && strings >= h.Vaddr && strings < h.Vaddr+h.Filesz {
			table = int64(strings - h.Vaddr + h.Off)
		}
	}
	for _, entry := range entries {
		var target *string
		tag := elf.DynTag(entry.Tag)
		switch tag {
		case elf.DT_NULL:
			return nil
		case elf.DT_NEEDED:
			m.needed = append(m.needed, "")
			target = &m.needed[len(m.needed)-1]
		case elf.DT_SONAME:
			target = &m.soname
		case elf.DT_RPATH:
			target = &m.rpath
		case elf.DT_RUNPATH:
			target = &m.runpath
		default:
			continue
		}
		text, err := readString(file, table, entry.Val)
		if err != nil {
			return fmt.Errorf("its %s is damaged", tag)
		}
		*target = text
	}
	return nil
}

func readString(file io.ReaderAt, table int64, offset uint64) (string, error) {
	const longest = 4096
	if table < 0 || offset > 1<<32 {
		return "", errNotELF
	}
	text := make([]byte, 256)
	for {
		n, err := file.ReadAt(text, table+int64(offset))
		if end := bytes.IndexByte(text[:n], 0); end >= 0 {
			return string(text[:end]), nil
		}
		if err != nil || len(text) >= longest {
			return "", errNotELF
		}
		text = make([]byte, longest)
	}
}
