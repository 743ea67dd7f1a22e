package probes

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// Runc runs it in the bundle that `runc spec` writes (masked and read-only paths,
// read-only root, no_new_privs), as an ordinary user. There is no seccomp filter in
// it: that is added by what calls runc, such as Docker.
type Runc struct {
	directory string
	config    map[string]any
	runs      int
}

// NewRunc makes the bundle in directory.
func NewRunc(program, directory string) (*Runc, error) {
	root := filepath.Join(directory, "rootfs")
	for _, name := range []string{"proc", "dev", "sys"} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			return nil, err
		}
	}
	if err := copyProgram(program, filepath.Join(root, "probe")); err != nil {
		return nil, err
	}
	if output, err := exec.Command("runc", "spec", "--bundle", directory).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("runc spec: %v\n%s", err, output)
	}
	text, err := os.ReadFile(filepath.Join(directory, "config.json"))
	if err != nil {
		return nil, err
	}
	r := &Runc{directory: directory}
	return r, json.Unmarshal(text, &r.config)
}

func (*Runc) Name() string { return "runc" }

func (r *Runc) Command(ctx context.Context, arguments ...string) (*exec.Cmd, error) {
	process := r.config["process"].(map[string]any)
	process["args"] = append([]string{"/probe"}, arguments...)
	process["terminal"] = false
	process["user"] = map[string]any{"uid": 65534, "gid": 65534}
	text, err := json.Marshal(r.config)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(r.directory, "config.json"), text, 0o644); err != nil {
		return nil, err
	}
	r.runs++
	name := fmt.Sprintf("bulkhead-probe-%d-%d", os.Getpid(), r.runs)
	state := filepath.Join(r.directory, "state")
	command := exec.CommandContext(ctx, "runc", "--root", state, "run", "--bundle", r.directory, name)
	// A runc that is killed leaves its container: the program in it and its cgroups.
	command.Cancel = func() error {
		output, err := exec.Command("runc", "--root", state, "delete", "--force", name).CombinedOutput()
		if err != nil {
			return fmt.Errorf("runc delete: %v: %s", err, bytes.TrimSpace(output))
		}
		return command.Process.Kill()
	}
	return command, nil
}

func copyProgram(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(target, source); err != nil {
		target.Close()
		return err
	}
	return target.Close()
}
