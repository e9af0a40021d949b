package contract

import "unsafe"

// Context is what this instance of the plugin works for.
type Context struct {
	// Topic is the topic that is backed up.
	Topic string
}

// Plugin is what Armory calls. The main package fills it in, in its own init.
var Plugin struct {
	// Init is called once for every instance, before anything else. The text is the plugin's spec as YAML, nil where there is
	// none. An error stops the backup of the topic; its text is shown to the user.
	Init func(context Context, spec *string) error
	// Transform is called for every record, in the order of offsets within a partition.
	Transform func(record Record) Outcome
}

//go:wasmexport init
func initialize(topicAt, topicLength uint32, hasSpec, specAt, specLength uint32) unsafe.Pointer {
	context := Context{Topic: liftString(topicAt, topicLength)}
	spec := liftOptionalString(hasSpec, specAt, specLength)
	taken()
	return unsafe.Pointer(lowerResult(Plugin.Init(context, spec)))
}
