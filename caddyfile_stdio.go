package mcpauthbridge

import (
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/programenv"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/upstreams"
)

var stdioOptions = []blockOption[upstreams.Stdio]{
	{name: "env", example: "API_KEY={env.API_KEY}", read: readEnv, repeats: true},
	{name: "clear_env", read: func(s setting, u *upstreams.Stdio) error { return s.flag(&u.ClearEnv) }},
	{name: "dir", example: "/srv/files", read: func(s setting, u *upstreams.Stdio) error { return s.one(&u.Dir) }},
	{name: "user", example: "nobody", read: func(s setting, u *upstreams.Stdio) error { return s.one(&u.User) }},
	{name: "allow_unauthenticated", read: func(s setting, u *upstreams.Stdio) error { return s.flag(&u.AllowUnauthenticated) }},
}

func readStdio(dir *directive, s setting) error {
	u := new(upstreams.Stdio)
	dir.stdio = u
	if u.Command = s.RemainingArgs(); len(u.Command) == 0 {
		return s.Err("stdio: missing program; write it behind stdio, as in `stdio npx -y <package>`")
	}
	return readBlock(s.Dispenser, "stdio", stdioOptions, u, nil)
}

// readEnv reads variables of a program, NAME=value and NAME, or one as php_fastcgi has it:
// NAME, and its value as the second word.
func readEnv(s setting, u *upstreams.Stdio) error {
	var words []string
	if err := s.many(&words); err != nil {
		return err
	}
	if len(words) == 2 && programenv.IsName(words[0]) && !programenv.LooksLikeVariable(words[0], words[1]) {
		words = []string{words[0] + "=" + words[1]}
	}
	for _, word := range words {
		if _, err := programenv.Parse(word); err != nil {
			return s.Errf("stdio env: %w", err)
		}
	}
	u.Env = append(u.Env, words...)
	return nil
}
