package upstreams

import (
	"bufio"
	"io"
	"os"
	"strings"
)

// passwdFile lists the users of a Unix system (passwd(5)).
const passwdFile = "/etc/passwd"

// shellOf returns the login shell of a user. It is empty if the user has none, or if only a
// directory service knows the user.
func shellOf(name string) string {
	f, err := os.Open(passwdFile)
	if err != nil {
		return ""
	}
	defer f.Close()
	return shellIn(f, name)
}

// shellIn looks a user up in a list of the form of [passwdFile]: seven fields a line, of
// which the first is the name and the last the shell. Lines that are longer than a buffer
// end the list.
func shellIn(list io.Reader, name string) string {
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) == 7 && name != "" && fields[0] == name && !strings.ContainsRune(fields[6], 0) {
			return fields[6]
		}
	}
	return ""
}
