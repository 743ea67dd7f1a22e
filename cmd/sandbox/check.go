package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"bulkhead/policy"
)

// checked is what check --json says of one file.
type checked struct {
	File     string           `json:"file"`
	Right    bool             `json:"right"`
	Problems []policy.Problem `json:"problems"`
}

func checkCommand() *cobra.Command {
	var set []string
	var asJSON bool
	c := &cobra.Command{
		Use:     "check FILE...",
		GroupID: "policy",
		Short:   "Say whether policies are right, and what is wrong",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, files []string) error {
			wrong := false
			for _, file := range files {
				check := checkWords
				if asJSON {
					check = checkJSON
				}
				right, err := check(file, set)
				if err != nil {
					return err
				}
				wrong = wrong || !right
			}
			if wrong {
				return exit(1)
			}
			return nil
		},
	}
	c.Flags().StringArrayVar(&set, "set", nil, "override a value of the policy: `KEY=VALUE`")
	c.Flags().BoolVar(&asJSON, "json", false, "write one JSON object for each file")
	return c
}

func checkWords(file string, set []string) (bool, error) {
	_, p, err := compileFile(file, set)
	if err != nil {
		complain(err)
		return false, nil
	}
	names := make([]string, len(p.Components))
	for i, c := range p.Components {
		names[i] = c.Name
	}
	fmt.Printf("%s: application %s is right: %s\n", file, p.Application, strings.Join(names, ", "))
	return true, nil
}

func checkJSON(file string, set []string) (bool, error) {
	result := checked{File: file, Right: true, Problems: []policy.Problem{}}
	loaded, err := policy.Load(file, policy.Options{Set: set})
	if loaded != nil {
		var compileError error
		if _, result.Problems, compileError = policy.Compile(loaded, policy.LocalHost()); compileError != nil {
			err = compileError
		}
	}
	if err != nil {
		var problems *policy.Problems
		if !errors.As(err, &problems) {
			return false, err
		}
		result.Right = false
		result.Problems = append(problems.List, result.Problems...)
	}
	if result.Problems == nil {
		result.Problems = []policy.Problem{}
	}
	return result.Right, json.NewEncoder(os.Stdout).Encode(result)
}
