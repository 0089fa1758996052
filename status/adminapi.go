package status

import (
	"fmt"
	"io"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// adminFlags are the flags that say where the admin API of the running Caddy is, as other
// commands of Caddy have them.
type adminFlags struct{ address, config, adapter string }

func (f *adminFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.address, "address", "", "address of the admin API (default: that of --config, or localhost:2019)")
	flags.StringVarP(&f.config, "config", "c", "", "configuration file that has the address of the admin API")
	flags.StringVarP(&f.adapter, "adapter", "a", "", "config adapter for that file")
}

// find returns the address of the admin API.
func (f *adminFlags) find() (string, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(f.address, nil, f.config, f.adapter)
	if err != nil {
		return "", fmt.Errorf("finding the address of the admin API: %w; give it with --address", err)
	}
	return address, nil
}

// maxAnswer bounds an answer of the admin API, in bytes.
const maxAnswer = 64 << 20

// ask sends a request to the admin API and returns the answer.
func ask(address, method, path string) ([]byte, error) {
	res, err := caddycmd.AdminAPIRequest(address, method, path, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("asking the admin API at %s: %w; Caddy must run with this module and with `admin` on (see --address)", address, err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of the admin API: %w", err)
	}
	return raw, nil
}

// checkVersion refuses an answer of another version of this module.
func checkVersion(got int) error {
	if got != version {
		return fmt.Errorf("the running Caddy answers in version %d, this command reads version %d; run the command of the same build", got, version)
	}
	return nil
}
