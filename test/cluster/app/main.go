// Command app is what runs in the pods of tests: one static program that serves, asks, waits and
// is the pause container.
//
//	app serve [-name N] [-http PORT] [-https PORT] [-tcp PORT] [-grpc PORT]
//	app get [-X METHOD] [-H 'name: value'] [-d BODY] [-n COUNT] [-timeout D] [-retry D] [-insecure] [-ca FILE] URL…
//	app job [the same flags] URL…
//	app sleep DURATION [EXIT-CODE]
//	app pause
//
// serve answers every HTTP request with a JSON object of what it got; the queries status=CODE,
// delay=DURATION and size=BYTES change the answer. Certificates are made at the start. -tcp
// sends back each line behind the name; -grpc serves the standard health service.
//
// get prints one line of JSON for each request, see answer, and ends with 0 whatever the answers
// are. URLs are http, https, tcp://HOST:PORT (sends a line), grpc://HOST:PORT (asks for health)
// and dns://NAME (looks addresses up). With -retry a request is repeated until it is answered
// with less than 500, for that long. job does the same, and ends with 1 unless all were answered
// below 400.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	code, err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		os.Exit(2) //nolint:gocritic // the process ends, and its signals with it
	}
	os.Exit(code)
}

func run(ctx context.Context, args []string) (int, error) {
	if len(args) == 0 {
		return 0, errors.New("the first argument has to be serve, get, job, sleep or pause")
	}
	switch args[0] {
	case "serve":
		return 0, serve(ctx, args[1:])
	case "get":
		_, err := get(ctx, args[1:], os.Stdout)
		return 0, err
	case "job":
		failed, err := get(ctx, args[1:], os.Stdout)
		return min(failed, 1), err
	case "sleep":
		return sleep(ctx, args[1:])
	case "pause":
		pause(ctx)
		return 0, nil
	}
	return 0, fmt.Errorf("the first argument %q has to be serve, get, job, sleep or pause", args[0])
}

func sleep(ctx context.Context, args []string) (int, error) {
	if len(args) == 0 || len(args) > 2 {
		return 0, errors.New("sleep needs a duration, such as 10s, and may have an exit code")
	}
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return 0, err
	}
	code := 0
	if len(args) == 2 {
		if code, err = strconv.Atoi(args[1]); err != nil {
			return 0, err
		}
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
	return code, nil
}

// pause waits for the end, and for children that are nobody's: it is the first process of a pod that shares its processes.
func pause(ctx context.Context) {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	for {
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != nil || pid <= 0 {
				break
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-children:
		}
	}
}
