// Example prints a file of a directory grant, then runs a component with the
// file as its standard input and a pipe as its standard output, prints what it
// wrote and how it ended. The same program stands in the examples of the C
// and the Python client.
//
//	example DIRECTORY-GRANT FILE COMPONENT
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"bulkhead/broker/client"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: example DIRECTORY-GRANT FILE COMPONENT")
	}
	result, err := run(os.Args[1], os.Args[2], os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %v\n", os.Args[3], result)
	if !result.OK() {
		os.Exit(1)
	}
}

func run(grant, path, component string) (client.Result, error) {
	broker, err := client.Dial()
	if err != nil {
		return client.Result{}, err
	}
	defer broker.Close()

	file, err := broker.Open(grant, path, os.O_RDONLY, 0)
	if err != nil {
		return client.Result{}, err
	}
	defer file.Close()
	if _, err := io.Copy(os.Stdout, file); err != nil {
		return client.Result{}, err
	}

	source, err := broker.Open(grant, path, os.O_RDONLY, 0)
	if err != nil {
		return client.Result{}, err
	}
	defer source.Close()
	reader, writer, err := os.Pipe()
	if err != nil {
		return client.Result{}, err
	}
	defer reader.Close()
	worker, err := broker.Start(component, map[int]*os.File{0: source, 1: writer})
	writer.Close() // or the reader would wait for this process's own end of the pipe
	if err != nil {
		return client.Result{}, err
	}
	if _, err := io.Copy(os.Stdout, reader); err != nil {
		return client.Result{}, err
	}
	return worker.Wait(context.Background())
}
