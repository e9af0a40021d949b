// A backup plugin that passes every record on as it is: a template to begin with.
package main

import (
	"errors"

	"my-plugin/contract"
)

func init() {
	contract.Plugin.Init = start
	contract.Plugin.Transform = transform
}

func start(context contract.Context, spec *string) error {
	if spec != nil {
		return errors.New("this plugin takes no configuration; remove spec")
	}
	return nil
}

func transform(record contract.Record) contract.Outcome {
	return contract.Accepted(record)
}

// Never called: a plugin has no main, and Go asks for one.
func main() {}
