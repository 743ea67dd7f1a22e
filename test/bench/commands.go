package main

// Every function below returns the command of a case. Programs under test live in the root that the workshop
// made; outside a pivoted root their path begins there.

func start(program string, flags ...string) func(*workshop) ([]string, error) {
	return func(w *workshop) ([]string, error) {
		return w.measureStart(flags, w.outside(program)), nil
	}
}

func cold(program string, flags ...string) func(*workshop) ([]string, error) {
	return func(w *workshop) ([]string, error) {
		return join([]string{w.raw("cold"), w.root}, flags, []string{"--", inside(program)}), nil
	}
}

func worker(program string, flags ...string) func(*workshop) ([]string, error) {
	return func(w *workshop) ([]string, error) {
		return join([]string{w.raw("worker"), w.root}, flags, []string{"--", inside(program)}), nil
	}
}

func workerLeaf(program string, flags ...string) func(*workshop) ([]string, error) {
	return func(w *workshop) ([]string, error) {
		return join([]string{w.raw("worker"), w.root}, flags, w.cgroups.workerFlags(), []string{"--", inside(program)}), nil
	}
}

func unshareAll(program string, flags ...string) func(*workshop) ([]string, error) {
	return func(w *workshop) ([]string, error) {
		return w.measureStart(flags, unshare.path(), "--user", "--map-root-user", "--pid", "--fork", "--mount-proc",
			"--mount", "--ipc", "--uts", "--net", "--cgroup", w.outside(program)), nil
	}
}

func bwrapArguments(w *workshop) []string {
	return []string{bubblewrap.path(), "--unshare-all", "--ro-bind", w.root, "/", "--proc", "/proc", "--tmpfs", "/tmp"}
}

func bwrap(program string, flags ...string) func(*workshop) ([]string, error) {
	return func(w *workshop) ([]string, error) {
		return w.measureStart(flags, append(bwrapArguments(w), inside(program))...), nil
	}
}

func bwrapFilter(program string) func(*workshop) ([]string, error) {
	return func(w *workshop) ([]string, error) {
		// 9 is where the start program opens the file, anew for each bwrap, which reads it to its end.
		return w.measureStart([]string{"-open", w.filter}, append(bwrapArguments(w), "--cap-drop", "ALL", "--seccomp", "9", inside(program))...), nil
	}
}

func oci(runtime, program string, flags ...string) func(*workshop) ([]string, error) {
	return func(w *workshop) ([]string, error) {
		bundle, err := w.bundle(runtime, inside(program))
		if err != nil {
			return nil, err
		}
		run := []string{find(runtime), "--root", w.path("state-" + runtime), "run", "--bundle", bundle, w.cgroups.name + "-" + runtime}
		return w.measureStart(flags, run...), nil
	}
}

func crunRun(program string, flags ...string) func(*workshop) ([]string, error) {
	return func(w *workshop) ([]string, error) {
		if w.cgroups.mode == "hybrid" {
			// crun refuses to run where both versions of cgroups have controllers.
			flags = append(flags, "-hide", w.cgroups.unified)
		}
		return oci("crun", program, flags...)(w)
	}
}

func firejailAlone(program string) func(*workshop) ([]string, error) {
	return func(w *workshop) ([]string, error) {
		return w.measureStart(nil, firejail.path(), "--quiet", "--net=none", "--noprofile", w.outside(program)), nil
	}
}

func sandboxWrap(program string, flags ...string) func(*workshop) ([]string, error) {
	return func(w *workshop) ([]string, error) {
		sandbox, err := w.sandbox()
		if err != nil {
			return nil, err
		}
		return w.measureStart(flags, sandbox, "wrap", "--", w.outside(program)), nil
	}
}

func oursWorker(program string, flags ...string) func(*workshop) ([]string, error) {
	return func(w *workshop) ([]string, error) {
		driver, err := w.workerDriver()
		if err != nil {
			return nil, err
		}
		return join(driver, flags, []string{"--", w.outside(program)}), nil
	}
}

// accounted is a case that reads processor time.
func accounted(command func(*workshop) ([]string, error)) func(*workshop) ([]string, error) {
	return func(w *workshop) ([]string, error) {
		if w.cgroups.mode == "v2" {
			return nil, unable("skipped, because processor time is read from cgroup v1's cpuacct")
		}
		return command(w)
	}
}

func oursGrant(flags ...string) func(*workshop) ([]string, error) {
	return func(w *workshop) ([]string, error) {
		driver, err := w.grantDriver()
		if err != nil {
			return nil, err
		}
		return join(driver, flags), nil
	}
}

func componentLife(what string) func(*workshop) ([]string, error) {
	return func(w *workshop) ([]string, error) {
		if w.cgroups.mode == "v2" {
			return nil, unable("skipped, because processor time is read from cgroup v1's cpuacct")
		}
		driver, err := w.driver("life", "pause")
		if err != nil {
			return nil, err
		}
		return append(driver, "-what", what), nil
	}
}

func onOneFile(program string, flags ...string) func(*workshop) ([]string, error) {
	return func(w *workshop) ([]string, error) {
		return join([]string{w.raw(program), w.outside("stamp")}, flags), nil
	}
}

// connect is the command that starts a server and connects to it.
func (w *workshop) connect(port string, flags []string, server ...string) []string {
	return join([]string{w.raw("connect"), port}, flags, []string{"--"}, server)
}

func rawService(program string, flags ...string) func(*workshop) ([]string, error) {
	return func(w *workshop) ([]string, error) {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		return w.connect(port, flags, w.raw("serve"), port, "--", w.outside(program)), nil
	}
}

func xinetdService(program string, flags ...string) func(*workshop) ([]string, error) {
	return func(w *workshop) ([]string, error) {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		settings, err := w.xinetdSettings(port, program)
		if err != nil {
			return nil, err
		}
		return w.connect(port, flags, xinetd.path(), "-dontfork", "-f", settings, "-pidfile", w.path("xinetd-"+port+".pid")), nil
	}
}

func tcpserverService(program string, flags ...string) func(*workshop) ([]string, error) {
	return func(w *workshop) ([]string, error) {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		// No look-ups of names, no ident, and more at once than ever come.
		return w.connect(port, flags, tcpserver.path(), "-HR", "-l0", "-c1000", "127.0.0.1", port, w.outside(program)), nil
	}
}

func activatedService(program string, flags ...string) func(*workshop) ([]string, error) {
	return func(w *workshop) ([]string, error) {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		return w.connect(port, flags, activate.path(), "--accept", "--inetd", "--listen=127.0.0.1:"+port, w.outside(program)), nil
	}
}

func perConnection(program string, ahead int, flags ...string) func(*workshop) ([]string, error) {
	return func(w *workshop) ([]string, error) {
		sandbox, err := w.sandbox()
		if err != nil {
			return nil, err
		}
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		policy, err := w.connectionPolicy(port, program, ahead)
		if err != nil {
			return nil, err
		}
		return w.connect(port, flags, sandbox, "run", policy), nil
	}
}

func join(parts ...[]string) []string {
	var all []string
	for _, part := range parts {
		all = append(all, part...)
	}
	return all
}
