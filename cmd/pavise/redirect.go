package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"pavise.dev/pavise/proxy/redirect"
)

func redirectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "redirect",
		Short: "Hand a workload's traffic to its Envoy, by rules of nftables",
		Long: `Redirect sets, clears and checks the rules that hand the TCP and the DNS questions of
everything in a network namespace to its Envoy and agent, but for the agent's own.

The rules are one table, inet pavise, which is replaced as a whole: at every moment the
old rules are in force or the new ones. They need CAP_NET_ADMIN.`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(redirectSet(), redirectClear(), redirectCheck())
	return cmd
}

// redirectFlags are a redirect.Config in text.
type redirectFlags struct {
	config                                            redirect.Config
	includeOut, excludeOut, cidrs, includeIn, exclude string
	udp, excludeUDP                                   string
}

func (r *redirectFlags) register(cmd *cobra.Command) {
	r.config = redirect.Default()
	f := cmd.Flags()
	f.Uint16Var(&r.config.OutboundPort, "outbound-port", r.config.OutboundPort, "where Envoy accepts what the workload opens")
	f.Uint16Var(&r.config.InboundPort, "inbound-port", r.config.InboundPort, "where Envoy accepts what comes from outside")
	f.Uint16Var(&r.config.DNSPort, "dns-port", r.config.DNSPort, "where the agent answers DNS, on 127.0.0.1 and ::1")
	f.Uint32Var(&r.config.UID, "uid", r.config.UID, "user of the agent and its Envoy; with --gid it is exempt")
	f.Uint32Var(&r.config.GID, "gid", r.config.GID, "group of the agent and its Envoy")
	f.Uint32Var(&r.config.Mark, "mark", 0, "socket mark that the agent's sockets must have in addition; 0 is none")
	f.StringVar(&r.includeOut, "include-outbound-ports", "", "TCP ports that are redirected, if not all: 80,443,8000-8999")
	f.StringVar(&r.excludeOut, "exclude-outbound-ports", "", "TCP ports that pass by Envoy")
	f.StringVar(&r.cidrs, "exclude-outbound-cidrs", "", "destinations that pass by Envoy: 10.0.0.0/8,2001:db8::/32")
	f.StringVar(&r.includeIn, "include-inbound-ports", "", "TCP ports of the workload that are redirected, if not all")
	f.StringVar(&r.exclude, "exclude-inbound-ports", "", "TCP ports of the workload that anybody may reach without Envoy")
	f.StringVar(&r.udp, "udp", "Drop", "what becomes of UDP that is not DNS: Drop or Allow")
	f.StringVar(&r.excludeUDP, "exclude-udp-ports", "", "UDP ports that pass though the others are dropped")
}

func (r *redirectFlags) plan() (*redirect.Plan, error) {
	var err error
	ports := func(flag, text string) (out []redirect.PortRange) {
		if err == nil && text != "" {
			if out, err = redirect.ParsePorts(text); err != nil {
				err = fmt.Errorf("--%s: %w", flag, err)
			}
		}
		return out
	}
	c := r.config
	c.IncludeOutboundPorts = ports("include-outbound-ports", r.includeOut)
	c.ExcludeOutboundPorts = ports("exclude-outbound-ports", r.excludeOut)
	c.IncludeInboundPorts = ports("include-inbound-ports", r.includeIn)
	c.ExcludeInboundPorts = ports("exclude-inbound-ports", r.exclude)
	c.ExcludeUDPPorts = ports("exclude-udp-ports", r.excludeUDP)
	if err == nil && r.cidrs != "" {
		if c.ExcludeOutboundCIDRs, err = redirect.ParseCIDRs(r.cidrs); err != nil {
			err = fmt.Errorf("--exclude-outbound-cidrs: %w", err)
		}
	}
	if err == nil {
		if c.UDP, err = redirect.ParseUDPMode(r.udp); err != nil {
			err = fmt.Errorf("--udp: %w", err)
		}
	}
	if err != nil {
		return nil, err
	}
	return redirect.NewPlan(c)
}

func redirectSet() *cobra.Command {
	var r redirectFlags
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "set",
		Short: "Set the rules, or replace those that are there",
		Long: `Set puts the rules in force; set twice, they are left as they are. Connections that
are open stay as they are.

Exit codes: 0 in force, 2 usage, 3 the kernel refused, or CAP_NET_ADMIN is missing.`,
		Example: `  pavise redirect set --exclude-inbound-ports 22
  pavise redirect set --dry-run`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := r.plan()
			if err != nil {
				return &exitError{exitUsage, err}
			}
			if dryRun {
				_, err := fmt.Fprint(cmd.OutOrStdout(), p)
				return failed(err)
			}
			var k redirect.Kernel
			changed, err := k.Apply(cmd.Context(), p)
			return saidChanged(cmd, changed, "set", err)
		},
	}
	r.register(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print the rules in the language of nft, with the reason for each, and set none")
	return cmd
}

func redirectClear() *cobra.Command {
	return &cobra.Command{
		Use:   "clear",
		Short: "Remove the rules",
		Long: `Clear removes the table; that it is not there is no error. Traffic then passes by
Envoy.

Exit codes: 0 gone, 2 usage, 3 the kernel refused, or CAP_NET_ADMIN is missing.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var k redirect.Kernel
			changed, err := k.Clear(cmd.Context())
			return saidChanged(cmd, changed, "cleared", err)
		},
	}
}

func redirectCheck() *cobra.Command {
	var r redirectFlags
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say whether the rules are as they should be",
		Long: `Check compares what is in force with what set would put in force with the same flags,
and names each difference: who has CAP_NET_ADMIN in the namespace can change the rules.

Exit codes: 0 as they should be, 1 not so, 2 usage, 3 CAP_NET_ADMIN is missing.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := r.plan()
			if err != nil {
				return &exitError{exitUsage, err}
			}
			var k redirect.Kernel
			differences, err := k.Check(cmd.Context(), p)
			if err != nil {
				return failed(err)
			}
			for _, d := range differences {
				fmt.Fprintln(cmd.OutOrStdout(), d)
			}
			if len(differences) > 0 {
				return &exitError{code: exitProblem}
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "in force")
			return failed(err)
		},
	}
	r.register(cmd)
	return cmd
}

func saidChanged(cmd *cobra.Command, changed bool, what string, err error) error {
	if err != nil {
		return failed(err)
	}
	if !changed {
		what = "unchanged"
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), what)
	return failed(err)
}
