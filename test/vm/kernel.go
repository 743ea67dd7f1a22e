package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// kernelPackages are the meta-packages whose dependency is the kernel of today. Both are in
// Debian 12's main and security archives; 6.12 is Debian 13's kernel, built for Debian 12.
var kernelPackages = map[string]string{
	"6.1":  "linux-image-cloud-amd64",
	"6.12": "linux-image-6.12-cloud-amd64",
}

// A kernel is an unpacked kernel package: image, modules and the lists that depmod made.
type kernel struct {
	root    string // what the package would have put in /
	release string // as uname -r says it
}

func (k *kernel) image() string { return filepath.Join(k.root, "boot", "vmlinuz-"+k.release) }

// findKernel returns the kernel from the cache, after fetching it when it is not there. It is
// unpacked and never installed: the host's own kernel and boot loader are not touched.
func findKernel(ctx context.Context, cache, name string) (*kernel, error) {
	meta, ok := kernelPackages[name]
	if !ok {
		return nil, fmt.Errorf("no kernel is called %q: there are 6.1 and 6.12", name)
	}
	root := filepath.Join(cache, "kernel-"+name)
	if _, err := os.Stat(root); err != nil {
		say("fetching kernel %s into %s", name, root)
		if err := fetchKernel(ctx, meta, root); err != nil {
			return nil, fmt.Errorf("kernel %s: %w", name, err)
		}
	}
	images, err := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return nil, fmt.Errorf("kernel %s: %d images in %s/boot, want one; remove %s and it is fetched again", name, len(images), root, root)
	}
	return &kernel{root, strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")}, nil
}

// fetchKernel downloads and unpacks into a directory of its own and renames it at the end, so
// that an interrupted download never looks like a kernel.
func fetchKernel(ctx context.Context, meta, root string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp(filepath.Dir(root), "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	about, err := output(ctx, dir, "apt-cache", "show", "--no-all-versions", meta)
	if err != nil {
		return err
	}
	image := regexp.MustCompile(`(?m)^Depends:.*?\b(linux-image-[^ ,]+)`).FindSubmatch(about)
	if image == nil {
		return fmt.Errorf("package %s names no kernel image among its dependencies", meta)
	}
	if _, err := output(ctx, dir, "apt-get", "download", string(image[1])); err != nil {
		return fmt.Errorf("%w\n(stale package lists look like this too: run apt-get update)", err)
	}
	debs, _ := filepath.Glob(filepath.Join(dir, "*.deb"))
	if len(debs) != 1 {
		return fmt.Errorf("apt-get download left %d packages, want one", len(debs))
	}
	tree := filepath.Join(dir, "root")
	if _, err := output(ctx, dir, "dpkg", "-x", debs[0], tree); err != nil {
		return err
	}
	// The package leaves modules.dep to its post-installation script, which does not run here.
	release := strings.TrimPrefix(string(image[1]), "linux-image-")
	if _, err := output(ctx, dir, "depmod", "--basedir", tree, release); err != nil {
		return err
	}
	return os.Rename(tree, root)
}

// moduleFiles lists the files of the named modules and of everything they need, in the order in
// which they must be loaded. Modules that are built in have no file.
func (k *kernel) moduleFiles(ctx context.Context, names []string) ([]string, error) {
	var files []string
	for _, name := range names {
		// The host's /etc/modprobe.d is about the host.
		out, err := output(ctx, "", "modprobe", "--config", "/dev/null", "--dirname", k.root,
			"--set-version", k.release, "--show-depends", name)
		if err != nil {
			return nil, fmt.Errorf("kernel %s: %w", k.release, err)
		}
		for line := range strings.Lines(string(out)) {
			// "insmod FILE " or "builtin NAME"
			verb, file, _ := strings.Cut(strings.TrimSpace(line), " ")
			if verb == "insmod" && !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	return files, nil
}

// readModule returns a module as the kernel takes it. Kernel 6.12's modules are compressed, and
// init_module(2) does not unpack.
func readModule(ctx context.Context, file string) ([]byte, error) {
	if strings.HasSuffix(file, ".xz") {
		return output(ctx, "", "xz", "--decompress", "--stdout", file)
	}
	return os.ReadFile(file)
}

// oneAtATime waits until no other virtual machine of this cache runs: each wants two processors
// and a gigabyte. The lock goes with the process, however it ends.
func oneAtATime(ctx context.Context, cache string) (unlock func(), err error) {
	lock, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_RDONLY|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	const patience = 20 * time.Minute
	told := false
	for deadline := time.Now().Add(patience); ; {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { lock.Close() }, nil
		}
		if err != syscall.EWOULDBLOCK {
			return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
		}
		if !told {
			say("waiting for another virtual machine to end")
			told = true
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("another virtual machine held %s for %v", lock.Name(), patience)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// output runs a tool and returns what it printed; the error holds what it complained about.
func output(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(complaint.Bytes()))
	}
	return out, nil
}
