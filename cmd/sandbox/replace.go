package main

import (
	"os"
	"path/filepath"
)

// replaceFile writes a file so that whoever reads it sees all of the old or all
// of the new, also after a crash: the text goes into a file of its own beside
// it, which is then renamed. A symbolic link is replaced, never followed.
func replaceFile(path string, text []byte, mode os.FileMode) (err error) {
	directory := filepath.Dir(path)
	file, err := os.CreateTemp(directory, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(file.Name())
		}
	}()
	if _, err = file.Write(text); err == nil {
		err = file.Chmod(mode)
	}
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	if err = os.Rename(file.Name(), path); err != nil {
		return err
	}
	// The name is on the disk when the directory is.
	if d, failed := os.Open(directory); failed == nil {
		d.Sync()
		d.Close()
	}
	return nil
}
