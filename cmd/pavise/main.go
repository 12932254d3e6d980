// Command pavise is the one binary: control plane, standalone shield and the commands
// that explain what they do. This package only wires the others together.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes; docs/commands.md has them for users.
const (
	exitOK      = 0
	exitProblem = 1 // what was asked about is not in order
	exitUsage   = 2 // the command cannot be understood
	exitFailed  = 3 // something in the way: a file, a port, Envoy
	exitDenied  = 4 // --exit-code: what was asked about would be denied
)

// exitError carries an exit code; with a nil cause everything has been said.
type exitError struct {
	code  int
	cause error
}

func (e *exitError) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.cause.Error()
}

func (e *exitError) Unwrap() error { return e.cause }

func failed(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{exitFailed, err}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, root())
	stop()
	os.Exit(code)
}

func run(ctx context.Context, cmd *cobra.Command) int {
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var e *exitError
	if !errors.As(err, &e) {
		e = &exitError{exitUsage, fmt.Errorf("%w\nsee `%s --help`", err, cmd.Name())}
	}
	if e.cause != nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "pavise:", e.cause)
	}
	return e.code
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pavise",
		Short: "A shield beside a workload: URL-level and L3/L4 policy, enforced by Envoy",
		Long: `Pavise compiles policies into Envoy's configuration and stands Envoy beside a
workload. Every verdict has a reason by name.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       buildVersion(),
	}
	cmd.AddCommand(runCommand(), agentCommand(), redirectCommand(), waitCommand(), extAuthzCommand(), proveCommand(), checkCommand(), explainCommand(), simulateCommand(), suggestCommand(),
		flowsCommand(), anomaliesCommand(), feedsCommand(), lookupCommand(), demoCommand(), versionCommand())
	cmd.AddCommand(clusterCommands()...)
	return cmd
}

// version is set by the linker in a release.
var version string

func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

// defaultRunDir is where a running process has its sockets.
func defaultRunDir() string {
	if d := os.Getenv("XDG_RUNTIME_DIR"); d != "" {
		return filepath.Join(d, "pavise")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("pavise-%d", os.Getuid()))
}

func adminSocket(runDir string) string { return filepath.Join(runDir, "pavise.sock") }
