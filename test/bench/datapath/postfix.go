package main

import (
	"errors"
	"fmt"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// places are where the Postfix of each port is.
var places = map[string]string{}

// preparePostfix makes a Postfix that delivers to a mailbox, with Debian's
// master.cf but for the port.
func preparePostfix(dir, port string) (bare, settings []string, err error) {
	places[port] = dir
	etc := filepath.Join(dir, "etc")
	services, err := os.ReadFile("/etc/postfix/master.cf")
	if err != nil {
		return nil, nil, err
	}
	services = []byte(strings.Replace(string(services), "\nsmtp      inet", "\n127.0.0.1:"+port+" inet", 1))
	configuration := fmt.Sprintf(`compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
mail_spool_directory = %[1]s/mail
myhostname = mail.test
mydestination = mail.test
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
alias_maps =
alias_database =
biff = no
smtpd_peername_lookup = no
`, dir)
	err = errors.Join(os.CopyFS(etc, os.DirFS("/etc/postfix")),
		os.WriteFile(filepath.Join(etc, "master.cf"), services, 0o644),
		os.WriteFile(filepath.Join(etc, "main.cf"), []byte(configuration), 0o644))
	for _, name := range []string{"queue", "data", "mail"} {
		err = errors.Join(err, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	err = errors.Join(err, own(filepath.Join(dir, "data"), "postfix"), os.Chmod(filepath.Join(dir, "mail"), 0o1777))
	if err != nil {
		return nil, nil, err
	}
	if out, err := exec.Command("postfix", "-c", etc, "check").CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("postfix check: %w: %s", err, out)
	}
	return []string{"/usr/lib/postfix/sbin/master", "-c", etc, "-d"}, []string{
		"port=" + port, "configuration=" + etc, "queue=" + dir + "/queue", "data=" + dir + "/data", "mail=" + dir + "/mail",
		`components.local.become=[postfix, daemon]`,
	}, nil
}

// drivePostfix sends 200 mails in eight sessions at once and waits until all of
// them are in the mailbox.
func drivePostfix(port string) (float64, error) {
	const mails, sessions = 200, 8
	mailbox := filepath.Join(places[port], "mail", "daemon")
	before := delivered(mailbox)
	begun := time.Now()
	var all sync.WaitGroup
	failed := make([]error, sessions)
	for s := range sessions {
		all.Go(func() { failed[s] = mail(port, mails/sessions) })
	}
	all.Wait()
	if err := errors.Join(failed...); err != nil {
		return 0, err
	}
	for time.Since(begun) < time.Minute {
		if delivered(mailbox) >= before+mails {
			return mails / time.Since(begun).Seconds(), nil
		}
		time.Sleep(2 * time.Millisecond)
	}
	return 0, fmt.Errorf("%d of %d mails were delivered within a minute", delivered(mailbox)-before, mails)
}

// mail sends a number of mails in one session.
func mail(port string, count int) error {
	client, err := smtp.Dial("127.0.0.1:" + port)
	if err != nil {
		return err
	}
	defer client.Close()
	for range count {
		if err := errors.Join(client.Mail("someone@test"), client.Rcpt("daemon@mail.test")); err != nil {
			return err
		}
		text, err := client.Data()
		if err != nil {
			return err
		}
		if _, err := text.Write([]byte("Subject: counted\r\n\r\nbody\r\n")); err != nil {
			return err
		}
		if err := text.Close(); err != nil {
			return err
		}
	}
	return client.Quit()
}

func delivered(mailbox string) int {
	b, _ := os.ReadFile(mailbox) // not there yet: none
	return strings.Count(string(b), "\nSubject: counted\n")
}
