package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// etc is all that the machine knows about itself. Id ranges and the home directory belong to the
// user of --user.
var etc = map[string]string{
	"passwd":        "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\ngames:x:5:60:games:/usr/games:/bin/false\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\ntester:x:1000:1000:tester:/home/tester:/bin/sh\n",
	"group":         "root:x:0:\ndaemon:x:1:\ntty:x:5:\nwww-data:x:33:\ngames:x:60:\nnogroup:x:65534:\ntester:x:1000:\n",
	"subuid":        "tester:100000:65536\n",
	"subgid":        "tester:100000:65536\n",
	"hosts":         "127.0.0.1 localhost vm\n::1 localhost\n",
	"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
	"hostname":      "vm\n",
}

// portModules carry the guest's words to the host; built in where no file is found.
var portModules = []string{"virtio_pci", "virtio_console"}

// packInitramfs writes the machine's whole file system into a file that has no name any more, so
// that nothing is left behind whatever happens.
func packInitramfs(ctx context.Context, o *options, k *kernel) (*os.File, error) {
	a := newArchive()
	steps := []func() error{
		func() error { return addBase(a) },
		func() error { return addBusybox(ctx, a) },
		func() error { return addSystemd(ctx, a, o) },
		func() error { return addHandIns(ctx, a, o.files) },
		func() error { return addModules(ctx, a, o, k) },
		func() error { return addInit(a, o) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, fmt.Errorf("packing the machine's files: %w", err)
		}
	}
	f, err := os.CreateTemp(o.cache, "initramfs-")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.Remove(f.Name()), a.write(f)); err != nil {
		return nil, fmt.Errorf("packing the machine's files: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// While it is unpacked it is in memory twice, and the kernel gives the unpacked half at
	// most half of the memory. Too little shows as missing files, much later.
	if packed := int(info.Size() >> 20); packed > o.memory*2/5 {
		return nil, fmt.Errorf("%d MiB of files do not fit a machine of %d MiB: --memory %dM", packed, o.memory, packed*5/2+64)
	}
	return f, nil
}

func addBase(a *archive) error {
	for _, dir := range []string{"usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "root", "proc", "sys", "dev", "run", guestRoot, guestModules} {
		if err := a.add(dir, node{mode: typeDir | 0o755}); err != nil {
			return err
		}
	}
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := a.add(dir, node{mode: typeLink | 0o777, content: []byte("usr/" + dir)}); err != nil {
			return err
		}
	}
	for name, text := range etc {
		if err := a.add("etc/"+name, node{mode: typeFile | 0o644, content: []byte(text)}); err != nil {
			return err
		}
	}
	return errors.Join(
		a.add("tmp", node{mode: typeDir | 0o1777}),
		a.add("var/tmp", node{mode: typeDir | 0o1777}),
		a.add("home/tester", node{mode: typeDir | 0o700, owner: testerID}),
		// Pid 1 starts before devtmpfs is mounted; Go's runtime ends when 0, 1 and 2 are
		// closed and there is no /dev/null to put in their place.
		a.add("dev/console", node{mode: typeDevice | 0o600, device: [2]int{5, 1}}),
		a.add("dev/null", node{mode: typeDevice | 0o666, device: [2]int{1, 3}}),
	)
}

// addBusybox adds busybox and a link for each of its applets. What is handed in later replaces a
// link of the same name.
func addBusybox(ctx context.Context, a *archive) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("%w: install the packages in test/vm/packages.txt", err)
	}
	if interpreter, err := elfInterpreter(busybox); err != nil || interpreter != "" {
		return errors.Join(err, fmt.Errorf("%s is not static: install busybox-static", busybox))
	}
	applets, err := output(ctx, "", busybox, "--list-full")
	if err != nil {
		return err
	}
	for applet := range strings.Lines(string(applets)) {
		if err := a.add(strings.TrimSpace(applet), node{mode: typeLink | 0o777, content: []byte("/bin/busybox")}); err != nil {
			return err
		}
	}
	return a.addHost(busybox, "/bin/busybox")
}

func addHandIns(ctx context.Context, a *archive, files []handIn) error {
	for _, f := range files {
		var err error
		switch f.kind {
		case "tree":
			err = a.addTree(filepath.Clean(f.host), f.vm)
		case "file":
			err = a.addHost(f.host, f.vm)
		case "elf":
			err = errors.Join(a.addHost(f.host, f.vm), addClosure(ctx, a, f.host))
		case "package":
			err = a.addPackage(ctx, f.host)
		}
		if err != nil {
			return fmt.Errorf("--%s %s=%s: %w", f.kind, f.host, f.vm, err)
		}
	}
	return nil
}

func addClosure(ctx context.Context, a *archive, program string) error {
	closure, err := elfClosure(ctx, program)
	if err != nil || closure == nil {
		return err
	}
	// The linker's cache, for libraries outside its own directories. It may name libraries
	// that are not in the machine; the linker passes over those.
	if _, err := os.Stat("/etc/ld.so.cache"); err == nil {
		closure = append(closure, "/etc/ld.so.cache")
	}
	for _, file := range closure {
		if err := a.addHost(file, file); err != nil {
			return err
		}
	}
	return nil
}

func addModules(ctx context.Context, a *archive, o *options, k *kernel) error {
	files, err := k.moduleFiles(ctx, append(portModules, o.modules...))
	if err != nil {
		return err
	}
	for _, file := range files {
		module, err := readModule(ctx, file)
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(filepath.Base(file), ".xz")
		if err := a.add(guestModules+"/"+name, node{mode: typeFile | 0o644, content: module}); err != nil {
			return err
		}
		o.job.Modules = append(o.job.Modules, name)
	}
	return nil
}

// addInit adds this very program, which is static, as pid 1, and what it has to do.
func addInit(a *archive, o *options) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	todo, err := json.Marshal(o.job)
	if err != nil {
		return err
	}
	return errors.Join(
		a.addHost(self, guestInit),
		a.add(guestJob, node{mode: typeFile | 0o644, content: todo}),
	)
}
