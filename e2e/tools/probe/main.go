// Probe is the only program inside the images of the bench: the pause of every pod, a small web server, and the
// client with which stories look at the world from inside a container.
//
// Under any other name than its own it stands in for the program of somebody else's image: whatever the document
// tells that program to do, it listens on the ports that the image declares and answers with a page.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const usage = `usage: probe pause | serve [PORT…] | get URL | tcp HOST:PORT | resolve NAME | sleep SECONDS | env | write FILE TEXT | read FILE | version`

func main() {
	if filepath.Base(os.Args[0]) != "probe" || len(os.Args) < 2 {
		end(serve(declaredPorts()))
	}
	arguments := os.Args[2:]
	switch os.Args[1] {
	case "pause":
		pause()
	case "serve":
		if len(arguments) == 0 {
			arguments = declaredPorts()
		}
		end(serve(arguments))
	case "get":
		end(get(one(arguments)))
	case "tcp":
		end(tcp(one(arguments)))
	case "resolve":
		end(resolve(one(arguments)))
	case "sleep":
		duration, err := time.ParseDuration(one(arguments) + "s")
		if err == nil {
			time.Sleep(duration)
		}
		end(err)
	case "env":
		fmt.Println(strings.Join(os.Environ(), "\n"))
	case "write":
		if len(arguments) != 2 {
			end(errors.New(usage))
		}
		end(os.WriteFile(arguments[0], []byte(arguments[1]), 0o644))
	case "read":
		text, err := os.ReadFile(one(arguments))
		fmt.Print(string(text))
		end(err)
	case "version":
		fmt.Println("probe 1")
	default:
		// Arguments that a document gives to somebody else's entrypoint.
		end(serve(declaredPorts()))
	}
}

func end(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func one(arguments []string) string {
	if len(arguments) != 1 {
		end(errors.New(usage))
	}
	return arguments[0]
}

// pause holds a pod's namespaces open. As the first process of a shared process namespace it reaps orphans.
func pause() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	orphans := make(chan os.Signal, 16)
	signal.Notify(orphans, syscall.SIGCHLD)
	for {
		select {
		case <-stop:
			return
		case <-orphans:
			for {
				if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != nil || pid <= 0 {
					break
				}
			}
		}
	}
}

// declaredPorts reads the ports that the image says it listens on.
func declaredPorts() []string {
	ports := strings.FieldsFunc(os.Getenv("PROBE_PORTS"), func(r rune) bool { return r == ',' || r == ' ' })
	if len(ports) == 0 {
		return []string{"80"}
	}
	return ports
}

func serve(ports []string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	image := os.Getenv("PROBE_IMAGE")
	fmt.Printf("%s starting, arguments %q\n", image, os.Args[1:])
	if devices, given := os.LookupEnv("NVIDIA_VISIBLE_DEVICES"); given {
		fmt.Printf("NVIDIA_VISIBLE_DEVICES=%s\n", devices)
	}
	failed := make(chan error, len(ports))
	for _, port := range ports {
		listener, err := net.Listen("tcp", ":"+port)
		if err != nil {
			return err
		}
		fmt.Printf("listening on %s\n", port)
		server := &http.Server{Handler: http.HandlerFunc(page), ReadHeaderTimeout: 10 * time.Second}
		go func() { failed <- server.Serve(listener) }()
	}
	select {
	case err := <-failed:
		return err
	case <-stop:
		fmt.Println("stopping")
		return nil
	}
}

// page names the image, the request and those variables of the environment that PROBE_SHOW lists.
func page(answer http.ResponseWriter, request *http.Request) {
	host, _ := os.Hostname()
	answer.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(answer, "Hello from %s\npod: %s\nhost: %s\npath: %s\n", os.Getenv("PROBE_IMAGE"), host, request.Host, request.URL.Path)
	for name := range strings.SplitSeq(os.Getenv("PROBE_SHOW"), ",") {
		if value, given := os.LookupEnv(name); given {
			fmt.Fprintf(answer, "%s: %s\n", name, value)
		}
	}
	fmt.Printf("%s %s 200 host=%s agent=%s\n", request.Method, request.URL.Path, request.Host, request.UserAgent())
}

func get(url string) error {
	client := http.Client{Timeout: 5 * time.Second}
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(os.Stdout, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode >= 400 {
		return fmt.Errorf("%s answered %s", url, answer.Status)
	}
	return nil
}

func tcp(address string) error {
	connection, err := net.DialTimeout("tcp", address, 3*time.Second)
	if err != nil {
		return err
	}
	fmt.Println("connected to", connection.RemoteAddr())
	return connection.Close()
}

func resolve(name string) error {
	addresses, err := net.LookupHost(name)
	if err != nil {
		return err
	}
	fmt.Println(strings.Join(addresses, "\n"))
	return nil
}
