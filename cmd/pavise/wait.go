package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// waitCommand is what containers do that hold another one back: images of Pavise have no
// shell, no sleep and no curl.
func waitCommand() *cobra.Command {
	var url string
	var timeout, pause time.Duration
	cmd := &cobra.Command{
		Use:   "wait --url URL | --for DURATION",
		Short: "Wait until a page says OK, or for some time",
		Long: `Wait is for the hooks of containers: the injector has it hold an application back until
its shield is up, and keep the shield up while an application ends.

Exit codes: 0 waited, 2 usage, 3 the page did not say 200 in time.`,
		Example: `  pavise wait --url http://127.0.0.1:15021/healthz/ready --timeout 1m
  pavise wait --for 5s`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (url == "") == (pause == 0) || pause < 0 || timeout <= 0 {
				return &exitError{exitUsage, fmt.Errorf("give either --url, with a --timeout above zero, or --for")}
			}
			if pause > 0 {
				select {
				case <-cmd.Context().Done():
				case <-time.After(pause):
				}
				return nil
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return failed(waitFor(ctx, url))
		},
	}
	f := cmd.Flags()
	f.StringVar(&url, "url", "", "page to ask until it answers 200")
	f.DurationVar(&timeout, "timeout", time.Minute, "how long to ask")
	f.DurationVar(&pause, "for", 0, "time to wait instead")
	return cmd
}

// waitFor asks ten times a second, and says at the end what the page said last.
func waitFor(ctx context.Context, url string) error {
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := isOK(ctx, client, url)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", url, err)
		case <-tick.C:
		}
	}
}

func isOK(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, oneLine(string(said)))
	}
	return err
}
