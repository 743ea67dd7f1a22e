// Package policy turns the YAML that a person writes into a plan.
//
// The way of a policy through this package:
//
//	text --document.go--> tree of nodes, each with its position
//	tree --merge.go, extend.go, override.go, variables.go--> one tree
//	tree --decode.go--> Policy, the types of language.go
//	Policy --compile.go and what it calls--> plan.Plan
//
// Files, profiles, drop-ins and --set are all merged as trees, before anything
// is decoded: so every value keeps the position where it was written, and one
// decoder finds the mistakes of all of them at once. The struct tags in
// language.go are the only list of keys; the decoder, the suggestions and the
// JSON Schema are all read off them.
package policy

// Options are what the command line adds to a policy file.
type Options struct {
	// Set are overrides "components.web.limits.memory=64M", applied last;
	// "name=value" sets the variable of that name.
	Set []string
	// DropIns are texts of files of policy.d, by path, which stand for what is
	// there or for what is not there yet.
	DropIns map[string]string
}

// Policy is a decoded policy.
type Policy struct {
	// Source is the policy file's name, as messages should say it.
	Source string

	file     File
	tree     *node // what file was decoded from
	sources  *sources
	problems []Problem
	profiles map[string][]string // component: what it extends, nearest first
}

// Application is the name of the application that the policy describes.
func (p *Policy) Application() string { return p.file.Application.Value }
