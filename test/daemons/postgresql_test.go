package daemons

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const postgresPrograms = "/usr/lib/postgresql/15/bin/"

// postgresqlSettings are for a new cluster, whose configuration stands with
// its data.
func postgresqlSettings(t *testing.T) (settings []string, port, data string) {
	t.Helper()
	port, data = freePort(t), filepath.Join(directory(t, "postgres"), "data")
	if _, err := command("runuser", "-u", "postgres", "--", postgresPrograms+"initdb", "--no-sync",
		"-A", "trust", "-U", "postgres", "--locale", "C.UTF-8", "-D", data); err != nil {
		t.Fatal(err)
	}
	return []string{"variables.port=" + port, "variables.configuration=" + data, "variables.state=" + data}, port, data
}

func TestPostgreSQL(t *testing.T) {
	long(t)
	needs(t, "postgresql-15", "postgresql-client-15")
	settings, port, data := postgresqlSettings(t)
	a := start(t, "postgresql", settings...)
	client := []string{"-h", "127.0.0.1", "-p", port, "-U", "postgres"}
	sql := func(want, statement string) {
		t.Helper()
		a.expect(want, "psql", append(client, "-X", "-A", "-t", "-c", statement)...)
	}
	sql("PostgreSQL 15", "select version()")
	// What reads from /usr/share: time zones and an extension's script and
	// library.
	sql("2024-07-01 14:00:00", "select timestamptz '2024-07-01 12:00:00 UTC' at time zone 'Europe/Berlin'")
	sql("", "create extension pg_trgm")
	sql("1", "select similarity('bulkhead', 'bulkhead')")

	if _, err := command("pgbench", append(client, "-q", "-i", "-s", "1", "postgres")...); err != nil {
		t.Fatal(err)
	}
	got, err := command("pgbench", append(client, "-c", "4", "-j", "2", "-t", "50", "postgres")...)
	if err != nil || !strings.Contains(got, "number of transactions actually processed: 200/200") {
		t.Errorf("pgbench: %v: %s", err, got)
	}
	// Parallel workers share memory in /dev/shm.
	plan := "set max_parallel_workers_per_gather=2; set parallel_setup_cost=0; set parallel_tuple_cost=0; set min_parallel_table_scan_size=0; "
	sql("Workers Launched: 2", plan+"explain analyze select count(*) from pgbench_accounts a join pgbench_accounts b using (aid)")

	// The database's own superuser gets no further than the compartment.
	for statement, refusal := range map[string]string{
		"select pg_read_file('/etc/shadow')":                "No such file or directory",
		"copy (select 1) to program 'true'":                 "could not execute command",
		"copy (select 1) to '/usr/share/postgresql/15/new'": "Read-only file system",
		"select pg_terminate_backend(1)":                    "is not a PostgreSQL backend process",
	} {
		got, err := command("psql", append(client, "-X", "-c", statement)...)
		if !strings.Contains(got, refusal) {
			t.Errorf("%s: %v: %s", statement, err, got)
		}
	}

	configuration, err := os.OpenFile(filepath.Join(data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = configuration.WriteString("\nwork_mem = '7MB'\n")
		configuration.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	before := a.worker().PID
	a.reload()
	sql("7MB", "show work_mem")
	if now := a.worker().PID; now != before {
		t.Errorf("reloading replaced the process %d by %d", before, now)
	}
	a.denials()
	a.stop()

	b, err := exec.Command(postgresPrograms+"pg_controldata", "-D", data).Output()
	if err != nil || !strings.Contains(string(b), "shut down") {
		t.Errorf("the cluster was not shut down in order: %v: %s", err, b)
	}
}

func TestPostgreSQLWalls(t *testing.T) {
	long(t)
	needs(t, "postgresql-15")
	settings, _, _ := postgresqlSettings(t)
	walls(t, "postgresql", settings...)
}
