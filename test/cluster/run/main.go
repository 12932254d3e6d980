// Command run brings up a Kubernetes of one node on this machine until Ctrl-C, see test/cluster. It
// needs root, and the programs that test/cluster/build makes.
//
//	go run ./test/cluster/run [-ipv6] [IMAGE-ARCHIVE…]
//
// It loads the archives, then prints the line to paste into another shell.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"pavise.dev/pavise/test/cluster"
)

func main() {
	ipv6 := flag.Bool("ipv6", false, "give pods and services IPv6 addresses too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *ipv6, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, ipv6 bool, archives []string) (err error) {
	begin := time.Now()
	c, err := cluster.Node(ctx, cluster.Options{IPv6: ipv6})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	for _, archive := range archives {
		if err := c.LoadImage(ctx, archive); err != nil {
			return err
		}
	}
	fmt.Printf("# ready after %.1f s; node %s, this machine %s; Ctrl-C ends it\nexport KUBECONFIG=%s\n",
		time.Since(begin).Seconds(), c.NodeIP(), c.HostIP(), c.Kubeconfig())
	<-ctx.Done()
	return nil
}
