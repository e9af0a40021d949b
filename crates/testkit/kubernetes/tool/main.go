// What a test cluster needs beside Kubernetes itself, in one static program that fits in an image:
//
//	tool pause         what every pod's first container runs: it holds the pod's namespaces, and reaps orphans
//	tool forward ...   carries TCP connections from one network namespace to another
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func main() {
	log.SetFlags(log.Ltime)
	if len(os.Args) < 2 {
		log.Fatal("usage: tool {pause|forward} ...")
	}
	switch os.Args[1] {
	case "pause":
		pause()
	case "forward":
		log.Fatal(forward(os.Args[2:]))
	default:
		log.Fatalf("there is no command %q", os.Args[1])
	}
}

func pause() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		for {
			if child, _ := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); child <= 0 {
				break
			}
		}
	}
}

// A place is an address in the network namespace of a process; 0 is this one.
type place struct {
	process int
	address string
}

func forward(args []string) error {
	var from, to place
	flags := flag.NewFlagSet("forward", flag.ExitOnError)
	flags.StringVar(&from.address, "listen", "", "`address` to listen on; port 0 takes a free one, which is printed")
	flags.IntVar(&from.process, "listen-in", 0, "`process` in whose network to listen")
	flags.StringVar(&to.address, "dial", "", "`address` to connect to; without a port, the one that the client meant before the kernel redirected it")
	flags.IntVar(&to.process, "dial-in", 0, "`process` in whose network to connect")
	_ = flags.Parse(args)

	var listener net.Listener
	err := inNetworkOf(from.process, func() (err error) {
		listener, err = net.Listen("tcp", from.address)
		return err
	})
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			if err := carry(connection.(*net.TCPConn), to); err != nil {
				log.Print(err)
			}
		}()
	}
}

func carry(client *net.TCPConn, to place) error {
	defer client.Close()
	address := to.address
	if _, _, err := net.SplitHostPort(address); err != nil {
		port, err := originalPort(client)
		if err != nil {
			return fmt.Errorf("what %s meant to connect to: %w", client.RemoteAddr(), err)
		}
		address = net.JoinHostPort(address, fmt.Sprint(port))
	}
	var server *net.TCPConn
	err := inNetworkOf(to.process, func() error {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			server = connection.(*net.TCPConn)
		}
		return err
	})
	if err != nil {
		// The client sees what it would see without this program: a connection that is refused.
		_ = client.SetLinger(0)
		return err
	}
	defer server.Close()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		copyHalf(server, client)
	}()
	copyHalf(client, server)
	<-sent
	return nil
}

// copyHalf carries one direction, and its end: the other direction goes on.
func copyHalf(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil && !errors.Is(err, net.ErrClosed) {
		// Broken on one side: broken on the other.
		_ = to.SetLinger(0)
		_ = to.Close()
		return
	}
	_ = to.CloseWrite()
}

// originalPort asks the kernel's connection tracking, as netfilter's SO_ORIGINAL_DST does.
func originalPort(connection *net.TCPConn) (int, error) {
	const originalDestination = 80 // linux/netfilter_ipv4.h
	raw, err := connection.SyscallConn()
	if err != nil {
		return 0, err
	}
	var port int
	var failed error
	err = raw.Control(func(descriptor uintptr) {
		// Any option of 16 bytes will do: a sockaddr_in is what comes.
		answer, err := syscall.GetsockoptIPv6Mreq(int(descriptor), syscall.IPPROTO_IP, originalDestination)
		if err != nil {
			failed = err
			return
		}
		port = int(answer.Multiaddr[2])<<8 | int(answer.Multiaddr[3])
	})
	return port, errors.Join(err, failed)
}

// inNetworkOf calls f on a thread that has entered the network namespace of a process. A socket stays where it was made.
func inNetworkOf(process int, f func() error) error {
	if process == 0 {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		// Never unlocked, so that the thread, which belongs elsewhere now, ends with this function.
		runtime.LockOSThread()
		namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", process))
		if err != nil {
			done <- err
			return
		}
		defer namespace.Close()
		if _, _, errno := syscall.RawSyscall(setns, namespace.Fd(), syscall.CLONE_NEWNET, 0); errno != 0 {
			done <- fmt.Errorf("enter the network of process %d: %w", process, errno)
			return
		}
		done <- f()
	}()
	return <-done
}
