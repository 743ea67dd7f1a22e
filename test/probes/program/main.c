/*
 * probe list [--json]              the table of probes
 * probe run NAME... [KEY=VALUE...] these probes
 * probe all [--json] [KEY=VALUE...]
 * probe victim [KEY=VALUE...]      the neighbour (victim.c)
 *
 * Exit status of run: the last one's, 0 stopped, 1 escaped, 2 untested, 64 wrong usage.
 */
#include "probe.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

extern const struct theme namespaces_theme, mounts_theme, processes_theme, sockets_theme, netlink_theme, ipc_theme,
	kernel_theme, abi_theme, terminals_theme, devices_theme, settings_theme, credentials_theme, descriptors_theme,
	resources_theme, recent_theme, published_theme, files_theme, neighbours_theme, options_theme;

static const struct theme *const themes[] = {
	&namespaces_theme, &mounts_theme,      &processes_theme,   &sockets_theme,   &netlink_theme,
	&ipc_theme,	   &kernel_theme,      &abi_theme,	   &terminals_theme, &devices_theme,
	&settings_theme,   &credentials_theme, &descriptors_theme, &resources_theme, &recent_theme, &published_theme,
	&files_theme,	   &neighbours_theme,  &options_theme,
};
#define THEMES (sizeof themes / sizeof themes[0])

/* Written by the forked probe, read by its parent. A pipe would count as one
 * more descriptor in a probe that counts descriptors. */
struct report {
	int finished;
	enum verdict verdict;
	char reason[256];
};

static void in_this_process(const struct probe *probe, struct report *report)
{
	alarm(probe_seconds());
	report->verdict = probe->run();
	alarm(0);
	snprintf(report->reason, sizeof report->reason, "%s", verdict_reason());
	report->finished = 1;
}

/* Who dies of SIGSYS was stopped by a filter; who dies of SIGKILL or SIGXCPU was
 * stopped by a limit or by the monitor, as no one else kills here. */
static void explain_death(struct report *report, int status)
{
	int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;

	if (number == SIGSYS || number == SIGKILL || number == SIGXCPU || number == SIGXFSZ)
		report->verdict = stopped("killed by %s", signal_name(number));
	else if (number == SIGALRM)
		report->verdict = untested("no answer within %u s", probe_seconds());
	else if (number)
		report->verdict = untested("the probe died of %s", signal_name(number));
	else
		report->verdict = untested("the probe ended by itself with status %d", WEXITSTATUS(status));
	snprintf(report->reason, sizeof report->reason, "%s", verdict_reason());
}

/* Each probe has a process of its own where the compartment lets it fork. Where
 * it does not, the probe runs in this process, and a death by a signal is for the
 * caller to see. */
static struct report run(const struct probe *probe, int may_stay)
{
	struct report report = { 0 };
	struct report *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = shared == MAP_FAILED ? -1 : fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* A probe that dies is a finding, not a core file on the host. */
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
		in_this_process(probe, shared);
		_exit(0);
	}
	if (pid < 0 && may_stay) {
		in_this_process(probe, &report);
		return report;
	}
	if (pid < 0) {
		report.verdict = untested("fork: %s; use `probe run`", errno_name(errno));
		snprintf(report.reason, sizeof report.reason, "%s", verdict_reason());
		return report;
	}
	int status = 0;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (shared->finished)
		report = *shared;
	else
		explain_death(&report, status);
	munmap(shared, sizeof *shared);
	return report;
}

static void print_json_string(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		if ((unsigned char)*text >= ' ')
			putchar(*text);
	}
	putchar('"');
}

static void print_json_field(const char *name, const char *value, const char *end)
{
	printf("\"%s\":", name);
	print_json_string(value);
	fputs(end, stdout);
}

static void list(int json)
{
	const char *separator = "[\n";

	for (size_t t = 0; t < THEMES; t++)
		for (size_t i = 0; i < themes[t]->count; i++) {
			const struct probe *probe = &themes[t]->probes[i];
			if (!json) {
				printf("%s\t%s\t%s\t%s\t%s\n", probe->name, themes[t]->name, probe->wall, probe->reference,
				       probe->title);
				continue;
			}
			fputs(separator, stdout);
			separator = ",\n";
			putchar('{');
			print_json_field("name", probe->name, ",");
			print_json_field("theme", themes[t]->name, ",");
			print_json_field("title", probe->title, ",");
			print_json_field("reference", probe->reference, ",");
			print_json_field("wall", probe->wall, "}");
		}
	if (json)
		fputs("\n]\n", stdout);
}

static void all(int json)
{
	const char *separator = "[\n";

	for (size_t t = 0; t < THEMES; t++)
		for (size_t i = 0; i < themes[t]->count; i++) {
			const struct probe *probe = &themes[t]->probes[i];
			struct report report = run(probe, 0);
			if (json) {
				fputs(separator, stdout);
				separator = ",\n";
				putchar('{');
				print_json_field("name", probe->name, ",");
				print_json_field("verdict", verdict_name(report.verdict), ",");
				print_json_field("reason", report.reason, "}");
			} else {
				printf("%s %s %s\n", probe->name, verdict_name(report.verdict), report.reason);
			}
			/* Nothing may be in the buffer when the next probe forks. */
			fflush(stdout);
		}
	if (json)
		fputs("\n]\n", stdout);
}

static int run_named(const char *name, int may_stay)
{
	for (size_t t = 0; t < THEMES; t++)
		for (size_t i = 0; i < themes[t]->count; i++)
			if (!strcmp(themes[t]->probes[i].name, name)) {
				struct report report = run(&themes[t]->probes[i], may_stay);
				char line[512];
				int length = snprintf(line, sizeof line, "%s %s %s\n", name, verdict_name(report.verdict),
						      report.reason);
				/* One write: a probe may have left stdio without memory. */
				if (write(STDOUT_FILENO, line, (size_t)length) != length)
					return 2;
				return report.verdict == ESCAPED ? 1 : report.verdict == UNTESTED ? 2 : 0;
			}
	fprintf(stderr, "probe: no probe is called %s (see probe list)\n", name);
	return 64;
}

int main(int count, char **arguments)
{
	const char *command = count > 1 ? arguments[1] : "";
	int names = 0, json = 0;

	remember_own_process();
	for (int i = 2; i < count; i++) {
		if (!strcmp(arguments[i], "--json"))
			json = 1;
		else if (strchr(arguments[i], '='))
			add_target(arguments[i]);
		else
			arguments[2 + names++] = arguments[i];
	}
	if (!strcmp(command, "list")) {
		list(json);
		return 0;
	}
	if (!strcmp(command, "all")) {
		all(json);
		return 0;
	}
	if (!strcmp(command, "run") && names) {
		int status = 0;
		for (int i = 0; i < names && status != 64; i++)
			status = run_named(arguments[2 + i], names == 1);
		return status;
	}
	if (!strcmp(command, "victim"))
		return be_victim();
	/* What `setuid-regained` executes: the status tells whose rights it runs with. */
	if (!strcmp(command, "effective-user"))
		return geteuid() == 0 ? 77 : 0;
	fprintf(stderr, "usage: probe list [--json] | run NAME... [KEY=VALUE...] | all [--json] [KEY=VALUE...] | victim [KEY=VALUE...]\n");
	return 64;
}
