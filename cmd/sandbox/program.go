package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"syscall"
)

// findProgram finds a program as a shell does, and exits as one.
func findProgram(name string) (string, error) {
	program, err := exec.LookPath(name)
	if err != nil {
		complain(fmt.Errorf("find the program %s: %w", name, whyNoProgram(err)))
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EISDIR) {
			return "", exit(126)
		}
		return "", exit(127)
	}
	if program, err = filepath.Abs(program); err != nil {
		return "", fmt.Errorf("find the program %s: %w", name, err)
	}
	return program, nil
}

// whyNoProgram says what exec.LookPath means, which names the program twice more.
func whyNoProgram(err error) error {
	var looked *exec.Error
	var opened *fs.PathError
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return errors.New("it is in no directory of PATH; install it, or name its path")
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("it does not exist; correct the path")
	case errors.Is(err, syscall.EISDIR):
		return errors.New("it is a directory; name a program in it")
	case errors.As(err, &opened):
		return opened.Err
	case errors.Is(err, fs.ErrPermission):
		return errors.New("you may not execute it; chmod +x lets you, if it is a program")
	case errors.As(err, &looked):
		return looked.Err
	}
	return err
}
